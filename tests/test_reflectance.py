"""Reflectance, masks and quality flags: against numpy over what rasterio reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import lakeq
from lakeq.api import Lake
from lakeq.errors import QueryFailed, QueryRefused
from tests.support.data import name, real_files
from tests.support.scenes import Scene, make_scene

SURFACE = [
    *real_files("landsat/c2/**/*_MTL.txt"), *real_files("landsat/s3/usgs*/**/*_MTL.txt")
]  # fmt: skip
OLD = real_files("landsat/s3/landsat-pds/**/*_MTL.txt") + real_files("landsat/c1/**/*_MTL.txt")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    lake = lakeq.connect(folder / "lake")
    top = make_scene(folder, level="L1TP", seed=9)
    lake.ingest("landsat", [scene.mtl, top.mtl])
    return lake


def columns(lake: Lake, table: str, names: str) -> dict[str, Any]:
    found = lake.sql(f"select {names} from landsat.{table} order by line, sample").arrow()
    return {name: found[name].to_numpy(zero_copy_only=False) for name in found.column_names}


def check_surface(found: dict[str, Any], red: Any, qa: Any, radsat: Any, heat: Any) -> None:
    values = red.ravel() * 0.0000275 - 0.2
    masked = (red.ravel() == 0) | (qa.ravel() & 1 == 1) | (radsat.ravel() >> 3 & 1 == 1)
    assert np.array_equal(np.isnan(found["red"].astype(float)), masked)
    assert np.allclose(found["red"][~masked].astype(float), values[~masked], rtol=0, atol=1e-7)
    if heat is not None:
        kelvin = heat.ravel() * 0.00341802 + 149
        cold = (heat.ravel() == 0) | (qa.ravel() & 1 == 1)
        assert np.array_equal(np.isnan(found["lwir11"].astype(float)), cold)
        assert np.allclose(found["lwir11"][~cold].astype(float), kelvin[~cold], rtol=0, atol=1e-7)
    bits = {"fill": 0, "dilated_cloud": 1, "cirrus_flag": 2, "cloud": 3, "cloud_shadow": 4,
            "snow": 5, "water": 7}  # fmt: skip
    for flag, bit in bits.items():
        assert np.array_equal(found[flag], (qa.ravel() >> bit & 1).astype(bool)), flag
    assert np.array_equal(found["clear"], (qa.ravel() & 0b111111) == 0)


NAMES = "red, lwir11, fill, dilated_cloud, cirrus_flag, cloud, cloud_shadow, snow, water, clear"


@pytest.mark.parametrize("mtl", SURFACE, ids=name)
def test_surface_reflectance_of_real_scenes(tmp_path: Path, mtl: Path) -> None:
    stem = str(mtl).removesuffix("_MTL.txt")
    if not Path(f"{stem}_SR_B4.TIF").exists():
        pytest.skip("metadata alone")
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat", [mtl])
    found = columns(lake, "surface_reflectance", NAMES)
    read = {}
    for part in ("SR_B4", "QA_PIXEL", "QA_RADSAT", "ST_B10"):
        path = Path(f"{stem}_{part}.TIF")
        read[part] = rasterio.open(path).read(1).astype(int) if path.exists() else None
    check_surface(found, *read.values())
    if read["ST_B10"] is None:  # polar products have no surface temperature
        assert np.isnan(found["lwir11"].astype(float)).all()


def test_surface_reflectance_of_a_made_scene_masks_values_under_fill(
    lake: Lake, scene: Scene
) -> None:
    bands = {band: values.astype(int) for band, values in scene.bands.items()}
    assert ((bands["red"] > 0) & (bands["qa_pixel"] == 1)).any()  # a value where QA says fill
    found = columns(lake, "surface_reflectance", NAMES)
    check_surface(found, bands["red"], bands["qa_pixel"], bands["qa_radsat"], bands["lwir11"])


def test_the_bit_clear_is_set_under_shadow_and_snow_but_the_flag_is_not(lake: Lake) -> None:
    rows = lake.sql(
        "select bool_or(clear), bool_and(qa_pixel >> 6 & 1 = 1), count(*) > 1000 "
        "from landsat.surface_reflectance where cloud_shadow or snow"
    ).rows()
    assert rows == [(False, True, True)]


def test_toa_reflectance_is_divided_by_the_sun(lake: Lake) -> None:
    stored = columns(lake, "pixels", "red, qa_pixel, qa_radsat, product_id")
    found = columns(lake, "toa_reflectance", "red, sun_elevation")
    mine = np.array([p.split("_")[1] == "L1TP" for p in stored["product_id"]])
    red, qa, radsat = (stored[name][mine].astype(int) for name in ("red", "qa_pixel", "qa_radsat"))
    values = (red * 2e-5 - 0.1) / np.sin(np.radians(61.25))
    masked = (red == 0) | (qa & 1 == 1) | (radsat >> 3 & 1 == 1)
    assert len(found["red"]) == len(red)
    assert np.array_equal(np.isnan(found["red"].astype(float)), masked)
    assert np.allclose(found["red"][~masked].astype(float), values[~masked], rtol=0, atol=1e-7)


def test_each_product_is_in_the_table_of_its_level(lake: Lake) -> None:
    for table, level in (("surface_reflectance", "L2SP"), ("toa_reflectance", "L1TP")):
        rows = lake.sql(f"select distinct product_id[6:9] from landsat.{table}").rows()
        assert rows == [(level,)]


@pytest.mark.parametrize("mtl", OLD, ids=name)
def test_quality_of_collection_1(tmp_path: Path, mtl: Path) -> None:
    """Bits as the USGS's page on the Collection 1 quality band has them."""
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat", [mtl])
    found = columns(
        lake, "toa_reflectance",
        "red, fill, cloud, cloud_shadow, snow, cirrus_flag, water, dilated_cloud, clear",
    )  # fmt: skip
    stem = str(mtl).removesuffix("_MTL.txt")
    with rasterio.open(f"{stem}_BQA.TIF") as file:
        qa = file.read(1).astype(int).ravel()
    told = {"fill": qa & 1 == 1, "cloud": qa >> 4 & 1 == 1, "cloud_shadow": qa >> 7 & 3 == 3,
            "snow": qa >> 9 & 3 == 3, "cirrus_flag": qa >> 11 & 3 == 3}  # fmt: skip
    for flag, values in told.items():
        assert np.array_equal(found[flag].astype(bool), values), flag
    assert all(value is None for value in found["water"])
    assert np.array_equal(found["clear"].astype(bool), ~np.logical_or.reduce([*told.values()]))
    saturated = (qa >> 2 & 3) > 0
    assert np.isnan(found["red"].astype(float)[saturated | told["fill"]]).all()


def test_quality_before_the_collections() -> None:
    """Two bits each, of which 3 is yes (LDSDS-2013, table 4-3)."""
    from lakeq.formats import _landsat_quality

    values = np.array([1, 0b11 << 4, 0b11 << 10, 0b11 << 12, 0b11 << 14, 0b10 << 14, 20480])
    told = [
        [name for name in _landsat_quality.FLAGS
         if (found := _landsat_quality.flag(name, values, 0)) is not None and found[n]]
        for n in range(len(values))
    ]  # fmt: skip
    assert told == [["fill"], ["water", "clear"], ["snow"], ["cirrus_flag"], ["cloud"], ["clear"],
                    ["clear"]]  # fmt: skip
    assert _landsat_quality.flag("cloud_shadow", values, 0) is None


def test_macros_give_indices_of_reflectance(lake: Lake, scene: Scene) -> None:
    rows = lake.sql(
        "select avg(ndvi(nir08, red)), avg(ndwi(green, nir08)), avg(nbr(nir08, swir22)) "
        "from landsat.surface_reflectance where clear and qa_radsat = 0"
    ).rows()
    bands = scene.bands
    used = ((bands["qa_pixel"].astype(int) & 0b111111) == 0) & (bands["qa_radsat"] == 0)
    reflectance = {k: np.where(v == 0, np.nan, v * 2.75e-5 - 0.2)[used] for k, v in bands.items()}

    def index(one: str, two: str) -> float:
        a, b = reflectance[one], reflectance[two]
        return float(np.nanmean((a - b) / (a + b)))

    expected = (index("nir08", "red"), index("green", "nir08"), index("nir08", "swir22"))
    assert rows == [pytest.approx(expected, abs=1e-12)]


def test_ndvi_of_stored_integers_is_refused(lake: Lake) -> None:
    """Their offset of -0.2 does not cancel: the numbers would look plausible and be wrong."""
    with pytest.raises(QueryFailed, match="stored integers"):
        lake.sql("select avg(ndvi(nir08, red)) from landsat.pixels").rows()


def test_macros_are_known_where_their_dataset_is_read_and_take_their_arguments(lake: Lake) -> None:
    with pytest.raises(QueryRefused, match="no function ndvi"):
        lake.sql("select ndvi(0.5, 0.1)")
    with pytest.raises(QueryRefused, match="called with 1"):
        lake.sql("select ndvi(nir08) from landsat.surface_reflectance")
    with pytest.raises(QueryRefused, match="did you mean ndvi"):
        lake.sql("select ndvy(nir08, red) from landsat.surface_reflectance")
    named = lake.sql("select avg(ndvi(nir08, red)) from landsat.surface_reflectance").columns
    assert [column.name for column in named] == ["avg(ndvi(nir08, red))"]
    nested = "select ndvi(ndvi(1.0 + 2, 1), sum(x)) v, product_id from (select 1.0 x, product_id"
    rows = lake.sql(f"{nested} from landsat.scenes limit 1) group by all").rows()
    assert rows[0][0] == pytest.approx((0.5 - 1) / (0.5 + 1))
