"""Scenes as xarray, equal to odc-stac and rioxarray where grids agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr

import lakeq
from lakeq.api import Lake
from lakeq.errors import NotFound, UnknownName, UsageError
from tests.support.data import real_file
from tests.support.landsat import MadeScene

SERIES = [
    MadeScene("LC08_L2SP_028030_20200114_20200824_02_T1", 300_015, 4_800_015, 200, 150, 10),
    MadeScene("LC08_L2SP_028030_20200130_20200823_02_T1", 300_915, 4_799_115, 180, 170, 20),
    MadeScene("LC08_L2SP_028030_20200215_20200823_02_T1", 299_115, 4_801_215, 190, 160, 70),
]
OTHER = MadeScene("LC08_L2SP_030030_20200112_20200824_02_T1", 300_015, 4_800_015, 90, 80, 5, 32614)
BANDS = {"red": "SR_B4", "nir08": "SR_B5", "qa_pixel": "QA_PIXEL"}
REAL = "LC08_L2SP_001062_20201031_20201106_02_T2"
REAL_FOLDER = f"landsat/s3/usgs-landsat/collection02/level-2/standard/oli-tirs/2020/001/062/{REAL}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for scene in (*SERIES, OTHER):
        scene.write(folder)
    return folder


@pytest.fixture(scope="module")
def lake(folder: Path) -> Lake:
    lake = lakeq.connect(folder / "lake")
    lake.ingest("landsat.scenes", [str(folder / "*_stac.json")])
    return lake


@pytest.fixture(scope="module")
def by_odc(folder: Path) -> xr.Dataset:
    items = []
    for scene in SERIES:
        item = pystac.Item.from_file(str(folder / f"{scene.product}_stac.json"))
        item.make_asset_hrefs_absolute()
        items.append(item)
    loaded = odc.stac.load(
        items,
        bands=list(BANDS.values()),
        crs="EPSG:32615",
        resolution=30,
        anchor="center",  # middles of Landsat's pixels are multiples of 30 m
        groupby="id",
    )
    assert isinstance(loaded, xr.Dataset)
    return loaded


def test_a_series_equals_odc_stac(lake: Lake, by_odc: xr.Dataset) -> None:
    found = lake.open_scenes(path_row="28/30", bands=list(BANDS), values="stored")
    assert found.sizes == {"time": 3, "y": 250, "x": 230}
    theirs = by_odc.sel(  # whose grid may be wider
        x=slice(float(found.x[0]), float(found.x[-1])),
        y=slice(float(found.y[0]), float(found.y[-1])),
    )
    assert theirs.sizes == found.sizes
    np.testing.assert_array_equal(found.x, theirs.x)
    np.testing.assert_array_equal(found.y, theirs.y)
    for name, asset in BANDS.items():
        assert found[name].dtype == np.uint16
        np.testing.assert_array_equal(found[name].values, theirs[asset].values)


def test_the_reference_system_is_what_rioxarray_reads(lake: Lake, folder: Path) -> None:
    scene = SERIES[1]
    found = lake.open_scenes(scene.product, bands="red", values="stored")
    theirs = rioxarray.open_rasterio(folder / f"{scene.product}_SR_B4.TIF")
    assert isinstance(theirs, xr.DataArray)
    assert found.rio.crs == theirs.rio.crs
    assert found.rio.transform() == theirs.rio.transform()
    assert found["red"].rio.nodata == 0
    np.testing.assert_array_equal(found.x, theirs.x)
    np.testing.assert_array_equal(found.y, theirs.y)
    shared = found["spatial_ref"].attrs.keys() & theirs["spatial_ref"].attrs.keys()
    assert {"crs_wkt", "spatial_ref", "GeoTransform", "grid_mapping_name"} <= shared
    np.testing.assert_array_equal(found["red"].values, theirs.values)


def test_scaled_values_are_reflectance_and_nan_where_there_is_no_data(
    lake: Lake, folder: Path
) -> None:
    scene = SERIES[0]
    found = lake.open_scenes(scene.product, bands=["red", "nir08", "qa_pixel"])
    with rasterio.open(folder / f"{scene.product}_SR_B4.TIF") as file:
        stored = file.read(1, masked=True)
    wanted = (stored.astype(np.float64) * 2.75e-5 - 0.2).filled(np.nan)
    np.testing.assert_allclose(found["red"][0], wanted, atol=1e-7, equal_nan=True)
    assert found["red"].dtype == np.float32
    assert found["red"].attrs["units"] == "1"
    assert found["qa_pixel"].dtype == np.uint16
    assert np.isnan(wanted).sum() > 100


def test_indices_of_every_kind_give_what_numpy_gives(lake: Lake) -> None:
    lazy = lake.open_scenes(path_row="28/30", bands="red", values="stored")["red"]
    whole = lake.open_scenes(path_row="28/30", bands="red", values="stored")["red"].load().values
    for key in (
        np.s_[0], np.s_[1, 5:90:7, 30], np.s_[:, ::-1, 10:20], np.s_[2, -1, -1],
        np.s_[:, 10:10], np.s_[-1, :, 219], np.s_[::2, 200:, :3],
    ):  # fmt: skip
        np.testing.assert_array_equal(lazy[key].values, whole[key])
    np.testing.assert_array_equal(
        lazy.isel(y=[7, 3, 7], x=[200, 0]).values, whole[:, [7, 3, 7]][:, :, [200, 0]]
    )


def test_opening_reads_no_pixels(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakeq.formats import _tiff_tiles

    def none(*_: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(_tiff_tiles, "read", none)
    found = lake.open_scenes(path_row="28/30", bands=["red", "nir08"])
    with pytest.raises(AssertionError, match="pixels were read"):
        found["red"].load()


def test_a_box_crops_to_the_pixels_that_it_touches(lake: Lake) -> None:
    from rasterio.warp import transform_bounds

    box = transform_bounds("EPSG:32615", "EPSG:4326", 301_000, 4_796_000, 302_000, 4_797_000)
    found = lake.open_scenes(path_row="28/30", bands="red", box=box, values="stored")
    whole = lake.open_scenes(path_row="28/30", bands="red", values="stored")
    west, south, east, north = transform_bounds("EPSG:4326", "EPSG:32615", *box, densify_pts=21)
    part = whole.sel(
        x=slice(west - 15, east + 15), y=slice(north + 15, south - 15)
    )  # pixels whose middles lie at most half a pixel outside
    xr.testing.assert_equal(found["red"].load(), part["red"].load())


def test_time_and_cloud_choose_scenes(lake: Lake) -> None:
    found = lake.open_scenes(
        path_row="028/030", start="2020-01-20", end="2020-12-31", max_cloud=50, bands="red"
    )
    assert found["product_id"].values.tolist() == [SERIES[1].product]
    assert found["cloud_cover"].values.tolist() == [20.0]


def test_a_real_scene_equals_gdal(tmp_path: Path) -> None:
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat.scenes", [real_file(f"{REAL_FOLDER}/{REAL}_MTL.txt")])
    found = lake.open_scenes(REAL, bands=["red", "ST_B10", "qa_aerosol"], values="stored")
    for name, asset in (("red", "SR_B4"), ("ST_B10", "ST_B10"), ("qa_aerosol", "SR_QA_AEROSOL")):
        theirs = rioxarray.open_rasterio(real_file(f"{REAL_FOLDER}/{REAL}_{asset}.TIF"))
        assert isinstance(theirs, xr.DataArray)
        np.testing.assert_array_equal(found[name].values, theirs.values)
        np.testing.assert_array_equal(found.y, theirs.y)
    warm = lake.open_scenes(REAL, bands="ST_B10")["ST_B10"]
    assert warm.attrs["units"] == "K"
    assert 250 < float(warm.mean()) < 310 or float(warm.mean()) > 150  # clouds are cold


def test_scenes_on_several_maps_are_not_put_together(lake: Lake) -> None:
    with pytest.raises(UsageError, match="EPSG:32614, EPSG:32615"):
        lake.open_scenes([SERIES[0].product, OTHER.product], bands="red")


def test_what_is_not_there_is_named(lake: Lake) -> None:
    with pytest.raises(NotFound, match="LC08_none"):
        lake.open_scenes("LC08_none", bands="red")
    with pytest.raises(UnknownName, match="rad"):
        lake.open_scenes(SERIES[0].product, bands="rad")
    with pytest.raises(NotFound, match="place, time and cloud"):
        lake.open_scenes(path_row="1/1", bands="red")
    with pytest.raises(UsageError, match="no scene is named"):
        lake.open_scenes(bands="red")
    with pytest.raises(NotFound, match="outside"):
        lake.open_scenes(path_row="28/30", bands="red", box=(10, 10, 11, 11))
    with pytest.raises(UsageError, match="raw"):
        lake.open_scenes(path_row="28/30", bands="red", values="raw")  # type: ignore[arg-type]  # on purpose
