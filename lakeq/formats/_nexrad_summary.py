"""The volumes and sweeps tables: what a volume is, which of its cuts are there, and how whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats import _nexrad_sites
from lakeq.formats._nexrad_geometry import Place
from lakeq.formats._nexrad_messages import DAY_MS, NAMES, Facts
from lakeq.formats._nexrad_names import named
from lakeq.formats._nexrad_pattern import Cut
from lakeq.formats._nexrad_rows import EPOCH, Identity

if TYPE_CHECKING:
    from lakeq.formats._nexrad_container import VolumeHeader
    from lakeq.formats._nexrad_volume import Sweep, Volume
    from lakeq.storage import SourceObject

WAVEFORMS = {
    1: "contiguous_surveillance",
    2: "contiguous_doppler",
    3: "contiguous_doppler_no_ambiguity",
    4: "batch",
    5: "staggered_pulse_pair",
}
_TELLS_RESCANS = 1800  # RDA build from which message 5 says which cuts are extra
_SAME_ANGLE = 0.25  # degrees within which two cuts are one angle
_MESSAGE_31_SINCE = "AR2V0002"
NAME_IS_OFF = timedelta(minutes=1)  # of the header: the next volume begins 4 to 10 minutes later


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """One sweep without its codes."""

    number: int
    elevation_number: int
    angle: float
    start_ms: int
    end_ms: int
    rays: int
    complete: bool
    ends_volume: bool
    nyquist_velocity: float
    unambiguous_range: float
    azimuth_spacing: float
    moments: tuple[str, ...]
    dbzh_repeats: bool

    @classmethod
    def of(cls, sweep: Sweep, before: Sequence[SweepFacts], facts: Facts) -> SweepFacts:
        """What `sweep` is, after the sweeps `before` it."""
        rays = sweep.rays
        moments = tuple(name for name in NAMES if name in sweep.moments)
        angle = float(np.median(rays["elevation"]))
        if (cut := cut_of(sweep.elevation_number, facts)) is not None:
            angle = cut.fixed_angle
        first = rays[0]
        return cls(
            number=sweep.number,
            elevation_number=sweep.elevation_number,
            angle=angle,
            start_ms=int(first["time_ms"]),
            end_ms=int(rays["time_ms"][-1]),
            rays=len(rays),
            complete=sweep.complete,
            ends_volume=sweep.ends_volume,
            nyquist_velocity=float(first["nyquist_velocity"]),
            unambiguous_range=float(first["unambiguous_range"]),
            azimuth_spacing=float(first["azimuth_spacing"]),
            moments=moments,
            dbzh_repeats=_repeats(moments, angle, before),
        )


def _repeats(moments: Sequence[str], angle: float, before: Sequence[SweepFacts]) -> bool:
    """Whether the reflectivity of a Doppler cut repeats that of the surveillance cut before it."""
    if not before or "dbzh" not in moments or "vradh" not in moments:
        return False
    last = before[-1]
    surveillance = "dbzh" in last.moments and "vradh" not in last.moments
    return surveillance and last.complete and abs(last.angle - angle) < _SAME_ANGLE


def cut_of(elevation_number: int, facts: Facts) -> Cut | None:
    """What message 5 says of a cut."""
    if facts.vcp is None or not 0 < elevation_number <= len(facts.vcp.cuts):
        return None
    return facts.vcp.cuts[elevation_number - 1]


# Whose volume it is


def identity_of(uri: str, header: VolumeHeader | None, facts: Facts) -> tuple[Identity, str | None]:
    """What names the volume, and where its place is known from: "message", "table" or None.

    The header says it; where it is blank or missing, the object's name. `BadSource` when neither
    does.
    """
    name = named(uri)
    site = header.icao if header is not None and _is_site(header.icao) else ""
    site = site or (name.site if name else "")
    if not site and facts.site is not None and _is_site(facts.site.icao):
        site = facts.site.icao
    time = _header_time(header) or (name.time if name else None)
    if not site or time is None:
        what = f"neither the header nor the name says {'when' if site else 'which radar'} it is of"
        hint = "name the file as the archive does: SITEYYYYMMDD_HHMMSS, such as KTLX20130520_201643"
        raise BadSource(what, uri, hint)
    place, source = _place(site, facts)
    return Identity(site, time, place), source


def misnamed(uri: str, identity: Identity) -> bool:
    """Whether the object's name tells of another volume than it holds.

    Names of the archive can be a few seconds off the header: 3 in KTLX20140101_000624_V06.
    """
    name = named(uri)
    if name is None:
        return False
    return name.site != identity.site or abs(name.time - identity.time) > NAME_IS_OFF


def _is_site(text: str) -> bool:
    return len(text) == 4 and text.isascii() and text.isalnum() and text.isupper()


def _header_time(header: VolumeHeader | None) -> datetime | None:
    if header is None or not 0 < header.day < 1 << 16 or header.milliseconds >= DAY_MS:
        return None
    return EPOCH + timedelta(days=header.day - 1, milliseconds=header.milliseconds)


def _place(site: str, facts: Facts) -> tuple[Place | None, str | None]:
    told = facts.site
    if told is not None and _on_earth(told.latitude, told.longitude):
        # TDWR writes the antenna's height twice; WSR-88D the ground's, and the tower's above it.
        twice = site.startswith("T") and told.tower_height_m == told.site_height_m
        tower = 0 if twice else told.tower_height_m
        return Place(told.latitude, told.longitude, told.site_height_m + tower), "message"
    place = _nexrad_sites.place_of(site)
    return place, None if place is None else "table"


def _on_earth(latitude: float, longitude: float) -> bool:
    return -90 < latitude < 90 and -180 <= longitude <= 180 and (latitude, longitude) != (0, 0)


# Rows


def missing_of(sweeps: Sequence[SweepFacts], facts: Facts) -> tuple[bool, list[int]]:
    """Whether the volume is complete, and the elevation numbers that are missing or not whole."""
    whole: dict[int, bool] = {}
    for sweep in sweeps:
        whole[sweep.elevation_number] = sweep.complete or whole.get(sweep.elevation_number, False)
    declared = len(facts.vcp.cuts) if facts.vcp else 0
    ended = any(sweep.ends_volume for sweep in sweeps)
    top = max(whole, default=0)
    last = top if ended else max(top, declared)
    missing = [number for number in range(1, last + 1) if not whole.get(number)]
    return bool(whole) and not missing and (ended or top >= declared > 0), missing


def volume_row(
    source: SourceObject,
    volume: Volume,
    identity: Identity,
    location_source: str | None,
    sweeps: Sequence[SweepFacts] | None,
) -> dict[str, Any]:
    """The row of the volumes table; `sweeps` is None when only the head of the object was read."""
    facts, header, place = volume.facts, volume.header, identity.place
    row: dict[str, Any] = {
        "vcp": _vcp_number(facts),
        "location_source": location_source,
        "message_type": _message_type(volume),
        "version": header.version if header else None,
        "extension": header.extension if header and header.extension.isdigit() else None,
        "header_icao": (header.icao or None) if header else None,
        "compression": volume.compression,
        "object": source.uri.rpartition("/")[2],
        "etag": source.version,
        "size_bytes": source.size_bytes,
    }
    if place is not None:
        row |= {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "altitude_m": place.altitude_m,
        }
    row |= _pattern(facts) | _status(facts) | _site(facts)
    return row | ({} if sweeps is None else _presence(sweeps, facts))


def _presence(sweeps: Sequence[SweepFacts], facts: Facts) -> dict[str, Any]:
    complete, missing = missing_of(sweeps, facts)
    kinds = sorted(facts.messages.items())
    return {
        "complete": complete,
        "sweeps_present": len(sweeps),
        "sweeps_missing": missing,
        "rays": sum(sweep.rays for sweep in sweeps),
        "end_time": _time(max(sweep.end_ms for sweep in sweeps)) if sweeps else None,
        "messages": " ".join(f"{kind}:{count}" for kind, count in kinds),
    }


def _vcp_number(facts: Facts) -> int | None:
    if facts.vcp is not None:
        return facts.vcp.number
    return facts.site.vcp if facts.site is not None else facts.vcp_number


def _message_type(volume: Volume) -> int | None:
    for kind in (31, 1):
        if volume.facts.messages[kind]:
            return kind
    if volume.header is None:
        return None
    return (
        31
        if volume.header.version >= _MESSAGE_31_SINCE and volume.header.version[:4] == "AR2V"
        else 1
    )


def _pattern(facts: Facts) -> dict[str, Any]:
    if facts.vcp is None:
        return {}
    vcp = facts.vcp
    tells = facts.status is not None and facts.status.rda_build >= _TELLS_RESCANS
    extra = vcp.supplemental
    return {
        "sweeps_declared": len(vcp.cuts),
        "cut_angles": [cut.fixed_angle for cut in vcp.cuts],
        "sails_cuts": (extra >> 1 & 7) * (extra & 1) if tells else None,
        "mrle_cuts": (extra >> 5 & 7) * (extra >> 4 & 1) if tells else None,
        "pattern_type": vcp.pattern_type,
        "doppler_resolution": vcp.doppler_resolution,
        "pulse_width": vcp.pulse_width,
        "vcp_sequencing": vcp.sequencing,
        "vcp_supplemental": vcp.supplemental,
    }


def _status(facts: Facts) -> dict[str, Any]:
    if facts.status is None:
        return {}
    return {
        "rda_build": facts.status.rda_build or None,
        "operational_mode": facts.status.operational_mode,
        "super_res_status": facts.status.super_res_status,
        "rda_scan_flags": facts.status.scan_flags,
    }


def _site(facts: Facts) -> dict[str, Any]:
    if facts.site is None:
        return {}
    names = (
        "site_height_m", "tower_height_m", "calibration_dbz0", "tx_power_h_kw", "tx_power_v_kw",
        "system_zdr_db", "initial_phidp", "processing_status",
    )  # fmt: skip
    values = {name: getattr(facts.site, name) for name in names}
    return {n: v if np.isfinite(v) else None for n, v in values.items()}


def sweep_row(sweep: SweepFacts, facts: Facts) -> dict[str, Any]:
    """The row of the sweeps table."""
    row: dict[str, Any] = {
        "sweep_number": sweep.number,
        "elevation_number": sweep.elevation_number,
        "fixed_angle": sweep.angle,
        "start_time": _time(sweep.start_ms),
        "end_time": _time(sweep.end_ms),
        "rays": sweep.rays,
        "complete": sweep.complete,
        "nyquist_velocity": _finite(sweep.nyquist_velocity),
        "unambiguous_range": _finite(sweep.unambiguous_range),
        "azimuth_spacing": sweep.azimuth_spacing,
        "moments": " ".join(name.upper() for name in sweep.moments),
        "dbzh_repeats": sweep.dbzh_repeats,
    }
    cut = cut_of(sweep.elevation_number, facts)
    return row if cut is None else row | _declared(cut)


def _declared(cut: Cut) -> dict[str, Any]:
    rescan = "sails" if cut.supplemental & 1 else "mrle" if cut.supplemental & 16 else None
    return {
        "waveform": WAVEFORMS.get(cut.waveform_type),
        "waveform_type": cut.waveform_type,
        "channel_config": cut.channel_config,
        "super_resolution": cut.super_resolution,
        "prf_number": cut.prf_number,
        "prf_pulses": cut.prf_pulses,
        "doppler_prf_number": cut.doppler_prf_number,
        "doppler_prf_pulses": cut.doppler_prf_pulses,
        "azimuth_rate": cut.azimuth_rate,
        "supplemental": cut.supplemental,
        "rescan": rescan,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
