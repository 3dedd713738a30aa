"""Reading a radar volume: lakeq beside Py-ART, xradar, MetPy, radrs, and Python's bz2 alone.

    python benchmarks/nexrad.py VOLUME_OR_CHUNK_FOLDER [--rounds 3] [--only NAME ...]

A folder of chunks is joined in order, which gives the archive object. Each contender runs in a
process of its own, rounds in turn; figures are medians. CPU is user + system after the imports,
wall likewise, RSS the peak of the process. The floor inflates every record with bz2 and keeps
nothing; each reader has all codes of all moments at the end. "all tables" builds the five tables
and writes their Parquet files as an ingest does, "ingest" is everything: lake, files, commit.
What was aimed at stands beside what was measured at the end; what queries of one place read of a
day is measured by benchmarks/maintain.py.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from statistics import median
from typing import Any

Work = Callable[[], Any]


def floor(path: Path) -> Work:
    data = path.read_bytes()

    def inflate() -> None:
        at = 24
        while at + 4 < len(data):
            size = abs(struct.unpack_from(">i", data, at)[0])
            bz2.decompress(data[at + 4 : at + 4 + size])
            at += 4 + size

    return inflate


def lakeq_decode(path: Path, threads: int) -> Work:
    from lakeq.formats import _nexrad_container, _nexrad_messages, _nexrad_outer  # noqa: F401  # only to have it loaded
    from lakeq.formats._nexrad_volume import read_stream

    def decode() -> Any:
        with path.open("rb") as stream:
            return list(read_stream(path.name, stream, threads=threads).sweeps)

    return decode


def lakeq_chunk(path: Path) -> Work:
    """The largest chunk of the volume by itself."""
    from lakeq.formats._nexrad_volume import read_chunk

    data = path.read_bytes()
    chunks, at = [], 24
    while at + 4 < len(data):
        size = abs(struct.unpack_from(">i", data, at)[0])
        chunks.append(data[at : at + 4 + size])
        at += 4 + size
    largest = max(chunks, key=len)
    return lambda: read_chunk(largest, "chunk")


def lakeq_tables(path: Path) -> Work:
    import lakeq
    from lakeq.convert.sink import Sink
    from lakeq.formats import ReadContext, nexrad_level2
    from lakeq.storage import local_source

    for part in ("gates", "grid", "rays", "rows", "summary", "volume"):
        import_module(f"lakeq.formats._nexrad_{part}")
    for name in ("isal.isal_zlib", "llvmlite.binding", "numpy.ma", "pyarrow.compute"):
        import_module(name)  # what the first volume of a process imports on its way

    def build() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lake = lakeq.connect(folder)
            dataset = lake.catalog.dataset("nexrad")
            with lake._iceberg.session() as session:
                tables = dict(dataset.tables)
                writers = {n: lake._iceberg.writer(t, session) for n, t in tables.items()}
                began.append((time.process_time(), time.perf_counter()))
                sink = Sink(path.as_uri(), writers)
                context = ReadContext(dataset, Path(folder))
                for batch in nexrad_level2.read(local_source(path), tables, context):
                    sink.write(batch)
                sink.close()
                ended.append((time.process_time(), time.perf_counter()))

    return build


SIZES: dict[str, float] = {}
began: list[tuple[float, float]] = []  # CPU and wall seconds after a lake was made, if any was
ended: list[tuple[float, float]] = []


SERVERS = ExitStack()  # what serves S3, until the process ends


def on_s3(path: Path) -> tuple[str, dict[str, Any]]:
    """The object on a server of S3's protocol (rclone) on this machine: its URI, and settings."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.test_storage import rclone

    folder = Path(SERVERS.enter_context(tempfile.TemporaryDirectory()))
    (folder / "archive").mkdir()
    copyfile(path, folder / "archive" / path.name)
    endpoint = SERVERS.enter_context(rclone(folder, "the-key", "the-secret"))
    os.environ |= {"AWS_ACCESS_KEY_ID": "the-key", "AWS_SECRET_ACCESS_KEY": "the-secret"}
    settings = {"s3_endpoint_url": endpoint, "s3_region": "us-east-1", "s3_anon": False}
    return f"s3://archive/{path.name}", settings


def lakeq_decode_s3(path: Path) -> Work:
    import lakeq
    from lakeq.formats import _nexrad_container, _nexrad_messages, _nexrad_outer  # noqa: F401  # only to have it loaded
    from lakeq.formats._nexrad_volume import read_stream
    from lakeq.storage import Storage

    uri, settings = on_s3(path)
    folder = SERVERS.enter_context(tempfile.TemporaryDirectory())
    source = Storage(lakeq.connect(folder, **settings).settings).source(uri)
    source.read_range(0, 1)  # the client is made and connected

    def decode() -> Any:
        with source.open() as stream:
            return list(read_stream(path.name, stream, threads=2).sweeps)

    return decode


def lakeq_volumes_s3(path: Path) -> Work:
    """The row of `volumes` from the object on S3, its bytes counted by a proxy."""
    import lakeq

    uri, settings = on_s3(path)
    from tests.support.counting_proxy import counting_proxy

    proxy = SERVERS.enter_context(counting_proxy(settings["s3_endpoint_url"]))

    def ingest() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lake = lakeq.connect(folder, **settings | {"s3_endpoint_url": proxy.url})
            lake.ingest("nexrad", [uri], tables=["volumes"])
            SIZES["volumes"] = sum(asked.sent for asked in proxy.read(path.name)) / 1024

    return ingest


def lakeq_ingest(path: Path, *, s3: bool = False) -> Work:
    import lakeq

    uri, settings = on_s3(path) if s3 else (path, {})

    def ingest() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lakeq.connect(folder, **settings).ingest("nexrad", [uri])
            for table in ("rays", "gates", "grid", "sweeps", "volumes"):
                files = Path(folder).glob(f"warehouse/nexrad/{table}/**/*.parquet")
                SIZES[table] = sum(file.stat().st_size for file in files) / path.stat().st_size

    return ingest


def pyart_reader(path: Path) -> Work:
    os.environ["PYART_QUIET"] = "1"
    import pyart

    return lambda: pyart.io.read_nexrad_archive(str(path))


def xradar_reader(path: Path) -> Work:
    import xradar

    return lambda: xradar.io.open_nexradlevel2_datatree(str(path)).load()


def metpy_reader(path: Path) -> Work:
    from metpy.io import Level2File

    return lambda: Level2File(str(path))


def radrs_reader(path: Path) -> Work:
    import radrs.xradar

    return lambda: radrs.xradar.open_datatree(str(path)).load()


CONTENDERS: dict[str, Callable[[Path], Work]] = {
    "bz2 floor": floor,
    "lakeq decode, 1 thread": lambda path: lakeq_decode(path, 1),
    "lakeq decode, 2 threads": lambda path: lakeq_decode(path, 2),
    "radrs": radrs_reader,
    "Py-ART": pyart_reader,
    "MetPy": metpy_reader,
    "xradar": xradar_reader,
    "lakeq all tables": lakeq_tables,
    "lakeq ingest": lakeq_ingest,
    "lakeq one chunk": lakeq_chunk,
    "lakeq decode from S3, 2 threads": lakeq_decode_s3,
    "lakeq ingest from S3": lambda path: lakeq_ingest(path, s3=True),
    "lakeq volumes from S3": lakeq_volumes_s3,
}
# What is aimed at: contender, figure, at most. CPU and wall are times the floor's, or seconds.
AIMS = (
    ("lakeq decode, 1 thread", "CPU, x floor", 1.35),
    ("lakeq decode, 2 threads", "wall, x floor", 0.75),
    ("lakeq decode, 2 threads", "RSS, MB", 300),
    ("lakeq decode from S3, 2 threads", "CPU, x floor", 1.35),
    ("lakeq decode from S3, 2 threads", "wall, x floor", 0.75),
    ("lakeq all tables", "CPU, x floor", 3),
    ("lakeq all tables", "RSS, MB", 600),
    ("lakeq ingest", "rays, x object", 1.15),
    ("lakeq ingest", "gates, x object", 1.6),
    ("lakeq ingest", "grid, x object", 0.1),
    ("lakeq one chunk", "wall, s", 0.05),
    ("lakeq volumes from S3", "volumes, KiB sent", 16),
)


def child(name: str, path: Path) -> None:
    warnings.simplefilter("ignore")
    printed = sys.stdout
    sys.stdout = sys.stderr
    work = CONTENDERS[name](path)
    if name == "lakeq one chunk":
        work()  # the first call imports; the figure is of a worker that is running
    cpu, wall = time.process_time(), time.perf_counter()
    kept = work()
    done = time.process_time(), time.perf_counter()
    (cpu, wall), done = (*began, (cpu, wall))[0], (*ended, done)[0]
    result = {
        "cpu": done[0] - cpu,
        "wall": done[1] - wall,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sizes": SIZES,
    }
    del kept
    SERVERS.close()
    print(json.dumps(result), file=printed)


def measure(name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, str(path), "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"failed": last[0]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(runs: dict[str, list[dict[str, Any]]]) -> None:
    base = {key: median(run[key] for run in runs["bz2 floor"]) for key in ("cpu", "wall")}
    print("| contender | CPU s | x floor | wall s | x floor | RSS MiB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, results in runs.items():
        if failed := [run["failed"] for run in results if "failed" in run]:
            print(f"| {name} | fails: {failed[0][:60]} | | | | |")
            continue
        cpu, wall, rss = (median(run[key] for run in results) for key in ("cpu", "wall", "rss"))
        print(
            f"| {name} | {cpu:.3f} | {cpu / base['cpu']:.2f} | {wall:.3f} "
            f"| {wall / base['wall']:.2f} | {rss:.0f} |"
        )
    for run in runs.get("lakeq ingest", [])[:1]:
        print("\nsize of the files, times the object:")
        print(", ".join(f"{table} {size:.3f}" for table, size in run["sizes"].items()))


def figure(name: str, results: list[dict[str, Any]], base: dict[str, float]) -> float:
    """One figure of a contender, the median of its runs."""
    what, _, unit = name.partition(", ")
    if what in results[0]["sizes"]:
        return float(results[0]["sizes"][what])
    value = median(run[what.lower()] for run in results)
    if unit == "x floor":
        return float(value / base[what.lower()])
    return float(value * 1.048576 if unit == "MB" else value)


def aims(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Print what was aimed at beside what was measured."""
    base = {key: median(run[key] for run in runs["bz2 floor"]) for key in ("cpu", "wall")}
    print("\n| aim | measured | at most | |\n|---|--:|--:|---|")
    for contender, name, most in AIMS:
        results = runs.get(contender, [])
        if not results or any("failed" in run for run in results):
            continue
        value = figure(name, results, base)
        kept = "holds" if value <= most else "does not hold"
        print(f"| {contender}: {name} | {value:.3f} | {most:g} | {kept} |")


def joined(path: Path, folder: str) -> Path:
    """The archive object of a folder of chunks."""
    if path.is_file():
        return path
    parts = sorted(path.iterdir())
    name = f"{path.parent.name}{parts[0].name[:15].replace('-', '_')}_V06"
    target = Path(folder) / name
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.volume)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = joined(arguments.volume, folder)
        names = list(dict.fromkeys(["bz2 floor", *arguments.only]))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name in names:
                runs[name].append(measure(name, path))
    report(runs)
    aims(runs)


if __name__ == "__main__":
    main()
