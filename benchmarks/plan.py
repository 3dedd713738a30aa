"""What a plan says against what is read, beside other estimators; how long a plan takes.

Run: python benchmarks/plan.py [FILES]. It makes two tables of some MB in a temporary folder, asks
each shape of query on a server of S3's protocol that counts what it sends, and prints the bytes
that were predicted, read and sent, beside other estimators: sqlglot (the columns that the query
names, times their bytes in all files), athena-cost-guard where it is installed, and the files of
the partitions that the query names. Then it plans over FILES (10,000) files, warm and cold, reads
footers from a slow server, and runs queries into a limit to see how late they stop.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lakeq import cost, query  # noqa: E402  # the checkout, wherever this is run from
from lakeq.config import Limits, S3Settings, Settings  # noqa: E402  # after the path is set
from lakeq.errors import LimitPassed  # noqa: E402  # after the path is set
from lakeq.lake.inside import read_inside  # noqa: E402  # after the path is set
from lakeq.lake.io import WarehouseIO  # noqa: E402  # after the path is set
from lakeq.lake.read import FOOTER_READERS, UNREAD  # noqa: E402  # after the path is set
from lakeq.lake.read_many import read_many  # noqa: E402  # after the path is set
from lakeq.lake.side import Side, SideFiles  # noqa: E402  # after the path is set
from lakeq.snapshot import Bounds, DataFile, Footer, Leaf, TableSnapshot  # noqa: E402  # after the path is set
from tests.support.counting_server import counting_server  # noqa: E402  # after the path is set
from tests.support.s3 import REGION, moto_server  # noqa: E402  # after the path is set
from tests.support.shapes import (  # noqa: E402  # after the path is set
    CONTIGS,
    PARAMETERS,
    ROWS_OF,
    SHAPES,
    Shapes,
    dataset,
    make,
)

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


@contextmanager
def cost_guard(folder: Path) -> Iterator[Callable[[str], int | None]]:
    """athena-cost-guard, where it is installed: Glue's partitions, footers' columns (on moto)."""
    try:
        from athena_cost_guard import estimate
    except ImportError:
        print("(athena-cost-guard is not installed: pip install 'athena-cost-guard[parquet]')\n")
        yield lambda _sql: None
        return
    import boto3

    with moto_server() as s3:
        access = {
            "endpoint_url": s3.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": "testkey",
            "aws_secret_access_key": "testsecret",
        }
        glue, client = boto3.client("glue", **access), boto3.client("s3", **access)
        client.create_bucket(Bucket="hive")
        glue.create_database(DatabaseInput={"Name": "shapes"})
        for name in ("sites", "labels"):
            place = {"Location": f"s3://hive/{name}/", "InputFormat": "parquet"}
            keys = [{"Name": "contig", "Type": "string"}]
            table = {"Name": name, "StorageDescriptor": place, "PartitionKeys": keys}
            glue.create_table(DatabaseName="shapes", TableInput=table)
            for contig in CONTIGS:
                key = f"{name}/contig={contig}/"
                client.upload_file(
                    str(folder / f"{name}-{contig}.parquet"), "hive", f"{key}part.parquet"
                )
                part = {"Values": [contig], "StorageDescriptor": {"Location": f"s3://hive/{key}"}}
                glue.create_partition(DatabaseName="shapes", TableName=name, PartitionInput=part)

        def asked(sql: str) -> int | None:
            text = sql.replace("$contig", "'X'").replace("$pos", "12001")
            try:
                return estimate(
                    text, glue_client=glue, s3_client=client, sample_columns=True, dialect="duckdb"
                ).bytes_scanned
            except Exception:  # noqa: BLE001  # whatever it raises, it has no estimate
                return None

        yield asked


def shapes_table(folder: Path) -> None:
    (folder / "shapes").mkdir()
    shapes = make(folder / "shapes", "s3://shapes/", rows=40_000)
    heads = ("shape", "low", "high", "read", "sent", "width", "GETs said / made", "seconds")
    exact = inside = 0
    with counting_server(folder) as server, cost_guard(folder / "shapes") as guard:
        print(f"| {' | '.join((*heads, 'sqlglot', 'cost-guard', 'files'))} |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
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
                f"| {_off(guard(sql), server.sent)} "
                f"| {_off(named_partitions(sql, shapes), server.sent)} |"
            )
    print(f"\n{exact} of {len(SHAPES)} exact to the byte, {inside} within their interval")


def _off(estimate: int | None, read: int) -> str:
    return f"{estimate / read:.2f}" if read and estimate is not None else "-"


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
    """Plans over `count` real files without a side file: metadata, manifests and every footer.

    The files are one file by many names, which no step of a plan can tell. `sites` has 11 leaf
    columns, `labels` 5.
    """
    print("\n| plan over files, no side file | s | CPU s | read MB |\n|---|--:|--:|--:|")
    for name in ("labels", "sites"):
        _cold(folder / name, count, name)


def _cold(folder: Path, count: int, name: str) -> None:
    from lakeq.lake import IcebergLake

    settings = Settings(lake=folder)
    table = replace(dataset().tables[name], partition_by=())
    described = replace(dataset(), tables={name: table})
    _fill(IcebergLake(settings), table, count)
    shutil.rmtree(folder / "cache")
    for step in (f"{table.qualified}, {count:,} files, cold", "the next one, warm"):
        wall, cpu = time.perf_counter(), time.process_time()
        lake = IcebergLake(settings)
        sql = f"select count(*) from {table.qualified} where pos > 50"
        ready = query.prepare(sql, datasets={"shapes": described}, lake=lake, settings=settings)
        ready.planner.close()
        assert ready.plan.files_total == count
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"| {step} | {wall:.2f} | {cpu:.2f} | {lake.tally.bytes_read / MB:.1f} |")


def _fill(lake: object, table: object, count: int) -> None:
    """Commit one file `count` times, by names of its own."""
    import pyarrow as pa

    from lakeq.lake.commit import Change

    with lake.session() as session:
        writer = lake.writer(table, session)
        file = writer.open("s3://raw/0", (), 0)
        schema = pa.schema([field for field in writer.schema if not field.name.startswith("_")])
        rows = ROWS_OF[table.name]("1", 100)
        file.write(pa.RecordBatch.from_pylist(rows, schema=schema))
        first = file.close()
        files = [first]
        for number in range(1, count):
            path = Path(first.path).with_name(f"{number:05d}-{number:016x}.parquet")
            path.hardlink_to(first.path)
            files.append(replace(first, path=str(path)))
        lake.commit_all([Change(table, frozenset(), tuple(files))], session)


def _inside(files: WarehouseIO, file: DataFile) -> object:
    return read_inside(files, file.path, file.size_bytes)


def footers_on_s3(folder: Path, count: int) -> None:
    """Footers of `count` files from a server that takes 30 ms to answer, as S3 does."""
    bucket = folder / "footers"
    bucket.mkdir()
    first = next((folder / "cold" / "labels").rglob("*.parquet"))
    for number in range(count):
        (bucket / f"{number}.parquet").hardlink_to(first)
    size = first.stat().st_size
    wanted = [DataFile(f"s3://footers/{n}.parquet", size, 100, UNREAD) for n in range(count)]
    print("\n| footers from S3 | at once | s | CPU s, server included | GETs | sent MB |")
    print("|---|--:|--:|--:|--:|--:|")
    for threads in (16, FOOTER_READERS):
        with counting_server(folder) as server, ThreadPoolExecutor(threads) as pool:
            server.delay_s = 0.03
            s3 = S3Settings(anon=True, endpoint_url=server.url, region=REGION)
            files = WarehouseIO(s3)
            one = partial(_inside, files)
            wall, cpu = time.perf_counter(), time.process_time()
            read_many(files, wanted, {}, one, pool)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            sent = f"{len(server.requests):,} | {server.sent / MB:.1f}"
            print(f"| {count:,} | {threads} | {wall:.2f} | {cpu:.2f} | {sent} |")


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
        footers_on_s3(folder, max(100, count // 10))
        limits(folder)
    print(f"\nprices of {cost.prices().date}; Athena asks at least {cost.athena_cost_usd(0)} USD")
    return 0


if __name__ == "__main__":
    sys.exit(main())
