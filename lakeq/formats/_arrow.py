"""Arrow arrays over numpy memory, without a copy and without pandas.

`pyarrow.array` imports pandas to look at its argument, which costs more than reading a small
file; these constructors do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Known = npt.NDArray[np.bool_] | None


def validity(known: Known) -> tuple[pa.Buffer | None, int]:
    """The validity bitmap of `known` (None: all are known), and the number of nulls."""
    import pyarrow as pa

    nulls = 0 if known is None else int(known.size - np.count_nonzero(known))
    if known is None or not nulls:
        return None, 0
    return pa.py_buffer(np.packbits(known, bitorder="little")), nulls


def numbers(values: npt.NDArray[Any], known: Known = None) -> pa.Array:
    """Integers, floats or booleans as an array of their own type; NULL where not `known`."""
    import pyarrow as pa

    bitmap, nulls = validity(known)
    if values.dtype == np.bool_:
        data = pa.py_buffer(np.packbits(values, bitorder="little"))
    else:
        data = pa.py_buffer(np.ascontiguousarray(values))
    type_ = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(type_, len(values), [bitmap, data], nulls)


def texts(values: Sequence[str | None]) -> pa.Array:
    """Strings, None as NULL."""
    import pyarrow as pa

    encoded = [(value or "").encode() for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    known = np.array([value is not None for value in values], bool)
    return strings(offsets, pa.py_buffer(b"".join(encoded)), known)


def values(items: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Strings, numbers, booleans, instants (aware) or lists of them as `type_`; None as NULL."""
    import pyarrow as pa

    if pa.types.is_string(type_):
        return texts(items)
    known = np.array([item is not None for item in items], bool)
    if pa.types.is_list(type_):
        inner = values([part for item in items for part in item or ()], type_.value_type)
        offsets = np.zeros(len(items) + 1, np.int32)
        np.cumsum([len(item or ()) for item in items], out=offsets[1:])
        return as_type(lists(offsets, inner, known), type_)
    if pa.types.is_timestamp(type_):
        instants = [(item - _EPOCH) // _MICROSECOND if item is not None else 0 for item in items]
        return numbers(np.array(instants, np.int64), known).view(type_)
    kind: type = np.bool_ if pa.types.is_boolean(type_) else np.int64
    kind = np.float64 if pa.types.is_floating(type_) else kind
    return as_type(numbers(np.array([item or 0 for item in items], kind), known), type_)


def strings(offsets: npt.NDArray[np.int32], data: pa.Buffer, known: Known = None) -> pa.Array:
    """A string array from its offsets and its UTF-8 bytes."""
    import pyarrow as pa

    bitmap, nulls = validity(known)
    buffers = [bitmap, pa.py_buffer(offsets), data]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers, nulls)


def lists(offsets: npt.NDArray[np.int32], values: pa.Array, known: Known = None) -> pa.Array:
    """A list array from its offsets and the array of all elements."""
    import pyarrow as pa

    bitmap, nulls = validity(known)
    buffers = [bitmap, pa.py_buffer(offsets)]
    type_ = pa.list_(values.type)
    return pa.Array.from_buffers(type_, len(offsets) - 1, buffers, nulls, children=[values])


def dictionary(
    indices: npt.NDArray[np.int32], words: pa.Array, known: Known = None
) -> pa.DictionaryArray:
    """The words that `indices` point at; NULL where not `known`."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(numbers(indices, known), words, safe=False)


def constant(value: str, size: int) -> pa.DictionaryArray:
    """`size` times the same string."""
    return dictionary(np.zeros(size, np.int32), texts([value]))


def as_type(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """`array` as `type_`; itself when it is so already."""
    return array if array.type == type_ else array.cast(type_)
