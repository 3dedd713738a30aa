"""A Dask scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def started(arguments: list[str], environ: Mapping[str, str], folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environ},
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@contextmanager
def cluster(folder: Path, workers: int = 2, **environ: str) -> Iterator[str]:
    """A scheduler and workers, each with a nanny that starts it again; yields the executor."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["distributed.cli.dask_worker", f"127.0.0.1:{port}", "--nthreads", "1"]
    with started([*scheduler, "--no-dashboard", "--no-show"], environ, folder):
        if not workers:
            yield f"dask://127.0.0.1:{port}"
            return
        with started([*worker, "--nworkers", str(workers), "--no-dashboard"], environ, folder):
            yield f"dask://127.0.0.1:{port}"
