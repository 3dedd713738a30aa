"""The two seed queries at the size of all of phase 3: bytes, seconds, dollars beside those of 2016.

    python benchmarks/full_scale.py [--scale 1.0] [--rounds 5] [--folder DIR]

Synthesises, with lakeq's own writer and catalog: the site table of phase 3 (84.7 million alleles
over 22 contigs by their lengths), calls of three samples (4.4 million each) and ClinVar (4.2
million alleles, a tenth of them sites of the table). Positions are random; alleles and counts are
drawn from those of real slices of phase 3. Columns that no query here reads are NULL. With
--folder the lake is kept, and used when it is there.
Each query runs in processes of its own; figures are medians.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import lakeq
from lakeq.api import Lake
from lakeq.catalog import Table

if TYPE_CHECKING:
    import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
# GRCh37, the assembly of phase 3: lengths of chromosomes 1 to 22, in Mb.
LENGTHS_MB = (249, 243, 198, 191, 181, 171, 159, 146, 141, 136, 135, 134, 115, 107, 103, 90, 81, 78,
              59, 63, 48, 51)  # fmt: skip
SITES = 84_700_000
CLINVAR = 4_200_000
CALLS = 4_400_000
SAMPLES = ("HG00095", "HG00096", "HG00097")
# 2,504 genotypes of 4 bytes and, measured on its slices, 250 bytes of site a row.
PHASE_3_TEXT_BYTES = SITES * (2504 * 4 + 250)
LAMBDA_USD_PER_GB_S = 0.0000166667
AN = 5008  # haplotypes of phase 3
CODES = ("afr", "amr", "eas", "eur", "sas")
COLUMNS = (
    *("ref", "alt", "ac", "an", "af"),
    *(f"{kind}_{code}" for code in CODES for kind in ("ac", "an", "af")),
)
IN_COHORT = 0.1  # share of ClinVar's alleles that are sites of the cohort
PATHOGENIC = 0.08
BATCH = 1 << 20
IN_2016 = {"A": "100 GB, 4 min, $0.50", "B": "60 MB, 10 s, $0.0003"}
A_ON_THE_SLICE = """
    select gene, contig, pos, ref, alt, rs, clinical_significance, conditions, ac, an, af,
      af_afr, af_amr, af_eas, af_eur, af_sas
    from thousand_genomes.variants_clinvar
    where significance_rank <= 3 and is_pathogenic
    order by af desc, contig, pos, ref, alt"""
QUERIES = {
    "A: allele frequencies x ClinVar": ("@allele_frequency_clinvar",),
    "B: one sample x ClinVar": ("@sample_clinvar", "-p", "sample=HG00096"),
    "A on the slice": (A_ON_THE_SLICE,),
    "B on the slice": (
        "select * exclude (_source) from thousand_genomes.calls_clinvar where sample = 'HG00096'",
    ),
}


def sites_of(contig: int, scale: float) -> npt.NDArray[np.int64]:
    """The positions of a contig's alleles, ascending."""
    rng = np.random.default_rng(contig)
    length = LENGTHS_MB[contig - 1] * 1_000_000
    count = int(SITES * scale * length / (sum(LENGTHS_MB) * 1_000_000))
    return np.sort(rng.choice(length, count, replace=False).astype(np.int64)) + 1


class Alleles:
    """Real alleles of phase 3, to draw from: the one at a position is always the same."""

    def __init__(self, objects: list[Path], panel: Path, folder: Path) -> None:
        lake = lakeq.connect(folder)
        lake.ingest("thousand_genomes.variants", objects, panel=panel)
        columns = ", ".join(COLUMNS)
        asked = f"select {columns} from thousand_genomes.variants where ac > 0 and an = {AN}"
        self.rows = lake.sql(asked).arrow().combine_chunks()

    def at(self, pos: npt.NDArray[np.int64], contig: int) -> dict[str, pa.Array]:
        """The columns of the alleles at positions of a contig."""
        import pyarrow as pa

        drawn = ((pos * 2654435761 + contig * 97) & 0xFFFFFFFF) % self.rows.num_rows
        taken = self.rows.take(pa.array(drawn))
        return {name: taken[name].combine_chunks() for name in taken.column_names}


def batch(table: Table, rows: int, columns: dict[str, Any]) -> pa.RecordBatch:
    """A batch of `table` with `columns`; the others are NULL."""
    import pyarrow as pa

    from lakeq.types import arrow_schema

    schema = arrow_schema(table)
    arrays = [
        _as(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as(values: Any, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa

    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == type_ else array.cast(type_)


def variants(table: Table, contig: int, scale: float, like: Alleles) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    every = sites_of(contig, scale)
    for start in range(0, len(every), BATCH):
        pos = every[start : start + BATCH]
        fixed = {
            "contig": pa.repeat(str(contig), len(pos)), "pos": pos, "end_pos": pos,
            "rs": pos + contig * 10**9, "alt_index": np.ones(len(pos), np.int32),
        }  # fmt: skip
        yield batch(table, len(pos), fixed | like.at(pos, contig))


def calls(table: Table, contig: int, scale: float, like: Alleles) -> Iterator[pa.RecordBatch]:
    """What three samples carry: alleles of the site table, the common ones above all."""
    import pyarrow as pa

    every = sites_of(contig, scale)
    share = CALLS / SITES
    for number, sample in enumerate(SAMPLES):
        rng = np.random.default_rng([contig, number])
        pos = every[rng.random(len(every)) < share]
        found = like.at(pos, contig)
        copies = 1 + (rng.random(len(pos)) < 0.4)
        order = rng.random(len(pos)) < 0.5
        first = np.where(copies == 2, 1, order)
        pairs = np.stack([first, copies - first], axis=1).ravel().astype(np.int32)
        offsets = np.arange(0, 2 * len(pos) + 1, 2, dtype=np.int32)
        yield batch(table, len(pos), {
            "sample": [sample] * len(pos), "contig": [str(contig)] * len(pos), "pos": pos,
            "ref": found["ref"], "alt": found["alt"],
            "alt_index": np.ones(len(pos), np.int32), "alt_copies": copies,
            "allele_numbers": pa.ListArray.from_arrays(offsets, pa.array(pairs)),
            "phased": np.ones(len(pos), bool),
        })  # fmt: skip


def clinvar(table: Table, _contig: int, scale: float, like: Alleles) -> Iterator[pa.RecordBatch]:
    """All of ClinVar in the order of its table: significance first, then position."""
    import pyarrow as pa

    rng = np.random.default_rng(7)
    contig, pos = [], []
    for number, length in enumerate(LENGTHS_MB, 1):
        count = int(CLINVAR * scale * length / sum(LENGTHS_MB))
        known = rng.choice(sites_of(number, scale), int(count * IN_COHORT), replace=False)
        others = rng.integers(1, length * 1_000_000, count - len(known))
        pos.append(np.concatenate([known, others]))
        contig.append(np.full(count, number))
    places, where = np.concatenate(pos), np.concatenate(contig)
    ranks = np.searchsorted(np.cumsum([0.045, 0.01, 0.025, 0.04, 0.002, 0.003, 0.45, 0.3, 0.1]),
                            rng.random(len(places)))  # fmt: skip
    words = ("Pathogenic", "Pathogenic/Likely pathogenic", "Likely pathogenic",
             "Conflicting classifications of pathogenicity", "risk factor", "drug response",
             "Uncertain significance", "Likely benign", "Benign", "not provided")  # fmt: skip
    genes = where * 2000 + places // 150_000  # neighbours share a gene, as they do
    order = np.lexsort((places, where, ranks))
    for start in range(0, len(order), BATCH):
        at = order[start : start + BATCH]
        parts = [like.at(places[at[where[at] == n]], n) for n in range(1, 23)]
        by_contig = np.argsort(
            np.concatenate([np.flatnonzero(where[at] == n) for n in range(1, 23)])
        )
        rank = ranks[at]
        numbers = pa.array(at)
        yield batch(table, len(at), {
            "contig": [str(n) for n in where[at]], "pos": places[at],
            "ref": pa.concat_arrays([part["ref"] for part in parts]).take(pa.array(by_contig)),
            "alt": pa.concat_arrays([part["alt"] for part in parts]).take(pa.array(by_contig)),
            "clinical_significance": [words[n] for n in rank], "is_pathogenic": rank < 3,
            "significance_rank": rank, "gene": [f"GENE{n}" for n in genes[at]],
            "rs": places[at] + where[at] * 10**9, "variation_id": numbers, "allele_id": numbers,
            "review_status": ["criteria provided, single submitter"] * len(at),
            "conditions": [f"Condition of gene {n}|not provided" for n in genes[at]],
            "end_pos": places[at],
        })  # fmt: skip


def make(lake: Lake, scale: float, like: Alleles) -> dict[str, int]:
    """Write the tables; returns their rows."""
    from lakeq.convert.sink import Sink
    from lakeq.formats import TableBatch
    from lakeq.lake.commit import Change

    iceberg, rows = lake._iceberg, {}  # the writer of the lake itself
    makers = {
        "thousand_genomes.variants": variants,
        "thousand_genomes.calls": calls,
        "clinvar.grch37": clinvar,
    }
    for name, maker in makers.items():
        table = lake.catalog.table(name)
        with iceberg.session() as session:
            writer, files, sources = iceberg.writer(table, session), [], set()
            for contig in range(1, 23 if table.partition_by else 2):
                source = f"s3://made/{name}.chr{contig}.vcf.gz"
                sink = Sink(source, {table.name: writer}, len(files))
                made = maker(table, contig, scale, like)
                partition = (str(contig),) if table.partition_by else ()
                for part in made:
                    sink.write(TableBatch(table.name, partition, part))
                sink.close()
                files += sink.finished[table.name]
                sources.add(source)
            iceberg.commit_all([Change(table, frozenset(sources), tuple(files))], session)
            rows[name] = sum(file.rows for file in files)
    return rows


def asked(arguments: tuple[str, ...], folder: Path, rounds: int) -> dict[str, Any]:
    """The report of a query, with the medians of seconds, wall and memory over `rounds`."""
    command = [sys.executable, "-m", "lakeq.cli", "sql", *arguments, "--format", "csv",
               "--report", "json", "--lake", str(folder)]  # fmt: skip
    walls, seconds, memory = [], [], []
    report: dict[str, Any] = {}
    for _ in range(rounds):
        began = time.perf_counter()
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT
        ) as process:
            assert process.stderr is not None
            text = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(text.decode())
        walls.append(time.perf_counter() - began)
        report = json.loads(text.splitlines()[-1])
        seconds.append(report["seconds"])
        memory.append(usage.ru_maxrss / 1024)
    return report | {"seconds": median(seconds), "wall": median(walls), "rss": median(memory)}


def prepare(folder: Path, scale: float, data: Path) -> None:
    """Make the lake unless it is there, and its slices; print what they hold."""
    lake = lakeq.connect(folder)
    if not any(info.snapshot for info in lake.tables()):
        began = time.perf_counter()
        objects = sorted(data.glob("phase3.chr*.vcf.gz"))
        panel = next(data.glob("*.ALL.panel"))
        with tempfile.TemporaryDirectory() as scratch:
            rows = make(lake, scale, Alleles(objects, panel, Path(scratch) / "lake"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"made {rows} in {time.perf_counter() - began:.0f} s, {peak:.0f} MiB\n")
    print("| table | rows | bytes | |\n|---|--:|--:|---|")
    for name in ("variants_clinvar", "calls_clinvar"):
        began = time.perf_counter()
        done = lake.refresh(f"thousand_genomes.{name}")
        word = f"refreshed in {time.perf_counter() - began:.1f} s" if done.refreshed else "kept"
        print(f"| {name} | {done.rows:,} | {done.size_bytes / 1e6:.1f} MB | {word} |")
    for info in lake.tables():
        if info.snapshot and not info.table.query:
            print(f"| {info.name} | {info.rows:,} | {info.size_bytes / 1e6:.1f} MB | |")


def conversion(folder: Path, rounds: int = 3) -> None:
    """What converting all of phase 3 would take, from ingests of two made objects.

    Two sizes, so that the fixed start of a process does not count as work. Lambda: 1,769 MB are
    one core; price of x86 in us-east-1 as https://aws.amazon.com/lambda/pricing/ has it.
    """
    sizes = (2000, 12000)
    text, cpu = [], []
    for variants_ in sizes:
        made = folder / str(variants_)
        make_ = [sys.executable, "examples/make_cohort.py", made, "--variants", str(variants_)]
        subprocess.run(make_, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        vcf, panel = next(made.glob("*.genotypes.vcf.gz")), next(made.glob("*.panel"))
        with gzip.open(vcf) as file:
            text.append(sum(map(len, iter(lambda: file.read(1 << 20), b""))))
        spent = []
        for number in range(rounds + 1):  # the first one may compile kernels
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            ingest = [sys.executable, "-m", "lakeq.cli", "ingest", "thousand_genomes", vcf]
            command = [*ingest, "--panel", panel, "--lake", made / f"lake{number}"]
            subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        cpu.append(median(spent[1:]))
    rate = (text[1] - text[0]) / (cpu[1] - cpu[0])
    seconds = PHASE_3_TEXT_BYTES / rate
    print(f"\nAll tables: {rate / 1e6:.0f} MB of text a CPU second (slope of {sizes} rows).")
    print(f"Phase 3, {PHASE_3_TEXT_BYTES / 1e9:.0f} GB of text: {seconds / 3600:.1f} CPU hours;")
    print(f"here, on 2 cores: {seconds / 7200:.1f} h at best; on Lambda (1,769 MB): "
          f"${seconds * 1.769 * LAMBDA_USD_PER_GB_S:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help=(
        "folder with genomics/thousand_genomes: slices of phase 3 and its panel"))  # fmt: skip
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "lake"
        arguments = (folder, given.scale, given.data / "genomics/thousand_genomes")
        # In a process of its own: what it takes must not count as the queries' memory.
        maker = multiprocessing.get_context("spawn").Process(target=prepare, args=arguments)
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(maker.exitcode)
        print("\n| query | rows | scanned MB | seconds | wall s | RSS MiB | $ | in 2016 |")
        print("|---|--:|--:|--:|--:|--:|--:|---|")
        for name, arguments_ in QUERIES.items():
            found = asked(arguments_, folder, given.rounds)
            before = IN_2016.get(name[0], "") if ":" in name else ""
            print(
                f"| {name} | {found['rows']:,} | {found['bytes_scanned'] / 1e6:.1f} | "
                f"{found['seconds']:.2f} | {found['wall']:.2f} | {found['rss']:.0f} | "
                f"{found['cost_usd']:.5f} | {before} |"
            )
        conversion(Path(scratch))


if __name__ == "__main__":
    main()
