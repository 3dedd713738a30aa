"""What it takes to read a VCF, and to ingest it: lakeq beside cyvcf2, bcftools and plink2.

    python benchmarks/vcf.py FILE.vcf.gz PANEL [--rounds 5] [--only NAME ...]
        [--own HARD.vcf.gz] [--peers VENV]

FILE and PANEL are those that make_phase3_like_vcf.py writes, or any phase 3 object and its panel.
Each contender runs in a process of its own, several rounds in turn; figures are medians. CPU is
user + system of the whole process, start and imports included. The cyvcf2 loop and `lakeq
variants` compute the same allele counts per super-population, which are compared. "lakeq read"
makes the rows of tables and keeps none; "lakeq ingest" is the command: Parquet files of the
tables, committed to a new lake. bcftools and plink2 are left out where they are not installed.

With --own a second file, such as make_hard_vcf.py writes, is read as a dataset of one's own: once
its genotypes, once every FORMAT field of every sample. With --peers an environment that has
bio2zarr[vcf], polars-bio, vcf2parquet and oxbow: they read the first SLICE_LINES records, beside
lakeq.

Bytecode is kept, as by any installation, even where PYTHONDONTWRITEBYTECODE is set.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
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
OWN = {
    "lakeq read own, genotypes": ("variants", "genotypes"),
    "lakeq read own, every FORMAT field": ("entries",),
}
SLICE_LINES = 4000
PEERS = {
    "vcf2zarr": "import sys; from bio2zarr import vcf; "
    "vcf.convert([sys.argv[1]], sys.argv[2] + '/zarr', worker_processes=1)",
    "polars-bio": "import sys; import polars_bio; polars_bio.read_vcf(sys.argv[1])",
    "vcf2parquet": "import sys; import pyvcf2parquet as v; "
    "v.convert_vcf(sys.argv[1], sys.argv[2] + '/a.parquet')",
    "oxbow": "import sys; import oxbow; oxbow.from_vcf(sys.argv[1]).pl()",
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


def own_tables(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Read a file as a dataset of one's own into batches of the tables, and keep none."""
    from lakeq import catalog
    from lakeq.formats import ReadContext, vcf
    from lakeq.storage import local_source

    source = local_source(path)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "own.yaml"
        made.write_text(vcf.draft("own", [source], {}), "utf-8")
        dataset = catalog.check(made)
        context = ReadContext(dataset, Path(folder) / "spill")
        tables = {name: dataset.tables[name] for name in names}
        return {"rows": sum(b.rows.num_rows for b in vcf.read(source, tables, context))}


def child(name: str, path: Path, members: Path) -> None:
    if name in OWN:
        print(json.dumps(own_tables(path, OWN[name])))
        return
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
    if name in PEERS:
        return [str(arguments.peers / "bin/python"), "-c", PEERS[name], file, folder]
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


def others(arguments: argparse.Namespace, names: Iterable[str], title: str) -> None:
    """Contenders that are not compared with the others: on another file."""
    text_bytes = inflated_bytes(arguments.file)
    print(f"\n{title}: {text_bytes / 1e6:.0f} MB of text\n")
    print(
        "| contender | CPU s | wall s | MB per CPU s | MB/s | RSS MiB |\n|---|--:|--:|--:|--:|--:|"
    )
    for name in names:
        if name in OWN:
            measure(name, arguments)  # compiles, once per machine
        runs = [measure(name, arguments) for _ in range(arguments.rounds)]
        cpu, wall, rss = (median(run[key] for run in runs) for key in ("cpu", "wall", "rss"))
        rates = f"{text_bytes / cpu / 1e6:.0f} | {text_bytes / wall / 1e6:.0f}"
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {rates} | {rss:.0f} |")


def inflated_bytes(path: Path) -> int:
    from lakeq.formats import _bgzf
    from lakeq.storage import local_source

    return sum(map(len, _bgzf.pieces(local_source(path))))


def sliced(path: Path, folder: str) -> Path:
    """The first SLICE_LINES records, as BGZF with an index, which vcf2zarr needs."""
    kept, made = 0, Path(folder) / "slice.vcf.gz"
    command_ = ["bcftools", "view", "--no-version", "-Oz", "-o", str(made)]
    with gzip.open(path) as lines, subprocess.Popen(command_, stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        for line in lines:
            kept += not line.startswith(b"#")
            if kept > SLICE_LINES:
                break
            writer.stdin.write(line)
        writer.stdin.close()
    subprocess.run(["bcftools", "index", "-t", made], check=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("panel", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=contenders(), default=contenders())
    parser.add_argument("--own", type=Path, help="a file to read as a dataset of one's own")
    parser.add_argument(
        "--peers", type=Path, help="an environment with bio2zarr, polars-bio, vcf2parquet, oxbow"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.file, arguments.panel)
        return
    text_bytes = inflated_bytes(arguments.file)
    names = list(dict.fromkeys(["cyvcf2 loop", *arguments.only]))
    measure("lakeq ingest all tables", arguments)  # compiles, once per machine
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            runs[name].append(measure(name, arguments))
    check(runs)
    report(runs, text_bytes)
    if arguments.peers:
        with tempfile.TemporaryDirectory() as folder:
            arguments.file = sliced(arguments.file, folder)
            names = [*PEERS, "lakeq ingest variants + genotypes"]
            others(arguments, names, f"The first {SLICE_LINES:,} records")
    if arguments.own:
        arguments.file = arguments.own
        others(arguments, OWN, "A dataset of one's own")


if __name__ == "__main__":
    main()
