"""The log of a lake on S3: one object for each commit, in one order that all writers share.

An entry is put with `If-None-Match: *` at the next number, so two writers never have the same one.
An entry that has steps for tables is an intent until its end is written, once, beside it: done or
undone. LAKE/_lakeq/lake.json says which lake this is, LAKE/_lakeq/checkpoint/ holds what the log
adds up to, so that a machine that is new to the lake need not read all of it.

Old entries can be deleted. LAKE/_lakeq/log/floor-NUMBER says up to which, before they are: then a
machine that was away for longer takes the checkpoint, and a writer that slept between looking and
putting finds that its entry fell into the hole. docs/adr/0098-trimmed-log.md.
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
    from datetime import datetime

    from lakeq.lake.io import WarehouseIO

FORMAT = 1
CHECKPOINT_EVERY = 200  # entries; a new machine reads at most so many of them one by one
DONE, UNDONE = b"done", b"undone"  # their lengths tell them apart in a listing
_FLOOR = "floor-"  # sorts behind all numbers: a listing sees it after the entries


class Behind(Exception):  # a turn of events, not an error of the user's
    """The log begins later than what is asked for: the newest checkpoint is to be taken."""


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
        """The entries behind `number`, in order; behind one without an outcome there is none.

        Raises `Behind` when some of them are deleted.
        """
        ends: dict[int, bytes] = {}
        there: list[int] = []
        floor = 0
        start = self._path(number, "json") if number else ""
        for path, size in self._files.listed(f"{self._folder}/log", after=start):
            name, _, kind = path.rpartition("/")[2].partition(".")
            if name.startswith(_FLOOR):
                floor = max(floor, int(name.removeprefix(_FLOOR)))
            elif kind == "end":
                ends[int(name)] = DONE if size == len(DONE) else UNDONE
            elif kind == "json":
                there.append(int(name))
        if floor > number or (there and there[0] > number + 1):
            raise Behind
        for at in there:
            body = self._body(at)
            if body is None:  # deleted since it was listed
                raise Behind
            entry = Entry(at, body, ends.get(at, None if body.get("switches") else DONE))
            yield entry
            if entry.outcome is None:
                return

    def _body(self, number: int) -> dict[str, Any] | None:
        """What entry `number` says; None when it is not there."""
        try:
            data = self._files.read(self._path(number, "json"))
        except BadLake as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise
        found: dict[str, Any] = json.loads(gzip.decompress(data))
        return found

    def put(self, number: int, body: dict[str, Any]) -> bool:
        """Write entry `number`; False when another writer was there first."""
        data = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6, mtime=0)
        if not self._files.put_new(self._path(number, "json"), data):
            # An answer that was lost is asked for again, and then it is there: by oneself.
            found = self._body(number)
            if found is None or found["id"] != body["id"]:
                return False
        if self.floor() >= number:  # where an old entry was; nobody looks there any more
            self._files.delete(self._path(number, "json"))
            return False
        return True

    def floor(self) -> int:
        """The last entry that may be deleted, 0 when none is."""
        return max(self._floors().values(), default=0)

    def _floors(self) -> dict[str, int]:
        found = self._files.listed(f"{self._folder}/log", after=self._marks())
        return {path: int(path.rpartition(_FLOOR)[2]) for path, _ in found}

    def _marks(self) -> str:
        return f"{self._folder}/log/{_FLOOR}"

    def trim(self, before: datetime) -> int:
        """Delete entries written `before`, up to the newest checkpoint; returns how many objects.

        Older checkpoints go as well, and what another trimming did not come to.
        """
        newest = max(self._numbered("checkpoint").values(), default=0)
        aged = [n for n in self._numbered("log", before).values() if n <= newest]
        floor = max([self.floor(), *aged])
        if not floor:
            return 0
        self._files.put_new(f"{self._marks()}{floor:012d}", b"")
        gone = [path for path, number in self._numbered("log").items() if number <= floor]
        checkpoints = self._numbered("checkpoint", before).items()
        gone += [path for path, number in checkpoints if number < newest]
        gone += [path for path, number in self._floors().items() if number < floor]
        for path in gone:
            self._files.delete(path)
        return len(gone)

    def _numbered(self, kind: str, before: datetime | None = None) -> dict[str, int]:
        """Paths of entries and ends, or of checkpoints, and their numbers."""
        found = {}
        for path, _ in self._files.listed(f"{self._folder}/{kind}", before=before):
            name = path.rpartition("/")[2].partition(".")[0]
            if not name.startswith(_FLOOR):
                found[path] = int(name)
        return found

    def end(self, number: int, outcome: bytes) -> None:
        """Write how entry `number` ended, unless that is written: the first word stands."""
        self._files.put_new(self._path(number, "end"), outcome)

    def checkpoint(self) -> tuple[int, bytes] | None:
        """The newest checkpoint: the number it goes to, and the replica of then."""
        found = self._numbered("checkpoint")
        if not found:
            return None
        path = max(found)
        return found[path], gzip.decompress(self._files.read(path))

    def put_checkpoint(self, number: int, replica: bytes) -> None:
        """Keep the replica of entry `number`."""
        path = f"{self._folder}/checkpoint/{number:012d}.db.gz"
        self._files.put_new(path, gzip.compress(replica, 6, mtime=0))

    def _path(self, number: int, kind: str) -> str:
        return f"{self._folder}/log/{number:012d}.{kind}"
