"""What the files of a Landsat product hold, by the names that STAC gives to bands.

Sources: Landsat Collection 2 Data Format Control Books (LSDS-1822 OLI-TIRS, LSDS-1413 ETM+,
LSDS-1415 TM, LSDS-1416 MSS), and the common names of STAC's electro-optical extension.
"""

from __future__ import annotations

PAN = "pan"  # on a grid of its own, of half the pixel size

_OLI = {"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir08", "6": "swir16",
        "7": "swir22", "8": PAN, "9": "cirrus", "10": "lwir11", "11": "lwir12"}  # fmt: skip
_TM = {"1": "blue", "2": "green", "3": "red", "4": "nir08", "5": "swir16", "6": "lwir",
       "7": "swir22"}  # fmt: skip
_ETM = {**_TM, "6_VCID_1": "lwir_low", "6_VCID_2": "lwir_high", "8": PAN}
_MSS_EARLY = {"4": "green", "5": "red", "6": "nir08", "7": "nir09"}  # Landsat 1 to 3
_MSS = {"1": "green", "2": "red", "3": "nir08", "4": "nir09"}
_QUALITY = {"QA_PIXEL": "qa_pixel", "BQA": "qa_pixel", "QA_RADSAT": "qa_radsat",
            "SR_QA_AEROSOL": "qa_aerosol", "SR_CLOUD_QA": "qa_cloud",
            "SR_ATMOS_OPACITY": "atmos_opacity"}  # fmt: skip
_HEAT = ("ST_QA", "ST_TRAD", "ST_URAD", "ST_DRAD", "ST_ATRAN", "ST_EMIS", "ST_EMSD", "ST_CDIST")


def radsat_bit(asset: str) -> int | None:
    """The bit of QA_RADSAT that marks the saturated pixels of an asset's band.

    >>> radsat_bit("SR_B4"), radsat_bit("B6_VCID_2"), radsat_bit("ST_B10")
    (3, 8, None)
    """
    if asset.startswith("B6_VCID"):
        return 5 if asset.endswith("1") else 8
    level, _, number = asset.rpartition("B")
    return int(number) - 1 if level in ("", "SR_") and number.isdigit() else None


def band(asset: str, platform: str, sensor: str) -> str | None:
    """The band that an asset (SR_B4, B10, QA_PIXEL) of a product holds; None for other files.

    >>> band("SR_B4", "LANDSAT_8", "OLI_TIRS"), band("ST_B6", "LANDSAT_7", "ETM")
    ('red', 'lwir')
    """
    if asset in _QUALITY:
        return _QUALITY[asset]
    if asset in _HEAT:
        return asset.lower()
    level, _, number = asset.rpartition("B") if "VCID" not in asset else ("", "", asset[1:])
    if level not in ("", "SR_", "ST_"):
        return None
    if sensor.startswith(("OLI", "TIRS")):
        return _OLI.get(number)
    if sensor.startswith("MSS"):
        early = platform in ("LANDSAT_1", "LANDSAT_2", "LANDSAT_3")
        return (_MSS_EARLY if early else _MSS).get(number)
    return (_ETM if sensor.startswith("ETM") else _TM).get(number)
