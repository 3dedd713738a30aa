"""Metadata of real products: three forms of MTL and STAC items against each other and GDAL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import shapely

import lakeq
from lakeq.api import Lake
from lakeq.errors import BadSource
from tests.support.data import name, real_file, real_files

MTL = real_files("landsat/**/*MTL.*")
STAC = real_files("landsat/**/*stac.json") + real_files("landsat/stac/*.json")
TIFFS = real_files("landsat/c2/**/*_B4.TIF") + real_files("landsat/s3/**/*_B4.TIF")
THREE_FORMS = sorted({path.parent for path in MTL if path.suffix == ".json" and "L2S" in path.name})


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lakeq.connect(tmp_path_factory.mktemp("landsat"))


def scene(lake: Lake, path: Path) -> dict[str, Any]:
    """The one row of an object, ingested alone."""
    lake = lakeq.connect(Path(str(lake.settings.lake)) / path.name)
    lake.ingest("landsat.scenes", [path])
    (row,) = lake.sql("select * exclude (_source) from landsat.scenes").arrow().to_pylist()
    return dict(row)


@pytest.mark.parametrize("folder", THREE_FORMS, ids=name)
def test_the_three_forms_of_an_mtl_file_say_the_same(lake: Lake, folder: Path) -> None:
    rows = [scene(lake, path) for path in sorted(folder.glob("*_MTL.*"))]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]


def flat(path: Path) -> list[tuple[str, str, str]]:
    """Group, key and text of every statement, by patterns: not as lakeq reads them."""
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        (root,) = json.loads(text).values()
        return [(g, k, str(v)) for g, keys in root.items() for k, v in keys.items()]
    group, found = "", []
    for line in text.splitlines():
        if begun := re.fullmatch(r"\s*(?:GROUP = (\w+)|<([A-Z0-9_]+)>)", line):
            group = begun[1] or begun[2]
        elif said := re.fullmatch(r'\s*<?(\w+)(?:>| = )"?(.*?)"?(?:</\w+>)?', line):
            found.append((group, said[1], said[2]))
    return found


@pytest.mark.parametrize("path", MTL, ids=name)
def test_values_of_an_mtl_file_are_those_of_its_groups(lake: Lake, path: Path) -> None:
    told = flat(path)
    first = {key: value for group, key, value in reversed(told) if not group.startswith("LEVEL1")}
    row = scene(lake, path)
    assert (row["path"], row["row"]) == (int(first["WRS_PATH"]), int(first["WRS_ROW"]))
    assert row["platform"] == first["SPACECRAFT_ID"]
    assert row["sensor"] == first["SENSOR_ID"]
    assert row["sun_elevation"] == float(first["SUN_ELEVATION"])
    assert row["sun_azimuth"] == float(first["SUN_AZIMUTH"])
    assert row["cloud_cover"] == float(first["CLOUD_COVER"])
    assert row["acquired"].isoformat()[:10] == first["DATE_ACQUIRED"]
    assert row["acquired"].isoformat()[11:26] in first["SCENE_CENTER_TIME"]
    assert (row["lines"], row["samples"]) == (
        int(first["REFLECTIVE_LINES"]),
        int(first["REFLECTIVE_SAMPLES"]),
    )
    size = float(first["GRID_CELL_SIZE_REFLECTIVE"])
    assert row["x_origin_m"] == float(first["CORNER_UL_PROJECTION_X_PRODUCT"]) - size / 2
    assert row["y_origin_m"] == float(first["CORNER_UL_PROJECTION_Y_PRODUCT"]) + size / 2
    products = {first[key] for key in ("LANDSAT_PRODUCT_ID", "LANDSAT_SCENE_ID") if key in first}
    assert row["product_id"] in products
    corners = [
        (float(first[f"CORNER_{c}_LON_PRODUCT"]), float(first[f"CORNER_{c}_LAT_PRODUCT"]))
        for c in ("UL", "UR", "LL", "LR")
    ]
    footprint = shapely.from_wkb(row["footprint"])
    assert footprint.is_valid
    for corner in corners:  # middles of pixels, so half a pixel inside
        assert footprint.buffer(2e-3).contains(shapely.Point(corner))
        assert not footprint.buffer(-0.05).contains(shapely.Point(corner))


@pytest.mark.parametrize("path", [p for p in MTL if "_L2S" in p.name], ids=name)
def test_scales_of_level_2_are_not_those_of_level_1(lake: Lake, path: Path) -> None:
    assets = {asset["name"]: asset for asset in scene(lake, path)["assets"]}
    assert (assets["SR_B4"]["scale"], assets["SR_B4"]["offset"]) == (2.75e-05, -0.2)
    assert assets["SR_B4"]["quantity"] == "surface_reflectance"
    for thermal in assets.keys() & {"ST_B6", "ST_B10"}:
        assert (assets[thermal]["scale"], assets[thermal]["offset"]) == (0.00341802, 149.0)


def test_a_level_2_file_holds_keys_twice_with_other_values() -> None:
    told = flat(real_file(f"landsat/c2/level-2/{LANDSAT}/{LANDSAT}_MTL.txt"))
    by_key: dict[str, set[str]] = {}
    for _, key, value in told:
        if key != "END_GROUP":
            by_key.setdefault(key, set()).add(value)
    assert sum(len(values) > 1 for values in by_key.values()) == 44


LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"


@pytest.mark.parametrize("path", STAC, ids=name)
def test_stac_items_say_what_the_mtl_file_says(lake: Lake, path: Path) -> None:
    row = scene(lake, path)
    twin = next((p for p in MTL if p.name.startswith(f"{row['product_id']}_MTL")), None)
    outline = shapely.from_wkb(row["footprint"])
    assert outline.is_valid
    if twin is None:
        return
    other = scene(lake, twin)
    same = ["product_id", "path", "row", "processing_level", "collection", "tier", "platform"]
    same += ["sensor", "sun_elevation", "sun_azimuth", "cloud_cover", "scene_id", "processed"]
    assert {k: row[k] for k in same} == {k: other[k] for k in same}
    if row["acquired"].time().isoformat() != "00:00:00":
        assert row["acquired"] == other["acquired"]
    if row["lines"] is not None:
        grid = ["epsg", "utm_zone", "lines", "samples", "pixel_size_m", "x_origin_m", "y_origin_m"]
        assert {k: row[k] for k in grid} == {k: other[k] for k in grid}
    if row["footprint_source"] == "stac":
        image = shapely.from_wkb(other["footprint"])
        assert image.buffer(0.01).contains(outline)  # the image holds the scene
    names = {asset["name"] for asset in other["assets"] if asset["name"][:4] != "MTL."}
    own = {asset["name"] for asset in row["assets"]}
    part = {"SR": "ST_", "ST": "SR_"}.get(path.stem.removesuffix("_stac")[-2:], "none")
    assert {n for n in names if not n.startswith(part)} <= own | {"ANG.txt"}


@pytest.mark.parametrize("path", TIFFS, ids=name)
def test_the_grid_is_that_of_the_tiff(lake: Lake, path: Path) -> None:
    import rasterio

    mtl = path.with_name(re.sub(r"_(SR_)?B4\.TIF", "_MTL.txt", path.name))
    row = scene(lake, mtl)
    with rasterio.open(path) as tiff:  # the whole image at a lower resolution
        bounds = tiff.bounds
        assert row["epsg"] == tiff.crs.to_epsg()
        wide = row["samples"] * row["pixel_size_m"]
        assert bounds.right - bounds.left == pytest.approx(wide, rel=5e-3)
        if wide == pytest.approx(bounds.right - bounds.left, abs=1):
            assert (row["x_origin_m"], row["y_origin_m"]) == (bounds.left, bounds.top)
    asset = next(a for a in row["assets"] if a["name"] in ("SR_B4", "B4"))
    assert (asset["uri"], asset["size_bytes"]) == (path.resolve().as_uri(), path.stat().st_size)


def spoiled(tmp_path: Path, text: str | bytes, suffix: str = "txt") -> Path:
    path = tmp_path / f"{LANDSAT}_MTL.{suffix}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def without_group(group: str) -> str:
    text = real_file(f"landsat/c2/level-2/{LANDSAT}/{LANDSAT}_MTL.txt").read_text()
    return re.sub(rf"  GROUP = {group}\n.*?END_GROUP = {group}\n", "", text, flags=re.DOTALL)


BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'
BAD: Mapping[str, tuple[str | bytes, str, str]] = {
    "html": ("<!DOCTYPE html><html><body>403 Forbidden</body></html>", "txt", "HTML page"),
    "entities": (BOMB, "xml", "document type"),
    "not an mtl": ("GROUP = OTHER\nEND_GROUP = OTHER\nEND\n", "txt", "OTHER"),
    "cut": ("GROUP = L1_METADATA_FILE\n  GROUP = IMAGE_ATTRIBUTES\n    SUN", "txt", "line 3"),
    "empty": ("", "txt", "empty"),
    "json": ('{"LANDSAT_METADATA_FILE": ', "json", "not JSON"),
    "other json": ('{"a": 1}', "json", "neither an MTL file nor STAC"),
    "deep": ("[" * 100_000, "json", "not JSON"),
    "xml": ("<LANDSAT_METADATA_FILE><A></LANDSAT_METADATA_FILE>", "xml", "not XML"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_metadata_is_one_error_that_says_where(tmp_path: Path, case: str) -> None:
    text, suffix, wanted = BAD[case]
    path = spoiled(tmp_path, text, suffix)
    lake = lakeq.connect(tmp_path / "lake")
    with pytest.raises(BadSource) as caught:
        lake.ingest("landsat.scenes", [path])
    assert wanted in str(caught.value)
    assert path.name in caught.value.where
    assert caught.value.hint
    assert not any(table.rows for table in lake.tables())


@pytest.mark.parametrize(
    "group",
    ["PRODUCT_CONTENTS", "IMAGE_ATTRIBUTES", "PROJECTION_ATTRIBUTES", "LEVEL1_PROCESSING_RECORD",
     "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"],
)  # fmt: skip
def test_a_missing_group_is_named(tmp_path: Path, group: str) -> None:
    path = spoiled(tmp_path, without_group(group))
    with pytest.raises(BadSource, match=group):
        lakeq.connect(tmp_path / "lake").ingest("landsat.scenes", [path])


def product_of(product: str) -> Path:
    """The MTL file of a real product, as text or XML."""
    found = [p for p in MTL if p.name.startswith(product)]
    if not found:
        pytest.skip("no real data")
    return min(found, key=lambda path: path.suffix != ".txt")


def test_a_polar_scene_has_no_utm_zone_and_no_surface_temperature(lake: Lake) -> None:
    row = scene(lake, product_of("LC08_L2SR_099120"))
    assert (row["epsg"], row["utm_zone"]) == (3031, None)
    assert not any(asset["name"].startswith("ST_") for asset in row["assets"])
    assert -83 < row["bbox"]["ymin"] < row["bbox"]["ymax"] < -79


def test_a_southern_scene_has_a_northern_zone_and_negative_northing(lake: Lake) -> None:
    row = scene(lake, product_of("LC08_L2SP_001062"))
    assert (row["epsg"], row["utm_zone"]) == (32620, 20)
    assert row["y_origin_m"] < 0
    assert -5 < row["bbox"]["ymin"] < row["bbox"]["ymax"] < 0


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("c2/level-2/*/LC08_L2SP_008059*_SR_stac.json", (8, 59)),  # wrs_path "8"
        ("stac/LC08_L2SP_028030*.json", (28, 30)),  # wrs_path "028"
    ],
)
def test_paths_are_numbers_however_they_are_written(
    lake: Lake, name: str, place: tuple[int, int]
) -> None:
    path = next(iter(real_files(f"landsat/{name}")), None)
    if path is None:
        pytest.skip("no real data")
    row = scene(lake, path)
    assert (row["path"], row["row"]) == place


def test_every_generation_of_sensors_and_collections_is_read(lake: Lake) -> None:
    found = {
        (row["platform"], row["sensor"], row["collection"], row["processing_level"])
        for row in (scene(lake, path) for path in MTL)
    }
    if not found:
        pytest.skip("no real data")
    wanted = {
        ("LANDSAT_1", "MSS", 2, "L1GS"),
        ("LANDSAT_5", "TM", 2, "L2SP"),
        ("LANDSAT_7", "ETM", 2, "L2SP"),
        ("LANDSAT_8", "OLI_TIRS", 0, "L1T"),
        ("LANDSAT_8", "OLI_TIRS", 1, "L1TP"),
        ("LANDSAT_8", "OLI_TIRS", 2, "L2SR"),
    }
    assert wanted <= found


def test_assets_of_a_product_alone_lie_in_the_public_bucket(lake: Lake) -> None:
    row = scene(lake, product_of("LE07_L2SP_021030"))
    folder = "s3://usgs-landsat/collection02/level-2/standard/etm/2010/021/030/"
    assert row["folder"] == f"{folder}{row['product_id']}/"
    uris = {asset["name"]: asset["uri"] for asset in row["assets"]}
    assert uris["SR_B4"] == f"{row['folder']}{row['product_id']}_SR_B4.TIF"
    assert all(asset["size_bytes"] is None for asset in row["assets"])


def test_the_layout_of_before_2012_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "LT50440332008196PAC01_MTL.txt"
    path.write_text(
        "GROUP = L1_METADATA_FILE\n GROUP = METADATA_FILE_INFO\n"
        "  PRODUCT_CREATION_TIME = 2010-01-01T00:00:00Z\n END_GROUP = METADATA_FILE_INFO\n"
        ' GROUP = PRODUCT_METADATA\n  SPACECRAFT_ID = "Landsat5"\n'
        "  ACQUISITION_DATE = 2008-07-14\n END_GROUP = PRODUCT_METADATA\n"
        "END_GROUP = L1_METADATA_FILE\nEND\n"
    )
    lake = lakeq.connect(tmp_path / "lake")
    with pytest.raises(BadSource, match="before August 2012"):
        lake.ingest("landsat", [path])
