"""Workers of a Dask cluster: Dask gives a unit whose worker died to another one by itself."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

from lakeq.convert.executors import Workers
from lakeq.convert.run_part import run
from lakeq.errors import StorageUnavailable, UsageError, WorkerLost

CONNECT_S = 15
WORKERS_S = 60  # without a single worker
STOP_S = 30  # for units that run when the work is ended: Dask cannot stop them


def client(address: object, timeout_s: float = CONNECT_S) -> Any:
    """A client of the scheduler at `address`, or of a cluster object."""
    try:
        from distributed import Client

        connect: Any = Client  # it has no types
    except ImportError as error:
        hint = "pip install 'lakeq[dask]'"
        raise UsageError("Dask is not installed", "--executor", hint) from error
    try:
        return connect(address, timeout=timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        hint = "is the scheduler running, and the address right? dask scheduler --port 8786"
        what = f"no Dask scheduler answers within {timeout_s:g} s"
        raise StorageUnavailable(what, str(address), hint) from error


class Dask(Workers):
    """Workers behind the scheduler at `address` (HOST:PORT)."""

    attempts = 1  # Dask tries again by itself
    repeat = True
    name = "dask"
    wait_s = float(WORKERS_S)

    def __init__(self, address: str) -> None:
        self._address: object = f"tcp://{address}"
        self._client: Any = None
        self._executor: Executor | None = None
        self._running: set[Future[str]] = set()
        self._seen = 0.0

    def begin(self) -> None:
        """Connect to the scheduler."""
        self._client = client(self._address)
        self._executor = self._client.get_executor(pure=False)
        self._seen = time.monotonic()

    def end(self, *, failed: bool) -> None:
        """Give up what is not answered; wait a while for what runs, so that it can be swept."""
        until = time.monotonic() + STOP_S
        with suppress(Exception):  # a scheduler that is gone has nothing to give up
            if self._executor is not None:
                self._executor.shutdown(wait=False)
            while failed and time.monotonic() < until and self._is_at_work():
                time.sleep(0.2)
        with suppress(Exception):
            self._client.close(timeout=5)

    def _is_at_work(self) -> bool:
        return any(self._client.processing().values())

    def submit(self, unit: str) -> Future[str]:
        """Have `unit` run by some worker."""
        assert self._executor is not None
        return self._executor.submit(run, unit)

    def look(self) -> None:
        """Raise `WorkerLost` when the scheduler is gone, or had no worker for a minute."""
        now = time.monotonic()
        if self._client.status not in ("running", "connecting"):
            hint = "look at the scheduler's log, then run the command again"
            raise WorkerLost("the Dask scheduler is gone", str(self._address), hint)
        if self._client.scheduler_info(n_workers=1)["workers"]:
            self._seen = now
        elif now - self._seen > self.wait_s:
            what = f"the Dask scheduler had no worker for {self.wait_s:.0f} s"
            hint = "start some: dask worker HOST:PORT"
            raise WorkerLost(what, str(self._address), hint)
