"""Normalised alleles beside those of the file: the fewest bases, as far left as they go.

Source: Tan, Abecasis and Kang, "Unified representation of genetic variants", Bioinformatics 2015.
Parsimony needs the alleles alone; left-alignment needs the reference. Symbolic alleles, breakends
and `*` stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats import _arrow

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeq.formats._fasta import Fasta
    from lakeq.formats._vcf_rows import BatchRows

COLUMNS = ("norm_pos", "norm_ref", "norm_alt")
_BASES = re.compile(r"[ACGTNacgtn]+\Z")
STEP = 64  # bases fetched at once while an allele moves left
_LIMIT = 100_000  # bases that one allele may move

Variant = tuple[int, str, str]


def parsimonious(pos: int, ref: str, alt: str) -> Variant:
    """The variant without bases that both alleles share at their ends; one base stays in each."""
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    first = 0
    while len(ref) - first > 1 and len(alt) - first > 1 and ref[first] == alt[first]:
        first += 1
    return pos + first, ref[first:], alt[first:]


def left_aligned(pos: int, ref: str, alt: str, before: Callable[[int, int], str]) -> Variant:
    """The variant as far left as it goes; `before(start, stop)` gives bases of its contig."""
    left = ""  # bases in front of pos that are fetched but not used yet
    moved = 0
    while ref and alt and ref[-1] == alt[-1] and moved < _LIMIT:
        if min(len(ref), len(alt)) == 1:
            if not left:
                left = before(max(pos - STEP, 1), pos - 1)
            if not left:
                break  # the contig begins here
            ref, alt, left = left[-1] + ref, left[-1] + alt, left[:-1]
            pos, moved = pos - 1, moved + 1
        ref, alt = ref[:-1], alt[:-1]
    return parsimonious(pos, ref, alt)


class Normaliser:
    """Normalises the rows of one file; without a reference by parsimony alone."""

    def __init__(self, fasta: Fasta | None) -> None:
        self._fasta = fasta
        self._last: tuple[BatchRows | None, list[Variant | None]] = (None, [])

    def column(self, name: str, rows: BatchRows) -> Any:
        """The column `name` of COLUMNS of a batch; NULL where there is no alternate allele."""
        variants = self._of(rows)
        known = np.array([variant is not None for variant in variants], bool)
        place = COLUMNS.index(name)
        values = [variant[place] if variant else None for variant in variants]
        if name == "norm_pos":
            return _arrow.numbers(np.array([value or 0 for value in values], np.int64), known)
        return _arrow.texts([str(value) if value is not None else None for value in values])

    def _of(self, rows: BatchRows) -> list[Variant | None]:
        if self._last[0] is not rows:
            self._last = rows, self._normalised(rows)
        return self._last[1]

    def _normalised(self, rows: BatchRows) -> list[Variant | None]:
        positions = rows.batch.lines.pos[rows.line].tolist()
        ref, alt = rows.row_field(3), rows.alt
        simple = ((ref.size == 1) & (alt.size == 1)) & (self._fasta is None)
        result: list[Variant | None] = []
        for segment in rows.segments:
            for row in range(segment.first_row, segment.stop_row):
                if alt.size[row] < 0:
                    result.append(None)
                    continue
                variant = (positions[row], _text(ref.bytes_of(row)), _text(alt.bytes_of(row)))
                if not simple[row]:
                    variant = self._one(variant, segment.source, segment.contig, rows.where, row)
                result.append(variant)
        return result

    def _one(
        self, variant: Variant, source: str, contig: str, where: Callable[[int], str], row: int
    ) -> Variant:
        pos, ref, alt = variant
        if not (_BASES.match(ref) and _BASES.match(alt)):
            return variant
        ref, alt = ref.upper(), alt.upper()
        fasta = self._fasta
        if fasta is None:
            return parsimonious(pos, ref, alt)
        name = next((n for n in (source, contig, f"chr{contig}") if n in fasta), None)
        if name is None:
            what = f"the reference has no contig {source!r}"
            raise BadSource(what, f"{where(row)}, CHROM", f"is {fasta.uri} of this assembly?")
        stated = fasta.bases(name, pos, pos + len(ref) - 1)
        if not _agree(stated, ref):
            what = f"REF is {ref[:40]!r}, the reference has {stated[:40]!r}"
            raise BadSource(what, f"{where(row)}, REF", f"is {fasta.uri} of this assembly?")
        return left_aligned(pos, ref, alt, lambda start, stop: fasta.bases(name, start, stop))


def _agree(stated: str, ref: str) -> bool:
    """Whether REF is what the reference has; N, on either side, stands for any base."""
    return len(stated) == len(ref) and all(
        a == b or "N" in (a, b) or a not in "ACGT" for a, b in zip(stated, ref, strict=True)
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
