"""Workers that are processes of this machine, each with one unit at a time.

Not a pool: when a worker of `ProcessPoolExecutor` is killed, all its futures fail and nobody knows
which unit did it. Here each worker is its own child, so only the unit that it had is lost. They are
started afresh, not forked, take no pickle and need no `if __name__ == "__main__"` in a script.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from lakeq.config import PACKAGE
from lakeq.convert.executors import Workers

MODULE = "lakeq.convert.run_part"


class Processes(Workers):
    """`count` workers; a dead one is replaced when the next unit comes."""

    name = "processes"

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: ThreadPoolExecutor | None = None
        self._own = threading.local()  # the child of each thread
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ended = False

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that run now."""
        with self._lock:
            return [child.pid for child in self._children if child.poll() is None]

    def begin(self) -> None:
        """Start nothing yet: a worker begins with its first unit."""
        self._threads = ThreadPoolExecutor(self._count, "lakeq-worker")

    def end(self, *, failed: bool) -> None:
        """End the workers, whatever they are at."""
        assert self._threads is not None
        with self._lock:
            self._ended = True
            children = list(self._children)
        for child in children:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in children:
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def submit(self, unit: str) -> Future[str]:
        """Have `unit` run by the next worker that is free."""
        assert self._threads is not None
        return self._threads.submit(self._run, unit)

    def _run(self, unit: str) -> str:
        child: subprocess.Popen[str] | None = getattr(self._own, "child", None)
        if child is None or child.poll() is not None:
            child = self._own.child = self._started()
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(BrokenPipeError):  # how it ended is told below
            child.stdin.write(unit + "\n")
            child.stdin.flush()
        answer = child.stdout.readline()
        if not answer.endswith("\n"):
            child.kill()
            raise RuntimeError(_ended(child.wait()))
        if answer.startswith('{"crash"'):
            raise RuntimeError(json.loads(answer)["crash"])
        return answer

    def _started(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        with self._lock:
            if self._ended:
                raise RuntimeError("the workers were ended")
            child = subprocess.Popen(
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # ^C in the terminal is this process's to handle
                env={**os.environ, "PYTHONPATH": path},
            )
            self._children = {old for old in self._children if old.poll() is None} | {child}
        return child


def _ended(code: int) -> str:
    """How a process ended, by what `wait` gave."""
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    more = ": the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"{name} ended it{more}"
