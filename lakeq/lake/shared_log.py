"""The log of a lake on S3: one object for each commit, in one order that all writers share.

An entry is put with `If-None-Match: *` at the next number, so two writers never have the same one.
An entry that has steps for tables is an intent until its end is written, once, beside it: done or
undone. LAKE/_lakeq/lake.json says which lake this is, LAKE/_lakeq/checkpoint/ holds what the log
adds up to, so that a machine that is new to the lake need not read all of it.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakeq.errors import BadLake, NotFound

if TYPE_CHECKING:
    from lakeq.lake.io import WarehouseIO

FORMAT = 1
CHECKPOINT_EVERY = 200  # entries; a new machine reads at most so many of them one by one
DONE, UNDONE = b"done", b"undone"  # their lengths tell them apart in a listing


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: `body` as it was written, `outcome` None while it is only an intent."""

    number: int
    body: dict[str, Any]
    outcome: bytes | None

    @property
    def switches(self) -> list[tuple[str, str | None, str]]:
        """The steps of tables: name, metadata file before and after."""
        return [(table, old, new) for table, old, new in self.body.get("switches", ())]


class SharedLog:
    """The log of the lake at `root`, s3://bucket/prefix."""

    def __init__(self, root: str, files: WarehouseIO) -> None:
        self._folder = f"{root}/_lakeq"
        self._files = files

    def lake_id(self) -> str | None:
        """Which lake is at the root, or None when there is none."""
        path = f"{self._folder}/lake.json"
        try:
            found = json.loads(self._files.read(path))
        except BadLake as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise
        except ValueError as error:
            hint = "restore the file; it names the lake"
            raise BadLake("the lake's own file is damaged", path, hint) from error
        if found.get("format") != FORMAT:
            hint = "use the version of lakeq that made it, or a newer one"
            raise BadLake(f"the lake has format {found.get('format')}", path, hint)
        return str(found["id"])

    def make(self, lakeq: str) -> None:
        """Make the lake unless it is there."""
        body = {"format": FORMAT, "id": uuid.uuid4().hex, "lakeq": lakeq}
        self._files.put_new(f"{self._folder}/lake.json", json.dumps(body).encode())

    def after(self, number: int) -> Iterator[Entry]:
        """The entries behind `number`, in order; behind one without an outcome there is none."""
        ends: dict[int, bytes] = {}
        start = self._path(number, "json") if number else ""
        for path, size in self._files.listed(f"{self._folder}/log", after=start):
            name, _, kind = path.rpartition("/")[2].partition(".")
            if kind == "end":  # listed before its entry
                ends[int(name)] = DONE if size == len(DONE) else UNDONE
            elif kind == "json":
                body = json.loads(gzip.decompress(self._files.read(path)))
                decided = DONE if not body.get("switches") else None
                entry = Entry(int(name), body, ends.get(int(name), decided))
                yield entry
                if entry.outcome is None:
                    return

    def put(self, number: int, body: dict[str, Any]) -> bool:
        """Write entry `number`; False when another writer was there first."""
        data = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6, mtime=0)
        path = self._path(number, "json")
        if self._files.put_new(path, data):
            return True
        # An answer that was lost is asked for again, and then it is there already: by oneself.
        found = json.loads(gzip.decompress(self._files.read(path)))
        return bool(found["id"] == body["id"])

    def end(self, number: int, outcome: bytes) -> bytes:
        """Write how entry `number` ended, unless that is written; returns what is written."""
        path = self._path(number, "end")
        if self._files.put_new(path, outcome):
            return outcome
        return self._files.read(path)

    def checkpoint(self) -> tuple[int, bytes] | None:
        """The newest checkpoint: the number it goes to, and the replica of then."""
        paths = [path for path, _ in self._files.listed(f"{self._folder}/checkpoint")]
        if not paths:
            return None
        path = max(paths)
        return int(path.rpartition("/")[2].partition(".")[0]), gzip.decompress(
            self._files.read(path)
        )

    def put_checkpoint(self, number: int, replica: bytes) -> None:
        """Keep the replica of entry `number`."""
        path = f"{self._folder}/checkpoint/{number:012d}.db.gz"
        self._files.put_new(path, gzip.compress(replica, 6, mtime=0))

    def _path(self, number: int, kind: str) -> str:
        return f"{self._folder}/log/{number:012d}.{kind}"
