"""The test files of the specification: SPEC_MANIFEST.tsv says which are valid."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from lakeq.errors import BadSource
from lakeq.formats import ReadContext, ReadOptions, vcf
from lakeq.formats._vcf_strict import refuse_deviations
from lakeq.storage import local_source
from tests.support.data import real_file
from tests.support.vcf import memory, text

MANIFEST = "genomics/SPEC_MANIFEST.tsv"
PLACE = re.compile(r"(line \d+, \S|, byte \d)")  # what no VCF is at all is placed by its first byte


def listed(expected: str) -> list[Path]:
    """The files of the manifest with the verdict `expected`."""
    manifest = real_file(MANIFEST)
    with manifest.open(newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return [manifest.parent / row["file"] for row in rows if row["expected"] == expected]


def refused(path: Path) -> BadSource | None:
    try:
        refuse_deviations(local_source(path))
    except BadSource as error:
        return error
    return None


def test_strict_refuses_every_malformed_file() -> None:
    files = listed("fail")
    assert len(files) == 597
    assert [path.name for path in files if refused(path) is None] == []


def test_strict_names_line_and_field() -> None:
    errors = {path.name: refused(path) for path in listed("fail")}
    assert [n for n, error in errors.items() if error and not PLACE.search(error.where)] == []


def test_strict_reads_every_valid_file() -> None:
    files = listed("pass")
    assert len(files) == 95
    assert {path.name: str(e) for path in files if (e := refused(path)) is not None} == {}


def test_strict_is_asked_for_by_the_context(tmp_path: Path) -> None:
    context = ReadContext(None, tmp_path, options=ReadOptions(strict=True))  # type: ignore[arg-type]  # not reached
    source = memory(text(["1 5 . A Z . PASS ."]))
    tables = {"variants": vcf_table()}
    with pytest.raises(BadSource, match="alternate allele") as caught:
        list(vcf.read(source, tables, context))
    assert caught.value.where == "memory.vcf, line 3, ALT"


def vcf_table():  # type: ignore[no-untyped-def]  # the catalog's own
    from lakeq import catalog

    return catalog.load().table("thousand_genomes.variants")
