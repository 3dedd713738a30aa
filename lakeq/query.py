"""A query from its text to its rows and its report: guard, snapshots, engine, `Result`."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from lakeq import cost, engines, guard, limits, planner
from lakeq._query_account import Account, s3_bill
from lakeq._query_plan import PLANNER, planned, virtual_tables, written_out
from lakeq._query_report import Report as Report  # noqa: PLC0414  # a name of this module too
from lakeq._query_text import check_parameters, with_dollars, with_values
from lakeq.config import NO_LIMITS, Limits
from lakeq.engines import Access, Allowance, Reference, ResultColumn, Row, Running
from lakeq.errors import BudgetRefused, LimitPassed, NotFound, UsageError
from lakeq.neutral import neutral
from lakeq.planner import Plan

if TYPE_CHECKING:
    from decimal import Decimal

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from lakeq._virtual import Virtual
    from lakeq.alerts import Alert
    from lakeq.catalog import Dataset, Table
    from lakeq.config import Settings
    from lakeq.cost import PriceBook
    from lakeq.digest import Digest
    from lakeq.snapshot import TableSnapshot

ROWS_PER_FETCH = 10_000
ROWS_PER_BATCH = 100_000
HTML_ROWS = 20
MISSING = "NULL"


class Snapshots(Protocol):
    """What a query needs of the lake."""

    def tables(self) -> Sequence[str]:
        """The tables that are in the lake."""
        ...

    def read(
        self, names: Sequence[str], at: int | str | datetime | None = None
    ) -> Mapping[str, TableSnapshot]:
        """What the tables `names` hold at one moment, by name."""
        ...

    def check_unchanged(self, tables: Iterable[TableSnapshot]) -> None:
        """Raise `BadLake` when a local file of `tables` is not what was written."""
        ...


@dataclass(slots=True)
class _Bill:
    """What is needed to write the report once the rows are through."""

    running: Running
    tables: Mapping[str, TableSnapshot]
    plan: Plan
    started: float
    account: Account
    engine: str
    virtual: Virtual | None = None
    notes: tuple[str, ...] = ()
    rows: int = 0
    truncated: bool = False

    def settle(self, error: BaseException | None = None) -> Report:
        """Stop the clock, count the bytes, release the engine, enter it all in the ledger."""
        seconds = time.perf_counter() - self.started
        access = self.running.access()
        self.running.close()
        used = planner.usage(self.tables.values(), access.reads)
        if access.told_bytes is not None:  # an engine that tells no files: those of the plan
            used = replace(used, files_read=self.plan.files, row_groups_read=self.plan.row_groups)
        if self.virtual is not None:
            used = self.virtual.usage(used)
        requests, billed_bytes, billed_requests = s3_bill(access)
        book = self.plan.prices
        stopped = (error.what,) if isinstance(error, LimitPassed) else ()
        report = Report(
            rows=self.rows,
            seconds=seconds,
            bytes_scanned=access.scanned_bytes,
            bytes_total=used.bytes_total,
            files_read=used.files_read,
            files_total=used.files_total,
            row_groups_read=used.row_groups_read,
            row_groups_total=used.row_groups_total,
            cost_usd=_asked(access, book),
            s3_requests=requests,
            s3_cost_usd=cost.s3_requests_cost_usd(billed_requests, book),
            egress_usd=cost.egress_cost_usd(billed_bytes, book),
            snapshots={name: table.snapshot_id for name, table in self.tables.items()},
            truncated=self.truncated,
            plan=self.plan,
            prices_date=book.date,
            notes=(*stopped, *access.notes, *self.notes),
            engine=self.engine,
            bytes_told_by=access.told_by,
            timings=dict(access.timings),
        )
        self.account.settle(access, self.tables, error, rows=self.rows, seconds=seconds)
        return report


class Result:
    """The rows of one query and their report.

    Rows come once, in the order of the query. `df`, `arrow`, `pl` and `rows` hold all of them and
    may be called again and in any order; `batches`, `stream` and `__arrow_c_stream__` pass them on
    in constant memory, and then they are gone.
    """

    def __init__(
        self,
        running: Running,
        ready: Ready,
        account: Account,
        limit: int | None = None,
    ) -> None:
        self._running = running
        self._bill = _Bill(
            running,
            ready.tables,
            ready.plan,
            ready.started,
            account,
            ready.engine,
            notes=ready.notes,
            virtual=ready.virtual,
        )
        self._account = account
        self._dropped = weakref.finalize(self, self._bill.settle, GeneratorExit())
        self._limit = limit
        self._table: pa.Table | None = None
        self._report: Report | None = None
        self._streamed = False

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """Names and engine types of the columns."""
        return self._running.columns

    @property
    def plan(self) -> Plan:
        """What was said before the query ran."""
        return self._bill.plan

    @property
    def snapshots(self) -> Mapping[str, int]:
        """The snapshot that is read of each table."""
        return {name: table.snapshot_id for name, table in self._bill.tables.items()}

    @property
    def line(self) -> int | None:
        """The query's number in the ledger, for `lakeq rerun`; None until its rows are through."""
        return self._account.run.line

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The budget alerts that this query set off."""
        return self._account.run.alerts

    @property
    def digest(self) -> Digest | None:
        """What identifies the rows, once they are through; None of more than `digest_rows`."""
        return self._account.digest

    @property
    def report(self) -> Report:
        """What the query took; waits for its last row if that has not been read."""
        if self._report is None:
            if self._streamed:
                raise UsageError("the rows are still being read", "the result")
            self.arrow()
        assert self._report is not None
        return self._report

    def stream(self, count: int = ROWS_PER_FETCH) -> Iterator[Sequence[Row]]:
        """The rows as Python values, at most `count` at a time; loads neither Arrow nor pandas."""
        self._begin()
        with self._settling():
            while rows := self._running.fetch(self._wanted(count)):
                kept = rows[: self._room()]
                self._bill.truncated = len(kept) < len(rows)
                self._bill.rows += len(kept)
                self._account.saw(kept)
                if kept:
                    yield kept
                if self._bill.truncated:
                    break

    def batches(self, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow record batches."""
        if self._table is not None:
            yield from self._table.to_batches(max_chunksize=rows_per_batch)
            return
        self._begin()
        yield from self._pass_on(self._running.reader(self._wanted(rows_per_batch)))

    def _pass_on(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._settling():
            for batch in reader:
                kept = batch.slice(0, self._room())
                self._bill.truncated = len(kept) < len(batch)
                self._bill.rows += len(kept)
                self._account.saw_batch(kept)
                if len(kept):
                    yield kept
                if self._bill.truncated:
                    break

    def reader(self, rows_per_batch: int = ROWS_PER_BATCH) -> pa.RecordBatchReader:
        """The rows as a record batch reader: the schema first, then the batches as they come."""
        import pyarrow as pa

        if self._table is not None:
            return self._table.to_reader(max_chunksize=rows_per_batch)
        self._begin()
        source = self._running.reader(self._wanted(rows_per_batch))
        return pa.RecordBatchReader.from_batches(source.schema, self._pass_on(source))

    def arrow(self) -> pa.Table:
        """All rows as an Arrow table."""
        if self._table is None:
            self._table = self.reader().read_all()
        return self._table

    def rows(self) -> list[Row]:
        """All rows as tuples of Python values."""
        table = self.arrow()
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def df(self) -> pd.DataFrame:
        """All rows as a pandas frame; `df.attrs["lakeq"]` has the report.

        Whole numbers and booleans get pandas' nullable types, so that NULL does not turn them
        into floats.
        """
        import pandas as pd
        import pyarrow as pa

        nullable = {
            pa.bool_(): pd.BooleanDtype(),
            pa.int8(): pd.Int8Dtype(),
            pa.int16(): pd.Int16Dtype(),
            pa.int32(): pd.Int32Dtype(),
            pa.int64(): pd.Int64Dtype(),
        }
        frame = self.arrow().to_pandas(types_mapper=nullable.get)
        frame.attrs["lakeq"] = self.report.to_dict()
        return frame

    def pl(self) -> pl.DataFrame:
        """All rows as a polars frame."""
        try:
            import polars as pl
        except ImportError as error:
            hint = "pip install 'lakeq[polars]'"
            raise UsageError("polars is not installed", "Result.pl()", hint) from error
        frame = pl.from_arrow(self.arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows for any library that takes Arrow's C stream (PyCapsule interface)."""
        return self.reader().__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Stop the query; rows not yet read are lost."""
        self._streamed = True
        self._end(GeneratorExit())

    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        state = "rows not read yet" if self._report is None else str(self._report)
        return f"<lakeq.Result ({names}): {state}>"

    def _repr_html_(self) -> str:
        from html import escape

        table = self.arrow()
        head = "".join(f"<th>{escape(neutral(column.name))}</th>" for column in self.columns)
        shown = zip(*(c.to_pylist() for c in table.slice(0, HTML_ROWS).columns), strict=True)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(neutral(_cell(value)))}</td>" for value in row) + "</tr>"
            for row in shown
        )
        more = f"<p>first {HTML_ROWS} rows</p>" if table.num_rows > HTML_ROWS else ""
        report = escape(str(self.report)).replace("\n", "<br>")
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
            f"<p><small>{report}</small></p>"
        )

    def _begin(self) -> None:
        if self._streamed or self._report is not None:
            hint = "run the query again, or keep the rows: arrow(), df(), rows()"
            raise UsageError("the rows of this result have been passed on", "the result", hint)
        self._streamed = True

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Settle the bill however the reading of the rows ends."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        if self._report is None:
            self._dropped.detach()
            self._report = self._bill.settle(error)

    def _room(self) -> int | None:
        return None if self._limit is None else self._limit - self._bill.rows

    def _wanted(self, count: int) -> int:
        """One row more than there is room for tells whether rows were left out."""
        room = self._room()
        return count if room is None else min(count, room + 1)


def _asked(access: Access, book: PriceBook) -> Decimal:
    """What the engine asks, or Athena would ask for what it read."""
    if access.bill_usd is not None:
        return access.bill_usd
    return cost.athena_cost_usd(access.scanned_bytes, book)


def _cell(value: object) -> str:
    return MISSING if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Ready:
    """A query that the guard let pass and that is planned: all that is needed to run it.

    `planner` is the DuckDB that judged it, `engine` the name of what is to run it. `serialized` is
    the query as DuckDB's parser tells it.
    `tables` are whole; `needed` are the same with only the files that the query may need.
    """

    planner: engines.Planner
    engine: str
    settings: Settings
    sql: str
    serialized: str
    parameters: Mapping[str, object]
    explain: bool
    tables: Mapping[str, TableSnapshot]
    needed: Mapping[str, TableSnapshot]
    plan: Plan
    again: bool
    notes: tuple[str, ...]
    started: float
    used: tuple[Table, ...]
    datasets: Mapping[str, Dataset]
    virtual: Virtual | None = None
    counted: bool = False

    def advised(self) -> Plan:
        """The plan with advice and with cheaper queries, each of them planned here and now."""
        if self.virtual is not None:
            return self.plan
        from lakeq import _advice

        def tried(text: str) -> Plan | None:
            found = planned(
                self.planner, text, self.parameters, self.tables, self.plan.prices, stops=False
            )
            return found.plan if found.known else None

        cheaper = _advice.rewrites(
            self.sql, self.plan, self.used, self.tables, tried, counted=self.counted
        )
        advice = _advice.advice(self.plan, self.used, self.datasets)
        return replace(self.plan, advice=tuple(advice), cheaper=tuple(cheaper))

    def place(self) -> tuple[engines.Engine, Reference | None]:
        """The engine that is to run it, and what DuckDB tells it of the query."""
        if self.engine == PLANNER:
            return self.planner, None
        reference = self._reference()
        self.planner.close()
        return engines.get(self.engine, self.settings), reference

    def run(
        self,
        place: engines.Engine,
        reference: Reference | None,
        account: Account,
        max_rows: int | None = None,
        most: Limits = NO_LIMITS,
    ) -> Result:
        """Start it; `account` is settled with its result. It is stopped when it passes `most`."""
        if self.virtual is not None:
            self.virtual.offer(self.planner)
        running = place.run(
            self.sql,
            self.parameters,
            self.needed,
            explain=self.explain,
            again=self.again,
            allowance=self._allowance(most),
            reference=reference,
        )
        return Result(running, self, account, max_rows)

    def _reference(self) -> Reference:
        """What DuckDB says of the query, for an engine with another SQL."""
        literals = {name: self.planner.literal(value) for name, value in self.parameters.items()}
        written = {name: text for name, text in literals.items() if text is not None}
        for name in literals.keys() - written.keys():
            what = (
                f"the value of ${name} has no text in SQL: {type(self.parameters[name]).__name__}"
            )
            raise UsageError(what, f"engine {self.engine}", "give numbers, text, dates or lists")
        return Reference(
            columns=self.planner.describe(
                self.sql, self.parameters, with_values(self.sql, written), self.tables
            ),
            literals=written,
            serialized=self.serialized,
            low_bytes=self.plan.low_bytes,
            high_bytes=self.plan.high_bytes,
            athena_bytes=self.plan.athena_bytes,
        )

    def _allowance(self, most: Limits) -> Allowance:
        book = self.plan.prices
        where = (
            "on Athena" if self.virtual is None else "at Athena's price, which cannot read these"
        )
        return Allowance(
            bytes=limits.allowed_bytes(most, self.plan),
            seconds=most.max_seconds,
            words=lambda size: f"{cost.dollars(cost.athena_cost_usd(size, book))} {where}",
        )


def run(
    sql: str,
    *,
    datasets: Mapping[str, Dataset],
    lake: Snapshots,
    settings: Settings,
    parameters: Mapping[str, object] | None = None,
    at: int | str | datetime | None = None,
    across_assemblies: bool = False,
    max_rows: int | None = None,
) -> Result:
    """Start one SELECT over the lake's tables.

    `parameters` are bound to `$name` (or `:name`) in the text; `at` is a snapshot or a time for
    all tables. Raises what the guard, the lake and the engine raise, and `BudgetRefused` before
    anything is read when the plan may pass one of the settings' limits; rows fail while being read.
    """
    if max_rows is not None and max_rows < 0:
        raise UsageError(f"max_rows = {max_rows}: expected 0 or more", "the query")
    options = {"at": at, "across_assemblies": across_assemblies, "max_rows": max_rows}
    account = Account(settings, sql, parameters or {}, options)
    with account.failing():
        ready = prepare(
            sql,
            datasets=datasets,
            lake=lake,
            settings=settings,
            parameters=parameters,
            at=at,
            across_assemblies=across_assemblies,
            stops=max_rows is not None,
        )
    with account.failing(ready.planner, ready.tables):
        account.allowed(ready.serialized)
        if limits.passed(settings.limits, ready.plan):
            limits.refuse(settings.limits, ready.advised())
        try:
            most = account.reserve(ready.plan, ready.tables, settings.limits)
        except BudgetRefused as refusal:
            raise limits.with_cheaper(refusal, ready.advised()) from refusal
        if not ready.explain:
            lake.check_unchanged(ready.needed.values())
        place, reference = ready.place()
    with account.failing(place, ready.tables):
        return ready.run(place, reference, account, max_rows, most)


def prepare(
    sql: str,
    *,
    datasets: Mapping[str, Dataset],
    lake: Snapshots,
    settings: Settings,
    parameters: Mapping[str, object] | None = None,
    at: int | str | datetime | None = None,
    across_assemblies: bool = False,
    stops: bool = False,
) -> Ready:
    """Guard and plan one SELECT, and start nothing; `stops` when not all rows may be fetched.

    The caller runs the query or closes its `planner`.
    """
    given = dict(parameters or {})
    started = time.perf_counter()
    engine = engines.known(settings.engine)
    place = engines.planner(settings)

    told: list[str] = []

    def serialize(text: str) -> str:
        told.append(place.serialize(text))
        return told[-1]

    try:
        text = with_dollars(sql, given)
        allowed = guard.check(text, datasets, serialize, across_assemblies=across_assemblies)
        check_parameters(allowed.parameters, given)
        allowed = written_out(allowed, place)
        names = [table.qualified for table in allowed.tables if not table.index]
        _check_ingested(names, lake.tables())
        tables = dict(lake.read(names, at))
        virtual = virtual_tables(allowed, settings, place, given, partial(lake.read, at=at))
        text = virtual.sql if virtual else allowed.sql
        book = cost.prices(settings.prices)
        if allowed.explain:
            found = planner.nothing(tables, book)
        else:
            found = planned(place, text, given, tables, book, stops=stops, virtual=virtual)
        tables |= virtual.held if virtual else {}
        return Ready(
            planner=place,
            engine=engine,
            settings=settings,
            sql=text,
            serialized=told[-1],
            parameters=given,
            explain=allowed.explain,
            tables=tables,
            needed=found.tables,
            plan=found.plan,
            again=found.again,
            notes=_fallen_behind(allowed.tables, tables, lake, at),
            started=started,
            used=tuple(allowed.tables),
            datasets=datasets,
            virtual=virtual,
            counted=found.counted,
        )
    except BaseException:
        place.close()
        raise


def _fallen_behind(
    used: Iterable[Table],
    tables: Mapping[str, TableSnapshot],
    lake: Snapshots,
    at: int | str | datetime | None,
) -> tuple[str, ...]:
    """A note for each slice among `used` whose tables have changed since it was made."""
    notes = []
    for name in [table.qualified for table in used if table.query]:
        from lakeq import refresh

        present = set(lake.tables())
        names = [source for source in refresh.sources(tables[name]) if source in present]
        now = {n: found.snapshot_id for n, found in lake.read(names, at).items()}
        if changed := refresh.behind(tables[name], now):
            notes.append(
                f"{name} was made before {' and '.join(changed)} changed: lakeq refresh {name}"
            )
    return tuple(notes)


def _check_ingested(names: Sequence[str], present: Sequence[str]) -> None:
    for name in names:
        if name not in present:
            dataset = name.partition(".")[0]
            hint = f"ingest it: lakeq ingest {dataset} OBJECT…; its source: lakeq describe {name}"
            raise NotFound(f"the table {name} is not in the lake yet", "the query", hint)
