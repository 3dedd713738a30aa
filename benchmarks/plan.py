"""What a plan says against what is read, beside other estimators; how long a plan takes.

Run: python benchmarks/plan.py [FILES]. It makes two tables of some MB in a temporary folder, asks
each shape of query on a server of S3's protocol that counts what it sends, and prints the bytes
that were predicted, read and sent, beside two estimators: sqlglot (the columns that the query
names, times their bytes in all files) and the files of the partitions that it names. Then it plans
over FILES (10,000) files, warm and cold, and runs queries into a limit to see how late they stop.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lakeq import cost, query  # noqa: E402  # the checkout, wherever this is run from
from lakeq.config import Limits, S3Settings, Settings  # noqa: E402
from lakeq.errors import LimitPassed  # noqa: E402
from lakeq.lake.side import Side, SideFiles  # noqa: E402
from lakeq.snapshot import Bounds, DataFile, Footer, Leaf, TableSnapshot  # noqa: E402
from tests.support.counting_server import counting_server  # noqa: E402
from tests.support.shapes import PARAMETERS, SHAPES, Shapes, dataset, make  # noqa: E402

MB = 1_000_000


def named_columns(sql: str, shapes: Shapes) -> int:
    """sqlglot: bytes of the columns that the query names, in all files of their tables."""
    import sqlglot
    from sqlglot.optimizer.qualify import qualify

    tables = {name.partition(".")[2]: table for name, table in shapes.snapshots.items()}
    schema = {
        "shapes": {
            name: {column.name: column.duckdb_type for column in table.columns}
            for name, table in tables.items()
        }
    }
    tree = sqlglot.parse_one(sql.replace("$contig", "'X'").replace("$pos", "1"), read="duckdb")
    try:
        tree = qualify(tree, schema=schema, dialect="duckdb", validate_qualify_columns=False)
    except sqlglot.errors.SqlglotError:
        return sum(table.size_bytes for table in tables.values())
    names = {column.name for column in tree.find_all(sqlglot.exp.Column)}
    used = {table.name for table in tree.find_all(sqlglot.exp.Table)} & set(tables)
    return sum(file.footer.column_bytes(names) for name in used for file in tables[name].files)


def named_partitions(sql: str, shapes: Shapes) -> int:
    """Bytes of all files of the partitions that a condition names, as partition listings give."""
    import re

    wanted = set(re.findall(r"contig = '(\w+)'", sql)) or None
    return sum(
        file.size_bytes
        for name, table in shapes.snapshots.items()
        if name in sql
        for file in table.files
        if wanted is None or dict(file.partition)["contig"] in wanted
    )


def shapes_table(folder: Path) -> None:
    (folder / "shapes").mkdir()
    shapes = make(folder / "shapes", "s3://shapes/", rows=40_000)
    heads = ("shape", "low", "high", "read", "sent", "width", "GETs said / made", "seconds")
    print(f"| {' | '.join((*heads, 'sqlglot', 'files'))} |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    exact = inside = 0
    with counting_server(folder) as server:
        s3 = S3Settings(anon=True, endpoint_url=server.url, region="us-east-1")
        for name, sql in SHAPES.items():
            server.requests.clear()
            result = query.run(
                sql,
                datasets=shapes.datasets,
                lake=shapes,
                settings=Settings(lake=folder, ledger=folder / "ledger", s3=s3),
                parameters=PARAMETERS.get(name),
            )
            result.arrow()
            plan, report = result.report.plan, result.report
            exact += plan.exact
            inside += plan.low_bytes <= server.sent <= plan.high_bytes
            width = plan.high_bytes / max(plan.low_bytes, 1)
            print(
                f"| {name} | {plan.low_bytes:,} | {plan.high_bytes:,} | {report.bytes_scanned:,} "
                f"| {server.sent:,} | {'exact' if plan.exact else f'{width:.1f}'} "
                f"| {plan.high_requests} / {report.s3_requests} | {report.seconds:.2f} "
                f"| {_off(named_columns(sql, shapes), server.sent)} "
                f"| {_off(named_partitions(sql, shapes), server.sent)} |"
            )
    print(f"\n{exact} of {len(SHAPES)} exact to the byte, {inside} within their interval")


def _off(estimate: int, read: int) -> str:
    return f"{estimate / read:.2f}" if read else "-"


def many_files(count: int) -> TableSnapshot:
    """A table of `count` files with bounds, as a side file holds it."""
    chance = random.Random(1)
    names = ("contig", "pos", "ref", "qual", "depth")
    leaves = (
        *(Leaf(name, name) for name in names),
        Leaf("het", "het.list.element"),
        *(Leaf("info", f"info.{part}") for part in ("gene", "effect.kind", "effect.score")),
        Leaf("seen", "seen"),
        Leaf("note", "note"),
    )
    files = []
    for number in range(count):
        lengths = [chance.randrange(20_000, 900_000) for _ in leaves]
        offsets = [4 + sum(lengths[:at]) for at in range(len(leaves))]
        contig, low = str(number % 24), number // 24 * 1000
        bounds = [
            Bounds(contig, contig, 0),
            Bounds(low, low + 999, 0),
            Bounds("A", "T", 0),
            Bounds(0.0, 100.0, 0),
            Bounds(0, 60, 5),
            Bounds(None, None, 0),
            Bounds("GENE1", "GENE9", 0),
            Bounds("missense", "stop", 0),
            Bounds(0.0, 1.0, 0),
            Bounds(10**15 + low, 10**15 + low + 500, 0),
            Bounds(f"note {chance.randrange(10**6)}", "note 999999", 0),
        ]
        footer = Footer(leaves, [100_000], offsets, lengths, bounds, 3000)
        path = f"s3://bucket/lake/shapes/sites/contig-{contig}/{number:05d}-{number:016x}.parquet"
        size = offsets[-1] + lengths[-1] + 3000
        files.append(
            DataFile(path, size, 100_000, footer, (("contig", contig),), f"s3://raw/{number}")
        )
    with tempfile.TemporaryDirectory() as folder:
        columns = make(Path(folder), rows=10).snapshots["shapes.sites"].columns
    return TableSnapshot("shapes.sites", 7, datetime(2026, 1, 1, tzinfo=UTC), columns, tuple(files))


class FromSide(Shapes):
    """A lake whose tables are read from their side files for every query, as the command does."""

    def read(self, names: object, at: object = None) -> Mapping[str, TableSnapshot]:
        """The side file, decoded anew."""
        folder = Path(self.datasets["shapes"].origin)
        side = SideFiles(folder).read("shapes.sites", "head", "key")
        assert side is not None
        return {"shapes.sites": side.snapshot}


PLANNED = {
    "one partition, a range of the sort column": "select max(qual) from shapes.sites "
    "where contig = '7' and pos between 100000 and 105000",
    "a column of all files": "select sum(depth) from shapes.sites",
    "every column of most files": "select * from shapes.sites where pos > 50000",
    "a text, bounds all different": "select count(*) from shapes.sites where note = 'note 5'",
}


def times(folder: Path, count: int) -> None:
    table = many_files(count)
    SideFiles(folder).write("shapes.sites", "head", "key", Side(table))
    described = replace(dataset(), origin=str(folder))
    lake = FromSide({"shapes.sites": table}, {"shapes": described})
    print(f"\n| plan over {count:,} files | first ms | median ms | CPU ms | files |")
    print("|---|--:|--:|--:|--:|")
    for name, sql in PLANNED.items():
        walls, cpus = [], []
        for _ in range(9):
            wall, cpu = time.perf_counter(), time.process_time()
            ready = query.prepare(
                sql, datasets=lake.datasets, lake=lake, settings=Settings(lake=folder)
            )
            walls.append(1000 * (time.perf_counter() - wall))
            cpus.append(1000 * (time.process_time() - cpu))
            ready.planner.close()
        warm = statistics.median(walls[1:])
        print(
            f"| {name} | {walls[0]:.0f} | {warm:.0f} | {statistics.median(cpus[1:]):.0f} "
            f"| {ready.plan.files:,} |"
        )


def cold(folder: Path, count: int) -> None:
    """A plan over `count` real files without a side file: metadata, manifests and every footer.

    The files are one file by many names, which no step of a plan can tell.
    """
    import pyarrow as pa

    from lakeq.lake import IcebergLake
    from lakeq.lake.commit import Change

    described = dataset()
    table = replace(described.tables["labels"], partition_by=())
    described = replace(described, tables={"labels": table})
    lake = IcebergLake(Settings(lake=folder))
    with lake.session() as session:
        writer = lake.writer(table, session)
        file = writer.open("s3://raw/0", (), 0)
        schema = pa.schema([field for field in writer.schema if not field.name.startswith("_")])
        rows = [{"contig": "1", "pos": pos, "label": "benign", "weight": 1.0} for pos in range(100)]
        file.write(pa.RecordBatch.from_pylist(rows, schema=schema))
        first = file.close()
        files = [first]
        for number in range(1, count):
            path = Path(first.path).with_name(f"{number:05d}-{number:016x}.parquet")
            path.hardlink_to(first.path)
            files.append(replace(first, path=str(path)))
        change = Change(table, frozenset(), tuple(files))
        lake.commit_all([change], session)
    shutil.rmtree(folder / "cache")
    sql = "select count(*) from shapes.labels where pos > 50"
    print("\n| plan over files, no side file | s | CPU s |\n|---|--:|--:|")
    for name in (f"{count:,} files, cold", "the next one, warm"):
        wall, cpu = time.perf_counter(), time.process_time()
        ready = query.prepare(
            sql,
            datasets={"shapes": described},
            lake=IcebergLake(Settings(lake=folder)),
            settings=Settings(lake=folder),
        )
        ready.planner.close()
        assert ready.plan.files_total == count
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"| {name} | {wall:.2f} | {cpu:.2f} |")


def limits(folder: Path) -> None:
    """How late a query is stopped that passes its bytes or seconds."""
    place = folder / "limits"
    place.mkdir()
    shapes = make(place, rows=200_000)
    sql = "select s.* from shapes.sites s, range(3) where hash(s.note, range) % 7 = 1 limit 9000000"
    plan = _plan(shapes, sql, folder)
    print("\n| limit | stopped at | too much |")
    print("|---|--:|--:|")
    for share in (4, 2):
        most = plan.high_bytes // share
        read = _until_stopped(shapes, sql, folder, Limits(max_bytes=most))
        row = (f"{most / MB:.1f} MB of {plan.high_bytes / MB:.1f} MB", f"{read / MB:.1f} MB")
        print(f"| {' | '.join(row)} | {(read - most) / MB:.1f} MB |")
    started = time.perf_counter()
    slow = "select count(*) from shapes.sites a, shapes.sites b where hash(a.note, b.pos) = 3"
    _until_stopped(shapes, slow, folder, Limits(max_seconds=1))
    took = time.perf_counter() - started
    print(f"| 1 s | {took:.2f} s | {took - 1:.2f} s |")


def _plan(shapes: Shapes, sql: str, folder: Path) -> object:
    ready = query.prepare(
        sql, datasets=shapes.datasets, lake=shapes, settings=Settings(lake=folder)
    )
    ready.planner.close()
    return ready.plan


def _until_stopped(shapes: Shapes, sql: str, folder: Path, most: Limits) -> int:
    settings = Settings(lake=folder, ledger=folder / "ledger", limits=most)
    result = None
    try:
        result = query.run(sql, datasets=shapes.datasets, lake=shapes, settings=settings)
        for _ in result.batches():
            pass
    except LimitPassed as error:
        if result is not None:
            return result.report.bytes_scanned
        return int(error.what.split("it has read ")[1].split(" bytes")[0].replace(",", ""))
    return result.report.bytes_scanned


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes_table(folder)
        times(folder, count)
        (folder / "cold").mkdir()
        cold(folder / "cold", count)
        limits(folder)
    print(f"\nprices of {cost.prices().date}; Athena asks at least {cost.athena_cost_usd(0)} USD")
    return 0


if __name__ == "__main__":
    sys.exit(main())
