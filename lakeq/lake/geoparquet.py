"""GeoParquet: what a file's footer says of a column of geometries.

A table says with its options `geometry` and `covering` which columns hold its geometries, as WKB in
longitude and latitude (WGS 84), and their bounds. Source: GeoParquet 1.1.0.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakeq.catalog import Table

VERSION = "1.1.0"
_BOUNDS = ("xmin", "ymin", "xmax", "ymax")


def notes(table: Table) -> Mapping[str, str]:
    """The entry `geo` of the footer of the table's files; none for a table without geometries.

    The reference system is left out, which means OGC:CRS84.
    """
    geometry = table.options.get("geometry")
    if geometry is None:
        return {}
    column: dict[str, object] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"],
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    if covering := table.options.get("covering"):
        column["covering"] = {"bbox": {name: [covering, name] for name in _BOUNDS}}
    found = {"version": VERSION, "primary_column": geometry, "columns": {geometry: column}}
    return {"geo": json.dumps(found, separators=(",", ":"))}
