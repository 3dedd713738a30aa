"""What a virtual table is joined with, as conditions: one for each row of the other side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from lakeq.join_sides import MAX_ROWS, Bound, Side
from lakeq.selection import ANYTHING, Domain, Domains, Spans

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US = 86_400_000_000


def rows_of(side: Side, found: pa.Table, texts: Collection[str]) -> Spans:
    """The rows of a side's answer, columns in the order of its bounds; of very many their hull.

    A row with a NULL among its bounds meets nothing. Of `texts`, the columns that hold text, only
    what all rows have between them is kept. A bound of another type, which DuckDB makes into the
    column's, bounds nothing.
    """
    import numpy as np

    numbers = [_numbers(column) for column in found.columns]
    valid = np.ones(found.num_rows, bool)
    for each in numbers:
        valid &= each[1] if each is not None else True
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for bound, each in zip(side.bounds, numbers, strict=True):
        if each is None:
            continue
        for kind, kept, tighter in (("high", low, np.maximum), ("low", high, np.minimum)):
            if bound.kind != kind:
                before = kept.get(bound.column)
                kept[bound.column] = each[0] if before is None else tighter(before, each[0])
    for name in {*low, *high}:
        for kept, open_ in ((low, -np.inf), (high, np.inf)):
            values = kept.get(name, np.full(len(valid), open_))
            kept[name] = np.where(np.isnan(values), np.inf, values)  # NaN is DuckDB's greatest
        valid &= low[name] <= high[name]
    low = {name: values[valid] for name, values in low.items()}
    high = {name: values[valid] for name, values in high.items()}
    count = int(valid.sum())
    if count > MAX_ROWS and low:
        low = {name: values.min(keepdims=True) for name, values in low.items()}
        high = {name: values.max(keepdims=True) for name, values in high.items()}
        count = 1
    return Spans(low, high, count, _texts(side.bounds, found, texts))


def _texts(bounds: Sequence[Bound], found: pa.Table, texts: Collection[str]) -> Domains:
    import pyarrow as pa

    kept: dict[str, Domain] = {}
    for bound, column in zip(bounds, found.columns, strict=True):
        kind = column.type
        if bound.column in texts and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            values = column.drop_null().unique().to_pylist()
            if values:
                kept[bound.column] = kept.get(bound.column, ANYTHING).both(_domain(bound, values))
    return kept


def _numbers(column: pa.ChunkedArray) -> tuple[Any, Any] | None:
    """Values as numbers and whether they are there; None of a column that has no numbers.

    Times are microseconds, and so are dates: what they bound is a time. Taken from Arrow's buffers:
    its own way to numpy would import pandas.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    whole = column.combine_chunks()
    if pa.types.is_timestamp(kind):
        whole = whole.cast(pa.timestamp("us", kind.tz), safe=False).view(pa.int64())
    elif pa.types.is_date(kind):
        whole = whole.cast(pa.date32()).view(pa.int32())
    elif pa.types.is_decimal(kind):
        whole = whole.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    values = np.frombuffer(whole.buffers()[1] or b"", _dtype(whole.type))
    values = values[whole.offset :][: len(whole)].astype(np.float64)
    if pa.types.is_date(kind):
        values *= DAY_US
    there = np.ones(len(whole), bool)
    if whole.null_count:
        bits = np.frombuffer(whole.is_valid().buffers()[1], np.uint8)
        there = np.unpackbits(bits, bitorder="little")[: len(whole)].astype(bool)
    return values, there


def _dtype(kind: pa.DataType) -> str:
    import pyarrow as pa

    letter = "f" if pa.types.is_floating(kind) else "i" if pa.types.is_signed_integer(kind) else "u"
    return f"{letter}{kind.bit_width // 8}"


def _domain(bound: Bound, values: Sequence[Any]) -> Domain:
    """What a text has to be to meet one of `values`."""
    if bound.kind == "value":
        return Domain(values=frozenset(values))
    return Domain(low=min(values)) if bound.kind == "low" else Domain(high=max(values))
