"""Where workers write the files of a lake, and what they tell of them."""

from __future__ import annotations

from dataclasses import dataclass

from lakeq.lake.pointers import Checksum


@dataclass(frozen=True, slots=True)
class Place:
    """Where new files of a table go, and the field ids of their columns as Iceberg's JSON."""

    location: str
    schema: str

    def folder(self, name: str) -> str:
        """The path of a folder of parts, with / at its end."""
        return f"{self.location}/data/{name}/"


@dataclass(frozen=True, slots=True)
class Written:
    """One finished data file: its rows, all of one object, and its checksums."""

    path: str
    rows: int
    checksum: Checksum


def run_folder(run: str) -> str:
    """The folder of one run's parts; `run` is 16 hexadecimal digits."""
    return f"parts-{run}"


def part_folder(run: str, number: int, attempt: int) -> str:
    """The folder of one attempt at one part."""
    return f"{run_folder(run)}/{number}-{attempt}"
