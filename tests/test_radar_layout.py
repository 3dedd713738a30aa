"""How the gates of a day lie after compaction: by place, parted further where they are many."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

import lakeq
from lakeq.api import Lake
from lakeq.catalog import Column, Table
from lakeq.errors import BadCatalog
from lakeq.maintain import order
from tests.support.data import real_files

GROUP_ROWS = 4096
BOX = "latitude between 41.71 and 41.74 and longitude between -87.89 and -87.86"  # 8 km off TORD


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lake with two sweeps of TORD three times, its gates compacted in small row groups."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("parquet", "layout"):
            patch.setattr(f"lakeq.lake.{module}.row_group_rows", lambda _table: GROUP_ROWS)
        folder = tmp_path_factory.mktemp("day") / "TORD" / "185"
        folder.mkdir(parents=True)
        for minute in (18, 28, 38):
            for chunk in real_files("nexrad/chunks/TORD/185/*")[:7]:
                copy = chunk.name.replace("-225858-", f"-22{minute}58-")
                (folder / copy).write_bytes(chunk.read_bytes())
        lake = lakeq.connect(tmp_path_factory.mktemp("lake"))
        lake.ingest("nexrad", [str(folder / "*")], tables=["gates", "grid"])
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


def groups(lake: Lake) -> list[dict[str, tuple[Any, Any]]]:
    """The bounds of every row group of the one file, as its footer has them."""
    (file,) = lake._iceberg.snapshot("nexrad.gates").files
    footer = pq.read_metadata(file.path)
    names = [footer.schema.column(place).path for place in range(footer.num_columns)]
    chosen = {name: names.index(name) for name in ("tile", "latitude", "longitude")}
    found = []
    for group in map(footer.row_group, range(footer.num_row_groups)):
        facts = {name: group.column(place).statistics for name, place in chosen.items()}
        found.append({name: (fact.min, fact.max) for name, fact in facts.items()})
    return found


def test_a_crowded_square_is_parted_and_its_rows_are_the_same(day: tuple[Lake, Any]) -> None:
    lake, before = day
    assert contents(lake) == before
    tiles = [group["tile"] for group in groups(lake)]
    assert tiles == sorted(tiles)
    crowded, number = Counter(low for low, high in tiles if low == high).most_common(1)[0]
    areas = sorted(
        float((g["latitude"][1] - g["latitude"][0]) * (g["longitude"][1] - g["longitude"][0]))
        for g in groups(lake)
        if g["tile"] == (crowded, crowded)
    )
    assert number > 6
    assert areas[number // 2] < 0.1 * 0.1 / 3  # were it in order of time alone: 0.01


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
    assert order.text(curved) == "tile, time; interleaved latitude longitude 0.1"


@pytest.mark.parametrize(("count", "depth"), [(101, 1), (400, 1), (401, 2), (10**9, 3)])
def test_squares_are_parted_for_parts_of_about_a_row_group(count: int, depth: int) -> None:
    assert order.depths({7: count}, 100) == {7: depth}
