"""The test files of the specification: SPEC_MANIFEST.tsv says which are valid."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import pytest

from lakeq.errors import BadSource
from lakeq.formats import ReadContext, ReadOptions, vcf
from lakeq.formats._vcf_strict import deviations, refuse_deviations
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


def test_the_strict_verdict_of_every_odd_file() -> None:
    """Two are read: a header alone is a VCF, and Number=. of a flag, which the text of the
    specification rules out, stands in files that vcf-validator calls valid.
    """
    read = {path.name for path in listed("odd") if refused(path) is None}
    assert read == {"0var.vcf.bgz", "bad_flag_number.vcf"}


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
        "a reference allele that is no bases, first in line 7": 1,
        "a contig in two places of the file, first in line 8": 1,
    }


# What takes the fields of samples to see, or all of a file, and is not counted beside the reading.
NOT_COUNTED = {
    "a FORMAT field of another count",
    "a FORMAT key with other characters",
    "a repeated FORMAT key",
    "a sample with more fields than FORMAT",
    "a value of more than one character",
    "a value that is no integer",
    "a value that is no number",
    "an empty line",
    "an integer beyond 32 bits",
    "GT not the first FORMAT key",
    "records without evidence",
    "a genotype that is none",
}


def test_the_lenient_reader_counts_what_strict_refuses() -> None:
    """Every kind of deviation of the header and of CHROM to INFO, in every file that is read."""
    folder, missed = real_file(MANIFEST).parent, {}
    for row in verdicts():
        if row["verdict"] == "refuse":
            continue
        source = local_source(folder / row["file"])
        notes: dict[str, int] = {}
        own_tables(source, ("variants",), notes)
        counted = {note.rpartition(", first in line ")[0].partition(": ")[2] for note in notes}
        found = [d for d in deviations(source) if "FORMAT/" not in d.field]
        kinds = {d.kind for d in found if not d.field.startswith("sample ")}
        if lost := kinds - counted - NOT_COUNTED:
            missed[row["file"]] = lost
    assert missed == {}


def test_a_shape_that_passed_lets_no_other_pass() -> None:
    """Numbers and words of one form: what the rules tell apart is never of one shape."""
    header = [
        '##INFO=<ID=F,Number=0,Type=Flag,Description="">',
        '##INFO=<ID=I,Number=1,Type=Integer,Description="">',
        '##INFO=<ID=X,Number=A,Type=Float,Description="">',
        '##INFO=<ID=C,Number=1,Type=Character,Description="">',
        '##INFO=<ID=S,Number=1,Type=String,Description="">',
        '##FILTER=<ID=q10,Description="">',
        "##contig=<ID=1>",
    ]
    infos = ["F", "F=1", "F=2", "F=0", "I=5", "I=5.5", "I=-5", "I=99999999999", "I=x", "I=1,2",
             "X=1e5", "X=nan", "X=nab", "X=inf", "X=0.1,0.2", "X=.", "X", "C=a", "C=ab", "C=%41",
             "S=a b", "S=abc", "S=a|b/c", "I=5;I=6", "I=5;;X=1", "1A=3", "S=1:x",
             "I=1e5"]  # fmt: skip
    fixed = ["rs1 A C 9 PASS", "rs1;rs1 A C 9 PASS", "rs1;rs2 A C 9 q10", ". A C -9 PASS",
             ". AR C . q11", ". A <DEL> 1e3 .", ". A C,Z nan q10", "a,b A *,C 9 PASS"]  # fmt: skip
    sites = [(a, b) for a in fixed for b in infos] * 2
    random.Random(3).shuffle(sites)
    lines = [f"1\t{n}\t" + a.replace(" ", "\t") + f"\t{b}" for n, (a, b) in enumerate(sites, 1)]
    head = text([], header=header).decode()
    source = memory((head + "\n".join(lines) + "\n").encode())
    notes: dict[str, int] = {}
    own_tables(source, ("variants",), notes)
    told = "deviates from the specification: "
    counted = {n.removeprefix(told): count for n, count in notes.items() if n.startswith(told)}
    expected: dict[str, tuple[int, int]] = {}
    for found in deviations(source):
        count, first = expected.get(found.kind, (0, found.line))
        expected[found.kind] = count + 1, first
    assert counted == {f"{k}, first in line {line}": n for k, (n, line) in expected.items()}
