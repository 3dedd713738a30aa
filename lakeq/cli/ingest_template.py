"""`lakeq ingest template`: what has to stand in an account to hear of new objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lakeq.cli.ingest_options import place_options
from lakeq.cli.options import connect, lake_options
from lakeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@click.command()
@click.argument("dataset")
@place_options
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="TOPIC",
    help="Only this topic of the catalog: its ARN or the last part of it; repeatable.",
)
@click.option(
    "--function/--no-function",
    default=True,
    help="With the Lambda function that ingests, or a queue for lakeq ingest watch.",
    show_default=True,
)
@click.option(
    "--parts", is_flag=True, help="Instead, the function of ingest --executor lambda:FUNCTION."
)
@lake_options
def template(
    dataset: str,
    site: tuple[str, ...],
    path_rows: tuple[str, ...],
    topics: tuple[str, ...],
    function: bool,
    parts: bool,
) -> None:
    """Print a CloudFormation template that announces new objects of DATASET to a queue.

    Queue, dead letters, the policy that lets only the catalog's topics send, subscriptions with
    their filters, alarms for dead letters, lag and silence, and the function. Nothing is created.

    \b
    lakeq ingest template nexrad --site KTLX --no-function > nexrad.json
    lakeq ingest template nexrad --site KTLX --topic NewNEXRADLevel2ObjectFilterable
    lakeq ingest template landsat --path-row 115/067 --path-row 001/005
    lakeq ingest template nexrad --parts > parts.json
    """
    from lakeq.ingest import template_parts
    from lakeq.ingest.template import template as written

    chosen: dict[str, Sequence[str]] = {"site": site, **_paired(path_rows)}
    found = connect().catalog.dataset(dataset, "lakeq ingest template")
    if parts:
        click.echo(json.dumps(template_parts.template(found), indent=2))
        return
    click.echo(json.dumps(written(found, chosen, topics=topics, function=function), indent=2))


def _paired(path_rows: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Paths and rows, three digits each, of 115/067."""
    paths, rows = [], []
    for text in path_rows:
        path, slash, row = text.partition("/")
        if not (slash and path.isdecimal() and row.isdecimal()) or max(len(path), len(row)) > 3:
            raise UsageError(f"no path and row: {text!r}", "--path-row", "write 115/067")
        paths.append(path.zfill(3))
        rows.append(row.zfill(3))
    return {"path": paths, "row": rows}
