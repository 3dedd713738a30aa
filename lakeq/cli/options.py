"""Options that several commands share: which lake, how S3 is reached, how rows are printed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from lakeq.errors import UsageError

if TYPE_CHECKING:
    from lakeq.api import Lake
    from lakeq.config import Settings

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--lake", metavar="PLACE", help="The lake: a folder, or s3:// with --catalog."),
    click.option("--catalog", metavar="glue", help="AWS Glue names the tables of --lake s3://…."),
    click.option("--profile", metavar="NAME", help="AWS profile that signs S3 requests."),
    click.option("--region", metavar="REGION", help="AWS region of the buckets."),
    click.option("--endpoint-url", metavar="URL", help="Another S3 endpoint than Amazon's."),
    click.option("--anon/--no-anon", default=None, help="Never, or always, sign S3 requests."),
    click.option(
        "--request-payer/--no-request-payer",
        default=None,
        help="Pay for reading buckets whose owner asks for it.",
    ),
)
_SETTINGS = {
    "lake": "lake",
    "catalog": "catalog",
    "profile": "s3_profile",
    "region": "s3_region",
    "endpoint_url": "s3_endpoint_url",
    "anon": "s3_anon",
    "request_payer": "s3_requester_pays",
}


def lake_options(command: F, *, without: str = "") -> F:
    """Add the options; they are kept in the context, those of the inner command win.

    `without` names one, `--region`, that the command has in a wider sense.
    """

    @wraps(command)
    def keeping(*args: object, **kwargs: object) -> object:
        given = click.get_current_context().ensure_object(dict)
        for option, setting in _SETTINGS.items():
            value = kwargs.pop(option, None)
            if value is not None:
                given[setting] = value
        return command(*args, **kwargs)

    for option in reversed(_OPTIONS):
        keeping = option(keeping)
    parameters = getattr(keeping, "__click_params__", [])
    parameters[:] = [p for p in parameters if p.opts != [without] or p.multiple]
    return cast("F", keeping)


def set_option(name: str, value: object) -> None:
    """Keep the value of an option that `lake_options` left to the command."""
    click.get_current_context().ensure_object(dict)[_SETTINGS[name]] = value


report_option = click.option(
    "--report",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="The report on standard error.",
)
no_progress_option = click.option("--no-progress", is_flag=True, help="No progress bar.")


_SPENDER = (
    click.option("--project", metavar="NAME", help="The project that this is for."),
    click.option("--user", metavar="NAME", help="Who asks. [default: the system's user]"),
    click.option(
        "--tag",
        "tags",
        multiple=True,
        metavar="NAME=VALUE",
        help="A tag; repeatable.",
    ),
)


def spender_options(command: F) -> F:
    """Options that say in the ledger, and to budgets, who spends and on what."""

    @wraps(command)
    def keeping(*args: object, **kwargs: object) -> object:
        given = click.get_current_context().ensure_object(dict)
        for name in ("project", "user"):
            value = kwargs.pop(name, None)
            if value is not None:
                given[name] = value
        tags = tags_of(cast("tuple[str, ...]", kwargs.pop("tags", ())))
        if tags:
            given["tags"] = tags
        return command(*args, **kwargs)

    for option in reversed(_SPENDER):
        keeping = option(keeping)
    return cast("F", keeping)


def tags_of(given: tuple[str, ...]) -> dict[str, str]:
    """Tags given as NAME=VALUE; the last of one name counts."""
    for text in given:
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(f"not NAME=VALUE: {text!r}", "--tag", "for example: --tag grant=R01")
    return {name: value for name, _, value in (text.partition("=") for text in given)}


def settings(**more: object) -> Settings:
    """The settings with the command line's options, and `more` of them, on top."""
    from lakeq import config

    return config.load({**click.get_current_context().ensure_object(dict), **more})


def connect(**more: object) -> Lake:
    """The lake that the options, `more` of them and the settings name."""
    from lakeq.api import Lake

    return Lake(settings(**more))


def listing_format(command: F) -> F:
    """The option `--format` of commands that list things."""
    from lakeq.cli.output import TEXT_FORMATS

    return click.option(
        "--format",
        type=click.Choice(TEXT_FORMATS),
        default="table",
        show_default=True,
        help="How to print the list.",
    )(command)
