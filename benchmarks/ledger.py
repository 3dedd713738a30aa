"""What the ledger costs a query, and how many writers it takes.

    python benchmarks/ledger.py

Prints the milliseconds that a query spends with the ledger, by part, beside the query itself; the
digest of results of several sizes; lines per second of one writer and of eight; and, with 10,000
lines, the time of `history` and of a budget's check.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path

import lakeq
from lakeq import config
from lakeq.digest import Digester
from lakeq.ledger import Ledger, Line

sys.path.insert(0, str(Path(__file__).parents[1]))

QUERIES = 60
LINES = 2000
BUDGET = [{"usd": 10**9, "per": "day"}]


def median_ms(work: Callable[[], object], times: int) -> str:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    low, high = min(taken), statistics.quantiles(taken, n=20)[-1]
    return f"{statistics.median(taken):8.2f} ms  ({low:.2f} to {high:.2f}: 95 %)"


def whole_run(ledger: Ledger) -> None:
    run = ledger.begin("query", sql="select 1", parameters={"n": 1})
    run.allow()
    run.reserve(Decimal("0.01"), planned=(1, 2), tables={"d.t": 1})
    run.settle([Line("query", 10, 1, Decimal("0.001"))])


def write(folder: str) -> float:
    """Seconds of CPU and wall for LINES runs."""
    ledger = Ledger(config.load({"lake": folder, "budget": BUDGET}))
    started = time.perf_counter()
    for _ in range(LINES // 8):
        whole_run(ledger)
    return time.perf_counter() - started


def queries(folder: Path) -> None:
    from examples.make_cohort import make

    made = make(folder / "made", samples=120, variants=400)
    lakeq.connect(folder / "lake").ingest("thousand_genomes", [made.vcf])
    sql = "select pos, ref, alt, ac from thousand_genomes.variants order by pos"
    with_ledger = lakeq.connect(folder / "lake")
    (folder / "file").write_text("")
    without = lakeq.connect(folder / "lake", ledger=folder / "file" / "no.db", digest_rows=0)
    list(with_ledger.sql(sql).stream())
    list(without.sql(sql).stream())  # says once that this ledger cannot be written
    rounds = [lambda: list(with_ledger.sql(sql).stream()), lambda: list(without.sql(sql).stream())]
    wall: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for _ in range(QUERIES):  # in turn, so that both meet the same machine
        for number, work in enumerate(rounds):
            started, used = time.perf_counter(), time.process_time()
            work()
            wall[number].append((time.perf_counter() - started) * 1000)
            cpu[number].append((time.process_time() - used) * 1000)
    for name, taken in (("wall", wall), ("CPU", cpu)):
        on, off = map(statistics.median, taken)
        print(f"a query of 400 rows, {name} time:   with {on:.2f} ms, without {off:.2f} ms")
        print(f"                     difference of the medians {on - off:.2f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "made").mkdir()
        queries(folder)
        ledger = Ledger(config.load({"lake": folder, "budget": BUDGET}))
        print("one run, reserved and settled:          ", median_ms(lambda: whole_run(ledger), 300))
        for count in (10, 1000, 10_000):
            rows = [(n, "22", 0.5 + n, "ACGT"[n % 4], None) for n in range(count)]

            def digest(rows: list[tuple[object, ...]] = rows) -> object:
                digester = Digester(10_000, "rows")
                digester.add(rows)
                return digester.digest(ordered=True)

            print(f"digest of {count:6,} rows of 5 values:      ", median_ms(digest, 50))
        many = folder / "many"
        many.mkdir()
        with ProcessPoolExecutor(8) as pool:
            started = time.perf_counter()
            list(pool.map(write, [str(many)] * 8))
            wall = time.perf_counter() - started
        print(f"8 writers at once, {LINES:,} runs:         {LINES / wall:8.0f} runs/s")
        started = time.perf_counter()
        for _ in range(8):
            write(str(many))
        wall = time.perf_counter() - started
        print(f"1 writer, {LINES:,} runs:                  {LINES / wall:8.0f} runs/s")
        full = Ledger(config.load({"lake": many, "budget": BUDGET}))
        for _ in range(6000):
            whole_run(full)
        lake = lakeq.connect(many, budget=BUDGET)
        print("with 10,000 runs: a budget's state:     ", median_ms(full.spending, 50))
        print("                  one more run:         ", median_ms(lambda: whole_run(full), 100))
        print("                  all of the history:   ", median_ms(lake.history, 5))
        size = (many / "ledger.db").stat().st_size
        print(f"                  the file:              {size / 10_000:8.0f} bytes a run")


if __name__ == "__main__":
    main()
