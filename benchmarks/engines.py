"""The same named queries on DuckDB, on Sail and on Spark's JVM, at 1, 10 and 100 times the data.

    .venv/bin/python benchmarks/engines.py                  # about 25 minutes, 0.6 GB of disk
    .venv/bin/python benchmarks/engines.py --scales 1,10 --rounds 1
    SPARK_HOME=... .venv/bin/python benchmarks/engines.py   # with Spark's own JVM as well

The data are real and repeated with shifted keys: the mitochondrial genotypes of 1000 Genomes and
ClinVar of 2016 with shifted positions, one volume of KTLX with shifted times. 1 is 20 copies of
the genotypes, ClinVar once with 20 copies of its mitochondrial rows, and a day of 20 volumes; 10
and 100 are 10 and 100 times that. Each query runs in a process of its own, once to warm up and then
`--rounds` times; the median counts. Seconds are those of the query, CPU and memory those of the
whole process tree, the JVM's included, while it ran. Prints the table for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import lakeq  # noqa: E402  # the checkout, wherever this is run from
from lakeq.api import Lake  # noqa: E402  # after the path is set
from tests.engines.tables import CHR_MT, CLINVAR, DAY, PANEL, VOLUME  # noqa: E402  # after the path is set
from tests.support.jvm_spark import jvm_server, why_not  # noqa: E402  # after the path is set

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 100  # copies in memory
COPIES = 20  # of the genotypes, and volumes a day, at 1
SHIFT_BP = 20_000  # the mitochondrial genome has 16,569
APART = timedelta(minutes=5)
LONGEST_S = 900  # of one query's process
CLOCK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
BOX = {"south": 35.0, "north": 35.5, "west": -97.5, "east": -97.0}
QUERIES: dict[str, dict[str, Any]] = {
    "allele_frequency_clinvar": {},
    "genotype_frequency_clinvar": {},
    "hail_cores": {"first_day": DAY, "least_dbz": 30},
    "echo_top": {"site": "KTLX", "first_day": DAY},
    "reflectivity_in_box": {"site": "KTLX", "first_day": DAY, **BOX},
}


def made(folder: Path, base: Lake, scale: int) -> Lake:
    """A lake with the tables of `base`, repeated."""
    lake = lakeq.connect(folder)
    if lake._iceberg.tables():
        return lake
    copies, variants = COPIES * scale, "contig = 'MT'"
    for name in ("thousand_genomes.variants", "thousand_genomes.genotypes"):
        write(lake, name, [("MT",)], _moved(base, name, copies, 1, variants))
    told = "* REPLACE (['s3://made/thousand_genomes.genotypes/0'] AS objects)"
    samples = _asked(base, "thousand_genomes.samples", f"SELECT {told} FROM t")
    write(lake, "thousand_genomes.samples", [()], [samples])
    rows = [*_moved(base, "clinvar.grch37", scale, COPIES, "contig <> 'MT'")]
    rows += _moved(base, "clinvar.grch37", copies, 1, variants)
    write(lake, "clinvar.grch37", [()], [_sorted(lake, rows)])
    for day in range(scale):
        for name in ("nexrad.volumes", "nexrad.grid"):
            volumes = _later(base, name, day)
            date = volumes["date"][0].as_py().isoformat()
            write(lake, name, [("KTLX", date)], [volumes], day)
    return lake


def _moved(base: Lake, name: str, copies: int, step: int, where: str) -> Iterator[pa.Table]:
    """Rows of a table of the genome, `copies` times, positions shifted by `step` more each time."""
    columns = [c.name for c in base.catalog.table(name).columns]
    by = f"n * {step * SHIFT_BP}"
    shifted = {c: f"CAST({c} + {by} AS BIGINT) AS {c}" for c in ("pos", "end_pos")}
    told = ", ".join(shifted.get(c, f'"{c}"') for c in columns)
    for first in range(0, copies, AT_ONCE):
        numbers = f"range({first}, {min(copies, first + AT_ONCE)}) AS r (n)"
        sql = f"SELECT {told} FROM t CROSS JOIN {numbers} WHERE {where} ORDER BY n, t.pos"
        yield _asked(base, name, sql)


def _later(base: Lake, name: str, day: int) -> pa.Table:
    """Rows of a day of volumes, their times shifted."""
    types = {c.name: c.type for c in base.catalog.table(name).columns}
    by = f"INTERVAL {day} DAY + to_seconds(n * {int(APART.total_seconds())})"
    told = []
    for column, type_ in types.items():
        if column == "date":
            told.append(f"CAST(date + INTERVAL {day} DAY AS DATE) AS date")
        elif type_.startswith("timestamp"):
            told.append(f"{column} + {by} AS {column}")
        else:
            told.append(f'"{column}"')
    order = "n, tile" if "tile" in types else "n"
    sql = f"SELECT {', '.join(told)} FROM t CROSS JOIN range({COPIES}) AS r (n) ORDER BY {order}"
    return _asked(base, name, sql)


_known: dict[str, Any] = {}


def _asked(base: Lake, name: str, sql: str) -> pa.Table:
    import duckdb

    if name not in _known:
        _known[name] = base._iceberg.read_table(name)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", _known[name])
        return connection.sql(sql).to_arrow_table()


def _sorted(lake: Lake, tables: Sequence[pa.Table]) -> pa.Table:
    """ClinVar's rows as its catalog sorts them."""
    import duckdb
    import pyarrow as pa

    order = lake.catalog.table("clinvar.grch37").sort_by or ("contig", "pos")
    with duckdb.connect() as connection:
        connection.register("t", pa.concat_tables(tables))
        return connection.sql(f"SELECT * FROM t ORDER BY {', '.join(order)}").to_arrow_table()


def write(
    lake: Lake, name: str, partitions: list[tuple[str, ...]], tables: Iterable[Any], number: int = 0
) -> None:
    """Commit `tables` as one object's rows, by the lake's own writer."""
    from lakeq import types
    from lakeq.convert.sink import Sink
    from lakeq.formats import TableBatch
    from lakeq.lake.commit import Change

    iceberg, table = lake._iceberg, lake.catalog.table(name)
    schema = types.arrow_schema(table)
    with iceberg.session() as session:
        source = f"s3://made/{name}/{number}"
        sink = Sink(source, {table.name: iceberg.writer(table, session)}, 0)
        for rows in tables:
            for batch in rows.select(schema.names).cast(schema).to_batches(max_chunksize=1 << 17):
                sink.write(TableBatch(table.name, partitions[0], batch))
        sink.close()
        iceberg.commit_all(
            [Change(table, frozenset([source]), tuple(sink.finished[table.name]))], session
        )


def based(folder: Path) -> Lake:
    """The real rows, once."""
    lake = lakeq.connect(folder)
    if not lake._iceberg.tables():
        lake.ingest("thousand_genomes", [CHR_MT], panel=PANEL, tables=["variants", "genotypes"])
        lake.ingest("clinvar", [CLINVAR])
        lake.ingest("nexrad", [VOLUME], tables=["volumes", "grid"])
    return lake


def tree(roots: Sequence[int]) -> Iterator[list[str]]:
    """The fields of /proc/PID/stat, from the state on, of processes and all below them."""
    parents, stats = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid], stats[pid] = int(fields[1]), fields
    wanted = set(roots)
    while more := {p for p, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    yield from (stats[pid] for pid in wanted if pid in stats)


def cpu_s(roots: Sequence[int]) -> float:
    return sum(int(fields[11]) + int(fields[12]) for fields in tree(roots)) / CLOCK


def memory_bytes(roots: Sequence[int]) -> int:
    return sum(int(fields[21]) for fields in tree(roots)) * PAGE


class Peak:
    """The most memory that a process tree held in the block."""

    def __init__(self, roots: Sequence[int]) -> None:
        self.roots, self.bytes, self._done = roots, 0, threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.bytes = max(self.bytes, memory_bytes(self.roots))

    def __exit__(self, *_: object) -> None:
        self.bytes = max(self.bytes, memory_bytes(self.roots))
        self._done.set()
        self._thread.join()


def one(
    folder: str, engine: str, remote: str, jvm: int, query: str, rounds: int, days: int
) -> None:
    """Run one query on one engine; print what it took as JSON."""
    lake = lakeq.connect(folder, spark_remote=remote or None)
    parameters = QUERIES[query] | ({"days": days} if "first_day" in QUERIES[query] else {})
    roots = [os.getpid(), *([jvm] if jvm else [])]
    found = []
    for _ in range(rounds + 1):
        before = cpu_s(roots)
        with Peak(roots) as peak:
            began = time.perf_counter()
            result = lake.sql(f"@{query}", parameters, engine=engine, max_usd="none")
            rows = result.rows()
            seconds = time.perf_counter() - began
        report = result.report
        found.append((seconds, cpu_s(roots) - before, peak.bytes, report.bytes_scanned))
    tied = query == "hail_cores"  # which of equal volumes was the strongest is anybody's choice
    kept = [[v for v in row if not (tied and isinstance(v, datetime))] for row in rows]
    text = json.dumps([[f"{v:.9g}" if isinstance(v, float) else str(v) for v in r] for r in kept])
    told = [median(values) for values in zip(*found[1:], strict=True)]
    print(json.dumps({"rows": len(rows), "told": told, "by": report.bytes_told_by,
                      "digest": hashlib.sha256(text.encode()).hexdigest()}))  # fmt: skip


def measured(lake: Lake, where: tuple[str, str, int], query: str, rounds: int, scale: int) -> Any:
    """What `one` tells, from a process of its own; or why there is nothing to tell."""
    command = [sys.executable, __file__, "--one", str(lake.settings.lake), *map(str, where), query,
               str(rounds), str(scale)]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {LONGEST_S} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        told = [line for line in lines if line.startswith("lakeq.errors.")] or lines
        return {"failed": told[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def jvm_pid(remote: str) -> int:
    """The server's process, by the port that it was given."""
    port = remote.rpartition(":")[2].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"java") and any(word.endswith(b"port=" + port) for word in words):
            return int(path.parent.name)
    raise SystemExit("the JVM's process is not to be found")


def crossing(
    found: Mapping[tuple[str, str, int], Sequence[float]], scales: Sequence[int]
) -> Iterator[str]:
    """From how many GB on so many machines like this one, with Spark, would be faster than DuckDB.

    CPU seconds a GB between the two largest sizes, seconds of start from the smallest, and work
    that parts evenly: an extrapolation, whose formula stands in docs/benchmarks.md.
    """
    first, low, high = scales[0], *scales[-2:]
    cores = os.cpu_count() or 1
    engines = list(dict.fromkeys(engine for _, engine, _ in found if engine != "DuckDB"))
    for query in QUERIES:
        needed = [(query, e, s) for e in ["DuckDB", *engines] for s in (first, low, high)]
        if any(key not in found for key in needed):
            yield f"| {query} |{' not all done |' * (2 * len(engines))}"
            continue
        gb = (found[query, "DuckDB", high][3] - found[query, "DuckDB", low][3]) / 1e9
        rate = {
            engine: (found[query, engine, high][1] - found[query, engine, low][1]) / gb
            for engine in ["DuckDB", *engines]
        }
        told = []
        for engine in engines:
            later = found[query, engine, first][0] - found[query, "DuckDB", first][0]
            for machines in (4, 16):
                gain = (rate["DuckDB"] - rate[engine] / machines) / cores
                told.append("never" if gain <= 0 else f"{max(0.0, later) / gain:.2f}")
        yield f"| {query} | {' | '.join(told)} |"


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        folder, engine, remote, jvm, query, rounds, scale = sys.argv[2:]
        one(folder, engine, remote, int(jvm), query, int(rounds), int(scale))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scales", default="1,10,100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the lakes here, for another run")
    arguments = parser.parse_args()
    scales = [int(scale) for scale in arguments.scales.split(",")]
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base = based(folder / "base")
        lakes = {scale: made(folder / f"lake{scale}", base, scale) for scale in scales}
        engines = {"DuckDB": ("duckdb", "", 0), "Sail": ("spark", "", 0)}
        if reason := why_not():
            print(f"without the JVM: {reason}", file=sys.stderr)
        else:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            remote = stack.enter_context(jvm_server(scratch))
            engines["Spark JVM"] = ("spark", remote, jvm_pid(remote))
        found: dict[tuple[str, str, int], list[float]] = {}
        print("| query | times | engine | rows | seconds | CPU s | peak MiB | scanned MB |")
        print("|---|--:|---|--:|--:|--:|--:|--:|")
        for query in QUERIES:
            for scale in scales:
                digests = set()
                for name, where in engines.items():
                    told = measured(lakes[scale], where, query, arguments.rounds, scale)
                    if "failed" in told:
                        print(f"| {query} | {scale} | {name} | {told['failed']} |", flush=True)
                        continue
                    seconds, cpu, peak, scanned = told["told"]
                    found[query, name, scale] = told["told"]
                    digests.add(told["digest"])
                    planned = " (plan)" if told["by"] == "plan" else ""
                    print(f"| {query} | {scale} | {name} | {told['rows']:,} | {seconds:.2f} "
                          f"| {cpu:.2f} | {peak / (1 << 20):,.0f} | {scanned / 1e6:.1f}{planned} |",
                          flush=True)  # fmt: skip
                if len(digests) > 1:
                    print(f"rows of {query} at {scale} differ", file=sys.stderr)
        if len(scales) > 1:
            heads = [f"{engine}, {n} machines" for engine in list(engines)[1:] for n in (4, 16)]
            print(f"\n| faster than DuckDB from GB scanned | {' | '.join(heads)} |")
            print(f"|---|{'--:|' * len(heads)}")
            print("\n".join(crossing(found, scales)))


if __name__ == "__main__":
    main()
