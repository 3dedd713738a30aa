"""Deviations that do not keep a VCF from being read: counted by kind, with the first line.

Everything that `_vcf_strict` finds in the header and in CHROM to INFO is counted, line by line
where a line's shape is new (`_vcf_shapes`). Fields of samples are judged where `entries` are made.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import numpy as np

from lakeq.formats._vcf_shapes import SHAPES_KNOWN, shapes
from lakeq.formats._vcf_strict_header import Definitions, check
from lakeq.formats._vcf_strict_lines import Checker

if TYPE_CHECKING:
    import numpy.typing as npt

    from lakeq.formats._vcf_header import Header
    from lakeq.formats._vcf_rows import BatchRows


DEVIATES = "deviates from the specification: "


class Kinds:
    """Counts what is found by kind, with the first line of each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}  # kind -> count, first line

    def note(self, kind: str, line: int, count: int = 1) -> None:
        """Count `count` of `kind`, the first of them in `line`."""
        before, first = self._found.get(kind, (0, line))
        self._found[kind] = before + count, min(first, line)

    def add(self, other: Kinds) -> None:
        """Count what another one counted."""
        for kind, (count, first) in other._found.items():
            self.note(kind, first, count)

    def write(self, notes: MutableMapping[str, int], prefix: str = "") -> None:
        """Write what was counted into the notes of an ingest."""
        for kind, (count, first) in self._found.items():
            text = f"{prefix}{kind}, first in line {first}"
            notes[text] = notes.get(text, 0) + count


class Deviations(Kinds):
    """Counts the deviations of one file by kind; `report` writes them into the notes."""

    def __init__(self, header: Header, notes: MutableMapping[str, int]) -> None:
        super().__init__()
        self._header, self._notes = header, notes
        self._contigs: set[str] = set()
        self._contig = ""
        self._pos = -1
        self._checker: Checker | None = None
        self._sound: set[int] = set()  # shapes that keep to the specification

    def check_header(self, text: bytes) -> None:
        """Note what the strict check of the header finds."""
        lines = [line.removesuffix("\r") for line in text.decode("utf-8").split("\n")]
        definitions = Definitions()
        for found in check(lines, definitions):
            self.note(found.kind, found.line)
        self._checker = Checker(definitions)

    def check(self, rows: BatchRows) -> None:
        """Note contigs and filters that the header lacks, and records out of order."""
        for segment in rows.segments:
            lines = slice(segment.first_line, segment.stop_line)
            numbers = rows.batch.lines.number[lines]
            pos = rows.batch.lines.pos[lines]
            if segment.source != self._contig:
                self._new_contig(segment.source, int(numbers[0]))
            down = np.flatnonzero(np.diff(pos, prepend=self._pos) < 0)
            if len(down):
                self.note("positions that go down", int(numbers[down[0]]), len(down))
            self._pos = int(pos[-1])
        self._check_sites(rows)
        ref = rows.field(3)
        lost = (ref.size == 0) | ((ref.size == 1) & (ref.text[ref.start] == ord(".")))
        if lost.any():
            first = int(rows.batch.lines.number[np.flatnonzero(lost)[0]])
            self.note("a line without a reference allele (ref is NULL)", first, int(lost.sum()))

    def _check_sites(self, rows: BatchRows) -> None:
        """Hold CHROM to INFO of the lines against the rules, one line of each shape."""
        checker = self._checker
        if checker is None:
            return
        lines, n = rows.batch.lines, rows.batch.rows
        hashes = np.empty(n, np.uint64)
        shapes(lines.text, lines.start, int(checker.version >= "4.4"), hashes)
        doubtful = ~np.isin(hashes, np.fromiter(self._sound, np.uint64, len(self._sound)))
        for at in np.flatnonzero(doubtful):
            shape = int(hashes[at])
            if shape in self._sound:
                continue
            found = list(checker.site(_columns(rows, int(at)), int(lines.number[at])))
            for deviation in found:
                self.note(deviation.kind, deviation.line)
            if not found and len(self._sound) < SHAPES_KNOWN:
                self._sound.add(shape)
        for at in np.flatnonzero(_may_repeat(rows)):
            for deviation in checker.repeats(_columns(rows, int(at)), int(lines.number[at])):
                self.note(deviation.kind, deviation.line)

    def _new_contig(self, name: str, line: int) -> None:
        if name in self._contigs:
            self.note("a contig in two places of the file", line)
        if self._header.contigs and name not in self._header.contigs:
            self.note("a contig that no header line defines", line)
        self._contigs.add(name)
        self._contig, self._pos = name, -1

    def report(self, *, ended: bool, last_line: int) -> None:
        """Write what was counted into the notes of the ingest."""
        if not ended:
            self.note("no line end behind the last line", last_line)
        self.write(self._notes, DEVIATES)


def _columns(rows: BatchRows, line: int) -> list[str]:
    """CHROM to INFO of one line."""
    start = rows.batch.lines.start[line]
    raw = bytes(rows.batch.lines.text[int(start[0]) : int(start[8]) - 1])
    return raw.decode("utf-8", "replace").split("\t")


def _may_repeat(rows: BatchRows) -> npt.NDArray[np.bool_]:
    """The lines that can be of a variant that another line of the batch is of too.

    Those at one position, and those that are written with more bases than they need, with all
    lines within these.
    """
    n = rows.batch.rows
    pos, ref = rows.batch.lines.pos[:n], rows.field(3).size
    same = np.zeros(n, bool)
    same[1:] = pos[1:] == pos[:-1]
    same[:-1] |= same[1:]
    long = (ref > 1) & (rows.field(4).size > 1)
    reach = np.maximum.accumulate(np.where(long, pos + ref, 0))
    within = np.zeros(n, bool)
    within[1:] = reach[:-1] > pos[1:]
    return same | long | within
