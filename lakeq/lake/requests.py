"""How many requests to S3 reading, checking and writing files takes at the most, counted from them.

Of one attempt: what S3 turns down and is asked again comes on top.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq.snapshot import DataFile

PART_BYTES = 8 << 20  # boto3 sends a larger file in parts of so many
PAGE_FILES = 1000  # that one LIST tells
OPENING = 2  # the end of a file; once more where its footer is longer
CHECKING = 5  # HEAD for the size and to pin it, its end in one or two, all of it
TELLING = 5  # of a file of the metadata: HEAD to pin it, all of it to check and to follow it
TELLINGS = 4  # so often it is read whole for that
END_BYTES = 1 << 18  # of a file's end, at the most
COMMIT_BYTES = 1 << 20  # metadata that a commit reads; more only after thousands of snapshots
COMMIT_READS = 16  # the newest metadata, list and manifests of several tables
COMMIT_WRITES = 8  # metadata, list, manifests; of a lake in Glue what is about to be done


def to_scan(files: Iterable[DataFile], times: int) -> int:
    """GETs of DuckDB for all columns of files: each column chunk by itself at the most."""
    return times * sum(OPENING + len(f.footer.rows) * len(f.footer.leaves) for f in files)


def to_write(files: int, size_bytes: int) -> int:
    """PUTs for new files of so many bytes together: begun and ended where they come in parts."""
    return 3 * files + size_bytes // PART_BYTES + COMMIT_WRITES


def to_list(files: int) -> int:
    """LISTs, at the price of PUTs, for a folder of so many files and as many again that are old."""
    return 2 * files // PAGE_FILES + 1
