"""The queries of sql/ over pixels against rasterio, numpy, shapely and exactextract."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import shapely.affinity
from pyproj import Transformer
from rasterio.warp import transform, transform_bounds
from shapely.ops import transform as moved

import lakeq
from lakeq.api import Lake
from lakeq.errors import NotFound, UsageError
from tests.support.scenes import Scene, make_scene

DAYS = (date(2023, 7, 14), date(2023, 7, 30), date(2023, 8, 15))
BITS = 0b111111  # fill, dilated cloud, cirrus, cloud, cloud shadow, snow
SPAN = {"first_day": "2023-07-01", "last_day": "2023-08-31"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    folder = tmp_path_factory.mktemp("scenes")
    return [make_scene(folder, seed=n + 3, day=day, size=(150, 140)) for n, day in enumerate(DAYS)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, made: list[Scene]) -> Lake:
    lake = lakeq.connect(tmp_path_factory.mktemp("lake"))
    lake.ingest("landsat", [scene.mtl for scene in made])
    return lake


def asked(lake: Lake, name: str, **given: object) -> list[dict[str, Any]]:
    texts = {key: str(value) for key, value in given.items()}
    rows: list[dict[str, Any]] = lake.sql(f"@{name}", texts).arrow().to_pylist()
    return rows


class Truth:
    """Reflectance, places and clear pixels of a scene, by rasterio."""

    def __init__(self, scene: Scene) -> None:
        self.values = {}
        for band in ("blue", "green", "red", "nir08"):
            with rasterio.open(scene.file(band)) as file:
                stored = file.read(1)
                self.file = file.profile
            self.values[band] = np.where(stored == 0, np.nan, stored * 0.0000275 - 0.2)
        with rasterio.open(scene.file("qa_radsat")) as file:
            radsat = file.read(1)
        for band, bit in (("blue", 1), ("green", 2), ("red", 3), ("nir08", 4)):
            self.values[band][(radsat >> bit) & 1 == 1] = np.nan
        with rasterio.open(scene.file("qa_pixel")) as file:
            qa = file.read(1)
        for band in self.values.values():
            band[qa & 1 == 1] = np.nan
        self.clear = qa & BITS == 0
        lines, samples = np.indices(qa.shape)
        xs, ys = rasterio.transform.xy(self.file["transform"], lines.ravel(), samples.ravel())
        self.x, self.y = (np.array(v).reshape(qa.shape) for v in (xs, ys))
        lon, lat = transform(self.file["crs"], "EPSG:4326", xs, ys)
        self.lon, self.lat = (np.array(v).reshape(qa.shape) for v in (lon, lat))

    @property
    def ndvi(self) -> Any:
        red, near = self.values["red"], self.values["nir08"]
        with np.errstate(invalid="ignore"):
            return np.where((red > 0) & (near > 0), (near - red) / (near + red), np.nan)

    def within(self, box: tuple[float, ...]) -> Any:
        west, south, east, north = box
        return (self.lon >= west) & (self.lon <= east) & (self.lat >= south) & (self.lat <= north)


def edges(box: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(("west", "south", "east", "north"), box, strict=True))


def box_of(scene: Scene, x: tuple[float, float], y: tuple[float, float]) -> tuple[float, ...]:
    """A box of degrees: shares of the image's width and height."""
    truth = Truth(scene)
    place = rasterio.transform.array_bounds(*truth.clear.shape, truth.file["transform"])
    wide, high = place[2] - place[0], place[3] - place[1]
    inner = (place[0] + x[0] * wide, place[1] + y[0] * high,
             place[0] + x[1] * wide, place[1] + y[1] * high)  # fmt: skip
    found: tuple[float, ...] = transform_bounds(truth.file["crs"], "EPSG:4326", *inner)
    return found


def test_ndvi_of_a_box_equals_numpy(lake: Lake, made: list[Scene]) -> None:
    box = box_of(made[0], (0.2, 0.7), (0.3, 0.8))
    rows = asked(lake, "ndvi_of_box", **edges(box), **SPAN)
    assert [row["product_id"] for row in rows] == [scene.product_id for scene in made]
    for row, scene in zip(rows, made, strict=True):
        truth = Truth(scene)
        inside = truth.within(box)
        ndvi = truth.ndvi[inside & truth.clear]
        ndvi = ndvi[~np.isnan(ndvi)]
        assert row["pixels"] == inside.sum()
        assert row["clear_pixels"] == ndvi.size
        assert row["ndvi"] == pytest.approx(ndvi.mean(), abs=1e-9)
        assert row["ndvi_stddev"] == pytest.approx(ndvi.std(ddof=1), abs=1e-9)


def test_change_between_two_scenes_equals_numpy(lake: Lake, made: list[Scene]) -> None:
    box = box_of(made[0], (0.1, 0.9), (0.1, 0.9))
    rows = asked(lake, "ndvi_change", before=made[0].product_id, after=made[1].product_id,
                 least=0.1, **edges(box))  # fmt: skip
    one, two = Truth(made[0]), Truth(made[1])
    change = two.ndvi - one.ndvi
    with np.errstate(invalid="ignore"):
        use = one.within(box) & one.clear & two.clear & (np.abs(change) >= 0.1)
    wanted = {(x, y): c for x, y, c in zip(one.x[use], one.y[use], change[use], strict=True)}
    assert len(wanted) > 50
    assert {(row["x"], row["y"]) for row in rows} == set(wanted)
    assert all(row["change"] == pytest.approx(wanted[row["x"], row["y"]], abs=1e-9) for row in rows)
    assert [row["change"] for row in rows] == sorted(row["change"] for row in rows)


def test_a_composite_at_points_is_the_median_of_clear_pixels(lake: Lake, made: list[Scene]) -> None:
    truths = [Truth(scene) for scene in made]
    chance = np.random.default_rng(1)
    places = []
    for _ in range(25):
        line, sample = int(chance.integers(8, 130)), int(chance.integers(8, 140))
        shift = chance.uniform(-12, 12, 2)  # inside the pixel
        x, y = truths[0].x[line, sample] + shift[0], truths[0].y[line, sample] + shift[1]
        (lon,), (lat,) = transform(truths[0].file["crs"], "EPSG:4326", [x], [y])
        places.append((line, sample, lon, lat))
    features = [
        {"type": "Feature", "properties": {"name": f"p{n}"},
         "geometry": {"type": "Point", "coordinates": [lon, lat]}}
        for n, (_, _, lon, lat) in enumerate(places)
    ]  # fmt: skip
    points = json.dumps({"type": "FeatureCollection", "features": features})
    rows = asked(lake, "composite_at_points", points=points, **SPAN)
    assert [row["point"] for row in rows] == [f"p{n}" for n in range(25)]
    for row, (line, sample, _, _) in zip(rows, places, strict=True):
        use = [t for t in truths if t.clear[line, sample] and t.values["red"][line, sample] > -1]
        assert row["scenes"] == len(use)
        for band in ("blue", "red", "nir08"):
            values = [t.values[band][line, sample] for t in use]
            values = [value for value in values if not np.isnan(value)]
            wanted = np.median(values) if values else None
            assert row[band] == pytest.approx(wanted, abs=1e-9)


def zones(made: list[Scene]) -> dict[str, Any]:
    box = box_of(made[0], (0.1, 0.9), (0.1, 0.9))
    west, south, east, north = box
    wide, high = east - west, north - south

    def at(*places: tuple[float, float]) -> Any:
        return [(west + x * wide, south + y * high) for x, y in places]

    holed = shapely.Polygon(
        at((0.05, 0.05), (0.6, 0.1), (0.5, 0.6), (0.1, 0.5)),
        [at((0.2, 0.2), (0.4, 0.2), (0.3, 0.4))],
    )
    star = shapely.Polygon(
        at((0.5, 0.95), (0.6, 0.7), (0.95, 0.65), (0.7, 0.5), (0.9, 0.2), (0.55, 0.45))
    )
    parts = shapely.MultiPolygon([
        shapely.Polygon(at((0.02, 0.7), (0.2, 0.7), (0.1, 0.95))),
        shapely.Polygon(at((0.25, 0.75), (0.4, 0.7), (0.4, 0.9))),
    ])  # fmt: skip
    return {"holed": holed, "star": star, "parts": parts}


def geoparquet(folder: Path, shapes: dict[str, Any], crs: object = None) -> Path:
    column = {"encoding": "WKB", "geometry_types": []} | ({"crs": crs} if crs else {})
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    table = pa.table({"name": list(shapes), "geometry": [s.wkb for s in shapes.values()]})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), folder / "z.parquet")
    return folder / "z.parquet"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("{", "not GeoJSON"),
        ('{"type": "FeatureCollection"}', "no FeatureCollection"),
        ('{"type": "Feature", "geometry": {"type": "LineString"}}', "LineString"),
        ("nowhere.geojson", "nowhere.geojson"),
    ],
)
def test_what_is_no_polygon_is_said_before_anything_is_read(
    lake: Lake, given: str, wanted: str
) -> None:
    with pytest.raises((UsageError, NotFound), match=wanted):
        asked(lake, "zonal_statistics", zones=given, **SPAN)


def test_a_file_of_another_reference_system_is_refused(lake: Lake, tmp_path: Path) -> None:
    crs = {"id": {"authority": "EPSG", "code": 32610}}
    path = geoparquet(tmp_path, {"a": shapely.box(0, 0, 1, 1)}, crs)
    with pytest.raises(UsageError, match="reference system"):
        asked(lake, "zonal_statistics", zones=path, **SPAN)


def test_zonal_statistics_equal_shapely_and_are_near_exactextract(
    lake: Lake, made: list[Scene], tmp_path: Path
) -> None:
    from exactextract import exact_extract

    shapes = zones(made)
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": shapely.geometry.mapping(shape),
        }
        for name, shape in shapes.items()
    ]
    collection = json.dumps({"type": "FeatureCollection", "features": features})
    rows = asked(lake, "zonal_statistics", zones=collection, **SPAN)
    assert asked(lake, "zonal_statistics", zones=geoparquet(tmp_path, shapes), **SPAN) == rows
    assert len(rows) == 9
    by = {(row["zone"], row["product_id"]): row for row in rows}
    for scene in made:
        truth = Truth(scene)
        ndvi = np.where(truth.clear, truth.ndvi, np.nan)
        profile = {**truth.file, "driver": "GTiff", "dtype": "float64", "nodata": np.nan,
                   "compress": None}  # fmt: skip
        path = tmp_path / f"{scene.product_id}.tif"
        for key in ("blockxsize", "blockysize", "tiled", "interleave", "predictor"):
            profile.pop(key, None)
        with rasterio.open(path, "w", **profile) as file:
            file.write(ndvi, 1)
        to_map = Transformer.from_crs(4326, truth.file["crs"].to_epsg(), always_xy=True).transform
        for name, shape in shapes.items():
            row = by[name, scene.product_id]
            inside = shapely.contains_xy(shape, truth.lon, truth.lat)
            values = ndvi[inside]
            values = values[~np.isnan(values)]
            assert row["pixels"] == inside.sum()
            assert row["clear_pixels"] == values.size
            assert row["ndvi_mean"] == pytest.approx(values.mean(), abs=1e-9)
            assert row["ndvi_stddev"] == pytest.approx(values.std(), abs=1e-9)
            assert (row["ndvi_min"], row["ndvi_max"]) == pytest.approx((values.min(), values.max()))
            on_map = {"type": "Feature", "geometry": shapely.geometry.mapping(moved(to_map, shape)),
                      "properties": {}}  # fmt: skip
            (weighed,) = exact_extract(str(path), [on_map], ["mean", "count"])
            found = weighed["properties"]  # parts of pixels count there
            assert row["clear_pixels"] == pytest.approx(found["count"], rel=0.05)
            assert row["ndvi_mean"] == pytest.approx(found["mean"], abs=0.02)


def collected(shapes: dict[str, Any]) -> str:
    features = [
        {"type": "Feature", "properties": {"name": n}, "geometry": shapely.geometry.mapping(shape)}
        for n, shape in shapes.items()
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_zones_on_the_map_equal_shapely(lake: Lake, made: list[Scene]) -> None:
    """Holes, several parts, zones that overlap, zones outside, and many random ones."""
    truth = Truth(made[0])
    epsg = truth.file["crs"].to_epsg()
    to_map = Transformer.from_crs(4326, epsg, always_xy=True).transform
    shapes = {name: moved(to_map, shape) for name, shape in zones(made).items()}
    shapes["over"] = shapely.affinity.translate(shapes["star"], 111.7, -47.3)
    shapes["outside"] = shapely.box(0.5, 0.5, 900.5, 900.5)
    chance = np.random.default_rng(5)
    west, east, south, north = truth.x.min(), truth.x.max(), truth.y.min(), truth.y.max()
    for n in range(12):
        x, y = chance.uniform(west, east), chance.uniform(south, north)
        turn = np.sort(chance.uniform(0, 2 * np.pi, 9))
        far = chance.uniform(30, 900, 9)
        corners = np.column_stack([x + far * np.cos(turn), y + far * np.sin(turn)])
        shapes[f"random{n}"] = shapely.Polygon(corners)
    result = lake.sql(
        "@zonal_statistics_on_map", {"zones": collected(shapes), "epsg": str(epsg), **SPAN}
    )
    by = {(row["zone"], row["product_id"]): row for row in result.arrow().to_pylist()}
    for scene in made:
        truth = Truth(scene)
        ndvi = np.where(truth.clear, truth.ndvi, np.nan)
        for name, shape in shapes.items():
            inside = shapely.contains_xy(shape, truth.x, truth.y)
            row = by.pop((name, scene.product_id), None)
            assert (row or {"pixels": 0})["pixels"] == inside.sum()
            values = ndvi[inside][~np.isnan(ndvi[inside])]
            if row is not None and values.size:
                assert row["clear_pixels"] == values.size
                assert row["ndvi_mean"] == pytest.approx(values.mean(), abs=1e-9)
                assert row["ndvi_stddev"] == pytest.approx(values.std(), abs=1e-9)
                found = row["ndvi_min"], row["ndvi_max"]
                assert found == pytest.approx((values.min(), values.max()))
    assert not by


def test_zones_that_share_an_edge_through_pixels_share_no_pixel(
    lake: Lake, made: list[Scene]
) -> None:
    truth = Truth(made[0])
    x, y = truth.x[20, 30], truth.y[20, 30]  # the middle of a pixel
    parts = {
        f"{n}{m}": shapely.box(x + 300 * n, y - 300 * m, x + 300 * (n + 1), y - 300 * (m + 1))
        for n in range(3)
        for m in range(3)
    }
    epsg = str(truth.file["crs"].to_epsg())
    rows = asked(lake, "zonal_statistics_on_map", zones=collected(parts), epsg=epsg, **SPAN)
    counts = [row["pixels"] for row in rows if row["product_id"] == made[0].product_id]
    assert counts == [100] * 9


def test_a_point_reads_the_tiles_that_it_lies_in(lake: Lake, made: list[Scene]) -> None:
    truth = Truth(made[0])
    place = [truth.lon[10, 10], truth.lat[10, 10]]
    feature = {"type": "Feature", "id": "p", "geometry": {"type": "Point", "coordinates": place}}
    points = json.dumps({"type": "FeatureCollection", "features": [feature]})
    result = lake.sql("@composite_at_points", {"points": points, **SPAN})
    assert result.arrow().num_rows == 1
    (plan,) = [t for t in result.report.plan.tables if t.name == "landsat.surface_reflectance"]
    assert plan.row_groups == 3 * 6  # one of four tiles, of six bands, of three scenes


def test_a_join_with_days_chooses_their_scenes(lake: Lake) -> None:
    asked = (
        "with days(day) as (values (date '2023-07-14'), (date '2023-08-15'), (null)) "
        "select day, count(*) from days join landsat.pixels v on v.acquired >= day "
        "and v.acquired < day + 1 where v.line < 9 and v.sample < 9 group by day order by day"
    )
    result = lake.sql(asked)
    assert result.rows() == [(DAYS[0], 81), (DAYS[2], 81)]
    whole = lake.sql("select count(red) from landsat.pixels").report.bytes_scanned
    assert result.report.bytes_scanned < whole
