"""Coordinates of scenes against PROJ."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from lakeq import projections


@pytest.mark.parametrize("code", [32601, 32631, 32660, 32701, 32733, 3031, 3995])
def test_coordinates_equal_proj_both_ways(code: int) -> None:
    random = np.random.default_rng(code)
    if code < 10_000:
        x, y = random.uniform(-3e6, 3e6, (2, 5000))
    else:
        south = code > 32700
        x = random.uniform(-300_000, 1_300_000, 5000)
        y = random.uniform(1e6 if south else -9e6, 1e7 if south else 9e6, 5000)
    proj = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    system = projections.of_epsg(code)
    lon, lat = system.to_lonlat(x, y)
    wanted_lon, wanted_lat = proj.transform(x, y)
    assert np.abs(projections.wrapped(lon - wanted_lon)).max() < 1e-10
    assert np.abs(lat - wanted_lat).max() < 1e-10
    back = system.from_lonlat(np.asarray(wanted_lon), np.asarray(wanted_lat))
    assert np.abs(back[0] - x).max() < 1e-6
    assert np.abs(back[1] - y).max() < 1e-6


def test_the_poles_are_places_too() -> None:
    zero = np.zeros(1)
    for code, pole in ((3031, -90.0), (3995, 90.0)):
        system = projections.of_epsg(code)
        assert system.to_lonlat(zero, zero)[1][0] == pytest.approx(pole, abs=1e-12)
        x, y = system.from_lonlat(zero, np.array([pole]))
        assert np.hypot(x, y)[0] < 1e-6


def test_longitudes_lie_from_180_west_until_before_180_east() -> None:
    lon, _ = projections.of_epsg(32601).to_lonlat(np.array([200_000.0]), np.array([6e6]))
    assert -180 <= lon[0] < 180
    assert lon[0] > 170  # west of the antimeridian, from zone 1


def test_a_system_that_no_product_has_is_an_error() -> None:
    with pytest.raises(ValueError, match="EPSG:4326"):
        projections.of_epsg(4326)
