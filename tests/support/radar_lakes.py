"""Real radar volumes in a lake, and as the independent readers xradar and Py-ART give them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lakeq
from lakeq.api import Lake
from tests.support.data import FOLDER, real_file
from tests.support.radar import object_bytes, object_name, pyart_file, unpacked

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["lake_of", "pyart_file", "real_volume", "xradar_tree"]


def real_volume(name: str, folder: Path) -> Path:
    """The real volume `name` as a file in `folder`: chunks, SITE/NUMBER, one after the other."""
    data = FOLDER / "nexrad"
    places = (data / "volumes" / name, data / "trimmed" / name, data / "chunks" / name)
    source = next((place for place in places if place.exists()), None)
    source = source or real_file(f"nexrad/volumes/{name}")
    path = folder / object_name(source)
    path.write_bytes(object_bytes(source))
    return path


def lake_of(folder: Path, paths: Sequence[Path], tables: Sequence[str]) -> Lake:
    """A lake at `folder` that holds the `tables` of the volumes `paths`."""
    lake = lakeq.connect(folder)
    lake.ingest("nexrad", list(paths), tables=tables)
    return lake


def xradar_tree(path: Path, **options: Any) -> xr.DataTree:
    """The volume as xradar gives it."""
    import xradar

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xradar.io.open_nexradlevel2_datatree(unpacked(path), **options)
