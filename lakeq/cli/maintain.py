"""`lakeq maintain`: the upkeep of tables."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lakeq.cli.counted import counted
from lakeq.cli.ingest import Bar
from lakeq.cli.options import (
    connect,
    lake_options,
    no_progress_option,
    report_option,
    spender_options,
)
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import age, neutral_lines
from lakeq.errors import BadLake

if TYPE_CHECKING:
    from lakeq.maintain import MaintenanceReport, TableUpkeep


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="DATASET[.TABLE]...")
@click.option("--no-compact", is_flag=True, help="Leave the files of the tables as they are.")
@click.option(
    "--expire-older-than",
    metavar="AGE",
    help="Give up snapshots older than this, such as 30d or 12h; the current one stays.",
)
@click.option("--sweep", is_flag=True, help="Delete files that no snapshot names.")
@click.option(
    "--repair",
    is_flag=True,
    help="First verify the tables, rebuild damaged metadata, and ingest the objects of damaged or"
    " missing files again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@no_progress_option
@report_option
@spender_options
@lake_options
def maintain(
    tables: tuple[str, ...],
    no_compact: bool,
    expire_older_than: str | None,
    sweep: bool,
    repair: bool,
    dry_run: bool,
    no_progress: bool,
    report: str,
) -> None:
    """Compact tables: many small files become few sorted ones, partition by partition.

    Each partition is switched in one commit that gives way to an ingest of the same objects. The
    old files stay readable by time travel until their snapshots are given up. What became of each
    table goes to standard output.

    \b
    lakeq maintain nexrad
    lakeq maintain nexrad.gates --dry-run
    lakeq maintain thousand_genomes --expire-older-than 30d --sweep
    lakeq maintain clinvar --repair
    """
    older = None if expire_older_than is None else age(expire_older_than, "--expire-older-than")
    visible = sys.stderr.isatty() and not no_progress
    if repair:
        _repair(tables, dry_run=dry_run, visible=visible)
    with Bar(visible=visible) as bar:
        done = connect().maintain(
            list(tables),
            compact=not no_compact,
            expire_older_than=older,
            sweep=sweep,
            dry_run=dry_run,
            progress=bar,
        )
    _print(done)
    if report == "json":
        click.echo(json.dumps(asdict(done)), err=True)
    elif report == "text":
        click.echo(neutral_lines(_told(done)), err=True)


def _repair(tables: tuple[str, ...], *, dry_run: bool, visible: bool) -> None:
    """Mend the tables before anything else; ends the command when rows stay lost."""
    from lakeq.cli.verify import print_findings, told

    with Bar(visible=visible) as bar:
        found = connect().verify(list(tables), repair=not dry_run, progress=bar)
    if found.findings:
        print_findings(found)
    click.echo(neutral_lines(told(found)), err=True)
    if not found.sound and not dry_run:
        click.get_current_context().exit(BadLake.exit_code)


def _print(done: MaintenanceReport) -> None:
    rows = [
        (t.table, t.compacted, t.files_before, t.files_after, t.bytes_before, t.bytes_after)
        for t in done.tables
    ]
    found = listing(
        rows,
        table="VARCHAR",
        partitions="BIGINT",
        files_before="BIGINT",
        files_after="BIGINT",
        bytes_before="BIGINT",
        bytes_after="BIGINT",
    )
    write(found, "table", sys.stdout.buffer, Style())


def _told(done: MaintenanceReport) -> str:
    if not done.tables:
        return "none of these tables is in the lake"
    lines = [line for upkeep in done.tables for line in _lines(upkeep, done.dry_run)]
    if done.dry_run:
        return "\n".join([*lines, "nothing was changed"])
    return "\n".join([*lines, f"done in {done.seconds:.1f} s"])


def _lines(upkeep: TableUpkeep, dry_run: bool) -> list[str]:
    from lakeq.cost import size

    would = "would be " if dry_run else ""
    lines = []
    if upkeep.compacted:
        lines.append(f"{upkeep.table}: {counted(upkeep.compacted, 'partition')} {would}compacted")
    if upkeep.left:
        left = counted(upkeep.left, "partition")
        lines.append(f"{upkeep.table}: {left} left, others were writing there")
    if upkeep.snapshots_expired:
        freed = f"{counted(upkeep.files_expired, 'file')}, {size(upkeep.bytes_expired)}"
        old = counted(upkeep.snapshots_expired, "snapshot")
        lines.append(f"{upkeep.table}: {old} {would}given up ({freed})")
    if upkeep.files_swept:
        freed = f"{counted(upkeep.files_swept, 'file')}, {size(upkeep.bytes_swept)}"
        lines.append(f"{upkeep.table}: orphans {would}deleted ({freed})")
    return lines
