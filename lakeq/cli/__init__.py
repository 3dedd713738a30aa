"""The `lakeq` command: one module per group; heavy libraries load only when a command runs."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

import click

from lakeq.cli.options import lake_options
from lakeq.cli.text import neutral_lines
from lakeq.errors import LakeqError

INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports for a process that SIGPIPE ended
GARBAGE_OBJECTS = 1 << 16  # looked for after so many; imports make 700 every millisecond
COMMANDS = {  # in the order in which one meets them: the module of each
    "sql": "sql",
    "ingest": "ingest",
    "refresh": "refresh",
    "maintain": "maintain",
    "verify": "verify",
    "publish": "publish",
    "history": "ledger",
    "cost": "ledger",
    "budget": "ledger",
    "rerun": "ledger",
    "prices": "ledger",
    "tables": "tables",
    "describe": "tables",
    "snapshots": "tables",
    "queries": "queries",
    "plot": "plot",
    "catalog": "catalog",
    "config": "config",
    "athena": "athena",
    "doctor": "doctor",
    "completion": "doctor",
}

# How each command's help begins, as much as --help shows, so that it need not import them; one that
# is not here is imported. A test holds them against the commands.
SUMMARIES = {
    "sql": "Run QUERY and print its rows.",
    "ingest": "Put OBJECTs of DATASET into the lake: paths, globs, s3:// and https:// URIs.",
    "refresh": "Make slices again: tables that keep the answer to a query, such as a join.",
    "maintain": "Compact tables: many small files become few sorted ones, partition by partition.",
    "verify": "Read every file of TABLEs, or of the lake, and hold it against what was written.",
    "publish": "Copy tables to S3 and let AWS Glue name them, for Athena and for other machines.",
    "history": "List what was run on the lake, newest first: queries, ingests and maintenance.",
    "cost": "Say where the dollars went.",
    "budget": "Show the budgets that are for you, and what of them is left in this day or month.",
    "rerun": "Run a query of the ledger again on the same snapshots: is the result the same?",
    "prices": "Show the prices in force: their date, region and source, and which the settings",
    "tables": "List every table of the catalog, and how much of it the lake holds.",
    "describe": "Say what TABLE is: columns with types and units, size, source, licence.",
    "snapshots": "List the snapshots of TABLE, oldest first; lakeq sql --at takes their ids",
    "queries": "List the named queries with the question that each answers; with NAME, show",
    "plot": "Draw pictures of what the lake holds.",
    "catalog": "Work with catalog files.",
    "config": "Look at the settings.",
    "athena": "Look at what --engine athena needs.",
    "doctor": "Check the installation and the lake; exit code 1 when something is wrong.",
    "completion": "Print the completion script for SHELL.",
}


class _Lazy(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        module = import_module(f"lakeq.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(ctx, name, room)) for name in names])

    def _summary(self, ctx: click.Context, name: str, room: int) -> str:
        known = SUMMARIES.get(name)
        command = click.Command(name, help=known) if known else self.get_command(ctx, name)
        return command.get_short_help_str(room) if command else ""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would make it exit code 1
            raise click.exceptions.Exit(BROKEN_PIPE) from error


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"lakeq {version('lakeq')}")
    except PackageNotFoundError:
        click.echo("lakeq (not installed)")
    context.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@lake_options
def cli() -> None:
    """SQL over public scientific archives, with the bytes scanned and the dollars.

    \b
    lakeq ingest clinvar clinvar.vcf.gz
    lakeq sql "select gene, count(*) from clinvar.grch37 group by gene"
    lakeq tables
    """


def main() -> NoReturn:
    """Run the command line and exit with the documented code; no traceback for expected errors."""
    gc.set_threshold(GARBAGE_OBJECTS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's would spin, and have no work
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    gc.freeze()  # nothing is looked for at exit, where everything ends
    if code == BROKEN_PIPE:  # or Python would complain when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code, the error is on standard error."""
    try:
        ended = cli.main(arguments, prog_name="lakeq", standalone_mode=False)
        code = ended if isinstance(ended, int) else 0  # what Context.exit was given
    except LakeqError as error:
        code = fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = fail("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # the last resort; LAKEQ_DEBUG shows the traceback
        code = _bug(error)
    return code


def fail(text: str, code: int) -> int:
    """Tell an error on standard error."""
    click.echo(f"error: {neutral_lines(text)}", err=True)
    return code


def _bug(error: Exception) -> int:
    if os.environ.get("LAKEQ_DEBUG"):
        raise error
    what = f"{type(error).__name__}: {error}"
    return fail(f"{what}\n  next:  this is a bug in lakeq; LAKEQ_DEBUG=1 shows where", 1)
