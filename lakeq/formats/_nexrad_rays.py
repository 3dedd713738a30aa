"""The rays table: the codes of a sweep as they came, and what they need to be understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats._arrow import lists, numbers
from lakeq.formats._nexrad_messages import NAMES, Coding, Run
from lakeq.formats._nexrad_rows import known_numbers, room, timestamps

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._nexrad_volume import Sweep

HAIL_DBZ = 50.0
_WHOLE = ("elevation_number", "azimuth_number", "radial_status", "cut_sector", "spot_blanking")
_MEASURED = (
    "azimuth",
    "elevation",
    "nyquist_velocity",
    "unambiguous_range",
    "azimuth_spacing",
    "azimuth_indexing",
    "noise_h_dbm",
    "noise_v_dbm",
    "calibration_h_db",
    "calibration_v_db",
    "calibration_db",
    "atmospheric_attenuation",
)
_CODING = (
    ("scale", np.float32),
    ("offset", np.float32),
    ("range_m", np.int32),
    ("spacing_m", np.int32),
    ("bits", np.int32),
    ("control_flags", np.int32),
    ("snr_threshold_db", np.float32),
    ("overlay_threshold_db", np.float32),
)


def columns(sweep: Sweep) -> dict[str, pa.Array]:
    """The columns of one row per ray of `sweep`, in order of time."""
    rays = sweep.rays
    size = len(rays)
    made = {
        "sweep_number": numbers(np.full(size, sweep.number, np.int32)),
        "ray_number": numbers(np.arange(size, dtype=np.int32)),
        "time": timestamps(rays["time_ms"] * 1000),
        **{name: numbers(np.ascontiguousarray(rays[name])) for name in _WHOLE},
        **{name: known_numbers(np.ascontiguousarray(rays[name])) for name in _MEASURED},
    }
    for name in NAMES:
        made[name], made[f"{name}_coding"] = _moment(sweep.runs, name)
    largest, hail = _zone(sweep.runs)
    made["dbzh_max"] = known_numbers(largest)
    made["dbzh_gates_50dbz"] = numbers(hail, np.isfinite(largest))
    return made


def _moment(runs: tuple[Run, ...], name: str) -> tuple[pa.Array, pa.Array]:
    """The lists of codes of a moment, and their codings; NULL where a ray lacks it."""
    lengths = np.concatenate([_lengths(run, name) for run in runs])
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    bytes_each = max((r.codes[name].dtype.itemsize for r in runs if name in r.codes), default=1)
    codes = room(int(offsets[-1]), np.uint8 if bytes_each == 1 else np.uint16)
    at = 0
    for run in runs:
        if name in run.codes:
            part = run.codes[name]
            codes[at : at + part.size].reshape(part.shape)[...] = part
            at += part.size
    known = lengths > 0
    return _listed(offsets, codes, known), _codings(runs, name, known)


def _lengths(run: Run, name: str) -> npt.NDArray[np.int32]:
    gates = run.codes[name].shape[1] if name in run.codes else 0
    return np.full(len(run.rays), gates, np.int32)


def _listed(
    offsets: npt.NDArray[np.int32], codes: npt.NDArray[Any], known: npt.NDArray[np.bool_]
) -> pa.Array:
    import pyarrow as pa

    plain = lists(offsets, numbers(codes), known)
    return plain.view(pa.list_(pa.field("element", plain.type.value_type)))


def _codings(runs: tuple[Run, ...], name: str, known: npt.NDArray[np.bool_]) -> pa.Array:
    import pyarrow as pa

    parts = [
        _field(field, dtype, [(run.codings.get(name), len(run.rays)) for run in runs])
        for field, dtype in _CODING
    ]
    types = [pa.field(field, part.type) for (field, _), part in zip(_CODING, parts, strict=True)]
    mask = numbers(~known)
    return pa.StructArray.from_arrays(parts, fields=types, mask=mask)


def _field(field: str, dtype: type, codings: list[tuple[Coding | None, int]]) -> pa.Array:
    told = [None if coding is None else getattr(coding, field) for coding, _ in codings]
    rays = [count for _, count in codings]
    values: npt.NDArray[Any] = np.array([0 if value is None else value for value in told], dtype)
    known = np.array([value is not None for value in told])
    return numbers(np.repeat(values, rays), np.repeat(known, rays))


def _zone(runs: tuple[Run, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The largest DBZH of each ray (NaN: none), and how many of its gates have 50 dBZ."""
    largest, hail = [], []
    for run in runs:
        size = len(run.rays)
        codes = run.codes.get("dbzh")
        if codes is None:
            largest.append(np.full(size, np.nan, np.float32))
            hail.append(np.zeros(size, np.int32))
            continue
        values = decoded(run.codings["dbzh"])
        top = codes.max(axis=1)
        largest.append(np.where(top > 1, values[top], np.float32(np.nan)))
        hail.append(np.count_nonzero(codes >= _least(values, HAIL_DBZ), axis=1).astype(np.int32))
    return np.concatenate(largest), np.concatenate(hail)


def _least(values: npt.NDArray[np.float32], wanted: float) -> int:
    """The smallest code above 1 whose value is `wanted` or more; one too many if there is none."""
    enough = values >= np.float32(wanted)
    enough[:2] = False
    return int(np.argmax(enough)) if enough.any() else len(values)


def decoded(coding: Coding) -> npt.NDArray[np.float32]:
    """The value of every code: (code - offset) / scale in float32, as Py-ART has it."""
    codes = np.arange(1 << coding.bits, dtype=np.float32)
    values: npt.NDArray[np.float32] = (codes - np.float32(coding.offset)) / np.float32(coding.scale)
    return values
