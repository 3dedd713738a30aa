"""Small Landsat products written by GDAL: cloud optimized files, their metadata, and the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import Affine

SURFACE = {"coastal": "SR_B1", "blue": "SR_B2", "green": "SR_B3", "red": "SR_B4", "nir08": "SR_B5",
           "swir16": "SR_B6", "swir22": "SR_B7", "lwir11": "ST_B10", "qa_pixel": "QA_PIXEL",
           "qa_radsat": "QA_RADSAT", "qa_aerosol": "SR_QA_AEROSOL"}  # fmt: skip
TOP = {"coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir08": "B5", "swir16": "B6",
       "swir22": "B7", "pan": "B8", "cirrus": "B9", "lwir11": "B10", "lwir12": "B11",
       "qa_pixel": "QA_PIXEL", "qa_radsat": "QA_RADSAT"}  # fmt: skip
LAND, CLOUD, SHADOW, SNOW, WATER = 21824, 22280, 23888, 30048, 21952  # QA_PIXEL of real scenes


@dataclass(frozen=True)
class Scene:
    """One product on disk; `bands` has lines x pixels by the name of the column."""

    folder: Path
    product_id: str
    bands: dict[str, Any]
    transform: Affine
    epsg: int
    sun_elevation: float

    @property
    def mtl(self) -> Path:
        """Its metadata."""
        return self.folder / f"{self.product_id}_MTL.json"

    def file(self, band: str) -> Path:
        """The image file of a band."""
        names = SURFACE if "_L2" in self.product_id else TOP
        return self.folder / f"{self.product_id}_{names[band]}.TIF"


def make_scene(
    out: Path,
    *,
    seed: int = 1,
    day: date = date(2023, 7, 14),
    size: tuple[int, int] = (300, 280),
    path: int = 44,
    row: int = 33,
    epsg: int = 32610,
    corner: tuple[float, float] = (500_000 - 15, 4_200_000 + 15),
    level: str = "L2SP",
    bands: tuple[str, ...] = (),
    block: int = 128,
    **options: object,
) -> Scene:
    """Write a product of `size` (width, height) with clouds, fill at its edges and values beneath.

    `options` are those of GDAL's COG driver, or of GTiff with driver="GTiff".
    """
    width, height = size
    rng = np.random.default_rng(seed)
    made = day + timedelta(days=12)
    product = f"LC08_{level}_{path:03d}{row:03d}_{day:%Y%m%d}_{made:%Y%m%d}_02_T1"
    folder = out / product
    folder.mkdir(parents=True)
    names = SURFACE if level.startswith("L2") else TOP
    wanted = {name: file for name, file in names.items() if not bands or name in bands}
    arrays = _arrays(rng, height, width, tuple(wanted))
    place = Affine(30, 0, corner[0], 0, -30, corner[1])
    for name, file in wanted.items():
        half = Affine(place.a / 2, 0, place.c, 0, place.e / 2, place.f)
        at = half if name == "pan" else place
        target = folder / f"{product}_{file}.TIF"
        _write(target, arrays[name], at, epsg, name, block, options)
    scene = Scene(folder, product, arrays, place, epsg, 61.25)
    scene.mtl.write_text(json.dumps(_metadata(scene, wanted, day, path, row, level)))
    return scene


def _arrays(
    rng: np.random.Generator, height: int, width: int, bands: tuple[str, ...]
) -> dict[str, Any]:
    lines, samples = np.mgrid[0:height, 0:width]
    fill = (samples + lines // 4 < 25) | (samples + lines // 4 > width + 20)
    quality = rng.choice(
        [LAND, CLOUD, SHADOW, SNOW, WATER], (height, width), p=[0.6, 0.1, 0.1, 0.1, 0.1]
    )
    quality = np.where(fill, 1, quality).astype(np.uint16)
    found: dict[str, Any] = {}
    for number, name in enumerate(bands):
        if name == "qa_pixel":
            found[name] = quality
        elif name == "qa_radsat":
            found[name] = (rng.random((height, width)) < 0.01).astype(np.uint16) * 8
        elif name == "qa_aerosol":
            found[name] = np.where(fill, 1, rng.choice([64, 96, 164], fill.shape)).astype(np.uint8)
        else:
            shape = (2 * height, 2 * width) if name == "pan" else (height, width)
            values = 8000 + 900 * number + rng.integers(0, 3000, shape)
            values = values + np.linspace(0, 9000, shape[1]).astype(int)
            if name != "pan":  # each band's own edge: some pixels have a value where QA says fill
                values[np.roll(fill, -(number % 4), axis=1)] = 0
            found[name] = values.astype(np.uint16)
    return found


def _write(
    path: Path,
    values: Any,
    place: Affine,
    epsg: int,
    name: str,
    block: int,
    options: dict[str, object],
) -> None:
    nodata = {} if name.startswith("qa_") else {"nodata": 0}
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": f"EPSG:{epsg}",
               "height": values.shape[0], "width": values.shape[1], "transform": place,
               **nodata}  # fmt: skip
    given = {"driver": "COG", "compress": "DEFLATE", "predictor": "YES", "blocksize": block,
             "overview_resampling": "nearest"}  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(values, 1)
            file.update_tags(AREA_OR_POINT="Point")
        rasterio.shutil.copy(memory.name, path, **(options or given))


def _metadata(
    scene: Scene, bands: dict[str, str], day: date, path: int, row: int, level: str
) -> dict[str, Any]:
    place, (height, width) = scene.transform, next(iter(scene.bands.values())).shape
    left, right = (place.c + place.a * n for n in (0.5, width - 0.5))
    top, bottom = (place.f + place.e * n for n in (0.5, height - 0.5))
    projection: dict[str, str] = {
        "MAP_PROJECTION": "PS" if scene.epsg == 3031 else "UTM", "DATUM": "WGS84",
        "GRID_CELL_SIZE_REFLECTIVE": "30.00",
        "REFLECTIVE_LINES": str(height), "REFLECTIVE_SAMPLES": str(width),
        "CORNER_UL_PROJECTION_X_PRODUCT": str(left), "CORNER_UL_PROJECTION_Y_PRODUCT": str(top),
        "CORNER_LR_PROJECTION_X_PRODUCT": str(right),
        "CORNER_LR_PROJECTION_Y_PRODUCT": str(bottom),
    }  # fmt: skip
    if scene.epsg == 3031:
        projection["TRUE_SCALE_LAT"] = "-71.00000"
    else:
        projection["UTM_ZONE"] = str(scene.epsg % 100)
    special = {"ST_B10": "BAND_ST_B10", "QA_PIXEL": "QUALITY_L1_PIXEL",
               "QA_RADSAT": "QUALITY_L1_RADIOMETRIC_SATURATION",
               "SR_QA_AEROSOL": "QUALITY_L2_AEROSOL"}  # fmt: skip
    files = {
        f"FILE_NAME_{special.get(file, 'BAND_' + file.rpartition('B')[2])}":
        f"{scene.product_id}_{file}.TIF" for file in bands.values()
    }  # fmt: skip
    groups = {
        "PRODUCT_CONTENTS": {"LANDSAT_PRODUCT_ID": scene.product_id, "PROCESSING_LEVEL": level,
                             "COLLECTION_NUMBER": "02", "COLLECTION_CATEGORY": "T1", **files},
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_8", "SENSOR_ID": "OLI_TIRS",
                             "WRS_TYPE": "2", "WRS_PATH": str(path), "WRS_ROW": str(row),
                             "DATE_ACQUIRED": day.isoformat(),
                             "SCENE_CENTER_TIME": "18:33:27.1234560Z", "CLOUD_COVER": "10.00",
                             "CLOUD_COVER_LAND": "10.00", "SUN_AZIMUTH": "145.2",
                             "SUN_ELEVATION": str(scene.sun_elevation)},
        "PROJECTION_ATTRIBUTES": projection,
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"REFLECTANCE_MULT_BAND_{n}": "2.75e-05" for n in range(1, 8)},
            **{f"REFLECTANCE_ADD_BAND_{n}": "-0.2" for n in range(1, 8)}},
        "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": {"TEMPERATURE_MULT_BAND_ST_B10": "0.00341802",
                                                  "TEMPERATURE_ADD_BAND_ST_B10": "149.0"},
        "LEVEL1_PROCESSING_RECORD": {"LANDSAT_SCENE_ID": f"LC8{path:03d}{row:03d}{day:%Y%j}LGN00"},
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"REFLECTANCE_MULT_BAND_{n}": "2.0000E-05" for n in range(1, 10)},
            **{f"REFLECTANCE_ADD_BAND_{n}": "-0.100000" for n in range(1, 10)}},
    }  # fmt: skip
    if not level.startswith("L2"):
        groups = {name: group for name, group in groups.items() if not name.startswith("LEVEL2")}
    return {"LANDSAT_METADATA_FILE": groups}
