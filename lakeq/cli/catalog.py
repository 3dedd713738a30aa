"""`lakeq catalog`: check catalog files before they are used."""

from __future__ import annotations

from pathlib import Path

import click

from lakeq.cli.counted import counted
from lakeq.cli.options import lake_options, settings
from lakeq.errors import NotFound


@click.group()
def catalog() -> None:
    """Work with catalog files.

    \b
    lakeq catalog check mycatalogs/rice.yaml
    """


@catalog.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--format", "format_", default="vcf", show_default=True, help="Format of the FILEs.")
@click.option("--folder", metavar="FOLDER", help="Where to write; else the first of `catalogs`.")
@click.option("--title", default="", help="One line that says what it is.")
@click.option("--license", "license_", default="", help="What its owner allows.")
@click.option("--assembly", default="", help="Genome assembly, where the headers do not tell.")
@click.option("--normalise", is_flag=True, help="Add normalised alleles beside those of the file.")
@click.option("--reference", default="", metavar="FASTA", help="Left-align them; needs its .fai.")
@lake_options
def new(
    name: str,
    files: tuple[str, ...],
    format_: str,
    folder: str | None,
    title: str,
    license_: str,
    assembly: str,
    normalise: bool,
    reference: str,
) -> None:
    """Write NAME.yaml: a catalog of FILEs of your own, with the columns of their headers.

    Later files are ingested as they are: further fields become further columns, and a field of
    another type is refused.

    \b
    lakeq catalog new cohort --format vcf --folder mine cohort.vcf.gz
    lakeq catalog new exomes --format vcf --folder mine --title "Our exomes" cohort.vcf.gz
    lakeq catalog new sites --format vcf --folder mine --assembly GRCh37 cohort.vcf.gz
    """
    from lakeq import api

    facts = {"title": title, "license": license_, "assembly": assembly, "reference": reference}
    if normalise:
        facts["normalise"] = "yes"
    path = api.new_catalog(settings(), name, list(files), format_, folder, facts)
    click.echo(f"{path}: written")
    click.echo(
        f"next: lakeq catalog check {path}; the setting catalogs must name its folder", err=True
    )


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
        f"{file}: {dataset.name}, {counted(len(dataset.tables), 'table')}, "
        f"{counted(columns, 'column')}, no problem"
    )
