"""Arrays that wait on disk between the pass over a file and the merge of its calls."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq.errors import StorageUnavailable

DISK_FULL_HINT = "free space there, or name another folder with temp_dir"


class Column:
    """One array on disk, appended to, then read by range or mapped."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self.path, self.dtype, self.size = path, np.dtype(dtype), 0
        self._file = path.open("w+b", buffering=1 << 18)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add `values` behind what is there; `StorageUnavailable` when the disk is full."""
        data = np.ascontiguousarray(values, self.dtype)
        try:
            self._file.write(data.data)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size += len(data)

    def flush(self) -> None:
        """Make everything appended readable; `StorageUnavailable` when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StorageUnavailable:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full" if full else f"cannot write: {error.strerror}"
        return StorageUnavailable(what, str(self.path), DISK_FULL_HINT)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Elements start to stop, read anew; a plain read leaves nothing mapped in memory."""
        out = np.empty(stop - start, self.dtype)
        view = memoryview(out.data).cast("B") if out.size else memoryview(b"")
        at = start * self.dtype.itemsize
        while view.nbytes:
            done = os.preadv(self._file.fileno(), [view], at)
            if not done:
                raise OSError(f"{self.path} lost its end")
            view, at = view[done:], at + done
        return out

    def mapped(self) -> npt.NDArray[Any]:
        """All elements, as pages that come when touched."""
        if not self.size:
            return np.empty(0, self.dtype)
        return np.asarray(np.memmap(self.path, self.dtype, "r+", shape=(self.size,)))

    def close(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):  # what a full disk did not take is of no use now
            self._file.close()
        self.path.unlink(missing_ok=True)


class Columns:
    """Columns of one folder by name."""

    def __init__(self, folder: Path, dtypes: dict[str, npt.DTypeLike]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._columns = {name: Column(folder / name, dtype) for name, dtype in dtypes.items()}

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def flush(self) -> None:
        """Make everything appended readable."""
        for column in self._columns.values():
            column.flush()

    def close(self) -> None:
        """Close and remove all files."""
        for column in self._columns.values():
            column.close()
