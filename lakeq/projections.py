"""Map coordinates of scenes to longitude and latitude and back: UTM and polar stereographic.

Only the reference systems that Landsat products use (WGS 84): UTM zones (EPSG:32601 to 32660, and
32701 to 32760), Antarctic polar stereographic (EPSG:3031) and its northern sister (EPSG:3995).
Sources: C. Karney, Transverse Mercator with an accuracy of a few nanometers (2011), series to
order 6; IOGP Guidance Note 7-2, Polar Stereographic (variant B). They agree with PROJ to 1e-11
degrees and 1e-8 m within a zone and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, radians, sin, sqrt, tan
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

SEMI_MAJOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563
E2 = FLATTENING * (2 - FLATTENING)
_E = sqrt(E2)
_N = FLATTENING / (2 - FLATTENING)
_RADIUS_M = SEMI_MAJOR_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
_SCALE, _FALSE_EASTING_M = 0.9996, 500_000.0
_FALSE_NORTHING_M = 10_000_000.0  # of the southern zones
_POLE_T = 1e-17  # nearer is the pole itself
_STEPS = 5  # of Newton's method; four reach the last bit

_ALPHA = (
    _N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16 + 41 * _N**4 / 180 - 127 * _N**5 / 288
    + 7891 * _N**6 / 37800,
    13 * _N**2 / 48 - 3 * _N**3 / 5 + 557 * _N**4 / 1440 + 281 * _N**5 / 630
    - 1983433 * _N**6 / 1935360,
    61 * _N**3 / 240 - 103 * _N**4 / 140 + 15061 * _N**5 / 26880 + 167603 * _N**6 / 181440,
    49561 * _N**4 / 161280 - 179 * _N**5 / 168 + 6601661 * _N**6 / 7257600,
    34729 * _N**5 / 80640 - 3418889 * _N**6 / 1995840,
    212378941 * _N**6 / 319334400,
)  # fmt: skip
_BETA = (
    _N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96 - _N**4 / 360 - 81 * _N**5 / 512
    + 96199 * _N**6 / 604800,
    _N**2 / 48 + _N**3 / 15 - 437 * _N**4 / 1440 + 46 * _N**5 / 105 - 1118711 * _N**6 / 3870720,
    17 * _N**3 / 480 - 37 * _N**4 / 840 - 209 * _N**5 / 4480 + 5569 * _N**6 / 90720,
    4397 * _N**4 / 161280 - 11 * _N**5 / 504 - 830251 * _N**6 / 7257600,
    4583 * _N**5 / 161280 - 108847 * _N**6 / 3991680,
    20648693 * _N**6 / 638668800,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Utm:
    """A zone of UTM; `false_northing_m` is 0 in the north, as Landsat has it in the south too."""

    zone: int
    false_northing_m: float = 0.0

    def to_lonlat(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Longitude, from -180 until before 180, and latitude, in degrees, of places in m."""
        xi = (y - self.false_northing_m) / (_SCALE * _RADIUS_M)
        eta = (x - _FALSE_EASTING_M) / (_SCALE * _RADIUS_M)
        xi_0, eta_0 = xi.copy(), eta.copy()
        for number, beta in enumerate(_BETA, 1):
            xi_0 -= beta * np.sin(2 * number * xi) * np.cosh(2 * number * eta)
            eta_0 -= beta * np.cos(2 * number * xi) * np.sinh(2 * number * eta)
        lon = np.degrees(np.arctan2(np.sinh(eta_0), np.cos(xi_0))) + self.central_meridian
        conformal = np.sin(xi_0) / np.hypot(np.sinh(eta_0), np.cos(xi_0))
        return wrapped(lon), np.degrees(np.arctan(_tangent(conformal)))

    def from_lonlat(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        """Easting and northing in m of places in degrees."""
        away = np.radians(wrapped(lon - self.central_meridian))
        tau = _conformal(np.tan(np.radians(lat)))
        xi = np.arctan2(tau, np.cos(away))
        eta = np.arcsinh(np.sin(away) / np.hypot(tau, np.cos(away)))
        x, y = eta.copy(), xi.copy()
        for number, alpha in enumerate(_ALPHA, 1):
            y += alpha * np.sin(2 * number * xi) * np.cosh(2 * number * eta)
            x += alpha * np.cos(2 * number * xi) * np.sinh(2 * number * eta)
        factor = _SCALE * _RADIUS_M
        return x * factor + _FALSE_EASTING_M, y * factor + self.false_northing_m

    @property
    def central_meridian(self) -> float:
        """In degrees east."""
        return 6.0 * self.zone - 183.0


@dataclass(frozen=True, slots=True)
class Polar:
    """Polar stereographic with true scale at 71 degrees; `south` for Antarctica."""

    south: bool = True

    def to_lonlat(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Longitude, from -180 until before 180, and latitude, in degrees, of places in m."""
        t = np.hypot(x, y) * _polar_t(radians(71)) / (SEMI_MAJOR_M * _polar_m(radians(71)))
        t = np.maximum(t, _POLE_T)
        lat = np.degrees(np.arctan(_tangent((1 / t - t) / 2)))
        lon = np.degrees(np.arctan2(x, y if self.south else -y))
        return wrapped(lon), -lat if self.south else lat

    def from_lonlat(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        """Easting and northing in m of places in degrees."""
        north = -lat if self.south else lat
        tau = _conformal(np.tan(np.radians(north)))
        t = np.hypot(1, tau) - tau
        t = np.where(tau > 0, 1 / (np.hypot(1, tau) + np.maximum(tau, 0)), t)
        rho = SEMI_MAJOR_M * _polar_m(radians(71)) * t / _polar_t(radians(71))
        away = np.radians(lon)
        y = rho * np.cos(away)
        return rho * np.sin(away), y if self.south else -y


def of_epsg(code: int) -> Utm | Polar:
    """The reference system of an EPSG code; `ValueError` for one that no Landsat product has."""
    if code in (3031, 3995):
        return Polar(south=code == 3031)
    if 32601 <= code <= 32660:
        return Utm(code - 32600)
    if 32701 <= code <= 32760:
        return Utm(code - 32700, _FALSE_NORTHING_M)
    raise ValueError(f"EPSG:{code} is neither a UTM zone nor polar stereographic")


def wrapped(lon: Numbers) -> Numbers:
    """Degrees brought into -180 until before 180, those that lie there already to the bit."""
    out = (lon < -180) | (lon >= 180)
    return np.where(out, (lon + 180) % 360 - 180, lon)


def _conformal(tau: Numbers) -> Numbers:
    """Karney (2011), eq. 7: the tangent of the conformal latitude from that of the latitude."""
    long = np.hypot(1, tau)
    sigma = np.sinh(_E * np.arctanh(_E * tau / long))
    found: Numbers = tau * np.hypot(1, sigma) - sigma * long
    return found


def _tangent(conformal: Numbers) -> Numbers:
    """Karney (2011), eq. 19 to 21: the inverse of `_conformal`, by Newton's method."""
    tau = conformal / (1 - E2)
    for _ in range(_STEPS):
        now = _conformal(tau)
        with np.errstate(invalid="ignore"):
            step = (conformal - now) / np.hypot(1, now)
            step *= (1 + (1 - E2) * tau**2) / ((1 - E2) * np.hypot(1, tau))
        tau = np.where(np.isfinite(step), tau + step, tau)
    return tau


def _polar_m(lat: float) -> float:
    return sqrt(1 - sin(lat) ** 2) / sqrt(1 - E2 * sin(lat) ** 2)


def _polar_t(lat: float) -> float:
    """The t of Guidance Note 7-2 at a latitude on the pole's side."""
    tau = tan(lat)
    long = sqrt(1 + tau * tau)
    sigma = np.sinh(_E * atanh(_E * tau / long))
    conformal = tau * sqrt(1 + sigma**2) - sigma * long
    return float(1 / (sqrt(1 + conformal**2) + conformal))
