"""Searching a list of millions of Landsat scenes: what it takes to ingest, and how fast it answers.

Run: python benchmarks/landsat_scenes.py [ROWS] [FOLDER]. It makes a scene list of ROWS (5,000,000)
lines, of all paths and rows and the years in which each satellite flew, in FOLDER (a temporary one;
what is there already is not made again), ingests it in a process of its own, makes the slices
scenes_latest and scenes_recent, and asks the three usual questions: a box in a year under some
cloud cover, a path and row, the last 30 days; each of the tables that can tell. Answers are
compared with those of plain DuckDB over the list itself, without lakeq, which is timed too.
"""

from __future__ import annotations

import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import lakeq  # noqa: E402  # the checkout, wherever this is run from

HEADER = (
    "productId,entityId,acquisitionDate,cloudCover,processingLevel,path,row,"
    "min_lat,min_lon,max_lat,max_lon,download_url\n"
)
CHUNK = 200_000
FLOWN = {  # letter and number, first and last day, share of the scenes
    "LT05": ("1984-03-05", "2011-11-18", 0.3),
    "LE07": ("1999-04-18", "2022-04-06", 0.3),
    "LC08": ("2013-03-18", "2024-12-31", 0.3),
    "LC09": ("2021-10-31", "2024-12-31", 0.1),
}
LAST = datetime(2025, 1, 1, tzinfo=UTC)
BOX = (10.0, 50.0, 13.0, 53.0)  # west, south, east, north
QUESTIONS = {
    "box + year + cloud": """
        "year" = 2021 AND cloud_cover < 20 AND cell BETWEEN 1944 AND 2159
        AND bbox.xmin <= 13 AND bbox.xmax >= 10 AND bbox.ymin <= 53 AND bbox.ymax >= 50""",
    "path and row": '"path" = 195 AND "row" = 25',
    "last 30 days": """
        "year" = 2024 AND acquired >= TIMESTAMPTZ '2024-12-02 00:00:00Z'""",
}
COLUMNS = 'product_id, acquired, cloud_cover, "path", "row", folder'


def lines(rows: int) -> Iterator[str]:
    """The list, in no order."""
    random = np.random.default_rng(22)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        yield "".join(_line(*scene) for scene in _scenes(random, count))


def _scenes(random: np.random.Generator, count: int) -> Iterator[tuple[Any, ...]]:
    names = list(FLOWN)
    share = np.array([FLOWN[name][2] for name in names])
    which = random.choice(len(names), count, p=share / share.sum())
    first = np.array([np.datetime64(FLOWN[n][0], "us").astype(np.int64) for n in names])[which]
    last = np.array([np.datetime64(FLOWN[n][1], "us").astype(np.int64) for n in names])[which]
    taken = (first + random.random(count) * (last - first)).astype("datetime64[us]")
    later = (taken.astype("datetime64[D]") + random.integers(10, 700, count)).astype(str)
    path, row = random.integers(1, 234, count), random.integers(1, 123, count)
    cloud = np.where(random.random(count) < 0.02, -1, random.beta(0.5, 0.6, count) * 100)
    day = np.char.replace(taken.astype("datetime64[D]").astype(str), "-", "")
    text = np.char.replace(taken.astype(str), "T", " ")
    tiers = np.where(random.random(count) < 0.7, "T1", "T2")
    made = np.char.replace(later, "-", "")
    for n in range(count):
        yield names[which[n]], path[n], row[n], day[n], made[n], tiers[n], text[n], cloud[n]


def _line(
    name: str, path: int, row: int, day: str, made: str, tier: str, text: str, cloud: float
) -> str:
    place = f"{path:03d}{row:03d}"
    product = f"{name}_L1TP_{place}_{day}_{made}_01_{tier}"
    folder = f"https://s3-us-west-2.amazonaws.com/landsat-pds/c1/L8/{path:03d}/{row:03d}/{product}"
    entity = f"{name[:2]}{name[3]}{place}{day[:4]}001XXX00"
    boxes = "0.0,0.0,1.0,1.0"
    return f"{product},{entity},{text},{cloud:.2f},L1TP,{path},{row},{boxes},{folder}/index.html\n"


def make(path: Path, rows: int) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEADER)
        for text in lines(rows):
            file.write(text)


def step(command: str, folder: Path) -> dict[str, float]:
    """One step in a process of its own: seconds, seconds of CPU, and the most memory."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, command, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - started
    return {"wall s": wall, **json.loads(done.stdout.splitlines()[-1])}


def child(command: str, folder: Path) -> None:
    lake = lakeq.connect(folder / "lake")
    facts: dict[str, float] = {}
    if command == "ingest":
        report = lake.ingest("landsat.scenes", [folder / "scene_list.gz"])
        facts["rows"] = sum(report.rows.values())
        facts["MB written"] = report.bytes_written / 1e6
    else:
        for name in ("latest", "recent"):
            done = lake.refresh(f"landsat.scenes_{name}", force=True)
            facts[f"rows {name}"] = done.rows
            facts[f"MB {name}"] = done.size_bytes / 1e6
    usage = resource.getrusage(resource.RUSAGE_SELF)
    facts["CPU s"] = usage.ru_utime + usage.ru_stime
    facts["RSS MiB"] = usage.ru_maxrss / 1024
    print(json.dumps(facts))


def latest(folder: Path) -> None:
    """Make the slices again, in a process of its own, and print what it took."""
    facts = step("latest", folder)
    print("latest", *(f"{name}: {value:,.1f};" for name, value in facts.items()))


def ask(lake: lakeq.Lake, table: str, where: str) -> tuple[float, float, Any, Any]:
    sql = f"SELECT {COLUMNS} FROM landsat.{table} WHERE {where} ORDER BY product_id"
    started, worked = time.perf_counter(), time.process_time()
    result = lake.sql(sql)
    rows = result.arrow()
    took = time.perf_counter() - started, time.process_time() - worked
    return *took, rows, result.report


def plain(folder: Path) -> dict[str, tuple[float, int]]:
    """DuckDB alone over the list: seconds and rows of each question, the box by path and row."""
    import duckdb

    duckdb.execute("SET enable_progress_bar = false")
    found = {}
    source = f"read_csv('{folder / 'scene_list.gz'}')"
    year = "acquisitionDate >= '2021-01-01' AND acquisitionDate < '2022-01-01'"
    texts = {
        "path and row": '"path" = 195 AND "row" = 25',
        "last 30 days": "acquisitionDate >= '2024-12-02'",
        "box + year + cloud": f"{year} AND cloudCover BETWEEN 0 AND 20",
    }
    for name, where in texts.items():
        started = time.perf_counter()
        count = duckdb.sql(f"SELECT count(*) FROM {source} WHERE {where}").fetchone()
        assert count is not None
        found[name] = time.perf_counter() - started, int(count[0])
    return found


def questions(folder: Path, rounds: int = 15) -> None:
    lake = lakeq.connect(folder / "lake")
    known = plain(folder)
    print(
        "| question | table | rows | median ms | least ms | CPU ms | MB read | files | row groups |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, where in QUESTIONS.items():
        for table in ("scenes", "scenes_latest", "scenes_recent"):
            if table == "scenes_recent" and name != "last 30 days":
                continue
            times = [ask(lake, table, where) for _ in range(rounds)]
            rows, report = times[-1][2:]
            if table == "scenes" and "box" not in name:
                assert rows.num_rows == known[name][1], (name, rows.num_rows, known[name])
            took = sorted(run[0] * 1000 for run in times)
            worked = statistics.median(run[1] * 1000 for run in times)
            print(
                f"| {name} | {table} | {rows.num_rows:,} | {statistics.median(took):.1f} |"
                f" {took[0]:.1f} | {worked:.1f} | {report.bytes_scanned / 1e6:.2f} |"
                f" {report.files_read} of {report.files_total} |"
                f" {report.row_groups_read} of {report.row_groups_total} |"
            )
        print(f"| {name} | DuckDB over the list | | {known[name][0] * 1000:.0f} | | | | | |")


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in ("ingest", "latest"):
        child(sys.argv[1], Path(sys.argv[2]))
        return
    rows = int(sys.argv[1].replace("_", "").replace(",", "")) if len(sys.argv) > 1 else 5_000_000
    if len(sys.argv) > 2:
        run(Path(sys.argv[2]), rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), rows)


def run(folder: Path, rows: int) -> None:
    """All steps that are not done yet in a folder; the questions are always asked."""
    if not (folder / "scene_list.gz").exists():
        make(folder / "scene_list.gz", rows)
    size = (folder / "scene_list.gz").stat().st_size
    print(f"{rows:,} scenes, list of {size / 1e6:.0f} MB\n")
    if not (folder / "lake").exists():
        facts = step("ingest", folder)
        print("ingest", *(f"{name}: {value:,.1f};" for name, value in facts.items()))
        latest(folder)
    print(flush=True)
    questions(folder)


if __name__ == "__main__":
    main()
