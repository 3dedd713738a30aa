"""Objects on S3, HTTPS or disk: found, and read pinned to one version.

Access is anonymous, signed or requester pays; credentials never go to a bucket that a catalog
marks anonymous.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from lakeq.errors import (
    AccessDenied,
    BadSource,
    LakeqError,
    NotFound,
    SourceChanged,
    StorageUnavailable,
    UsageError,
)
from lakeq.storage.tally import Tally

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.config import S3Settings, Settings
    from lakeq.storage.http import Web
    from lakeq.storage.s3 import Buckets

GLOB_CHARACTERS = frozenset("*?[")
STREAM_BUFFER_BYTES = 1 << 20
ATTEMPTS = 5  # of one request or of one broken stream; about 10 s of waiting at the most
_FIRST_WAIT_S = 0.3


class Reader(Protocol):
    """How the bytes of one object version are fetched."""

    def open(self) -> BinaryIO:
        """A sequential stream over the whole object."""
        ...

    def read_range(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""
        ...


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One version of one raw object.

    `version` is the etag on S3 and HTTPS, and size and mtime for a local file; every read is
    pinned to it and raises `BadSource` when the object changed or came short. `version_id` is
    that of a versioned bucket, `modified` the time that S3 tells, UTC, `crc32` the checksum of the
    whole object in base64, where it was asked for and S3 has one.
    """

    uri: str
    size_bytes: int
    version: str
    reader: Reader
    version_id: str = ""
    modified: datetime | None = None
    crc32: str = ""

    def open(self) -> BinaryIO:
        """A sequential stream over the whole object; closing it releases the connection."""
        return self.reader.open()

    def read_range(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, or `BadSource`."""
        return self.reader.read_range(offset, length)


class Storage:
    """All the places that objects are read from, reached as `settings.s3` says.

    `tally` counts the requests to S3, unless clients are `kept` for others (`storage.kept`).
    """

    def __init__(self, settings: Settings, *, kept: bool = False) -> None:
        self._settings = settings
        self._kept = kept
        self.tally = Tally()

    @property
    def s3(self) -> S3Settings:
        """How S3 is reached."""
        return self._settings.s3

    def is_signed(self, uri: str, tables: Collection[Table]) -> bool:
        """Whether requests for an s3:// object of `tables` are signed, so that they are ours."""
        bucket = uri.partition("://")[2].partition("/")[0]
        return self._buckets.access(bucket, tables) != "anonymous"

    @cached_property
    def _buckets(self) -> Buckets:
        if self._kept:
            from lakeq.storage import kept

            return kept.buckets(self._settings.s3)
        from lakeq.storage.s3 import Buckets

        return Buckets(self._settings.s3, self.tally)

    @cached_property
    def _web(self) -> Web:
        from lakeq.storage.http import Web

        return Web(self._settings.s3.endpoint_url)

    def expand(
        self, patterns: Iterable[str | Path], tables: Collection[Table] = ()
    ) -> list[SourceObject]:
        """The objects that `patterns` name, each once, in the order given and by name within one.

        A pattern is a local path (with `~`), an s3:// or https:// URI, or a glob over one of the
        first two, where `**` crosses folders. `tables` say how their own buckets are reached. A
        pattern that matches nothing is `NotFound`, a folder is a `UsageError`.
        """
        found: dict[str, SourceObject] = {}
        for pattern in patterns:
            matches = list(self._matches(str(pattern), tables))
            if not matches:
                raise NotFound(f"nothing matches {str(pattern)!r}", hint="check the pattern")
            found.update((source.uri, source) for source in matches)
        return list(found.values())

    def listed(
        self, prefix: str, tables: Collection[Table] = (), after: str = ""
    ) -> Iterator[SourceObject]:
        """The objects whose s3:// URIs begin with `prefix`, by key, page by page.

        They are pinned to the etags that the listing tells: none is asked for by itself. `after`
        is a URI to begin behind.
        """
        yield from self._buckets.listed(prefix, tables, after)

    def version(
        self, uri: str, tables: Collection[Table] = (), version_id: str = ""
    ) -> SourceObject:
        """The object at an s3:// URI with its checksum: as it is now, or one version of it."""
        return self._buckets.source(uri, tables, version_id, checked=True)

    def beside(self, prefix: str, tables: Collection[Table] = ()) -> dict[str, int]:
        """The objects of one folder, on S3 or disk, whose URIs begin with `prefix`: their sizes.

        Empty for https, which cannot be listed.
        """
        if prefix.startswith("s3://"):
            found = self._buckets.listed(prefix, tables)
            return {s.uri: s.size_bytes for s in found if "/" not in s.uri[len(prefix) :]}
        if not prefix.startswith("file://"):
            return {}
        path = local_path(prefix)
        try:
            files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
            return {file.as_uri(): file.stat().st_size for file in files if file.is_file()}
        except OSError as error:
            raise _local_error(error, path.parent) from error

    def pinned(
        self, uri: str, size_bytes: int, version: str, tables: Collection[Table] = ()
    ) -> SourceObject:
        """The object at `uri` of a known size and version, without asking for it.

        Reads of another version raise `BadSource`.
        """
        if uri.startswith("s3://"):
            return self._buckets.pinned(uri, size_bytes, version, tables)
        if not uri.startswith("file://"):
            found = self.source(uri, tables)
            if (found.size_bytes, found.version) != (size_bytes, version):
                raise changed(uri)
            return found
        _, _, changed_ns = version.partition("-")
        pin = (size_bytes, int(changed_ns) if changed_ns.isdigit() else -1)
        return SourceObject(uri, size_bytes, version, _LocalReader(local_path(uri), pin))

    def source(self, uri: str | Path, tables: Collection[Table] = ()) -> SourceObject:
        """The one object at `uri`, taken as it stands, pinned to the version it has now."""
        text = str(uri)
        scheme, separator, _ = text.partition("://")
        if separator and scheme == "s3":
            return self._buckets.source(text, tables)
        if separator and scheme in ("https", "http"):
            return self._web.source(text)
        if separator and scheme != "file":
            hint = "use a local path, s3://bucket/key or https://host/path"
            raise UsageError(f"cannot read {scheme}:// objects", text, hint)
        return local_source(local_path(text))

    def _matches(self, pattern: str, tables: Collection[Table]) -> Iterator[SourceObject]:
        if pattern.startswith("s3://"):
            yield from self._buckets.matches(pattern, tables)
        elif "://" in pattern:
            if pattern.startswith("http") and "*" in pattern:
                hint = "name each object; globs work for local paths and s3:// only"
                raise UsageError("a web server cannot be searched", pattern, hint)
            yield self.source(pattern, tables)
        else:
            yield from (local_source(path) for path in _local_matches(pattern))


def has_glob(pattern: str) -> bool:
    """Whether `pattern` holds a character of a glob."""
    return not GLOB_CHARACTERS.isdisjoint(pattern)


def local_path(text: str) -> Path:
    """The path that a plain path or a file:// URI names."""
    if text.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        return Path(unquote(urlsplit(text).path))
    return Path(text).expanduser()


def _local_matches(pattern: str) -> list[Path]:
    """A file of exactly this name comes before its reading as a glob."""
    from glob import glob

    path = Path(pattern).expanduser()
    if path.exists() or not has_glob(pattern):
        return [path]
    matches = glob(str(path), recursive=True)  # noqa: PTH207  # Path.glob takes no absolute one
    return sorted(match for match in map(Path, matches) if not match.is_dir())


def local_source(path: Path) -> SourceObject:
    """The local file at `path`, pinned to its present size and modification time."""
    try:
        status = path.stat()
    except OSError as error:
        raise _local_error(error, path) from error
    if path.is_dir():
        hint = f"name its files, for example {path}/*.vcf.gz"
        raise UsageError("a folder is not an object", str(path), hint)
    absolute = path.resolve()
    pin = (status.st_size, status.st_mtime_ns)
    reader = _LocalReader(absolute, pin)
    return SourceObject(absolute.as_uri(), pin[0], f"{pin[0]}-{pin[1]}", reader)


def _local_error(error: OSError, path: Path) -> LakeqError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"no file {str(path)!r}", str(path.absolute()), "check the path")
    if isinstance(error, PermissionError):
        return AccessDenied("may not read the file", str(path), "check its permissions")
    return StorageUnavailable(f"cannot read the file: {error.strerror}", str(path), "try again")


@dataclass(frozen=True, slots=True)
class _LocalReader:
    """A local file that must keep its size and modification time while it is read."""

    path: Path
    pin: tuple[int, int]

    def open(self) -> BinaryIO:
        stream = _LocalStream(self)
        return cast("BinaryIO", io.BufferedReader(stream, STREAM_BUFFER_BYTES))

    def open_file(self) -> BinaryIO:
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise _local_error(error, self.path) from error
        self.check(os.fstat(file.fileno()))
        return cast("BinaryIO", file)

    def check(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != self.pin:
            raise changed(self.path.as_uri())

    def read_range(self, offset: int, length: int) -> bytes:
        with self.open_file() as file:
            file.seek(offset)
            return exactly(file.read, length, self.path.as_uri(), offset)


class _LocalStream(io.RawIOBase):
    """The bytes of a local file; its end is the end only when the file is still the same."""

    def __init__(self, reader: _LocalReader) -> None:
        self._reader = reader
        self._file = reader.open_file()

    def readable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase's stub
        count = cast("int", self._file.readinto(buffer))  # type: ignore[attr-defined]  # FileIO has
        if count == 0 and len(buffer):
            self._reader.check(os.fstat(self._file.fileno()))
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def changed(uri: str) -> SourceChanged:
    """The error for an object that is no longer the version that was pinned."""
    return SourceChanged("the object changed while it was read", uri, "run the command again")


def exactly(read: Callable[[int], bytes], length: int, uri: str, offset: int) -> bytes:
    """`length` bytes from repeated calls of `read`; `BadSource` when they end before."""
    parts: list[bytes] = []
    missing = length
    while missing:
        part = read(missing)
        if not part:
            what = f"the object ends {missing} bytes short of the {length} wanted"
            raise BadSource(what, f"{uri}, byte {offset}", "fetch the object again")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def attempts() -> Iterator[int]:
    """The numbers of the attempts, with a random wait that grows before all but the first."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, _FIRST_WAIT_S * 2**attempt))  # not a secret
        yield attempt


class ResumedStream(io.RawIOBase):
    """A sequential stream over a remote object that reconnects where a connection broke.

    `connect(offset)` opens a response body at that byte; `broken` are the errors that a body
    raises when its connection fails.
    """

    def __init__(
        self,
        uri: str,
        size_bytes: int,
        connect: Callable[[int], BinaryIO],
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._uri = uri
        self._size = size_bytes
        self._connect = connect
        self._broken = broken
        self._at = 0
        self._body: BinaryIO | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase's stub
        """Fill `buffer` as far as the next read goes; 0 at the end of the object."""
        wanted = min(len(buffer), self._size - self._at)
        if not wanted:
            return 0
        data = self._next(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _next(self, wanted: int) -> bytes:
        last: Exception | None = None
        for _ in attempts():
            try:
                if self._body is None:
                    self._body = self._connect(self._at)
                if data := self._body.read(wanted):
                    return data
            except self._broken as error:
                last = error
            self._drop()
        what = f"the connection breaks at byte {self._at} of {self._size}"
        raise StorageUnavailable(what, self._uri, "try again later") from last

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            self._drop()
        super().close()
