"""`lakeq refresh`: make the slices again that fell behind."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lakeq.cli.options import connect, lake_options, listing_format, spender_options
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import neutral_lines
from lakeq.errors import NotFound

if TYPE_CHECKING:
    from lakeq.refresh import RefreshReport


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--force", is_flag=True, help="Make them again even when they are current.")
@listing_format
@spender_options
@lake_options
def refresh(tables: tuple[str, ...], force: bool, format: str) -> None:
    """Make slices again: tables that keep the answer to a query, such as a join.

    Without TABLE, all slices whose tables are in the lake. A slice is current while the tables
    that it was made from have not changed; then nothing is done. What each one took goes to
    standard error.

    \b
    lakeq refresh
    lakeq refresh thousand_genomes.variants_clinvar
    lakeq refresh thousand_genomes.variants_clinvar --force
    """
    lake = connect()
    rows: list[tuple[object, ...]] = []
    for name in tables or [info.name for info in lake.slices()]:
        try:
            done = lake.refresh(name, force=force)
        except NotFound as error:
            if tables:
                raise
            click.echo(neutral_lines(f"{name}: left out, {error.what}"), err=True)
            continue
        rows.append(
            (name, "refreshed" if done.refreshed else "current", done.rows, done.size_bytes)
        )
        _tell(done)
    found = listing(rows, table="VARCHAR", state="VARCHAR", rows="BIGINT", bytes="BIGINT")
    write(found, format, sys.stdout.buffer, Style(sys.stdout.isatty()))


def _tell(done: RefreshReport) -> None:
    if done.query is not None:
        click.echo(neutral_lines(f"{done.table}: {done.query}"), err=True)
