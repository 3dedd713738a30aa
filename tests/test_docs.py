"""The documentation is true: its blocks run and its references are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort, make
from tests.support.data import ROOT
from tests.support.docs import Block, blocks, pages, run
from tests.support.s3 import S3

README = ROOT / "README.md"


@pytest.fixture
def reader(aws_credentials: None, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone who reads a page, with the examples and an S3 endpoint of their own."""
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("LAKEQ_LAKE", str(folder / "lake"))
    monkeypatch.setenv("LAKEQ_S3_ENDPOINT_URL", s3.endpoint_url)
    return folder


def ingest(made: MadeCohort, lake: Path) -> None:
    handle = lakeq.connect(lake)
    handle.ingest("thousand_genomes", [made.vcf])
    handle.ingest("clinvar", [made.clinvar])


def prepare(folder: Path, s3: S3) -> None:
    """A cohort, a lake that holds it, and the same objects in the bucket my-bucket."""
    made = make(folder / "cohort", samples=200, variants=400)
    ingest(made, folder / "lake")
    s3.client.create_bucket(Bucket="my-bucket")
    for path in (made.vcf, made.panel):
        s3.put("my-bucket", f"cohort/{path.name}", path)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_blocks_of_the_page_run(page: Path, reader: Path, s3: S3) -> None:
    if page.name != "start.md":  # that one starts from nothing
        prepare(reader, s3)
    for block in blocks(page):
        run(block, reader)


@pytest.mark.slow
def test_readme_shows_what_its_query_prints(reader: Path) -> None:
    made = make(reader / "demo-lake" / "objects")  # as the demo makes it
    ingest(made, reader / "demo-lake" / "lake")
    shown = re.search(r"^\$ LAKEQ_LAKE=(?P<code>.+?\")\n(?P<rows>gene .+?)^\d+ rows in ",
                      README.read_text(), re.DOTALL | re.MULTILINE)  # fmt: skip
    assert shown
    code = f"LAKEQ_LAKE={shown['code']} --format table".replace(".venv/bin/", "")
    assert run(Block(README, 1, "bash", code), reader) == shown["rows"]
    for block in blocks(README):
        run(block, reader)


def test_generated_references_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
