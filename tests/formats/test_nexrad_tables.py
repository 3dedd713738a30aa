"""The tables of radar volumes: equal to the codes they come from, to Py-ART's positions, to SQL."""

from __future__ import annotations

import math
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakeq import types
from lakeq.formats import _nexrad_geometry, _nexrad_kernels, nexrad_level2
from lakeq.formats._nexrad_geometry import Place
from tests.support import radar
from tests.support.data import real_file
from tests.support.radar import MOMENTS, SOURCES, source_id

SMALL = [
    "volumes/KABR20050101_000745.gz",  # message 1
    "volumes/KTLX20100501_000444_V03.gz",  # moments of one ray with different ranges
    "volumes/KDMX20250101_225441_V06",  # ZDR of 16 bits, CCORH
]
# The codes of every volume are compared in test_nexrad_real.py; here those that are read fast.
QUICK = [path for path in SOURCES if len(radar.object_bytes(path)) < 3_000_000]
SLOW = [path for path in SOURCES if path not in QUICK]


def made(path: Path, folder: Path) -> radar.Tables:
    return radar.tables(radar.object_bytes(path), radar.object_name(path), folder)


@pytest.mark.parametrize("path", QUICK, ids=source_id)
def test_rays_hold_the_codes_that_pyart_reads(path: Path, tmp_path: Path) -> None:
    """Expected: `NEXRADLevel2File.get_data(..., raw_data=True)` of Py-ART."""
    rays = radar.tables(radar.object_bytes(path), radar.object_name(path), tmp_path, ("rays",))[
        "rays"
    ]
    pyart = radar.pyart_file(path)
    first = 0
    for scan, info in enumerate(pyart.scan_info()):
        part = rays.slice(first, info["nrays"])
        first += info["nrays"]
        assert pc.unique(part["elevation_number"]).to_pylist() == [scan + 1]
        for place, name in enumerate(info["moments"]):
            codes = part[MOMENTS[name]].combine_chunks()
            there = codes.filter(codes.is_valid())
            gates = info["ngates"][place]
            theirs = pyart.get_data(name, gates, [scan], raw_data=True)
            theirs = theirs[codes.is_valid().to_numpy(zero_copy_only=False)]
            np.testing.assert_array_equal(there.flatten().to_numpy(), theirs.ravel())
            coding = part[f"{MOMENTS[name]}_coding"][0].as_py()
            assert coding["range_m"] == info["first_gate"][place]
            assert coding["spacing_m"] == info["gate_spacing"][place]
    assert first == len(rays)


@pytest.mark.soak
@pytest.mark.parametrize("path", SLOW, ids=source_id)
def test_the_tables_of_large_volumes_equal_pyart_too(path: Path, tmp_path: Path) -> None:
    test_rays_hold_the_codes_that_pyart_reads(path, tmp_path)
    test_volumes_and_sweeps_say_what_is_there(path, tmp_path)


@pytest.mark.parametrize("relative", SMALL)
def test_gates_are_the_codes_of_rays_decoded_at_their_places(relative: str, tmp_path: Path) -> None:
    tables = made(real_file(f"nexrad/{relative}"), tmp_path)
    chosen = pc.equal(pc.bit_wise_and(tables["gates"]["ray_number"], 31), 5)  # one ray in 32
    gates = tables["gates"].filter(chosen)
    rays = tables["rays"]
    rays = rays.filter(pc.equal(pc.bit_wise_and(rays["ray_number"], 31), 5))
    expected = list(_decoded(rays))
    keys = zip(
        gates["sweep_number"].to_pylist(),
        gates["ray_number"].to_pylist(),
        gates["range_m"].to_pylist(),
        gates["gate_spacing_m"].to_pylist(),
        strict=True,
    )
    columns = [gates[name].to_pylist() for name in MOMENTS.values()]
    ours = {key: row for key, *row in zip(keys, *columns, strict=True)}
    assert len(ours) == len(gates) == len(expected)
    assert ours == dict(expected)


def _decoded(rays: pa.Table) -> Any:
    """(sweep, ray, range, spacing) and the values there, from the lists of codes alone."""
    for row in rays.to_pylist():
        places: dict[tuple[int, int], dict[str, float | None]] = {}
        for name in MOMENTS.values():
            if row[name] is None:
                continue
            coding = row[f"{name}_coding"]
            least = 8 if name == "ccorh" else 2
            for number, code in enumerate(row[name]):
                there = coding["range_m"] + number * coding["spacing_m"]
                if there < 0 or code < (8 if name == "ccorh" else 1):
                    continue
                scale, offset = np.float32(coding["scale"]), np.float32(coding["offset"])
                value = float((np.float32(code) - offset) / scale) if code >= least else None
                places.setdefault((there, coding["spacing_m"]), {})[name] = value
        for (there, spacing), values in places.items():
            key = (row["sweep_number"], row["ray_number"], there, spacing)
            yield key, [values.get(name) for name in MOMENTS.values()]


@pytest.mark.parametrize("latitude", [13.45, 41.604, 65.0])
def test_positions_equal_pyart_within_1e_5_degrees_and_2_m(latitude: float) -> None:
    """Expected: `antenna_to_cartesian` and `cartesian_to_geographic_aeqd` of Py-ART."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyart.core.transforms import antenna_to_cartesian, cartesian_to_geographic_aeqd
    generator = np.random.default_rng(7)
    azimuth = generator.uniform(0, 360, 100).astype("f4")
    elevation = generator.uniform(-1, 60, 100).astype("f4")
    metres = 2125 + 250.0 * np.arange(1832)
    place = Place(latitude, 144.8, 231.0)
    x, y, z = antenna_to_cartesian(
        metres[None] / 1000, azimuth.astype("f8")[:, None], elevation.astype("f8")[:, None]
    )
    east, north = cartesian_to_geographic_aeqd(x.ravel(), y.ravel(), 144.8, latitude)
    exact = _nexrad_geometry.exact(
        place, azimuth.astype("f8")[:, None], elevation.astype("f8")[:, None], metres[None]
    )
    assert np.abs(exact[0].ravel() - north).max() < 1e-9
    assert np.abs((exact[1].ravel() - east + 180) % 360 - 180).max() < 1e-9
    stored = _stored(place, azimuth, elevation)
    assert np.abs(stored.latitude / 1e5 - north).max() < 1e-5
    assert np.abs((stored.longitude / 1e5 - east + 180) % 360 - 180).max() < 1e-5
    assert np.abs(stored.altitude - 231 - z.ravel()).max() < 2


def _stored(place: Place, azimuth: Any, elevation: Any) -> _nexrad_kernels.Places:
    """Positions of 1832 gates of every ray as the table gates has them."""
    size = len(azimuth) * 1832
    ray, gate = (part.astype(np.int32) for part in np.divmod(np.arange(size), 1832))
    found = _nexrad_kernels.Found(ray, gate, np.zeros(size, np.uint8))
    known = _nexrad_geometry.knots(place, azimuth, elevation, 2125, 250, 1832)
    places = _nexrad_kernels.Places(*(np.empty(size, np.int32) for _ in range(3)))
    flat = _nexrad_kernels.Knots(*(part.ravel() for part in known))
    _nexrad_kernels.positions(found, flat, known[0].shape[1], places)
    return places


@pytest.mark.parametrize("relative", SMALL)
def test_gates_stand_in_the_table_where_pyart_has_them(relative: str, tmp_path: Path) -> None:
    """Expected: Py-ART's `antenna_to_cartesian`, of what the gate's row says of its ray."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyart.core.transforms import antenna_to_cartesian, cartesian_to_geographic_aeqd
    tables = made(real_file(f"nexrad/{relative}"), tmp_path)
    (volume,) = tables["volumes"].to_pylist()
    rows = tables["gates"].take(np.arange(0, len(tables["gates"]), 997))
    there = {
        name: rows[name].cast("float64").to_numpy()
        for name in ("range_m", "azimuth", "elevation", "latitude", "longitude", "altitude_m")
    }
    x, y, z = antenna_to_cartesian(there["range_m"] / 1000, there["azimuth"], there["elevation"])
    east, north = cartesian_to_geographic_aeqd(x, y, volume["longitude"], volume["latitude"])
    assert np.abs(there["latitude"] - north).max() < 1e-5
    assert np.abs(there["longitude"] - east).max() < 1e-5
    assert np.abs(there["altitude_m"] - volume["altitude_m"] - z).max() < 2


def test_grid_is_the_column_of_gates_without_repeated_reflectivity(tmp_path: Path) -> None:
    tables = made(real_file("nexrad/volumes/KDMX20250101_225441_V06"), tmp_path)
    gates, grid, sweeps = tables["gates"], tables["grid"], tables["sweeps"]
    repeated = [s["sweep_number"] for s in sweeps.to_pylist() if s["dbzh_repeats"]]
    assert repeated == [1, 3, 5]
    cells: dict[tuple[int, int], list[Any]] = {}
    names = ("latitude", "longitude", "dbzh", "altitude_m", "sweep_number")
    for north, east, dbz, metres, sweep in zip(*(gates[n].to_pylist() for n in names), strict=True):
        if dbz is not None and sweep not in repeated:
            key = (math.floor(north * 100), math.floor(east * 100))
            cells.setdefault(key, []).append((dbz, metres, sweep))
    assert len(cells) == len(grid)
    for row in grid.to_pylist():
        key = (math.floor(row["latitude"] * 100), math.floor(row["longitude"] * 100))
        column = cells[key]
        assert row["dbzh_max"] == max(dbz for dbz, _, _ in column)
        assert row["gates"] == len(column)
        assert row["gates_50dbz"] == sum(dbz >= 50 for dbz, _, _ in column)
        tops = [metres for dbz, metres, _ in column if dbz >= 18]
        assert row["echo_top_m"] == (max(tops) if tops else None)
        lowest = min(sweep for _, _, sweep in column)
        low = [(dbz, metres) for dbz, metres, sweep in column if sweep == lowest]
        assert (row["dbzh_low"], row["low_altitude_m"]) == (max(low)[0], min(m for _, m in low))
    tile = grid["tile"].to_pylist()
    assert tile == sorted(tile)


@pytest.mark.parametrize("path", QUICK, ids=source_id)
def test_volumes_and_sweeps_say_what_is_there(path: Path, tmp_path: Path) -> None:
    data, name = radar.object_bytes(path), radar.object_name(path)
    tables = radar.tables(data, name, tmp_path, ("volumes", "sweeps"))
    (volume,) = tables["volumes"].to_pylist()
    sweeps = tables["sweeps"].to_pylist()
    pyart = radar.pyart_file(path)
    assert volume["site"] == name[:4]
    assert (
        abs(
            volume["volume_time"]
            - datetime.strptime(name[4:19], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        ).total_seconds()
        < 4
    )
    assert volume["date"] == volume["volume_time"].date()
    assert volume["rays"] == len(pyart.radial_records)
    assert [sweep["rays"] for sweep in sweeps] == [len(scan) for scan in pyart.scan_msgs]
    if pyart.vcp is not None and pyart.vcp["msg5_header"]["num_cuts"]:
        assert volume["vcp"] == pyart.get_vcp_pattern()
        assert volume["sweeps_declared"] == pyart.vcp["msg5_header"]["num_cuts"]
        angles = [sweep["fixed_angle"] for sweep in sweeps]
        np.testing.assert_allclose(angles, pyart.get_target_angles(), rtol=1e-6)
    incomplete = {"KCRP20170826_044114_V06": 16, "KFWS20190609_222523_V06": 16,
                  "KMKX20200115_150035_V06": 15, "KLOT20201019_054806_V06": 16}  # fmt: skip
    assert volume["complete"] == (name not in incomplete)
    assert len(volume["sweeps_missing"]) == incomplete.get(name, 0)


def test_a_volume_alone_reads_16_kib_of_the_object(tmp_path: Path) -> None:
    path = real_file("nexrad/volumes/KLOT20220317_000842_V06")
    whole = made(path, tmp_path / "whole")["volumes"].to_pylist()[0]
    cut = path.read_bytes()[: nexrad_level2.HEAD_BYTES]
    read = radar.tables(cut + bytes(len(whole)), path.name, tmp_path, ("volumes",))
    (head,) = read["volumes"].to_pylist()
    for name in ("site", "volume_time", "vcp", "sweeps_declared", "cut_angles", "sails_cuts"):
        assert head[name] == whole[name]
    assert head["complete"] is None
    assert head["rays"] is None


def test_tdwr_stands_at_the_height_it_writes_twice(tmp_path: Path) -> None:
    """TORD writes 226 m as the ground's and as the tower's height; HOMR has 744 feet."""
    path = real_file("nexrad/chunks/TORD/185/20260811-225858-001-S").parent
    (volume,) = made(path, tmp_path)["volumes"].to_pylist()
    assert volume["altitude_m"] == pytest.approx(744 * 0.3048, abs=1)
    assert volume["location_source"] == "message"


def test_a_legacy_volume_stands_where_the_table_of_sites_says(tmp_path: Path) -> None:
    """Expected: `pyart.io.nexrad_common.NEXRAD_LOCATIONS`, from HOMR."""
    path = real_file("nexrad/volumes/KTLX19910605_162126.gz")
    (volume,) = made(path, tmp_path)["volumes"].to_pylist()
    assert (volume["latitude"], volume["longitude"]) == (35.33306, -97.2775)
    assert volume["altitude_m"] == pytest.approx(1213 * 0.3048, abs=0.1)
    assert (volume["location_source"], volume["header_icao"]) == ("table", None)


def test_tables_have_the_catalogs_schemas_and_one_partition(tmp_path: Path) -> None:
    path = real_file("nexrad/volumes/KABR20050101_000745.gz")
    tables = made(path, tmp_path)
    for name, table in radar.dataset().tables.items():
        assert tables[name].schema == types.arrow_schema(table)
        assert pc.unique(tables[name]["site"]).to_pylist() == ["KABR"]
        assert len(pc.unique(tables[name]["date"])) == 1
