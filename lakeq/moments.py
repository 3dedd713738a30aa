"""The moments of a weather radar: names and units of FM301/CfRadial2, and the usual colours.

Reflectivity has the steps of 5 dBZ and the colours that the US National Weather Service has shown
since the first WSR-88D products; velocity is green towards the radar and red away from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakeq.errors import UnknownName

RANGE_FOLDED_COLOUR = "#77007d"  # purple, as on the screens of the weather service


@dataclass(frozen=True, slots=True)
class Colours:
    """How values become colours: stops of (value, colour), in steps or blended between the stops.

    In steps, a stop's colour holds from its value up to the next stop's. `symmetric` stops are
    fractions, -1 to 1, of a limit that the data give.
    """

    stops: tuple[tuple[float, str], ...]
    steps: bool = False
    symmetric: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment: FM301 name, standard name, long name, unit as FM301 and as people write it."""

    name: str
    standard_name: str
    long_name: str
    units: str
    shown_units: str
    colours: Colours
    codes_below_data: int = 2  # codes below this one carry no value

    @property
    def attrs(self) -> dict[str, str]:
        """The attributes of its variable."""
        return {
            "units": self.units,
            "long_name": self.long_name,
            "standard_name": self.standard_name,
        }


_REFLECTIVITY = Colours(
    (
        (-30, "#c9c3b4"), (-20, "#b3ab98"), (-10, "#98907d"), (0, "#767265"),
        (5, "#04e9e7"), (10, "#019ff4"), (15, "#0300f4"),
        (20, "#02fd02"), (25, "#01c501"), (30, "#008e00"),
        (35, "#fdf802"), (40, "#e5bc00"), (45, "#fd9500"),
        (50, "#fd0000"), (55, "#d40000"), (60, "#bc0000"),
        (65, "#f800fd"), (70, "#9854c6"), (75, "#fdfdfd"), (80, "#fdfdfd"),
    ),
    steps=True,
)  # fmt: skip
_VELOCITY = Colours(
    (
        (-1, "#b3ffb3"), (-0.7, "#00e400"), (-0.35, "#00a000"), (-0.06, "#0f4d0f"),
        (0, "#8c8c8c"),
        (0.06, "#5c0f0f"), (0.35, "#b00000"), (0.7, "#ff2a2a"), (1, "#ffc4b3"),
    ),
    symmetric=True,
)  # fmt: skip
_WIDTH = Colours(
    ((0, "#3b3b3b"), (2, "#8a8a8a"), (4, "#0b7a75"), (6, "#3fbf3f"), (8, "#f2e205"),
     (10, "#f58b00"), (12, "#d60000"), (16, "#ff9ed8"))
)  # fmt: skip
_ZDR = Colours(
    ((-4, "#2b2b2b"), (-1, "#808080"), (-0.25, "#d9d9d9"), (0, "#8fa8e0"), (0.5, "#3050c8"),
     (1, "#1fb8b0"), (1.5, "#2ca02c"), (2.5, "#f2e205"), (3.5, "#f58b00"), (5, "#d60000"),
     (8, "#ff9ed8"))
)  # fmt: skip
_PHIDP = Colours(
    ((0, "#5e4fa2"), (60, "#3288bd"), (120, "#66c2a5"), (180, "#e6f598"), (240, "#fdae61"),
     (300, "#d53e4f"), (360, "#9e0142"))
)  # fmt: skip
_RHOHV = Colours(
    ((0.2, "#2b2b2b"), (0.45, "#7a7a9a"), (0.65, "#2a3fbf"), (0.75, "#1e90ff"), (0.8, "#28b463"),
     (0.85, "#9acd32"), (0.9, "#f2e205"), (0.95, "#f58b00"), (0.97, "#d60000"), (0.99, "#8b0000"),
     (1.0, "#d16ba5"), (1.05, "#f7d9ea"))
)  # fmt: skip
_CLUTTER = Colours(
    ((0, "#e8f1e4"), (5, "#a1d99b"), (10, "#41ab5d"), (20, "#f2e205"), (30, "#f58b00"),
     (40, "#d60000"), (60, "#7f0030"))
)  # fmt: skip

_ALL = (
    Moment(
        "DBZH", "radar_equivalent_reflectivity_factor_h", "Equivalent reflectivity factor H",
        "dBZ", "dBZ", _REFLECTIVITY,
    ),
    Moment(
        "VRADH", "radial_velocity_of_scatterers_away_from_instrument_h",
        "Radial velocity of scatterers away from instrument H",
        "meters per seconds", "m/s", _VELOCITY,
    ),
    Moment(
        "WRADH", "radar_doppler_spectrum_width_h", "Doppler spectrum width H",
        "meters per seconds", "m/s", _WIDTH,
    ),
    Moment(
        "ZDR", "radar_differential_reflectivity_hv", "Log differential reflectivity H/V",
        "dB", "dB", _ZDR,
    ),
    Moment(
        "PHIDP", "radar_differential_phase_hv", "Differential phase HV",
        "degrees", "°", _PHIDP,
    ),
    Moment(
        "RHOHV", "radar_correlation_coefficient_hv", "Correlation coefficient HV",
        "unitless", "1", _RHOHV,
    ),
    Moment(
        "CCORH", "clutter_correction_h", "Clutter Correction H",
        "unitless", "dB", _CLUTTER, codes_below_data=8,
    ),
)  # fmt: skip
MOMENTS: Mapping[str, Moment] = {moment.name: moment for moment in _ALL}


def get(name: str, where: str) -> Moment:
    """The moment called `name`, in any case of letters; `UnknownName` with the nearest one."""
    found = MOMENTS.get(name.upper())
    if found is None:
        raise UnknownName.among("moment", name, list(MOMENTS), where)
    return found
