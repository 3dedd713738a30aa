"""Pictures of Landsat scenes: a quicklook from overviews, and a series of NDVI.

A quicklook shows three bands as red, green and blue, or one in grey, with one white for all, so
that colours stay what they are; where there is no data nothing is drawn. NDVI is that of
reflectance, never of stored numbers (whose offset makes it wrong), over pixels that QA calls clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import xarray as xr

    from lakeq.arrays.scenes import Band, Scene

    Floats = npt.NDArray[np.float32]

WIDTH_IN = 8.0
LEAST_PIXELS = 900  # of the longer side, where an overview has as many
MOST_PIXELS = 2048  # of a whole image that is read because it has no overviews
LOW, HIGH, USUAL = 0.5, 99.0, 60.0  # percentiles: what is black, what is white, what is common
BRIGHT, BRIGHTER = 0.4, 1.2  # reflectance that is white at most, or so many times the usual one
GAMMA = 1.5
COLOURS = 3
NO_DATA = "#dcd9d0"  # a cloud is white
CLEAR_BITS = 0b111111  # Collection 2: fill, dilated cloud, cirrus, cloud, cloud shadow, snow


@dataclass(frozen=True, slots=True)
class Picture:
    """Colours (lines, pixels, red green blue alpha, 0 to 1) and where they lie, in m.

    Of one band `scale` says what black and white are, and in what.
    """

    colours: Floats
    extent: tuple[float, float, float, float]  # west, east, south, north
    epsg: int
    title: str
    scale: tuple[float, float, str] | None = None


def of(scene: Scene) -> Picture:
    """The quicklook of the one or three bands of a scene; reads an overview of each and no more."""
    import numpy as np

    bands = list(scene.bands.values())
    if len(bands) not in (1, COLOURS):
        raise UsageError(
            f"{len(bands)} bands", "the picture", "name one, or three for red,green,blue"
        )
    layers = [_layer(band) for band in bands]
    if len({layer.shape for layer in layers}) > 1:
        where = f"the scene {scene.facts['product_id']}"
        raise UsageError("the bands have pixels of several sizes", where, "leave pan out")
    stack = np.stack(layers * (COLOURS // len(layers)), axis=-1)
    there = np.asarray(~np.isnan(stack).any(axis=-1))
    if not there.any():
        raise NotFound("the scene has no pixel with data", scene.facts["product_id"])
    low, high = _limits(stack[there], reflectance="reflectance" in (bands[0].quantity or ""))
    gamma = GAMMA if len(layers) == COLOURS else 1
    shown = np.clip((stack - low) / np.maximum(high - low, 1e-9), 0, 1) ** (1 / gamma)
    colours = np.concatenate([np.where(there[..., None], shown, 1), there[..., None]], axis=-1)
    a, _, c, _, e, f = bands[0].transform
    image = bands[0].image
    extent = (c, c + a * image.width, f + e * image.height, f)
    epsg, title = image.epsg or scene.facts["epsg"], _title(scene)
    scale = None if len(layers) == COLOURS else (float(low[0]), high, _told(bands[0], scene))
    return Picture(colours.astype(np.float32), extent, int(epsg), title, scale)


def _told(band: Band, scene: Scene) -> str:
    unit = ", K" if band.quantity == "surface_temperature" else ""
    return f"{next(iter(scene.bands))}: {(band.quantity or 'stored').replace('_', ' ')}{unit}"


def _limits(values: Floats, *, reflectance: bool) -> tuple[Floats, float]:
    """What becomes black, band by band, which takes haze away, and what white in all of them.

    Of reflectance clouds may be white all over, so that land is not dark beside them.
    """
    import numpy as np

    low = np.percentile(values, LOW, axis=0)
    high, usual = np.percentile(values, [HIGH, USUAL])
    if reflectance:
        high = min(high, max(BRIGHT, BRIGHTER * usual))
    return low.astype(np.float32), float(high)


def _layer(band: Band) -> Floats:
    """The smallest overview that is large enough, in values; stored numbers where no scale is."""
    import numpy as np

    from lakeq.formats import _tiff_tiles

    large = [o for o in band.overviews if max(o.width, o.height) >= LEAST_PIXELS]
    chosen = min(large, key=lambda o: o.width, default=None)
    if chosen is None:
        chosen = max(band.overviews, key=lambda o: o.width, default=band.image)
    if chosen is band.image and max(chosen.width, chosen.height) > MOST_PIXELS:
        hint = "gdaladdo makes overviews"
        raise NotFound("the file has no overviews, and is large", band.source.uri, hint)
    source = band.source if chosen is band.image or not band.beside else band.beside
    stored = _tiff_tiles.read(source, chosen)[0]
    if band.scale is not None:
        return band.values(stored)
    empty = np.asarray(band.image.fill).astype(stored.dtype)
    return np.where(stored == empty, np.nan, stored).astype(np.float32)


def _title(scene: Scene) -> str:
    facts = scene.facts
    cloud = "" if facts["cloud_cover"] is None else f", {facts['cloud_cover']:.0f} % cloud"
    bands = ", ".join(scene.bands)
    return (
        f"{facts['product_id']}\n{facts['acquired']:%Y-%m-%d %H:%M} UTC, path {facts['path']},"
        f" row {facts['row']}{cloud}   ({bands})"
    )


def save(picture: Picture, path: Path, *, dpi: int) -> None:
    """Draw a quicklook into a file of .png, .svg or .pdf, with coordinates in km."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    west, east, south, north = (number / 1000 for number in picture.extent)
    height = WIDTH_IN * (north - south) / (east - west)
    figure = Figure(figsize=(WIDTH_IN, min(max(height, 3), 12) + 0.6), layout="constrained")
    axes = figure.add_subplot(facecolor=NO_DATA)
    axes.imshow(picture.colours, extent=(west, east, south, north), interpolation="nearest")
    if picture.scale is not None:
        low, high, told = picture.scale
        grey = ScalarMappable(Normalize(low, high), "gray")
        bar = figure.colorbar(grey, ax=axes, shrink=0.6, pad=0.02, extend="both")
        bar.set_label(told, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    axes.set_xlabel(f"easting, km (EPSG:{picture.epsg})")
    axes.set_ylabel("northing, km")
    axes.set_title(picture.title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    for side in axes.spines.values():
        side.set_color("#999999")
    figure.savefig(path, dpi=dpi)


@dataclass(frozen=True, slots=True)
class Series:
    """NDVI of the clear pixels of each scene: mean, quartiles, and which share was clear."""

    times: Sequence[datetime]
    mean: Floats
    low: Floats
    high: Floats
    clear: Floats
    title: str


def series(scenes: xr.Dataset, title: str) -> Series:
    """NDVI from `red`, `nir08` (scaled) and `qa_pixel`, scene by scene; NaN where none is clear.

    A pixel is clear when no bit of `qa_pixel` says fill, dilated cloud, cirrus, cloud, cloud shadow
    or snow (Collection 2), and both bands have reflectance of more than 0.
    """
    import numpy as np

    rows: list[list[float]] = []
    for number in range(scenes.sizes["time"]):
        one = scenes.isel(time=number).load()
        red, near = one["red"].values.astype(float), one["nir08"].values.astype(float)
        there = ~np.isnan(red) & ~np.isnan(near)
        clear = there & (one["qa_pixel"].values & CLEAR_BITS == 0) & (red > 0) & (near > 0)
        found = (near[clear] - red[clear]) / (near[clear] + red[clear])
        share = clear.sum() / max(1, clear.size)
        quartiles = np.percentile(found, [25, 75]) if found.size else [np.nan, np.nan]
        rows.append([found.mean() if found.size else np.nan, *quartiles, share])
    mean, low, high, share_ = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    times = scenes["time"].values.astype("datetime64[us]").tolist()
    return Series(times, mean, low, high, share_, title)


def save_series(found: Series, path: Path, *, dpi: int) -> None:
    """Draw a series into a file: means with quartiles, paler the less was clear."""
    import numpy as np
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure

    known = ~np.isnan(found.mean)
    if not known.any():
        raise NotFound("no scene has a clear pixel there", "the series", "ask for a longer time")
    # matplotlib types its dates module in part
    days: Any = date2num(found.times)  # type: ignore[no-untyped-call]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="#cccccc", linewidth=0.8)
    axes.vlines(days[known], found.low[known], found.high[known], color="#9ec79e", linewidth=3)
    axes.plot(days[known], found.mean[known], color="#4a8f4a", linewidth=1, zorder=2)
    shades = np.clip(found.clear[known], 0.15, 1)
    dots = [(0.05, 0.35, 0.1, float(shade)) for shade in shades]
    axes.scatter(days[known], found.mean[known], c=dots, s=28, zorder=3, edgecolors="#1d4d24")
    if (~known).any():
        ends = np.full((~known).sum(), -0.19)
        axes.scatter(days[~known], ends, marker="|", color="#999999", s=40)
    axes.set_ylim(-0.2, 1)
    span = max(float(days.max() - days.min()), 1.0)
    axes.set_xlim(days.min() - span * 0.03 - 1, days.max() + span * 0.03 + 1)
    axes.set_ylabel("NDVI")
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    axes.set_title(found.title, fontsize=10, loc="left")
    note = "mean and quartiles of clear pixels; paler where fewer were clear; | none clear"
    axes.text(0.995, 0.02, note, transform=axes.transAxes, ha="right", fontsize=7, color="#666666")
    figure.savefig(path, dpi=dpi)
