"""A volume as its sweeps: records -> messages -> runs of rays -> sweeps, in order of time.

`sweeps` streams a volume and holds one sweep and a few records at a time; `read_chunks` reads a
volume from the objects of the chunks bucket, in order of their numbers, and `read_chunk` one of
them alone. Rays keep the codes of the file as views into its records.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadSource
from lakeq.formats._nexrad_container import Limits, Records, VolumeHeader, over
from lakeq.formats._nexrad_messages import Facts, Messages, Run

BEGINS = (0, 3, 5)  # radial status of the first ray of a cut, of a volume, of the last cut
ENDS = (2, 4)  # of the last ray of a cut, of a volume
END_OF_VOLUME = 4
_STATUS_MASK = 0x7F  # the bit above says that the ray is bad


@dataclass(frozen=True, slots=True)
class Sweep:
    """The rays of one cut in order of time; `number` is `elevation_number` - 1.

    A cut that was begun anew is a sweep of its own, numbered above all cuts.
    """

    number: int
    elevation_number: int
    runs: tuple[Run, ...]

    @property
    def rays(self) -> npt.NDArray[Any]:
        """The rays of all runs, with the fields of `_nexrad_messages.RAY`."""
        return np.concatenate([run.rays for run in self.runs])

    @property
    def moments(self) -> list[str]:
        """The moments that a ray of the sweep carries, in the order of the runs."""
        return list(dict.fromkeys(name for run in self.runs for name in run.codes))

    @property
    def complete(self) -> bool:
        """Begun and ended by rays marked so, no azimuth number missing."""
        rays = self.rays
        status = rays["radial_status"] & _STATUS_MASK
        numbers = rays["azimuth_number"]
        whole = bool((np.diff(numbers) == 1).all()) and int(numbers[0]) == 1
        return whole and int(status[0]) in BEGINS and int(status[-1]) in ENDS

    @property
    def ends_volume(self) -> bool:
        """Whether its last ray is marked as the last of the volume."""
        return int(self.runs[-1].rays["radial_status"][-1]) & _STATUS_MASK == END_OF_VOLUME


@dataclass(slots=True)
class Volume:
    """One volume while it is read: `header` and `facts` are whole once its sweeps were taken.

    `header` is None where the object does not start with one (a chunk that is not the first).
    """

    uri: str
    header: VolumeHeader | None
    compression: str
    facts: Facts
    sweeps: Iterator[Sweep]


@dataclass(slots=True)
class Assembler:
    """Parts runs into sweeps; a sweep is given out when the next begins."""

    uri: str
    limits: Limits = field(default_factory=Limits)
    _runs: list[Run] = field(default_factory=list)
    _elevation: int = -1
    _seen: set[int] = field(default_factory=set)
    _again: int = 0

    def add(self, run: Run) -> Iterator[Sweep]:
        elevations = run.rays["elevation_number"]
        status = run.rays["radial_status"] & _STATUS_MASK
        self._check(elevations)
        begins = np.isin(status, BEGINS)
        before = np.concatenate([[self._elevation], elevations[:-1]])
        starts = np.flatnonzero(begins | (elevations != before)).tolist()
        bounds = [0, *(start for start in starts if start), len(elevations)]
        for first, last in pairwise(bounds):
            if first in starts or self._elevation < 0:
                yield from self.finish()
                self._elevation = int(elevations[first])
            self._runs.append(run.part(first, last))
            rays = sum(len(part.rays) for part in self._runs)
            if rays > self.limits.rays:
                what = f"cut {self._elevation} has more than {self.limits.rays} rays"
                raise over(what, "sweep_limit_rays", self.uri)

    def _check(self, elevations: npt.NDArray[Any]) -> None:
        if not ((elevations > 0) & (elevations <= MAX_CUT)).all():
            bad = int(elevations[(elevations < 1) | (elevations > MAX_CUT)][0])
            what = f"a ray of elevation number {bad}, not 1 to {MAX_CUT}"
            raise BadSource(what, self.uri, "the object is damaged: fetch it again")

    def finish(self) -> Iterator[Sweep]:
        if not self._runs:
            return
        number = self._elevation - 1
        if self._elevation in self._seen:
            number = MAX_CUT + self._again
            self._again += 1
        self._seen.add(self._elevation)
        yield Sweep(number, self._elevation, tuple(self._runs))
        self._runs = []


MAX_CUT = 64  # elevation numbers; the ICD allows 32


def read_stream(
    uri: str,
    stream: BinaryIO,
    limits: Limits | None = None,
    progress: Callable[[int], None] = lambda _: None,
    threads: int = 2,
    *,
    head: bool = False,
) -> Volume:
    """The volume behind `stream`; its sweeps are decoded as they are taken.

    `uri` is for messages only; `head` says that the stream is only the begin of an object. Raises
    `BadSource` for what is no Level II object, here or while sweeps are taken; an object that
    ends early gives every ray that it has whole.
    """
    limits = limits or Limits()
    records = Records.of(uri, stream, limits, progress, threads)
    messages = Messages(uri, limits)
    made = _sweeps(records, messages, limits, head=head)
    return Volume(uri, records.header, records.compression, messages.facts, made)


def _sweeps(records: Records, messages: Messages, limits: Limits, *, head: bool) -> Iterator[Sweep]:
    assembler = Assembler(records.uri, limits)
    rest = b""
    for record in records:
        inside = records.in_records and record.whole
        data = rest + record.data if rest else record.data
        runs, rest = messages.runs(data, record.number, record.byte, whole=inside)
        if records.in_records:
            rest = b""
        for run in runs:
            yield from assembler.add(run)
    yield from assembler.finish()
    if not messages.facts.messages and not head:
        what = "the object holds no message"
        raise BadSource(what, records.uri, "it may be cut short: fetch it again")


def read_bytes(
    data: bytes, uri: str, limits: Limits | None = None, threads: int = 2, *, head: bool = False
) -> Volume:
    """The volume of an object's bytes; as `read_stream`."""
    return read_stream(uri, io.BytesIO(data), limits, threads=threads, head=head)


def read_chunks(chunks: Iterable[bytes], uri: str, limits: Limits | None = None) -> Volume:
    """The volume of chunk objects in order of their numbers, each once; as `read_stream`.

    What is missing between them is missing in the sweeps. Without the first chunk (S) there is
    no header: site and time then come from the key (`_nexrad_names.named`).
    """
    return read_bytes(b"".join(chunks), uri, limits)


def read_chunk(
    data: bytes, uri: str, limits: Limits | None = None
) -> tuple[VolumeHeader | None, Facts, list[Sweep]]:
    """What one chunk holds: its header (S only), its facts, and its rays as parts of sweeps.

    A chunk of 120 rays takes about the time that bzip2 needs for it, 15 to 30 ms. Parts of one
    cut from several chunks have the same `number`; `Sweep.complete` is about the part.
    """
    volume = read_bytes(data, uri, limits, threads=1)
    sweeps = list(volume.sweeps)
    return volume.header, volume.facts, sweeps
