"""The half of the public handle that asks: queries, plans, arrays, tables, history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from lakeq.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from lakeq.arrays import Order, Values
    from lakeq.arrays.scenes import Values as SceneValues
    from lakeq.catalog import Catalog, Column, Dataset, Table
    from lakeq.compare import Comparison
    from lakeq.config import Limits, Settings
    from lakeq.keys import Moment
    from lakeq.lake import IcebergLake
    from lakeq.ledger import Ledger
    from lakeq.ledger_report import Entry, Filter, Share
    from lakeq.named import NamedQuery
    from lakeq.planner import Plan
    from lakeq.query import Result
    from lakeq.rerun import Rerun
    from lakeq.script import Script
    from lakeq.snapshot import SnapshotInfo, TableSnapshot


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


class LakeQueries:
    """One lake and its catalog, to be asked; nothing here changes what the lake holds."""

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
            took, read_bytes = tally.requests.since(asked), tally.bytes_read - read
            size, requests = ready.virtual.planning if ready.virtual else (0, 0)
            plan = ready.advised()
            return plan.planned_with(read_bytes + size, took.gets + took.puts + requests, size)
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
