"""`lakeq sql`: one query, its rows on standard output, its report on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakeq import cost
from lakeq._query_text import statements
from lakeq.cli.options import connect, lake_options, report_option, spender_options
from lakeq.cli.output import BINARY_FORMATS, FORMATS, Style, format_of, listing, opened, write
from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    from lakeq.api import Lake
    from lakeq.query import Report, Result
    from lakeq.script import Script

ALERTED = 8
TERMINAL_ROWS = 1000  # a table on a terminal stops here unless --max-rows says otherwise


@click.command()
@click.argument("query", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Read the query from FILE.")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help='Bind VALUE to $NAME or :NAME. JSON (22, true, null, [1,2], "22"), else text; '
    "in a named query as its parameter's type says.",
)
@click.option(
    "--format", type=click.Choice(FORMATS), help="[default: by -o, table on a terminal, else csv]"
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write rows to FILE; its suffix is the format."
)
@click.option("--max-rows", type=click.IntRange(min=0), metavar="N", help="Stop after N rows.")
@click.option(
    "--at", metavar="SNAPSHOT|TIME", help="The tables as they were: a snapshot id or a UTC time."
)
@click.option(
    "--across-assemblies",
    is_flag=True,
    help="Let tables of two genome assemblies meet; match them on rs, not on positions.",
)
@report_option
@click.option("--dry-run", is_flag=True, help="Say what it would read and cost; read nothing.")
@click.option("--max-usd", metavar="USD", help="Refuse or stop it when it would cost more.")
@click.option("--max-bytes", metavar="SIZE", help="Refuse or stop it when it would read more: 2GB.")
@click.option("--max-seconds", metavar="S", help="Stop it after so many seconds. [default: 3600]")
@click.option(
    "--fail-on-alert",
    is_flag=True,
    help="Exit with 8, after the rows, when this query sets off a budget alert.",
)
@click.option(
    "--compare",
    metavar="NAMES",
    help="Run it on several engines, such as duckdb,spark: bytes, dollars, and whether rows agree.",
)
@click.option("--engine", metavar="NAME", help="Where it runs. [default: duckdb]")
@click.option("--csv-safe", is_flag=True, help="Put ' before cells that spreadsheets would run.")
@spender_options
@lake_options
def sql(
    query: str | None,
    file: str | None,
    params: tuple[str, ...],
    format: str | None,
    output: str | None,
    max_rows: int | None,
    at: str | None,
    across_assemblies: bool,
    report: str,
    dry_run: bool,
    max_usd: str | None,
    max_bytes: str | None,
    max_seconds: str | None,
    fail_on_alert: bool,
    compare: str | None,
    engine: str | None,
    csv_safe: bool,
) -> None:
    """Run QUERY and print its rows.

    QUERY is one SELECT, or several with ";" between, which are planned and held against the limits
    together and end with one bill; "-" reads it from standard input, "@NAME" takes a named query
    (see: lakeq queries). Rows go to standard output; rows, seconds, bytes, files and dollars to
    standard error.

    \b
    lakeq sql "select count(*) from clinvar.grch37 where is_pathogenic"
    lakeq sql --dry-run "select gene from clinvar.grch37"
    lakeq sql @sample_clinvar -p sample=HG00096 --format csv
    echo "select * from thousand_genomes.samples" | lakeq sql - -o samples.parquet
    """
    lake = connect(max_usd=max_usd, max_bytes=max_bytes, max_seconds=max_seconds, engine=engine)
    text = _text(query, file)
    if not text.startswith("@") and len(statements(text)) > 1:
        _refuse_files(output, compare, format)
        given: dict[str, object] = {k: json_or_text(v) for k, v in _pairs(params).items()}
        options = {"at": at, "across_assemblies": across_assemblies, "max_rows": max_rows}
        script = lake.script(text, given, **options)  # type: ignore[arg-type]  # as named above
        _script(script, format, report, csv_safe=csv_safe, dry_run=dry_run, fail=fail_on_alert)
        return
    if dry_run:
        plan = lake.plan(
            text, _values(lake, text, _pairs(params)), at=at, across_assemblies=across_assemblies
        )
        click.echo(json.dumps(plan.to_dict()) if format == "json" else str(plan))
        return
    if compare is not None:
        if output is not None or fail_on_alert:
            what = "a comparison has no rows to write, and sets off no alert"
            raise UsageError(what, "--compare", "leave out -o and --fail-on-alert")
        options = {"at": at, "across_assemblies": across_assemblies, "max_rows": max_rows}
        _compare(lake, text, _values(lake, text, _pairs(params)), compare, format, options)
        return
    target = None if output in (None, "-") else Path(str(output))
    terminal = target is None and sys.stdout.isatty()
    kind = format or (format_of(target) if target else "table" if terminal else "csv")
    if terminal and kind in BINARY_FORMATS:
        raise UsageError(f"{kind} is not for a terminal", "--format", "add -o FILE, or a pipe")
    if max_rows is None and terminal and kind == "table":
        max_rows = TERMINAL_ROWS
    result = lake.sql(
        text,
        _values(lake, text, _pairs(params)),
        at=at,
        across_assemblies=across_assemblies,
        max_rows=max_rows,
    )
    try:
        _print(result, kind, target, Style(terminal, csv_safe))
    except KeyboardInterrupt:
        if result.report.engine == "athena":  # it is cancelled, and what it had read is billed
            _tell(result.report, report)
        raise
    _tell(result.report, report)
    if fail_on_alert and result.alerts:
        click.get_current_context().exit(ALERTED)


def _refuse_files(output: str | None, compare: str | None, format: str | None) -> None:
    """Of several statements only text can be printed, one after the other."""
    if output is not None or compare is not None or format in BINARY_FORMATS:
        what = "several statements print their rows one after the other, as text"
        raise UsageError(what, "lakeq sql", "without --output and --compare; or one statement")


def _script(
    script: Script,
    format: str | None,
    report: str,
    *,
    csv_safe: bool,
    dry_run: bool,
    fail: bool,
) -> None:
    """Print the rows of each statement, with an empty line between, and the bill of all."""
    if dry_run:
        plans = script.plans()
        if format == "json":
            click.echo(json.dumps([plan.to_dict() for plan in plans]))
        else:
            click.echo("\n\n".join(map(str, plans)))
            highest = cost.total(plan.high_usd for plan in plans)
            click.echo(f"\n{len(plans)} statements: up to {cost.dollars(highest)} on Athena")
        return
    terminal = sys.stdout.isatty()
    kind = format or ("table" if terminal else "csv")
    alerted = False
    for number, result in enumerate(script):
        if number:
            click.echo()
        _print(result, kind, None, Style(terminal, csv_safe))
        _tell(result.report, report)
        alerted = alerted or bool(result.alerts)
    if report == "json":
        click.echo(json.dumps(script.bill.to_dict()), err=True)
    elif report == "text":
        click.echo(str(script.bill), err=True)
    if fail and alerted:
        click.get_current_context().exit(ALERTED)


def _compare(
    lake: Lake,
    text: str,
    values: Mapping[str, object],
    names: str,
    format: str | None,
    options: Mapping[str, object],
) -> None:
    """Print engines side by side; rows that differ are a failure."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if len(chosen) < 2:
        raise UsageError("give two engines or more", "--compare", "--compare duckdb,spark")
    found = lake.compare(text, values, engines=chosen, **options)
    if format is None:
        click.echo(str(found))
    else:
        types = {"engine": "VARCHAR", "rows": "BIGINT", "seconds": "DOUBLE", "bytes": "BIGINT"}
        rows = listing(found.table(), **types, dollars="DECIMAL(38, 9)")
        write(rows, format, sys.stdout.buffer, Style(sys.stdout.isatty()))
        click.echo(found.difference or "the rows agree", err=True)
    if found.difference:
        click.get_current_context().exit(1)


def _text(query: str | None, file: str | None) -> str:
    if (query is None) == (file is None):
        raise UsageError("give one query: QUERY, - or -f FILE", "lakeq sql", "lakeq sql --help")
    if query == "-":
        return sys.stdin.read()
    if query is not None:
        return query
    path = Path(str(file))
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound("no such file", str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the query: {error}", str(path)) from error


def _pairs(params: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for given in params:
        name, equals, value = given.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"not NAME=VALUE: {given!r}", "-p", "for example: -p sample=HG00096")
        if name in pairs:
            raise UsageError(f"the parameter {name} is given twice", "-p")
        pairs[name] = value
    return pairs


def _values(lake: Lake, text: str, pairs: Mapping[str, str]) -> Mapping[str, object]:
    """Values by the types of the named query, or as JSON where they are JSON."""
    if text.startswith("@"):
        return lake.query(text).values(pairs)
    return {name: json_or_text(value) for name, value in pairs.items()}


def json_or_text(value: str) -> object:
    """`value` as JSON says it (number, true, false, null, list, quoted text), else as text."""

    def refuse(constant: str) -> object:
        raise ValueError(constant)

    try:
        found: object = json.loads(value, parse_constant=refuse)
    except (ValueError, RecursionError):
        return value
    return found


def _print(result: Result, kind: str, target: Path | None, style: Style) -> None:
    if target is None:
        write(result, kind, sys.stdout.buffer, style)
        return
    with opened(target) as file:
        write(result, kind, file, style)


def _tell(report: Report, how: str) -> None:
    if how == "json":
        click.echo(json.dumps(report.to_dict()), err=True)
    elif how == "text":
        click.echo(str(report), err=True)
