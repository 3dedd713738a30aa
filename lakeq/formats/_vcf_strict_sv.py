"""What VCF 4.4 asks of structural variants, copy numbers and phase sets beyond types and counts.

Source: VCF 4.4 specification, sections 1.6.2 (PSL, PSQ), 3 and 5.6 (SVLEN, SVCLAIM, CN, CNV:TR).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lakeq.formats._vcf_strict_header import Deviation

Found = Iterator[Deviation]
Info = Mapping[str, str | None]

CLAIMS = ("D", "J", "DJ")


def check_alleles_44(alts: Sequence[str], info: Info, line: int) -> Found:
    """Yield the deviations of INFO from what its symbolic alleles need."""
    for alt in alts:
        if alt.startswith("<BND"):
            yield Deviation("a breakend as a symbolic allele", line, "ALT", alt)
    yield from _claims(alts, info, line)
    yield from _lengths(alts, info, line)
    yield from _intervals(info, line)
    if any(alt == "<CNV:TR>" for alt in alts):
        yield from _repeats(alts, info, line)


def _of(info: Info, key: str) -> list[str]:
    value = info.get(key)
    return value.split(",") if value else []


def _claims(alts: Sequence[str], info: Info, line: int) -> Found:
    claims = _of(info, "SVCLAIM")
    for claim in claims:
        if claim not in (*CLAIMS, "."):
            yield Deviation("a claim that is none", line, "INFO/SVCLAIM", repr(claim))
    for i, alt in enumerate(alts if "EVENT" not in info else ()):  # an event claims as a whole
        kind = alt[1:-1].split(":")[0] if alt.startswith("<") else ""
        if kind in ("DEL", "DUP") and (i >= len(claims) or claims[i] == "."):
            yield Deviation("a deletion or duplication without a claim", line, "INFO/SVCLAIM", alt)


def _lengths(alts: Sequence[str], info: Info, line: int) -> Found:
    lengths = _of(info, "SVLEN")
    for i, alt in enumerate(alts):
        kind = alt[1:-1].split(":")[0] if alt.startswith("<") else ""
        if kind in ("DEL", "DUP", "INS", "CNV") and (i >= len(lengths) or lengths[i] == "."):
            yield Deviation("a symbolic allele without its length", line, "INFO/SVLEN", alt)
        if kind == "INV" and "SVLEN" not in info:
            yield Deviation("a symbolic allele without its length", line, "INFO/SVLEN", alt)
        if not kind and i < len(lengths) and lengths[i] != ".":
            yield Deviation("a length of an allele that has none", line, "INFO/SVLEN", alt)


def _intervals(info: Info, line: int) -> Found:
    for key, per in (("CICN", "CN"), ("CIRB", "RB"), ("CIRUC", "RUC")):
        values, own = _of(info, key), _of(info, per)
        if values and own and len(values) != 2 * len(own):
            what = f"{len(values)} bounds of {len(own)} values"
            yield Deviation("an interval of another count", line, f"INFO/{key}", what)
        yield from _bounds(values, line, f"INFO/{key}")


def _bounds(values: Sequence[str], line: int, where: str) -> Found:
    """Confidence intervals: a lower bound up to 0, then an upper one from 0."""
    for low, high in zip(values[::2], values[1::2], strict=False):
        if (low != "." and _number(low) > 0) or (high != "." and _number(high) < 0):
            yield Deviation("an interval that excludes its value", line, where, f"{low},{high}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _repeats(alts: Sequence[str], info: Info, line: int) -> Found:
    """<CNV:TR> alleles: RN repeats each, RUS or RUL of every repeat, RB = RUC x RUL."""
    where = "INFO/RUS"
    if "RUS" not in info and "RUL" not in info:
        yield Deviation("a tandem repeat without RUS or RUL", line, where, ",".join(alts))
        return
    counts = [int(n) if n.isdigit() else 1 for n in _of(info, "RN")] or [1] * len(alts)
    total = sum(counts)
    for key in ("RUS", "RUL", "RUC", "RB"):
        values = _of(info, key)
        if values and len(values) != total:
            what = f"{len(values)} values of {total} repeats"
            yield Deviation("a repeat field of another count", line, f"INFO/{key}", what)
            return
    units = [len(unit) for unit in _of(info, "RUS")] or [int(_number(n)) for n in _of(info, "RUL")]
    bases, copies = _of(info, "RB"), _of(info, "RUC")
    for unit, number, copy in zip(units, bases, copies, strict=False):
        if "." not in (number, copy) and abs(_number(number) - unit * _number(copy)) >= unit:
            what = f"RB {number} is not RUC {copy} times {unit} bases"
            yield Deviation("a repeat whose bases do not add up", line, "INFO/RB", what)
    if "RUB" in info:
        if any(copy != "." and _number(copy) % 1 for copy in copies):
            yield Deviation("RUB of a broken number of units", line, "INFO/RUC", ",".join(copies))
        whole = sum(int(_number(copy)) for copy in copies)
        if copies and len(_of(info, "RUB")) != whole:
            what = f"{len(_of(info, 'RUB'))} values of {whole} units"
            yield Deviation("a repeat field of another count", line, "INFO/RUB", what)


def check_calls_44(
    fields: Mapping[str, str], alts: Sequence[str], info: Info, line: int, sample: str
) -> Found:
    """Yield the deviations of one sample's CN, CICN, PSL and PSQ."""
    yield from _bounds(fields.get("CICN", ".").split(","), line, f"FORMAT/CICN, sample {sample}")
    lengths = {
        length
        for alt, length in zip(alts, _of(info, "SVLEN"), strict=False)
        if alt.startswith(("<DEL", "<DUP", "<CNV"))
    }
    if "CN" in fields and len(lengths) > 1:
        where = f"FORMAT/CN, sample {sample}"
        yield Deviation("a copy number of several lengths", line, where, ",".join(sorted(lengths)))
    if "PSL" in fields:
        yield from _phase_sets(fields, line, sample)


def _phase_sets(fields: Mapping[str, str], line: int, sample: str) -> Found:
    names = fields["PSL"].split(",")
    phased = _phased(fields.get("GT", "."))
    where = f"FORMAT/PSL, sample {sample}"
    for i, name in enumerate(names):
        if name != "." and i < len(phased) and not phased[i]:
            yield Deviation("a phase set of an unphased allele", line, where, repr(name))
    for name, quality in zip(names, fields.get("PSQ", "").split(","), strict=False):
        if name == "." and quality not in (".", ""):
            where = f"FORMAT/PSQ, sample {sample}"
            yield Deviation("a phase quality without a phase set", line, where, repr(quality))


def _phased(genotype: str) -> list[bool]:
    """Whether each allele is phased; the first is so when stated, or else when all others are."""
    marks = re.findall(r"([/|]?)(?:[0-9]+|\.)", genotype)
    rest = [mark == "|" for mark in marks[1:]]
    first = marks[0] == "|" if marks and marks[0] else all(rest)
    return [first, *rest]
