"""FORMAT fields of every row of some lines as Arrow arrays, straight from the text of the cells.

The values are those that `TypedField` would give, which still reads what needs more than numbers
and plain texts: percent-encoded text, lists of structs, unusual types.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq.formats import _arrow
from lakeq.formats import _vcf_cells as cells_of
from lakeq.formats import _vcf_typed_kernels as kinds
from lakeq.formats._vcf_fields import Alleles, strings
from lakeq.formats._vcf_numerals import POWERS
from lakeq.formats._vcf_spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from lakeq.formats._vcf_typed import TypedField

PERCENT = 37
WORDS, SLOTS = 1 << 10, 1 << 12  # different genotypes whose text is kept once; beyond: one a row
_POWERS = np.array([10.0**power for power in range(POWERS + 1)], np.float64)
_LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**62), 2**62), "double": (0, 0)}
_DTYPES: dict[str, npt.DTypeLike] = {"int32": "i4", "int64": "i8", "double": "f8"}
_ONE_OF_MANY = (kinds.ONE, kinds.ALTERNATES, kinds.OWN)  # modes of columns without lists

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass
class Cells:
    """The sample fields of some lines: `start[key, call]` is where each wanted one begins."""

    text: U8
    start: I32
    alts: I32
    samples: int

    @cached_property
    def elements(self) -> I32:
        """How many alternate alleles, or one for none, each line has."""
        return np.maximum(self.alts, 1)

    @cached_property
    def rows(self) -> int:
        """How many rows the lines make."""
        return int(self.elements.sum()) * self.samples

    @cached_property
    def call(self) -> I32:
        """The call of each row: line times samples plus sample."""
        first = np.repeat(np.arange(len(self.alts), dtype=np.int32), self.elements) * self.samples
        calls: I32 = np.repeat(first, self.samples)
        return calls + self.sample

    @cached_property
    def sample(self) -> I32:
        """The sample of each row, in header order."""
        return np.tile(np.arange(self.samples, dtype=np.int32), self.rows // max(self.samples, 1))

    @cached_property
    def alt_index(self) -> I32:
        """The alternate allele of each line and allele, from 1; 0 where a line has none."""
        first = np.cumsum(self.elements) - self.elements
        place = np.arange(int(self.elements.sum())) - np.repeat(first, self.elements) + 1
        return np.where(np.repeat(self.alts, self.elements) > 0, place, 0).astype(np.int32)

    def of_rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of each line and allele, for every row."""
        return np.repeat(values, self.samples)

    @cached_property
    def alleles(self) -> Alleles:
        """The alternate allele of each row."""
        return Alleles(self.of_rows(self.alt_index), self.of_rows(self._alts_of_elements))

    @cached_property
    def room(self) -> cells_of.Room:
        """Room for the elements of a line."""
        return cells_of.Room(
            np.empty(self.samples + 1, np.int32),
            np.empty(len(self.text), np.int32),
            np.empty(kinds.PLOIDIES + 1, np.int64),
        )

    @property
    def _alts_of_elements(self) -> I32:
        return np.repeat(self.alts, self.elements)

    def spans(self, key: int) -> Spans:
        """The text of a field in every call."""
        start = self.start[key]
        size = np.empty(len(start), np.int32)
        cells_of.sizes(self.text, start, size)
        return Spans(self.text, start.astype(np.int64), size)


Found = tuple["pa.Array", npt.NDArray[np.uint8] | None]


class _Made(NamedTuple):
    """What a kernel is to fill, beside the values: see `_vcf_cells.numbers`."""

    offsets: I32
    known: U8
    wrong: U8
    facts: I64

    @classmethod
    def of(cls, rows: int) -> _Made:
        offsets, known = np.empty(rows + 1, np.int32), np.empty(rows, np.uint8)
        return cls(offsets, known, np.zeros(rows, np.uint8), np.zeros(2, np.int64))

    @property
    def misfits(self) -> U8 | None:
        return self.wrong if self.facts[1] else None


def read(cells: Cells, key: int, field: TypedField) -> Found:
    """One field of every row, and 1 for each row whose value does not fit, None where all do."""
    import pyarrow as pa
    import pyarrow.types as pt

    if not np.any(cells.start[key] >= 0):
        return pa.nulls(cells.rows, field.type), None
    listed = pt.is_list(field.type)
    inner = field.type.value_type if listed else field.type
    plain = field.mode in _ONE_OF_MANY or listed
    if plain and str(inner) in _LIMITS:
        return _numbers(cells, key, field, inner)
    if plain and pt.is_string(inner) and not (field.escaped and np.any(cells.text == PERCENT)):
        return _texts(cells, key, field)
    values, wrong = field.read(cells.spans(key).take(cells.call), cells.alleles)
    return values, wrong.view(np.uint8) if wrong.any() else None


def _numbers(cells: Cells, key: int, field: TypedField, inner: pa.DataType) -> Found:
    single = inner == field.type
    made = _Made.of(cells.rows)
    room = cells.rows if single else 3 * cells.rows + 64
    while True:
        values = np.empty(room, _DTYPES[str(inner)])
        valid, slow = np.empty(room, np.uint8), np.empty(3 * room, np.int32)
        n = cells_of.numbers(
            cells.text,
            cells.start[key],
            cells.alts,
            cells.samples,
            field.mode,
            field.fixed,
            field.whole,
            single,
            values.dtype == np.float64,
            *_LIMITS[str(inner)],
            _POWERS,
            cells.room,
            made.offsets,
            made.known,
            values,
            valid,
            made.wrong,
            slow,
            made.facts,
        )
        if n != cells_of.NO_ROOM:
            break
        made.wrong[:] = 0
        room *= 2
    if made.facts[0]:
        _finish(cells, made, values, slow[: 3 * int(made.facts[0])], single=single)
    return _array(made, valid, n, single, lambda stop, known: _numbers_of(values, stop, known))


def _numbers_of(values: npt.NDArray[Any], stop: int, known: npt.NDArray[np.bool_]) -> pa.Array:
    return _arrow.numbers(values[:stop], known)


def _finish(
    cells: Cells, made: _Made, values: npt.NDArray[Any], slow: I32, *, single: bool
) -> None:
    """Read the numbers that need long arithmetic; what is beyond a float64 does not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place, start, size = slow.reshape(-1, 3).T
    text = strings(Spans(cells.text, start.astype(np.int64), np.ascontiguousarray(size)))
    read_ = np.asarray(pc.utf8_ltrim(text, "+").cast(pa.float64()))
    values[place] = read_
    beyond = place[~np.isfinite(read_)]
    if len(beyond):
        rows = beyond if single else np.searchsorted(made.offsets, beyond, "right") - 1
        made.wrong[rows], made.known[rows] = 1, 0
        made.facts[1] += len(beyond)


def _texts(cells: Cells, key: int, field: TypedField) -> Found:
    import pyarrow as pa
    import pyarrow.types as pt

    single = not pt.is_list(field.type)
    made = _Made.of(cells.rows)
    room, size = cells.rows if single else 2 * cells.rows + 64, 8 * cells.rows + 64
    while True:
        ends, valid = np.empty(room + 1, np.int32), np.empty(room, np.uint8)
        out = np.empty(size, np.uint8)
        n = cells_of.texts(
            cells.text,
            cells.start[key],
            cells.alts,
            cells.samples,
            field.mode,
            field.fixed,
            field.whole,
            single,
            cells.room,
            made.offsets,
            made.known,
            ends,
            valid,
            out,
            made.wrong,
            made.facts,
        )
        if n != cells_of.NO_ROOM:
            break
        made.wrong[:] = 0
        room, size = room if single else 2 * room, 2 * size

    def strings_of(stop: int, known: npt.NDArray[np.bool_]) -> pa.Array:
        return _arrow.strings(ends[: stop + 1], pa.py_buffer(out[: int(ends[stop])]), known)

    return _array(made, valid, n, single, strings_of)


def _array(
    made: _Made,
    valid: U8,
    count: int,
    single: bool,
    of: Callable[[int, npt.NDArray[np.bool_]], pa.Array],
) -> Found:
    known = made.known.view(bool)
    if single:
        return of(len(known), known), made.misfits
    return _arrow.lists(made.offsets, of(count, valid[:count].view(bool)), known), made.misfits


class Genotypes:
    """The calls of every row; `key` is the place of GT among the keys of `cells`.

    Raises `ValueError` with the number of the first call that is none.
    """

    def __init__(self, cells: Cells, key: int) -> None:
        rows = cells.rows
        self._cells, self._key = cells, key
        self._offsets, self._code = np.empty(rows + 1, np.int32), np.empty(rows, np.int32)
        self._phased, self._copies = np.empty(rows, np.uint8), np.empty(rows, np.int32)
        self._words = np.empty(WORDS, np.uint64)
        facts = np.zeros(1, np.int64)
        room = 2 * rows + 64
        while True:
            self._alleles, self._valid = np.empty(room, np.int32), np.empty(room, np.uint8)
            self._count = cells_of.genotypes(
                cells.text,
                cells.start[key],
                cells.alts,
                cells.samples,
                self._offsets,
                self._alleles,
                self._valid,
                self._phased,
                self._copies,
                self._code,
                np.full(SLOTS, -1, np.int32),
                self._words,
                facts,
            )
            if self._count != cells_of.NO_ROOM:
                break
            room *= 2
        if self._count < 0:
            raise ValueError(-2 - self._count)
        self._ploidy = np.diff(self._offsets)
        self._different = int(facts[0])

    def allele_numbers(self) -> pa.Array:
        """The alleles of each row's call, NULL for a missing one; NULL for no call."""
        known = self._valid[: self._count].view(bool)
        values = _arrow.numbers(self._alleles[: self._count], known)
        return _arrow.lists(self._offsets, values, self._ploidy > 0)

    def phased(self) -> pa.Array:
        """Whether each row's call is phased; NULL for one of a single allele."""
        return _arrow.numbers(self._phased.view(bool), self._ploidy > 1)

    def copies(self) -> pa.Array:
        """How many alleles of the call are the row's own; NULL without call or own allele."""
        own = self._cells.of_rows(self._cells.alt_index > 0)
        return _arrow.numbers(self._copies, (self._ploidy > 0) & own)

    def text(self) -> pa.Array:
        """The call as the file writes it."""
        if self._different < 0:
            return strings(self._cells.spans(self._key).take(self._cells.call))
        words = [
            int(word).to_bytes(8, "little")[: int(word) >> 56].decode()
            for word in self._words[: self._different]
        ]
        return _arrow.dictionary(self._code, _arrow.texts(words), self._code >= 0)
