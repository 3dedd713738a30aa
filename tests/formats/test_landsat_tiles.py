"""The index of tiles: every block of every band lies where GDAL says; damage is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import rasterio

import lakeq
from lakeq.api import Lake
from lakeq.errors import BadSource
from tests.support.data import name, real_files
from tests.support.scenes import make_scene

MTLS = [
    p for p in real_files("landsat/**/*_MTL.txt") if list(p.parent.glob(f"{p.name[:-8]}_*.TIF"))
]


def tiles(tmp_path: Path, mtl: Path) -> list[dict[str, Any]]:
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [mtl])
    rows = lake.sql("select * from landsat.tiles order by object, level, block_row, block_column")
    found: list[dict[str, Any]] = rows.arrow().to_pylist()
    return found


def blocks(path: Path) -> list[tuple[int, int, int, int, int]]:
    """Level, row, column, offset and size of each block as GDAL tells them."""
    found = []
    with rasterio.open(path) as file:
        levels = len(file.overviews(1))
    if path.with_name(path.name + ".ovr").exists():
        levels = 0  # those are another object
    for level in range(levels + 1):
        options = {"overview_level": level - 1} if level else {}
        with rasterio.open(path, **options) as file:
            height, width = file.block_shapes[0]
            across, down = -(-file.width // width), -(-file.height // height)
        with rasterio.open(path) as file:
            for row in range(down):
                for column in range(across):
                    tags = [
                        file.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1,
                                          ovr=level - 1 if level else None)
                        for what in ("OFFSET", "SIZE")
                    ]  # fmt: skip
                    offset, size = (int(tag or 0) for tag in tags)
                    found.append((level, row, column, offset, size))
    return found


@pytest.mark.parametrize("mtl", MTLS, ids=name)
def test_blocks_of_real_products_lie_where_gdal_says(tmp_path: Path, mtl: Path) -> None:
    check(tmp_path, mtl)


def test_blocks_of_a_made_product_lie_where_gdal_says(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    rows = check(tmp_path, scene.mtl)
    assert {row["band"] for row in rows} == set(scene.bands)
    assert max(row["level"] for row in rows) == 2


def check(tmp_path: Path, mtl: Path) -> list[dict[str, Any]]:
    rows = tiles(tmp_path, mtl)
    files = sorted({row["object"] for row in rows if not row["object"].endswith(".ovr")})
    assert files
    for uri in files:
        path = Path(uri.removeprefix("file://"))
        mine = [row for row in rows if row["object"] == uri]
        told = [tuple(row[k] for k in ("level", "block_row", "block_column", "byte_offset",
                                       "byte_length")) for row in mine]  # fmt: skip
        assert told == blocks(path)
        with rasterio.open(path) as file:
            main = [row for row in mine if row["level"] == 0]
            assert min(row["x_min"] for row in main) == file.bounds.left
            assert max(row["y_max"] for row in main) == file.bounds.top
            assert max(row["x_max"] for row in main) == pytest.approx(file.bounds.right, rel=1e-15)
            assert sum(row["lines"] * row["samples"] for row in main) == file.width * file.height
            assert {row["epsg"] for row in mine} == {file.crs.to_epsg()}
            assert {row["nodata"] for row in mine} == {file.nodata}
            assert {row["data_type"] for row in mine} == {file.dtypes[0]}
    return rows


@pytest.mark.parametrize("mtl", [p for p in MTLS if list(p.parent.glob("*.ovr"))], ids=name)
def test_overviews_beside_are_indexed_as_files_of_their_own(tmp_path: Path, mtl: Path) -> None:
    rows = tiles(tmp_path, mtl)
    for uri in {row["object"] for row in rows if row["object"].endswith(".ovr")}:
        path = Path(uri.removeprefix("file://"))
        mine = [row for row in rows if row["object"] == uri]
        with rasterio.open(path.with_suffix("")) as file:
            assert {row["level"] for row in mine} == {*range(1, len(file.overviews(1)) + 1)}
            bounds = file.bounds
        assert {row["x_origin"] for row in mine} == {bounds.left}
        assert max(row["x_max"] for row in mine) == pytest.approx(bounds.right, rel=1e-12)
        told = [(row["level"] - 1, row["block_row"], row["block_column"], row["byte_offset"],
                 row["byte_length"]) for row in mine]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert told == blocks(path)


def test_metadata_without_images_beside_them_have_no_tiles(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red",))
    scene.file("red").unlink()
    assert tiles(tmp_path, scene.mtl) == []


def test_a_web_page_named_tif_stops_the_ingest_and_names_the_file(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red", "nir08"))
    scene.file("red").write_bytes(b"<html>403 Forbidden</html>")
    lake = lakeq.connect(tmp_path / "lake")
    with pytest.raises(BadSource, match="no TIFF") as raised:
        lake.ingest("landsat", [scene.mtl])
    assert scene.file("red").name in raised.value.where
    assert not rows_of(lake)


def rows_of(lake: Lake) -> int:
    return sum(info.rows for info in lake.tables())


def test_bands_on_other_grids_are_refused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red", "nir08"))
    other = make_scene(tmp_path / "other", bands=("red",), size=(299, 280))
    scene.file("red").write_bytes(other.file("red").read_bytes())
    lake = lakeq.connect(tmp_path / "lake")
    with pytest.raises(BadSource, match="299 x 280"):
        lake.ingest("landsat", [scene.mtl])


def test_a_product_ingested_again_replaces_its_tiles(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red",))
    lake = lakeq.connect(tmp_path / "lake")
    for _ in range(2):
        lake.ingest("landsat", [scene.mtl])
    count = lake.sql("select count(*) from landsat.tiles where level = 0").rows()
    assert count == [(9,)]


def test_a_made_product_without_a_band_named_in_its_metadata(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, bands=("red", "nir08"))
    assert "FILE_NAME_BAND_5" in json.loads(scene.mtl.read_text())["LANDSAT_METADATA_FILE"][
        "PRODUCT_CONTENTS"]  # fmt: skip
    scene.file("nir08").unlink()
    assert {row["band"] for row in tiles(tmp_path, scene.mtl)} == {"red"}
