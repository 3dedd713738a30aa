"""Places where SQL runs; this package says what an engine must offer.

An engine module `lakeq.engines.NAME` has a class `Engine` that is made from `Settings`, once for
each query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from lakeq.engines._meter import Allowance as Allowance

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.config import Settings
    from lakeq.snapshot import TableSnapshot

Row = tuple[object, ...]
UNLIMITED = Allowance()


class ResultColumn(NamedTuple):
    """One column of a result: its name and its type in the engine's words."""

    name: str
    type: str


class Read(NamedTuple):
    """`length` bytes that the engine took from `path`, beginning at `offset`."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Access:
    """Everything an engine took from storage for one query.

    `reads` are the byte ranges as they were requested, in order of request and repeats included;
    `opened` counts the files it looked up (a HEAD request each on S3). `signed` says that S3
    requests carried credentials, so that the caller's account pays for them.
    """

    reads: tuple[Read, ...]
    opened: int
    signed: bool = False

    @property
    def scanned_bytes(self) -> int:
        """Bytes read from storage, footers included, before any billing minimum."""
        return sum(read.length for read in self.reads)


class Running(Protocol):
    """A query that has begun: its rows come in order and once, in one of the two ways."""

    columns: tuple[ResultColumn, ...]

    def fetch(self, count: int) -> Sequence[Row]:
        """At most `count` further rows as Python values; none when the query is done.

        Raises `QueryFailed`, `BadLake` or a storage error when a row cannot be had.
        """
        ...

    def reader(self, rows_per_batch: int) -> pa.RecordBatchReader:
        """The further rows as Arrow record batches."""
        ...

    def access(self) -> Access:
        """What was read from storage up to now."""
        ...

    def close(self) -> None:
        """Stop the query and release what it holds; may be called again."""
        ...


class Engine(Protocol):
    """A place where SQL runs."""

    def serialize(self, sql: str) -> str:
        """DuckDB's `json_serialize_sql` of `sql`, for `lakeq.guard`."""
        ...

    def literal(self, value: object) -> str | None:
        """A parameter's `value` written as SQL; None where its type in SQL is not sure."""
        ...

    def logical_plan(self, sql: str, tables: Mapping[str, TableSnapshot]) -> str:
        """DuckDB's `json_serialize_plan` of `sql` over empty `tables`, for `lakeq.plan`."""
        ...

    def run(
        self,
        sql: str,
        parameters: Mapping[str, object],
        tables: Mapping[str, TableSnapshot],
        *,
        explain: bool = False,
        again: bool = False,
        allowance: Allowance = UNLIMITED,
    ) -> Running:
        """Start `sql`, which the guard let pass, over `tables` (by qualified name).

        With `explain` the query does not run: the rows are the lines of the engine's plan.
        `again` says that it reads the same parts again and again. Rows of a query that passes its
        `allowance` fail with `LimitPassed`.
        Raises `QueryFailed` with the engine's own words.
        """
        ...

    def access(self) -> Access:
        """What was read from storage up to now, also by a query that could not begin."""
        ...

    def close(self) -> None:
        """Release everything; may be called again."""
        ...


def names() -> list[str]:
    """The engines there are: every module of this package that is not private."""
    import pkgutil

    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str, settings: Settings) -> Engine:
    """A new engine called `name`; raise `UnknownName` with the nearest ones."""
    from importlib import import_module

    from lakeq.errors import UnknownName

    if name not in names():
        raise UnknownName.among("engine", name, names(), "the query")
    return cast("Engine", import_module(f"lakeq.engines.{name}").Engine(settings))
