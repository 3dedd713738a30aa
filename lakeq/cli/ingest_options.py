"""Options that the commands of the ingest by notification share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lakeq.errors import UsageError

if TYPE_CHECKING:
    from lakeq.ingest.core import Options

F = TypeVar("F", bound=Callable[..., Any])

_BRINGING = (
    click.option("--tables", metavar="NAMES", help="Only these tables, with commas between."),
    click.option("--panel", metavar="FILE", help="Which population each sample belongs to."),
    click.option("--no-panel", is_flag=True, help="Ingest without populations."),
    click.option(
        "--deleted",
        type=click.Choice(["remove", "keep"]),
        default="remove",
        show_default=True,
        help="Whether the rows of an object that was deleted go too.",
    ),
    click.option(
        "--max-object",
        type=click.IntRange(1),
        default=2048,
        show_default=True,
        metavar="MIB",
        help="Larger objects go to the dead letters unread.",
    ),
    click.option(
        "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="At a time."
    ),
)


_PLACES = (
    click.option("--site", multiple=True, metavar="SITE", help="Only this site; repeatable."),
    click.option(
        "--path-row",
        "path_rows",
        multiple=True,
        metavar="PATH/ROW",
        help="Only scenes of this path and row, such as 115/067; repeatable.",
    ),
)


def place_options(command: F) -> F:
    """Options on the places whose objects are wanted: `site` and `path_rows`."""
    for option in reversed(_PLACES):
        command = option(command)
    return command


def bringing_options(command: F) -> F:
    """Options on how objects are brought in."""
    for option in reversed(_BRINGING):
        command = option(command)
    return command


def options_of(
    tables: str | None, panel: str | None, no_panel: bool, deleted: str, max_object: int
) -> Options:
    """What those options mean."""
    from lakeq.ingest.core import Options

    if panel is not None and no_panel:
        raise UsageError("--panel and --no-panel exclude each other", "lakeq ingest")
    names = None if tables is None else tuple(name.strip() for name in tables.split(","))
    return Options(
        names,
        "" if no_panel else panel,
        "keep" if deleted == "keep" else "remove",
        max_object << 20,
    )
