"""`lakeq ingest dlq`: the dead letters of a queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lakeq.cli.options import lake_options, settings
from lakeq.errors import NotFound, UsageError

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from lakeq.ingest.queue import Queue


def _queues(command: F) -> F:
    dead = click.option(
        "--dlq-url", metavar="URL", help="The dead letters, if the queue does not name them."
    )
    queue = click.option("--queue-url", metavar="URL", help="The queue that they come from.")
    return queue(dead(command))


def _dead(queue_url: str | None, dlq_url: str | None) -> Queue:
    from lakeq.ingest.queue import Queue

    s3 = settings().s3
    if dlq_url:
        return Queue(dlq_url, s3)
    if not queue_url:
        raise UsageError("no queue is named", "lakeq ingest dlq", "give --queue-url or --dlq-url")
    found = Queue(queue_url, s3).dead_letters
    if found is None:
        hint = "give the queue a redrive policy, or name the dead letters: --dlq-url"
        raise NotFound("the queue has no dead letters", queue_url, hint)
    return found


@click.group()
def dlq() -> None:
    """Look at dead letters, and put them back.

    \b
    lakeq ingest dlq ls --queue-url "$QUEUE"
    lakeq ingest dlq show 0f3b --queue-url "$QUEUE"
    lakeq ingest dlq retry --queue-url "$QUEUE"
    """


@dlq.command()
@_queues
@lake_options
def ls(queue_url: str | None, dlq_url: str | None) -> None:
    """List the dead letters, a line of JSON each: id, when it was sent, reason, objects.

    \b
    lakeq ingest dlq ls --queue-url "$QUEUE"
    lakeq ingest dlq ls --dlq-url "$DEAD"
    lakeq ingest dlq ls --dlq-url "$DEAD" --profile lab
    """
    from lakeq.ingest.dead import letters

    for one in letters(_dead(queue_url, dlq_url)):
        told = {
            "id": one.message.identifier,
            "sent": one.message.sent.isoformat(timespec="seconds"),
            "reason": one.reason,
            "objects": list(one.objects),
        }
        click.echo(json.dumps(told))


@dlq.command()
@click.argument("identifier", metavar="ID")
@_queues
@lake_options
def show(identifier: str, queue_url: str | None, dlq_url: str | None) -> None:
    """Print one dead letter whole: its reason on standard error, its body on standard output.

    ID is its id, or the beginning of it.

    \b
    lakeq ingest dlq show 0f3b --queue-url "$QUEUE"
    lakeq ingest dlq show 0f3b --dlq-url "$DEAD"
    lakeq ingest dlq show 0f3b --dlq-url "$DEAD" > letter.json
    """
    from lakeq.ingest.dead import found

    one = found(_dead(queue_url, dlq_url), identifier)
    click.echo(one.reason, err=True)
    click.echo(one.message.body)


@dlq.command()
@click.argument("identifiers", nargs=-1, metavar="[ID]...")
@_queues
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Letters a second at the most.",
)
@lake_options
def retry(
    identifiers: tuple[str, ...], queue_url: str | None, dlq_url: str | None, rate: float
) -> None:
    """Put dead letters back into their queue: all, or those named by the beginning of their id.

    \b
    lakeq ingest dlq retry --queue-url "$QUEUE"
    lakeq ingest dlq retry 0f3b 77aa --queue-url "$QUEUE"
    lakeq ingest dlq retry --queue-url "$QUEUE" --dlq-url "$DEAD" --rate 2
    """
    from lakeq.ingest.dead import retry as again
    from lakeq.ingest.queue import Queue

    if not queue_url:
        raise UsageError("no queue is named", "lakeq ingest dlq retry", "give --queue-url")
    dead = _dead(queue_url, dlq_url)
    queue = Queue(queue_url, settings().s3)
    count = again(dead, queue, identifiers=identifiers, per_second=rate)
    click.echo(f"{count:,} put back", err=True)
