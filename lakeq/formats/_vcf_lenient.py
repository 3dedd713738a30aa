"""Deviations that do not keep a VCF from being read: counted by kind, with the first line.

Only what costs nothing beside the reading is looked at; `_vcf_strict` looks at everything.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import numpy as np

from lakeq.formats._vcf_fields import strings
from lakeq.formats._vcf_strict_header import Definitions, check

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._vcf_header import Header
    from lakeq.formats._vcf_rows import BatchRows


class Deviations:
    """Counts the deviations of one file by kind; `report` writes them into the notes."""

    def __init__(self, header: Header, notes: MutableMapping[str, int]) -> None:
        self._header, self._notes = header, notes
        self._found: dict[str, tuple[int, int]] = {}  # kind -> count, first line
        self._contigs: set[str] = set()
        self._contig = ""
        self._pos = -1
        self._filters: frozenset[str] = frozenset()

    def note(self, kind: str, line: int, count: int = 1) -> None:
        """Count `count` deviations of `kind`, the first of them in `line`."""
        before, first = self._found.get(kind, (0, line))
        self._found[kind] = before + count, first

    def check_header(self, text: bytes) -> None:
        """Note what the strict check of the header finds."""
        lines = [line.removesuffix("\r") for line in text.decode("utf-8").split("\n")]
        definitions = Definitions()
        for found in check(lines, definitions):
            self.note(found.kind, found.line)
        self._filters = frozenset(definitions.filters | {"PASS", "."})

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
        self._check_filters(rows)
        ref = rows.field(3)
        lost = (ref.size == 0) | ((ref.size == 1) & (ref.text[ref.start] == ord(".")))
        if lost.any():
            first = int(rows.batch.lines.number[np.flatnonzero(lost)[0]])
            self.note("a line without a reference allele (ref is NULL)", first, int(lost.sum()))

    def _new_contig(self, name: str, line: int) -> None:
        if name in self._contigs:
            self.note("a contig in two places of the file", line)
        if self._header.contigs and name not in self._header.contigs:
            self.note("a contig that no header line defines", line)
        self._contigs.add(name)
        self._contig, self._pos = name, -1

    def _check_filters(self, rows: BatchRows) -> None:
        import pyarrow.compute as pc

        column: pa.Array = strings(rows.field(6)).dictionary_encode()
        for i, text in enumerate(column.dictionary.to_pylist()):
            if not self._filters.issuperset(text.split(";")):
                at = pc.index(column.indices, i).as_py()
                count = pc.sum(pc.equal(column.indices, i)).as_py()
                line = int(rows.batch.lines.number[at])
                self.note("a filter that no header line defines", line, count)

    def report(self, *, ended: bool, last_line: int) -> None:
        """Write what was counted into the notes of the ingest."""
        if not ended:
            self.note("no line end behind the last line", last_line)
        for kind, (count, first) in self._found.items():
            text = f"deviates from the specification: {kind}, first in line {first}"
            self._notes[text] = self._notes.get(text, 0) + count
