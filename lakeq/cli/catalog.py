"""`lakeq catalog`: check catalog files before they are used."""

from __future__ import annotations

from pathlib import Path

import click

from lakeq.errors import NotFound


@click.group()
def catalog() -> None:
    """Work with catalog files.

    \b
    lakeq catalog check mycatalogs/rice.yaml
    """


@catalog.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check FILE against the catalog schema; every problem is told with its line.

    \b
    lakeq catalog check mycatalogs/rice.yaml
    lakeq catalog check catalogs/clinvar.yaml
    for f in catalogs/*.yaml; do lakeq catalog check "$f" || break; done
    """
    from lakeq import catalog as catalogs
    from lakeq import formats

    if not file.exists():
        raise NotFound("no such file", str(file))
    dataset = catalogs.check(file, formats.names())
    columns = sum(len(table.columns) for table in dataset.tables.values())
    click.echo(
        f"{file}: {dataset.name}, {len(dataset.tables)} tables, {columns} columns, no problem"
    )
