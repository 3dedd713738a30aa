"""Which process holds a reservation, and whether it can still be alive.

A process is told from another that got its number later by the time it started. Numbers mean
something only in one place: this machine since it booted, in this PID namespace (a container has
its own). Of a process in another place nothing can be known; its reservations lapse by age.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

LEASE = timedelta(hours=24)  # of a reservation made in another place
_PROC = Path("/proc")


class Owner(NamedTuple):
    """A process: its machine, that machine's boot, its PID namespace, number and start.

    What the system does not tell is empty.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def here() -> Owner:
    """This process."""
    return _here(os.getpid())


@lru_cache(maxsize=1)
def _here(pid: int) -> Owner:
    try:
        namespace = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        namespace = ""
    boot = _text(_PROC / "sys/kernel/random/boot_id")
    return Owner(os.uname().nodename, boot, namespace, pid, _status(pid)[0])


def is_gone(owner: Owner, begun: datetime, now: datetime) -> bool:
    """Whether the process has ended, as far as can be known: when in doubt it has not.

    On this machine, in this namespace: it has ended when its number is free, belongs to a process
    that started at another time, or to a zombie. On this machine before it booted: it has ended.
    Elsewhere it counts as ended 24 hours after it `begun`.
    """
    me = here()
    if owner.host == me.host and owner.boot and me.boot and owner.boot != me.boot:
        return True
    if owner[:3] != me[:3]:
        return now - begun > LEASE
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is there, and another user's
    started, state = _status(owner.pid)
    return state in ("Z", "X") or bool(started and owner.started and started != owner.started)


def _status(pid: int) -> tuple[str, str]:
    """When the process started, in ticks since boot, and its state; empty without /proc."""
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (fields[19], fields[0]) if len(fields) > 19 else ("", "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
