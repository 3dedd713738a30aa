"""Workers that read objects and write files: processes here, Dask, batch systems, AWS Lambda.

All of them take a unit as text and answer with text (`lakeq.convert.unit`). Who asks keeps the
books: which unit is to be done again, what is committed, what is swept.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lakeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from lakeq.config import Settings

NAMES = ("processes", "dask", "htcondor", "slurm", "lambda")
FORMS = "processes[:N], dask://HOST:PORT, htcondor[:JOBS], slurm[:JOBS], lambda:FUNCTION[:N]"
ATTEMPTS = 3  # at one unit; what kills three workers kills the fourth
_TEXT = re.compile(r"(?P<name>[a-z]+)(?P<rest>:.*)?\Z", re.DOTALL)
_COUNT = re.compile(r":(?P<count>[1-9][0-9]{0,3})\Z")
_FUNCTION = re.compile(r":(?P<function>[A-Za-z0-9_:.$-]+?)(?::(?P<count>[1-9][0-9]{0,3}))?\Z")
_ADDRESS = re.compile(r"://(?P<address>[A-Za-z0-9_.\-\[\]:]+:[0-9]{1,5})/?\Z")


class Workers(ABC):
    """Workers of one kind, between `begin` and `end`.

    A unit whose future fails is given to them again, up to `attempts` times in all. `repeat` says
    that they may run a unit twice unasked, `only_s3` that they see no disk of ours.
    """

    name = ""
    attempts = ATTEMPTS
    repeat = False
    only_s3 = False

    @abstractmethod
    def submit(self, unit: str) -> Future[str]:
        """The answer to `unit`; the future fails when its worker does."""

    def begin(self) -> None:  # noqa: B027  # most kinds, not all, have something to do here
        """Make ready."""

    def end(self, *, failed: bool) -> None:  # noqa: B027  # likewise
        """End all work, also what is not answered yet; `failed` says that there may be some."""

    def look(self) -> None:  # noqa: B027  # likewise
        """Raise `WorkerLost` when no worker is there, nor will be."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(failed=kind is not None)


class Over(Workers):
    """Workers of any executor of `concurrent.futures`, which is its owner's to end."""

    def __init__(self, executor: Executor) -> None:
        self.name = type(executor).__name__
        self._executor = executor

    def submit(self, unit: str) -> Future[str]:
        """Have `unit` run by the executor."""
        from lakeq.convert.run_part import run

        return self._executor.submit(run, unit)


def chosen(executor: str | Executor | None, settings: Settings) -> Workers | None:
    """The workers that `executor` names, not begun yet; None for none.

    Raises `UnknownName` for another kind and `UsageError` for what a kind does not understand.
    """
    if executor is None:
        return None
    if isinstance(executor, Executor):
        return Over(executor)
    found = _TEXT.match(executor.strip())
    name = found["name"] if found else executor
    if found is None or name not in NAMES:
        raise UnknownName.among("executor", name, NAMES, "--executor")
    return _MAKERS[name](found["rest"] or "", settings)


def _processes(rest: str, settings: Settings) -> Workers:
    import os

    from lakeq.convert.executors.processes import Processes

    return Processes(_count("processes", rest) or settings.threads or os.cpu_count() or 1)


def _dask(rest: str, _settings: Settings) -> Workers:
    from lakeq.convert.executors.dask import Dask

    found = _ADDRESS.match(rest)
    if found is None:
        raise _bad("dask", rest)
    return Dask(found["address"])


def _jobs(name: str) -> Callable[[str, Settings], Workers]:
    def made(rest: str, settings: Settings) -> Workers:
        from lakeq.convert.executors.jobs import Jobs

        return Jobs(name, settings.jobs, _count(name, rest) or settings.jobs.count)

    return made


def _lambda(rest: str, settings: Settings) -> Workers:
    from lakeq.convert.executors.aws_lambda import Lambda

    found = _FUNCTION.match(rest)
    if found is None:
        raise _bad("lambda", rest)
    return Lambda(found["function"], settings.s3, int(found["count"] or 0))


def _count(name: str, rest: str) -> int | None:
    found = _COUNT.match(rest)
    if rest and not found:
        raise _bad(name, rest)
    return int(found["count"]) if found else None


def _bad(name: str, rest: str) -> UsageError:
    return UsageError(f"cannot read {name + rest!r}", "--executor", f"write one of {FORMS}")


_MAKERS: dict[str, Callable[[str, Settings], Workers]] = {
    "processes": _processes,
    "dask": _dask,
    "htcondor": _jobs("htcondor"),
    "slurm": _jobs("slurm"),
    "lambda": _lambda,
}
