"""Where the records of a VCF deviate from the specification, line by line.

Source: VCF 4.1 to 4.4 specifications, section 1.6 (1.4 in 4.1) and, for 4.4, sections 3 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lakeq.formats import _vcf_reserved as reserved
from lakeq.formats._vcf_strict_header import Definitions, Deviation
from lakeq.formats._vcf_strict_sv import check_alleles_44, check_calls_44

INTEGERS = range(-(2**31) + 8, 2**31)  # VCF 4.3, section 1.3: BCF reserves the eight lowest
MORE_FIELDS = "a sample with more fields than FORMAT"
MEMORY_BP = 10_000  # how far back a repeated variant is looked for

# hts-specs refuses chr:1 before 4.4 while vcf-validator reads 1ABC:123: a colon behind the bare
# prefix is what both agree to be wrong.
_CHROM = re.compile(r"(?:<(?!chr:)[^\s,<>]+>|(?!chr:)[^\s,<>]+)\Z")
_CHROM_43 = re.compile(
    r"(?:<(?!chr:)[0-9A-Za-z!#$%&+./:;?@^_|~-]+>|(?!chr:)[0-9A-Za-z!#$%&+./:;?@^_|~-]+)\Z"
)
_CHROM_44 = re.compile(r"(?:<[0-9A-Za-z!#$%&+./:;?@^_|~-]+>|[0-9A-Za-z!#$%&+./:;?@^_|~-]+)\Z")
_REF = re.compile(r"[ACGTNacgtn]+\Z")
_BASES = r"[ACGTNacgtn]"
_ALT = re.compile(
    rf"(?:{_BASES}+|\*|<[^\s,<>]+>"
    rf"|{_BASES}*[\[\]](?:<[^\s,<>]+>|[^\s,<>\[\]]+):[0-9]+[\[\]]{_BASES}*"
    rf"|\.{_BASES}+|{_BASES}+\.)\Z"
)
_BREAKEND = re.compile(r"(.*)([\[\]]).+([\[\]])(.*)\Z")
_IUPAC = re.compile(r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv]+\Z")
_QUAL = re.compile(
    r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z|\+?[Ii][Nn][Ff]\Z|[Nn][Aa][Nn]\Z"
)
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)\Z", re.IGNORECASE
)
_CIGAR = re.compile(r"(?:[0-9]+[MIDNSHPX=])+\Z")
_KEY = re.compile(r"[A-Za-z_][0-9A-Za-z_.%]*\Z|1000G\Z")
_FORMAT_KEY = re.compile(r"[A-Za-z_][0-9A-Za-z_.%]*\Z")
_FORMAT_KEY_OLD = re.compile(r"[0-9A-Za-z]+\Z")
_GT = re.compile(r"(?:[0-9]+|\.)(?:[/|](?:[0-9]+|\.))*\Z")
_GT_44 = re.compile(r"[/|]?(?:[0-9]+|\.)(?:[/|](?:[0-9]+|\.))*[/|]?\Z")
_SEPARATOR = re.compile(r"[/|]")

Found = Iterator[Deviation]


@dataclass(slots=True)
class Record:
    """One record: its columns, and what of them is used more than once."""

    line: int
    columns: Sequence[str]
    alts: list[str] = field(default_factory=list)
    info: dict[str, str | None] = field(default_factory=dict)

    def deviation(self, kind: str, field_: str, what: str) -> Deviation:
        """A deviation of this record."""
        return Deviation(kind, self.line, field_, what)


class Checker:
    """Checks the records of one file in their order; remembers what order and repeats need."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.version = definitions.version
        self._reserved_info = reserved.info(self.version)
        self._reserved_format = reserved.format_(self.version)
        newer = _CHROM_44 if self.version >= "4.4" else _CHROM_43
        self._chrom = _CHROM if self.version < "4.3" else newer
        self._contig = ""
        self._pos = -1
        self._contigs: set[str] = set()
        self._recent: dict[int, set[tuple[str, str, str]]] = {}  # ID, ref, alt by position
        self.records = 0
        self.evidence = False  # whether any record says more than where it is

    def check(self, text: str, line: int) -> Found:
        """Yield the deviations of one record."""
        columns = text.split("\t")
        self.records += 1
        if len(columns) != self.definitions.columns:
            what = f"{len(columns)} columns where the header has {self.definitions.columns}"
            yield Deviation("a line with other columns than the header", line, "line", what)
            return
        record = Record(line, columns)
        self.evidence = self.evidence or _is_evidence(columns)
        yield from self._fixed(record)
        yield from self._info(record)
        if self.version >= "4.4":
            yield from check_alleles_44(record.alts, record.info, line)
        if len(columns) > 9:
            yield from self._samples(record)
        yield from self._order(record)

    def site(self, columns: Sequence[str], line: int) -> Found:
        """Yield the deviations of CHROM to INFO, of each line on its own."""
        record = Record(line, columns)
        yield from self._fixed(record)
        yield from self._info(record)
        if self.version >= "4.4":
            yield from check_alleles_44(record.alts, record.info, line)

    def repeats(self, columns: Sequence[str], line: int) -> Found:
        """Yield the variants of this record that one before it has, ID and all."""
        pos = columns[1]
        if columns[0] != self._contig:
            self._contig = columns[0]
            self._recent.clear()
        if len(self._recent) > MEMORY_BP // 10:
            for old in [start for start in self._recent if start < int(pos) - MEMORY_BP]:
                del self._recent[old]
        for allele in columns[4].split(","):
            if pos.isdigit() and _IUPAC.match(allele) and columns[2] != ".":
                yield from self._repeat(Record(line, columns), int(pos), columns[3], allele)

    def _fixed(self, record: Record) -> Found:
        chrom, pos, id_, ref, alt, qual, filter_ = record.columns[:7]
        if not self._chrom.match(chrom):
            yield record.deviation("a contig name with other characters", "CHROM", repr(chrom))
        if not (pos.isascii() and pos.isdigit()):
            yield record.deviation("a position that is no number", "POS", repr(pos))
        yield from self._listed(record, "ID", id_)
        if not _REF.match(ref):
            yield record.deviation("a reference allele that is no bases", "REF", repr(ref))
        record.alts = [] if alt == "." else alt.split(",")
        for allele in record.alts:
            if not _is_alt(allele):
                yield record.deviation("an alternate allele that is none", "ALT", repr(allele))
        if qual != "." and not _QUAL.match(qual):
            yield record.deviation("a quality that is no number from 0", "QUAL", repr(qual))
        yield from self._listed(record, "FILTER", filter_)
        if "0" in filter_.split(";"):
            yield record.deviation("the reserved filter 0", "FILTER", repr(filter_))
        for name in filter_.split(";"):
            defined = self.definitions.filters
            if defined and name not in defined and name not in ("PASS", "."):
                yield record.deviation("a filter that no header line defines", "FILTER", repr(name))

    def _listed(self, record: Record, name: str, text: str) -> Found:
        """ID and FILTER: words separated by semicolons, each once."""
        parts = text.split(";")
        if "" in parts or re.search(r"\s", text):
            yield record.deviation(f"an empty part or a blank in {name}", name, repr(text))
        if len(parts) > 1 and "." in parts:
            yield record.deviation(f"a missing {name} beside others", name, repr(text))
        if len(set(parts)) != len(parts):
            yield record.deviation(f"a repeated part of {name}", name, repr(text))

    def _info(self, record: Record) -> Found:
        text = record.columns[7]
        if not text or re.search(r"\s", text):
            yield record.deviation("INFO empty or with blanks", "INFO", repr(text[:80]))
        if text == ".":
            return
        for item in text.rstrip(";").split(";"):
            key, equals, value = item.partition("=")
            if not _KEY.match(key):
                yield record.deviation("an INFO key with other characters", "INFO", repr(item))
            if key in record.info:
                yield record.deviation("an INFO key given twice", f"INFO/{key}", repr(item))
            record.info[key] = value if equals else None
            yield from self._info_value(record, key, value if equals else None)

    def _info_value(self, record: Record, key: str, value: str | None) -> Found:
        defined = self.definitions.info.get(key)
        standard = self._reserved_info.get(key)
        where = f"INFO/{key}"
        definition = defined or standard
        if definition is None:
            return
        number, type_ = definition
        if type_ == "Flag":
            if value not in (None, "0", "1"):
                yield record.deviation("a flag with a value", where, repr(value))
            return
        if value is None:
            yield record.deviation("an INFO key without its value", where, repr(key))
            return
        if value == ".":
            return
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        values = [value] if quoted else value.split(",")
        expected = _expected(number, len(record.alts))
        if expected is not None and len(values) != expected:
            what = f"{value!r} has {len(values)} values where {expected} belong"
            yield record.deviation("an INFO field of another count", where, what)
        yield from _typed(record, where, type_, values)
        negative = any(part.startswith("-") for part in values)
        if negative and standard is not None and key in reserved.NOT_NEGATIVE:
            yield record.deviation("a count below 0", where, repr(value))
        if key == "CIGAR" and not all(_CIGAR.match(part) or part == "." for part in values):
            yield record.deviation("a CIGAR that is none", where, repr(value))

    def _samples(self, record: Record) -> Found:
        keys = record.columns[8].split(":")
        for kind, what in format_deviations(keys, self.version):
            yield record.deviation(kind, "FORMAT", what)
        for name, text in zip(self.definitions.samples, record.columns[9:], strict=True):
            yield from self._sample(record, keys, name, text)

    def _sample(self, record: Record, keys: Sequence[str], name: str, text: str) -> Found:
        values = text.split(":")
        if len(values) > len(keys):
            what = f"{text!r} has {len(values)} fields, FORMAT {len(keys)}"
            yield record.deviation(MORE_FIELDS, f"sample {name}", what)
            return
        ploidy = 2
        fields = dict(zip(keys, values, strict=False))
        genotype = fields.get("GT")
        if genotype is not None:
            pattern = _GT_44 if self.version >= "4.4" else _GT
            where = f"FORMAT/GT, sample {name}"
            if not pattern.match(genotype):
                yield record.deviation("a genotype that is none", where, repr(genotype))
                return
            alleles = [part for part in _SEPARATOR.split(genotype) if part]
            ploidy = len(alleles)
            highest = max((int(part) for part in alleles if part != "."), default=0)
            if highest > max(len(record.alts), 1):
                yield record.deviation("a genotype of an allele that is not there", where, genotype)
        for key, value in fields.items():
            if key != "GT":
                yield from self._sample_value(record, key, value, ploidy, name)
        if self.version >= "4.4":
            yield from check_calls_44(fields, record.alts, record.info, record.line, name)

    def _sample_value(self, record: Record, key: str, value: str, ploidy: int, name: str) -> Found:
        definition = self.definitions.format.get(key) or self._reserved_format.get(key)
        if definition is None or value == ".":
            return
        number, type_ = definition
        where = f"FORMAT/{key}, sample {name}"
        values = value.split(",")
        expected = _expected(number, len(record.alts), ploidy)
        if expected is not None and len(values) != expected:
            what = f"{value!r} has {len(values)} values where {expected} belong"
            yield record.deviation("a FORMAT field of another count", where, what)
        yield from _typed(record, where, type_, values)

    def _order(self, record: Record) -> Found:
        chrom, pos = record.columns[0].strip("<>"), record.columns[1]
        if not (pos.isascii() and pos.isdigit()):
            return
        here = int(pos)
        if chrom != self._contig:
            if chrom in self._contigs:
                yield record.deviation("a contig in two places of the file", "CHROM", repr(chrom))
            self._contigs.add(chrom)
            self._contig, self._pos = chrom, -1
            self._recent.clear()
        if here < self._pos:
            yield record.deviation("positions that go down", "POS", f"{pos} after {self._pos}")
        self._pos = max(here, self._pos)
        for allele in record.alts:
            if _IUPAC.match(allele) and record.columns[2] != ".":
                yield from self._repeat(record, here, record.columns[3], allele)
        for old in [start for start in self._recent if start < here - MEMORY_BP]:
            del self._recent[old]

    def _repeat(self, record: Record, pos: int, ref: str, alt: str) -> Found:
        """A variant may stand in several records, but no ID in more than one."""
        pos, ref, alt = _trimmed(pos, ref, alt)
        known = self._recent.setdefault(pos, set())
        key = (record.columns[2], ref, alt)
        if key in known:
            yield record.deviation("a variant given twice", "ALT", f"{pos} {ref} {alt}")
        known.add(key)


def format_deviations(keys: Sequence[str], version: str) -> Iterator[tuple[str, str]]:
    """The kinds of deviation that the keys of a FORMAT have, and what shows each."""
    pattern = _FORMAT_KEY if version >= "4.3" else _FORMAT_KEY_OLD
    for key in keys:
        if not pattern.match(key):
            yield "a FORMAT key with other characters", repr(key)
    if len(set(keys)) != len(keys):
        yield "a repeated FORMAT key", ":".join(keys)
    if "GT" in keys[1:]:
        yield "GT not the first FORMAT key", ":".join(keys)


def _is_evidence(columns: Sequence[str]) -> bool:
    """Whether a record says more than where its variant is and how deep it was read."""
    if columns[2] != "." or columns[5] != "." or columns[6] != ".":
        return True
    if any(item and item != "." and not item.startswith("DP=") for item in columns[7].split(";")):
        return True
    if len(columns) < 10:
        return False
    return columns[8] != "GT" or any(re.search("[0-9]", call) for call in columns[9:])


def _is_alt(allele: str) -> bool:
    if not _ALT.match(allele):
        return False
    parts = None if allele.startswith("<") else _BREAKEND.match(allele)
    if parts is None:
        return True
    return parts[2] == parts[3] and bool(parts[1]) != bool(parts[4])


def _trimmed(pos: int, ref: str, alt: str) -> tuple[int, str, str]:
    """The variant without bases that both alleles share at their ends."""
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        pos, ref, alt = pos + 1, ref[1:], alt[1:]
    return pos, ref, alt


def _expected(number: str, alts: int, ploidy: int | None = None) -> int | None:
    """How many values belong to a field; None for any number."""
    if number.isdigit():
        return int(number)
    if number == "A":
        return max(alts, 1) if ploidy is None else alts or None
    if number == "R":
        return alts + 1
    if number == "P":
        return ploidy
    if number == "G" and ploidy is not None and alts:
        count = 1
        for k in range(1, ploidy + 1):  # choose(alts + ploidy, ploidy)
            count = count * (alts + k) // k
        return count
    return None


def _typed(record: Record, where: str, type_: str, values: Sequence[str]) -> Found:
    for value in values:
        if value == ".":
            continue
        if type_ == "Integer":
            if not _INTEGER.match(value):
                yield record.deviation("a value that is no integer", where, repr(value))
            elif int(value) not in INTEGERS:
                yield record.deviation("an integer beyond 32 bits", where, repr(value))
        elif type_ == "Float":
            if not _FLOAT.match(value):
                yield record.deviation("a value that is no number", where, repr(value))
        elif type_ == "Character" and len(value) != 1 and not value.startswith("%"):
            yield record.deviation("a value of more than one character", where, repr(value))
