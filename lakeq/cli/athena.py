"""`lakeq athena doctor`: is everything in place for Athena."""

from __future__ import annotations

import sys

import click

from lakeq.cli.options import connect, lake_options, listing_format
from lakeq.cli.output import Style, listing, write
from lakeq.errors import LakeqError


@click.group()
def athena() -> None:
    """Look at what --engine athena needs.

    \b
    lakeq athena doctor
    """


@athena.command()
@click.option("--workgroup", metavar="NAME", help="Another than the settings'.")
@listing_format
@lake_options
def doctor(workgroup: str | None, format: str) -> None:
    """Check what Athena needs; exit code 1 when something is wrong.

    Credentials, region, price, workgroup, the bucket of results, the lake's files, its tables in
    Glue and Lake Formation; "next" is what to do: where a right is missing, the policy's line.
    Nothing is changed, scanned or billed; the result of one EXPLAIN stays in the results' bucket.

    \b
    lakeq athena doctor
    lakeq athena doctor --workgroup lab --profile research
    lakeq athena doctor --format json
    """
    from lakeq.engines import _athena_doctor
    from lakeq.lake import IcebergLake

    settings = connect(**({"athena_workgroup": workgroup} if workgroup else {})).settings
    tables: dict[str, str] = {}
    trouble: LakeqError | None = None
    try:
        tables = IcebergLake(settings).metadata_files()
    except LakeqError as error:  # a finding, where Glue names the tables and does not answer
        trouble = error
    found = list(_athena_doctor.checks(settings, tables, trouble))
    rows = [(*check[:3], check.next or None) for check in found]
    text = listing(rows, check="VARCHAR", result="VARCHAR", detail="VARCHAR", next="VARCHAR")
    write(text, format, sys.stdout.buffer, Style())
    if any(check.result == _athena_doctor.WRONG for check in found):
        click.get_current_context().exit(1)
