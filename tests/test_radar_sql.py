"""The radar queries of sql/ against numpy over what Py-ART reads in the same files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import make_volume
from lakeq.api import Lake
from tests.support import radar_lakes as radar

KM2_PER_CELL = 1.112**2  # at the equator
STORM = "KFWS20190609_222523.bin"  # its first three sweeps: a line of severe thunderstorms
DAY = {"site": "KFWS", "first_day": "2019-06-09"}


def ask(lake: Lake, name: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a named query, its values given as text as on the command line."""
    given = {key: str(value) for key, value in values.items()}
    rows: list[dict[str, Any]] = lake.sql(f"@{name}", given).arrow().to_pylist()
    return rows


class Gates:
    """Gates of DBZH that have a value: value, latitude, longitude, altitude by Py-ART.

    `scans` leaves out the second half of split cuts, where the lowest reflectivity comes again.
    """

    def __init__(self, path: Path, scans: list[int]) -> None:
        from pyart.core import antenna_vectors_to_cartesian, cartesian_to_geographic_aeqd

        file = radar.pyart_file(path)
        latitude, longitude, height = file.location()
        parts = []
        for scan in scans:
            ranges = file.get_range(scan, "REF")
            values = file.get_data("REF", len(ranges), [scan], raw_data=False)
            azimuth = file.get_azimuth_angles([scan])
            elevation = file.get_elevation_angles([scan])
            x, y, z = antenna_vectors_to_cartesian(ranges, azimuth, elevation)
            east, north = cartesian_to_geographic_aeqd(x, y, longitude, latitude)
            there = ~np.ma.getmaskarray(values)
            north, east = np.round(north, 5), np.round(east, 5)  # the tables' decimal(8, 5)
            parts.append([part[there] for part in (values.data, north, east, z + height)])
        self.value, self.latitude, self.longitude, self.altitude = map(
            np.concatenate, zip(*parts, strict=True)
        )

    def cells(self, chosen: Any) -> set[tuple[int, int]]:
        """The cells of 0.01 degrees, south-west corners in hundredths, of some gates."""
        rows = np.floor(self.latitude[chosen] * 100 + 1e-6).astype(int)
        columns = np.floor(self.longitude[chosen] * 100 + 1e-6).astype(int)
        return set(zip(rows.tolist(), columns.tolist(), strict=True))

    def km2(self, chosen: Any) -> float:
        """The area of those cells."""
        return sum(
            KM2_PER_CELL * float(np.cos(np.radians((row + 0.5) / 100)))
            for row, _ in self.cells(chosen)
        )


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of one real volume of severe thunderstorms."""
    folder = tmp_path_factory.mktemp("storm")
    path = radar.real_volume(STORM, folder)
    return radar.lake_of(folder / "lake", [path], ("volumes", "sweeps", "rays", "grid"))


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    return Gates(radar.real_volume(STORM, tmp_path_factory.mktemp("storm")), [0, 2])


def test_the_strongest_echo_over_a_box_is_that_of_its_gates(storm: Lake, gates: Gates) -> None:
    box = {"south": 32.20, "north": 32.90, "west": -97.60, "east": -96.40}
    (row,) = ask(storm, "reflectivity_in_box", **DAY, **box)
    inside = (
        (gates.latitude >= box["south"]) & (gates.latitude < box["north"])
        & (gates.longitude >= box["west"]) & (gates.longitude < box["east"])
    )  # fmt: skip
    assert row["dbzh_max"] == gates.value[inside].max()
    # Positions agree to 1e-5 degrees, so gates on an edge may fall on its other side.
    assert row["gates"] == pytest.approx(int(inside.sum()), rel=0.002)
    assert row["gates_50dbz"] == pytest.approx(int((gates.value[inside] >= 50).sum()), rel=0.002)
    assert row["echo_km2"] == pytest.approx(gates.km2(inside), rel=0.005)


def test_a_box_without_echo_has_no_largest_value(storm: Lake) -> None:
    box = {"south": 10, "north": 11, "west": -97, "east": -96}
    (row,) = ask(storm, "reflectivity_in_box", **DAY, **box)
    assert (row["dbzh_max"], row["gates"], row["echo_km2"]) == (None, 0, 0)


def test_the_echo_top_is_the_highest_gate_of_18_dbz(storm: Lake, gates: Gates) -> None:
    (row,) = ask(storm, "echo_top", **DAY, least_m=3000)
    high = gates.value >= 18
    assert row["echo_top_m"] == pytest.approx(gates.altitude[high].max(), abs=2)
    top = gates.altitude[high].argmax()
    assert float(row["latitude"]) == pytest.approx(gates.latitude[high][top], abs=0.00501)
    assert float(row["longitude"]) == pytest.approx(gates.longitude[high][top], abs=0.00501)
    assert row["area_km2"] == pytest.approx(gates.km2(high & (gates.altitude >= 3000)), rel=0.005)


@pytest.mark.parametrize("least", [50, 60])
def test_hail_cores_have_the_area_of_the_cells_that_reach_the_threshold(
    storm: Lake, gates: Gates, least: float
) -> None:
    (row,) = ask(storm, "hail_cores", first_day="2019-06-09", least_dbz=least)
    assert (row["site"], row["volumes"], row["volumes_with_cores"]) == ("KFWS", 1, 1)
    assert row["dbzh_max"] == gates.value.max()
    assert row["largest_km2"] == pytest.approx(gates.km2(gates.value >= least), rel=0.01)


def test_a_site_without_cores_is_told_too(storm: Lake) -> None:
    (row,) = ask(storm, "hail_cores", first_day="2019-06-09", least_dbz=90)
    assert (row["volumes"], row["volumes_with_cores"], row["largest_km2"]) == (1, 0, None)


def test_couplets_are_the_steps_between_neighbouring_rays(storm: Lake, tmp_path: Path) -> None:
    found = ask(storm, "velocity_couplets", **DAY)
    expected = couplets(radar.real_volume(STORM, tmp_path), least=25, pairs=3)
    assert len(found) > 5
    assert {(r["azimuth"], r["range_km"]): (r["delta_m_s"], r["pairs"]) for r in found} == expected
    for row in found:
        assert row["nyquist_m_s"] == pytest.approx(33.98)
        assert (row["aliasing"] == "possible") == (abs(row["delta_m_s"]) > row["nyquist_m_s"])
        assert abs(row["unfolded_m_s"]) <= row["nyquist_m_s"] + 0.01
        assert (row["rotation"] == "cyclonic") == (row["delta_m_s"] > 0)


def couplets(path: Path, least: float, pairs: int) -> Mapping[tuple[float, float], Any]:
    """The strongest pair of each couplet in the Doppler sweep, and how many pairs it has."""
    file = radar.pyart_file(path)
    order = np.argsort(file.get_azimuth_angles([1]))
    azimuth = file.get_azimuth_angles([1])[order].astype(np.float32)
    ranges = file.get_range(1, "VEL")
    velocity = file.get_data("VEL", len(ranges), [1], raw_data=False)[order].filled(np.nan)
    strong = file.get_data("REF", 1832, [1], raw_data=False)[order].max(axis=1).filled(-99) >= 30
    delta = np.roll(velocity, -1, axis=0) - velocity
    apart = (np.roll(azimuth, -1) - azimuth) % 360
    wanted = (np.abs(delta) >= least) & (strong & (apart < 0.8))[:, None]
    wanted &= (ranges >= 5000) & (ranges <= 100_000)
    groups: dict[Any, list[tuple[float, float, float]]] = {}
    for ray, gate in np.argwhere(wanted):
        middle, km = float((azimuth[ray] + apart[ray] / 2) % 360), ranges[gate] / 1000
        key = (int(middle // 5), int(km // 2.5), np.sign(delta[ray, gate]))
        groups.setdefault(key, []).append((float(delta[ray, gate]), middle, float(km)))
    found = {}
    for members in groups.values():
        if len(members) >= pairs:
            step, middle, km = max(members, key=lambda member: abs(member[0]))
            found[round(middle, 2), round(km, 3)] = (step, len(members))
    return found


def test_the_vortex_of_the_made_storm_is_found_where_it_was_put(radar_lake: Lake) -> None:
    rows = ask(radar_lake, "velocity_couplets", site="KTLX", first_day="2019-05-20", least_m_s=12)
    first = [row for row in rows if row["volume_time"].minute == 0 and row["aliasing"] == "none"]
    east, north = make_volume.CORES[2][0] - 3_000, make_volume.CORES[2][1]
    row = max(first, key=lambda row: abs(row["delta_m_s"]))
    assert row["rotation"] == "cyclonic"
    assert row["azimuth"] == pytest.approx(np.degrees(np.arctan2(east, north)) % 360, abs=2)
    assert row["range_km"] == pytest.approx(np.hypot(east, north) / 1000, abs=1)


# Rain at a gauge: a made hour and a half with a gap

GAUGE = {"latitude": 35.303, "longitude": -97.348}
MISSED = (8, 9, 10)


@pytest.fixture(scope="module")
def rainy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[Path]]:
    """Volumes every five minutes from 19:30:04, but for twenty minutes without any."""
    folder = tmp_path_factory.mktemp("rainy")
    start = datetime(2019, 5, 20, 19, 30, 4, tzinfo=UTC)
    made = make_volume.make(folder, volumes=15, start=start)
    paths = [path for number, path in enumerate(made) if number not in MISSED]
    return radar.lake_of(folder / "lake", paths, ("volumes", "sweeps", "grid")), paths


def rate_mm_h(path: Path, gauge: Mapping[str, float] = GAUGE) -> float:
    """The rate over a gauge: Z = 300 R^1.4 of the strongest gate of the cell nearest to it."""
    low = Gates(path, [0])
    rows = np.floor(low.latitude * 100 + 1e-6)
    columns = np.floor(low.longitude * 100 + 1e-6)
    north = (rows + 0.5) / 100 - gauge["latitude"]
    east = ((columns + 0.5) / 100 - gauge["longitude"]) * np.cos(np.radians(gauge["latitude"]))
    away = 111.195 * np.hypot(north, east)
    if away.min() > 1:
        return 0.0
    dbz = min(53.0, float(low.value[away <= away.min() + 1e-6].max()))
    return float((10 ** (dbz / 10) / 300) ** (1 / 1.4))


def test_rain_is_integrated_over_time_and_gaps_are_stated(rainy: tuple[Lake, list[Path]]) -> None:
    lake, paths = rainy
    rows = ask(lake, "gauge_rain", site="KTLX", first_day="2019-05-20", **GAUGE)
    minutes = np.array([30 + 5 * n for n in range(15) if n not in MISSED]) + 4 / 60
    rates = np.array([rate_mm_h(path) for path in paths])
    fine = np.arange(30, 101, 1 / 60) + 1 / 120  # every second of the time, its middle
    steps = np.searchsorted(minutes, fine) - 1
    inside = (steps >= 0) & (steps < len(minutes) - 1)
    gap = np.diff(minutes)[np.clip(steps, 0, len(minutes) - 2)]
    observed = inside & (gap <= 15)
    mm = np.where(observed, np.interp(fine, minutes, rates), 0) / 3600
    expected = [(mm[fine < 60].sum(), observed[fine < 60].sum() / 60),
                (mm[fine >= 60].sum(), observed[fine >= 60].sum() / 60)]  # fmt: skip
    assert [row["hour"].hour for row in rows] == [19, 20]
    for row, (rain, seen) in zip(rows, expected, strict=True):
        assert row["rain_mm"] == pytest.approx(rain, abs=0.01)
        assert row["minutes_observed"] == pytest.approx(seen, abs=0.1)
        assert row["minutes_observed"] + row["minutes_missing"] == pytest.approx(60)
    assert [row["volumes"] for row in rows] == [6, 6]
    assert rows[0]["rain_mm"] > 1


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(31.337, -97.895), (31.448, -97.842), (31.664, -97.740), (32.803, -97.096)],
)
def test_rates_of_a_real_storm_are_those_of_the_gates_over_the_gauge(
    storm: Lake, tmp_path: Path, latitude: float, longitude: float
) -> None:
    gauge = {"latitude": latitude, "longitude": longitude}
    (row,) = ask(storm, "gauge_rain", **DAY, **gauge)
    expected = rate_mm_h(radar.real_volume(STORM, tmp_path), gauge)
    assert expected > 0
    assert row["largest_rate_mm_h"] == pytest.approx(expected, abs=0.005)
    assert (row["rain_mm"], row["minutes_observed"], row["volumes"]) == (None, 0, 1)


def test_a_gap_is_bridged_only_when_asked(rainy: tuple[Lake, list[Path]]) -> None:
    given = {"site": "KTLX", "first_day": "2019-05-20", **GAUGE}
    lake, _ = rainy
    bridged = ask(lake, "gauge_rain", **given, max_gap_minutes=21)
    strict = ask(lake, "gauge_rain", **given, max_gap_minutes=1)
    assert [row["minutes_observed"] for row in bridged] == pytest.approx([29.9, 40.1], abs=0.05)
    assert [(row["rain_mm"], row["minutes_missing"]) for row in strict] == [(None, 60), (None, 60)]


def test_a_gauge_without_echo_has_no_rain(rainy: tuple[Lake, list[Path]]) -> None:
    dry = {"latitude": 36.30, "longitude": -98.30}
    rows = ask(rainy[0], "gauge_rain", site="KTLX", first_day="2019-05-20", **dry)
    assert [row["rain_mm"] for row in rows] == [0, 0]


# What there is


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, made_volumes: list[Path]) -> Lake:
    """Three whole volumes of KTLX, one that ends after its third cut, and one of KLOT."""
    folder = tmp_path_factory.mktemp("archive")
    cut = folder / "KTLX20190520_201504_V06"
    start = datetime(2019, 5, 20, 20, 15, 4, tzinfo=UTC)
    cut.write_bytes(make_volume.volume(start, 900, 4, cuts=3))
    paths = [*made_volumes, cut, radar.real_volume("KLOT/34", folder)]
    return radar.lake_of(folder / "lake", paths, ("volumes", "sweeps"))


def test_volumes_with_missing_sweeps_name_them(archive: Lake) -> None:
    rows = ask(archive, "missing_sweeps")
    assert [(row["site"], row["volume_time"].minute) for row in rows] == [
        ("KLOT", 48),
        ("KTLX", 15),
    ]
    klot, ktlx = rows
    assert (ktlx["sweeps_declared"], ktlx["sweeps_present"], ktlx["sweeps_missing"]) == (
        5,
        3,
        [4, 5],
    )
    assert ktlx["missing_angles"] == pytest.approx([3.12, 6.41], abs=0.01)
    assert klot["sweeps_missing"][0] == 3  # the sweep of 360 rays
    assert klot["sweeps_missing"] == list(range(3, klot["sweeps_declared"] + 1))
    assert ask(archive, "missing_sweeps", site="KTLX", first_day="2019-05-21") == []


def test_the_use_of_patterns_is_counted_by_day(archive: Lake) -> None:
    rows = ask(archive, "vcp_use")
    assert [(r["site"], str(r["date"]), r["vcp"], r["volumes"], r["incomplete"]) for r in rows] == [
        ("KLOT", "2020-10-19", 215, 1, 1),
        ("KTLX", "2019-05-20", 212, 4, 1),
    ]
    assert [row["share"] for row in rows] == [1, 1]
    assert [row["minutes_between"] for row in rows] == [None, 5]
