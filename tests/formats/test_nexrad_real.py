"""Radar volumes against Py-ART, ray by ray: every real file, archive, trimmed and chunked.

Expected values come from `pyart.io.nexrad_level2.NEXRADLevel2File`, which has the file's own
codes: interpolation happens above it, in `pyart.io.read_nexrad_archive`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakeq.formats._nexrad_volume import Sweep
from tests.support import radar
from tests.support.radar import MOMENTS, SOURCES, source_id


@pytest.mark.parametrize("path", SOURCES, ids=source_id)
def test_codes_angles_times_and_velocities_equal_pyart(path: Path) -> None:
    pyart = radar.pyart_file(path)
    _, sweeps = radar.read(path)
    check_codes(pyart, sweeps)
    check_rays(pyart, sweeps)


def check_codes(pyart: Any, sweeps: list[Sweep]) -> None:
    assert len(sweeps) == pyart.nscans
    for number, (sweep, info) in enumerate(zip(sweeps, pyart.scan_info(), strict=True)):
        assert [MOMENTS[name] for name in info["moments"]] == sorted(
            sweep.moments, key=list(MOMENTS.values()).index
        )
        message = pyart.radial_records[pyart.scan_msgs[number][0]]
        for place, name in enumerate(info["moments"]):
            ours = radar.codes_of(sweep, MOMENTS[name], info["ngates"][place])
            theirs = pyart.get_data(name, info["ngates"][place], [number], raw_data=True)
            np.testing.assert_array_equal(ours, theirs)
            coding = sweep.runs[0].codings[MOMENTS[name]]
            assert (coding.range_m, coding.spacing_m) == (
                info["first_gate"][place],
                info["gate_spacing"][place],
            )
            assert (coding.scale, coding.offset) == (
                message[name]["scale"],
                message[name]["offset"],
            )


def check_rays(pyart: Any, sweeps: list[Sweep]) -> None:
    rays = np.concatenate([sweep.rays for sweep in sweeps])
    np.testing.assert_array_equal(rays["azimuth"], pyart.get_azimuth_angles().astype("f4"))
    np.testing.assert_array_equal(rays["elevation"], pyart.get_elevation_angles().astype("f4"))
    np.testing.assert_array_equal(rays["nyquist_velocity"], pyart.get_nyquist_vel().astype("f4"))
    kilometres = pyart.get_unambigous_range() / 1000
    np.testing.assert_allclose(rays["unambiguous_range"], kilometres, rtol=1e-6)
    start, seconds = pyart.get_times()
    ours = rays["time_ms"].astype("M8[ms]")
    theirs = np.datetime64(start, "ms") + np.round(seconds * 1000).astype("m8[ms]")
    np.testing.assert_array_equal(ours, theirs)
