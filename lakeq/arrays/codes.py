"""The codes of one moment of one sweep: from lists per ray to an array of rays by gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

from lakeq.errors import BadLake

if TYPE_CHECKING:
    import pyarrow as pa

    Codes = npt.NDArray[np.unsignedinteger]  # 8 or 16 bits

CODING = ("scale", "offset", "range_m", "spacing_m", "bits")


@dataclass(frozen=True, slots=True)
class Part:
    """Some rays of one moment in the order of their rows; a ray that lacks it has no gates."""

    codes: Codes  # rays by gates, 0 beyond a ray's last gate
    coding: npt.NDArray[np.float64]  # rays by CODING, NaN where the ray lacks the moment


@dataclass(frozen=True, slots=True)
class Gates:
    """One moment of one sweep: codes of rays by gates, what scales them, where the gates lie."""

    codes: Codes
    scale_factor: float
    add_offset: float
    range_m: float  # of the centre of the first gate
    spacing_m: float


def part(rows: pa.RecordBatch, moment: str) -> Part:
    """The codes of `moment` in some rows that have its list and its coding."""
    lists = rows.column(moment)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    width = int(lengths.max(initial=0))
    codes: Codes = np.zeros(
        (len(lengths), width), np.uint16 if flat.max(initial=0) > 255 else np.uint8
    )
    if flat.size == codes.size:  # as it nearly always is
        codes[...] = flat.reshape(codes.shape)
    else:
        codes[np.arange(width) < lengths[:, None]] = flat
    coding = [
        rows.column(f"{moment}_{name}").cast("float64").to_numpy(zero_copy_only=False)
        for name in CODING
    ]
    return Part(codes, np.column_stack(coding))


def gates(parts: Sequence[Part], order: npt.NDArray[np.intp], where: str) -> Gates | None:
    """The parts of a sweep as one array, its rays in the given order; None where no ray has it.

    Raises `BadLake` where rays of the sweep differ in how they code or place their gates: then
    one array cannot hold them, the table of rays can.
    """
    coding = np.concatenate([piece.coding for piece in parts])
    found = np.unique(coding[~np.isnan(coding[:, 0])], axis=0)
    if not len(found):
        return None
    if len(found) > 1:
        hint = "read the codes from the table of rays, with lake.sql"
        raise BadLake("rays of one sweep code or place their gates differently", where, hint)
    scale, offset, range_m, spacing_m, bits = map(float, found[0])
    width = max(piece.codes.shape[1] for piece in parts)
    codes = np.zeros((len(coding), width), np.uint16 if bits > 8 else np.uint8)
    start = 0
    for piece in parts:
        rays, filled = piece.codes.shape
        codes[start : start + rays, :filled] = piece.codes
        start += rays
    return Gates(codes[order], 1 / scale, -offset / scale, range_m, spacing_m)


class Scaled(BackendArray):
    """Values computed from codes when they are asked for: float64, codes themselves are kept.

    `first` is the lowest code that is a value: what is below it becomes NaN; 0 keeps all.
    """

    def __init__(self, gates: Gates, width: int, first: int) -> None:
        self.gates = gates
        self.first = first
        self.shape = (gates.codes.shape[0], width)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._values
        )

    def _values(self, key: tuple[Any, ...]) -> npt.NDArray[np.float64]:
        codes = widened(self.gates.codes, self.shape[1])[key]
        values = np.asarray(codes, np.float64) * self.gates.scale_factor + self.gates.add_offset
        return np.where(codes < self.first, np.nan, values) if self.first else values


def widened(codes: Codes, width: int) -> Codes:
    """`codes` with gates of code 0 behind the last up to `width`."""
    missing = width - codes.shape[1]
    return np.pad(codes, ((0, 0), (0, missing))) if missing else codes
