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
from tests.support.vcf_fields import own_tables

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


def verdicts() -> list[dict[str, str]]:
    """The table of what the lenient reader does with each file that is not valid.

    `why` is the cause that the file itself gives where it is read, else the begin of the error.
    Read is what leaves no doubt which value belongs where: a value that does not fit its
    definition is kept verbatim. Refused is what leaves one: columns, alleles, positions, samples.
    """
    with (Path(__file__).parent / "lenient_verdicts.tsv").open(
        newline="", encoding="utf-8"
    ) as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def lenient(path: Path) -> str:
    """What the lenient reader says of a file; "" where it reads it."""
    try:
        own_tables(local_source(path), ("variants", "genotypes", "calls", "entries"))
    except BadSource as error:
        return error.what
    return ""


def test_the_lenient_verdict_of_every_malformed_file_is_the_tables() -> None:
    folder = real_file(MANIFEST).parent
    rows = verdicts()
    assert {row["file"] for row in rows} == {
        str(path.relative_to(folder)) for verdict in ("fail", "odd") for path in listed(verdict)
    }
    wrong = []
    for row in rows:
        said = lenient(folder / row["file"])
        ok = said.startswith(row["why"]) and said if row["verdict"] == "refuse" else not said
        if not ok:
            wrong.append((row["file"], row["verdict"], said))
    assert wrong == []


def test_the_lenient_reader_reads_every_valid_file() -> None:
    assert {path.name: said for path in listed("pass") if (said := lenient(path))} == {}


def test_deviations_are_counted_by_kind_with_their_first_line() -> None:
    lines = ["2 9 . A C . q9 .", "2 5 . A C . q9 .", "1 5 .  C . PASS .", "2 7 . A C . PASS ."]
    notes: dict[str, int] = {}
    source = memory(text(lines, header=["##contig=<ID=1>", '##FILTER=<ID=x,Description="">']))
    own_tables(source, ("variants",), notes)
    told = "deviates from the specification: "
    assert {note.removeprefix(told): count for note, count in notes.items()} == {
        "a contig that no header line defines, first in line 5": 2,
        "positions that go down, first in line 6": 1,
        "a filter that no header line defines, first in line 5": 2,
        "a line without a reference allele (ref is NULL), first in line 7": 1,
        "a contig in two places of the file, first in line 8": 1,
    }
