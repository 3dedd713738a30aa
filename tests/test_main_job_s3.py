"""The main job again, by the command line, with raw objects and warehouse on an S3 endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.errors import NotFound
from tests.support.data import real_file
from tests.support.s3 import CREDENTIALS, REGION, S3

CHR_MT = "genomics/thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
PANEL = "genomics/thousand_genomes/integrated_call_samples_plus31related.panel"
CLINVAR_2016 = "genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz"
SHARED = (
    "select count(*) as shared, count(*) filter (c.is_pathogenic) as pathogenic "
    "from thousand_genomes.variants v join clinvar.grch37 c using (contig, pos, ref, alt)"
)
Command = Callable[..., subprocess.CompletedProcess[str]]


SIGNED = {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "LAKEQ_S3_ANON": "false"}
ANONYMOUS = {"LAKEQ_S3_ANON": "true", "LAKEQ_S3_REGION": REGION}


def command(s3: S3, lake_dir: Path, **variables: str) -> Command:
    """`lakeq` as a user would run it who exported `variables` and works on the lake `lake_dir`."""
    env = {**os.environ, "LAKEQ_LAKE": str(lake_dir), "LAKEQ_S3_ENDPOINT_URL": s3.endpoint_url}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lakeq.cli", *arguments]
        done = subprocess.run(
            line, env={**env, **variables}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def public_bucket(s3: S3) -> str:
    """A bucket that anybody may read and only its owner may write, as public datasets are."""
    bucket = s3.bucket()
    allow = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": resources}]}
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return bucket


def ingest_all(lakeq_: Command, bucket: str) -> None:
    """The three objects of the main job, from `raw/` of the bucket."""
    panel = f"s3://{bucket}/raw/{Path(PANEL).name}"
    lakeq_("ingest", "thousand_genomes", f"s3://{bucket}/raw/ALL.chr*.vcf.gz", "--panel", panel)
    lakeq_("ingest", "clinvar", f"s3://{bucket}/raw/clinvar_*")


@pytest.fixture
def bucket(s3: S3) -> str:
    """A public bucket with chrMT of 1000 Genomes, its panel and a ClinVar release under raw/."""
    name = public_bucket(s3)
    for path in map(real_file, (CHR_MT, PANEL, CLINVAR_2016)):
        s3.put(name, f"raw/{path.name}", path)
        # moto asks the bucket's policy for GET, but the object's own list for HEAD
        s3.client.put_object_acl(Bucket=name, Key=f"raw/{path.name}", ACL="public-read")
    return name


def test_signed_objects_and_warehouse_on_s3_give_the_known_counts(
    bucket: str, s3: S3, lake_dir: Path
) -> None:
    lakeq_ = command(s3, lake_dir, LAKEQ_WAREHOUSE=f"s3://{bucket}/lake", **SIGNED)
    ingest_all(lakeq_, bucket)
    answer = lakeq_("sql", SHARED, "--format", "csv")
    assert answer.stdout == "shared,pathogenic\n206,83\n"
    assert "S3" in answer.stderr
    assert not list(lake_dir.rglob("*.parquet"))  # the data files are on S3 alone
    assert any(key.startswith("lake/") and key.endswith(".parquet") for key in s3.keys(bucket))


def test_a_lake_on_a_public_bucket_is_read_without_credentials(
    bucket: str, s3: S3, lake_dir: Path
) -> None:
    ingest_all(command(s3, lake_dir, LAKEQ_WAREHOUSE=f"s3://{bucket}/lake", **SIGNED), bucket)
    answer = command(s3, lake_dir, **ANONYMOUS)("sql", SHARED, "--format", "csv")
    assert answer.stdout == "shared,pathogenic\n206,83\n"


def test_public_objects_are_ingested_without_credentials(
    bucket: str, s3: S3, lake_dir: Path
) -> None:
    lakeq_ = command(s3, lake_dir, **ANONYMOUS)
    ingest_all(lakeq_, bucket)
    assert lakeq_("sql", SHARED, "--format", "csv").stdout == "shared,pathogenic\n206,83\n"


def test_a_made_cohort_on_s3_answers_as_it_does_on_disk(
    s3: S3, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    bucket = s3.bucket()
    vcf, clinvar, panel = (
        s3.put(bucket, f"raw/{path.name}", path)
        for path in (made_cohort.vcf, made_cohort.clinvar, made_cohort.panel)
    )
    answers = []
    for folder, warehouse in (("remote", f"s3://{bucket}/lake"), ("local", "")):
        lakeq_ = command(s3, tmp_path / folder, LAKEQ_WAREHOUSE=warehouse, **SIGNED)
        lakeq_("ingest", "thousand_genomes", vcf, "--panel", panel)
        lakeq_("ingest", "clinvar", clinvar)
        answers.append(lakeq_("sql", "@allele_frequency_clinvar", "--format", "csv").stdout)
    assert answers[0] == answers[1]
    assert len(answers[0].splitlines()) > 1


def test_a_missing_object_on_s3_leaves_the_lake_as_it_was(s3: S3, lake_dir: Path) -> None:
    lake = lakeq.connect(lake_dir, s3_endpoint_url=s3.endpoint_url, s3_anon=True, s3_region=REGION)
    bucket = s3.bucket()
    with pytest.raises(NotFound, match="gone"):
        lake.ingest("clinvar", [f"s3://{bucket}/gone.vcf.gz"])
    assert lake.sql("select 1 as one").rows() == [(1,)]
    assert all(table.snapshot is None for table in lake.tables())
