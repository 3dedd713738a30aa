"""Workers that a batch system starts: HTCondor or Slurm, by dask-jobqueue.

Each job is a Dask worker with one process. What is not set here, dask-jobqueue takes from its own
configuration (jobqueue.yaml): a prologue that activates an environment, directives of a site.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lakeq.convert.executors.dask import Dask
from lakeq.errors import StorageUnavailable, UsageError, WorkerLost

if TYPE_CHECKING:
    from lakeq.config import JobSettings

SUBMIT = {"htcondor": "condor_submit", "slurm": "sbatch"}


class Jobs(Dask):
    """`count` jobs of a batch system, begun with the work and ended with it."""

    def __init__(self, name: str, settings: JobSettings, count: int) -> None:
        super().__init__("")
        self.name = name
        self._settings = settings
        self._count = count
        self._cluster: Any = None
        self.wait_s = settings.wait_s

    def begin(self) -> None:
        """Submit the jobs."""
        from shutil import which

        command = SUBMIT[self.name]
        if which(command) is None:
            hint = "run lakeq where jobs are submitted from"
            raise UsageError(f"there is no {command} on this machine", "--executor", hint)
        self._cluster = self.cluster()
        try:
            self._cluster.scale(jobs=self._count)
            self._address = self._cluster
            super().begin()
        except BaseException:
            self._cluster.close()
            raise

    def cluster(self) -> Any:
        """The dask-jobqueue cluster, with no job submitted yet."""
        try:
            from dask_jobqueue import htcondor, slurm
        except ImportError as error:
            hint = "pip install 'lakeq[dask]'"
            raise UsageError("dask-jobqueue is not installed", "--executor", hint) from error
        chosen = self._settings
        options: dict[str, Any] = {
            "cores": chosen.cores,
            "processes": 1,
            "memory": chosen.memory,
            "worker_extra_args": ["--nthreads", "1"],  # one unit at a time; it uses the cores
            "silence_logs": "error",
        }
        if chosen.folder:
            options["local_directory"] = chosen.folder
        if chosen.host:
            options["scheduler_options"] = {"host": chosen.host}
        if self.name == "htcondor":
            options["disk"] = chosen.disk
            extra = {"accounting_group": chosen.queue} if chosen.queue else {}
            if chosen.walltime:
                extra["+MaxRuntime"] = str(_seconds(chosen.walltime))
            options["job_extra_directives"] = extra
            made: Any = htcondor.HTCondorCluster
        else:
            options |= {"walltime": chosen.walltime or None, "queue": chosen.queue or None}
            made = slurm.SLURMCluster
        try:
            return made(**{k: v for k, v in options.items() if v is not None})
        except (OSError, ValueError, RuntimeError) as error:
            what = f"cannot ask for jobs: {error}"
            raise UsageError(what, "[jobs] of the settings", "docs/how-to/workers.md") from error

    def end(self, *, failed: bool) -> None:
        """End the work, then the jobs."""
        super().end(failed=failed)
        with suppress(Exception):  # a job that is gone cannot be ended
            self._cluster.close(timeout=10)

    def look(self) -> None:
        """Raise when a job could not be submitted, or none runs after the time that was set."""
        if self._cluster.status.name == "failed":
            raise StorageUnavailable(f"{SUBMIT[self.name]} failed", "--executor", "see its words")
        try:
            super().look()
        except WorkerLost as error:
            hint = "look at the queue; jobs.wait_s is how long to wait for it"
            raise WorkerLost(f"no job of {self.name} runs: {error.what}", "", hint) from error


def _seconds(walltime: str) -> int:
    """The seconds of HH:MM:SS."""
    total = 0
    for part in walltime.split(":"):
        total = total * 60 + int(part)
    return total
