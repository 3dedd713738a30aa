"""Where radars stand whose volumes do not say it: the table of `_nexrad_sites.csv`."""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files

from lakeq.formats._nexrad_geometry import Place


def place_of(site: str) -> Place | None:
    """Where the radar `site` stood in 2014, at the height of its ground; None when not listed."""
    return _sites().get(site)


@lru_cache(maxsize=1)
def _sites() -> dict[str, Place]:
    text = (files("lakeq.formats") / "_nexrad_sites.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        row["site"]: Place(float(row["latitude"]), float(row["longitude"]), float(row["ground_m"]))
        for row in csv.DictReader(lines)
    }
