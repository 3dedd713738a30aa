"""`lakeq plot nexrad`: a PPI of one sweep of a radar volume."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakeq.cli.options import connect, lake_options, report_option
from lakeq.cli.text import neutral

if TYPE_CHECKING:
    import xarray as xr


@click.command()
@click.option("--site", required=True, metavar="ICAO", help="The radar, such as KTLX.")
@click.option(
    "--time", required=True, metavar="TIME", help="Start of the volume, UTC: 2019-05-20T20:00:04."
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Take the volume that starts nearest to TIME, at most so far from it.",
)
@click.option(
    "--moment",
    default="DBZH",
    show_default=True,
    metavar="NAME",
    help="DBZH, VRADH, WRADH, ZDR, PHIDP, RHOHV or CCORH.",
)
@click.option(
    "--sweep",
    type=click.IntRange(min=0),
    metavar="N",
    help="Number of the sweep, from 0.  [default: the first that has the moment]",
)
@click.option(
    "--range",
    "range_km",
    type=click.FloatRange(min=1, max=1000),
    metavar="KM",
    help="How far the picture reaches.  [default: as far as there are echoes]",
)
@click.option(
    "--dpi",
    type=click.IntRange(min=30, max=600),
    default=150,
    show_default=True,
    help="Dots per inch; the picture has 9.6 by 8.4 inches.",
)
@click.option(
    "-o", "--output", required=True, metavar="FILE", help="The picture: .png, .svg or .pdf."
)
@report_option
@lake_options
def nexrad(
    site: str,
    time: str,
    within: float | None,
    moment: str,
    sweep: int | None,
    range_km: float | None,
    dpi: int,
    output: str,
    report: str,
) -> None:
    """Draw a moment of one sweep as a PPI: north is up, distances are along the ground.

    The volume has to be in the lake (lakeq ingest nexrad). Below threshold stays blank, range
    folding is purple. Needs matplotlib: pip install 'lakeq[plot]'.

    \b
    lakeq plot nexrad --site KTLX --time 2019-05-20T20:00:04 -o ppi.png
    lakeq plot nexrad --site KTLX --time 2019-05-20T20:06 --within 5 --moment VRADH -o wind.png
    lakeq plot nexrad --site KTLX --time 2019-05-20T20:00:04 --sweep 2 --range 60 -o ppi.svg
    """
    from lakeq import arrays, moments, ppi

    path = Path(output)
    wanted = moments.get(moment, "--moment")
    ppi.check(path)
    ppi.require_matplotlib()
    numbers = None if sweep is None else [sweep]
    choice = arrays.Choice(numbers, [wanted.name], values="codes", first_only=True)
    tolerance = None if within is None else timedelta(minutes=within)
    tree = arrays.open_radar(connect().sql, site, time, choice, tolerance=tolerance)
    ppi.save(ppi.of(tree, wanted), path, range_km=range_km, dpi=dpi)
    click.echo(neutral(str(path)))
    _tell(tree, report)


def _tell(tree: xr.DataTree, how: str) -> None:
    from lakeq.cost import dollars, size

    scanned, cost_usd = tree.attrs["lakeq_bytes_scanned"], Decimal(tree.attrs["lakeq_cost_usd"])
    if how == "json":
        facts = {"bytes_scanned": scanned, "cost_usd": cost_usd}
        click.echo(json.dumps(facts, default=float), err=True)  # as in every report of JSON
    elif how == "text":
        cost = dollars(cost_usd)
        click.echo(f"scanned {size(scanned)}, cost {cost} for these scans on Athena", err=True)
