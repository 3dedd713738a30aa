"""`lakeq doctor` and `lakeq completion`: is everything in place, and can the shell help."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import click

from lakeq.cli.options import connect, lake_options, listing_format
from lakeq.cli.output import Style, listing, write
from lakeq.errors import LakeqError


@click.command()
@listing_format
@lake_options
def doctor(format: str) -> None:
    """Check the installation and the lake; exit code 1 when something is wrong.

    \b
    lakeq doctor
    lakeq doctor --lake mylake
    lakeq doctor --format json
    """
    checks = [("python", True, platform.python_version()), _duckdb(), *_lake()]
    rows = [(name, "ok" if good else "wrong", detail) for name, good, detail in checks]
    found = listing(rows, check="VARCHAR", result="VARCHAR", detail="VARCHAR")
    write(found, format, sys.stdout.buffer, Style())
    if not all(good for _, good, _ in checks):
        click.get_current_context().exit(1)


Check = tuple[str, bool, str]


def _duckdb() -> Check:
    import duckdb

    return "duckdb", True, duckdb.__version__


def _lake() -> list[Check]:
    lake = connect()
    folder, in_glue = lake.settings.lake, bool(lake.settings.catalog)
    if not (in_glue or folder.exists()):
        return [("lake", True, f"{folder}: made by the first ingest")]
    checks = [("lake", in_glue or os.access(folder, os.W_OK), lake.settings.place)]
    try:
        present = [info for info in lake.tables() if info.snapshot]
    except LakeqError as error:
        return [*checks, ("tables", False, f"{error.what} ({error.where})")]
    missing = [
        file.path
        for info in present
        if info.snapshot
        for file in info.snapshot.files
        if "://" not in file.path and not Path(file.path).is_file()
    ]
    detail = f"{len(present)} tables" + (f"; missing: {missing[0]}" if missing else "")
    return [*checks, ("tables", not missing, detail)]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    lakeq completion bash > ~/.local/share/bash-completion/completions/lakeq
    lakeq completion zsh > ~/.zfunc/_lakeq
    lakeq completion fish > ~/.config/fish/completions/lakeq.fish
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root, {}, "lakeq", "_LAKEQ_COMPLETE").source())
