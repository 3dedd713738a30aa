"""What it takes to read a VCF, and to ingest it: lakeq beside cyvcf2, bcftools and plink2.

    python benchmarks/vcf.py FILE.vcf.gz PANEL [--rounds 5] [--only NAME ...]

FILE and PANEL are those that make_phase3_like_vcf.py writes, or any phase 3 object and its panel.
Each contender runs in a process of its own, several rounds in turn; figures are medians. CPU is
user + system of the whole process, start and imports included. The cyvcf2 loop and `lakeq
variants` compute the same allele counts per super-population, which are compared. "lakeq read"
makes the rows of tables and keeps none; "lakeq ingest" is the command: Parquet files of the
tables, committed to a new lake. bcftools and plink2 are left out where they are not installed.

Bytecode is kept, as by any installation, even where PYTHONDONTWRITEBYTECODE is set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

TABLES = {
    "lakeq read variants": ("variants",),
    "lakeq read variants + genotypes": ("variants", "genotypes"),
    "lakeq read all tables": ("variants", "genotypes", "calls"),
    "lakeq ingest variants + genotypes": ("variants", "genotypes"),
    "lakeq ingest all tables": ("variants", "genotypes", "calls"),
}
CODES = ("AFR", "AMR", "EAS", "EUR", "SAS")


def panel(path: Path) -> dict[str, tuple[str, str, str]]:
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return {row[0]: (row[1], row[2], row[3].strip()) for row in rows}


def cyvcf2_loop(path: Path, members: Path) -> dict[str, Any]:
    import cyvcf2
    import numpy as np

    known = panel(members)
    reader = cyvcf2.VCF(str(path))
    groups = [[known[s][1] == code for s in reader.samples] for code in CODES]
    masks = [np.array(group) for group in groups]
    rows, total = 0, dict.fromkeys(("ac", "an", *CODES), 0)
    for variant in reader:
        alleles = variant.genotype.array()[:, :-1]
        total["an"] += int((alleles >= 0).sum())
        for alt in range(1, len(variant.ALT) + 1):
            carried = (alleles == alt).sum(axis=1)
            total["ac"] += int(carried.sum())
            for code, mask in zip(CODES, masks, strict=True):
                total[code] += int(carried[mask].sum())
        rows += 1
    return {"rows": rows, "total": total}


def lakeq_tables(path: Path, members: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Read the file into batches of the tables, and keep none."""
    import pyarrow.compute as pc

    from lakeq import catalog
    from lakeq.formats import ReadContext, Sample, vcf
    from lakeq.storage import local_source

    dataset = catalog.load().dataset("thousand_genomes")
    known = panel(members)
    source = local_source(path)
    total = dict.fromkeys(("ac", *CODES), 0)
    lines = 0
    with tempfile.TemporaryDirectory() as folder:
        samples = {n: Sample(n, i, *known[n]) for i, n in enumerate(vcf.sample_names(source))}
        context = ReadContext(dataset, Path(folder) / "spill", samples)
        for batch in vcf.read(source, {name: dataset.tables[name] for name in names}, context):
            if batch.table == "variants":
                lines += batch.rows["alt_index"].value_counts().field("counts")[0].as_py()
                for code in total:
                    column = "ac" if code == "ac" else f"ac_{code.lower()}"
                    total[code] += pc.sum(batch.rows[column]).as_py()
    return {"rows": lines, "total": total}


def child(name: str, path: Path, members: Path) -> None:
    reads = cyvcf2_loop(path, members) if name == "cyvcf2 loop" else None
    print(json.dumps(reads or lakeq_tables(path, members, TABLES[name])))


def command(name: str, arguments: argparse.Namespace, folder: str) -> list[str]:
    """What to run for one contender; it may write into `folder`."""
    file, members = str(arguments.file), str(arguments.panel)
    if name == "bcftools view":
        return ["bcftools", "view", "-Ou", "-o", os.devnull, file]
    if name == "plink2 --make-pgen":
        names = ["--vcf", file, "--make-pgen", "--out", f"{folder}/plink2"]
        return ["plink2", *names, "--threads", "2", "--memory", "2000"]
    if name.startswith("lakeq ingest"):
        tables = ["--tables", ",".join(TABLES[name])]
        options = ["--panel", members, "--lake", folder, "--report", "none", *tables]
        return [sys.executable, "-m", "lakeq.cli", "ingest", "thousand_genomes", file, *options]
    return [sys.executable, __file__, file, members, "--child", name]


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run in its own process: CPU and wall seconds, peak RSS in MiB, and what it made."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        with subprocess.Popen(
            command(name, arguments, folder), stdout=out, env=environment
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{name} failed")
        made = sum(f.stat().st_size for f in Path(folder).rglob("*.p[ag][re]*") if f.is_file())
        out.seek(0)
        printed = out.read() if "--child" in command(name, arguments, folder) else b"{}"
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": wall,
        "rss": usage.ru_maxrss / 1024,
        "made": made / 1e6,
        **json.loads(printed),
    }


def contenders() -> list[str]:
    peers = {"bcftools": "bcftools view", "plink2": "plink2 --make-pgen"}
    return ["cyvcf2 loop", *(p for tool, p in peers.items() if shutil.which(tool)), *TABLES]


def report(runs: dict[str, list[dict[str, Any]]], text_bytes: int) -> None:
    base = median(run["cpu"] for run in runs["cyvcf2 loop"])
    rows = runs["cyvcf2 loop"][0]["rows"]
    print(f"{rows:,} rows, {text_bytes / 1e6:.0f} MB of text; load {os.getloadavg()[0]:.1f}\n")
    print(
        "| contender | CPU s | wall s | rows per CPU s | x cyvcf2 | GB/s | RSS MiB | MB written |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, results in runs.items():
        cpu, wall, rss = (median(run[key] for run in results) for key in ("cpu", "wall", "rss"))
        made = f"{results[0]['made']:.1f}" if results[0]["made"] else ""
        print(
            f"| {name} | {cpu:.2f} | {wall:.2f} | {rows / cpu:,.0f} "
            f"| {base / cpu:.1f} | {text_bytes / wall / 1e9:.2f} | {rss:.0f} | {made} |"
        )


def check(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Every contender that counts counts the same."""
    expected = runs["cyvcf2 loop"][0]
    for name, results in runs.items():
        for run in results:
            for key, value in run.get("total", {}).items():
                assert value == expected["total"][key], (name, key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("panel", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=contenders(), default=contenders())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.file, arguments.panel)
        return
    from lakeq.formats import _bgzf
    from lakeq.storage import local_source

    text_bytes = sum(map(len, _bgzf.pieces(local_source(arguments.file))))
    names = list(dict.fromkeys(["cyvcf2 loop", *arguments.only]))
    measure("lakeq ingest all tables", arguments)  # compiles, once per machine
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            runs[name].append(measure(name, arguments))
    check(runs)
    report(runs, text_bytes)


if __name__ == "__main__":
    main()
