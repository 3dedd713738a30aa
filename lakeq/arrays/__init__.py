"""Radar volumes as xarray: one DataTree per volume, laid out as FM301/CfRadial2 says.

The tree has the shape, names and values that xradar gives for the same file: a root with the site
and the volume's facts, and a node `sweep_N` for each sweep with its moments over (azimuth, range).
It is read from the tables `volumes`, `sweeps` and `rays` of the lake: only the rows of the volume
and the columns of the moments asked for. Sources: FM 301 in the WMO Manual on Codes, volume I.3;
the words of message 5 and 2: ICD 2620002, notes 10 and 15 to 17.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from lakeq import moments as _moments
from lakeq.arrays import codes as _codes
from lakeq.arrays import find as _find
from lakeq.arrays.find import Ask, Row
from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.query import Report, Result

Order = Literal["azimuth", "time"]
Values = Literal["scaled", "masked", "codes"]

DATASET = "nexrad"
SWEEPS = """
    SELECT * FROM nexrad.sweeps
    WHERE site = $site AND date = $date AND volume_time = $volume_time
"""
RAYS = """
    SELECT * FROM nexrad.rays
    WHERE site = $site AND date = $date AND volume_time = $volume_time
        AND sweep_number BETWEEN $first AND $last AND sweep_number IN (SELECT unnest($numbers))
"""
RAYS_PER_BATCH = 512
COMMENT = (
    "read with lakeq; with values='scaled' codes that say below threshold (0) and range folded (1) "
    "are scaled like all others, as xradar does; values='masked' makes them NaN"
)
CHANNEL_CONFIGS = ("constant_phase", "random_phase", "sz2_phase_coding")


@dataclass(frozen=True, slots=True)
class Cost:
    """What opening a volume took: the sum over its queries."""

    bytes_scanned: int
    cost_usd: Decimal
    seconds: float

    @classmethod
    def of(cls, reports: Collection[Report]) -> Cost:
        """The sum of the reports."""
        return cls(
            sum(report.bytes_scanned for report in reports),
            sum((report.cost_usd for report in reports), Decimal(0)),
            sum(report.seconds for report in reports),
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sweeps and moments to read, and how; None is all there are.

    `first_only` is the first sweep, of those chosen, that has one of the moments.
    """

    sweeps: Sequence[int] | None = None
    moments: Sequence[str] | None = None
    order: Order = "azimuth"
    values: Values = "scaled"
    first_only: bool = False

    def __post_init__(self) -> None:
        for name, given, known in (
            ("order", self.order, get_args(Order)),
            ("values", self.values, get_args(Values)),
        ):
            if given not in known:
                hint = f"choose from: {', '.join(known)}"
                raise UsageError(f"{name} = {given!r}", "the radar volume", hint)


def open_radar(
    ask: Ask,
    site: str,
    time: object,
    choice: Choice,
    *,
    tolerance: timedelta | None = None,
    dataset: str = DATASET,
) -> xr.DataTree:
    """The volume of `site` that starts at `time`, as `Lake.open_radar` describes it."""
    site = site.strip().upper()
    when = _find.moment_of(time)

    def ask_dataset(query: str, params: Mapping[str, object] | None = None) -> Result:
        return ask(query.replace(f" {DATASET}.", f" {dataset}."), params)

    asked = _find.candidates(ask_dataset, site, when, tolerance)
    volume = _find.volume(ask_dataset, asked.arrow().to_pylist(), site, when, tolerance)
    where = f"the volume {site} {_find.written(volume['volume_time'])}"
    reading = _Reading(ask_dataset, volume, where)
    sweeps, moments = _chosen(reading.sweeps(), choice, where)
    nodes = reading.nodes(sweeps, [moment.name.lower() for moment in moments], choice)
    root = _root(volume, list(nodes.values()), Cost.of([asked.report, *reading.reports]))
    return xr.DataTree.from_dict({"/": root, **nodes})


def _chosen(
    rows: Mapping[int, Row], choice: Choice, where: str
) -> tuple[dict[int, Row], list[_moments.Moment]]:
    """The sweeps and moments to read; `NotFound` for one that the volume, or a sweep, has not."""
    if not rows:
        hint = "only its head was ingested; ingest the object again, with all tables"
        raise NotFound("the lake has no sweeps of it", where, hint)
    numbers = sorted(rows) if choice.sweeps is None else list(dict.fromkeys(choice.sweeps))
    for number in numbers:
        if number not in rows:
            hint = f"its sweeps: {', '.join(map(str, sorted(rows)))}"
            raise NotFound(f"no sweep {number}", where, hint)
    if choice.moments is None:
        there = {name for number in numbers for name in _there(rows[number])}
        moments = [moment for moment in _moments.MOMENTS.values() if moment.name in there]
        wanted = numbers
    else:
        asked = dict.fromkeys(choice.moments)
        moments = [_moments.get(name, "the moments") for name in asked]
        wanted = _sweeps_with(moments, rows, numbers, where)
    return {number: rows[number] for number in wanted[: 1 if choice.first_only else None]}, moments


def _there(sweep: Row) -> list[str]:
    return (sweep["moments"] or "").split()


def _sweeps_with(
    moments: Sequence[_moments.Moment], rows: Mapping[int, Row], numbers: Sequence[int], where: str
) -> list[int]:
    """Those of the sweeps `numbers` that have any of the moments.

    Raises `NotFound` when one of the moments is in none of them.
    """
    for moment in moments:
        if not any(moment.name in _there(rows[number]) for number in numbers):
            having = [str(number) for number in sorted(rows) if moment.name in _there(rows[number])]
            there = sorted({name for number in numbers for name in _there(rows[number])})
            hint = f"they have: {', '.join(there)}"
            if having:
                hint += f"; sweeps with {moment.name}: {', '.join(having)}"
            shown = ", ".join(map(str, numbers))
            raise NotFound(f"no {moment.name} in sweep {shown}", where, hint)
    names = {moment.name for moment in moments}
    return [number for number in numbers if names.intersection(_there(rows[number]))]


class _Reading:
    """The queries of one volume, and their reports."""

    def __init__(self, ask: Ask, volume: Row, where: str) -> None:
        self.reports: list[Report] = []
        self.where = where
        self._ask = ask
        self._values = {name: volume[name] for name in ("site", "date", "volume_time")}

    def sweeps(self) -> dict[int, Row]:
        """The rows of the volume's sweeps, by number."""
        result = self._ask(SWEEPS, self._values)
        rows = {row["sweep_number"]: row for row in result.arrow().to_pylist()}
        self.reports.append(result.report)
        return rows

    def nodes(
        self, sweeps: Mapping[int, Row], moments: Sequence[str], choice: Choice
    ) -> dict[str, xr.Dataset]:
        """One dataset per sweep, from one query of the rays."""
        pieces: dict[int, list[_Piece]] = {number: [] for number in sweeps}
        for batch in self._rays(list(sweeps), moments):
            for number, rows in _by_sweep(batch):
                parts = {name: _codes.part(rows, name) for name in moments}
                pieces[number].append(_Piece(_angles(rows), parts))
        return {
            f"sweep_{number}": _Node(sweep, pieces[number], self.where).dataset(choice)
            for number, sweep in sweeps.items()
            if pieces[number]
        }

    def _rays(self, numbers: Sequence[int], moments: Sequence[str]) -> Iterator[pa.RecordBatch]:
        columns = ["sweep_number", "ray_number", "time", "azimuth", "elevation"]
        for name in moments:
            columns.append(name)
            columns += [f"{name}_coding.{part} AS {name}_{part}" for part in _codes.CODING]
        text = RAYS.replace("*", ", ".join(columns))
        sweeps = {"first": min(numbers), "last": max(numbers), "numbers": list(numbers)}
        result = self._ask(text, {**self._values, **sweeps})
        yield from result.batches(RAYS_PER_BATCH)
        self.reports.append(result.report)


def _by_sweep(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Neighbouring rows of one sweep, in the order they have."""
    numbers = batch.column("sweep_number").to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        yield int(numbers[start]), batch.slice(start, end - start)


def _angles(rows: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
    """What each ray has one value of."""
    time = rows.column("time").cast("int64").to_numpy().astype("datetime64[us]")
    return {
        "ray_number": rows.column("ray_number").to_numpy(),
        "time": time.astype("datetime64[ns]"),
        "azimuth": rows.column("azimuth").to_numpy().astype(np.float64),
        "elevation": rows.column("elevation").to_numpy().astype(np.float64),
    }


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rays of a sweep, in any order."""

    angles: Mapping[str, npt.NDArray[Any]]
    parts: Mapping[str, _codes.Part]


class _Node:
    """One sweep on its way from rays to a dataset."""

    def __init__(self, sweep: Row, pieces: Sequence[_Piece], where: str) -> None:
        self.sweep = sweep
        self.where = f"{where}, sweep {sweep['sweep_number']}"
        names = pieces[0].angles
        self.angles = {n: np.concatenate([p.angles[n] for p in pieces]) for n in names}
        self.parts = {n: [p.parts[n] for p in pieces] for n in pieces[0].parts}

    def dataset(self, choice: Choice) -> xr.Dataset:
        """Rays sorted by azimuth, or in order of time with `time` as their dimension."""
        by_time = np.argsort(self.angles["ray_number"], kind="stable")
        order = by_time
        if choice.order == "azimuth":
            order = by_time[np.argsort(self.angles["azimuth"][by_time], kind="stable")]
        found = {
            _moments.MOMENTS[name.upper()]: gates
            for name, parts in self.parts.items()
            if (gates := _codes.gates(parts, order, self.where)) is not None
        }
        axes = _axes(found)
        variables = {
            moment.name: _variable(moment, gates, axes[moment.name], choice)
            for moment, gates in found.items()
        }
        return xr.Dataset(
            {**variables, **_facts(self.sweep)},
            {**self._ray_coordinates(order, choice.order), **_range_coordinates(axes.values())},
            _sweep_attrs(self.sweep),
        )

    def _ray_coordinates(
        self, order: npt.NDArray[np.intp], dimension: str
    ) -> dict[str, xr.Variable]:
        return {
            name: xr.Variable((dimension,), self.angles[name][order], attrs)
            for name, attrs in RAY_ATTRS.items()
        }


RAY_ATTRS = {
    "azimuth": {
        "standard_name": "ray_azimuth_angle",
        "long_name": "azimuth_angle_from_true_north",
        "units": "degrees",
        "axis": "radial_azimuth_coordinate",
    },
    "elevation": {
        "standard_name": "ray_elevation_angle",
        "long_name": "elevation_angle_from_horizontal_plane",
        "units": "degrees",
        "axis": "radial_elevation_coordinate",
    },
    "time": {"standard_name": "time"},
}


@dataclass(frozen=True, slots=True)
class _Axis:
    """One dimension of ranges: its name, and where its gates lie."""

    name: str
    range_m: float
    spacing_m: float
    gates: int


def _axes(found: Mapping[_moments.Moment, _codes.Gates]) -> dict[str, _Axis]:
    """The axis of each moment by its name.

    Moments whose gates lie at the same places share one, as long as the longest of them; the first
    is `range`, another is `range_NAME` after its first moment.
    """
    shared: dict[tuple[float, float], list[str]] = {}
    for moment, gates in found.items():
        shared.setdefault((gates.range_m, gates.spacing_m), []).append(moment.name)
    lengths = {moment.name: gates.codes.shape[1] for moment, gates in found.items()}
    axes: dict[str, _Axis] = {}
    for place, names in shared.items():
        name = f"range_{names[0]}" if axes else "range"
        axis = _Axis(name, *place, max(lengths[n] for n in names))
        axes |= dict.fromkeys(names, axis)
    return axes


def _variable(
    moment: _moments.Moment, gates: _codes.Gates, axis: _Axis, choice: Choice
) -> xr.Variable:
    from xarray.core import indexing

    scaling = {"scale_factor": gates.scale_factor, "add_offset": gates.add_offset}
    dimensions = (choice.order, axis.name)
    if choice.values == "codes":
        codes = _codes.widened(gates.codes, axis.gates)
        return xr.Variable(dimensions, codes, {**moment.attrs, **scaling})
    masked = choice.values == "masked"
    first = moment.codes_below_data if masked else 0
    lazy = indexing.LazilyIndexedArray(_codes.Scaled(gates, axis.gates, first))
    written = {**scaling, "dtype": gates.codes.dtype, **({"_FillValue": 0} if masked else {})}
    return xr.Variable(dimensions, lazy, moment.attrs, written)


def _range_coordinates(axes: Collection[_Axis]) -> dict[str, xr.Variable]:
    return {
        axis.name: xr.Variable(
            (axis.name,),
            (axis.range_m + axis.spacing_m * np.arange(axis.gates)).astype(np.float32),
            {
                "units": "meters",
                "standard_name": "projection_range_coordinate",
                "long_name": "range_to_measurement_volume",
                "axis": "radial_range_coordinate",
                "meters_between_gates": np.float32(axis.spacing_m),
                "spacing_is_constant": "true",
                "meters_to_center_of_first_gate": np.float32(axis.range_m),
            },
        )
        for axis in axes
    }


def _facts(sweep: Row) -> dict[str, xr.Variable]:
    """The variables of one value that FM301 asks of a sweep."""
    return {
        "sweep_mode": xr.Variable((), "azimuth_surveillance"),
        "sweep_number": xr.Variable((), np.int64(sweep["sweep_number"])),
        "prt_mode": xr.Variable((), "not_set"),
        "follow_mode": xr.Variable((), "not_set"),
        "sweep_fixed_angle": xr.Variable((), np.float64(sweep["fixed_angle"])),
    }


def _sweep_attrs(sweep: Row) -> dict[str, Any]:
    """What the VCP says of the cut, and what its rays do; left out where the file does not say."""
    attrs: dict[str, Any] = {}
    if sweep["supplemental"] is not None:
        word = sweep["supplemental"]
        attrs = {
            "waveform_type": sweep["waveform"],
            "channel_config": _named(CHANNEL_CONFIGS, sweep["channel_config"]),
            "super_resolution": sweep["super_resolution"],
            "sails_cut": word & 1,
            "sails_sequence_number": word >> 1 & 7,
            "mrle_cut": word >> 4 & 1,
            "mrle_sequence_number": word >> 5 & 7,
            "mpda_cut": word >> 9 & 1,
            "base_tilt_cut": word >> 10 & 1,
        }
    attrs["complete"] = int(sweep["complete"])
    for name in ("nyquist_velocity", "unambiguous_range"):
        if sweep[name] is not None:
            attrs[name] = float(sweep[name])
    return attrs


def _named(names: Sequence[str], code: int) -> str:
    return names[code] if 0 <= code < len(names) else str(code)


def _root(volume: Row, nodes: Sequence[xr.Dataset], cost: Cost) -> xr.Dataset:
    times = [extreme for node in nodes for extreme in (node.time.min(), node.time.max())]
    start, end = (f"{str(t.values)[:19]}Z" for t in (min(times), max(times)))
    return xr.Dataset(
        {
            "volume_number": 0,
            "platform_type": "fixed",
            "instrument_type": "radar",
            "time_coverage_start": start,
            "time_coverage_end": end,
        },
        {
            name: xr.Variable((), np.float64(np.nan if value is None else value), attrs)
            for name, value, attrs in (
                ("latitude", volume["latitude"], _place("latitude", "degrees_north")),
                ("longitude", volume["longitude"], _place("longitude", "degrees_east")),
                ("altitude", volume["altitude_m"], _place("altitude", "meters")),
            )
        },
        {**_volume_attrs(volume), **_lakeq_attrs(volume, cost)},
    )


def _place(name: str, units: str) -> dict[str, str]:
    positive = {"positive": "up"} if name == "altitude" else {}
    return {"long_name": name, "units": units, "standard_name": name, **positive}


def _volume_attrs(volume: Row) -> dict[str, Any]:
    """The attributes that FM301 asks of a volume, then those of its VCP and of the radar."""
    attrs: dict[str, Any] = {
        "Conventions": "Cf/Radial",
        "instrument_name": volume["site"],
        "version": "2.1",
        "title": f"NEXRAD Level II, {volume['site']}",
        "institution": "NOAA National Weather Service",
        "references": "https://doi.org/10.7289/V5W9574V",
        "source": volume["object"],
        "history": "",
        "comment": COMMENT,
    }
    if volume["vcp"] is not None:
        attrs["scan_name"] = f"VCP-{volume['vcp']}"
    if volume["vcp_supplemental"] is not None:
        attrs |= _pattern_attrs(volume)
    if volume["rda_scan_flags"] is not None:
        attrs |= {
            "avset_enabled": volume["rda_scan_flags"] >> 1 & 1,
            "ebc_enabled": volume["rda_scan_flags"] >> 3 & 1,
            "super_res_status": volume["super_res_status"],
            "rda_build_number": volume["rda_build"],
            "operational_mode": volume["operational_mode"],
        }
    return {**attrs, "actual_elevation_cuts": volume["sweeps_present"]}


def _pattern_attrs(volume: Row) -> dict[str, Any]:
    word, sequencing = volume["vcp_supplemental"], volume["vcp_sequencing"] or 0
    return {
        "dynamic_scan_type": _scan_type(word),
        "mpda_vcp": word >> 11 & 1,
        "base_tilt_vcp": word >> 12 & 1,
        "num_base_tilts": word >> 13 & 7,
        "vcp_truncated": sequencing >> 14 & 1,
        "vcp_sequence_active": sequencing >> 13 & 1,
        "number_elevation_cuts": volume["sweeps_declared"],
        "doppler_velocity_resolution": float(volume["doppler_resolution"]),
        "vcp_pulse_width": volume["pulse_width"],
    }


def _scan_type(word: int) -> str:
    """SAILS or MRLE and how many extra scans, or standard."""
    for name, bit, shift in (("SAILS", 0, 1), ("MRLE", 4, 5)):
        if word >> bit & 1:
            extra = word >> shift & 7
            return f"{name} x {extra}" if extra else name
    return "standard"


def _lakeq_attrs(volume: Row, cost: Cost) -> dict[str, Any]:
    """Which volume it is, whether it is whole, and what reading it took."""
    complete = volume["complete"]
    return {
        "volume_time": volume["volume_time"].isoformat(timespec="milliseconds"),
        "complete": "unknown" if complete is None else int(complete),
        "sweeps_missing": " ".join(str(number - 1) for number in volume["sweeps_missing"] or []),
        "lakeq_bytes_scanned": cost.bytes_scanned,
        "lakeq_cost_usd": str(cost.cost_usd),  # exact, where a float is not
        "lakeq_seconds": round(cost.seconds, 3),
    }
