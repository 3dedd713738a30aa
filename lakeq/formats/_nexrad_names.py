"""What the name of an object says: site, start of the volume, chunk; and which are no volumes.

Source: NOAA's documentation of the two buckets (awslabs/open-data-docs, noaa-nexrad):
archive `YYYY/MM/DD/SITE/SITEYYYYMMDD_HHMMSS[_V0n][.gz|.Z|.bz2]`, with `_MDM` sidecars, and chunks
`SITE/VOLUME/YYYYMMDD-HHMMSS-NNN-S|I|E`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

SIDECAR = "_MDM"  # objects of metadata only, which stand beside volumes

_VOLUME = re.compile(r"([A-Z][A-Z0-9]{3})([0-9]{8})_([0-9]{6})")
_CHUNK = re.compile(
    r"(?:^|/)([A-Z][A-Z0-9]{3})/([0-9]{1,3})/([0-9]{8})-([0-9]{6})(?:-([0-9]{3})-([SIE]))?$"
)


@dataclass(frozen=True, slots=True)
class Name:
    """What a key says; `volume`, `chunk` and `kind` (S, I, E) are None but for chunks."""

    site: str
    time: datetime
    volume: int | None = None
    chunk: int | None = None
    kind: str | None = None


def is_volume(key: str) -> bool:
    """Whether an object of the archive bucket is a volume by its name: all but sidecars."""
    return SIDECAR not in key.rpartition("/")[2]


def named(key: str) -> Name | None:
    """What `key` (a key, path or URI) says of site and time; None when it is not so named."""
    key = unquote(key)
    if chunk := _CHUNK.search(key):
        site, volume, day, clock, number, kind = chunk.groups()
        time = _time(day, clock)
        number = None if number is None else int(number)
        return Name(site, time, int(volume), number, kind) if time else None
    volumes = list(_VOLUME.finditer(key.rpartition("/")[2]))
    if not volumes:
        return None
    site, day, clock = volumes[0].groups()
    time = _time(day, clock)
    return Name(site, time) if time else None


def _time(day: str, clock: str) -> datetime | None:
    try:
        return datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
