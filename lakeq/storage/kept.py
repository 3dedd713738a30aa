"""Ways to S3 kept between the queries of a process, with their open connections.

A client takes 10 ms of CPU to make, and each of its connections a round trip; a server that closes
one that was not used is asked again over a new one. Other settings, credentials or files of
credentials are another way.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq.config import S3Settings
    from lakeq.storage.s3 import Buckets

MOST = 4  # ways that are kept; of more the oldest goes
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


class _Kept:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[object, Buckets] = {}


_kept = _Kept()


def buckets(settings: S3Settings) -> Buckets:
    """The buckets as `settings` and this process's environment reach them."""
    from lakeq.storage.s3 import Buckets

    key = settings, _surroundings()
    with _kept.lock:
        found = _kept.known.pop(key, None) or Buckets(settings)
        _kept.known[key] = found
        while len(_kept.known) > MOST:
            del _kept.known[next(iter(_kept.known))]
    return found


def _surroundings() -> tuple[object, ...]:
    """What else decides how a new client would sign and connect."""
    named = tuple(sorted(item for item in os.environ.items() if _counts(item[0])))
    changed = []
    for variable, usual in _FILES.items():
        try:
            changed.append(Path(os.environ.get(variable, usual)).expanduser().stat().st_mtime_ns)
        except (OSError, RuntimeError):
            changed.append(0)
    return named, tuple(changed)


def _counts(variable: str) -> bool:
    return variable.startswith("AWS_") or variable.upper().endswith("_PROXY")


def _after_fork() -> None:
    """A child shares no connection with its parent."""
    global _kept  # noqa: PLW0603
    _kept = _Kept()


os.register_at_fork(after_in_child=_after_fork)
