"""How long the command takes to answer: `--help`, and the first row of a local query, both warm.

Run: python benchmarks/startup.py [RUNS]. It makes a small lake in a temporary folder, runs each
command once to fill caches and then RUNS times (21), interleaved, and prints medians. Limits:
`--help` 150 ms; the query 400 ms more than a Python that does nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELP_LIMIT_MS = 150
QUERY_LIMIT_MS = 400
CLINVAR = """##fileformat=VCFv4.1
##reference=GRCh37
##INFO=<ID=CLNSIG,Number=1,Type=String,Description="Clinical significance">
##INFO=<ID=GENEINFO,Number=1,Type=String,Description="Gene">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
1\t949523\t183381\tC\tT\t.\t.\tCLNSIG=Pathogenic;GENEINFO=ISG15:9636
MT\t1555\t9628\tA\tG\t.\t.\tCLNSIG=Pathogenic;GENEINFO=MT-RNR1:4549
"""
LAKEQ = (sys.executable, "-c", "from lakeq.cli import main; main()")
QUERY = "select gene, count(*) from clinvar.grch37 where is_pathogenic group by gene"
COMMANDS: dict[str, tuple[str, ...]] = {
    "python, doing nothing": (sys.executable, "-c", "pass"),
    "lakeq --help": (*LAKEQ, "--help"),
    "lakeq sql, text": (*LAKEQ, "sql", QUERY),
    "lakeq sql, a parameter": (*LAKEQ, "sql", f"{QUERY} having gene <> $g", "-p", "g=ISG15"),
    "lakeq tables": (*LAKEQ, "tables"),
}


def environment(folder: Path) -> dict[str, str]:
    """Of the commands: a lake of their own, and byte code kept as an installation keeps it."""
    foreign = ("LAKEQ_", "PYTHON", "XDG_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    homes = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return {**kept, **homes, "LAKEQ_LAKE": str(folder / "lake"), "PYTHONPATH": str(ROOT)}


def milliseconds(command: Sequence[str], env: dict[str, str], folder: Path) -> float:
    """Wall time of one run to its end, which is after its first row."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=env, cwd=folder)
    return 1000 * (time.perf_counter() - started)


def measure(folder: Path, runs: int) -> dict[str, float]:
    """The median of each command, in ms."""
    env = environment(folder)
    source = folder / "clinvar.GRCh37.vcf"
    source.write_text(CLINVAR)
    subprocess.run(
        (*LAKEQ, "ingest", "clinvar", str(source)), check=True, capture_output=True, env=env
    )
    for command in COMMANDS.values():
        milliseconds(command, env, folder)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(milliseconds(command, env, folder))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Print the table; 1 when a limit is passed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory() as folder:
        medians = measure(Path(folder), runs)
    empty = medians["python, doing nothing"]
    print("| command | median ms | more than Python |")
    print("|---|---:|---:|")
    for name, value in medians.items():
        print(f"| {name} | {value:.0f} | {value - empty:.0f} |")
    late = medians["lakeq --help"] > HELP_LIMIT_MS
    return int(late or medians["lakeq sql, text"] - empty > QUERY_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
