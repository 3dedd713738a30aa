"""`lakeq ingest run-part`: one unit of a fanned-out ingest, for workers of one's own making."""

from __future__ import annotations

import sys

import click


@click.command("run-part")
def run_part() -> None:
    """Do one unit of work, JSON on standard input, and print the list of its files as JSON.

    This is what a worker of lakeq ingest --executor does; it commits nothing. A unit names one
    version of one object and where its files go. An error is printed as JSON too, and told by the
    exit code.

    \b
    lakeq ingest run-part < unit.json > answer.json
    gzip -dc unit.json.gz | lakeq ingest run-part | tee answer.json
    lakeq ingest run-part < unit.json > answer.json || cat answer.json
    """
    from lakeq.convert.run_part import run
    from lakeq.convert.unit import decode_answer

    answer = run(sys.stdin.read())
    click.echo(answer)
    decode_answer(answer, "")
