"""`lakeq queries`: the named queries that `lakeq sql @NAME` runs."""

from __future__ import annotations

import sys

import click

from lakeq.cli.options import connect, lake_options, listing_format
from lakeq.cli.output import Style, listing, write


@click.command()
@click.argument("name", required=False)
@listing_format
@lake_options
def queries(name: str | None, format: str) -> None:
    """List the named queries with the question that each answers; with NAME, show its text.

    \b
    lakeq queries
    lakeq queries sample_clinvar
    lakeq sql @sample_clinvar -p sample=HG00096
    """
    lake = connect()
    if name is not None:
        click.echo(lake.query(name).sql.rstrip("\n"))
        return
    rows = [
        (query.name, query.question, ", ".join(p.name for p in query.parameters) or None)
        for query in lake.queries()
    ]
    found = listing(rows, query="VARCHAR", question="VARCHAR", parameters="VARCHAR")
    write(found, format, sys.stdout.buffer, Style())
