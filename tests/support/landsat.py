"""Made scene lists: lines as landsat-pds had them, of any path, row and day."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

HEADER = (
    "productId,entityId,acquisitionDate,cloudCover,processingLevel,path,row,"
    "min_lat,min_lon,max_lat,max_lon,download_url\n"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of a list."""

    satellite: int
    path: int
    row: int
    acquired: datetime
    made: date
    tier: str
    cloud: float

    @property
    def product(self) -> str:
        """Its product identifier."""
        place = f"{self.path:03d}{self.row:03d}"
        days = f"{self.acquired:%Y%m%d}_{self.made:%Y%m%d}"
        return f"LC0{self.satellite}_L1TP_{place}_{days}_01_{self.tier}"

    @property
    def line(self) -> str:
        """As the list has it."""
        entity = f"LC{self.satellite}{self.path:03d}{self.row:03d}{self.acquired:%Y%j}LGN00"
        where = (
            f"https://s3-us-west-2.amazonaws.com/landsat-pds/c1/L8/{self.path:03d}/{self.row:03d}"
        )
        return (
            f"{self.product},{entity},{self.acquired:%Y-%m-%d %H:%M:%S.%f},{self.cloud},L1TP,"
            f"{self.path},{self.row},0,0,1,1,{where}/{self.product}/index.html\n"
        )


def scenes(count: int, seed: int, only: tuple[int, int] | None = None) -> Iterator[Scene]:
    """Scenes of 2013 to 2020, of `only` a path and row; some in real time and then for good."""
    chance = random.Random(seed)
    start = datetime(2013, 4, 1, tzinfo=UTC)
    for _ in range(count):
        taken = start + timedelta(seconds=chance.randrange(7 * 365 * 86_400))
        place = only or (chance.randint(1, 233), chance.randint(1, 122))
        cloud = chance.choice([-1, 0, round(chance.uniform(0, 100), 2)])
        made = taken.date() + timedelta(days=1)
        again = chance.random() < 0.2
        yield Scene(8, *place, taken, made, "RT" if again else "T1", cloud)
        if again:
            yield Scene(8, *place, taken, made + timedelta(days=14), "T1", cloud)


def write_list(path: Path, lines: list[Scene]) -> Path:
    """The list of these scenes."""
    path.write_text(HEADER + "".join(scene.line for scene in lines))
    return path


@dataclass(frozen=True, slots=True)
class MadeScene:
    """A product of level 2 that is made: its identifier and where its pixels lie."""

    product: str
    x_origin: float
    y_origin: float
    lines: int
    samples: int
    seed: int
    epsg: int = 32615

    def write(self, folder: Path) -> Path:
        """Write the files of red, near infrared and QA, and the STAC item, which is returned."""
        import numpy as np
        import rasterio
        from rasterio.transform import from_origin

        chance = np.random.default_rng(self.seed)
        shape = (self.lines, self.samples)
        fill = np.add.outer(np.arange(self.lines), np.arange(self.samples)) < 20  # a corner
        bands = {
            "SR_B2": np.where(fill, 0, chance.integers(7300, 15_000, shape)),
            "SR_B3": np.where(fill, 0, chance.integers(7300, 17_000, shape)),
            "SR_B4": np.where(fill, 0, chance.integers(7300, 20_000, shape)),
            "SR_B5": np.where(fill, 0, chance.integers(7300, 30_000, shape)),
            "ST_B10": np.where(fill, 0, chance.integers(40_000, 45_000, shape)),
            "QA_PIXEL": np.where(fill, 1, chance.choice([21824, 22280, 23888, 30048], shape)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in bands.items():
            with rasterio.open(
                folder / f"{self.product}_{name}.TIF",
                "w",
                driver="GTiff",
                width=self.samples,
                height=self.lines,
                count=1,
                dtype="uint16",
                crs=f"EPSG:{self.epsg}",
                transform=from_origin(self.x_origin, self.y_origin, 30, 30),
                nodata=1 if name == "QA_PIXEL" else 0,
                tiled=True,
                blockxsize=64,
                blockysize=64,
                compress="deflate",
                predictor=2,
            ) as file:
                file.write(pixels.astype(np.uint16), 1)
        path = folder / f"{self.product}_stac.json"
        path.write_text(json.dumps(self.item()))
        return path

    def item(self) -> dict[str, Any]:
        """The STAC item, with the names of the files beside it."""
        from rasterio.warp import transform_geom

        from lakeq.formats import _landsat_names

        named = _landsat_names.product(self.product)
        assert named is not None
        east, south = self.x_origin + 30 * self.samples, self.y_origin - 30 * self.lines
        west, north = self.x_origin, self.y_origin
        ring = [[west, north], [west, south], [east, south], [east, north], [west, north]]
        outline = {"type": "Polygon", "coordinates": [ring]}
        outline = transform_geom(f"EPSG:{self.epsg}", "EPSG:4326", outline)
        places = outline["coordinates"][0]
        lons, lats = [p[0] for p in places], [p[1] for p in places]
        scales = {
            "SR": {"scale": 2.75e-05, "offset": -0.2, "nodata": 0},
            "ST": {"scale": 0.00341802, "offset": 149.0, "nodata": 0},
            "QA": {"nodata": 1},
        }
        assets = {
            name: {
                "href": f"{self.product}_{name}.TIF",
                "type": "image/vnd.stac.geotiff; cloud-optimized=true",
                "roles": ["data"],
                "raster:bands": [{"data_type": "uint16", **scales[name[:2]]}],
            }
            for name in ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "ST_B10", "QA_PIXEL")
        }
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/projection/v1.0.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.0.0/schema.json",
            ],
            "id": self.product,
            "geometry": outline,
            "bbox": [min(lons), min(lats), max(lons), max(lats)],
            "properties": {
                "datetime": f"{named.acquired}T17:05:46.{self.seed:06d}Z",
                "eo:cloud_cover": float(self.seed),
                "landsat:correction": named.level,
                "proj:epsg": self.epsg,
                "proj:shape": [self.lines, self.samples],
                "proj:transform": [30, 0, self.x_origin, 0, -30, self.y_origin],
            },
            "links": [],
            "assets": assets,
        }


EXAMPLE = MadeScene(  # of which the examples of the help and of the documentation speak
    "LC08_L2SP_028030_20200114_20200824_02_T1", 254_985, 4_777_005, 420, 330, 8
)


def make_lake(folder: Path, lake: Path) -> None:
    """A lake with the scene of the examples, whose files are put into `folder`."""
    import lakeq

    item = EXAMPLE.write(folder)
    lakeq.connect(lake).ingest("landsat.scenes", [item])
