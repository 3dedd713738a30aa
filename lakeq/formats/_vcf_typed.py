"""Values of INFO and FORMAT fields by their header definitions, split with the allele.

For tables whose columns are those of the header (the table option `fields: header`). A value that
does not fit its definition, in count or in type, is NULL here and marked, so that the table can
keep it verbatim in its column of the rest; nothing is guessed and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats import _arrow
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats import _vcf_typed_kernels as kernels
from lakeq.formats._vcf_fields import Alleles, missing_blanked, strings
from lakeq.formats._vcf_spans import Spans

if TYPE_CHECKING:
    import pyarrow as pa

Bad = npt.NDArray[np.bool_]

# VCF 4.3, section 1.2: what stands for characters that have a meaning of their own. %25 is last.
ESCAPES = (
    ("%3A", ":"), ("%3B", ";"), ("%3D", "="), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"),
    ("%09", "\t"), ("%25", "%"),
)  # fmt: skip
_INTEGER_CHARACTERS = 18  # that fit 64 bits whatever they are
_NUMBERS = {
    "integer": r"^[+-]?[0-9]+(?:\.0*)?$",  # 60.0 is what some callers write for 60
    "floating": r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$",
}


@dataclass(frozen=True, slots=True)
class TypedField:
    """Reads one field into a column of `type`.

    `number` is the header's Number, `escaped` whether the file's version percent-encodes, `whole`
    whether a list takes all values of lines with several alternate alleles, instead of the row's
    own. `parts` are the names of the sub-fields of a list of structs in the file's order.
    """

    number: str
    type: pa.DataType
    escaped: bool
    whole: bool = False
    parts: Sequence[str] = ()

    @property
    def mode(self) -> int:
        """Which of its elements a row takes, of `_vcf_typed_kernels`."""
        import pyarrow.types as pt

        other = kernels.FIXED if self.number.isdigit() else kernels.ANY
        mode = kernels.MODES.get("." if self.whole else self.number, other)
        return kernels.OWN if mode == kernels.ANY and not pt.is_list(self.type) else mode

    @property
    def fixed(self) -> int:
        """How many elements Number says; 0 where it says no number."""
        return int(self.number) if self.number.isdigit() else 0

    def read(self, spans: Spans, alleles: Alleles) -> tuple[pa.Array, Bad]:
        """The column of the rows `spans`, and which rows hold a value that does not fit."""
        import pyarrow.types as pt

        empty = spans.size == 0  # a key without a value
        spans = missing_blanked(spans)
        if self.whole:
            spans = Spans(spans.text, spans.start, np.where(alleles.alts > 1, spans.size, -1))
        if pt.is_list(self.type) and pt.is_struct(self.type.value_type):
            return self._structs(spans)
        offsets, elements, bad = _chosen(spans, alleles, self.mode, self.fixed)
        bad |= empty
        values, wrong = self._values(elements, _value_type(self.type))
        if wrong is not None:
            owner = np.searchsorted(offsets, np.flatnonzero(wrong), "right") - 1
            bad[owner] = True
        known = (spans.size >= 0) & ~bad
        if pt.is_list(self.type):
            return _arrow.lists(offsets, values, known).cast(self.type), bad
        return _scalars(values, offsets, known), bad

    def _values(self, spans: Spans, type_: pa.DataType) -> tuple[pa.Array, Bad | None]:
        import pyarrow.types as pt

        spans = missing_blanked(spans)
        text = strings(spans)
        if pt.is_string(type_):
            return (_decoded(text) if self.escaped else text), None
        return numbers(text, type_)

    def _structs(self, spans: Spans) -> tuple[pa.Array, Bad]:
        import pyarrow as pa

        struct = self.type.value_type
        counts = np.empty(len(spans.size), np.int32)
        spans_of.count_elements(*spans, counts)
        offsets = np.zeros(len(counts) + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        total = int(offsets[-1])
        items = Spans(spans.text, np.empty(total, np.int64), np.empty(total, np.int32))
        spans_of.elements(*spans, items.start, items.size)
        bars = np.zeros(total, np.int32)
        kernels.count_bars(*items, bars)
        bad = np.zeros(len(counts), bool)
        bad[
            np.searchsorted(offsets, np.flatnonzero(bars >= max(len(self.parts), 1)), "right") - 1
        ] = True
        children = []
        for field in struct:
            place = self.parts.index(field.name) if field.name in self.parts else -1
            part = Spans(items.text, np.empty(total, np.int64), np.empty(total, np.int32))
            kernels.between_bars(*items, place, part.start, part.size)
            text = strings(missing_blanked(part))
            children.append(_decoded(text) if self.escaped else text)
        values = pa.StructArray.from_arrays(children, fields=list(struct))
        return _arrow.lists(offsets, values, (spans.size >= 0) & ~bad).cast(self.type), bad


def read_flag(spans: Spans, *, known: bool) -> tuple[pa.Array, Bad]:
    """Whether a flag is there; NULL where it is not and the header does not define it.

    `DB=1` is there; any other value does not fit.
    """
    present = spans.size >= 0
    bad = spans.size > 0
    for row in np.flatnonzero(bad):
        bad[row] = spans.bytes_of(int(row)) != b"1"
    return _arrow.numbers(present, ~bad if known else present & ~bad), bad


def numbers(text: pa.Array, type_: pa.DataType) -> tuple[pa.Array, Bad | None]:
    """`text` as numbers, and which elements are none (None: all are); those are NULL.

    NaN and infinities are no numbers that a lake keeps, an integer beyond its type none either.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    floating = pt.is_floating(type_)
    values = None if not floating and _has_hexadecimal(text) else _cast(text, type_)
    if values is None:
        pattern = _NUMBERS["floating" if floating else "integer"]
        plain = pc.utf8_ltrim(text, "+")
        plain = pc.if_else(pc.match_substring_regex(text, pattern), plain, None)
        if not floating:
            plain = pc.replace_substring_regex(plain, r"\.0*$", "")
            plain = pc.replace_substring_regex(plain, r"^(-?)0+([0-9])", r"\1\2")
            short = pc.less_equal(pc.utf8_length(plain), _INTEGER_CHARACTERS)
            wide = pc.if_else(short, plain, None).cast(pa.int64())
            low, high = (-(2**31), 2**31 - 1) if type_ == pa.int32() else (-(2**62), 2**62)
            inside = pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high))
            values = pc.if_else(inside, wide, None).cast(type_)
        else:
            values = plain.cast(type_)
    if floating:
        values = pc.if_else(pc.is_finite(values), values, None)
    if values.null_count == text.null_count:
        return values, None
    wrong = pc.and_(pc.is_null(values), pc.is_valid(text))
    return values, np.asarray(wrong.to_numpy(zero_copy_only=False), bool)


def _cast(text: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """`text` as Arrow reads it; None where a value is none."""
    import pyarrow as pa

    try:
        return text.cast(type_)
    except pa.ArrowInvalid:
        return None


def _has_hexadecimal(text: pa.Array) -> bool:
    """Whether a text has an x: Arrow takes 0x1A for 26, VCF for no integer."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(text, "[xX]")).as_py())


def _decoded(text: pa.Array) -> pa.Array:
    """Percent-encoded characters as themselves."""
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring(text, "%")).as_py():
        return text
    for code, character in ESCAPES:
        text = pc.replace_substring_regex(text, f"(?i){code}", character)
    return text


def _value_type(type_: pa.DataType) -> pa.DataType:
    import pyarrow.types as pt

    return type_.value_type if pt.is_list(type_) else type_


def _chosen(
    spans: Spans, alleles: Alleles, mode: int, fixed: int
) -> tuple[npt.NDArray[np.int32], Spans, Bad]:
    """The elements of each value that belong to its row."""
    counts = np.empty(len(spans.size), np.int32)
    spans_of.count_elements(*spans, counts)
    sizes = np.empty(len(counts), np.int32)
    bad = np.zeros(len(counts), bool)
    kernels.choose_sizes(counts, alleles.alt_index, alleles.alts, mode, fixed, sizes, bad)
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    total = int(offsets[-1])
    index = np.empty(total, np.int32)
    kernels.choose(counts, alleles.alt_index, alleles.alts, mode, offsets, index)
    chosen = Spans(spans.text, np.empty(total, np.int64), np.empty(total, np.int32))
    kernels.take_elements(*spans, offsets, index, chosen.start, chosen.size)
    return offsets, chosen, bad


def _scalars(values: pa.Array, offsets: npt.NDArray[np.int32], known: Bad) -> pa.Array:
    """The one value of each row that has one."""
    there = known & (np.diff(offsets) > 0)
    index: npt.NDArray[Any] = np.where(there, offsets[:-1], 0).astype(np.int32)
    if not len(values):
        import pyarrow as pa

        return pa.nulls(len(known), values.type)
    return values.take(_arrow.numbers(index, there))
