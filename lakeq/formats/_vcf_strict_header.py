"""Where a VCF header deviates from the specification, line by line.

Source: VCF 4.1 to 4.4 specifications, sections 1.2 to 1.5 (1.4 in 4.3 and later). The rules are
those that the test files of hts-specs and of EBI's vcf-validator agree on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lakeq.formats import _vcf_reserved as reserved
from lakeq.formats._vcf_header import FIXED_COLUMNS

ALT_TYPES = ("DEL", "INS", "DUP", "INV", "CNV", "BND", "NON_REF")
INFO_TYPES = ("Integer", "Float", "Flag", "Character", "String")
FORMAT_TYPES = ("Integer", "Float", "Character", "String")
STRUCTURED = ("INFO", "FORMAT", "FILTER", "ALT", "contig", "META", "SAMPLE", "PEDIGREE")

_FILE_FORMAT = re.compile(r"##fileformat=VCFv4\.[0-9]\Z")
_META = re.compile(r"##([^=\s<>]+)=(.+)\Z", re.DOTALL)
_ITEM = re.compile(
    r' ?(?:(ID)=([^,<>]*)|([A-Za-z_][A-Za-z0-9_.]*)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^,"<>]*))'
)
_ID = re.compile(r"([A-Za-z_][0-9A-Za-z_.]*|1000G)\Z")
_KEY_OF_ENTRY = re.compile(r"[A-Za-z0-9_.+-]+\Z")
_CONTIG_42 = re.compile(r"[^\s,<>]+\Z")
_CONTIG_43 = re.compile(r"[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&+./:;=?@^_|~-]*\Z")
_URL = re.compile(r"(?:https?|ftp|file)://(?![0-9]+[:/])[^\s<>]+\Z")  # no host is a bare number
_WORD = re.compile(r"[A-Za-z0-9_./#+;?-]+\Z")


class Deviation(NamedTuple):
    """One departure from the specification: its kind (for counting), where, and what it is."""

    kind: str
    line: int
    field: str
    what: str


@dataclass(slots=True)
class Definitions:
    """What the header of one VCF defines, as the checks of its records need it."""

    version: str = "4.3"
    info: dict[str, reserved.Definition] = field(default_factory=dict)
    format: dict[str, reserved.Definition] = field(default_factory=dict)
    filters: set[str] = field(default_factory=set)
    samples: list[str] = field(default_factory=list)
    columns: int = 8
    known_lines: int = 0  # meta lines of a key that the specification has, beside fileformat


Items = list[tuple[str, str]]
Found = Iterator[Deviation]


def check(lines: Sequence[str], definitions: Definitions) -> Found:
    """Yield the deviations of a header, from ##fileformat to #CHROM; fill `definitions`."""
    yield from _file_format(lines[0], definitions)
    for number, line in enumerate(lines[1:-1], 2):
        match = _META.match(line)
        if match is None:
            yield Deviation("a header line that is not ##key=value", number, "header", repr(line))
            continue
        key, value = match[1], match[2]
        yield from _meta(key, value, number, definitions)
    yield from _columns(lines[-1], len(lines), definitions)


def _file_format(line: str, definitions: Definitions) -> Found:
    if not _FILE_FORMAT.match(line):
        yield Deviation(
            "a first line that is not ##fileformat=VCFv4.x", 1, "fileformat", repr(line)
        )
    found = re.search(r"4\.\d", line)
    definitions.version = found[0] if found else "4.3"


def _meta(key: str, value: str, line: int, definitions: Definitions) -> Found:
    if not _KEY_OF_ENTRY.match(key):
        yield Deviation("a header key with other characters", line, "header", repr(key))
    if key in ("assembly", "pedigreeDB"):
        definitions.known_lines += 1
        bracketed = key == "pedigreeDB" and value.startswith("<") and value.endswith(">")
        if not _URL.match(value[1:-1] if bracketed else value):
            yield Deviation(f"##{key} without a URL", line, key, repr(value))
        return
    if key not in STRUCTURED:
        definitions.known_lines += key in ("reference", "phasing", "source", "fileDate")
        if value.startswith("<"):
            yield from _other_entry(key, value, line)
        return
    definitions.known_lines += 1
    items, problem = parse_items(value)
    if problem:
        yield Deviation(f"a {key} line that cannot be parsed", line, key, problem)
        return
    yield from _RULES[key](items, line, definitions)


def _other_entry(key: str, value: str, line: int) -> Found:
    """A structured line of a key that the specification does not know."""
    if not value.endswith(">") or value.count('"') % 2:
        yield Deviation("a header entry that is not closed", line, key, repr(value[:80]))


def parse_items(value: str) -> tuple[Items, str]:
    """The key=value items of `<...>` in order, and what is wrong with it ('' for nothing)."""
    if not (value.startswith("<") and value.endswith(">")):
        return [], f"{value[:80]!r} is not enclosed in < and >"
    items: Items = []
    at, end = 1, len(value) - 1
    while at < end:
        match = _ITEM.match(value, at, end)
        if match is None:
            return items, f"no key=value at {value[at : at + 40]!r}"
        key, text = (match[1], match[2]) if match[1] else (match[3], match[4])
        items.append((key, text))
        at = match.end()
        if at < end:
            if value[at] != ",":
                return items, f"unexpected {value[at : at + 20]!r} after {key}"
            at += 1
            if at == end:
                return items, "a comma before >"
    keys = [key for key, _ in items]
    twice = next((key for key in keys if keys.count(key) > 1), "")
    return items, f"{twice} given twice" if twice else ""


def _order(kind: str, items: Items, wanted: Sequence[str], line: int) -> Found:
    names = tuple(key for key, _ in items[: len(wanted)])
    if names != tuple(wanted):
        id_ = dict(items).get("ID", "")
        yield Deviation(
            f"a {kind} line without {', '.join(wanted)} in this order",
            line,
            f"{kind}/{id_}" if id_ else kind,
            f"it has {', '.join(names) or 'nothing'}",
        )


def _quoted(kind: str, items: Items, line: int) -> Found:
    fields = dict(items)
    for key in ("Description", "Source", "Version"):
        value = fields.get(key, '""')
        if not (len(value) > 1 and value.startswith('"') and value.endswith('"')):
            yield Deviation(
                f"a {kind} {key} without quotes", line, f"{kind}/{fields.get('ID')}", repr(value)
            )


def _field(kind: str, items: Items, line: int, definitions: Definitions) -> Found:
    """INFO and FORMAT lines."""
    yield from _order(kind, items, ("ID", "Number", "Type", "Description"), line)
    yield from _quoted(kind, items, line)
    fields = dict(items)
    id_, number, type_ = fields.get("ID", ""), fields.get("Number", ""), fields.get("Type", "")
    where = f"{kind}/{id_}"
    if not _ID.match(id_):
        yield Deviation(f"a {kind} ID with other characters", line, where, repr(id_))
    letters = ["A", "G", "."]
    if definitions.version >= "4.2":
        letters.append("R")
    if definitions.version >= "4.4" and kind == "FORMAT":
        letters.append("P")
    if number not in letters and not (number.isascii() and number.isdigit()):
        yield Deviation(f"a {kind} Number that is none", line, where, f"Number={number}")
    if type_ not in (INFO_TYPES if kind == "INFO" else FORMAT_TYPES):
        yield Deviation(f"a {kind} Type that is none", line, where, f"Type={type_}")
    if type_ == "Flag" and number.isdigit() and number != "0":
        yield Deviation("a Flag whose Number is not 0", line, where, f"Number={number}")
    version = definitions.version
    standard = (reserved.info if kind == "INFO" else reserved.format_)(version).get(id_)
    if standard is not None and (number, type_) != standard:
        yield Deviation(
            f"a reserved {kind} key defined otherwise",
            line,
            where,
            f"Number={number}, Type={type_}; VCF {version} says Number={standard[0]},"
            f" Type={standard[1]}",
        )
    known = definitions.info if kind == "INFO" else definitions.format
    if known.setdefault(id_, (number, type_)) != (number, type_):
        yield Deviation(f"a {kind} key defined twice, and otherwise", line, where, f"{type_}")


def _info(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _field("INFO", items, line, definitions)


def _format(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _field("FORMAT", items, line, definitions)


def _filter(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _order("FILTER", items, ("ID", "Description"), line)
    yield from _quoted("FILTER", items, line)
    id_ = dict(items).get("ID", "")
    if not id_ or id_ == "0" or re.search(r"[\s;,]", id_):
        yield Deviation("a FILTER ID that cannot be one", line, "FILTER", repr(id_))
    definitions.filters.add(id_)


def _alt(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _order("ALT", items, ("ID", "Description"), line)
    yield from _quoted("ALT", items, line)
    id_ = dict(items).get("ID", "")
    if not id_ or re.search(r"[\s,<>]", id_):
        yield Deviation("an ALT ID with other characters", line, "ALT", repr(id_))
    prefix = id_.split(":")[0]
    if (definitions.version < "4.3" or id_ != prefix) and prefix not in ALT_TYPES:
        yield Deviation("an ALT ID of no known type", line, "ALT", repr(id_))


def _contig(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _order("contig", items, ("ID",), line)
    id_ = dict(items).get("ID", "")
    pattern = _CONTIG_43 if definitions.version >= "4.3" else _CONTIG_42
    if not pattern.match(id_):
        yield Deviation("a contig ID with other characters", line, "contig", repr(id_))
    length = dict(items).get("length", "0")
    if not (length.isascii() and length.isdigit()):
        yield Deviation("a contig length that is no number", line, f"contig/{id_}", repr(length))


def _meta_line(items: Items, line: int, definitions: Definitions) -> Found:
    names = tuple(key for key, _ in items)
    if (*names[:1], *sorted(names[1:3]), *names[3:4]) != ("ID", "Number", "Type", "Values"):
        yield from _order("META", items, ("ID", "Number", "Type", "Values"), line)
    fields = dict(items)
    where = f"META/{fields.get('ID', '')}"
    if fields.get("Number", ".") != "." or fields.get("Type", "String") != "String":
        yield Deviation("a META line of another Number or Type", line, where, repr(fields))
    values = fields.get("Values", "[]")
    if not (values.startswith("[") and values.endswith("]")):
        yield Deviation("META Values without brackets", line, where, repr(values))


def _sample(items: Items, line: int, definitions: Definitions) -> Found:
    yield from _order("SAMPLE", items, ("ID",), line)
    fields = dict(items)
    id_ = fields.get("ID", "")
    if definitions.version < "4.3" and "Genomes" not in fields:
        yield Deviation("a SAMPLE line without Genomes", line, f"SAMPLE/{id_}", "no Genomes=")
    if definitions.version >= "4.3" and re.search(r"[\s*,<>]", id_):
        yield Deviation("a SAMPLE ID with other characters", line, "SAMPLE", repr(id_))


def _pedigree(items: Items, line: int, definitions: Definitions) -> Found:
    if definitions.version >= "4.3":
        yield from _order("PEDIGREE", items, ("ID",), line)
    for key, value in items:
        if not (value.startswith('"') or _WORD.match(value)):
            yield Deviation("a PEDIGREE value with other characters", line, key, repr(value))


_RULES: Mapping[str, Callable[[Items, int, Definitions], Found]] = {
    "INFO": _info,
    "FORMAT": _format,
    "FILTER": _filter,
    "ALT": _alt,
    "contig": _contig,
    "META": _meta_line,
    "SAMPLE": _sample,
    "PEDIGREE": _pedigree,
}


def _columns(line: str, number: int, definitions: Definitions) -> Found:
    names = line[1:].split("\t")
    definitions.columns, definitions.samples = len(names), names[9:]
    if tuple(names[:9]) != FIXED_COLUMNS[: max(8, min(len(names), 9))]:
        yield Deviation("a header line with other columns", number, "#CHROM", repr(line[:80]))
    if len(names) == 9:
        yield Deviation("a FORMAT column without samples", number, "FORMAT", repr(line[:80]))
    samples = definitions.samples
    if len(set(samples)) != len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        yield Deviation("a sample named twice", number, "#CHROM", repr(twice))
    if any(not name.strip() for name in samples):
        yield Deviation("a sample without a name", number, "#CHROM", repr(line[:80]))
