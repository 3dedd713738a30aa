"""What a query of one place reads of a radar's day, before and after `lakeq maintain`.

    python benchmarks/maintain.py VOLUME [VOLUME ...] [--repeat 96] [--tables gates,grid]

VOLUMEs are real archive objects of one radar. Each is ingested once; the site-day is made of
their rows, stamped anew in time so that `--repeat` volumes lie evenly over one day, written by
lakeq's own writer as one object each, the gates of each turned around the radar by an angle of its
own: else the same echo would stand at the same place many times, and pack as it never does. Then
the same queries run before and after the compaction: a box of 0.2 x 0.3 degrees and a gauge of
0.02 x 0.02 degrees, centred at several distances from the radar to the north-east. Bytes are those
that DuckDB's own log counts, "Athena" those that the planner expects of a reader that merges ranges
less than 1 MB apart. Rows before and after are compared by the sum of their hashes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import lakeq
from lakeq.api import Lake
from lakeq.catalog import Table
from lakeq.lake.commit import Change

DAY = datetime(2021, 6, 25, tzinfo=UTC)
DISTANCES_KM = (5, 20, 50, 100, 200)
KM_PER_DEGREE = 111.2
BOX = (0.2, 0.3)
GAUGE = (0.02, 0.02)
LIMITS = {"box": 6.0, "gauge": 2.0}  # per cent of the table's bytes


def stamped(rows: pa.Table, start: datetime) -> pa.Table:
    """The rows of one volume as if it had started at `start`."""
    old = rows["volume_time"][0].as_py()
    shift = pa.scalar(start - old, pa.duration("us"))
    for name in ("volume_time", "time", "start_time", "end_time"):
        if name in rows.column_names:
            index = rows.column_names.index(name)
            type_ = rows.schema.field(name).type
            rows = rows.set_column(index, name, pc.add(rows[name], shift).cast(type_))
    day = pa.array([start.date()] * len(rows), pa.date32())
    return rows.set_column(rows.column_names.index("date"), "date", day)


def turned(rows: pa.Table, degrees: float) -> pa.Table:
    """The gates of one volume turned around the radar."""
    north, east = (rows[name].cast("float64").to_numpy() for name in ("latitude", "longitude"))
    near = rows["range_m"].to_numpy() < 5000
    centre = north[near].mean(), east[near].mean()
    narrow, angle = cos(radians(centre[0])), radians(degrees)
    up, right = north - centre[0], (east - centre[1]) * narrow
    places = {
        "latitude": centre[0] + up * cos(angle) - right * sin(angle),
        "longitude": centre[1] + (right * cos(angle) + up * sin(angle)) / narrow,
    }
    for name, values in places.items():
        units = pa.py_buffer(np.round(values * 1e5).astype(np.int32))
        column = pa.Array.from_buffers(pa.decimal32(8, 5), len(values), [None, units])
        index = rows.column_names.index(name)
        rows = rows.set_column(index, name, column.cast(pa.decimal128(8, 5)))
    south, west = (np.floor(values * 10) for values in places.values())
    tile = pa.array(((south + 900) * 3600 + west + 1800).astype(np.int32))
    return rows.set_column(rows.column_names.index("tile"), "tile", tile)


def make_day(lake: Lake, volumes: Sequence[Path], repeat: int, names: Sequence[str]) -> None:
    """A lake with the day: each volume once as it is, then taken away again."""
    catalog = lake.catalog.dataset("nexrad")
    lake.ingest("nexrad", volumes, tables=names)
    seeds = {}
    for name in names:
        files = lake._iceberg.snapshot(f"nexrad.{name}").files
        seeds[name] = {file.source: file.path for file in files}
    step = timedelta(days=1) / repeat
    sources = [path.resolve().as_uri() for path in volumes]
    with lake._iceberg.session() as session:
        for name in names:
            table = catalog.tables[name]
            writer = lake._iceberg.writer(table, session)
            new = []
            for number in range(repeat):
                start = DAY + number * step
                seed = seeds[name][sources[number % len(sources)]]
                rows = stamped(pq.read_table(seed).drop_columns(["_source"]), start)
                if name == "gates":
                    rows = turned(rows, 360 * number / repeat)
                site = rows["site"][0].as_py()
                uri = f"s3://made/{site}{start:%Y%m%d_%H%M%S}_V06"
                file = writer.open(uri, (site, start.date().isoformat()), number)
                for batch in rows.to_batches():
                    file.write(batch)
                new.append(file.close())
            change = Change(table, frozenset(sources), tuple(new))
            lake._iceberg.commit_all([change], session)


def places(lake: Lake) -> tuple[float, float]:
    """Where the radar stands: the middle of its lowest gates."""
    sql = "select avg(latitude), avg(longitude) from nexrad.gates where range_m < 5000"
    row = lake.sql(sql).arrow().to_pylist()[0]
    return tuple(float(value) for value in row.values())  # type: ignore[return-value]


def questions(centre: tuple[float, float], table: str) -> Iterator[tuple[str, str, str]]:
    """Kind, place and query."""
    for kind, (tall, wide) in (("box", BOX), ("gauge", GAUGE)):
        for distance in DISTANCES_KM:
            place, step = f"{distance} km", distance / KM_PER_DEGREE * 0.5**0.5
            south = centre[0] + step - tall / 2
            west = centre[1] + step / cos(radians(centre[0])) - wide / 2
            where = (
                f"latitude between {south:.4f} and {south + tall:.4f} "
                f"and longitude between {west:.4f} and {west + wide:.4f}"
            )
            yield kind, place, f"select * from nexrad.{table} where {where}"


def asked(lake: Lake, centre: tuple[float, float], table: str) -> dict[tuple[str, str], Any]:
    total = lake.table(f"nexrad.{table}").size_bytes
    found = {}
    for kind, place, sql in questions(centre, table):
        result = lake.sql(sql)
        rows = sum(batch.num_rows for batch in result.batches())
        read = result.report.bytes_scanned
        athena = lake.plan(sql).athena_bytes
        found[kind, place] = (rows, read, 100 * read / total, 100 * athena / total)
    return found


def contents(lake: Lake, table: str) -> Any:
    paths = [file.path for file in lake._iceberg.snapshot(f"nexrad.{table}").files]
    with duckdb.connect(config={"memory_limit": "2GB"}) as connection:
        sql = "select count(*), sum(hash(r)::hugeint) from read_parquet($1) as r"
        return connection.execute(sql, [paths]).fetchone()


def compact(lake: Lake, table: Table) -> dict[str, float]:
    """In a process of its own, so that its CPU and memory are told apart."""
    script = (
        "import sys, lakeq; r = lakeq.connect(sys.argv[1]).maintain(sys.argv[2]); "
        "print([t.compacted for t in r.tables])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-c", script, str(lake.settings.lake), table.qualified]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": time.perf_counter() - began, "rss": after.ru_maxrss / 1024}


def report(lake: Lake, table: Table, centre: tuple[float, float]) -> bool:
    name = table.name
    before = lake.table(table.qualified)
    files, size, groups = before.files, before.size_bytes, _groups(lake, table)
    first, rows = asked(lake, centre, name), contents(lake, name)
    took = compact(lake, table)
    after = lake.table(table.qualified)
    second = asked(lake, centre, name)
    assert contents(lake, name) == rows, "rows are not the same"
    print(f"\n{table.qualified}: {rows[0]:,} rows\n")
    print("| | files | row groups | MB |\n|---|--:|--:|--:|")
    print(f"| as ingested | {files} | {groups} | {size / 1e6:,.1f} |")
    print(f"| compacted | {after.files} | {_groups(lake, table)} | {after.size_bytes / 1e6:,.1f} |")
    print(
        f"\nCompaction: {took['cpu']:.1f} CPU s ({1e6 * took['cpu'] / rows[0]:.2f} s a million "
        f"rows), {took['wall']:.1f} s, {took['rss']:,.0f} MiB at most\n"
    )
    print("| query | rows % | MB before | % | MB after | % | Athena % | limit % |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    good = True
    for (kind, place), (count, read, share, _) in first.items():
        _, later, part, athena = second[kind, place]
        assert second[kind, place][0] == count
        good = good and part <= LIMITS[kind]
        print(
            f"| {kind}, {place} | {100 * count / rows[0]:.2f} | {read / 1e6:.1f} | {share:.1f} "
            f"| {later / 1e6:.2f} | {part:.2f} | {athena:.2f} | {LIMITS[kind]:.0f} |"
        )
    return good


def _groups(lake: Lake, table: Table) -> int:
    return sum(len(f.row_groups) for f in lake._iceberg.snapshot(table.qualified).files)


def main() -> int:
    """Print the tables; 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=96)
    parser.add_argument("--tables", default="gates,grid")
    options = parser.parse_args()
    names = options.tables.split(",")
    with tempfile.TemporaryDirectory() as folder:
        lake = lakeq.connect(Path(folder) / "lake")
        make_day(lake, options.volumes, options.repeat, names)
        centre = places(lake)
        tables = [lake.catalog.table(f"nexrad.{name}") for name in names]
        return int(not all(report(lake, table, centre) for table in tables))


if __name__ == "__main__":
    sys.exit(main())
