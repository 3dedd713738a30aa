"""What the header of a VCF says: contigs, INFO and FORMAT definitions, samples, reference.

Source: VCF 4.1 to 4.5 specifications, section 1.4 (meta-information lines) and 1.5 (header line).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lakeq.errors import BadSource

CONTIGS_LIMIT = 1_000_000
SAMPLES_LIMIT = 5_000_000
FIELDS_LIMIT = 4096  # definitions of INFO, and as many of FORMAT
FIXED_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
REFERENCE_KEYS = ("reference", "assembly", "contig", "genome-build")
LIFTED_KEY = "new_reference_genome"  # CrossMap: the contig lines are still those of the old one

_PAIR = re.compile(r'([A-Za-z0-9_.]+)=("(?:[^"\\]|\\.)*"|[^,>]*)')


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """One INFO or FORMAT definition; `number` is a count, A, R, G or '.', as the header has it.

    `line` is the line of the header that has it.
    """

    key: str
    number: str
    type: str
    description: str = ""
    line: int = 0


@dataclass(slots=True)
class Header:
    """The header of one VCF.

    `contigs` maps the file's names to lengths, None where the header gives none; `reference` is
    the text of every line that may name an assembly; `lifted_to` is the reference that a liftover
    wrote, which makes the contig lengths those of another assembly; `lines` counts the lines.
    """

    version: str
    samples: list[str] = field(default_factory=list)
    columns: int = 8
    lines: int = 0
    contigs: dict[str, int | None] = field(default_factory=dict)
    info: dict[str, FieldDefinition] = field(default_factory=dict)
    format: dict[str, FieldDefinition] = field(default_factory=dict)
    reference: str = ""
    lifted_to: str = ""

    @property
    def contig_lengths(self) -> Mapping[str, int]:
        """The lengths of the contigs that have one."""
        return {name: length for name, length in self.contigs.items() if length is not None}


def parse_header(text: bytes, uri: str) -> Header:
    """Read the header from `text`: every line from ##fileformat to #CHROM.

    Raises `BadSource`, which names the line, for a header that breaks the specification where it
    matters here: version, column names, sample names, and more definitions than the limits allow.
    """
    try:
        lines = [line.removesuffix("\r") for line in text.decode("utf-8").split("\n")]
    except UnicodeDecodeError as error:
        bad = text.count(b"\n", 0, error.start) + 1
        raise BadSource(
            f"the header is not UTF-8: byte 0x{text[error.start]:02x}",
            f"{uri}, line {bad}",
            "convert the header to UTF-8 (bcftools reheader)",
        ) from error
    header = Header(version=_version(lines[0], uri), lines=len(lines))
    references = []
    for number, line in enumerate(lines[1:-1], start=2):
        key, _, value = line[2:].partition("=")
        where = f"{uri}, line {number}, {key}"
        if key in REFERENCE_KEYS:
            references.append(value)
        if key == LIFTED_KEY:
            header.lifted_to = value
        if key == "contig":
            _add_contig(header, value, where)
        elif key in ("INFO", "FORMAT"):
            known = header.info if key == "INFO" else header.format
            _add_field(known, key, value, where, number)
    header.reference = "\n".join(references[:1000])
    _add_columns(header, lines[-1], f"{uri}, line {len(lines)}, #CHROM")
    return header


def _version(line: str, uri: str) -> str:
    match = re.fullmatch(r"\ufeff?##fileformat=VCFv(\d+\.\d+)\s*", line)
    if match is None or not match[1].startswith("4."):
        raise BadSource(
            f"not a VCF of version 4: {line[:80]!r}",
            f"{uri}, line 1, fileformat",
            "the first line must read ##fileformat=VCFv4.x; bcftools view writes one",
        )
    return match[1]


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    if value.startswith("<"):
        for match in _PAIR.finditer(value, 1):
            yield match[1], match[2].strip('"')


def structured(value: str) -> dict[str, str]:
    """The key=value items of a structured header line."""
    return dict(_pairs(value))


def _add_contig(header: Header, value: str, where: str) -> None:
    fields = dict(_pairs(value))
    name = fields.get("ID")
    if not name:
        return
    length = fields.get("length", "")
    header.contigs[name] = int(length) if length.isascii() and length.isdigit() else None
    if len(header.contigs) > CONTIGS_LIMIT:
        raise _too_many("contigs", CONTIGS_LIMIT, where)


def _add_field(
    known: dict[str, FieldDefinition], kind: str, value: str, where: str, line: int
) -> None:
    fields = dict(_pairs(value))
    key = fields.get("ID")
    if not key:
        return
    number, type_ = fields.get("Number", "."), fields.get("Type", "")
    description = fields.get("Description", "").replace('\\"', '"')
    known.setdefault(key, FieldDefinition(key, number, type_, description, line))
    if len(known) > FIELDS_LIMIT:
        raise _too_many(f"{kind} definitions", FIELDS_LIMIT, where)


def _too_many(things: str, limit: int, where: str) -> BadSource:
    return BadSource(
        f"more than {limit:,} {things} in one header", where, "split the file, or clean its header"
    )


def _add_columns(header: Header, line: str, where: str) -> None:
    if line.count("\t") > SAMPLES_LIMIT + len(FIXED_COLUMNS):
        raise _too_many("samples", SAMPLES_LIMIT, where)
    names = line[1:].split("\t")
    expected = FIXED_COLUMNS[: max(8, min(len(names), 9))]
    if tuple(names[:9]) != expected:
        raise BadSource(
            f"the header line names the columns {', '.join(names[:9])[:120]!r}",
            where,
            f"they must be {' '.join(FIXED_COLUMNS)}, separated by tabs",
        )
    header.columns, header.samples = len(names), names[9:]
    _check_samples(header.samples, where)


def _check_samples(samples: list[str], where: str) -> None:
    if len(set(samples)) != len(samples):
        seen: set[str] = set()
        twice = next(name for name in samples if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add returns None on purpose
        raise BadSource(
            f"the header names sample {twice!r} twice",
            where,
            "rename one of them (bcftools reheader -s)",
        )
    if "" in samples:
        raise BadSource("the header has a sample without a name", where, "two tabs in a row?")
