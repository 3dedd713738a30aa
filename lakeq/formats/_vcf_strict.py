"""`--strict`: a VCF is read only if it keeps to the specification in every line.

The file is checked in a pass of its own before a row of it is made, so that the readers of rows
stay fast; one line at a time, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakeq.errors import BadSource
from lakeq.formats._vcf_strict_header import Definitions, Deviation, check
from lakeq.formats._vcf_strict_lines import Checker

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

HINT = "correct the file, or read it with --lenient, which reports what deviates"


def refuse_deviations(source: SourceObject) -> None:
    """Raise `BadSource` for the first deviation of `source`, naming its line and field."""
    for found in deviations(source):
        where = f"{source.uri}, line {found.line}, {found.field}"
        raise BadSource(f"{found.kind}: {found.what}", where, HINT)


def deviations(source: SourceObject) -> Iterator[Deviation]:
    """Yield every deviation of a VCF, in file order.

    Raises `BadSource` for what is no VCF at all, or not UTF-8.
    """
    from lakeq.formats._vcf_lines import VcfText

    text = VcfText(source)
    definitions = Definitions()
    header = [line.removesuffix("\r") for line in text.header_text.decode("utf-8").split("\n")]
    yield from check(header, definitions)
    checker = Checker(definitions)
    number = records = len(header)
    for chunk, size in text.chunks():
        for raw in bytes(chunk[:size]).split(b"\n")[:-1]:
            number += 1
            line = raw.removesuffix(b"\r")
            if line and number > records + 1:
                yield Deviation("an empty line", records + 1, "line", "before another record")
            records = number if line else records
            yield from _line(line, number, checker)
    yield from _evidence(definitions, checker.records, checker)
    if not text.ended:
        yield Deviation("no line end behind the last line", number, "line", "the file ends in it")


def _line(raw: bytes, number: int, checker: Checker) -> Iterator[Deviation]:
    if not raw:  # one at the end of the file does no harm
        return
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte 0x{raw[error.start]:02x}"
        yield Deviation("text that is not UTF-8", number, "line", what)
        return
    yield from checker.check(text, number)


def _evidence(definitions: Definitions, records: int, checker: Checker) -> Iterator[Deviation]:
    """Records that all say nothing of their variants.

    A rule of EBI's vcf-validator. A single bare site under a header that says more is let pass:
    the specification's own tests of headers are such files.
    """
    if records and not checker.evidence and (records > 1 or not definitions.known_lines):
        what = "no called genotype, and no INFO but DP, no QUAL, FILTER or ID in any record"
        yield Deviation("records without evidence", records, "INFO", what)
