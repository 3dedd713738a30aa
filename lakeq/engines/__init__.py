"""Places where SQL runs; this package says what an engine must offer.

An engine module `lakeq.engines.NAME` has a class `Engine` that is made from `Settings`, once for
each query.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from lakeq.engines._meter import Allowance as Allowance

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.config import Settings
    from lakeq.selection import Rows
    from lakeq.snapshot import TableSnapshot

Row = tuple[object, ...]
UNLIMITED = Allowance()


class ResultColumn(NamedTuple):
    """One column of a result: its name and its type in the engine's words."""

    name: str
    type: str


class Reference(NamedTuple):
    """What DuckDB says of a query before another engine runs it: how it means the text.

    `columns` are the result's, `literals` the parameters' values as DuckDB's SQL, `serialized` its
    parse tree; `low_bytes` and `high_bytes` are the plan's, and `athena_bytes` what it expects
    Athena to read.
    """

    columns: tuple[ResultColumn, ...]
    literals: Mapping[str, str]
    serialized: str
    low_bytes: int
    high_bytes: int
    athena_bytes: int


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
    requests carried credentials, so that the caller's account pays for them. An engine that tells
    no single reads gives their sum, `told_bytes`; `told_by` says whose word that is. `bill_usd` is
    what the engine itself asks, None where it asks nothing; `timings` are its own, in seconds.
    """

    reads: tuple[Read, ...]
    opened: int
    signed: bool = False
    told_bytes: int | None = None
    told_by: str = ""
    bill_usd: Decimal | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def scanned_bytes(self) -> int:
        """Bytes read from storage, footers included, before any billing minimum."""
        if self.told_bytes is not None:
            return self.told_bytes
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

    def run(
        self,
        sql: str,
        parameters: Mapping[str, object],
        tables: Mapping[str, TableSnapshot],
        *,
        explain: bool = False,
        again: bool = False,
        allowance: Allowance = UNLIMITED,
        reference: Reference | None = None,
    ) -> Running:
        """Start `sql`, which the guard let pass, over `tables` (by qualified name).

        With `explain` the query does not run: the rows are the lines of the engine's plan.
        `again` says that it reads the same parts again and again. Rows of a query that passes its
        `allowance` fail with `LimitPassed`. `reference` is DuckDB's word on the query, which every
        engine but DuckDB needs.
        Raises `QueryFailed` with the engine's own words.
        """
        ...

    def access(self) -> Access:
        """What was read from storage up to now, also by a query that could not begin."""
        ...

    def close(self) -> None:
        """Release everything; may be called again."""
        ...


class Planner(Engine, Protocol):
    """DuckDB, whose SQL is lakeq's: what it says of a query is what the query means."""

    def serialize(self, sql: str, *, whole: bool = False) -> str:
        """DuckDB's `json_serialize_sql` of `sql`; `whole` has what is null or empty too."""
        ...

    def deserialize(self, tree: str) -> str:
        """The text of a tree that `serialize` gave whole."""
        ...

    def offer(
        self,
        rows: Mapping[str, Rows],
        already: tuple[Read, ...] = (),
        signed: Callable[[], bool] = bool,
    ) -> None:
        """Take the `rows` of virtual tables by name, for the next run.

        `already` was read to choose them; `signed` tells whether requests for them were.
        """
        ...

    def literal(self, value: object) -> str | None:
        """A parameter's `value` written as SQL; None where its type in SQL is not sure."""
        ...

    def logical_plan(self, sql: str, tables: Mapping[str, TableSnapshot]) -> str:
        """DuckDB's `json_serialize_plan` of `sql` over empty `tables`, for `lakeq.plan`."""
        ...

    def describe(
        self,
        sql: str,
        parameters: Mapping[str, object],
        written: str,
        tables: Mapping[str, TableSnapshot],
    ) -> tuple[ResultColumn, ...]:
        """The columns that `sql` gives over `tables`; reads no data file.

        `written` is `sql` with values in the places of parameters. Raises `QueryFailed` with
        DuckDB's words.
        """
        ...


def names() -> list[str]:
    """The engines there are: every module of this package that is not private."""
    import pkgutil

    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _is_loaded(name: str) -> bool:
    """Whether it was found before: looking through the folder takes a millisecond."""
    return name.isidentifier() and name[0] != "_" and f"{__name__}.{name}" in sys.modules


def known(name: str) -> str:
    """`name` if there is such an engine; else raise `UnknownName` with the nearest ones."""
    from lakeq.errors import UnknownName

    if not _is_loaded(name) and name not in names():
        raise UnknownName.among("engine", name, names(), "the query")
    return name


def get(name: str, settings: Settings) -> Engine:
    """A new engine called `name`; raise `UnknownName` with the nearest ones."""
    from importlib import import_module

    known(name)
    return cast("Engine", import_module(f"lakeq.engines.{name}").Engine(settings))


def planner(settings: Settings) -> Planner:
    """The DuckDB that judges and plans a query, wherever it runs then."""
    return cast("Planner", get("duckdb", settings))
