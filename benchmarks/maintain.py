"""What a query of one place reads of a radar's day, before and after `lakeq maintain`.

    python benchmarks/maintain.py VOLUME [VOLUME ...] [--repeat 144] [--tables gates,grid]

VOLUMEs are real archive objects of one radar, or folders of their chunks. The site-day is made of
them: `--repeat` objects evenly over one day, each a volume in turn whose rays have new times and
are turned around the radar by an angle of their own, else the same echo would stand at the same
place many times, and pack as it never does. Angles are multiples of half a degree, rounded to the
steps in which radars tell azimuths, 360 / 2^19 degrees. The objects are bare messages, so that no
time goes into bzip2; they are ingested and compacted as any others. Then the same queries run:
everything in a box of 0.2 x 0.3 degrees or at a gauge of 0.02 x 0.02 degrees, and the largest DBZH
of the box by volume, centred at several distances from the radar to the north-east. Bytes are those
that DuckDB's own log counts, "Athena" those that the planner expects of a reader that merges ranges
less than 1 MB apart. Rows before and after are compared by the sum of their hashes.
"""

from __future__ import annotations

import argparse
import bz2
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import cos, radians
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

import lakeq
from lakeq.api import Lake
from lakeq.catalog import Table

DAY = datetime(2021, 6, 25, tzinfo=UTC)
DAY_MS = 86_400_000
HEAD, FRAME = 28, 2432  # bytes of a message's header with what stands before, and of most messages
AZIMUTH_STEP = 360 / (1 << 19)
TURN = 137.5  # degrees: 144 turns lead to as many angles, multiples of 2.5 degrees
DISTANCES_KM = (5, 10, 20, 25, 30, 50, 100, 200)
KM_PER_DEGREE = 111.2
BOX = (0.2, 0.3)
GAUGE = (0.02, 0.02)
LIMITS = {"box": 6.0, "largest DBZH in the box": 6.0, "gauge": 2.0}  # per cent of all bytes


@dataclass(frozen=True, slots=True)
class Seed:
    """A real volume: its header, its inflated messages, and where the rays begin in them."""

    header: bytes
    messages: npt.NDArray[np.uint8]
    rays: npt.NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Seed:
        """The volume of an archive object, or of a folder of chunks."""
        parts = sorted(path.iterdir()) if path.is_dir() else [path]
        data = b"".join(part.read_bytes() for part in parts)
        at, records = 24, []
        while at + 4 < len(data):
            size = abs(struct.unpack_from(">i", data, at)[0])
            records.append(bz2.decompress(data[at + 4 : at + 4 + size]))
            at += 4 + size
        messages, found, at = b"".join(records), [], 0
        while at + HEAD <= len(messages):
            halfwords, kind = struct.unpack_from(">HxB", messages, at + 12)
            if kind == 31:
                found.append(at + HEAD)
            at += 12 + 2 * halfwords if kind == 31 else FRAME
        return cls(data[:24], np.frombuffer(messages, np.uint8), np.array(found))

    def turned(self, degrees: float, start: datetime) -> bytes:
        """The volume as if it had started at `start`, turned around the radar, as an object."""
        body = self.messages.copy()
        day, ms = struct.unpack_from(">II", self.header, 12)
        new = int(start.timestamp() * 1000)
        shift = new - ((day - 1) * DAY_MS + ms)
        azimuth = self._field(body, 12, ">f4").astype(np.float64)
        steps = np.round((azimuth + degrees) / AZIMUTH_STEP) % (360 / AZIMUTH_STEP)
        self._put(body, 12, (steps * AZIMUTH_STEP).astype(">f4"))
        days = self._field(body, 8, ">u2").astype(np.int64)
        times = (days - 1) * DAY_MS + self._field(body, 4, ">u4") + shift
        self._put(body, 4, (times % DAY_MS).astype(">u4"))
        self._put(body, 8, (times // DAY_MS + 1).astype(">u2"))
        moment = struct.pack(">II", new // DAY_MS + 1, new % DAY_MS)
        return self.header[:12] + moment + self.header[20:] + body.tobytes()

    def _bytes(self, at: int, dtype: str) -> npt.NDArray[np.int64]:
        return self.rays[:, None] + at + np.arange(np.dtype(dtype).itemsize)

    def _field(self, body: npt.NDArray[np.uint8], at: int, dtype: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(body[self._bytes(at, dtype)]).view(dtype).ravel()

    def _put(self, body: npt.NDArray[np.uint8], at: int, values: npt.NDArray[Any]) -> None:
        body[self._bytes(at, values.dtype.str)] = values.view(np.uint8).reshape(len(values), -1)


def make_day(lake: Lake, volumes: Sequence[Path], repeat: int, names: Sequence[str]) -> None:
    """Ingest the objects of the day, one after the other."""
    seeds = [Seed.read(path) for path in volumes]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeat):
            start = DAY + number * timedelta(days=1) / repeat
            seed = seeds[number % len(seeds)]
            path = Path(folder) / f"{seed.header[20:24].decode()}{start:%Y%m%d_%H%M%S}_V06"
            path.write_bytes(seed.turned(number * TURN, start))
            lake.ingest("nexrad", [path], tables=names)
            path.unlink()


def places(lake: Lake) -> tuple[float, float]:
    """Where the radar stands: the middle of its lowest gates."""
    sql = "select avg(latitude), avg(longitude) from nexrad.gates where range_m < 5000"
    row = lake.sql(sql).arrow().to_pylist()[0]
    return tuple(float(value) for value in row.values())  # type: ignore[return-value]  # four numbers


def questions(
    centre: tuple[float, float], table: str, distances: Sequence[int]
) -> Iterator[tuple[str, str, str]]:
    """Kind, place and query."""
    largest = "select volume_time, max({}) from nexrad.{} where {} group by volume_time"
    value = "dbzh" if table == "gates" else "dbzh_max"
    for kind, (tall, wide) in (("box", BOX), ("gauge", GAUGE)):
        for distance in distances:
            place, step = f"{distance} km", distance / KM_PER_DEGREE * 0.5**0.5
            south = centre[0] + step - tall / 2
            west = centre[1] + step / cos(radians(centre[0])) - wide / 2
            where = (
                f"latitude between {south:.4f} and {south + tall:.4f} "
                f"and longitude between {west:.4f} and {west + wide:.4f}"
            )
            yield kind, place, f"select * from nexrad.{table} where {where}"
            if kind == "box":
                yield f"largest DBZH in the {kind}", place, largest.format(value, table, where)


def asked(
    lake: Lake, centre: tuple[float, float], table: str, distances: Sequence[int]
) -> dict[tuple[str, str], Any]:
    total = lake.table(f"nexrad.{table}").size_bytes
    found = {}
    for kind, place, sql in questions(centre, table, distances):
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


def compact(lake: Lake) -> dict[str, float]:
    """All tables in one run, in a process of its own, so that its CPU and memory are told apart."""
    script = (
        "import sys, lakeq; r = lakeq.connect(sys.argv[1]).maintain(sys.argv[2]); "
        "print([t.compacted for t in r.tables])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-c", script, str(lake.settings.lake), "nexrad"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": time.perf_counter() - began, "rss": after.ru_maxrss / 1024}


@dataclass(frozen=True, slots=True)
class Found:
    """A table as it lies: its files, row groups, bytes and rows, and what queries read of it."""

    files: int
    groups: int
    size: int
    rows: Any
    read: dict[tuple[str, str], Any]

    @classmethod
    def of(
        cls, lake: Lake, table: Table, centre: tuple[float, float], distances: Sequence[int]
    ) -> Found:
        """Ask the table; only `gates` and `grid` have places."""
        name, known = table.name, lake.table(table.qualified)
        read = asked(lake, centre, name, distances) if name in {"gates", "grid"} else {}
        rows = contents(lake, name)
        return cls(known.files, _groups(lake, table), known.size_bytes, rows, read)


def report(table: Table, before: Found, after: Found) -> bool:
    """Print what the files and queries of one table take; whether its limits hold."""
    assert before.rows == after.rows, "rows are not the same"
    rows, second = before.rows, after.read
    print(f"\n{table.qualified}: {rows[0]:,} rows\n")
    print("| | files | row groups | MB | bytes a row |\n|---|--:|--:|--:|--:|")
    for what, found in (("as ingested", before), ("compacted", after)):
        size = f"{found.size / 1e6:,.1f} | {found.size / rows[0]:.2f}"
        print(f"| {what} | {found.files} | {found.groups} | {size} |")
    if not second:
        return True
    print()
    print("| query | rows % | MB before | % | MB after | % | Athena % | aim % |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    good = True
    for (kind, place), (count, later, part, athena) in second.items():
        whole = second["box", place][0] if kind not in {"box", "gauge"} else count
        good = good and part <= LIMITS[kind]
        read, share = before.read.get((kind, place), (0, 0, 0))[1:3]
        earlier = f"{read / 1e6:.1f} | {share:.1f}" if read else " | "
        print(
            f"| {kind}, {place} | {100 * whole / rows[0]:.2f} | {earlier} "
            f"| {later / 1e6:.2f} | {part:.2f} | {athena:.2f} | {LIMITS[kind]:.0f} |"
        )
    return good


def _groups(lake: Lake, table: Table) -> int:
    return sum(len(f.row_groups) for f in lake._iceberg.snapshot(table.qualified).files)


def main() -> int:
    """Print the tables; 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=144)
    parser.add_argument("--tables", default="gates,grid")
    options = parser.parse_args()
    names = options.tables.split(",")
    with tempfile.TemporaryDirectory() as folder:
        lake = lakeq.connect(Path(folder) / "lake")
        make_day(lake, options.volumes, options.repeat, names)
        own = resource.getrusage(resource.RUSAGE_SELF)
        used = f"{own.ru_utime + own.ru_stime:.1f} CPU s, {own.ru_maxrss / 1024:,.0f} MiB at most"
        print(f"Making and ingesting {options.repeat} volumes: {used}")
        centre = places(lake)
        tables = [lake.catalog.table(f"nexrad.{name}") for name in names]
        few = [DISTANCES_KM[2]]
        before = {t.name: Found.of(lake, t, centre, few) for t in tables}
        took = compact(lake)
        cpu, rows = took["cpu"], sum(found.rows[0] for found in before.values())
        print(
            f"Compaction of {len(tables)} tables: {cpu:.1f} CPU s ({1e6 * cpu / rows:.2f} s a "
            f"million rows), {took['wall']:.1f} s, {took['rss']:,.0f} MiB at most"
        )
        good = [report(t, before[t.name], Found.of(lake, t, centre, DISTANCES_KM)) for t in tables]
        return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
