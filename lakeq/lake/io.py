"""The files of a warehouse, local or on S3: read, written whole and deleted.

One implementation serves PyIceberg's metadata and lakeq's data files, so both use the same
credentials, the same errors, and leave nothing half written: S3 shows an object only when all of
it has arrived, and a local file is synced to disk before a table may point to it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from lakeq.errors import BadLake, NotFound
from lakeq.lake.pointers import Checksum, os_error

if TYPE_CHECKING:
    from datetime import datetime

    from lakeq.config import S3Settings
    from lakeq.storage.s3 import Buckets
    from lakeq.storage.tally import Tally


CONFLICTS = 8  # in a row, of puts of one new object


class WarehouseIO(FileIO):
    """The files of one warehouse.

    Metadata and manifests that `expected` knows are held against it when they are read.
    `written` lists what was written through this handle, `sums` has its checksums by path;
    `record` is told each path before.
    """

    def __init__(
        self,
        settings: S3Settings,
        record: Callable[[str], None] = lambda _path: None,
        tally: Tally | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        super().__init__({})
        if buckets is not None:
            self._buckets = buckets
        self._settings = settings
        self._tally = tally
        self._record = record
        self.expected: Mapping[str, Checksum] = {}
        self.written: list[str] = []
        self.sums: dict[str, Checksum] = {}

    @cached_property
    def _buckets(self) -> Buckets:
        from lakeq.storage.s3 import Buckets

        return Buckets(self._settings, self._tally)

    def new_input(self, location: str) -> InputFile:
        """A file to read; PyIceberg's entry."""
        return _Input(location, self)

    def new_output(self, location: str) -> OutputFile:
        """A file to write; PyIceberg's entry."""
        return _Output(location, self)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete one file; one that is gone already is no error."""
        path = location if isinstance(location, str) else location.location
        self.sums.pop(path, None)
        if is_s3(path):
            self._s3("delete_object", path)
        else:
            try:
                Path(path).unlink(missing_ok=True)
            except OSError as error:
                raise os_error(error, f"cannot delete: {error.strerror}", path) from error

    def discard(self) -> None:
        """Delete everything that was written through this handle."""
        while self.written:
            self.delete(self.written.pop())

    def read(self, path: str) -> bytes:
        """All the bytes of one file; `BadLake` when it is not there."""
        return self._counted(self._read(path))

    def _counted(self, data: bytes) -> bytes:
        if self._tally is not None:
            self._tally.read(len(data))
        return data

    def _read(self, path: str) -> bytes:
        if is_s3(path):
            try:
                return cast("bytes", self._s3("get_object", path)["Body"].read())
            except NotFound as error:
                raise _missing(path) from error
        try:
            return Path(path).read_bytes()
        except FileNotFoundError as error:
            raise _missing(path) from error
        except OSError as error:
            raise os_error(error, f"cannot read: {error.strerror}", path) from error

    def stream(self, path: str) -> BinaryIO:
        """One file to read in order; from S3 it comes piece by piece. `NotFound` when missing."""
        if is_s3(path):
            return self._buckets.source(path).open()
        try:
            return Path(path).open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"no file {path}", path) from error
        except OSError as error:
            raise os_error(error, f"cannot read: {error.strerror}", path) from error

    def opened(self, path: str) -> Any:
        """One data file, for pyarrow to read as it needs; from S3 it comes whole."""
        import pyarrow as pa

        return pa.BufferReader(self.read(path)) if is_s3(path) else pa.memory_map(path)

    def write(self, path: str, data: bytes) -> None:
        """Write one new file; it is on the disk, or in S3, when this returns."""
        self._record(path)
        self.written.append(path)
        self.sums[path] = Checksum(len(data), hashlib.sha256(data).hexdigest())
        if is_s3(path):
            self._s3("put_object", path, Body=data)
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("xb") as file:
                file.write(data)
                sync(file.fileno())
        except OSError as error:
            raise os_error(error, f"cannot write: {error.strerror}", path) from error

    def put_new(self, path: str, body: bytes | BinaryIO, **more: Any) -> bool:
        """Put an object at an s3:// path unless one is there: then it is left, and False given."""
        from botocore.exceptions import ClientError

        from lakeq.storage.s3 import called

        client, access, arguments = self._object(path)

        def put() -> bool:
            for _ in range(CONFLICTS):
                if not isinstance(body, bytes):
                    body.seek(0)
                try:
                    client.put_object(**arguments, Body=body, IfNoneMatch="*", **more)
                except ClientError as error:
                    code = error.response.get("Error", {}).get("Code", "")
                    if code in ("PreconditionFailed", "412"):
                        return False
                    if code != "ConditionalRequestConflict":  # another one is under way: ask again
                        raise
                    continue
                return True
            return False

        return cast("bool", called(put, path, access))

    def upload(self, local: Path, path: str) -> None:
        """Put a local file at an s3:// path, in parts when it is large."""
        client, access, arguments = self._object(path)
        from lakeq.storage.s3 import called

        extra = {key: value for key, value in arguments.items() if key == "RequestPayer"}
        target = (arguments["Bucket"], arguments["Key"])
        called(partial(client.upload_file, str(local), *target, ExtraArgs=extra), path, access)

    def size(self, path: str) -> int:
        """Bytes of one file; `NotFound` when it is not there."""
        if is_s3(path):
            return int(self._s3("head_object", path)["ContentLength"])
        try:
            return Path(path).stat().st_size
        except FileNotFoundError as error:
            raise NotFound(f"no file {path}", path) from error

    def told(self, path: str) -> tuple[int, str] | None:
        """Size and SHA-256 (base64, "" if S3 has none) of an object; None where there is none."""
        try:
            found = self._s3("head_object", path, ChecksumMode="ENABLED")
        except NotFound:
            return None
        whole = found.get("ChecksumType", "FULL_OBJECT") != "COMPOSITE"
        return int(found["ContentLength"]), str(found.get("ChecksumSHA256", "")) if whole else ""

    def modified_ms(self, path: str) -> int:
        """When a file was last changed, in milliseconds since 1970; `NotFound` when missing."""
        if is_s3(path):
            return int(self._s3("head_object", path)["LastModified"].timestamp() * 1000)
        try:
            return Path(path).stat().st_mtime_ns // 1_000_000
        except FileNotFoundError as error:
            raise NotFound(f"no file {path}", path) from error

    def listed(
        self, folder: str, *, after: str = "", before: datetime | None = None
    ) -> Iterator[tuple[str, int]]:
        """Every file below `folder`, an absolute path or s3:// URI, with its bytes.

        On S3, of those only what comes behind the URI `after` and was written `before`.
        """
        if not is_s3(folder):
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file():
                    yield str(path), path.stat().st_size
            return
        from lakeq.storage.s3 import called, split_uri

        client, access, arguments = self._object(f"{folder}/")
        bucket, prefix = split_uri(f"{folder}/")
        arguments = {k: v for k, v in arguments.items() if k != "Key"} | {"Prefix": prefix}
        if after:
            arguments["StartAfter"] = split_uri(after)[1]
        while True:
            page = called(partial(client.list_objects_v2, **arguments), folder, access)
            for item in page.get("Contents", ()):
                if before is None or item["LastModified"] < before:
                    yield f"s3://{bucket}/{item['Key']}", int(item["Size"])
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def read_tail(self, path: str, size_bytes: int, length: int) -> bytes:
        """The last `length` bytes, or all, of a file that has `size_bytes`."""
        return self._counted(self._read_tail(path, size_bytes, length))

    def _read_tail(self, path: str, size_bytes: int, length: int) -> bytes:
        start = max(0, size_bytes - length)
        if is_s3(path):
            try:
                found = self._s3("get_object", path, Range=f"bytes={start}-{size_bytes - 1}")
            except NotFound as error:
                raise _missing(path) from error
            return cast("bytes", found["Body"].read())
        try:
            return _read_from(path, start, size_bytes - start)
        except FileNotFoundError as error:
            raise _missing(path) from error
        except OSError as error:
            raise os_error(error, f"cannot read: {error.strerror}", path) from error

    def _object(self, path: str) -> tuple[Any, Any, dict[str, str]]:
        from lakeq.storage.s3 import payer, split_uri

        bucket, key = split_uri(path)
        client, access = self._buckets.own_client(bucket)
        return client, access, {"Bucket": bucket, "Key": key, **payer(access)}

    def _s3(self, method: str, path: str, **more: Any) -> Any:
        from lakeq.storage.s3 import called

        client, access, arguments = self._object(path)
        return called(partial(getattr(client, method), **arguments, **more), path, access)


def _read_from(path: str, start: int, length: int) -> bytes:
    """Bytes of a local file, fewer at its end; in half the time that a file object takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(descriptor, length, start)
        while len(found) < length:
            more = os.pread(descriptor, length - len(found), start + len(found))
            if not more:
                break
            found += more
        return found
    finally:
        os.close(descriptor)


def is_s3(path: str) -> bool:
    """Whether `path` is an S3 URI; anything else is a local path."""
    return path.startswith("s3://")


def sync(descriptor: int) -> None:
    """Flush one open file to the disk."""
    os.fsync(descriptor)


def _missing(path: str) -> BadLake:
    hint = "was the lake moved? move it back, or restore the file, or ingest into a new lake"
    return BadLake("a file of the lake is missing", path, hint)


class _Stream(io.BytesIO):
    """The bytes of one small file: manifests and metadata are read and written whole."""


class _Input(InputFile):
    def __init__(self, location: str, files: WarehouseIO) -> None:
        super().__init__(location)
        self._files = files

    def __len__(self) -> int:
        return self._files.size(self.location)

    def exists(self) -> bool:
        try:
            self._files.size(self.location)
        except NotFound:
            return False
        return True

    def open(self, seekable: bool = True) -> InputStream:  # always seekable
        data = self._files.read(self.location)
        checksum = self._files.expected.get(self.location)
        if checksum is not None and hashlib.sha256(data).hexdigest() != checksum.sha256:
            hint = "lakeq verify --repair rebuilds it"
            raise BadLake("a file of the table's metadata is damaged", self.location, hint)
        return cast("InputStream", _Stream(data))


class _Output(OutputFile):
    def __init__(self, location: str, files: WarehouseIO) -> None:
        super().__init__(location)
        self._files = files

    def __len__(self) -> int:
        return self._files.size(self.location)

    def exists(self) -> bool:
        return _Input(self.location, self._files).exists()

    def to_input_file(self) -> InputFile:
        return self._files.new_input(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:  # names are new
        return cast("OutputStream", _Written(self.location, self._files))


class _Written(_Stream):
    """Collects one small file and writes it when it is closed; its names hold fresh UUIDs."""

    def __init__(self, location: str, files: WarehouseIO) -> None:
        super().__init__()
        self._location = location
        self._files = files

    def close(self) -> None:
        if not self.closed:
            self._files.write(self._location, self.getvalue())
        super().close()

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.close()
        else:
            super().close()
