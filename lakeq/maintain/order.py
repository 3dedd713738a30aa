"""The order of a compacted partition: its sort columns, and the row groups that it is cut into.

Rows of a place stand together when the first sort column numbers squares of the map. A square that
holds more rows than a row group, as over a radar, is halved to north and south, then to east and
west, and so on, until no part has more; neighbours with few rows share a row group. A row group
holds no rows of anywhere else, so its bounds are those of its place. Source: the halves are ranges
of a Z curve, Morton (1966), A computer oriented geodetic data base and a new technique in file
sequencing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadCatalog

if TYPE_CHECKING:
    from lakeq.catalog import Table

OPTION = "interleave"  # of a table: two columns, and the side of a square of the first sort column
UNSORTED = "as it came"
MOST_DEPTH = 6  # a square is counted in 64 x 64 parts at most
COUNTED = 8  # parts are counted so fine that about so many make a row group
NEAR = 16  # squares whose numbers are further apart share no row group
_CODE_BITS = 2 * MOST_DEPTH

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Squares of `side` over two columns, which the column `square` numbers."""

    square: str
    columns: tuple[str, str]
    side: float

    @classmethod
    def of(cls, table: Table) -> Curve | None:
        """The one that the table's options name, if any."""
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

    def part_sql(self) -> str:
        """The number of a row's part, as SQL over `t` and the depth of its square in `crowded`.

        A millionth of a side is added, for a decimal on an edge is a little less as a double.
        """
        from lakeq.engines._duckdb_sql import identifier

        parts = 2**MOST_DEPTH
        number = (
            f"(CAST(floor((CAST(t.{{}} AS DOUBLE) / {self.side!r} + 1e-6) * {parts}) AS BIGINT)"
            f" & {parts - 1}) >> ({MOST_DEPTH} - crowded.depth)"
        )
        first, second = (number.format(identifier(column)) for column in self.columns)
        square = f"CAST(t.{identifier(self.square)} AS BIGINT)"
        return f"({square} << {_CODE_BITS}) | (({first}) << {MOST_DEPTH}) | ({second})"


def text(table: Table) -> str:
    """What a compacted file of the table says it is sorted by."""
    order = ", ".join(table.sort_by) or UNSORTED
    curve = table.options.get(OPTION)
    return order if curve is None else f"{order}; parted {curve}"


@dataclass(frozen=True, slots=True)
class Parting:
    """The row groups of a partition: the rows of each in turn, and which parts it holds.

    `parts` are numbers as `Curve.part_sql` gives them, `groups` the row group of each, counted
    from 0. Rows whose square is not known come last.
    """

    curve: Curve
    depths: Mapping[int, int]
    parts: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    groups: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    rows: tuple[int, ...] = ()

    @property
    def parameters(self) -> dict[str, object]:
        """What the SQL is run with."""
        found: dict[str, object] = {
            "squares": list(self.depths),
            "depths": list(self.depths.values()),
        }
        if len(self.parts):
            found |= {"parts": self.parts.tolist(), "groups": self.groups.tolist()}
        return found


_DEPTHS = "(SELECT unnest($squares) AS square, unnest($depths) AS depth) AS crowded"
_GROUPS = "(SELECT unnest($parts) AS part, unnest($groups) AS number) AS groups"


def squares_sql(curve: Curve, source: str) -> str:
    """The squares of `source` and how many rows each has."""
    from lakeq.engines._duckdb_sql import identifier

    square = identifier(curve.square)
    return f"SELECT {square} AS square, count(*) AS n FROM {source} GROUP BY ALL"  # noqa: S608  # identifiers


def parts_sql(curve: Curve, source: str) -> str:
    """The parts of all squares of `source`, each as deep as its square, and their rows."""
    from lakeq.engines._duckdb_sql import identifier

    return (
        f"SELECT {curve.part_sql()} AS part, count(*) AS n FROM {source} AS t "  # noqa: S608  # identifiers
        f"JOIN {_DEPTHS} ON t.{identifier(curve.square)} = crowded.square GROUP BY ALL"
    )


def depths(squares: Mapping[int, int], rows: int) -> dict[int, int]:
    """How often each square is to be halved both ways for parts much smaller than a row group."""
    return {
        square: min(MOST_DEPTH, ceil(log(COUNTED * count / rows, 4))) if count > rows else 0
        for square, count in squares.items()
    }


def parting(curve: Curve, deep: Mapping[int, int], counts: tuple[Ints, Ints], rows: int) -> Parting:
    """Row groups of at most `rows` rows; squares with few share one of at least half as many.

    `deep` are the depths of the squares, `counts` the numbers of all parts and their rows, in any
    order.
    """
    numbers, sizes = counts
    each, which = np.unique(numbers >> _CODE_BITS, return_inverse=True)
    depth = np.array([deep[int(square)] for square in each], np.int64)[which]
    place = numbers >> _CODE_BITS << _CODE_BITS | _interleaved(numbers, depth)
    order = np.argsort(place, kind="stable")
    numbers, place, sizes = numbers[order], place[order], sizes[order]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    groups = np.empty(len(place), np.int64)
    made: list[int] = []
    for first, stop in _spans(place, ends, rows):
        groups[first:stop] = len(made)
        made += _even(int(ends[stop] - ends[first]), rows)
    return Parting(curve, deep, numbers, groups, tuple(made))


def _spans(place: Ints, ends: Ints, rows: int) -> Iterator[tuple[int, int]]:
    """From which part to which a row group goes: one of a crowded square, or of several squares.

    Parts of a crowded square do not share one: together they may be no rectangle.
    """
    square = begin = end = -1  # of squares that share a row group
    for first, stop in _runs(place >> _CODE_BITS):
        own, count = int(place[first]) >> _CODE_BITS, ends[stop] - ends[first]
        if end >= 0:
            far = own - square > NEAR
            if far or 2 * (ends[first] - ends[begin]) >= rows or ends[stop] - ends[begin] > rows:
                yield begin, end
                end = -1
        if count > rows:
            yield from _halved(place, ends, (first, stop), rows)
            continue
        if end < 0:
            square, begin = own, first
        end = stop
    if end >= 0:
        yield begin, end


def _interleaved(numbers: Ints, depth: Ints) -> Ints:
    """Places of parts on the Z curve of their square, from 0 to 4 ** MOST_DEPTH."""
    found = np.zeros(len(numbers), np.int64)
    for bit in range(MOST_DEPTH):
        found |= (numbers >> (MOST_DEPTH + bit) & 1) << (2 * bit + 1)
        found |= (numbers >> bit & 1) << (2 * bit)
    placed: Ints = found << 2 * (MOST_DEPTH - depth)
    return placed


def _runs(values: Ints) -> Iterator[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    borders = np.flatnonzero(np.diff(values)) + 1
    edges = [0, *borders.tolist(), len(values)] if len(values) else []
    yield from pairwise(edges)


def _halved(
    place: Ints, ends: Ints, span: tuple[int, int], most: int, bit: int = _CODE_BITS
) -> Iterator[tuple[int, int]]:
    """The parts from first to stop of one square in halves of halves with at most `most` rows."""
    first, stop = span
    if ends[stop] - ends[first] <= most or bit == 0:
        if stop > first:
            yield span
        return
    upper = place[first:stop] >> (bit - 1) & 1
    middle = first + int(np.searchsorted(upper, 1))
    yield from _halved(place, ends, (first, middle), most, bit - 1)
    yield from _halved(place, ends, (middle, stop), most, bit - 1)


def _even(rows: int, most: int) -> list[int]:
    """`rows` in as few equal row groups as `most` allows."""
    number = max(1, -(-rows // most))
    return [rows // number + (place < rows % number) for place in range(number)]


def sorted_sql(table: Table, source: str, parting: Parting | None) -> str:
    """All rows of `source` in the order of the table, with `_source` last."""
    from lakeq.engines._duckdb_sql import identifier

    names = ", ".join(f"t.{identifier(name)}" for name in (*table.sort_by, "_source"))
    if parting is None or not len(parting.parts):
        return f"SELECT * FROM {source} AS t ORDER BY {names}"  # noqa: S608  # identifiers
    return (
        f"SELECT t.* FROM {source} AS t "  # noqa: S608  # identifiers and whole numbers
        f"LEFT JOIN {_DEPTHS} ON t.{identifier(parting.curve.square)} = crowded.square "
        f"LEFT JOIN {_GROUPS} ON groups.part = {parting.curve.part_sql()} "
        f"ORDER BY groups.number, {names}"
    )


def parameters_of(parting: Parting | None) -> dict[str, Any]:
    """What `sorted_sql` is run with."""
    return {} if parting is None or not len(parting.parts) else parting.parameters
