"""`lakeq ingest watch`: the worker on a queue."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING

import click

from lakeq.cli.ingest_options import bringing_options, options_of, place_options
from lakeq.cli.options import connect, lake_options, spender_options
from lakeq.cli.text import age

if TYPE_CHECKING:
    from lakeq.ingest.metrics import Metrics
    from lakeq.ingest.worker import Worker


@click.command()
@click.argument("dataset", metavar="DATASET[.TABLE]")
@click.option("--queue-url", required=True, metavar="URL", help="The queue of SQS.")
@place_options
@click.option(
    "--topic", "topics", multiple=True, metavar="ARN", help="A topic of your own; repeatable."
)
@bringing_options
@click.option(
    "--visibility",
    type=click.IntRange(2, 43200),
    default=120,
    show_default=True,
    metavar="S",
    help="A message is hidden from others for so long, extended at every third of it.",
)
@click.option(
    "--max-runtime",
    type=click.IntRange(1),
    default=1800,
    show_default=True,
    metavar="S",
    help="The most that one message may take.",
)
@click.option(
    "--max-receives",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Attempts at a bad object. [default: those of the queue's redrive policy, or 5]",
)
@click.option(
    "--retry-delay",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Before the second attempt; doubled before each further one.",
)
@click.option(
    "--expire-older-than",
    "keep",
    metavar="AGE",
    help="Give up snapshots older than this, such as 6h, after every 100 commits.",
)
@click.option("--drain", is_flag=True, help="End when the queue is empty.")
@click.option("--metrics-port", type=int, metavar="PORT", help="Metrics for Prometheus, here.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Of the lines of JSON on standard error.",
)
@spender_options
@lake_options
def watch(
    dataset: str,
    queue_url: str,
    site: tuple[str, ...],
    path_rows: tuple[str, ...],
    topics: tuple[str, ...],
    tables: str | None,
    panel: str | None,
    no_panel: bool,
    deleted: str,
    max_object: int,
    jobs: int,
    visibility: int,
    max_runtime: int,
    max_receives: int,
    retry_delay: float,
    keep: str | None,
    drain: bool,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Bring in what the messages of a queue tell of, until stopped.

    Each object once, in its newest version, however often and in whatever order its messages
    come. SIGTERM or ^C: no message is received any more; what is at work ends within 30 seconds
    or is given back. Counts go to standard output at the end.

    \b
    lakeq ingest watch nexrad --queue-url https://sqs.us-east-1.amazonaws.com/111122223333/nexrad
    lakeq ingest watch nexrad --site KTLX --tables volumes,gates --queue-url "$QUEUE" --drain
    lakeq ingest watch landsat --path-row 115/067 --request-payer --queue-url "$QUEUE"
    """
    from lakeq.convert.select import places
    from lakeq.ingest import logs
    from lakeq.ingest.service import service
    from lakeq.ingest.worker import Pace

    logs.begin(log_level)
    options = options_of(tables, panel, no_panel, deleted, max_object)
    work = service(
        connect(),
        dataset,
        options,
        places=places(site, path_rows),
        topics=topics,
        keep=None if keep is None else age(keep, "--expire-older-than"),
    )
    pace = Pace(
        jobs=jobs,
        visibility_s=visibility,
        interval_s=visibility / 3,
        max_runtime_s=max_runtime,
        max_receives=max_receives,
        retry_s=retry_delay,
        drain=drain,
    )
    listeners = [] if metrics_port is None else [_metrics(work.dataset.name, metrics_port)]
    worker = work.worker(queue_url, pace, listeners)
    ended = False
    try:
        with _stopping(worker):
            worker.run()
        ended = True
    finally:
        work.close()
        if ended or worker.tally.counts:  # who could not begin has nothing to tell
            click.echo(json.dumps(dict(sorted(worker.tally.counts.items()))))


def _metrics(dataset: str, port: int) -> Metrics:
    from lakeq.ingest.metrics import Metrics

    metrics = Metrics(dataset)
    click.echo(f"metrics: http://127.0.0.1:{metrics.serve(port)}/metrics", err=True)
    return metrics


class _stopping:  # noqa: N801  # used as a function is
    """SIGTERM and SIGINT stop the worker; a second SIGINT interrupts as ever."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: object) -> None:
        self._worker.stop()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as it was
