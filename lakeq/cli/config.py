"""`lakeq config`: the settings in force and where each came from."""

from __future__ import annotations

import os
import sys

import click

from lakeq.cli.options import lake_options, listing_format, settings
from lakeq.cli.output import Style, listing, write


@click.group()
def config() -> None:
    """Look at the settings.

    \b
    lakeq config show --origin
    """


@config.command()
@click.option("--origin", is_flag=True, help="Say which flag, variable or file set each value.")
@listing_format
@lake_options
def show(origin: bool, format: str) -> None:
    """Show the settings: flags, then LAKEQ_*, ./lakeq.toml, the user's config file, defaults.

    \b
    lakeq config show
    lakeq config show --origin
    LAKEQ_THREADS=2 lakeq config show --origin --format json
    """
    from lakeq.config import KEYS

    found = settings()
    rows = []
    for key in KEYS:
        section, _, name = key.rpartition(".")
        home = getattr(found, section) if section else found
        row = (key, _shown(getattr(home, name)), found.origins.get(key))
        rows.append(row if origin else row[:2])
    types = {"setting": "VARCHAR", "value": "VARCHAR"} | ({"origin": "VARCHAR"} if origin else {})
    write(listing(rows, **types), format, sys.stdout.buffer, Style())


def _shown(value: object) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{name}={part}" for name, part in value.items()) or None
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value)) or None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value in (None, "") else str(value)
