"""Record batches of the radar tables: the columns that all share, and how batches are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq import types
from lakeq.formats import TableBatch
from lakeq.formats._arrow import as_type, constant, numbers, values

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats._nexrad_geometry import Place

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONSTANT_ROWS = 1 << 10
Columns = Mapping[str, "pa.Array"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What names a volume, and where its radar stands (None: nobody knows)."""

    site: str
    time: datetime
    place: Place | None

    @property
    def date(self) -> date:
        """UTC day of the start."""
        return self.time.date()

    @property
    def time_us(self) -> int:
        """The start in microseconds since 1970."""
        return (self.time - EPOCH) // timedelta(microseconds=1)


@dataclass
class Batches:
    """Makes the batches of one table for one volume: site, date and volume_time added."""

    table: Table
    identity: Identity
    schema: pa.Schema = field(init=False)
    _kept: dict[Any, pa.Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.schema = types.arrow_schema(self.table)

    def batch(self, columns: Columns, rows: int) -> TableBatch:
        """A batch of `columns`; those of the table that are not among them are NULL.

        Its types may be narrower than the table's (`types.stands_for`).
        """
        import pyarrow as pa

        whole = {**columns, **self._shared(rows)}
        arrays = [
            _shaped(whole[f.name], f.type) if f.name in whole else self.nulls(rows, f.type)
            for f in self.schema
        ]
        names = self.schema.names
        record_batch = pa.RecordBatch.from_arrays(arrays, names=names)
        return TableBatch(self.table.name, self._partition(), record_batch)

    def listed(self, rows: Sequence[Mapping[str, Any]]) -> TableBatch:
        """A batch of these rows by column; what they lack is NULL."""
        shared = self._shared(len(rows))
        columns = {
            field.name: values([row.get(field.name) for row in rows], field.type)
            for field in self.schema
            if field.name not in shared
        }
        return self.batch(columns, len(rows))

    def _shared(self, rows: int) -> dict[str, pa.Array]:
        import pyarrow as pa

        identity = self.identity
        day = (identity.date - EPOCH.date()).days
        made: dict[str, Callable[[int], pa.Array]] = {
            "site": lambda size: constant(identity.site, size),
            "date": lambda size: primitive(np.full(size, day, np.int32), pa.date32()),
            "volume_time": lambda size: timestamps(np.full(size, identity.time_us, np.int64)),
        }
        return {name: self._shorter(name, make, rows) for name, make in made.items()}

    def nulls(self, rows: int, type_: pa.DataType) -> pa.Array:
        """So many NULLs."""
        import pyarrow as pa

        return self._shorter(str(type_), lambda size: pa.nulls(size, type_), rows)

    def _shorter(self, name: str, make: Callable[[int], pa.Array], rows: int) -> pa.Array:
        """A slice of a constant array that batches share, so that it takes memory once."""
        if name not in self._kept or len(self._kept[name]) < rows:
            self._kept[name] = make(max(rows, _CONSTANT_ROWS))
        return self._kept[name].slice(0, rows)

    def _partition(self) -> tuple[str, ...]:
        named = {"site": self.identity.site, "date": self.identity.date.isoformat()}
        return tuple(named.get(column, "") for column in self.table.partition_by)


def _shaped(array: pa.Array, type_: pa.DataType) -> pa.Array:
    return array if types.stands_for(array.type, type_) else as_type(array, type_)


def primitive(values: npt.NDArray[Any], type_: pa.DataType) -> pa.Array:
    """An array of a type that is stored as these numbers."""
    import pyarrow as pa

    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(type_, len(values), [None, data], 0)


def room(size: int, dtype: Any) -> npt.NDArray[Any]:
    """An array to be filled, in Arrow's memory: once freed, what writes Parquet takes it again."""
    import pyarrow as pa

    dtype = np.dtype(dtype)
    return np.frombuffer(pa.allocate_buffer(size * dtype.itemsize), dtype)


def taken(values: npt.NDArray[Any], at: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`values[at]`, in Arrow's memory."""
    return np.take(values, at, out=room(len(at), values.dtype), mode="clip")


def timestamps(microseconds: npt.NDArray[np.int64]) -> pa.Array:
    """Microseconds since 1970, UTC."""
    import pyarrow as pa

    return primitive(microseconds, pa.timestamp("us", tz="UTC"))


def decimals(units: npt.NDArray[Any], precision: int, scale: int) -> pa.Array:
    """Exact decimals of at most 9 digits from whole numbers of their last digit."""
    import pyarrow as pa

    return primitive(units.astype(np.int32, copy=False), pa.decimal32(precision, scale))


def known_numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Floats, NULL where they are NaN or infinite."""
    return numbers(values, np.isfinite(values))
