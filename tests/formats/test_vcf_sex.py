"""Counts by sex on X and Y: males that a file writes with two alleles there."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakeq import catalog
from lakeq.catalog import Column
from lakeq.formats import ReadContext, Sample, vcf
from tests.support import bcftools
from tests.support.vcf import memory, text

SEXES = ["male", "female", "male", "female", "male", "female", "male", None]
NAMES = [f"S{number}" for number in range(len(SEXES))]
SAMPLES = {
    n: Sample(n, i, ("YRI", "CEU")[i % 2], ("AFR", "EUR")[i % 2], sex)
    for i, (n, sex) in enumerate(zip(NAMES, SEXES, strict=True))
}
COUNTS = ("ac_by_sex", "an_by_sex", "af_by_sex")
NON_PAR = 5_000_000
# GRCh37: positions that males share with nobody, in the form of bcftools +fixploidy.
PLOIDY = """X 1 60000 M 1
X 2699521 154931043 M 1
Y 1 10000 M 1
Y 1 10000 F 0
Y 2649521 59034049 M 1
Y 2649521 59034049 F 0
"""


def counted(lines: Sequence[str], samples: Mapping[str, Sample] = SAMPLES) -> list[Any]:
    """(alt, ac, an, then the counts by sex) of each row."""
    dataset = catalog.load().dataset("thousand_genomes")
    table = dataset.tables["variants"]
    more = [Column(n, "float64" if n[:2] == "af" else "int32", n) for n in COUNTS]
    wide = replace(table, columns=(*table.columns, *more))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        context = ReadContext(dataset, Path(folder), samples)
        for batch in vcf.read(memory(text(lines, NAMES)), {"variants": wide}, context):
            rows += batch.rows.to_pylist()
    return [tuple(row[n] for n in ("alt", "ac", "an", *COUNTS)) for row in rows]


def line(contig: str, pos: int, calls: str, alt: str = "C") -> str:
    return f"{contig} {pos} . A {alt} . . . GT {calls}"


def made(contig: str, pos: int, chosen: random.Random, shared: bool) -> str:
    """A line whose males are homozygous or of one allele: what bcftools can make one allele of.

    In `shared` regions, where bcftools doubles single alleles, all calls are of two.
    """
    calls = []
    for sex in SEXES:
        a, b = chosen.choice("012."), chosen.choice("012.")
        both = chosen.random() < 0.6 or shared
        if sex == "male":
            calls.append(f"{a}{chosen.choice('/|')}{a}" if both else a)
        else:
            calls.append(f"{a}{chosen.choice('/|')}{b}")
    return line(contig, pos, " ".join(calls), "C,G")


def fixed(lines: Sequence[str], folder: Path) -> list[Any]:
    """(alt, ac, an) of each allele after bcftools +fixploidy and +fill-tags."""
    paths = {n: folder / n for n in ("a.vcf", "sex", "ploidy", "b.vcf", "c.vcf")}
    header = ["##contig=<ID=X>", "##contig=<ID=Y>", "##contig=<ID=1>",
              '##FORMAT=<ID=GT,Number=1,Type=String,Description="">']  # fmt: skip
    paths["a.vcf"].write_bytes(text(lines, NAMES, header))
    letters = {"male": "M", "female": "F", None: "U"}
    told = [f"{n} {letters[s]}\n" for n, s in zip(NAMES, SEXES, strict=True)]
    paths["sex"].write_text("".join(told))
    paths["ploidy"].write_text(PLOIDY)
    options = ["-p", paths["ploidy"], "-s", paths["sex"]]
    bcftools.run("+fixploidy", paths["a.vcf"], "-o", paths["b.vcf"], "--", *options)
    bcftools.run("+fill-tags", paths["b.vcf"], "-o", paths["c.vcf"], "--", "-t", "AC,AN")
    rows = bcftools.run("query", "-f", "%ALT %AC %AN\n", paths["c.vcf"]).splitlines()
    found = []
    for row in rows:
        alts, acs, an = row.split()
        pairs = zip(alts.split(","), acs.split(","), strict=True)
        found += [(alt, int(ac), int(an)) for alt, ac in pairs]
    return found


def test_counts_by_sex_equal_bcftools_fixploidy(tmp_path: Path) -> None:
    chosen = random.Random(5)
    places = [("X", 50_000, False), ("X", 60_001, True), ("X", 2_699_520, True),
              ("X", 2_699_521, False), ("X", NON_PAR, False), ("X", 154_931_043, False),
              ("X", 154_931_044, True), ("Y", 10_001, True), ("Y", 2_649_521, False),
              ("Y", 20_000_000, False)]  # fmt: skip
    lines = [made(contig, pos, chosen, par) for contig, pos, par in places for _ in range(25)]
    found = [(alt, ac, an) for alt, _, _, ac, an, _ in counted(lines)]
    assert found == fixed(lines, tmp_path)


@pytest.mark.parametrize(
    ("calls", "ac", "an"),
    [
        ("1/1 0/1 0/0 1/1 1 0/0 ./. 0/1", 1 + 1 + 2 + 1 + 1, 1 + 2 + 1 + 2 + 1 + 2 + 2),
        ("0/1 0/0 0/0 0/0 0/0 0/0 0/0 0/0", 0, 0 + 2 + 1 + 2 + 1 + 2 + 1 + 2),  # a male's 0/1
        ("./1 0/0 0/0 0/0 0/0 0/0 0 0/0", 1, 1 + 2 + 1 + 2 + 1 + 2 + 1 + 2),
    ],
)
def test_a_male_has_one_allele_or_none_that_is_known(calls: str, ac: int, an: int) -> None:
    ((_, _, _, *found),) = counted([line("X", NON_PAR, calls)])
    assert found == [ac, an, ac / an]


def test_other_contigs_and_calls_of_three_alleles_have_no_counts_by_sex() -> None:
    other = line("1", NON_PAR, " ".join(["1/1"] * len(NAMES)))
    wide = line("X", NON_PAR, " ".join(["1/1/1", *["1/1"] * (len(NAMES) - 1)]))
    assert [row[3:] for row in counted([other, wide])] == [(None, None, None)] * 2


def test_without_a_panel_calls_count_as_they_are_written() -> None:
    ((_, ac, an, *found),) = counted([line("X", NON_PAR, " ".join(["1/1 0/1"] * 4))], {})
    assert found[:2] == [ac, an]


def test_the_30x_catalog_counts_a_man_once_on_x_however_he_is_written() -> None:
    dataset = catalog.load().dataset("thousand_genomes_30x")
    tables = {"variants": dataset.tables["variants"]}
    found = []
    for man in ("1/1", "1"):
        lines = [line("chrX", NON_PAR, f"{man} 0/1 0 0/0 {man} 1/1 0 0/0")]
        with tempfile.TemporaryDirectory() as folder:
            women = {n: replace(s, sex=s.sex or "female") for n, s in SAMPLES.items()}
            context = ReadContext(dataset, Path(folder), women)
            (batch,) = vcf.read(memory(text(lines, NAMES)), tables, context)
        (row,) = batch.rows.to_pylist()
        found.append(tuple(row[name] for name in COUNTS))
    assert found == [(5, 12, 5 / 12)] * 2
