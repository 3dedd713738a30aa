"""Pixels in SQL: every value, place and byte equals what rasterio reads and the plan said."""

from __future__ import annotations

import os
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.warp import transform as warp

import lakeq
from lakeq.api import Lake
from lakeq.errors import BadSource, BudgetRefused, NotFound, UsageError
from tests.support.data import name, real_files
from tests.support.scenes import SURFACE, Scene, make_scene

MTLS = [
    p for p in real_files("landsat/**/*_MTL.txt") if list(p.parent.glob(f"{p.name[:-8]}_*.TIF"))
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    folder = tmp_path_factory.mktemp("scenes")
    days = (date(2023, 7, 14), date(2023, 7, 30))
    return [make_scene(folder, seed=n, day=day) for n, day in enumerate(days)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Lake:
    lake = lakeq.connect(tmp_path_factory.mktemp("lake"))
    lake.ingest("landsat", [scene.mtl for scene in scenes])
    return lake


def image(
    lake: Lake, query: str, columns: tuple[str, ...], shape: tuple[int, int]
) -> dict[str, Any]:
    """Columns of a query as images, by line and sample."""
    table = lake.sql(f"select line, sample, {', '.join(columns)} from ({query})").arrow()
    line, sample = (table[n].to_numpy() for n in ("line", "sample"))
    assert len(table) == shape[0] * shape[1]
    found = {}
    for column in columns:
        out = np.full(shape, np.nan)
        out[line, sample] = table[column].to_numpy()
        found[column] = out
    return found


@pytest.mark.parametrize("mtl", MTLS, ids=name)
def test_real_products_equal_rasterio(tmp_path: Path, mtl: Path) -> None:
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat", [mtl])
    rows = lake.sql(
        "select band, object, image_lines, image_samples from landsat.tiles where level = 0 "
        "group by all order by band"
    ).rows()
    for table, bands in (
        ("pixels", [row for row in rows if row[0] != "pan"]),
        ("pixels_pan", [row for row in rows if row[0] == "pan"]),
    ):
        if bands:
            shape = (int(str(bands[0][2])), int(str(bands[0][3])))
            names = tuple(str(row[0]) for row in bands)
            query = f"select * from landsat.{table}"
            found = image(lake, query, (*names, "x", "y", "lon", "lat"), shape)
            for band, path, _, _ in bands:
                check_band(found, str(band), Path(str(path).removeprefix("file://")))


def check_band(found: dict[str, Any], band: str, path: Path) -> None:
    with rasterio.open(path) as file:
        assert np.array_equal(found[band], file.read(1)), band
        lines, samples = np.mgrid[0 : file.height : 50, 0 : file.width : 50]
        xs, ys = rasterio.transform.xy(file.transform, lines.ravel(), samples.ravel())
        at = lines.ravel(), samples.ravel()
        assert np.allclose(found["x"][at], xs, rtol=0, atol=1e-9)
        assert np.allclose(found["y"][at], ys, rtol=0, atol=1e-9)
        lon, lat = warp(file.crs, "EPSG:4326", xs, ys)
        assert np.allclose(found["lon"][at], lon, rtol=0, atol=1e-9)
        assert np.allclose(found["lat"][at], lat, rtol=0, atol=1e-9)


def test_every_band_of_made_products_equals_what_was_written(
    lake: Lake, scenes: list[Scene]
) -> None:
    for scene in scenes:
        query = f"select * from landsat.pixels where product_id = '{scene.product_id}'"
        found = image(lake, query, tuple(SURFACE), (280, 300))
        for band, values in scene.bands.items():
            assert np.array_equal(found[band], values), band


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"driver": "GTiff", "blockysize": 7, "compress": "LZW"},
    "zstd, big, bigtiff": {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 32,
                           "compress": "ZSTD", "predictor": 2, "ENDIANNESS": "BIG",
                           "BIGTIFF": "YES"},
    "none": {"driver": "GTiff"},
    "one strip": {"driver": "GTiff", "blockysize": 280, "compress": "DEFLATE", "predictor": 2},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_of_files_give_the_same_pixels(tmp_path: Path, layout: str) -> None:
    bands = ("red", "nir08", "qa_pixel", "qa_aerosol")
    scene = make_scene(tmp_path, bands=bands, **LAYOUTS[layout])
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [scene.mtl])
    found = image(lake, "select * from landsat.pixels", bands, (280, 300))
    for band in bands:
        assert np.array_equal(found[band], scene.bands[band])
    part = lake.sql(
        "select sum(red), sum(nir08), count(*) from landsat.pixels "
        "where line between 31 and 97 and sample between 60 and 199"
    ).rows()
    cut = slice(31, 98), slice(60, 200)
    sums = [int(scene.bands[band][cut].sum(dtype=np.int64)) for band in ("red", "nir08")]
    assert part == [(*sums, 67 * 140)]


def test_signed_samples_and_missing_tiles(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red",), driver="GTiff")
    place = scene.transform
    profile = {"driver": "GTiff", "width": 300, "height": 280, "count": 1, "dtype": "int16",
               "nodata": -9999, "crs": "EPSG:32610", "transform": place, "tiled": True,
               "blockxsize": 64, "blockysize": 64, "SPARSE_OK": True, "compress": "DEFLATE",
               "predictor": 2}  # fmt: skip
    with rasterio.open(scene.file("red"), "w", **profile) as file:
        values = np.arange(-2048, 2048, dtype=np.int16).reshape(1, 64, 64) * 15
        file.write(values, window=((64, 128), (128, 192)))
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [scene.mtl])
    found = image(lake, "select * from landsat.pixels", ("red",), (280, 300))
    with rasterio.open(scene.file("red")) as file:
        assert np.array_equal(found["red"], file.read(1))
    assert lake.sql("select min(red) from landsat.pixels").report.bytes_scanned < 40_000


CONDITIONS = [
    "line between 100 and 140 and sample > 250",
    "x >= 502000 and x < 503000 and y between 4195000 and 4197000",
    "lon between -122.99 and -122.97 and lat < 37.92",
    "line = 17 and sample in (3, 150, 299)",
    "(line < 5 or line > 275) and sample = 8",
    "block = 1 and line < 300",
    "path = 44 and row = 33 and line = 1",
    "acquired < '2023-07-20' and line = 1",
    "acquired >= timestamptz '2023-07-20' and sample = 1",
    "path = 45",
    "line = 17 and red > 12000",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_choose_tiles_but_not_answers(
    lake: Lake, condition: str, everything: duckdb.DuckDBPyConnection
) -> None:
    """The same query of DuckDB over a plain copy of all pixels."""
    query = f"select * from {{}} where {condition} order by all"
    columns = "product_id, path, row, block, acquired, line, sample, red, x, y, lon, lat"
    pixels = f"(select {columns} from landsat.pixels)"
    found = lake.sql(query.format(pixels)).arrow()
    everything.execute("set TimeZone = 'UTC'")
    assert found.equals(everything.sql(query.format("pixels")).to_arrow_table())


@pytest.fixture(scope="module")
def everything(lake: Lake) -> duckdb.DuckDBPyConnection:
    columns = "product_id, path, row, block, acquired, line, sample, red, x, y, lon, lat"
    pixels = lake.sql(f"select {columns} from landsat.pixels").arrow()
    connection = duckdb.connect()
    connection.register("pixels", pixels)
    return connection


POINTS = "(values (1, 500301.0, 4199002.0), (2, 503000.0, 4196000.0), (3, 9.0, 9.0)) p(id, px, py)"
JOINS = [
    (
        f"select id, line, red from {POINTS} join {{}} v on v.x > px - 15 and v.x <= px + 15 "
        "and v.y > py - 15 and v.y <= py + 15"
    ),
    (
        f"with p as (select id, px, py from {POINTS} where id < 3) select id, count(*), sum(red) "
        "from {} v, p where abs(v.x - p.px) <= 200 and abs(p.py - v.y) < 300 group by id"
    ),
    (
        f"select id, v.line from {POINTS} left join {{}} v on v.x between px - 15 and px + 14.9 "
        "and v.y between py - 15 and py + 14.9"
    ),
    (
        f"select id, v.line from {{}} v right join {POINTS} on v.x between px - 15 and px + 14.9 "
        "and v.y between py - 15 and py + 14.9"
    ),
    (
        "select sum(red) from {} semi join (values (3, 4), (70, 290)) p(line, sample) "
        "using (line, sample)"
    ),
    "select count(*) from {} v anti join (values (3), (70)) p(line) using (line)",
    (
        "select count(*), sum(red) from {} where line in (select * from range(20, 23)) "
        "and sample in (select unnest([1, 200]))"
    ),
    (
        "with v as (select line + 0 n, line, sample, x as east, red from {}) select east, n from v "
        "join (values (500301.0)) p(px) on east between px - 15 and px + 14.9 where line < 4"
    ),
    (
        "with v as (select line, sum(red) s from {} group by line) select * from v "
        "join (values (5)) p(line) using (line)"
    ),
    (
        "with v as (select * from {} limit 10000000) select sum(red) from v join (values (5)) p(l) "
        "on line = l"
    ),
    (
        "with v as (select * from {}) select a.line, b.sample from v a join (values (5)) p(l) on "
        "a.line = l join v b on b.sample = a.sample and b.line = 7 and a.product_id = b.product_id"
    ),
    "select count(*) from {} v full join (values (5)) p(l) on v.line = l",
    "select count(*) from {} v left join (values (5)) p(l) on v.line = l",
    "select l, (select max(red) from {} where line = l and sample = 3) m from (values (9)) p(l)",
    "select count(*) from {} v join (values (null), (3)) p(l) on line = l where 10 - v.sample > 2",
    "select count(*) from {} v join (values (1e3::decimal(9,1))) p(l) on v.line * 5 = l",
    (
        "select count(*) from {} v join (values (timestamptz '2023-07-20')) p(t) on acquired < t "
        "where line = 1"
    ),
    (
        "select v.line, w.sample from {} v join {} w on v.line = w.sample and v.sample = w.line "
        "join (values (4, 7)) p(a, b) on v.line = a and w.line = b and v.product_id > w.product_id"
    ),
]


@pytest.mark.parametrize("query", JOINS, ids=range(len(JOINS)))
def test_joins_choose_tiles_but_not_answers(
    lake: Lake, query: str, everything: duckdb.DuckDBPyConnection
) -> None:
    """The same query of DuckDB over a plain copy of all pixels."""
    ordered = f"select * from ({query}) order by all"
    found = lake.sql(ordered.replace("{}", "landsat.pixels")).arrow()
    assert found.equals(everything.sql(ordered.replace("{}", "pixels")).to_arrow_table())


def test_points_read_the_tiles_that_they_lie_in(lake: Lake, scenes: list[Scene]) -> None:
    query = JOINS[0].replace("{}", "landsat.pixels")
    result = lake.sql(query)
    tiles = lake.sql(
        "select count(*) from landsat.tiles where band = 'red' and level = 0 and (x_min < 500301 "
        "and x_max > 500301 and y_min < 4199002 and y_max > 4199002 or x_min < 503000 and "
        "x_max > 503000 and y_min < 4196000 and y_max > 4196000)"
    ).rows()
    assert result.report.plan.tables[-1].row_groups == tiles[0][0] == 4
    assert result.report.bytes_scanned == result.report.plan.high_bytes


def test_a_large_index_is_asked_in_two_steps_with_the_same_answer(
    lake: Lake, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = (
        "select product_id, sum(red), sum(nir08), count(*) from landsat.pixels "
        f"where sample >= 130 and line < 200 and product_id = '{scenes[1].product_id}' group by all"
    )
    once = lake.sql(query)
    monkeypatch.setattr("lakeq.formats._landsat_scan.SMALL_INDEX_BYTES", 0)
    twice = lake.sql(query)
    rows = once.rows()
    assert rows == twice.rows()
    red, nir08 = (scenes[1].bands[band][:200, 130:] for band in ("red", "nir08"))
    sums = int(red.sum()), int(nir08.sum())
    assert [tuple(map(str, row)) for row in rows] == [
        tuple(map(str, (scenes[1].product_id, *sums, red.size)))
    ]
    pixels = [
        [t for t in each.report.plan.tables if t.name == "landsat.pixels"] for each in (once, twice)
    ]
    assert pixels[0] == pixels[1]


def test_products_are_chosen_by_a_join_with_scenes(lake: Lake, scenes: list[Scene]) -> None:
    query = (
        "select count(*), sum(red) from landsat.pixels join landsat.scenes s using (product_id) "
        "where s.acquired > '2023-07-20' and line < 10"
    )
    result = lake.sql(query)
    assert result.rows() == [(3000, int(scenes[1].bands["red"][:10].sum(dtype=int)))]
    assert result.report.plan.tables[-1].files == 1


def test_only_the_bytes_of_named_bands_and_wanted_tiles_are_read(
    lake: Lake, scenes: list[Scene]
) -> None:
    query = (
        "select avg(red) from landsat.pixels where product_id = $p "
        "and line between 10 and 20 and sample between 140 and 200"
    )
    values = {"p": scenes[0].product_id}
    rows = lake.sql(
        "select sum(byte_length) from landsat.tiles where product_id = $p and band = 'red' "
        "and level = 0 and block_row = 0 and block_column = 1",
        values,
    ).rows()
    plan = lake.plan(query, values)
    result = lake.sql(query, values)
    assert plan.exact
    assert result.report.bytes_scanned == plan.high_bytes
    index = plan.high_bytes - plan.tables[-1].high_bytes
    assert plan.tables[-1].high_bytes == rows[0][0]
    assert dict(plan.tables[-1].columns) == {"red": rows[0][0]}
    assert 0 < index < 50_000
    cut = scenes[0].bands["red"][10:21, 140:201]
    assert result.rows() == [(pytest.approx(cut.mean(), rel=1e-12),)]


def test_two_mentions_of_the_table_read_their_own_tiles(lake: Lake, scenes: list[Scene]) -> None:
    query = (
        "select count(*), sum(b.nir08 - a.red) from landsat.pixels a join landsat.pixels b "
        "using (line, sample) where a.product_id = $a and b.product_id = $b and line < 50"
    )
    values = {"a": scenes[0].product_id, "b": scenes[1].product_id}
    result = lake.sql(query, values)
    first, second = scenes[0].bands["red"][:50], scenes[1].bands["nir08"][:50]
    assert result.rows() == [(first.size, int(second.sum(dtype=int)) - int(first.sum(dtype=int)))]
    read = {(Path(k).name, v) for t in result.report.plan.tables for k, v in t.columns}
    assert {column for column, _ in read if column in ("red", "nir08")} == {"red", "nir08"}
    # Red of one, nir08 of the other, and the index for each, unless an earlier query has asked it.
    assert 2 <= result.report.files_read <= 4


def test_answers_of_the_index_are_kept_and_plans_stay_exact(
    tmp_path: Path, scenes: list[Scene]
) -> None:
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [scene.mtl for scene in scenes])
    query = "select sum(red) from landsat.pixels where line = 3 and product_id = $p"
    values = {"p": scenes[0].product_id}
    read = []
    for _ in range(2):
        assert lake.plan(query, values) == lake.plan(query, values)
        planned = lake.plan(query, values).high_bytes
        result = lake.sql(query, values)
        assert result.rows() == [(int(scenes[0].bands["red"][3].sum(dtype=int)),)]
        assert result.report.bytes_scanned == planned
        read.append(planned)
    assert read[1] < read[0]


def test_a_plan_that_cannot_be_serialised_reads_no_more_than_it_needs(
    lake: Lake, scenes: list[Scene]
) -> None:
    """DuckDB 1.5.5 cannot serialise this plan with the CTEs written out (DECIMAL != DOUBLE)."""
    scene = scenes[0]
    x, y = scene.transform.c + 1000.25, scene.transform.f - 1000.25
    query = (
        'with box(id, x0, x1, y0, y1) as (values {box}), edge(id, ax, ay, bx, "by") as '
        "(values {edge}), near as (select box.id, v.x, v.y, v.red from box join landsat.pixels v "
        "on v.x between x0 and x1 and v.y between y0 and y1 where product_id = $p and red > 0), "
        "inside as (select near.id, x, y, any_value(red) red from near join edge on "
        'near.id = edge.id and (ay > y) <> ("by" > y) and '
        'x < (bx - ax) * (y - ay) / ("by" - ay) + ax '
        "group by near.id, x, y having count(*) % 2 = 1) "
        "select id, sum(red) from inside group by id"
    )
    corners = [(x, y), (x + 500.5, y), (x + 500.5, y - 400), (x, y - 400), (x, y)]
    edges = [(1, *a, *b) for a, b in pairwise(corners)]
    box = (1, x, x + 500.5, y - 400, y)
    text = query.format(box=box, edge=", ".join(map(str, edges)))
    result = lake.sql(text, {"p": scene.product_id})
    wanted = scene.bands["red"][33:47, 33:50]  # middles at 15 + 30 n: 1,005 to 1,500 m east
    assert result.rows() == [(1, int(wanted.sum(dtype=int)))]
    assert {c for t in result.report.plan.tables for c, _ in t.columns} == {"red"}


def test_a_query_of_all_shapes(lake: Lake, scenes: list[Scene]) -> None:
    query = (
        "with p as (select * from landsat.pixels where line = 3 and product_id = $p), "
        "q as (select sample, red from p where sample < 10) "
        "select (select count(*) from landsat.pixels where line = 1), (select max(red) from q), "
        "(select count(*) from p where landsat.pixels.red is null) from landsat.pixels "
        "where landsat.pixels.line = 0 and landsat.pixels.sample = 0 limit 1"
    ).replace("where landsat.pixels.red is null", "where red is null")
    rows = lake.sql(query, {"p": scenes[1].product_id}).rows()
    assert rows == [(600, int(scenes[1].bands["red"][3, :10].max()), 0)]


def _block_bytes(scene: Scene, band: str, block: str) -> int:
    """The bytes of a tile (column_row), as GDAL tells them."""
    with rasterio.open(scene.file(band)) as file:
        return int(file.get_tag_item(f"BLOCK_SIZE_{block}", "TIFF", bidx=1))


def test_a_limit_without_conditions_plans_no_more_than_its_first_tiles(
    lake: Lake, scenes: list[Scene]
) -> None:
    bands = [column for column in scenes[0].bands if column != "pan"]
    result = lake.sql(f"select {', '.join(bands)} from landsat.pixels limit 3")
    assert len(result.rows()) == 3
    report = result.report
    (table,) = (t for t in report.plan.tables if t.name == "landsat.pixels")
    first = min(sum(_block_bytes(s, b, "0_0") for b in bands) for s in scenes)
    both = sum(_block_bytes(scenes[0], b, k) for b in bands for k in ("0_0", "0_1"))
    assert first <= table.high_bytes <= both + (1 << 14) * len(bands)
    assert report.plan.low_bytes < report.plan.high_bytes
    assert report.bytes_scanned <= report.plan.high_bytes
    count = sum(scene.bands["red"].size for scene in scenes)
    few = lake.sql(f"select red from landsat.pixels limit 5 offset {count - 2}")
    assert len(few.rows()) == 2
    inner = "select sum(red) from (select red from landsat.pixels limit 200000)"
    whole = sum(int(scene.bands["red"].sum()) for scene in scenes)
    assert lake.sql(inner).rows() == [(whole,)]


@pytest.mark.parametrize(
    "query",
    [
        "select red from landsat.pixels where red > 0 limit 5",
        "select red from landsat.pixels where nir08 + red > 0 limit 5",
        "select * from landsat.pixels where line < 500 limit 5",
    ],
)
def test_a_limit_stops_the_reading_after_the_first_tiles(lake: Lake, query: str) -> None:
    whole = lake.sql(query.partition(" limit")[0])
    every = len(whole.rows())
    result = lake.sql(query)
    assert len(result.rows()) == 5 < every
    report = result.report
    assert report.plan.low_bytes < report.plan.high_bytes
    assert report.plan.low_bytes <= report.bytes_scanned <= report.plan.high_bytes
    assert report.bytes_scanned < whole.report.bytes_scanned / 3


def test_nothing_is_said_of_athena_which_cannot_read_pixels(lake: Lake) -> None:
    result = lake.sql("select max(red) from landsat.pixels")
    result.rows()
    report = result.report
    assert [option.place for option in report.plan.options] == ["DuckDB here"]
    for text in (str(report), str(report.plan)):
        assert "Athena: landsat.pixels is virtual, materialise first" in text
        assert "for this scan on Athena" not in text
    assert report.plan.to_dict()["virtual"] == ["landsat.pixels"]


def test_a_limit_of_bytes_refuses_before_pixels_are_read(lake: Lake) -> None:
    with pytest.raises(BudgetRefused, match="max_bytes"):
        lake.sql("select sum(red) from landsat.pixels", max_bytes=60_000)


def test_the_query_needs_its_index(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="landsat.tiles"):
        lakeq.connect(tmp_path).sql("select red from landsat.pixels")


def test_a_virtual_table_cannot_be_ingested(tmp_path: Path, scenes: list[Scene]) -> None:
    with pytest.raises(UsageError, match="virtual"):
        lakeq.connect(tmp_path).ingest("landsat.pixels", [scenes[0].mtl])


def test_materialized_pixels_are_the_virtual_ones(tmp_path: Path, scenes: list[Scene]) -> None:
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat", [scenes[0].mtl], materialize=["pixels"])
    snapshot = lake.table("landsat.pixels").snapshot
    assert snapshot is not None
    stored = pa.concat_tables(pq.read_table(file.path) for file in snapshot.files)
    order = [("line", "ascending"), ("sample", "ascending")]
    names = ["product_id", "acquired", "block", "line", "sample", "x", "y", *SURFACE]
    found = stored.select(names).sort_by(order)
    virtual = lake.sql(f"select {', '.join(names)} from landsat.pixels").arrow().sort_by(order)
    assert found.equals(virtual.cast(found.schema))
    meta = pq.read_metadata(snapshot.files[0].path)
    red = next(
        column for n in range(meta.num_columns)
        if (column := meta.row_group(0).column(n)).path_in_schema == "red"
    )  # fmt: skip
    assert (red.physical_type, red.compression) == ("INT32", "ZSTD")
    assert "DELTA_BINARY_PACKED" in red.encodings
    assert str(meta.schema.column(meta.schema.names.index("red")).logical_type) == "None"
    assert stored["lon"].null_count == len(stored)  # left out: wider than all bands


@pytest.mark.parametrize("damage", ["replaced", "gone", "cut", "garbled"])
def test_damage_is_one_clear_error_and_never_fewer_rows(tmp_path: Path, damage: str) -> None:
    scene = make_scene(tmp_path, bands=("red",))
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [scene.mtl])
    path = scene.file("red")
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "garbled":
        row = lake.sql(
            "select byte_offset from landsat.tiles where level = 0 and block_row = 1 "
            "and block_column = 1"
        ).rows()[0]
        start = int(str(row[0]))
        data[start + 30 : start + 60] = bytes(30)
        status = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data + b" ")
    with pytest.raises((BadSource, NotFound)) as raised:
        lake.sql("select sum(red) from landsat.pixels").rows()
    assert path.name in raised.value.where
    if damage == "garbled":
        assert f"byte {start}" in raised.value.where
    if damage in ("replaced", "cut"):
        assert "not the one that was indexed" in raised.value.what
