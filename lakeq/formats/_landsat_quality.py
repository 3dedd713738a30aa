"""The bits of Landsat's quality bands, in the layouts of before the collections, of 1 and of 2.

Sources: Landsat 8-9 Collection 2 Level 1 Data Format Control Book (LSDS-1822), tables 6-3 and 6-4;
Landsat Collection 1 Level 1 Quality Assessment Band (USGS), Landsat 8 pre-collection Data Format
Control Book (LDSDS-2013), section 4.1.3. The bit "clear" of Collection 2 is set under cloud shadow,
snow and cirrus too; the flag `clear` here is not.
"""

from __future__ import annotations

from typing import Any

FLAGS = ("fill", "cloud", "dilated_cloud", "cloud_shadow", "cirrus_flag", "snow", "water",
         "clear")  # fmt: skip

# name -> first bit and width of each layout: one bit is a mask, two are a confidence, of which 3,
# high, is taken for yes. What a layout lacks is not there.
_LAYOUTS: dict[int, dict[str, tuple[int, int]]] = {
    2: {"fill": (0, 1), "dilated_cloud": (1, 1), "cirrus_flag": (2, 1), "cloud": (3, 1),
        "cloud_shadow": (4, 1), "snow": (5, 1), "water": (7, 1)},
    1: {"fill": (0, 1), "cloud": (4, 1), "cloud_shadow": (7, 2), "snow": (9, 2),
        "cirrus_flag": (11, 2)},
    0: {"fill": (0, 1), "water": (4, 2), "snow": (10, 2), "cirrus_flag": (12, 2), "cloud": (14, 2)},
}  # fmt: skip
_SATURATED_BANDS = (2, 2)  # of Collection 1: in how many bands the pixel is saturated
_UNCLEAR = ("fill", "cloud", "dilated_cloud", "cloud_shadow", "cirrus_flag", "snow")


def flag(name: str, quality: Any, collection: int) -> Any:
    """One of `FLAGS` for values of the quality band; None where the layout does not tell it."""
    layout = _LAYOUTS[collection]
    if name == "clear":
        found = [_is_set(quality, *layout[each]) for each in _UNCLEAR if each in layout]
        unclear = found[0]
        for each in found[1:]:
            unclear = unclear | each
        return ~unclear
    return _is_set(quality, *layout[name]) if name in layout else None


def unusable(quality: Any, collection: int) -> Any:
    """Fill; in Collection 1, which does not say which bands are saturated, also saturated ones."""
    found = _is_set(quality, *_LAYOUTS[collection]["fill"])
    if collection == 1:
        first, width = _SATURATED_BANDS
        found = found | ((quality >> first & ((1 << width) - 1)) > 0)
    return found


def _is_set(quality: Any, first: int, width: int) -> Any:
    wanted = (1 << width) - 1
    return (quality >> first & wanted) == wanted
