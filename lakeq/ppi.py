"""A PPI: one moment of one sweep seen from above, with colour bar, range rings and a title.

Each pixel shows the gate whose centre line of sight passes nearest to it, at its distance along
the ground by the 4/3-earth model; nothing is interpolated, and where no ray looked nothing is
drawn. Gates below threshold stay blank, range-folded ones are purple.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq.errors import NotFound, UsageError
from lakeq.moments import RANGE_FOLDED_COLOUR, Moment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

    Floats = npt.NDArray[np.float64]

EARTH_RADIUS_M = 6_371_000.0 * 4 / 3  # effective: refraction of the standard atmosphere included
RANGE_FOLDED = 1  # the code
PIXELS = 1200  # along each side of the field; above what 150 dpi show
SUFFIXES = ("pdf", "png", "svg")
NO_ECHO = "#eeeeea"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is drawn: rays in any order, angles in degrees, ranges in m to the centres of gates.

    `values` is rays by gates in the moment's unit, NaN where there is no number; `folded` says
    which of those are range-folded. `nyquist_m_s` is NaN where it is not known.
    """

    moment: Moment
    values: Floats
    folded: npt.NDArray[np.bool_]
    azimuth: Floats
    elevation: Floats
    range_m: Floats
    title: str
    nyquist_m_s: float


def of(tree: xr.DataTree, moment: Moment) -> Sweep:
    """The first sweep of a volume that was opened with values="codes", and what is said of it."""
    import numpy as np

    node = next(iter(tree.children.values())).to_dataset()
    field = node[moment.name]
    codes = field.values
    values = codes * field.attrs["scale_factor"] + field.attrs["add_offset"]
    return Sweep(
        moment,
        np.where(codes < moment.codes_below_data, np.nan, values),
        (codes == RANGE_FOLDED) & (moment.codes_below_data == RANGE_FOLDED + 1),
        node["azimuth"].values,
        node["elevation"].values,
        node[field.dims[1]].values.astype(np.float64),
        _title(tree.attrs, node, moment),
        float(node.attrs.get("nyquist_velocity", np.nan)),
    )


def _title(volume: Mapping[Any, Any], node: xr.Dataset, moment: Moment) -> str:
    start, end = (str(t)[11:19] for t in (node["time"].values.min(), node["time"].values.max()))
    time = f"{volume['volume_time']:.19}".replace("T", " ")
    unit = "" if moment.shown_units == "1" else f" ({moment.shown_units})"
    whole = "" if node.attrs["complete"] else f", not whole: {node.sizes['azimuth']} rays"
    scan = f"   {volume['scan_name']}" if "scan_name" in volume else ""
    return (
        f"{volume['instrument_name']}   {time} UTC{scan}\n"
        f"{moment.name}{unit}, sweep {int(node['sweep_number'])}, "
        f"elevation {float(node['sweep_fixed_angle']):.2f}°, {start} to {end} UTC{whole}"
    )


def save(sweep: Sweep, path: Path, *, range_km: float | None = None, dpi: int = 150) -> None:
    """Draw `sweep` into the file `path`, of the kind that its suffix says.

    Raises `UsageError` without matplotlib, and what `check` raises.
    """
    check(path)
    drawn = figure(sweep, range_km=range_km)
    try:
        drawn.savefig(path, dpi=dpi)
    except OSError as error:
        raise UsageError(f"cannot write the picture: {error}", str(path)) from error


def check(path: Path) -> None:
    """Raise `UsageError` for a suffix that is no picture's, `NotFound` for a missing folder."""
    if path.suffix.removeprefix(".").lower() not in SUFFIXES:
        hint = "use " + ", ".join(f".{suffix}" for suffix in SUFFIXES)
        raise UsageError(f"no picture is called {path.name!r}", "-o", hint)
    if not path.absolute().parent.is_dir():
        raise NotFound("no such folder", str(path.absolute().parent))


def require_matplotlib() -> None:
    """Raise `UsageError`, with what to install, where there is no matplotlib."""
    if find_spec("matplotlib") is None:
        hint = "pip install 'lakeq[plot]'"
        raise UsageError("matplotlib is not installed", "the picture", hint)


def figure(sweep: Sweep, *, range_km: float | None = None) -> Figure:
    """The picture of `sweep` as a matplotlib figure, out to `range_km` along the ground.

    Without `range_km` it reaches as far as there are echoes. Raises `UsageError` without
    matplotlib.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    reach_km = range_km or _reach_km(sweep)
    drawn = Figure(figsize=(9.6, 8.4), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot(facecolor=NO_ECHO)
    _paint(drawn, axes, sweep, reach_km)
    _rings(axes, reach_km)
    axes.set_title(sweep.title, loc="left", fontsize=11)
    axes.set_xlabel("east of the radar (km)")
    axes.set_ylabel("north of the radar (km)")
    axes.set(xlim=(-reach_km, reach_km), ylim=(-reach_km, reach_km), aspect="equal")
    return drawn


def _reach_km(sweep: Sweep) -> float:
    """The distance of the farthest echo, to the next 10 km; 50 km at least."""
    import numpy as np

    echo = np.flatnonzero((np.isfinite(sweep.values) | sweep.folded).any(axis=0))
    farthest = sweep.range_m[echo[-1]] if echo.size else 0.0
    ground = float(ground_m(np.array([farthest]), float(np.median(sweep.elevation)))[0])
    return max(50.0, 10.0 * float(np.ceil(ground / 10_000)))


def ground_m(range_m: Floats, elevation: float) -> Floats:
    """Distance along the ground below gates at `range_m` of a ray at `elevation` degrees."""
    import numpy as np

    angle = np.radians(elevation)
    outward, upward = range_m * np.cos(angle), range_m * np.sin(angle)
    distance: Floats = EARTH_RADIUS_M * np.arctan2(outward, EARTH_RADIUS_M + upward)
    return distance


def _paint(drawn: Figure, axes: Axes, sweep: Sweep, reach_km: float) -> None:
    import numpy as np
    from matplotlib.colors import to_rgba

    ray, gate, seen = _nearest(sweep, reach_km)
    values = np.where(seen, sweep.values[ray, gate], np.nan)
    colours, norm, ticks = _scale(sweep)
    folded = seen & sweep.folded[ray, gate]
    pixels = colours(norm(np.ma.masked_invalid(values)))
    pixels[folded] = to_rgba(RANGE_FOLDED_COLOUR)
    extent = (-reach_km, reach_km, -reach_km, reach_km)
    axes.imshow(pixels, extent=extent, origin="lower", interpolation="nearest", zorder=1)
    _colour_bar(drawn, axes, sweep.moment, colours, norm, ticks)
    if sweep.folded.any():
        _legend(axes)


def _nearest(
    sweep: Sweep, reach_km: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """For each pixel its ray, its gate, and whether a ray and a gate cover it at all."""
    import numpy as np

    centres = (np.arange(PIXELS) + 0.5) / PIXELS * 2 * reach_km * 1000 - reach_km * 1000
    x, y = np.meshgrid(centres, centres)
    ray, ray_covers = _ray(sweep.azimuth, np.degrees(np.arctan2(x, y)) % 360)
    distance = np.hypot(x, y)
    ranges = ground_m(sweep.range_m, float(np.median(sweep.elevation)))
    spacing = np.diff(ranges).mean() if ranges.size > 1 else 1000.0
    edges = np.concatenate([ranges - spacing / 2, ranges[-1:] + spacing / 2])
    gate = np.searchsorted(edges, distance, side="right") - 1
    covered = ray_covers & (gate >= 0) & (gate < ranges.size)
    return ray, np.clip(gate, 0, ranges.size - 1), covered


def _ray(azimuth: Floats, wanted: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """The ray nearest to each wanted azimuth, and whether it is near enough to cover it.

    A ray covers as far as half the usual spacing, with a quarter of it to spare for rays that are
    not evenly spaced: a missing ray leaves a gap, an uneven one does not.
    """
    import numpy as np

    order = np.argsort(azimuth, kind="stable")
    sorted_ = azimuth[order]
    around = np.concatenate([sorted_[-1:] - 360, sorted_, sorted_[:1] + 360])
    after = np.searchsorted(around, wanted)
    after = np.clip(after, 1, around.size - 1)
    left, right = wanted - around[after - 1], around[after] - wanted
    nearest = np.where(left <= right, after - 1, after)
    spacing = float(np.median(np.diff(sorted_))) if sorted_.size > 1 else 1.0
    near = np.minimum(np.abs(left), np.abs(right)) <= 0.75 * spacing
    return order[(nearest - 1) % azimuth.size], near


def _scale(sweep: Sweep) -> tuple[Colormap, Normalize, list[float] | None]:
    """Colour map, its scale and the ticks of its bar."""
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap, Normalize

    colours = sweep.moment.colours
    stops = [stop for stop, _ in colours.stops]
    names = [name for _, name in colours.stops]
    if colours.steps:
        steps = ListedColormap(names[:-1]).with_extremes(under=names[0], over=names[-1])
        return steps, BoundaryNorm(stops, len(names) - 1), stops[:-1]
    low, high = stops[0], stops[-1]
    spread = [((stop - low) / (high - low), name) for stop, name in colours.stops]
    blended = LinearSegmentedColormap.from_list(sweep.moment.name, spread, N=512)
    if colours.symmetric:
        low, high = -_limit(sweep), _limit(sweep)
    return blended, Normalize(low, high), None


def _limit(sweep: Sweep) -> float:
    """The limit of a symmetric scale: the Nyquist velocity, or the largest value there is."""
    import numpy as np

    if sweep.nyquist_m_s > 0:
        return float(np.ceil(sweep.nyquist_m_s))
    found = np.abs(sweep.values[np.isfinite(sweep.values)])
    return float(np.ceil(found.max())) if found.size and found.max() > 0 else 1.0


def _colour_bar(
    drawn: Figure,
    axes: Axes,
    moment: Moment,
    colours: Colormap,
    norm: Normalize,
    ticks: list[float] | None,
) -> None:
    from matplotlib.cm import ScalarMappable

    options: dict[str, Any] = {"ticks": ticks, "spacing": "uniform"} if ticks else {}
    extend = "max" if moment.colours.steps else "neither" if moment.colours.symmetric else "both"
    bar = drawn.colorbar(
        ScalarMappable(norm, colours), ax=axes, shrink=0.86, pad=0.02, extend=extend, **options
    )
    unit = "" if moment.shown_units == "1" else f" ({moment.shown_units})"
    bar.set_label(f"{moment.name}: {moment.long_name}{unit}")


def _legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(facecolor=RANGE_FOLDED_COLOUR, label="range folded")],
        loc="lower left",
        framealpha=0.85,
        fontsize=9,
    )


def _rings(axes: Axes, reach_km: float) -> None:
    """Rings around the radar at round distances, each with its distance, and the four quarters."""
    from matplotlib.patches import Circle

    step = next(s for s in (10, 25, 50, 100, 200) if reach_km / s <= 6 or s == 200)
    for radius in range(step, int(-(-reach_km // 1)), step):
        axes.add_patch(
            Circle((0, 0), radius, fill=False, edgecolor="#303030", linewidth=0.6, alpha=0.7)
        )
        axes.annotate(
            f"{radius} km",
            (0, radius),
            ha="center",
            va="center",
            fontsize=7.5,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8},
        )
    for line in (axes.axhline, axes.axvline):
        line(0, color="#303030", linewidth=0.4, alpha=0.5)
    axes.plot(0, 0, marker="+", color="black", markersize=8)
