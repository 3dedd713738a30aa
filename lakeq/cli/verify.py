"""`lakeq verify`: is every file of the lake what was written to it?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from lakeq.cli.counted import counted
from lakeq.cli.ingest import Bar
from lakeq.cli.options import (
    connect,
    lake_options,
    listing_format,
    no_progress_option,
    report_option,
    spender_options,
)
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import neutral_lines
from lakeq.errors import BadLake

if TYPE_CHECKING:
    from lakeq.verify import Finding, VerifyReport


@click.command()
@click.argument("tables", nargs=-1, metavar="[DATASET[.TABLE]]...")
@click.option(
    "--repair",
    is_flag=True,
    help="Rebuild damaged metadata, ingest the objects of damaged or missing files again, delete"
    " files that nothing names.",
)
@no_progress_option
@report_option
@listing_format
@spender_options
@lake_options
def verify(
    tables: tuple[str, ...], repair: bool, no_progress: bool, report: str, format: str
) -> None:
    """Read every file of TABLEs, or of the lake, and hold it against what was written.

    Checksums of whole files, CRCs of their pages, rows against manifests, files that no snapshot
    names. What is wrong goes to standard output, one line a file, with the object whose rows it
    held and what to do; the exit code is then 7, unless all of it was repaired.

    \b
    lakeq verify
    lakeq verify clinvar --format json
    lakeq verify thousand_genomes.variants --repair
    """
    visible = sys.stderr.isatty() and not no_progress
    with Bar(visible=visible) as bar:
        done = connect().verify(list(tables), repair=repair, progress=bar)
    print_findings(done, format)
    if report == "json":
        click.echo(json.dumps(facts(done)), err=True)
    elif report == "text":
        click.echo(neutral_lines(told(done)), err=True)
    if not done.sound:
        click.get_current_context().exit(BadLake.exit_code)


def print_findings(done: VerifyReport, format: str = "table") -> None:
    """One row for each file with something wrong."""
    rows = [
        (f.table, f.problem, f.path, f.detail, ", ".join(f.sources) or None, f.outcome or f.next)
        for f in done.findings
    ]
    columns = ("table", "problem", "file", "detail", "objects", "next")
    found = listing(rows, **dict.fromkeys(columns, "VARCHAR"))
    write(found, format, sys.stdout.buffer, Style())


def told(done: VerifyReport) -> str:
    """The report for people."""
    from lakeq.cost import size

    read = f"{counted(done.files, 'file')} of {counted(len(done.tables), 'table')}"
    rows = counted(done.rows, "row")
    lines = [f"read {read}, {size(done.bytes_read)}, {rows} in {done.seconds:.1f} s"]
    if done.unsummed:
        lines.append(f"without a checksum, only pages checked: {counted(done.unsummed, 'file')}")
    hurt = sum(finding.hurts for finding in done.findings)
    others = len(done.findings) - hurt
    if hurt:
        lines.append(f"damaged or missing: {counted(hurt, 'file')}")
    if others:
        lines.append(f"repaired, deleted or named by no snapshot: {counted(others, 'file')}")
    if not done.tables:
        return "none of these tables is in the lake"
    if not done.findings:
        lines.append("all of it is what was written")
    return "\n".join(lines)


def facts(done: VerifyReport) -> dict[str, object]:
    """The report as JSON types."""
    return {
        "tables": list(done.tables),
        "files": done.files,
        "rows": done.rows,
        "bytes_read": done.bytes_read,
        "without_checksum": done.unsummed,
        "seconds": round(done.seconds, 6),
        "sound": done.sound,
        "findings": [_finding(finding) for finding in done.findings],
    }


def _finding(found: Finding) -> dict[str, object]:
    return {
        "table": found.table,
        "problem": found.problem,
        "file": found.path,
        "detail": found.detail,
        "objects": list(found.sources),
        "outcome": found.outcome,
        "next": found.next,
    }
