"""Contig names and assemblies: one spelling for the chromosomes, and no false certainty."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import contigs
from tests.support import bcftools
from tests.support.data import real_file

HEADER = re.compile(r"##contig=<ID=([^,>]+).*?length=(\d+)")


@pytest.mark.parametrize(
    ("name", "assembly", "canonical"),
    [
        ("chr1", "GRCh38", "1"),
        ("22", "GRCh37", "22"),
        ("chrX", "GRCh37", "X"),
        ("M", "GRCh37", "MT"),
        ("chrM", "GRCh38", "MT"),
        ("NC_012920.1", "GRCh37", "MT"),
        ("NC_000023.10", "GRCh37", "X"),
        ("NC_000023.11", "GRCh38", "X"),
        ("NC_000023.10", "GRCh38", "NC_000023.10"),
        ("chrUn_KI270302v1", "GRCh38", "chrUn_KI270302v1"),
        ("chr23", "GRCh38", "chr23"),
        ("chr1", "IRGSP-1.0", "chr1"),
        ("chr1", "", "chr1"),
    ],
)
def test_canonical_name(name: str, assembly: str, canonical: str) -> None:
    assert contigs.canonical(name, assembly) == canonical


@pytest.mark.parametrize(("length", "canonical"), [(16571, "chrM"), (16569, "MT"), (None, "MT")])
def test_mitochondrion_of_hg19_is_not_the_rcrs(length: int | None, canonical: str) -> None:
    assert contigs.canonical("chrM", "GRCh37", length) == canonical


@given(st.text(), st.sampled_from(["GRCh37", "GRCh38", "NCBI36", ""]))
def test_canonical_is_idempotent(name: str, assembly: str) -> None:
    once = contigs.canonical(name, assembly)
    assert contigs.canonical(once, assembly) == once


def test_accessions_are_those_that_clinvar_writes() -> None:
    path = real_file("genomics/clinvar/clinvar_2014-06-04.GRCh37.vcf.gz")
    rows = bcftools.query(path, "%CHROM\t%CLNHGVS")
    written = Counter((chrom, hgvs.partition(":")[0]) for chrom, hgvs in rows)
    accessions = {chrom: accession for (chrom, accession), n in written.items() if n > 100}
    assert set(accessions) == set(contigs.CHROMOSOMES) - {"MT"}
    assert {c: contigs.canonical(a, "GRCh37") for c, a in accessions.items()} == {
        chrom: chrom for chrom in accessions
    }


@pytest.mark.parametrize(
    ("path", "assembly"),
    [
        ("genomics/thousand_genomes/highcov3202.chr12_66888_139103.gatk.vcf.gz", "GRCh38"),
        ("genomics/thousand_genomes/phase3.chr22_16050075_16499957.vcf.gz", "GRCh37"),
    ],
)
def test_lengths_of_real_headers_prove_the_assembly(path: str, assembly: str) -> None:
    header = bcftools.run("view", "--header-only", real_file(path))
    lengths = {name: int(length) for name, length in HEADER.findall(header)}
    assert contigs.assembly_of(lengths, header.partition("##reference=")[2]) == assembly


@pytest.mark.parametrize(
    ("reference", "assembly"),
    [
        ("GRCh37.p5", "GRCh37"),
        ("file:///refs/human_g1k_v37.fasta", "GRCh37"),
        ("ftp://ftp.1000genomes.ebi.ac.uk/hs37d5.fa.gz", "GRCh37"),
        ("hg19", "GRCh37"),
        ("GRCh38", "GRCh38"),
        ("GRCh38_full_analysis_set_plus_decoy_hla.fa", "GRCh38"),
        ("hg18", "NCBI36"),
        ("chm13v2.0.fa", "T2T-CHM13v2.0"),
        ("hg19ToHg38.over.chain.gz", ""),
        ("gi|251831106|ref|NC_012920.1| Homo sapiens mitochondrion", ""),
        ("", ""),
    ],
)
def test_reference_text_names_the_assembly(reference: str, assembly: str) -> None:
    assert contigs.assembly_of({}, reference) == assembly


def test_lengths_outweigh_the_reference_text() -> None:
    assert contigs.assembly_of({"chr1": 248956422}, "hs37d5.fa") == "GRCh38"


def test_lengths_of_two_assemblies_prove_none() -> None:
    assert contigs.assembly_of({"1": 249250621, "2": 242193529}, "GRCh37") == ""


def test_chromosomes_rank_in_karyotype_order() -> None:
    shuffled = ["MT", "X", "10", "2", "GL000192.1", "Y", "1"]
    expected = ["1", "2", "10", "X", "Y", "MT", "GL000192.1"]
    assert sorted(shuffled, key=contigs.rank) == expected
