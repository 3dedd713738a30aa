"""`lakeq history`, `cost report`, `budget`, `rerun` and `prices`: what was spent, on what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lakeq.cli.options import (
    connect,
    lake_options,
    listing_format,
    settings,
    spender_options,
    tags_of,
)
from lakeq.cli.output import DOLLARS, FORMATS, Style, listing, write_to
from lakeq.cli.text import neutral_lines
from lakeq.errors import UsageError

if TYPE_CHECKING:
    from lakeq.ledger_report import Filter

F = TypeVar("F", bound=Callable[..., Any])
DIFFERS = 1
HISTORY_ROWS = 30
REPORTS = ("table", "user", "project", "tag", "query", "engine", "day")


def export_options(command: F) -> F:
    """Any format, on standard output or in a file."""
    output = click.option(
        "-o", "--output", metavar="FILE", help="Write to FILE; its suffix is the format."
    )
    kind = click.option("--format", type=click.Choice(FORMATS), help="[default: by -o, else table]")
    return kind(output(command))


def _style(output: str | None) -> Style:
    return Style(terminal=output is None and sys.stdout.isatty())


def filter_options(command: F) -> F:
    """Which runs are wanted."""
    options = (
        click.option(
            "--since", metavar="TIME|AGE", help="Runs from this UTC time on, or of the last 7d."
        ),
        click.option("--user", metavar="NAME", help="Runs of this user."),
        click.option("--project", metavar="NAME", help="Runs for this project."),
        click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="With this tag."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _filter(
    since: str | None,
    user: str | None,
    project: str | None,
    tags: tuple[str, ...],
    *,
    failed: bool = False,
    limit: int | None = None,
) -> Filter:
    from lakeq import ledger_report

    start = None if since is None else ledger_report.since(since)
    pairs = tuple(tags_of(tags).items())
    return ledger_report.Filter(start, user, project, pairs, failed=failed, limit=limit)


@click.command()
@filter_options
@click.option("--failed", is_flag=True, help="Only runs that did not end well.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=HISTORY_ROWS,
    show_default=True,
    metavar="N",
    help="The newest N runs; 0 for all.",
)
@click.option("--lines", is_flag=True, help="Every line with all its columns, oldest first.")
@export_options
@lake_options
def history(
    since: str | None,
    user: str | None,
    project: str | None,
    tags: tuple[str, ...],
    failed: bool,
    limit: int,
    lines: bool,
    format: str | None,
    output: str | None,
) -> None:
    """List what was run on the lake, newest first: queries, ingests and maintenance.

    \b
    lakeq history
    lakeq history --since 7d --failed
    lakeq history --project cohort --limit 0 -o spending.csv
    """
    wanted = _filter(since, user, project, tags, failed=failed, limit=limit or None)
    found = connect().history(wanted)
    if lines:
        _write_lines([line for entry in reversed(found) for line in entry.lines], format, output)
        return
    rows = [
        (e.id, e.started, e.kind, e.outcome, e.seconds, e.bytes, e.rows, e.usd, e.user,
         e.project or None, e.engine, e.what)
        for e in found
    ]  # fmt: skip
    listed = listing(
        rows,
        id="BIGINT",
        started="TIMESTAMP",
        kind="VARCHAR",
        outcome="VARCHAR",
        seconds="DOUBLE",
        bytes="BIGINT",
        rows="BIGINT",
        usd=DOLLARS,
        user="VARCHAR",
        project="VARCHAR",
        engine="VARCHAR",
        what="VARCHAR",
    )
    write_to(listed, format, output, _style(output))


def _write_lines(lines: list[Any], format: str | None, output: str | None) -> None:
    from decimal import Decimal

    types = {"id": "BIGINT", "bytes": "BIGINT", "count": "BIGINT", "seconds": "DOUBLE"}
    names = tuple(lines[0]) if lines else ("id",)
    columns = {name: DOLLARS if name == "usd" else types.get(name, "VARCHAR") for name in names}
    rows = [
        tuple(Decimal(line[name]) if name == "usd" else line[name] for name in names)
        for line in lines
    ]
    write_to(listing(rows, **columns), format, output, Style())


@click.group()
def cost() -> None:
    """Say where the dollars went.

    \b
    lakeq cost report --by project
    """


@cost.command()
@click.option(
    "--by", type=click.Choice(REPORTS), default="table", show_default=True, help="What to sum by."
)
@filter_options
@export_options
@lake_options
def report(
    by: str,
    since: str | None,
    user: str | None,
    project: str | None,
    tags: tuple[str, ...],
    format: str | None,
    output: str | None,
) -> None:
    """Sum what queries cost by table, user, project, query, engine or day, the dearest first.

    saved_pruning is what reading the tables whole would have cost more, saved_parquet what reading
    the raw objects would have cost more than that (NULL: their size is not known).

    \b
    lakeq cost report --by table
    lakeq cost report --by user --since 30d
    lakeq cost report --by day --project cohort -o costs.parquet
    """
    found = connect().cost_report(by, _filter(since, user, project, tags))
    rows = [
        (s.key, s.queries, s.bytes, s.usd, s.usd_per_query, s.usd_per_tb, s.other_usd,
         s.pruning_usd, s.parquet_usd)
        for s in found
    ]  # fmt: skip
    columns = {
        by: "VARCHAR",
        "queries": "BIGINT",
        "bytes": "BIGINT",
        "usd": DOLLARS,
        "usd_per_query": DOLLARS,
        "usd_per_tb": DOLLARS,
        "other_usd": DOLLARS,
        "saved_pruning_usd": DOLLARS,
        "saved_parquet_usd": DOLLARS,
    }
    write_to(listing(rows, **columns), format, output, _style(output))


@click.command()
@listing_format
@spender_options
@lake_options
def budget(format: str) -> None:
    """Show the budgets that are for you, and what of them is left in this day or month.

    Budgets stand in ./lakeq.toml and in the user's config file, each in a table [[budget]].

    \b
    lakeq budget
    lakeq budget --project cohort
    lakeq budget --format json
    """
    rows = [
        (
            spent.budget.title,
            ", ".join(f"{scope}={value}" for scope, value in spent.share) or None,
            spent.period,
            spent.budget.usd,
            spent.usd,
            spent.reserved,
            spent.left,
            spent.budget.origin,
        )
        for spent in connect().ledger.spending()
    ]
    found = listing(
        rows,
        budget="VARCHAR",
        share="VARCHAR",
        period="VARCHAR",
        usd=DOLLARS,
        spent=DOLLARS,
        reserved=DOLLARS,
        left=DOLLARS,
        origin="VARCHAR",
    )
    write_to(found, format, None, Style())
    if not rows:
        told = "no budget is set for you; one is a table [[budget]] in ./lakeq.toml"
        click.echo(f'{told}: usd = 5, per = "day"', err=True)


@click.command()
@click.argument("number", metavar="ID|last")
@spender_options
@lake_options
def rerun(number: str) -> None:
    """Run a query of the ledger again on the same snapshots: is the result the same?

    It runs on the engine of then, whatever the settings say; where the ledger has none, on theirs.
    ID is the one of lakeq history; "last" is the newest query that ended well. The answer goes to
    standard output, the report to standard error; exit code 1 when the result differs or cannot be
    compared.

    \b
    lakeq sql "select count(*) from clinvar.grch37" && lakeq rerun last
    lakeq sql @sample_clinvar -p sample=HG00096 > rows.csv && lakeq rerun last
    lakeq sql "select 1" && lakeq rerun last --project audit
    """
    if number != "last" and not number.isdigit():
        hint = "a number of lakeq history, or last"
        raise UsageError(f"not a run: {number!r}", "lakeq rerun", hint)
    done = connect().rerun(None if number == "last" else int(number))
    click.echo(neutral_lines(f"run {done.id}: {done.verdict}"))
    click.echo(neutral_lines(str(done.report)), err=True)
    if not done.same:
        click.get_current_context().exit(DIFFERS)


@click.command()
@listing_format
@lake_options
def prices(format: str) -> None:
    """Show the prices in force: their date, region and source, and which the settings override.

    \b
    lakeq prices
    lakeq prices --format json
    lakeq prices --format csv | grep egress
    """
    from lakeq import cost as costs

    book = costs.prices(settings().prices)
    sources = costs.document()["sources"]
    rows = [
        (
            name,
            book.price(name),
            book.region,
            book.date,
            "the settings" if name in book.overrides else sources[_SERVICES[name]],
        )
        for name in costs.PRICES_OF
    ]
    found = listing(
        rows, price="VARCHAR", value=DOLLARS, region="VARCHAR", date="VARCHAR", source="VARCHAR"
    )
    write_to(found, format, None, Style())


_SERVICES = {
    "athena_usd_per_tb": "athena",
    "athena_minimum_mb": "athena",
    "get_usd_per_1000": "s3",
    "put_usd_per_1000": "s3",
    "storage_usd_per_gb_month": "s3",
    "egress_usd_per_gb": "egress",
}
