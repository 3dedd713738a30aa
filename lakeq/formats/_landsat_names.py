"""What the names of Landsat products and of their objects say, and where the buckets have them.

Sources: Landsat 8-9 Collection 2 Level 1 and Level 2 Data Format Control Books (LSDS-1822,
LSDS-1328), product identifiers; Landsat Commercial Cloud Data Access Guide (LSDS-2032), keys of
usgs-landsat; the README of landsat-pds (retired), keys of pre-collection and Collection 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import unquote

PRODUCT = re.compile(
    r"(?P<letter>L[COTEM])0(?P<satellite>[1-9])_(?P<level>L[12][A-Z]{2})_(?P<path>\d{3})"
    r"(?P<row>\d{3})_(?P<acquired>\d{8})_(?P<processed>\d{8})_(?P<collection>\d{2})_"
    r"(?P<tier>RT|[TA][12])"
)
SCENE = re.compile(
    r"(?P<letter>L[COTEM])(?P<satellite>[1-9])(?P<path>\d{3})(?P<row>\d{3})(?P<year>\d{4})"
    r"(?P<day>\d{3})[A-Z0-9]{3}\d{2}"
)
BUCKET = "s3://usgs-landsat/"
RETIRED_BUCKET = "s3://landsat-pds/"

_MTL = re.compile(r"(?P<id>[^/]+)_MTL\.(?:txt|json|xml)\Z")
_STAC = re.compile(r"(?P<id>[^/]+?)(?:_(?P<part>SR|ST))?(?:_stac)?\.json\Z")
_HTTPS = re.compile(
    r"https?://(?:s3[.-][a-z0-9-]+\.amazonaws\.com/(?P<first>landsat-pds|usgs-landsat)"
    r"|(?P<host>landsat-pds|usgs-landsat)\.s3[a-z0-9.-]*\.amazonaws\.com"
    r"|landsatlook\.usgs\.gov/data)/"
)
_SENSOR_FOLDERS = {"C": "oli-tirs", "O": "oli-tirs", "E": "etm", "M": "mss"}


@dataclass(frozen=True, slots=True)
class Product:
    """What an identifier says of a product; what one of before the collections lacks is None."""

    id: str
    letter: str  # C, O, T, E, M
    satellite: int
    path: int
    row: int
    acquired: date
    level: str | None = None
    processed: date | None = None
    collection: int | None = None
    tier: str | None = None

    @property
    def sensor(self) -> str:
        """The sensor as MTL files name it."""
        if self.letter == "T":
            return "TIRS" if self.satellite >= 8 else "TM"
        return {"C": "OLI_TIRS", "O": "OLI", "E": "ETM", "M": "MSS"}[self.letter]

    @property
    def wrs_type(self) -> int:
        """1 for the grid of Landsat 1 to 3, else 2."""
        return 1 if self.satellite <= 3 else 2

    @property
    def folder(self) -> str | None:
        """Where the public buckets have the product, with a slash behind; None where they don't."""
        where = f"{self.path:03d}/{self.row:03d}/{self.id}/"
        if self.collection is None or self.level is None:
            return f"{RETIRED_BUCKET}L8/{where}" if self.satellite == 8 else None
        if self.collection == 1:
            return f"{RETIRED_BUCKET}c1/L8/{where}" if self.satellite == 8 else None
        sensor = _SENSOR_FOLDERS.get(self.letter, "oli-tirs" if self.satellite >= 8 else "tm")
        level = f"level-{self.level[1]}/standard/{sensor}/{self.acquired.year}"
        return f"{BUCKET}collection{self.collection:02d}/{level}/{where}"


def product(identifier: str) -> Product | None:
    """The product that an identifier names: of a collection, or a scene of before; None for others.

    Raises nothing: an identifier with an impossible date names no product.
    """
    try:
        if found := PRODUCT.fullmatch(identifier):
            return Product(
                identifier,
                found["letter"][1],
                int(found["satellite"]),
                int(found["path"]),
                int(found["row"]),
                _day(found["acquired"]),
                found["level"],
                _day(found["processed"]),
                int(found["collection"]),
                found["tier"],
            )
        if found := SCENE.fullmatch(identifier):
            first = date(int(found["year"]), 1, 1)
            acquired = first + timedelta(days=int(found["day"]) - 1)
            place = int(found["path"]), int(found["row"])
            return Product(
                identifier, found["letter"][1], int(found["satellite"]), *place, acquired
            )
    except (ValueError, OverflowError):
        return None
    return None


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def of_object(uri: str) -> tuple[Product, str] | None:
    """The product that an object of metadata describes, and which part of it ("" for all).

    MTL files in their three forms describe a whole product, and so does a STAC item, but those
    whose names end in _SR and _ST: they describe the surface reflectance or temperature of one.
    """
    name = unquote(uri).rpartition("/")[2]
    for pattern in (_MTL, _STAC):
        found = pattern.match(name)
        if found and (named := product(found["id"])) is not None:
            return named, found.groupdict().get("part") or ""
    return None


def is_mtl(uri: str) -> bool:
    """Whether an object is an MTL file by its name."""
    return _MTL.search(unquote(uri)) is not None


def in_bucket(uri: str) -> str:
    """The s3:// URI of an object of the public buckets whose https address is given, or as is."""
    found = _HTTPS.match(uri)
    if found is None:
        return uri
    bucket = found["first"] or found["host"] or "usgs-landsat"
    return f"s3://{bucket}/{unquote(uri[found.end() :])}"


def asset_name(file_name: str, identifier: str) -> str:
    """What an asset of a product is called: its file name without the identifier and .TIF.

    `SR_B4`, `QA_PIXEL`, `B8`, `MTL.txt`.
    """
    name = file_name.rpartition("/")[2].removeprefix(identifier).lstrip("_")
    return name[:-4] if name.upper().endswith(".TIF") else name
