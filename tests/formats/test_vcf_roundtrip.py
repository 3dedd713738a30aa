"""A law: whatever VCF is written, its tables hold every value that it has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vcf import memory
from tests.support.vcf_fields import own_tables

NUMBERS = ("1", "A", "R", "G", ".", "2")
TYPES = ("Integer", "Float", "String", "Character")
ESCAPED = {":": "%3A", ";": "%3B", "=": "%3D", ",": "%2C", "%": "%25", "\t": "%09", "\n": "%0A"}
LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=".|")
SPELLED = st.text(LETTERS | st.sampled_from(":;=,%"), min_size=1, max_size=4)
PLOIDY = 2


@dataclass(frozen=True)
class Field:
    """A definition of the header."""

    key: str
    number: str
    type: str

    def count(self, alts: int) -> int:
        pairs = (alts + 1) * (alts + 2) // 2
        return {"1": 1, "A": alts, "R": alts + 1, "G": pairs, "2": 2}.get(self.number, 3)

    def line(self, kind: str) -> str:
        return f'##{kind}=<ID={self.key},Number={self.number},Type={self.type},Description="">'


def value(type_: str) -> st.SearchStrategy[Any]:
    known: dict[str, st.SearchStrategy[Any]] = {
        "Integer": st.integers(-(2**31) + 8, 2**31 - 1),
        "Float": st.floats(allow_nan=False, allow_infinity=False),
        "String": SPELLED,
        "Character": LETTERS,
    }
    return st.none() | known[type_]


def spelled(value: Any) -> str:
    if value is None:
        return "."
    if isinstance(value, str):
        return "".join(ESCAPED.get(character, character) for character in value)
    return repr(value)


@st.composite
def fields(draw: st.DrawFn) -> list[Field]:
    pairs = draw(st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(TYPES)), max_size=4))
    return [Field(f"K{i}", number, type_) for i, (number, type_) in enumerate(pairs)]


Values = dict[str, list[Any] | None]


@dataclass(frozen=True)
class Record:
    """One line: its alternate alleles, its INFO, and for each sample alleles and fields."""

    pos: int
    alts: list[str]
    info: Values
    calls: list[tuple[list[int | None], str, Values]]


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Field], list[Field], list[Record]]:
    info, format_ = draw(fields()), draw(fields())
    samples = draw(st.integers(0, 3))
    records = []
    for pos in range(1, draw(st.integers(1, 4)) + 1):
        alts = ["C", "GT", "<DEL>"][: draw(st.integers(1, 3))]
        allele = st.none() | st.integers(0, len(alts))
        calls = [
            (
                draw(st.lists(allele, min_size=PLOIDY, max_size=PLOIDY)),
                draw(st.sampled_from("|/")),
                draw(values(format_, len(alts))),
            )
            for _ in range(samples)
        ]
        records.append(Record(pos, alts, draw(values(info, len(alts))), calls))
    return info, format_, records


def values(known: list[Field], alts: int) -> st.SearchStrategy[Values]:
    lists = {
        f.key: st.none() | st.lists(value(f.type), min_size=f.count(alts), max_size=f.count(alts))
        for f in known
    }
    return st.fixed_dictionaries(lists).map(without_missing)


def without_missing(values: Values) -> Values:
    """A list of one missing value is written as a missing field is."""
    return {k: None if v in (None, [None]) else v for k, v in values.items()}


def written(info: list[Field], format_: list[Field], records: list[Record]) -> bytes:
    samples = [f"S{i}" for i in range(len(records[0].calls))]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    lines = [
        "##fileformat=VCFv4.3",
        *(f.line("INFO") for f in info),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
        *(f.line("FORMAT") for f in format_),
        "\t".join([*columns, *(["FORMAT", *samples] if samples else [])]),
    ]
    for record in records:
        items = [
            f"{key}={','.join(map(spelled, given))}"
            for key, given in record.info.items()
            if given is not None
        ]
        line = [
            "1",
            str(record.pos),
            ".",
            "A",
            ",".join(record.alts),
            ".",
            ".",
            ";".join(items) or ".",
        ]
        if samples:
            line.append(":".join(["GT", *(f.key for f in format_)]))
        for alleles, separator, values in record.calls:
            genotype = separator.join("." if a is None else str(a) for a in alleles)
            texts = [
                "." if (given := values[field.key]) is None else ",".join(map(spelled, given))
                for field in format_
            ]
            line.append(":".join([genotype, *texts]))
        lines.append("\t".join(line))
    return ("\n".join(lines) + "\n").encode()


def own(field: Field, given: list[Any] | None, alts: int, allele: int) -> Any:
    """What the row of one alternate allele holds."""
    if given is None:
        return None
    if field.number == "1":
        return given[0]
    if field.number == "A":
        return given[allele - 1]
    if field.number == "R":
        return [given[0], given[allele]]
    if field.number == "G":
        first = allele * (allele + 1) // 2
        return [given[0], given[first], given[first + allele]]
    return given


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(found, wanted, rel_tol=0, abs_tol=0)
    return bool(found == wanted)


@settings(max_examples=40, deadline=None)
@given(files())
def test_tables_hold_every_value_of_the_file(
    made: tuple[list[Field], list[Field], list[Record]],
) -> None:
    info, format_, records = made
    notes: dict[str, int] = {}
    tables = own_tables(memory(written(info, format_, records)), notes=notes)
    variants = iter(tables["variants"].to_pylist())
    entries = iter(tables["entries"].to_pylist() if "entries" in tables else [])
    for record in records:
        n = len(record.alts)
        for allele, alt in enumerate(record.alts, 1):
            row = next(variants)
            assert (row["pos"], row["alt"], row["info_rest"]) == (record.pos, alt, None)
            for field in info:
                wanted = own(field, record.info[field.key], n, allele)
                assert same(row[f"info_{field.key.lower()}"], wanted)
            for sample, (alleles, separator, values) in enumerate(record.calls):
                entry = next(entries)
                assert (entry["sample"], entry["alt"]) == (f"S{sample}", alt)
                assert entry["allele_numbers"] == alleles
                assert entry["phased"] == (separator == "|")
                assert entry["alt_copies"] == alleles.count(allele)
                for field in format_:
                    wanted = own(field, values[field.key], n, allele)
                    assert same(entry[field.key.lower()], wanted)
                assert entry["format_rest"] is None
    assert next(variants, None) is None
    assert next(entries, None) is None
    assert not [note for note in notes if "does not fit" in note]
