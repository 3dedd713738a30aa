"""`lakeq ingest backfill` and `lakeq ingest reconcile`: an archive's listing against the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lakeq.cli.counted import counted
from lakeq.cli.ingest_options import bringing_options, options_of, place_options
from lakeq.cli.options import connect, lake_options, spender_options
from lakeq.cli.text import neutral_lines
from lakeq.errors import BadSource

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from lakeq.convert.select import Selection
    from lakeq.ingest.archive import Reconciliation

MAX_TOLD = 20

_CHOOSING = (
    click.argument("dataset", metavar="DATASET[.TABLE]"),
    place_options,
    click.option("--from", "start", metavar="TIME", help="Objects from this UTC date or time on."),
    click.option("--to", "end", metavar="TIME", help="Up to this UTC date, its day included."),
    click.option("--keys", default="", metavar="NAME", help="Template of keys, if not the usual."),
)


def _choosing(command: F) -> F:
    for option in reversed(_CHOOSING):
        command = option(command)
    return command


def _selection(
    chosen: Sequence[Mapping[str, Sequence[str]]], start: str | None, end: str | None, keys: str
) -> Selection:
    from lakeq.convert.select import Selection
    from lakeq.keys import Wanted

    wishes = [Wanted.of(place, start, end) for place in chosen or [{}]]
    return Selection(wishes[0], keys, others=tuple(wishes[1:]))


@click.command()
@_choosing
@bringing_options
@spender_options
@lake_options
def backfill(
    dataset: str,
    site: tuple[str, ...],
    path_rows: tuple[str, ...],
    start: str | None,
    end: str | None,
    keys: str,
    tables: str | None,
    panel: str | None,
    no_panel: bool,
    deleted: str,
    max_object: int,
    jobs: int,
) -> None:
    """Bring in what the archive of DATASET lists and the lake lacks; beside a worker, too.

    The same command after an interruption goes on at the page where it was. Objects that are not
    what their format says are told at the end, and the exit code is 7 then.

    \b
    lakeq ingest backfill nexrad --site KTLX --from 2019-05-20 --to 2019-05-20
    lakeq ingest backfill nexrad --site KTLX --from 2019-05-20T18:00 --tables volumes --jobs 8
    lakeq ingest backfill nexrad --site KLOT --keys chunks
    """
    from lakeq.convert.select import places
    from lakeq.ingest.service import service

    options = options_of(tables, panel, no_panel, deleted, max_object)
    chosen = places(site, path_rows)
    work = service(connect(), dataset, options, places=chosen)
    try:
        report = work.archive(_selection(chosen, start, end, keys), jobs).backfill()
    finally:
        work.close()
    if report.resumed_after:
        click.echo(f"went on after {neutral_lines(report.resumed_after)}", err=True)
    click.echo(json.dumps(dict(sorted(report.counts.items()))))
    if not report.counts and not report.resumed_after:
        told = "the archive lists nothing of that place and time; times are UTC"
        click.echo(f"note: {told}", err=True)
    _tell_failed(report.failed)


@click.command()
@_choosing
@bringing_options
@click.option("--dry-run", is_flag=True, help="Only say what is missing.")
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=15.0,
    show_default=True,
    metavar="MINUTES",
    help="Objects younger than this are left to their notification.",
)
@spender_options
@lake_options
def reconcile(
    dataset: str,
    site: tuple[str, ...],
    path_rows: tuple[str, ...],
    start: str | None,
    end: str | None,
    keys: str,
    tables: str | None,
    panel: str | None,
    no_panel: bool,
    deleted: str,
    max_object: int,
    jobs: int,
    dry_run: bool,
    settle: float,
) -> None:
    """Find what notifications missed, and mend it: the archive's listing against the lake.

    Objects that the lake lacks or has in another version, objects that are gone, files of the
    lake that were deleted, and topics that told nothing for three times their usual gap. Exit
    code 7 when something stays open.

    \b
    lakeq ingest reconcile nexrad --site KTLX --from 2019-05-20 --to 2019-05-22
    lakeq ingest reconcile nexrad --site KTLX --from 2019-05-20 --dry-run
    lakeq ingest reconcile nexrad --site KTLX --from 2019-05-20 --settle 60
    """
    from lakeq.convert.select import places
    from lakeq.ingest.service import service

    options = options_of(tables, panel, no_panel, deleted, max_object)
    chosen = places(site, path_rows)
    work = service(connect(), dataset, options, places=chosen)
    archive = work.archive(_selection(chosen, start, end, keys), jobs)
    try:
        found = archive.reconcile(repair=not dry_run, settle=timedelta(minutes=settle))
    finally:
        work.close()
    _tell(found)
    if not dry_run:
        _tell_failed(found.open)


def _tell(found: Reconciliation) -> None:
    for uri, what in sorted(found.findings.items()):
        done = found.outcomes.get(uri)
        told = {"object": uri, "finding": what, "outcome": done.status if done else None}
        click.echo(json.dumps(told))
    for silence in found.silences:
        hours = silence.silent_s / 3600
        told_ = f"note: {silence.topic} told nothing for {hours:,.1f} h, since {silence.last}"
        click.echo(f"{told_}; usually it does every {silence.usual_gap_s:,.0f} s", err=True)
    count = len(found.findings)
    click.echo(f"listed {counted(found.listed, 'object')}, {count:,} not as in the lake", err=True)


def _tell_failed(failed: dict[str, str]) -> None:
    """Raise `BadSource` when there are some."""
    if not failed:
        return
    lines = [f"{uri}: {reason}" for uri, reason in sorted(failed.items())][:MAX_TOLD]
    click.echo(neutral_lines("\n".join(lines)), err=True)
    first = next(iter(sorted(failed)))
    count = f"{len(failed):,} object" + (" was" if len(failed) == 1 else "s were")
    raise BadSource(f"{count} not brought in", first, "see the lines above")
