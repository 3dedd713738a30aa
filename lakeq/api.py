"""The public handle: connect to a lake, ingest into it, ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq._lake_queries import LakeQueries
from lakeq.errors import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lakeq.catalog import Dataset, Table
    from lakeq.config import Settings
    from lakeq.convert import IngestReport
    from lakeq.keys import Moment
    from lakeq.maintain import MaintenanceReport
    from lakeq.planner import Plan
    from lakeq.publish import PublishReport
    from lakeq.query import Result
    from lakeq.quote import Quote
    from lakeq.refresh import RefreshReport
    from lakeq.verify import VerifyReport


class Lake(LakeQueries):
    """One lake and its catalog; cheap to make, safe to keep."""

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

    @property
    def _asks(self) -> Sequence[Callable[[str], Result]]:
        """Ways to ask the query of a slice: with little memory, then as the settings say."""
        from lakeq import query as _query
        from lakeq import refresh as _refresh

        def ask(memory_limit: str, sql: str) -> Result:
            settings = replace(self.settings, memory_limit=memory_limit)
            return _query.run(
                sql, datasets=self.catalog.datasets, lake=self._iceberg, settings=settings
            )

        own = partial(ask, self.settings.memory_limit)
        return (own,) if self.settings.memory_limit else (partial(ask, _refresh.MEMORY_LIMIT), own)

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
            report = _refresh.refresh(self._iceberg, table, sql, self._asks, upkeep, force=force)
            _work_account.refreshed(upkeep, report)
        return report


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
