"""The tools of the other tests: the made cohort is what the real files are, the fences hold."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from examples.make_cohort import MadeCohort, make
from tests.support import bcftools
from tests.support.s3 import S3


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    first, second = (make(tmp_path / name, samples=30, variants=40) for name in "ab")
    assert first.vcf.read_bytes() == second.vcf.read_bytes()
    assert first.clinvar.read_bytes() == second.clinvar.read_bytes()


def test_bcftools_counts_the_alleles_that_the_made_info_states(made_cohort: MadeCohort) -> None:
    rows = bcftools.query(made_cohort.vcf, r"%INFO/AC\t%INFO/AN\t%ALT\t[ %GT]")
    for counts, total, alts, genotypes in rows:
        alleles = genotypes.replace("|", " ").split()
        expected = [alleles.count(str(n)) for n, _ in enumerate(alts.split(","), start=1)]
        assert [int(c) for c in counts.split(",")] == expected
        assert int(total) == len(alleles)


def test_the_made_panel_names_the_samples_of_the_made_vcf(made_cohort: MadeCohort) -> None:
    names = [line.split("\t")[0] for line in made_cohort.panel.read_text().splitlines()[1:]]
    assert bcftools.run("query", "--list-samples", made_cohort.vcf).split() == names
    assert names[0] == "HG00096"


def test_the_made_cohort_shares_alleles_with_the_made_clinvar(made_cohort: MadeCohort) -> None:
    fields = r"%CHROM\t%POS\t%REF\t%ALT"
    cohort = {tuple(row) for row in bcftools.normalised(made_cohort.vcf, fields)}
    clinvar = {tuple(row) for row in bcftools.query(made_cohort.clinvar, fields)}
    assert len(cohort & clinvar) >= 20
    assert clinvar - cohort


def test_no_credentials_of_the_machine_reach_a_test() -> None:
    assert not [k for k in os.environ if k.startswith("AWS_") and "KEY" in k]


def test_a_test_cannot_connect_to_another_machine() -> None:
    with pytest.raises(AssertionError, match="network"):
        socket.create_connection(("192.0.2.1", 443), timeout=1)


def test_the_s3_endpoint_keeps_what_is_put(s3: S3) -> None:
    bucket = s3.bucket()
    assert s3.put(bucket, "a/b.txt", b"text") == f"s3://{bucket}/a/b.txt"
    assert s3.keys(bucket) == ["a/b.txt"]
