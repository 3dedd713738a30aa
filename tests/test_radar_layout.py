"""How the gates of a day lie after compaction: by place, parted further where they are many."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lakeq
from lakeq import types
from lakeq.api import Lake
from lakeq.catalog import Column, Table
from lakeq.convert.sink import Sink
from lakeq.errors import BadCatalog
from lakeq.formats import TableBatch
from lakeq.maintain import order
from tests.support.radar import three_times

GROUP_ROWS = 4096
BOX = "latitude between 41.71 and 41.74 and longitude between -87.89 and -87.86"  # 8 km off TORD


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lake with two sweeps of TORD three times, its gates compacted in small row groups."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("parquet", "layout"):
            patch.setattr(f"lakeq.lake.{module}.row_group_rows", lambda _table: GROUP_ROWS)
        chunks = three_times(tmp_path_factory.mktemp("day"))
        lake = lakeq.connect(tmp_path_factory.mktemp("lake"))
        lake.ingest("nexrad", [chunks], tables=["gates", "grid"])
        before = contents(lake)
        lake.maintain("nexrad.gates")
        lake.maintain("nexrad.grid")
        return lake, before


def contents(lake: Lake) -> Any:
    """The number of rows of gates and the sum of their hashes, by DuckDB alone."""
    paths = [file.path for file in lake._iceberg.snapshot("nexrad.gates").files]
    sql = "select count(*), sum(hash(r)::hugeint) from read_parquet($1) as r"
    with duckdb.connect() as connection:
        return connection.execute(sql, [paths]).fetchone()


def groups(lake: Lake) -> list[dict[str, Any]]:
    """The rows and the bounds of every row group of the one file, as its footer has them."""
    (file,) = lake._iceberg.snapshot("nexrad.gates").files
    footer = pq.read_metadata(file.path)
    names = [footer.schema.column(place).path for place in range(footer.num_columns)]
    chosen = {name: names.index(name) for name in ("tile", "latitude", "longitude")}
    found = []
    for group in map(footer.row_group, range(footer.num_row_groups)):
        facts = {name: group.column(place).statistics for name, place in chosen.items()}
        bounds = {name: (fact.min, fact.max) for name, fact in facts.items()}
        found.append({"rows": group.num_rows, **bounds})
    return found


def test_row_groups_of_a_crowded_square_share_no_ground_and_rows_are_the_same(
    day: tuple[Lake, Any],
) -> None:
    lake, before = day
    assert contents(lake) == before
    tiles = [group["tile"] for group in groups(lake)]
    assert tiles == sorted(tiles)
    crowded, number = Counter(low for low, high in tiles if low == high).most_common(1)[0]
    own = [group for group in groups(lake) if group["tile"] == (crowded, crowded)]
    assert number > 6
    for one, other in combinations(own, 2):
        assert any(
            one[name][1] < other[name][0] or other[name][1] < one[name][0]
            for name in ("latitude", "longitude")
        )


def test_row_groups_that_share_a_square_are_small_and_none_has_too_many(
    day: tuple[Lake, Any],
) -> None:
    lake, _ = day
    assert all(group["rows"] <= GROUP_ROWS for group in groups(lake))
    assert all(high - low <= order.NEAR for low, high in (g["tile"] for g in groups(lake)))


def test_a_box_reads_less_than_its_squares_and_its_plan_knows(
    day: tuple[Lake, Any],
) -> None:
    lake, _ = day
    sql = f"select * from nexrad.gates where {BOX}"
    plan, report = lake.plan(sql), lake.sql(sql).report
    assert plan.low_bytes <= report.bytes_scanned <= plan.high_bytes < plan.bytes_total / 3
    square = (417 + 900) * 3600 - 879 + 1800
    whole = sum(g["tile"][0] <= square <= g["tile"][1] for g in groups(lake))
    assert 0 < report.row_groups_read < whole / 2


def test_a_box_of_the_compacted_grid_reads_few_row_groups(day: tuple[Lake, Any]) -> None:
    lake, _ = day
    sql = f"select * from nexrad.grid where {BOX}"
    plan, report = lake.plan(sql), lake.sql(sql).report
    assert plan.low_bytes <= report.bytes_scanned <= plan.high_bytes < plan.bytes_total / 3
    assert 0 < report.row_groups_read <= 3 < report.row_groups_total / 5


@pytest.mark.parametrize("text", ["latitude", "latitude nowhere 0.1", "latitude longitude -1"])
def test_an_order_that_cannot_be_is_refused(text: str) -> None:
    names = ("tile", "latitude", "longitude")
    columns = tuple(Column(name, "float64", name) for name in names)
    table = Table("d", "t", "", "vcf", columns, sort_by=("tile",), options={"interleave": text})
    with pytest.raises(BadCatalog, match="option interleave of d.t"):
        order.Curve.of(table)


def test_another_order_is_another_text() -> None:
    """So a partition that an older lakeq compacted is sorted anew."""
    options = {"interleave": "latitude longitude 0.1"}
    plain = Table("d", "t", "", "vcf", (), sort_by=("tile", "time"))
    curved = Table("d", "t", "", "vcf", (), sort_by=("tile", "time"), options=options)
    assert order.text(plain) == "tile, time"
    assert order.text(curved) == "tile, time; parted latitude longitude 0.1"


@pytest.mark.parametrize(
    ("count", "depth"), [(100, 0), (101, 2), (200, 2), (201, 3), (10**9, order.MOST_DEPTH)]
)
def test_only_squares_with_more_rows_than_a_row_group_are_parted(count: int, depth: int) -> None:
    assert order.depths({7: count}, 100) == {7: depth}


CURVE = order.Curve("tile", ("latitude", "longitude"), 0.1)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 900), max_size=30), st.integers(1, 2**32))
def test_row_groups_hold_all_rows_each_part_once_and_not_too_many(
    squares: dict[int, int], seed: int
) -> None:
    deep = order.depths(squares, 100)
    random = np.random.default_rng(seed)
    counted: Counter[int] = Counter()
    for square, count in squares.items():
        y, x = random.integers(0, 2 ** deep[square], (2, count)) // random.integers(1, 3)
        counted.update((square << 12 | y << 6 | x).tolist())
    numbers, sizes = (np.array(list(part), np.int64) for part in (counted, counted.values()))
    made = order.parting(CURVE, deep, (numbers, sizes), 100)
    assert sum(made.rows) == sum(squares.values())
    assert max(made.rows, default=0) <= 100
    assert sorted(made.parts.tolist()) == sorted(counted)
    held: Counter[int] = Counter()
    for part, group in zip(made.parts.tolist(), made.groups.tolist(), strict=True):
        held[group] += counted[part]
    starts = [*sorted(held), len(made.rows)]
    assert [held[a] for a in starts[:-1]] == [sum(made.rows[a:b]) for a, b in pairwise(starts)]


def test_a_crowded_square_is_halved_and_squares_with_few_rows_share_a_row_group() -> None:
    """By hand: quarters of 8, 8, 8 and 1 rows, then squares of 3, 3 and 3 rows, one far away."""
    quarters = [(0, 0, 8), (0, 1, 8), (1, 0, 8), (1, 1, 1)]
    numbers = np.array([5 << 12 | y << 6 | x for y, x, _ in quarters], np.int64)
    others = np.array([6 << 12, 7 << 12, 99 << 12], np.int64)
    sizes = np.array([rows for *_, rows in quarters] + [3, 3, 3], np.int64)
    deep = {5: 1, 6: 0, 7: 0, 99: 0}
    made = order.parting(CURVE, deep, (np.concatenate([numbers, others]), sizes), 10)
    assert made.rows == (8, 8, 9, 6, 3)
    assert made.groups.tolist() == [0, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("units", [0, 1, -1])
@pytest.mark.parametrize("tenths", range(-899, 900, 31))
def test_rows_on_an_edge_are_in_the_part_behind_it(tenths: int, units: int) -> None:
    """41.3 is a little less as a double: its part must be the first of its square all the same."""
    number = tenths * 10_000 + units
    table = pa.table({
        "tile": [0],
        "latitude": pa.array([Decimal(number).scaleb(-5)], pa.decimal128(8, 5)),
        "longitude": pa.array([Decimal(0)], pa.decimal128(8, 5)),
        "depth": [6],
    })  # fmt: skip
    with duckdb.connect() as connection:
        connection.register("rows", table)
        sql = f"select {CURVE.part_sql()} from rows as t, rows as crowded"
        (found,) = connection.execute(sql).fetchone() or ()
    assert found >> 6 == number % 10_000 * 64 // 10_000


def test_codes_of_8_and_of_16_bits_of_one_moment_stand_in_one_row_group(tmp_path: Path) -> None:
    """A moment may change its bits from cut to cut, and a cut may lack it."""
    lake = lakeq.connect(tmp_path)
    table = lake.catalog.dataset("nexrad").tables["rays"]
    schema = types.arrow_schema(table)
    lists = {8: [[2, 255], None], 16: [[2, 40_000], []]}
    with lake._iceberg.session() as session:
        sink = Sink("memory:rays", {"rays": lake._iceberg.writer(table, session)})
        for bits, codes in lists.items():
            kind = pa.list_(pa.field("element", pa.uint8() if bits == 8 else pa.uint16()))
            columns = [
                pa.array(codes, kind) if f.name == "zdr" else pa.nulls(2, f.type) for f in schema
            ]
            rows = pa.RecordBatch.from_arrays(columns, names=schema.names)
            sink.write(TableBatch("rays", ("KLOT", "2021-06-25"), rows))
        sink.close()
        (file,) = sink.finished["rays"]
    assert file.metadata.num_row_groups == 1
    for read in (pq.read_table(file.path)["zdr"].to_pylist(), _zdr(file.path)):
        assert read == [*lists[8], *lists[16]]


def _zdr(path: str) -> list[Any]:
    with duckdb.connect() as connection:
        return [row[0] for row in connection.execute(f"select zdr from '{path}'").fetchall()]
