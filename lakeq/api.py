"""The public handle: connect to a lake, ingest into it, ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq.errors import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import xarray as xr

    from lakeq.arrays import Order, Values
    from lakeq.arrays.scenes import Values as SceneValues
    from lakeq.catalog import Catalog, Column, Dataset, Table
    from lakeq.compare import Comparison
    from lakeq.config import Limits, Settings
    from lakeq.convert import IngestReport
    from lakeq.keys import Moment
    from lakeq.lake import IcebergLake
    from lakeq.ledger import Ledger
    from lakeq.ledger_report import Entry, Filter, Share
    from lakeq.maintain import MaintenanceReport
    from lakeq.named import NamedQuery
    from lakeq.planner import Plan
    from lakeq.publish import PublishReport
    from lakeq.query import Result
    from lakeq.quote import Quote
    from lakeq.refresh import RefreshReport
    from lakeq.rerun import Rerun
    from lakeq.script import Script
    from lakeq.snapshot import SnapshotInfo, TableSnapshot
    from lakeq.verify import VerifyReport


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of the catalog, and what the lake holds of it: `snapshot` is None when nothing."""

    dataset: Dataset
    table: Table
    snapshot: TableSnapshot | None

    @property
    def name(self) -> str:
        """The name used in SQL: dataset.table."""
        return self.table.qualified

    @property
    def columns(self) -> tuple[Column, ...]:
        """The catalog's columns, with types, units and meaning."""
        return self.table.columns

    @property
    def rows(self) -> int:
        """Rows in the lake."""
        return self.snapshot.rows if self.snapshot else 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the table's files."""
        return self.snapshot.size_bytes if self.snapshot else 0

    @property
    def files(self) -> int:
        """Number of the table's files."""
        return len(self.snapshot.files) if self.snapshot else 0

    @property
    def made_from(self) -> Mapping[str, int]:
        """Of a slice, the snapshot of each table that it was made from."""
        from lakeq import refresh

        made = refresh.made_from(self.snapshot) if self.snapshot else {}
        return {name: int(number) for name, number in made.items() if name != "sql"}

    @property
    def partitions(self) -> tuple[str, ...]:
        """The values that the table is partitioned by, as `contig=22`, sorted."""
        files = self.snapshot.files if self.snapshot else ()
        found = {tuple(file.partition) for file in files if file.partition}
        return tuple(sorted(",".join(f"{k}={v}" for k, v in parts) for parts in found))


class Lake:
    """One lake and its catalog; cheap to make, safe to keep."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def catalog(self) -> Catalog:
        """The datasets that lakeq and the user's own catalogs describe."""
        from lakeq import catalog

        return catalog.load(self.settings.catalogs)

    @cached_property
    def _iceberg(self) -> IcebergLake:
        from lakeq.lake import IcebergLake

        return IcebergLake(self.settings)

    def sql(
        self,
        query: str,
        params: Mapping[str, object] | None = None,
        *,
        at: int | str | datetime | None = None,
        across_assemblies: bool = False,
        max_rows: int | None = None,
        engine: str | None = None,
        **limits: object,
    ) -> Result:
        """Run one SELECT, or the named query `@name`, and return its rows and its report.

        `params` are bound to `$name` or `:name` in the text, never pasted into it. `at` is a
        snapshot id or a UTC time for all tables. `across_assemblies` lets tables of two genome
        assemblies meet in a join. `max_rows` stops reading after so many rows. `engine` is where it
        runs: duckdb (here), spark or athena, by default that of the settings. `limits` are
        `max_usd`, `max_bytes` and `max_seconds`, which come before those of the settings.

        Raises `BudgetRefused` before anything is read when the plan may pass a limit, and while
        reading when the query does; `QueryRefused` and `AssemblyMismatch` before anything is read,
        `UnknownName` for a table, `NotFound` for one that is not ingested, `QueryFailed` with the
        engine's words.
        """
        from lakeq import config
        from lakeq import query as _query

        query, params = self._named(query, params)
        return _query.run(
            query,
            datasets=self.catalog.datasets,
            lake=self._iceberg,
            settings=config.with_limits(self.settings, limits, engine),
            parameters=params,
            at=at,
            across_assemblies=across_assemblies,
            max_rows=max_rows,
        )

    def script(
        self,
        text: str,
        params: Mapping[str, object] | None = None,
        *,
        at: int | str | datetime | None = None,
        across_assemblies: bool = False,
        max_rows: int | None = None,
        engine: str | None = None,
        **limits: object,
    ) -> Script:
        """Several SELECTs with semicolons between, and one bill for all of them.

        Iterating runs one after the other and gives the result of each, to be read before the
        next. All are planned before the first runs: what they may cost together is held against
        the limits, which are for the whole script, and against budgets. Arguments are those of
        `sql`; a parameter goes to the statements that name it.
        """
        from lakeq import _query_text, config
        from lakeq.script import Script

        options: dict[str, Any] = {"at": at, "across_assemblies": across_assemblies}
        options["max_rows"] = max_rows
        most = config.with_limits(self.settings, limits).limits

        def ask(sql: str, values: Mapping[str, object], left: Limits) -> Result:
            given = {name: getattr(left, name) for name in left.__slots__}
            return self.sql(sql, values, engine=engine, **options, **given)

        def plan(sql: str, values: Mapping[str, object]) -> Plan:
            return self.plan(sql, values, **options)

        found = _query_text.statements(text)
        if not found:
            raise UsageError("no statement", "the script", "write SELECTs, with ; between them")
        return Script(found, params or {}, plan, ask, most, self.ledger)

    def compare(
        self,
        query: str,
        params: Mapping[str, object] | None = None,
        *,
        engines: Sequence[str] = ("duckdb", "spark"),
        **options: Any,
    ) -> Comparison:
        """Run `query` on each of `engines`, one after the other, and hold their rows together.

        `options` are those of `sql`, which also says what is raised. Each run asks its own price.
        """
        from lakeq import compare

        run = partial(self.sql, query, params, **options)
        return compare.compare(run, engines, self._named(query, params), self.settings)

    def plan(
        self,
        query: str,
        params: Mapping[str, object] | None = None,
        *,
        at: int | str | datetime | None = None,
        across_assemblies: bool = False,
        max_rows: int | None = None,
    ) -> Plan:
        """What `sql` with the same arguments would read and cost; reads no data file.

        Raises what `sql` raises before it reads, but for limits: a plan may pass them.
        """
        from lakeq import query as _query

        query, params = self._named(query, params)
        tally = self._iceberg.tally
        asked, read = tally.requests, tally.bytes_read
        ready = _query.prepare(
            query,
            datasets=self.catalog.datasets,
            lake=self._iceberg,
            settings=self.settings,
            parameters=params,
            at=at,
            across_assemblies=across_assemblies,
            stops=max_rows is not None,
        )
        try:
            took = tally.requests.since(asked)
            return ready.advised().planned_with(tally.bytes_read - read, took.gets + took.puts)
        finally:
            ready.planner.close()

    def _named(
        self, query: str, params: Mapping[str, object] | None
    ) -> tuple[str, Mapping[str, object] | None]:
        if not query.startswith("@"):
            return query, params
        named = self.query(query)
        return named.sql, named.values(params or {})

    def open_radar(
        self,
        site: str,
        time: object,
        *,
        sweeps: Sequence[int] | None = None,
        moments: Sequence[str] | None = None,
        order: Order = "azimuth",
        values: Values = "scaled",
        tolerance: timedelta | None = None,
        dataset: str = "nexrad",
    ) -> xr.DataTree:
        """One radar volume as an xarray DataTree after FM301/CfRadial2: a node for each sweep.

        `site` is the radar, such as KTLX, `time` the UTC start of the volume to the second, as
        text, datetime or numpy's; with a `tolerance` the volume that starts nearest to it. Only
        the rows and columns of `sweeps` (numbers from 0) and `moments` (DBZH, VRADH, WRADH, ZDR,
        PHIDP, RHOHV, CCORH) are read; the root's attributes say how many bytes and dollars.

        Rays are sorted by azimuth, or with order="time" stand as they were measured, `time` then
        being their dimension. `values` "scaled" are those of xradar, to the last bit: codes that
        say below threshold or range folded are scaled like all others, -33 and -32.5 for DBZH;
        "masked" makes both NaN; "codes" are the integers that the radar sent. Moments whose gates
        lie elsewhere than those of `range` have a dimension of their own, `range_NAME`. Sweeps
        that are not whole have the rays there are, and the attribute complete = 0.

        Raises `NotFound`, which names the nearest volume times, sweeps or moments.
        """
        from lakeq import arrays

        self.catalog.dataset(dataset, "open_radar")
        choice = arrays.Choice(sweeps, moments, order, values)
        return arrays.open_radar(self.sql, site, time, choice, tolerance=tolerance, dataset=dataset)

    def open_scenes(  # noqa: PLR0913  # options by keyword
        self,
        products: str | Sequence[str] = (),
        *,
        bands: str | Sequence[str] = ("red", "nir08", "qa_pixel"),
        path_row: str = "",
        start: Moment | None = None,
        end: Moment | None = None,
        max_cloud: float = 100.0,
        level: str = "L2",
        box: tuple[float, float, float, float] | None = None,
        values: SceneValues = "scaled",
    ) -> xr.Dataset:
        """Landsat scenes as one lazy Dataset: bands over (time, y, x) on their common grid.

        `products` are product identifiers; instead of them `path_row` (28/30), `start` until
        before `end`, `max_cloud` (percent) and `level` choose the newest product of each scene.
        `box` (west, south, east, north in degrees) crops to the pixels that it touches. `bands`
        are common names (red, nir08, qa_pixel) or those of files (SR_B4).

        `values` "scaled" are reflectance and kelvin as float32, NaN where there is no data; bands
        of quality stay as they are. "stored" are the integers of the files, with `nodata`,
        `scale_factor` and `add_offset` as attributes, equal to odc-stac's. Outside of a scene's
        image there is no data. `x` and `y` are middles of pixels in m; `spatial_ref` is the
        reference system as rioxarray writes it. Opening reads the headers of the files, values
        are read when they are asked for, block by block.

        Raises `NotFound` for scenes not in the lake, `UnknownName` for bands, `AccessDenied` for
        files that lie elsewhere than metadata and catalog, `UsageError` for several maps.
        """
        from lakeq.arrays import scenes as _scenes
        from lakeq.convert import select
        from lakeq.storage import Storage

        storage = Storage(self.settings)
        tables = tuple(self.catalog.dataset("landsat", "open_scenes").tables.values())
        pairs = select.places((), path_row)
        pair = (int(pairs[0]["path"][0]), int(pairs[0]["row"][0])) if pairs else None
        named = (products,) if isinstance(products, str) and products else tuple(products)
        choice = _scenes.Choice(named, pair, start, end, max_cloud, level, box)
        wanted = (bands,) if isinstance(bands, str) else tuple(bands)
        opened = partial(storage.source, tables=tables)
        return _scenes.open_scenes(self.sql, opened, choice, wanted, values, tables)

    def ingest(  # noqa: PLR0913  # options by keyword, as the command has them
        self,
        dataset: str,
        objects: Sequence[str | Path] = (),
        *,
        site: str | Sequence[str] = (),
        path_row: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        keys: str = "",
        new_only: bool = False,
        tables: Sequence[str] | None = None,
        materialize: Sequence[str] = (),
        panel: str | Path | None = None,
        strict: bool = False,
        region: str | Sequence[str] = (),
        samples: Sequence[str] | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
        executor: str | Executor | None = None,
    ) -> IngestReport:
        """Replace the rows of `objects` by what the objects hold now, a hundred in each commit.

        `dataset` is a dataset, or `dataset.table` for one of its tables; `tables` names several,
        `materialize` virtual ones whose rows are written to the lake as well, for other engines.
        `objects` are paths, globs, s3:// and https:// URIs. `panel` says which population each
        sample belongs to; "" means there is no panel. `progress` is told an object, its bytes
        read and its size.

        Instead of `objects`, `site` or `path_row` (of Landsat, 28/30, one or several), `start` and
        `end` choose from the dataset's archive, listed only where such objects can lie. Times are
        UTC, from `start` until before `end`; a date as `end` includes that day. `keys` names
        another template of the catalog than its first, or is one, for a mirror of the archive.
        `new_only` leaves out what the lake has in all these tables already, whatever became of
        the object since.

        `strict` refuses an object that deviates from its format's specification anywhere. `region`
        (22:16050000-17000000, one or several) limits the rows to what overlaps one, `samples` to
        the calls of these.

        `executor` has each object read by a worker elsewhere, while the commits stay here:
        processes[:N], dask://HOST:PORT, htcondor[:JOBS], slurm[:JOBS], lambda:FUNCTION[:N], or an
        executor of `concurrent.futures`. An object whose worker dies is read again, a few times.

        Raises `BadSource` for a bad object, `NotFound`, `AccessDenied` and `StorageUnavailable`
        for one that cannot be read, `WorkerLost` for one that workers die of; the lake is then as
        before.
        """
        from lakeq import _work_account, convert
        from lakeq.convert import executors, select
        from lakeq.formats import ReadOptions
        from lakeq.storage import Storage

        name, _, table = dataset.partition(".")
        if table and tables is not None:
            hint = f"write {name} and its tables"
            raise UsageError(f"{dataset} is one table, and tables are named as well", hint=hint)
        storage = Storage(self.settings)
        described = self.catalog.dataset(name, "the ingest")
        ingest = partial(
            convert.ingest,
            self._iceberg,
            storage,
            described,
            select.chosen(
                objects, select.places(site, path_row), start, end, keys, new_only=new_only
            ),
            table_names=[table] if table else tables,
            materialize=materialize,
            panel=panel,
            options=ReadOptions(
                strict,
                (region,) if isinstance(region, str) else tuple(region),
                None if samples is None else tuple(samples),
            ),
            dry_run=dry_run,
            progress=progress,
            workers=executors.chosen(executor, self.settings),
        )
        if dry_run:
            return ingest()
        subject = _work_account.subject(dataset, objects, site or path_row)
        described_tables = described.tables.values()
        with _work_account.ingesting(
            self.ledger, subject, self._iceberg, storage, described_tables
        ) as account:
            report = ingest(allow=account.allow)
            account.settle(report)
        return report

    def quote(self, dry_run: IngestReport) -> Quote:
        """What the ingest of a dry run costs, once and each month, and when it has paid back."""
        from lakeq import quote
        from lakeq.storage import Storage

        dataset = self.catalog.dataset(dry_run.dataset, "the quote")
        storage, described = Storage(self.settings), tuple(dataset.tables.values())
        filled = {name for found in dry_run.objects for name in found.rows}
        names = sorted(filled & set(self._iceberg.tables()))
        signed = [
            found.size_bytes
            for found in dry_run.objects
            if found.uri.startswith("s3://") and storage.is_signed(found.uri, described)
        ]
        return quote.expected(
            dataset.name,
            [found.size_bytes for found in dry_run.objects],
            self.ledger,
            self._iceberg.read(names),
            signed=signed,
            warehouse_on_s3=self._iceberg.is_on_s3,
        )

    def maintain(
        self,
        names: str | Sequence[str],
        *,
        compact: bool = True,
        expire_older_than: timedelta | None = None,
        sweep: bool = False,
        dry_run: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> MaintenanceReport:
        """Keep datasets or tables (`dataset.table`) in order; those not in the lake are left out.

        `compact` makes few sorted files of many small ones, each partition in one commit.
        `expire_older_than` gives up older snapshots but the current one, and time travel to them.
        `sweep` deletes files that no snapshot names. `progress` is told a table, its bytes
        compacted so far, of how many.
        """
        from datetime import UTC

        from lakeq import _work_account, maintain

        given = [names] if isinstance(names, str) else list(names)
        tables = [table for name in given for table in self._upkept(name)]
        oldest = None if expire_older_than is None else datetime.now(UTC) - expire_older_than
        work = maintain.Work(compact, oldest, sweep, dry_run)
        unique = list({table.qualified: table for table in tables}.values())
        if dry_run:
            return maintain.maintain(self._iceberg, self.settings, unique, work, progress)
        names = [table.qualified for table in unique]
        subject = f"maintain {' '.join(given)}"
        with _work_account.upkeeping(self.ledger, subject, self._iceberg) as upkeep:
            before = _work_account.snapshots_of(self._iceberg, names)
            report = maintain.maintain(self._iceberg, self.settings, unique, work, progress, upkeep)
            after = _work_account.snapshots_of(self._iceberg, names)
            _work_account.maintained(upkeep, report, before, after)
        return report

    def verify(
        self,
        names: str | Sequence[str] = (),
        *,
        repair: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> VerifyReport:
        """Hold every file of tables against what was written; by default of all in the lake.

        `names` are datasets or tables (`dataset.table`). Checksums, page CRCs, row counts and
        files that no snapshot names. With `repair` the objects of damaged or missing files are
        ingested again, in one commit per dataset, and files that nothing names are deleted.
        `progress` is told a table, its bytes read so far, of how many.

        Damage is a finding of the report, not an error; see `VerifyReport.sound`.
        """
        from lakeq import _work_account, verify

        present = self._iceberg.tables()
        given = [names] if isinstance(names, str) else list(names)
        wanted = [t.qualified for name in given for t in self._upkept(name)] if given else present
        tables = [name for name in dict.fromkeys(wanted) if name in present]
        subject = f"verify {' '.join(given)}".rstrip()
        with _work_account.upkeeping(self.ledger, subject, self._iceberg) as upkeep:
            report = verify.verify(self._iceberg, tables, progress=progress, account=upkeep)
            _work_account.verified(upkeep, report.bytes_read, report.files, report.seconds)
        if not repair or not report.findings:
            return report
        return self._repaired(report)

    def _repaired(self, report: VerifyReport) -> VerifyReport:
        """Mend what a check found; objects are ingested again within the budgets."""
        from lakeq import _work_account, verify
        from lakeq.storage import Storage

        storage = Storage(self.settings)

        def again(dataset: Dataset, objects: Sequence[str], names: Sequence[str]) -> None:
            from lakeq import convert

            subject = f"repair {_work_account.subject(dataset.name, objects, ())}"
            tables = dataset.tables.values()
            with _work_account.ingesting(
                self.ledger, subject, self._iceberg, storage, tables
            ) as account:
                done = convert.again(
                    self._iceberg,
                    storage,
                    dataset,
                    objects,
                    table_names=names,
                    allow=account.allow,
                )
                account.settle(convert.merged(done))

        mending = verify.Mending(again, partial(self.refresh, force=True))
        return verify.repair(self._iceberg, storage, self.catalog, report, mending)

    def publish(
        self,
        destination: str,
        names: str | Sequence[str] = (),
        *,
        dry_run: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> PublishReport:
        """Copy tables as they are now to the lake at `destination`, which AWS Glue names.

        `destination` is s3://bucket/prefix, `names` are datasets or tables (`dataset.table`), by
        default all that the lake holds. A file is sent once, checked against its checksum, and
        found again by a try after one that was stopped; then all tables are switched in one
        commit, together with the versions of raw objects. Publishing again sends what is new and
        drops what is gone. `progress` is told a table, its bytes sent so far, of how many.

        Raises `UsageError`, before anything is sent, for a table of the destination that is no
        copy of this lake's, or that others have changed; `BadLake` for a file that is damaged.
        """
        from lakeq import config, publish
        from lakeq.lake import IcebergLake

        if self.settings.catalog:
            hint = "name a lake in a folder: --lake FOLDER"
            raise UsageError("the lake is named by Glue already", self.settings.place, hint)
        present = self._iceberg.tables()
        given = [names] if isinstance(names, str) else list(names)
        wanted = [t.qualified for name in given for t in self._upkept(name)] if given else present
        chosen = [n for n in dict.fromkeys(wanted) if n in present or n in given]
        target = IcebergLake(config.published(self.settings, destination))
        return publish.publish(
            self._iceberg,
            target,
            chosen,
            prices=self.settings.prices,
            dry_run=dry_run,
            progress=progress,
        )

    def _upkept(self, name: str) -> list[Table]:
        """The tables that a name means to the upkeep, hidden ones of a dataset included."""
        from lakeq.convert.parts import parts_table

        if "." in name:
            return [self.catalog.table(name, "the upkeep")]
        dataset = self.catalog.dataset(name, "the upkeep")
        return [*dataset.tables.values(), parts_table(dataset)]

    def refresh(self, name: str, *, force: bool = False) -> RefreshReport:
        """Make the slice `dataset.table` again when a table that it was made from has changed.

        One commit: readers see the old rows or the new ones. `force` makes it again in any case.
        Raises `UsageError` for a table that is no slice, and what the query raises.
        """
        from lakeq import _work_account
        from lakeq import refresh as _refresh

        table = self.catalog.table(name, "the refresh")
        sql = table.query
        if sql.startswith("@"):
            sql = self.query(sql).sql
        with _work_account.upkeeping(self.ledger, f"refresh {name}", self._iceberg) as upkeep:
            report = _refresh.refresh(self._iceberg, table, sql, self.sql, upkeep, force=force)
            _work_account.refreshed(upkeep, report)
        return report

    def slices(self) -> list[TableInfo]:
        """The tables that keep the answer to a query, in the catalog's order."""
        return [info for info in self.tables() if info.table.query]

    def tables(self) -> list[TableInfo]:
        """Every table of the catalog, in its order, with what the lake holds of it."""
        present = self._iceberg.tables()
        snapshots = self._iceberg.read(present)
        return [self._info(table, snapshots) for table in self.catalog.tables()]

    def table(self, name: str) -> TableInfo:
        """The table `dataset.table`; `UnknownName` with the nearest one."""
        table = self.catalog.table(name, "the catalog")
        present = name in self._iceberg.tables()
        return self._info(table, self._iceberg.read([name]) if present else {})

    def _info(self, table: Table, snapshots: Mapping[str, TableSnapshot]) -> TableInfo:
        dataset = self.catalog.dataset(table.dataset)
        return TableInfo(dataset, table, snapshots.get(table.qualified))

    def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The history of the table `dataset.table`, oldest first."""
        table = self.catalog.table(name, "the catalog")
        return self._iceberg.snapshots(table.qualified)

    def queries(self) -> list[NamedQuery]:
        """The named queries, by name."""
        from lakeq import named

        return named.queries()

    def query(self, name: str) -> NamedQuery:
        """The named query `name`; `UnknownName` with the nearest one."""
        from lakeq import named

        return named.query(name)

    @cached_property
    def ledger(self) -> Ledger:
        """What was run, scanned and spent on this lake, and the budgets for it."""
        from lakeq.ledger import Ledger

        return Ledger(self.settings)

    def history(self, wanted: Filter | None = None) -> list[Entry]:
        """The runs in the ledger, newest first."""
        from lakeq import ledger_report

        return ledger_report.history(self.ledger, wanted)

    def cost_report(self, by: str, wanted: Filter | None = None) -> list[Share]:
        """What each of `ledger_report.KEYS`, such as `table` or `user`, cost, the dearest first."""
        from lakeq import ledger_report

        return ledger_report.report(self.ledger, by, wanted)

    def rerun(self, number: int | None = None) -> Rerun:
        """Run query `number` of the ledger again on the same snapshots, and compare the result.

        Without a number, the newest query that ended well. Raises `NotFound` for a number or a
        snapshot that is gone, `UsageError` for a run that is no query or cannot be repeated.
        """
        from lakeq import ledger_report, rerun

        return rerun.again(
            ledger_report.entry(self.ledger, number),
            datasets=self.catalog.datasets,
            lake=self._iceberg,
            settings=self.settings,
        )

    def __repr__(self) -> str:
        return f"<lakeq.Lake {self.settings.place}>"


def new_catalog(  # what the command line gives, one by one
    settings: Settings,
    name: str,
    files: Sequence[str | Path],
    format_: str,
    folder: str | Path | None,
    facts: Mapping[str, str],
) -> Path:
    """Write `NAME.yaml`, a catalog of `files` of the user's own, and return where it is.

    `folder` None is the first of the setting `catalogs`, or the present folder. Raises
    `UsageError` for a name that cannot be one or that has a catalog already.
    """
    from lakeq import formats
    from lakeq.catalog import write as catalog_write
    from lakeq.catalog.schema import NAME
    from lakeq.storage import Storage

    if not NAME.match(name):
        raise UsageError(
            f"{name!r} is no name for a dataset", "", "a letter, then a to z, 0 to 9, _"
        )
    draft = getattr(formats.get(format_), "draft", None)
    if draft is None:
        raise UsageError(f"catalogs of format {format_!r} are written by hand", "", "use vcf")
    sources = Storage(settings).expand(files)
    into = Path(folder) if folder is not None else next(iter(settings.catalogs), Path())
    path = Path(into) / f"{name}.yaml"
    catalog_write.write_new(path, draft(name, sources, facts))
    return path


def connect(path: str | Path | None = None, **settings: object) -> Lake:
    """A handle on the lake in the folder `path`, by default the one that the settings name.

    With `catalog="glue"` the `path` is s3://bucket/prefix, and AWS Glue names the lake's tables.
    Further settings are those of the configuration: `warehouse`, `catalogs`, `memory_limit`,
    `threads`, `temp_dir`, `s3_profile`, `s3_region`, `s3_endpoint_url`, `s3_anon`,
    `s3_requester_pays`, and who spends on what and how much at most: `user`, `project`, `tags` (a
    mapping), `ledger`, `budget` (a list of mappings), `prices`; they come before environment and
    files. Nothing is opened or made yet.
    """
    from lakeq import config

    return Lake(config.load({"lake": path, **settings}))


def plan(query: str, params: Mapping[str, object] | None = None, **options: Any) -> Plan:
    """What `query` will read and cost, on the lake that the settings name; see `Lake.plan`."""
    return connect().plan(query, params, **options)
