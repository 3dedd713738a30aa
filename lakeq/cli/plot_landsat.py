"""`lakeq plot landsat` and `lakeq plot ndvi`: a quicklook of a scene, and NDVI over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakeq.cli.options import connect, lake_options, report_option
from lakeq.cli.text import neutral
from lakeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeq.api import Lake
    from lakeq.arrays.scenes import Meter
    from lakeq.catalog import Table
    from lakeq.storage import SourceObject

NATURAL = "red,green,blue"

output_option = click.option(
    "-o", "--output", required=True, metavar="FILE", help="The picture: .png, .svg or .pdf."
)
dpi_option = click.option(
    "--dpi", type=click.IntRange(min=30, max=600), default=150, show_default=True,
    help="Dots per inch.",
)  # fmt: skip


@click.command()
@click.option("--scene", required=True, metavar="PRODUCT", help="Identifier of the product.")
@click.option(
    "--bands",
    default=NATURAL,
    show_default=True,
    metavar="NAMES",
    help="Three bands for red, green and blue, or one.",
)
@dpi_option
@output_option
@report_option
@lake_options
def landsat(scene: str, bands: str, dpi: int, output: str, report: str) -> None:
    """Draw a scene from its overviews: some hundred kilobytes instead of the whole image.

    The scene has to be in the lake (lakeq ingest landsat). Bands have one white, so that colours
    stay true; where there is no data nothing is drawn. Needs matplotlib:
    pip install 'lakeq[plot]'.

    \b
    lakeq plot landsat --scene LC08_L2SP_028030_20200114_20200824_02_T1 -o quicklook.png
    lakeq plot landsat --scene LC08_L2SP_028030_20200114_20200824_02_T1 --bands lwir11 -o heat.png
    lakeq plot landsat --scene LC08_L2SP_028030_20200114_20200824_02_T1 --dpi 300 -o quicklook.pdf
    """
    from lakeq import quicklook
    from lakeq.arrays import scenes

    path = _checked(output)
    lake = connect()
    tables = _tables(lake)
    meter = scenes.Meter(_opener(lake, tables))
    names = [name.strip() for name in bands.split(",")]
    rows = scenes.find(lake.sql, scenes.Choice([scene]))
    (found,) = scenes.scenes(rows, names, meter, tables, overviews=True)
    quicklook.save(quicklook.of(found), path, dpi=dpi)
    click.echo(neutral(str(path)))
    _tell(meter, report)


@click.command()
@click.option("--path-row", required=True, metavar="PATH/ROW", help="Path and row of the scenes.")
@click.option(
    "--box",
    required=True,
    metavar="W,S,E,N",
    help="Western, southern, eastern and northern edge, degrees.",
)
@click.option("--from", "start", metavar="TIME", help="Scenes from this UTC date or time on.")
@click.option("--to", "end", metavar="TIME", help="Up to this UTC date, its day included.")
@click.option(
    "--max-cloud",
    type=click.FloatRange(0, 100),
    default=100.0,
    show_default=True,
    metavar="PERCENT",
    help="Most cloud cover of a scene.",
)
@dpi_option
@output_option
@report_option
@lake_options
def ndvi(
    path_row: str,
    box: str,
    start: str | None,
    end: str | None,
    max_cloud: float,
    dpi: int,
    output: str,
    report: str,
) -> None:
    """Draw NDVI over time, of the clear pixels of a box in the scenes of a path and row.

    Collection 2, Level 2: surface reflectance, without pixels that QA calls cloud, cloud shadow,
    cirrus or snow. Only the blocks of the box are read. Needs matplotlib:
    pip install 'lakeq[plot]'.

    \b
    lakeq plot ndvi --path-row 28/30 --box -96,43,-95.9,43.1 --from 2020-01-01 -o ndvi.png
    lakeq plot ndvi --path-row 28/30 --box -96,43,-95.9,43.1 --max-cloud 60 -o ndvi.svg
    lakeq plot ndvi --path-row 28/30 --box -96,43,-95.9,43.1 --to 2020-12-31 -o ndvi.pdf
    """
    from lakeq import quicklook
    from lakeq.arrays import scenes
    from lakeq.convert import select

    path = _checked(output)
    edges = _box(box)
    lake = connect()
    tables = _tables(lake)
    meter = scenes.Meter(_opener(lake, tables))
    place = select.places((), path_row)[0]
    pair = int(place["path"][0]), int(place["row"][0])
    choice = scenes.Choice((), pair, start, end, max_cloud, "L2", edges)
    bands = ("red", "nir08", "qa_pixel")
    opened = scenes.open_scenes(lake.sql, meter, choice, bands, tables=tables)
    west, south, east, north = edges
    title = (
        f"NDVI of path {pair[0]}, row {pair[1]}: {_degrees(west, 'EW')} to {_degrees(east, 'EW')},"
        f" {_degrees(south, 'NS')} to {_degrees(north, 'NS')}, {opened.sizes['time']} scenes"
    )
    quicklook.save_series(quicklook.series(opened, title), path, dpi=dpi)
    click.echo(neutral(str(path)))
    _tell(meter, report)


def _checked(output: str) -> Path:
    from lakeq import ppi

    path = Path(output)
    ppi.check(path)
    ppi.require_matplotlib()
    return path


def _tables(lake: Lake) -> tuple[Table, ...]:
    return tuple(lake.catalog.dataset("landsat", "the picture").tables.values())


def _opener(lake: Lake, tables: tuple[Table, ...]) -> Callable[[str], SourceObject]:
    from functools import partial

    from lakeq.storage import Storage

    return partial(Storage(lake.settings).source, tables=tables)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        what = f"no box: {text!r}"
        raise UsageError(what, "--box", "write -96,43,-95.9,43.1") from error
    return west, south, east, north


def _degrees(number: float, sides: str) -> str:
    return f"{abs(number):g}°{sides[number < 0]}"


def _tell(meter: Meter, how: str) -> None:
    from lakeq.cost import dollars, s3_requests_cost_usd, size

    cost_usd = s3_requests_cost_usd(meter.s3_requests)
    if how == "json":
        facts = {
            "bytes_read": meter.bytes_read,
            "requests": meter.requests,
            "s3_cost_usd": cost_usd,
        }
        click.echo(json.dumps(facts, default=float), err=True)
    elif how == "text":
        told = f"read {size(meter.bytes_read)} of pixels in {meter.requests} requests"
        cost = f", {dollars(cost_usd)} and what leaves the region" if meter.s3_requests else ""
        click.echo(told + cost, err=True)
