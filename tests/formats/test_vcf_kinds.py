"""gVCF blocks, structural variants, breakends and the sex chromosomes, as files have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.storage import local_source
from tests.support import bcftools
from tests.support.data import name, real_file, real_files
from tests.support.vcf import text
from tests.support.vcf_fields import own_tables

BLOCKS = real_files("genomics/callers/gatk4_gvcf_1kg_chr22/*.g.vcf.gz")
STRUCTURAL = [path for path in real_files("genomics/callers/sv.*") if ".vcf" in path.name]


def rows(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    table = own_tables(local_source(path), ("variants",))["variants"]
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


@pytest.mark.parametrize("path", BLOCKS, ids=name)
def test_blocks_of_a_gvcf_keep_their_alleles_and_their_end(path: Path) -> None:
    expected = [
        (int(pos), int(end), alt)
        for pos, end, alts in bcftools.query(path, "%POS\t%END\t%ALT")
        for alt in alts.split(",")
    ]
    assert rows(path, "pos", "end_pos", "alt") == expected
    assert sum(alt == "<NON_REF>" and end > pos for pos, end, alt in expected) > 100


@pytest.mark.parametrize("path", STRUCTURAL, ids=name)
def test_structural_variants_keep_their_end(path: Path) -> None:
    expected = [
        (int(pos), int(end))
        for pos, end, alts in bcftools.query(path, "%POS\t%END\t%ALT")
        for _ in alts.split(",")
    ]
    found = rows(path, "pos", "end_pos")
    stated = [(a, b) for a, b in zip(found, expected, strict=True) if a[1] >= a[0]]
    assert [pair for pair in stated if pair[0] != pair[1]] == []
    assert len(stated) > 0.9 * len(found)  # the others state an END before their POS


def test_breakends_keep_their_mates() -> None:
    path = real_file("genomics/callers/sv.severus_bnd.vcf.gz")
    found = rows(path, "id", "alt", "info_mate_id")
    expected = [
        tuple(row) for row in bcftools.query(path, "%ID\t%ALT\t%INFO/MATE_ID") if row[2] != "."
    ]
    assert [row for row in found if row[2] is not None] == expected
    assert len(expected) > 50


def test_haploid_calls_count_once_and_sex_is_the_panels(tmp_path: Path) -> None:
    lines = [
        "X 3000000 . A C . . . GT 1 0|1 0",
        "Y 3000000 . A C . . . GT 1 . 0",
        "MT 73 . A C . . . GT 1 1 0",
    ]
    file, panel = tmp_path / "a.vcf", tmp_path / "a.panel"
    file.write_bytes(text(lines, ["M1", "F1", "M2"]))
    panel.write_text(
        "sample\tpop\tsuper_pop\tgender\nM1\tGBR\tEUR\tmale\nF1\tGBR\tEUR\tfemale\n"
        "M2\tFIN\tEUR\tmale\n"
    )
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("thousand_genomes", [file], panel=panel)
    sql = "select contig, ac, an, n_hemi, n_het from thousand_genomes.variants order by contig"
    found = [tuple(row.values()) for row in lake.sql(sql).arrow().to_pylist()]
    assert found == [("MT", 2, 3, 2, 0), ("X", 2, 4, 1, 1), ("Y", 1, 2, 1, 0)]
    sql = (
        "select sex, count(*) as n from thousand_genomes.calls join thousand_genomes.samples"
        " using (sample) where contig = 'X' and len(allele_numbers) = 1 group by sex"
    )
    assert [tuple(r.values()) for r in lake.sql(sql).arrow().to_pylist()] == [("male", 1)]
