"""Pictures of scenes: what is read for them, and what they show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.enums import Resampling

import lakeq
from lakeq import quicklook
from lakeq.api import Lake
from lakeq.arrays import scenes
from lakeq.cli import cli
from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.storage import Storage
from tests.support.landsat import MadeScene

BIG = MadeScene("LC08_L2SP_028030_20200114_20200824_02_T1", 300_015, 4_800_015, 2100, 2060, 10)
SMALL = MadeScene("LC08_L2SP_028030_20200130_20200823_02_T1", 300_015, 4_800_015, 120, 100, 30)
BOX = "-95.46,43.31,-95.44,43.33"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    BIG.write(folder)
    SMALL.write(folder)
    for name in ("SR_B4", "SR_B5"):
        with rasterio.open(folder / f"{BIG.product}_{name}.TIF", "r+") as file:
            file.build_overviews([2, 4], Resampling.nearest)
    return folder


@pytest.fixture(scope="module")
def lake(folder: Path) -> Lake:
    lake = lakeq.connect(folder / "lake")
    lake.ingest("landsat.scenes", [str(folder / "*_stac.json")])
    return lake


def opened(lake: Lake, product: str, *bands: str) -> tuple[scenes.Scene, scenes.Meter]:
    meter = scenes.Meter(Storage(lake.settings).source)
    rows = scenes.find(lake.sql, scenes.Choice([product]))
    (found,) = scenes.scenes(rows, bands, meter, overviews=True)
    return found, meter


def test_a_large_scene_is_drawn_from_its_overview_alone(lake: Lake, folder: Path) -> None:
    found, meter = opened(lake, BIG.product, "red")
    picture = quicklook.of(found)
    path = folder / f"{BIG.product}_SR_B4.TIF"
    with rasterio.open(path, overview_level=0) as file:  # the one of half the size
        stored = file.read(1)
    assert picture.colours.shape == (*stored.shape, 4)
    np.testing.assert_array_equal(picture.colours[..., 3] == 1, stored != 0)
    shown = picture.colours[..., 0][stored != 0]
    order = np.argsort(stored[stored != 0], kind="stable")
    assert (np.diff(shown[order]) >= 0).all()  # brighter where there is more
    assert meter.bytes_read < 0.35 * path.stat().st_size
    with rasterio.open(path) as file:
        bounds = file.bounds
    assert picture.extent == (bounds.left, bounds.right, bounds.bottom, bounds.top)


def test_a_large_file_without_overviews_is_not_read_whole(lake: Lake) -> None:
    found, meter = opened(lake, BIG.product, "QA_PIXEL")
    with pytest.raises(NotFound, match="no overviews"):
        quicklook.of(found)
    assert meter.bytes_read <= 1 << 16


def test_two_bands_are_no_colours(lake: Lake) -> None:
    found, _ = opened(lake, SMALL.product, "red", "nir08")
    with pytest.raises(UsageError, match="2 bands"):
        quicklook.of(found)


def test_ndvi_is_that_of_reflectance_of_clear_pixels(lake: Lake, folder: Path) -> None:
    dataset = lake.open_scenes(SMALL.product)
    found = quicklook.series(dataset, "NDVI")
    read = {}
    for name in ("SR_B4", "SR_B5", "QA_PIXEL"):
        with rasterio.open(folder / f"{SMALL.product}_{name}.TIF") as file:
            read[name] = file.read(1)
    red, near = (read[name] * 2.75e-5 - 0.2 for name in ("SR_B4", "SR_B5"))
    cloud_free = read["QA_PIXEL"] == 21824  # clear, with low confidence of everything else
    use = cloud_free & (read["SR_B4"] > 0) & (red > 0) & (near > 0)
    ndvi = ((near - red) / (near + red))[use]
    assert found.mean[0] == pytest.approx(ndvi.mean(), abs=1e-5)
    assert found.low[0] == pytest.approx(np.percentile(ndvi, 25), abs=1e-5)
    assert found.clear[0] == pytest.approx(use.mean(), abs=1e-6)
    stored = read["SR_B5"].astype(float), read["SR_B4"].astype(float)
    wrong = ((stored[0] - stored[1]) / (stored[0] + stored[1]))[use].mean()
    assert abs(wrong - ndvi.mean()) > 0.02  # what stored numbers would give


def test_the_commands_draw_and_tell_what_they_read(lake: Lake, folder: Path) -> None:
    where = ["--lake", str(lake.settings.lake)]
    colours, series = folder / "colours.png", folder / "ndvi.svg"
    drawn = CliRunner().invoke(
        cli, ["plot", "landsat", "--scene", SMALL.product, "--bands", "nir08,red,red",
              "-o", str(colours), "--report", "json", *where],
    )  # fmt: skip
    assert isinstance(drawn.exception, UsageError)  # a band twice
    drawn = CliRunner().invoke(
        cli, ["plot", "landsat", "--scene", BIG.product, "--bands", "nir08", "-o", str(colours),
              "--report", "json", *where],
    )  # fmt: skip
    assert drawn.exit_code == 0, drawn.exception
    assert colours.read_bytes().startswith(b"\x89PNG")
    facts = json.loads(drawn.stderr)
    assert facts["requests"] >= 2
    assert facts["s3_cost_usd"] == 0
    command = ["plot", "ndvi", "--path-row", "28/30", f"--box={BOX}", "-o", str(series), *where]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.exception
    assert "<svg" in series.read_text()


def test_what_is_wrong_is_said_before_anything_is_read(lake: Lake, folder: Path) -> None:
    where = ["--lake", str(lake.settings.lake)]
    run = CliRunner()
    scene = ["plot", "landsat", "--scene", SMALL.product, *where]
    bad = run.invoke(cli, [*scene, "-o", str(folder / "x.gif")])
    assert isinstance(bad.exception, UsageError)
    bad = run.invoke(cli, [*scene, "--bands", "rad", "-o", str(folder / "x.png")])
    assert isinstance(bad.exception, UnknownName)
    command = ["plot", "ndvi", "--path-row", "28/30", "--box=1,2,3", "-o", str(folder / "x.png")]
    bad = run.invoke(cli, [*command, *where])
    assert isinstance(bad.exception, UsageError)
