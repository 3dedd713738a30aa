"""The Landsat queries of sql/ against loops over the same scenes, and shapely."""

from __future__ import annotations

import json
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import shapely

import lakeq
from lakeq.api import Lake
from tests.support.landsat import Scene, scenes, write_list

MADE = [*scenes(4000, 5), *scenes(30, 6, (84, 24))]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("scenes")
    lake = lakeq.connect(folder / "lake")
    lake.ingest("landsat.scenes", [write_list(folder / "scene_list.csv", MADE)])
    lake.refresh("landsat.scenes_latest")
    lake.refresh("landsat.scenes_recent")
    return lake


def asked(lake: Lake, name: str, **given: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.sql(f"@{name}", given).arrow().to_pylist()
    return rows


def latest() -> list[Scene]:
    """The newest of each scene."""
    found: dict[object, Scene] = {}
    for scene in MADE:
        key = (scene.path, scene.row, scene.acquired.date())
        if key not in found or scene.made > found[key].made:
            found[key] = scene
    return list(found.values())


def footprints(lake: Lake) -> dict[str, Any]:
    rows = lake.sql("select product_id, footprint from landsat.scenes").rows()
    return {product: shapely.from_wkb(outline) for product, outline in rows}


BOXES = {
    "europe": (5.0, 45.0, 12.0, 50.0),
    "antimeridian": (175.0, 40.0, -170.0, 60.0),
    "south": (-70.0, -40.0, -60.0, -20.0),
    "polar": (-180.0, 70.0, 180.0, 83.0),
}


@pytest.mark.parametrize("name", BOXES)
def test_scenes_in_a_box_are_those_whose_bounds_overlap_it(lake: Lake, name: str) -> None:
    west, south, east, north = BOXES[name]
    places = {"west": west, "south": south, "east": east, "north": north}
    given = {key: str(value) for key, value in places.items()}
    rows = asked(
        lake, "scenes_in_box", **given,
        first_day="2014-06-01", last_day="2019-05-31", max_cloud="60", level="L1",
    )  # fmt: skip
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    boxes = [shapely.box(w, south, e, north) for w, e in parts]
    outlines = footprints(lake)
    wanted = set()
    for scene in latest():
        day = scene.acquired.date()
        bounds = [shapely.box(*part.bounds) for part in shapely.get_parts(outlines[scene.product])]
        inside = date(2014, 6, 1) <= day <= date(2019, 5, 31) and 0 <= scene.cloud <= 60
        if inside and any(box.intersects(bound) for box in boxes for bound in bounds):
            wanted.add(scene.product)
    assert wanted
    assert {row["product_id"] for row in rows} == wanted
    assert [row["acquired"] for row in rows] == sorted(row["acquired"] for row in rows)


def test_gaps_of_a_path_and_row_are_those_between_its_days(lake: Lake) -> None:
    rows = asked(lake, "scene_revisits", path="84", row="24", max_cloud="50")
    days = sorted(
        {
            scene.acquired.date()
            for scene in MADE
            if (scene.path, scene.row) == (84, 24) and 0 <= scene.cloud <= 50
        }
    )
    assert len(days) > 2
    assert [row["day"] for row in rows] == days
    gaps = [None, *((b - a).days for a, b in pairwise(days))]
    assert [row["gap_days"] for row in rows] == gaps


def test_the_latest_of_each_scene_are_kept_by_path_and_row(lake: Lake) -> None:
    rows = lake.sql("select product_id, path, row, acquired from landsat.scenes_latest").rows()
    assert {row[0] for row in rows} == {scene.product for scene in latest()}
    assert [row[1:] for row in rows] == sorted(row[1:] for row in rows)
    assert lake.table("landsat.scenes").rows == len(MADE)  # the history stays


def test_the_recent_scenes_are_those_of_the_last_year(lake: Lake) -> None:
    newest = max(scene.acquired for scene in MADE)
    wanted = {s.product for s in latest() if (newest - s.acquired).total_seconds() < 366 * 86_400}
    rows = lake.sql("select product_id, acquired from landsat.scenes_recent").rows()
    assert {row[0] for row in rows} == wanted
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)


def test_footprints_of_a_list_are_valid_and_split_at_the_antimeridian(lake: Lake) -> None:
    for outline in footprints(lake).values():
        assert outline.is_valid
        west, _, east, _ = outline.bounds
        parts = shapely.get_parts(outline)
        assert (east - west < 180) or len(parts) > 1 or abs(outline.centroid.y) > 75


def test_a_file_is_geoparquet_that_geopandas_metadata_describes(lake: Lake) -> None:
    folder = Path(lake.settings.lake) / "warehouse" / "landsat" / "scenes" / "data"
    path = next(iter(sorted(folder.rglob("*.parquet"))))
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB"
    table = pq.read_table(path)
    outlines = shapely.from_wkb(table[geo["primary_column"]].to_pylist())
    kinds = {outline.geom_type for outline in outlines}
    assert kinds <= set(column["geometry_types"])
    covering = {
        n: [row[p[1]] for row in table[p[0]].to_pylist()]
        for n, p in column["covering"]["bbox"].items()
    }
    for number, outline in enumerate(outlines):
        west, south, east, north = outline.bounds
        assert covering["xmin"][number] <= west
        assert covering["ymin"][number] <= south
        assert covering["xmax"][number] >= east
        assert covering["ymax"][number] >= north
        assert all(part.exterior.is_ccw for part in shapely.get_parts(outline))
