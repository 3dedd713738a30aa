"""`lakeq ingest status`: what the workers of a lake did lately."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from lakeq.cli.options import connect, lake_options, settings


@click.command()
@click.option("--queue-url", metavar="URL", help="Say how deep this queue is, too.")
@click.option(
    "--minutes", type=click.IntRange(1, 10_080), default=60, show_default=True, help="To look back."
)
@lake_options
def status(queue_url: str | None, minutes: int) -> None:
    """Say what the workers of the lake did lately, as JSON: outcomes, rates, lag, silent topics.

    Lag is the time from an event to its rows, by the clocks of both ends.

    \b
    lakeq ingest status
    lakeq ingest status --minutes 1440
    lakeq ingest status --queue-url "$QUEUE" --lake lake
    """
    from lakeq.ingest.archive import silences
    from lakeq.ingest.queue import Queue
    from lakeq.ingest.store import Store

    store = Store(connect().settings.lake)
    now = datetime.now(UTC)
    told: dict[str, object] = {
        "minutes": minutes,
        "datasets": {
            name: _of(amounts, minutes) for name, amounts in store.activity(minutes).items()
        },
        "topics": [
            {
                "dataset": heard.dataset,
                "topic": heard.topic,
                "last": heard.at.isoformat(timespec="seconds"),
                "usual_gap_s": heard.usual_gap_s,
            }
            for heard in store.heard()
        ],
        "silent": [silence.topic for silence in silences(store.heard(), now)],
    }
    if queue_url:
        queue = Queue(queue_url, settings().s3)
        told["queue"] = queue.depth()
        if queue.dead_letters is not None:
            told["dead_letters"] = queue.dead_letters.depth()
    click.echo(json.dumps(told, indent=2))


def _of(amounts: dict[str, float], minutes: int) -> dict[str, object]:
    lags = amounts.get("lags", 0)
    own = ("lag s", "lags", "max lag s")
    return {
        "counts": {name: int(n) for name, n in sorted(amounts.items()) if name not in own},
        "committed_per_minute": round(amounts.get("committed", 0) / minutes, 3),
        "lag_mean_s": round(amounts["lag s"] / lags, 3) if lags else None,
        "lag_max_s": round(amounts["max lag s"], 3) if lags else None,
    }
