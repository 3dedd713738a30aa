"""The order of a compacted partition: its sort columns, and within crowded values a Z curve.

Rows of a place stand together when the first sort column is a square of the map. Where squares hold
more rows than a row group, as over a radar, they are parted further: along a curve through 4, 16 or
64 parts of their own, so that a part is about a row group. Squares with few rows stay in the order
of the other columns, which packs better. Source: Morton (1966), A computer oriented geodetic data
base and a new technique in file sequencing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING

from lakeq.errors import BadCatalog

if TYPE_CHECKING:
    from lakeq.catalog import Table

OPTION = "interleave"  # of a table: two columns, and the side of a square of the first sort column
UNSORTED = "as it came"
MOST_DEPTH = 3  # a square is parted into 8 x 8 at most
_BITS = 8  # of the curve; those above MOST_DEPTH are the same within a square


@dataclass(frozen=True, slots=True)
class Curve:
    """A Z curve over two columns, within squares of `side` that `square` numbers."""

    square: str
    columns: tuple[str, str]
    side: float

    @classmethod
    def of(cls, table: Table) -> Curve | None:
        """The curve that the table's options name, if any."""
        text = table.options.get(OPTION)
        if text is None:
            return None
        words = text.split()
        known = {column.name for column in table.columns}
        try:
            first, second, side = words[0], words[1], float(words[2])
            good = len(words) == 3 and side > 0 and {first, second} <= known
        except (IndexError, ValueError):
            good = False
        if not good or not table.sort_by:
            what = f"option {OPTION} of {table.qualified} is {text!r}"
            hint = "two columns and the side of a square: latitude longitude 0.1, beside a sort_by"
            raise BadCatalog(what, hint=hint)
        return cls(table.sort_by[0], (first, second), side)

    def sql(self, depth: str) -> str:
        """Its place as SQL, when squares are parted `depth` times."""
        from lakeq.engines._duckdb_sql import identifier

        parts = 2**MOST_DEPTH / self.side
        number = "(CAST(floor(CAST({} AS DOUBLE) * {!r}) AS BIGINT) >> {} & 1) << {}"
        bits = [
            number.format(f"t.{identifier(column)}", parts, bit, 2 * bit + 1 - place)
            for place, column in enumerate(self.columns)
            for bit in range(_BITS)
        ]
        return f"({' | '.join(f'({bit})' for bit in bits)}) >> (2 * ({MOST_DEPTH} - {depth}))"


def text(table: Table) -> str:
    """What a compacted file of the table says it is sorted by."""
    order = ", ".join(table.sort_by) or UNSORTED
    curve = table.options.get(OPTION)
    return order if curve is None else f"{order}; interleaved {curve}"


def crowded_sql(curve: Curve, source: str, rows: int) -> str:
    """The squares of `source` with more than `rows` rows, and how many each has."""
    from lakeq.engines._duckdb_sql import identifier

    square = identifier(curve.square)
    return (
        f"SELECT {square} AS square, count(*) AS n FROM {source} "  # noqa: S608  # identifiers
        f"WHERE {square} IS NOT NULL GROUP BY {square} HAVING count(*) > {int(rows)}"
    )


def depths(crowded: Mapping[int, int], rows: int) -> dict[int, int]:
    """How often each square is to be parted for parts of about `rows` rows."""
    return {
        square: min(MOST_DEPTH, ceil(log(count / rows, 4))) for square, count in crowded.items()
    }


def sorted_sql(table: Table, source: str, parted: Mapping[int, int]) -> str:
    """All rows of `source` in the order of the table, with `_source` last."""
    from lakeq.engines._duckdb_sql import identifier

    names = [f"t.{identifier(name)}" for name in (*table.sort_by, "_source")]
    curve = Curve.of(table)
    if curve is None or not parted:
        return f"SELECT * FROM {source} AS t ORDER BY {', '.join(names)}"  # noqa: S608  # identifiers
    pairs = ", ".join(f"({int(square)}, {int(depth)})" for square, depth in parted.items())
    place = curve.sql("coalesce(crowded.depth, 0)")
    return (
        f"SELECT t.* FROM {source} AS t "  # noqa: S608  # identifiers and whole numbers
        f"LEFT JOIN (VALUES {pairs}) AS crowded(square, depth) "
        f"ON t.{identifier(curve.square)} = crowded.square "
        f"ORDER BY {names[0]}, {place}, {', '.join(names[1:])}"
    )
