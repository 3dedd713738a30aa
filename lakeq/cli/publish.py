"""`lakeq publish`: a lake's tables on S3, named by AWS Glue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from lakeq.cli.ingest import Bar
from lakeq.cli.options import (
    connect,
    lake_options,
    listing_format,
    no_progress_option,
    report_option,
)
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import neutral_lines


@click.command()
@click.argument("destination", metavar="DESTINATION")
@click.argument("tables", nargs=-1, metavar="[DATASET[.TABLE]]...")
@click.option("--dry-run", is_flag=True, help="Say what it would copy and cost; write nothing.")
@no_progress_option
@report_option
@listing_format
@lake_options
def publish(
    destination: str,
    tables: tuple[str, ...],
    dry_run: bool,
    no_progress: bool,
    report: str,
    format: str,
) -> None:
    """Copy tables to S3 and let AWS Glue name them, for Athena and for other machines.

    DESTINATION is s3://BUCKET/PREFIX; without TABLE all tables of the lake are copied, as they are
    now. Files are sent once: after a stop, or when the lake has grown, only what is missing. All
    tables change at once, at the end. A table there that is no copy of this lake's is left alone,
    and nothing is sent then.

    \b
    lakeq publish s3://my-bucket/lake --dry-run
    lakeq publish s3://my-bucket/lake clinvar
    lakeq --lake s3://my-bucket/lake --catalog glue tables
    """
    visible = sys.stderr.isatty() and not no_progress
    with Bar(visible=visible) as bar:
        done = connect().publish(destination, list(tables), dry_run=dry_run, progress=bar)
    rows = [
        (t.table, t.rows, t.files, t.size_bytes, t.new_files, t.new_bytes, t.dropped_files)
        for t in done.tables
    ]
    columns = ("files", "bytes", "new_files", "new_bytes", "dropped_files")
    found = listing(rows, table="VARCHAR", rows="BIGINT", **dict.fromkeys(columns, "BIGINT"))
    write(found, format, sys.stdout.buffer, Style(sys.stdout.isatty()))
    if report == "json":
        click.echo(json.dumps(asdict(done), default=str), err=True)
    elif report == "text":
        click.echo(neutral_lines(str(done)), err=True)
