"""Rows per CPU second of reading a VCF: lakeq beside a cyvcf2 loop and bcftools view.

    python benchmarks/vcf.py FILE.vcf.gz PANEL [--rounds 5] [--only NAME ...]

FILE and PANEL are those that make_phase3_like_vcf.py writes, or any phase 3 object and its panel.
Each contender runs in a process of its own, several rounds in turn; figures are medians. CPU is
user + system of the whole process, start and imports included; "reading" is the part of it after
the imports. The cyvcf2 loop and `lakeq variants` compute the same allele counts per
super-population, which are compared.
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
    "lakeq variants": ("variants",),
    "lakeq variants + genotypes": ("variants", "genotypes"),
    "lakeq all tables": ("variants", "genotypes", "calls"),
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

    began = time.process_time()
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
    return {"rows": rows, "total": total, "reading": time.process_time() - began}


def lakeq_tables(path: Path, members: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Read the file into batches of the tables, and keep none."""
    import pyarrow.compute as pc

    from lakeq import catalog
    from lakeq.formats import ReadContext, Sample, vcf
    from lakeq.storage import local_source

    began = time.process_time()
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
    return {"rows": lines, "total": total, "reading": time.process_time() - began}


def lakeq_ingest(path: Path, members: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """What `lakeq ingest` does: Parquet files of the tables, committed to a new lake."""
    from lakeq import catalog, config, convert
    from lakeq.lake import IcebergLake
    from lakeq.storage import Storage

    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load({"lake": folder})
        dataset = catalog.load().dataset("thousand_genomes")
        lake, storage = IcebergLake(settings), Storage(settings)
        convert.ingest(lake, storage, dataset, [path], table_names=names, panel=members)
    return {"reading": time.process_time() - began}


def bcftools_view(path: Path) -> dict[str, Any]:
    command = [str(shutil.which("bcftools")), "view", "-Ou", "-o", os.devnull, str(path)]
    subprocess.run(command, check=True)
    return {}


def child(name: str, path: Path, members: Path) -> None:
    if name == "cyvcf2 loop":
        result = cyvcf2_loop(path, members)
    elif name == "bcftools view":
        result = bcftools_view(path)
    elif name.startswith("lakeq ingest"):
        result = lakeq_ingest(path, members, TABLES[name])
    else:
        result = lakeq_tables(path, members, TABLES[name])
    print(json.dumps(result))


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run in its own process: CPU and wall seconds, peak RSS in MiB, and what it printed."""
    command = [sys.executable, __file__, str(arguments.file), str(arguments.panel), "--child", name]
    read, write = os.pipe()
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=write) as process:
        os.close(write)
        with os.fdopen(read) as pipe:
            printed = pipe.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name} failed")
    children = usage.ru_utime + usage.ru_stime
    return {
        "cpu": children,
        "wall": time.perf_counter() - began,
        "rss": usage.ru_maxrss / 1024,
        **json.loads(printed),
    }


def contenders() -> list[str]:
    bcftools = ["bcftools view"] if shutil.which("bcftools") else []
    return ["cyvcf2 loop", *bcftools, *TABLES]


def report(runs: dict[str, list[dict[str, Any]]], text_bytes: int) -> None:
    base = median(run["cpu"] for run in runs["cyvcf2 loop"])
    rows = runs["cyvcf2 loop"][0]["rows"]
    print("| contender | CPU s | reading s | wall s | rows per CPU s | x cyvcf2 | GB/s | RSS MiB |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, results in runs.items():
        cpu, wall, rss = (median(run[key] for run in results) for key in ("cpu", "wall", "rss"))
        reading = median(run.get("reading", run["cpu"]) for run in results)
        print(
            f"| {name} | {cpu:.2f} | {reading:.2f} | {wall:.2f} | {rows / cpu:,.0f} "
            f"| {base / cpu:.1f} | {text_bytes / reading / 1e9:.2f} | {rss:.0f} |"
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
    measure("lakeq all tables", arguments)  # compiles, once per machine
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            runs[name].append(measure(name, arguments))
    check(runs)
    report(runs, text_bytes)


if __name__ == "__main__":
    main()
