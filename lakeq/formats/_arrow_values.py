"""Python values as Arrow arrays; `pyarrow.array` would import pandas, half a second of CPU."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values as an array, None as NULL.

    Of numbers, texts, bytes, days, times (UTC, microseconds), and structs and lists of them, whose
    values are mappings by name and sequences.
    """
    import pyarrow as pa

    valid, nulls = _validity(values)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        coded = [v.encode() if isinstance(v, str) else v or b"" for v in values]
        data = pa.py_buffer(b"".join(coded))
        return pa.Array.from_buffers(kind, len(coded), [valid, _ends(coded), data], nulls)
    if pa.types.is_struct(kind):
        parts = [
            array_of([None if v is None else v.get(part.name) for v in values], part.type)
            for part in kind
        ]
        return pa.Array.from_buffers(kind, len(values), [valid], nulls, children=parts)
    if pa.types.is_list(kind):
        inner = array_of([each for v in values for each in v or ()], kind.value_type)
        ends = _ends([v or () for v in values])
        return pa.Array.from_buffers(kind, len(values), [valid, ends], nulls, children=[inner])
    if pa.types.is_boolean(kind):
        bits = np.packbits(np.array([bool(v) for v in values], bool), bitorder="little")
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(bits)], nulls)
    width = kind.bit_width // 8
    dtype = f"f{width}" if pa.types.is_floating(kind) else f"i{width}"
    numbers = np.array([_number(v) for v in values], dtype)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers)], nulls)


def _validity(values: Sequence[Any]) -> tuple[Any, int]:
    import pyarrow as pa

    missing = np.array([value is None for value in values], bool)
    nulls = int(np.count_nonzero(missing))
    return (pa.py_buffer(np.packbits(~missing, bitorder="little")) if nulls else None), nulls


def _ends(parts: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.cumsum([0, *map(len, parts)], dtype=np.int32))


def _number(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - _EPOCH.date()).days
    return 0 if value is None else value
