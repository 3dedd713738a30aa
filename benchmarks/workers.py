"""Ingests of several real objects, here and by processes: seconds, CPU and memory.

    .venv/bin/python benchmarks/workers.py              # about 3 minutes
    .venv/bin/python benchmarks/workers.py --rounds 1

Each ingest is a command of its own into a new lake, after one that is not counted; the median of
the rounds counts. CPU is that of all processes. Prints the table for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.data import FOLDER  # noqa: E402  # the checkout, wherever this is run from

WORK = {
    "11 radar volumes, all tables": ("nexrad", "nexrad/volumes/K*", ()),
    "11 radar volumes, sweeps alone": ("nexrad.sweeps", "nexrad/volumes/K*", ()),
    "4 VCF files of phase 1 and 3": (
        "thousand_genomes",
        "genomics/thousand_genomes/phase[13].chr*.vcf.gz",
        ("--no-panel",),
    ),
}
PLACES = ((), ("--executor", "processes:1"), ("--executor", "processes:2"))


def taken(dataset: str, objects: list[str], options: tuple[str, ...]) -> tuple[float, float]:
    """Seconds and CPU seconds of one ingest."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lakeq.cli", "ingest", dataset, *objects, *options,
                   "--lake", f"{folder}/lake", "--report", "none"]  # fmt: skip
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu = sum(after[2:4]) - sum(before[2:4])
    return seconds, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("| objects | raw MB | where | seconds | CPU s | times as fast |")
    print("|---|--:|---|--:|--:|--:|")
    for name, (dataset, pattern, more) in WORK.items():
        objects = [str(path) for path in sorted(FOLDER.glob(pattern))]
        size = sum(Path(path).stat().st_size for path in objects) / 1e6
        alone = 0.0
        for place in PLACES:
            found = [taken(dataset, objects, (*more, *place)) for _ in range(rounds + 1)][1:]
            seconds, cpu = (median(values) for values in zip(*found, strict=True))
            alone = alone or seconds
            where = place[1] if place else "here"
            print(f"| {name} | {size:.1f} | {where} | {seconds:.2f} | {cpu:.2f} "
                  f"| {alone / seconds:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
