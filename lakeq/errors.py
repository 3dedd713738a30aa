"""Every error a user can meet: what was wrong, where, and what to do next.

Exit codes are those of docs/reference/exit-codes.md; each class carries its own.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import ClassVar, Self


class LakeqError(Exception):
    """The base of all errors that lakeq raises on purpose.

    `what` quotes the offending value, `where` names the object, line, byte or query, and
    `hint` says what to do next; `where` and `hint` may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)


class QueryFailed(LakeqError):
    """The engine could not run the query; `what` holds the engine's own words."""


class OutOfMemory(QueryFailed):
    """A query that needs more than its `memory_limit` for what cannot be spilled."""


class QueryRefused(LakeqError):
    """The guard does not let this SQL run; nothing was read."""


class AssemblyMismatch(QueryRefused):
    """Tables of two genome assemblies meet in one join."""


class UsageError(LakeqError):
    """Arguments or configuration that do not fit together."""

    exit_code = 2


class BudgetRefused(LakeqError):
    """The query would pass its budget; nothing was read and nothing is owed."""

    exit_code = 3


class BudgetTooSmall(BudgetRefused):
    """It would cost more than the whole of a budget, so no waiting helps."""


class LimitPassed(BudgetRefused):
    """The query passed a limit while it ran and was stopped; what it had read is owed."""


class AccessDenied(LakeqError):
    """The storage refuses: credentials missing, wrong or expired, or requester pays."""

    exit_code = 4


class NotFound(LakeqError):
    """An object, bucket, snapshot or file that is not there."""

    exit_code = 5


class UnknownName(NotFound):
    """A dataset, table, column, format, query or engine that no catalog or module provides."""

    @classmethod
    def among(cls, kind: str, name: str, known: Collection[str], where: str) -> Self:
        """The error for `name`, with the nearest of the `known` names as its hint."""
        close = get_close_matches(name.lower(), [k.lower() for k in known], n=1)
        exact = next((k for k in known if close and k.lower() == close[0]), None)
        if exact is not None:
            hint = f"did you mean {exact}?"
        elif known:
            hint = f"choose from: {', '.join(sorted(known))}"
        else:
            hint = ""
        return cls(f"no {kind} named {name!r}", where, hint)


class StorageUnavailable(LakeqError):
    """A service that is unreachable or throttles, or a disk that is full: trying again can help."""

    exit_code = 6


class WorkerLost(LakeqError):
    """Workers of an ingest died of one object, or there are none; trying again can help."""

    exit_code = 6


class BadSource(LakeqError):
    """A raw object that is not what its format says; `where` names object and line or byte."""

    exit_code = 7


class SourceChanged(BadSource):
    """A raw object that became another version while it was read; reading it anew helps."""


class BadCatalog(LakeqError):
    """A catalog file that breaks the schema; `where` names file and line."""

    exit_code = 7


class BadLake(LakeqError):
    """A lake whose own files are damaged or missing; `where` names the file."""

    exit_code = 7
