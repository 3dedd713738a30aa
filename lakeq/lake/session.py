"""Writing sessions: who is writing to a lake, and the clean-up after those who were killed.

A session holds a lock on its file in LAKE/tmp as long as it lives, and writes down the path of
each file before it makes it. When its process dies the system drops the lock; the next writer
then deletes the files that the dead session wrote and no snapshot names.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lakeq.lake.pointers import os_error

FOLDER = "tmp"
_JOURNAL = ".journal"


class Session:
    """One writer of a lake: its private scratch folder and the journal of what it writes."""

    def __init__(self, journal: TextIO, scratch: Path) -> None:
        self._journal = journal
        self._lock = threading.Lock()  # objects may be converted in several threads
        self.scratch = scratch

    @property
    def journal(self) -> str:
        """The path of the journal, which is there as long as the session lasts."""
        return self._journal.name

    def record(self, path: str) -> None:
        """Note that `path` is about to be made; one that ends in / is a folder of files."""
        with self._lock:
            self._journal.write(path + "\n")
            self._journal.flush()


@contextmanager
def session(lake: Path, temp_dir: Path | None) -> Iterator[Session]:
    """A writing session; its scratch folder, in `temp_dir` if given, goes when it ends.

    Ended by an error, it leaves its journal to the next writer's clean-up.
    """
    path, journal = _locked(lake / FOLDER)
    try:
        scratch = (temp_dir or lake / FOLDER) / f"lakeq-{path.stem}"
        with _explained(scratch):
            journal.write(f"{scratch}\n")
            journal.flush()
            scratch.mkdir(parents=True)
        try:
            yield Session(journal, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        path.unlink(missing_ok=True)
    finally:
        journal.close()


def _locked(folder: Path) -> tuple[Path, TextIO]:
    """A new journal under lock. One that a clean-up took before the lock was held is left."""
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{os.urandom(8).hex()}{_JOURNAL}"
            journal = path.open("x", encoding="utf-8", errors="surrogateescape", newline="\n")
            fcntl.flock(journal, fcntl.LOCK_EX)
            if path.exists():
                return path, journal
            journal.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_error(error, f"cannot write to the lake: {error.strerror}", path) from error


def journalled(lake: Path) -> set[str]:
    """Every path that a session, at work or dead, wrote down; folders end in /."""
    found: set[str] = set()
    for path in (lake / FOLDER).glob(f"*{_JOURNAL}"):
        with suppress(OSError):
            found.update(path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"))
    return found


@contextmanager
def dead(lake: Path) -> Iterator[list[str]]:
    """The paths that dead sessions wrote, for the caller to delete those that nothing names.

    Their scratch folders go at once, their journals when the block ends without an error.
    """
    with _dead_journals(lake / FOLDER) as journals:
        paths = []
        for path in journals:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            scratch, *written = text.split("\n")[:-1] or [""]
            if scratch.endswith(f"lakeq-{path.stem}"):
                shutil.rmtree(scratch, ignore_errors=True)
            paths += written
        yield paths
        for path in journals:
            path.unlink(missing_ok=True)


@contextmanager
def _dead_journals(folder: Path) -> Iterator[list[Path]]:
    """The journals whose writers are gone, locked so that only one clean-up sees each."""
    open_files = []
    found = []
    try:
        for path in sorted(folder.glob(f"*{_JOURNAL}")):
            with suppress(OSError):
                file = path.open("r+")
                open_files.append(file)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():
                    found.append(path)
        yield found
    finally:
        for file in open_files:
            file.close()
