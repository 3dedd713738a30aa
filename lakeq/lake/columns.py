"""The columns of a Parquet file that lakeq's own writer can write, and how the footer names them.

Source: Apache Parquet format 2.x, parquet.thrift (SchemaElement) and LogicalTypes.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lakeq.lake.thrift import struct

if TYPE_CHECKING:
    import pyarrow as pa

BOOLEAN, INT32, INT64, FLOAT, DOUBLE, BYTES = 0, 1, 2, 4, 5, 6
DTYPES = {INT32: "<i4", INT64: "<i8", FLOAT: "<f4", DOUBLE: "<f8"}
_OPTIONAL, _REPEATED = 1, 2
_UTF8, _LIST, _DECIMAL, _DATE, _MICROS = 0, 3, 5, 6, 10  # converted types
_NOTHING = struct()
_MOST_DIGITS = {INT32: 9, INT64: 18}  # of a decimal that is stored as such a number


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a stored number stands for: converted type, logical type, and a decimal's digits."""

    converted: int | None = None
    logical: bytes | None = None
    scale: int | None = None
    precision: int | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column of the file: of values, `nested` of lists of values, or a `part` of a struct.

    `deltas` says that its numbers are packed as differences, `aligned` that what is packed takes
    whole bytes, because its values repeat in runs, `plain` that they get no dictionary.
    `smallest` leaves the choice to the writer, which tries them. `field_id` is the column's,
    `inner_id` that of the list's elements or of the struct's part.
    """

    name: str
    physical: int
    meaning: Meaning = Meaning()
    nested: bool = False
    part: str = ""
    field_id: int = -1
    inner_id: int = -1
    deltas: bool = False
    aligned: bool = False
    plain: bool = False
    smallest: bool = False

    @property
    def path(self) -> list[str]:
        """Its place in the Parquet schema."""
        if self.nested:
            return [self.name, "list", "element"]
        return [self.name, self.part] if self.part else [self.name]

    @property
    def top(self) -> int:
        """The definition level of a value that is there."""
        return 3 if self.nested else 2 if self.part else 1

    def others(self) -> Iterator[Leaf]:
        """The same column packed in each of the other ways that its numbers can be."""
        if self.physical in {INT32, INT64}:
            yield replace(self, deltas=True, aligned=True, smallest=False)
            yield replace(self, deltas=True, aligned=False, smallest=False)
        else:
            yield replace(self, plain=True, smallest=False)


def leaves(
    schema: pa.Schema,
    layout: Mapping[str, Any],
    aligned: Collection[str] = (),
    *,
    smallest: bool = False,
) -> list[Leaf] | None:
    """The columns of a file of `schema`; None when it has one that this writer cannot write.

    `aligned` are paths of those that are packed in whole bytes. With `smallest` numbers outside of
    lists are packed in whatever way is smallest, row group by row group.
    """
    deltas = layout["column_encoding"] or {}
    found: list[Leaf] = []
    for column in schema:
        parts = list(_leaves(column))
        if None in parts or not parts:
            return None
        found += [part for part in parts if part is not None]
    return [
        replace(
            leaf,
            deltas=".".join(leaf.path) in deltas and leaf.physical in {INT32, INT64},
            aligned=".".join(leaf.path) in aligned,
            smallest=smallest and not leaf.nested and leaf.physical in DTYPES,
        )
        for leaf in found
    ]


def _leaves(column: pa.Field) -> Iterator[Leaf | None]:
    """The leaves of one column, None for what cannot be written."""
    import pyarrow as pa

    type_, own = column.type, _field_id(column)
    is_list, is_struct = pa.types.is_list(type_), pa.types.is_struct(type_)
    inner = [type_.value_field] if is_list else list(type_) if is_struct else []
    for part in inner or [column]:
        stored = _stored(part.type)
        if stored is None or not (column.nullable and part.nullable):
            yield None
            return
        physical, meaning = stored
        inner_id = _field_id(part) if inner else -1
        name = part.name if is_struct else ""
        yield Leaf(column.name, physical, meaning, is_list, name, own, inner_id)
    if is_struct and not inner:
        yield None


def _stored(type_: pa.DataType) -> tuple[int, Meaning] | None:
    """How values of this type are stored; None where this writer cannot."""
    import pyarrow as pa

    if pa.types.is_decimal128(type_):
        for physical, most in _MOST_DIGITS.items():
            if type_.precision <= most:
                return physical, _decimal(type_.precision, type_.scale)
        return None
    text = Meaning(_UTF8, struct((1, "struct", _NOTHING)))
    day = Meaning(_DATE, struct((6, "struct", _NOTHING)))
    kinds = {
        pa.bool_(): (BOOLEAN, Meaning()),
        pa.int32(): (INT32, Meaning()),
        pa.int64(): (INT64, Meaning()),
        pa.float32(): (FLOAT, Meaning()),
        pa.float64(): (DOUBLE, Meaning()),
        pa.string(): (BYTES, text),
        pa.date32(): (INT32, day),
        pa.timestamp("us", tz="UTC"): (INT64, _instant()),
    }
    return kinds.get(type_)


def _decimal(precision: int, scale: int) -> Meaning:
    inner = struct((1, "i32", scale), (2, "i32", precision))
    return Meaning(_DECIMAL, struct((5, "struct", inner)), scale, precision)


def _instant() -> Meaning:
    """Microseconds since 1970, UTC."""
    unit = struct((2, "struct", _NOTHING))
    return Meaning(_MICROS, struct((8, "struct", struct((1, "bool", True), (2, "struct", unit)))))


def _field_id(part: pa.Field) -> int:
    return int((part.metadata or {}).get(b"PARQUET:field_id", -1))


def elements(columns: Sequence[Leaf]) -> list[bytes]:
    """The SchemaElements of the footer: the root, then every column from the outside in."""
    grouped = [list(leaves) for _, leaves in groupby(columns, lambda leaf: leaf.name)]
    made = [struct((4, "text", "schema"), (5, "i32", len(grouped)))]
    for parts in grouped:
        first = parts[0]
        if first.nested:
            kind = struct((3, "struct", _NOTHING))
            made.append(_group(first.name, 1, first.field_id, _LIST, kind))
            made.append(struct((3, "i32", _REPEATED), (4, "text", "list"), (5, "i32", 1)))
        elif first.part:
            made.append(_group(first.name, len(parts), first.field_id))
        made += [_element(leaf) for leaf in parts]
    return made


def _group(
    name: str, children: int, field_id: int, converted: int | None = None, kind: bytes | None = None
) -> bytes:
    return struct(
        (3, "i32", _OPTIONAL),
        (4, "text", name),
        (5, "i32", children),
        (6, "i32", converted),
        (9, "i32", field_id if field_id >= 0 else None),
        (10, "struct", kind),
    )


def _element(leaf: Leaf) -> bytes:
    inner = leaf.nested or bool(leaf.part)
    id_ = leaf.inner_id if inner else leaf.field_id
    meaning = leaf.meaning
    return struct(
        (1, "i32", leaf.physical),
        (3, "i32", _OPTIONAL),
        (4, "text", leaf.path[-1]),
        (6, "i32", meaning.converted),
        (7, "i32", meaning.scale),
        (8, "i32", meaning.precision),
        (9, "i32", id_ if id_ >= 0 else None),
        (10, "struct", meaning.logical),
    )
