"""Side files: what the snapshots of a table hold, kept beside the catalog for fast reads.

A side file is a copy of what Iceberg's metadata and the Parquet footers say, nothing more: it is
found by its key, checked by its checksum, and made again whenever either does not match. One
file is a line of magic, checksum and header length, the header as JSON, then arrays of numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from lakeq._packed_files import pack, unpack
from lakeq.snapshot import SnapshotColumn, SnapshotInfo, TableSnapshot

FOLDER = "cache"
_MAGIC = "lakeq-side-4"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Side:
    """The contents of one side file: a snapshot and, in the file of the head, the history.

    `log` has (milliseconds since 1970, snapshot id) for each change of the current snapshot, in
    the order of time.
    """

    snapshot: TableSnapshot
    history: tuple[SnapshotInfo, ...] = ()
    log: tuple[tuple[int, int], ...] = ()


class SideFiles:
    """The side files of the lake in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def path(self, table: str, name: str) -> Path:
        """Where the side file `name` of `table` lies; `name` is "head" or a snapshot id."""
        return self._folder / table / f"{name}.side"

    def read(self, table: str, name: str, key: str) -> Side | None:
        """The side file's contents, or None when it is absent, damaged or of another key."""
        try:
            data = self.path(table, name).read_bytes()
        except OSError:
            return None
        try:
            return _decoded(data, key)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError):
            return None

    def write(self, table: str, name: str, key: str, side: Side) -> None:
        """Keep `side`; a folder that cannot be written to costs time later, so it is no error."""
        path = self.path(table, name)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(_encoded(side, key))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:
            return

    def damaged(self, table: str) -> list[Path]:
        """The side files of `table` whose bytes are not those of their checksum."""
        return [path for path in sorted((self._folder / table).glob("*.side")) if _is_hurt(path)]

    def keep(self, table: str, names: frozenset[str]) -> None:
        """Delete the side files of `table` other than `names`."""
        for path in (self._folder / table).glob("*"):
            if path.suffix != ".side" or path.stem not in names:
                path.unlink(missing_ok=True)


def milliseconds(time: datetime) -> int:
    """Whole milliseconds since 1970, rounded down, as Iceberg's metadata has them."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """The UTC time of an Iceberg timestamp."""
    return _EPOCH + timedelta(milliseconds=value)


def _encoded(side: Side, key: str) -> bytes:
    snapshot = side.snapshot
    files, arrays = pack(snapshot.files)
    header = {
        "key": key,
        "name": snapshot.name,
        "id": snapshot.snapshot_id,
        "time": milliseconds(snapshot.committed_at),
        "columns": snapshot.columns,
        "files": files,
        "history": [_info_row(info) for info in side.history],
        "log": side.log,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join([text, *arrays])
    return f"{_MAGIC} {crc32(body):08x} {len(text):012d}\n".encode() + body


def _is_hurt(path: Path) -> bool:
    """Whether a side file is not, to the bit, what this version of lakeq writes."""
    line, _, body = path.read_bytes().partition(b"\n")
    try:
        length = int(line.split()[2])
        json.loads(body[:length])
    except (ValueError, IndexError):
        return True
    return line != f"{_MAGIC} {crc32(body):08x} {length:012d}".encode()


def _decoded(data: bytes, key: str) -> Side | None:
    line, _, _ = data.partition(b"\n")
    magic, checksum, length = line.decode("ascii").split()
    body = memoryview(data)[len(line) + 1 :]
    if magic != _MAGIC or crc32(body) != int(checksum, 16):
        return None
    header = json.loads(bytes(body[: int(length)]))
    if header["key"] != key:
        return None
    snapshot = TableSnapshot(
        name=header["name"],
        snapshot_id=header["id"],
        committed_at=from_milliseconds(header["time"]),
        columns=tuple(SnapshotColumn(*column) for column in header["columns"]),
        files=unpack(header["files"], body[int(length) :]),
    )
    history = tuple(_info(row) for row in header["history"])
    return Side(snapshot, history, tuple((ms, number) for ms, number in header["log"]))


def _info_row(info: SnapshotInfo) -> Sequence[object]:
    time = milliseconds(info.committed_at)
    return info.snapshot_id, time, info.operation, info.rows, info.files, info.size_bytes


def _info(row: Sequence[Any]) -> SnapshotInfo:
    number, time, operation, rows, files, size = row
    return SnapshotInfo(number, from_milliseconds(time), operation, rows, files, size)
