"""INFO and FORMAT values, and other spans of text, as typed Arrow arrays.

Arrow itself parses the numbers, so they are exact. '.' and empty values are NULL, as are NaN and
infinities, which no lake column holds; a value that is not of the column's type is `BadSource`.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadSource
from lakeq.formats import _arrow
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_spans import Spans

if TYPE_CHECKING:
    import pyarrow as pa

I32 = npt.NDArray[np.int32]
Place = Callable[[int], str]  # row of a batch -> where it stands, for an error


@dataclass(frozen=True, slots=True)
class Alleles:
    """What splits a per-allele value: each row's alternate allele (0 for none), of how many."""

    alt_index: I32
    alts: I32


def strings(spans: Spans) -> pa.Array:
    """The spans as an Arrow string array; absent ones are NULL. The text must be UTF-8."""
    import pyarrow as pa

    size = np.maximum(spans.size, 0)
    offsets = np.zeros(len(size) + 1, np.int32)
    np.cumsum(size, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    spans_of.gather(spans.text, spans.start, spans.size, offsets, out)
    return _arrow.strings(offsets, pa.py_buffer(out), spans.size >= 0)


def first_not_utf8(spans: Spans) -> int | None:
    """The first span that is not UTF-8, or None."""
    if not spans.text.size or spans.text.max() < 128:
        return None
    for i in range(len(spans.start)):
        try:
            spans.bytes_of(i).decode("utf-8")
        except UnicodeDecodeError:
            return i
    return None


def as_utf8(spans: Spans) -> tuple[Spans, int]:
    """The spans, those that are not UTF-8 taken for Latin-1, and how many those are."""
    if first_not_utf8(spans) is None:
        return spans, 0
    start, size = spans.start.copy(), spans.size.copy()
    extra: list[bytes] = []
    at, foreign = len(spans.text), 0
    for i in range(len(start)):
        data = spans.bytes_of(i)
        if data.isascii():
            continue
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            read = data.decode("latin-1").encode("utf-8")
            extra.append(read)
            start[i], size[i] = at, len(read)
            at += len(read)
            foreign += 1
    text = np.concatenate([spans.text, np.frombuffer(b"".join(extra), np.uint8)])
    return Spans(text, start, size), foreign


def missing_blanked(spans: Spans) -> Spans:
    """The same spans, those that are empty or '.' absent."""
    size = spans.size.copy()
    spans_of.blank_missing(spans.text, spans.start, size)
    return Spans(spans.text, spans.start, size)


@dataclass(frozen=True, slots=True)
class FieldReader:
    """Reads one INFO or FORMAT field into a column of `type`; `number` is the header's Number.

    A list column takes the whole value. A scalar column takes the row's own value of a Number=A
    or R field; of a field without a fixed number it takes the one value, or, for numbers, the
    row's own of one per alternate allele (phase 3 of chrMT declares AC so).
    """

    name: str  # INFO/AF, for errors
    number: str
    type: pa.DataType
    notes: MutableMapping[str, int]

    def read(self, spans: Spans, alleles: Alleles, place: Place) -> pa.Array:
        """The column of the rows `spans`; raise `BadSource` for a wrong count or a bad value."""
        import pyarrow.types as pt

        if pt.is_list(self.type):
            return self._lists(spans, place)
        if self.number in ("A", "R") or (self.number == "." and not pt.is_string(self.type)):
            spans = self._own(spans, alleles, place)
        return self._values(missing_blanked(spans), self.type, place)

    def _own(self, spans: Spans, alleles: Alleles, place: Place) -> Spans:
        """The row's own element of each value."""
        if self.number == "." and not np.any(alleles.alts > 1):
            return spans
        first = 0 if self.number == "R" else 1
        index = np.where(alleles.alt_index > 0, alleles.alt_index - first, -1)
        expected = np.where(alleles.alts > 0, alleles.alts + (1 - first), 1)
        if self.number == ".":
            counts = np.empty(len(index), np.int32)
            spans_of.count_elements(*spans, counts)
            index, expected = np.where(counts == 1, 0, index), np.where(counts == 1, 1, expected)
        own = Spans(spans.text, np.empty_like(spans.start), np.empty_like(spans.size))
        bad = spans_of.pick(
            *spans, index.astype(np.int32), expected.astype(np.int32), own.start, own.size
        )
        if bad >= 0:
            count = 1 + spans.bytes_of(bad).count(b",")
            raise BadSource(
                f"{spans.shown(bad)} has {count} values where {expected[bad]} belong",
                f"{place(bad)}, {self.name}",
                f"the header says Number={self.number}; correct the line or the header",
            )
        return own

    def _lists(self, spans: Spans, place: Place) -> pa.Array:
        spans = missing_blanked(spans)
        counts = np.empty(len(spans.size), np.int32)
        spans_of.count_elements(*spans, counts)
        offsets = np.zeros(len(counts) + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        parts = int(offsets[-1])
        inner = Spans(spans.text, np.empty(parts, np.int64), np.empty(parts, np.int32))
        spans_of.elements(*spans, inner.start, inner.size)

        def owner(part: int) -> str:
            return place(int(np.searchsorted(offsets, part, "right")) - 1)

        values = self._values(missing_blanked(inner), self.type.value_type, owner)
        return _arrow.lists(offsets, values, spans.size >= 0).cast(self.type)

    def _values(self, spans: Spans, type_: pa.DataType, place: Place) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = strings(spans)
        try:
            values = text.cast(type_)
        except pa.ArrowInvalid as error:
            bad = _first_bad(text, type_)
            raise BadSource(
                f"{spans.shown(bad)} is no {type_}",
                f"{place(bad)}, {self.name}",
                "correct the line, or leave the field out of the catalog",
            ) from error
        if not pa.types.is_floating(type_):
            return values
        finite = pc.is_finite(values)
        strange = len(values) - values.null_count - (pc.sum(finite).as_py() or 0)
        if strange:
            note = f"{self.name} is NaN or infinite: NULL"
            self.notes[note] = self.notes.get(note, 0) + strange
            values = pc.if_else(finite, values, None)
        return values


def _first_bad(text: Any, type_: pa.DataType) -> int:
    """The first row of `text` that does not cast, by halving."""
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            text.slice(low, middle - low).cast(type_)
        except ValueError:  # what ArrowInvalid is
            high = middle
        else:
            low = middle
    return low
