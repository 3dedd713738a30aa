"""What a manifest says of a data file: counts and bounds of its columns, from the file's footer.

PyIceberg has a function for this, but its module imports pyarrow's datasets and with them pandas:
a quarter of a second of CPU in every ingest. Source: Iceberg specification v2, sections "Manifests"
and "Column metrics", appendix D for the form of single values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyiceberg.conversions import to_bytes
from pyiceberg.types import (
    BinaryType,
    DateType,
    DecimalType,
    ListType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
)
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros
from pyiceberg.utils.truncate import truncate_upper_bound_text_string

from lakeq.errors import BadLake

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.typedef import Record
    from pyiceberg.types import IcebergType, PrimitiveType

COLUMN_MODE = "write.metadata.metrics.column."
DEFAULT_MODE = "write.metadata.metrics.default"
TRUNCATED_CHARACTERS = 16  # of a text bound, where no mode is set


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A primitive column of the table: its id, type, and what is kept of its bounds.

    `length` is how much of a text bound is kept, None for all of it.
    """

    id: int
    type: PrimitiveType
    counts: bool
    bounds: bool
    length: int | None


@dataclass(slots=True)
class Metrics:
    """Counts and bounds of one file, by field id."""

    rows: int
    sizes: dict[int, int] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)
    nulls: dict[int, int] = field(default_factory=dict)
    least: dict[int, Any] = field(default_factory=dict)
    most: dict[int, Any] = field(default_factory=dict)
    splits: list[int] = field(default_factory=list)

    def partition(self, spec: PartitionSpec, schema: Schema) -> Record:
        """The file's partition: of every partition column the one value that its rows have."""
        from pyiceberg.typedef import Record

        return Record(*(self._value(part, schema) for part in spec.fields))

    def _value(self, part: Any, schema: Schema) -> Any:
        least, most = (_stored(bounds.get(part.source_id)) for bounds in (self.least, self.most))
        type_ = schema.find_field(part.source_id).field_type
        transform = part.transform.transform(type_)
        if transform(least) != transform(most):
            what = f"a file's rows have more than one {part.name}: {least} to {most}"
            raise BadLake(what, hint="this is a bug in lakeq")
        return transform(least)


def _stored(value: Any) -> Any:
    """A day or an instant as the number that stands for it in Iceberg."""
    if isinstance(value, datetime):
        return datetime_to_micros(value)
    return date_to_days(value) if isinstance(value, date) else value


def leaves(schema: Schema, properties: dict[str, str]) -> dict[str, _Leaf]:
    """The primitive columns of a table by their path in Parquet."""
    return {
        path: _leaf(id_, type_, schema.find_column_name(id_) or path, properties)
        for path, id_, type_ in _paths("", 0, schema.as_struct())
    }


def _paths(path: str, id_: int, type_: IcebergType) -> Iterator[tuple[str, int, PrimitiveType]]:
    prefix = path + "." if path else ""
    if isinstance(type_, StructType):
        for part in type_.fields:
            yield from _paths(prefix + part.name, part.field_id, part.field_type)
    elif isinstance(type_, ListType):
        yield from _paths(prefix + "list.element", type_.element_id, type_.element_type)
    elif isinstance(type_, MapType):
        yield from _paths(prefix + "key_value.key", type_.key_id, type_.key_type)
        yield from _paths(prefix + "key_value.value", type_.value_id, type_.value_type)
    else:
        yield path, id_, type_  # type: ignore[misc]  # what is none of those is primitive


def _leaf(id_: int, type_: PrimitiveType, name: str, properties: dict[str, str]) -> _Leaf:
    mode = properties.get(COLUMN_MODE + name) or properties.get(DEFAULT_MODE)
    mode = (mode or f"truncate({TRUNCATED_CHARACTERS})").strip().lower()
    length = None
    if mode.startswith("truncate(") and isinstance(type_, StringType | BinaryType):
        length = int(mode[9:-1])
    bounds = "." not in name and (mode == "full" or mode.startswith("truncate("))
    return _Leaf(id_, type_, mode != "none", bounds, length)


def of_footer(metadata: pq.FileMetaData, columns: dict[str, _Leaf]) -> Metrics:
    """The metrics of the file that `metadata` is the footer of."""
    found = Metrics(metadata.num_rows)
    unknown: set[int] = set()
    own = [columns[metadata.schema.column(n).path] for n in range(metadata.num_columns)]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place, leaf in enumerate(own):
            chunk = group.column(place)
            if not place:
                found.splits.append(_start(chunk))
            found.sizes[leaf.id] = found.sizes.get(leaf.id, 0) + chunk.total_compressed_size
            if leaf.counts:
                found.values[leaf.id] = found.values.get(leaf.id, 0) + chunk.num_values
                if not _add(found, leaf, chunk.statistics):
                    unknown.add(leaf.id)
    for id_ in unknown:
        for part in (found.nulls, found.least, found.most):
            part.pop(id_, None)
    found.splits.sort()
    return found


def _start(chunk: Any) -> int:
    data, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
    return int(min(data, dictionary) if chunk.has_dictionary_page and dictionary else data)


def _add(found: Metrics, leaf: _Leaf, statistics: Any) -> bool:
    """Take over the statistics of one column chunk; False when it has none."""
    if statistics is None:
        return False
    if statistics.has_null_count:
        found.nulls[leaf.id] = found.nulls.get(leaf.id, 0) + statistics.null_count
    if leaf.bounds and statistics.has_min_max:
        least, most = _bounds(leaf, statistics)
        found.least[leaf.id] = min(least, found.least.get(leaf.id, least))
        found.most[leaf.id] = max(most, found.most.get(leaf.id, most))
    return True


def _bounds(leaf: _Leaf, statistics: Any) -> tuple[Any, Any]:
    """The bounds of a column chunk; what is stored as a whole number without pyarrow's help.

    To make days, instants and decimals of them pyarrow imports pandas.
    """
    raw = statistics.min_raw, statistics.max_raw
    if isinstance(raw[0], int) and isinstance(raw[1], int):
        if isinstance(leaf.type, DecimalType):
            return Decimal(raw[0]).scaleb(-leaf.type.scale), Decimal(raw[1]).scaleb(
                -leaf.type.scale
            )
        if isinstance(leaf.type, DateType | TimestampType | TimestamptzType):
            return raw
    return statistics.min, statistics.max


def serialized(found: Metrics, columns: dict[str, _Leaf]) -> dict[str, Any]:
    """The metrics as the fields of a manifest's record."""
    by_id = {leaf.id: leaf for leaf in columns.values()}
    lower = {id_: _lower(by_id[id_], value) for id_, value in found.least.items()}
    upper = {id_: _upper(by_id[id_], value) for id_, value in found.most.items()}
    return {
        "record_count": found.rows,
        "column_sizes": found.sizes,
        "value_counts": found.values,
        "null_value_counts": found.nulls,
        "nan_value_counts": {},
        "lower_bounds": lower,
        "upper_bounds": {id_: value for id_, value in upper.items() if value is not None},
        "split_offsets": found.splits,
    }


def _lower(leaf: _Leaf, value: Any) -> bytes:
    return to_bytes(leaf.type, value if leaf.length is None else value[: leaf.length])


def _upper(leaf: _Leaf, value: Any) -> bytes | None:
    """The upper bound; None for a text whose first characters cannot be passed."""
    if leaf.length is None or len(value) <= leaf.length:
        return to_bytes(leaf.type, value)
    if not isinstance(leaf.type, StringType):
        return None
    greater = truncate_upper_bound_text_string(value, leaf.length)
    return None if greater is None else to_bytes(leaf.type, greater)
