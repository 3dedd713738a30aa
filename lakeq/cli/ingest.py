"""`lakeq ingest`: raw objects into the lake."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

import click

from lakeq._jit_notice import before_compiling
from lakeq.cli.counted import counted
from lakeq.cli.more import CommandWithMore
from lakeq.cli.options import (
    connect,
    lake_options,
    no_progress_option,
    report_option,
    set_option,
    spender_options,
)
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import neutral_lines
from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lakeq.convert import IngestReport, ObjectReport

AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]\Z")
PATIENCE_S = 2.0  # shorter work needs no progress bar
COMPILING = "note: compiling for this machine, once; it takes 10 to 20 s"
MAX_TOLD = 20  # lines about objects that hold the same thing; --report json has all of them


class _Ingest(CommandWithMore):
    BELOW: ClassVar = {
        "watch": "ingest_watch",
        "backfill": "ingest_backfill",
        "reconcile": "ingest_backfill",
        "dlq": "ingest_dlq",
        "status": "ingest_status",
        "template": "ingest_template",
        "run-part": "ingest_run_part",
    }


@click.command(cls=_Ingest)
@click.argument("dataset", metavar="DATASET[.TABLE]")
@click.argument("objects", nargs=-1, metavar="[OBJECT]...")
@click.option("--site", multiple=True, metavar="SITE", help="Objects of this site; repeatable.")
@click.option(
    "--path-row", multiple=True, metavar="PATH/ROW", help="Scenes of this path and row; repeatable."
)
@click.option("--from", "start", metavar="TIME", help="Objects from this UTC date or time on.")
@click.option(
    "--to",
    "end",
    metavar="TIME",
    help="Up to this UTC date, its day included, or before this time.",
)
@click.option("--keys", default="", metavar="NAME", help="Template of keys, if not the usual one.")
@click.option("--new-only", is_flag=True, help="Leave out what the lake has of them already.")
@click.option("--tables", metavar="NAMES", help="Only these tables, with commas between.")
@click.option(
    "--materialize",
    metavar="NAMES",
    help="Write the rows of these virtual tables too, for engines that cannot read them.",
)
@click.option("--panel", metavar="FILE", help="Which population each sample belongs to.")
@click.option("--no-panel", is_flag=True, help="Ingest without populations.")
@click.option(
    "--strict/--lenient",
    default=False,
    help="Refuse every deviation from the format's specification; or report those it reads.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Only rows of 22:16,050,000-17,000,000 or of 22; repeatable. As elsewhere us-east-1 is"
    " the AWS region of the buckets.",
)
@click.option("--samples", metavar="NAMES", help="Only these samples: A,B or @FILE, one a line.")
@click.option(
    "--executor",
    metavar="WHERE",
    help="Have objects read by workers: processes[:N], dask://HOST:PORT, htcondor[:JOBS],"
    " slurm[:JOBS], lambda:FUNCTION[:N].",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@no_progress_option
@report_option
@spender_options
@partial(lake_options, without="--region")
def ingest(
    dataset: str,
    objects: tuple[str, ...],
    site: tuple[str, ...],
    path_row: tuple[str, ...],
    start: str | None,
    end: str | None,
    keys: str,
    new_only: bool,
    tables: str | None,
    materialize: str | None,
    panel: str | None,
    no_panel: bool,
    strict: bool,
    regions: tuple[str, ...],
    samples: str | None,
    executor: str | None,
    dry_run: bool,
    no_progress: bool,
    report: str,
) -> None:
    """Put OBJECTs of DATASET into the lake: paths, globs, s3:// and https:// URIs.

    Instead of naming objects, choose from the dataset's archive by place and time: only the
    folders that can hold such objects are listed.

    The rows of an object that is already there are replaced, a hundred objects in each commit; an
    error leaves the lake as the commit before left it. What became of each object goes to standard
    output.

    \b
    lakeq ingest clinvar clinvar.vcf.gz
    lakeq ingest thousand_genomes cohort.vcf.gz --panel cohort.panel
    lakeq ingest thousand_genomes "s3://1000genomes/release/20130502/ALL.chr22.*.vcf.gz" --dry-run
    lakeq ingest nexrad --site KTLX --from 2019-07-15 --to 2019-07-15 --tables volumes
    lakeq ingest landsat --path-row 28/30 --from 2020-01-01 --to 2020-12-31 --request-payer
    lakeq ingest nexrad --site KTLX --from 2019-07-15 --to 2019-07-15 --executor processes:4
    """
    if panel is not None and no_panel:
        raise UsageError("--panel and --no-panel exclude each other", "lakeq ingest")
    visible = sys.stderr.isatty() and not no_progress
    before_compiling.append(lambda: click.echo(COMPILING, err=True))
    with Bar(visible=visible) as bar:
        region = _genomic(regions)
        lake = connect()
        done = lake.ingest(
            dataset,
            list(objects),
            site=site,
            path_row=path_row,
            start=start,
            end=end,
            keys=keys,
            new_only=new_only,
            tables=None if tables is None else _listed(tables),
            materialize=_listed(materialize or ""),
            panel="" if no_panel else panel,
            strict=strict,
            region=region,
            samples=None if samples is None else _names(samples),
            dry_run=dry_run,
            progress=bar,
            executor=executor,
        )
    _print(done)
    quote = lake.quote(done) if dry_run and report != "none" else None
    if report == "json":
        facts = _facts(done) | ({"quote": quote.to_dict()} if quote else {})
        click.echo(json.dumps(facts), err=True)
    elif report == "text":
        told = _told(done) + (f"\n{quote}" if quote else "")
        click.echo(neutral_lines(told), err=True)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _genomic(regions: tuple[str, ...]) -> tuple[str, ...]:
    """The regions of a genome among those given; one of AWS is that of the buckets."""
    for name in filter(AWS_REGION.match, regions):
        set_option("region", name)
    return tuple(name for name in regions if not AWS_REGION.match(name))


def _names(samples: str) -> tuple[str, ...]:
    """The samples of `A,B`, or of the lines of `@FILE`."""
    if not samples.startswith("@"):
        return tuple(name for name in samples.split(",") if name)
    try:
        lines = Path(samples[1:]).expanduser().read_text("utf-8").splitlines()
    except OSError as error:
        what = f"cannot read the samples: {error.strerror}"
        raise NotFound(what, samples[1:], "check the path") from error
    return tuple(line.strip() for line in lines if line.strip())


def _print(done: IngestReport) -> None:
    rows = [
        (item.uri, table, None if done.dry_run else count, item.size_bytes, item.replaces)
        for item in done.objects
        for table, count in _counts(item)
    ]
    found = listing(
        rows, object="VARCHAR", table="VARCHAR", rows="BIGINT", bytes="BIGINT", replaces="BOOLEAN"
    )
    write(found, "table", sys.stdout.buffer, Style())


def _counts(item: ObjectReport) -> Iterable[tuple[str | None, int | None]]:
    """Tables and rows; one line without them for an object that was left out."""
    return item.rows.items() or [(None, None)]


def _told(done: IngestReport) -> str:
    from lakeq.cost import size

    rows = sum(done.rows.values())
    count = counted(len(done.objects), "object")
    written = f"{counted(rows, 'row')}, {counted(done.files, 'file')}"
    if done.dry_run:
        lines = [f"would read {count}, {size(done.bytes_read)}; nothing was changed"]
    else:
        lines = [
            f"read {count}, {size(done.bytes_read)} in {done.seconds:.1f} s",
            f"wrote {written}, {size(done.bytes_written)}",
        ]
    lines += [f"note: {note}" + (f" ({n})" if n > 1 else "") for note, n in done.notes.items()]
    lines += _settled(done)
    return "\n".join(lines)


def _settled(done: IngestReport) -> list[str]:
    """Which object took whose place, and which was left for another of the same thing."""
    took = [f"{o.uri} replaces {' and '.join(o.replaced)}" for o in done.objects if o.replaced]
    left = [
        f"{o.uri} is there already" if o.kept == o.uri else f"{o.uri} is left for {o.kept}"
        for o in done.objects
        if o.kept
    ]
    lines = [*took, *left]
    more = [f"and {len(lines) - MAX_TOLD} more"] if len(lines) > MAX_TOLD else []
    return lines[:MAX_TOLD] + more


def _facts(done: IngestReport) -> dict[str, object]:
    return {
        "dataset": done.dataset,
        "dry_run": done.dry_run,
        "objects": [
            {
                "object": o.uri,
                "bytes": o.size_bytes,
                "rows": dict(o.rows),
                "replaces": o.replaces,
                "replaced": list(o.replaced),
                "kept": o.kept,
            }
            for o in done.objects
        ],
        "rows": done.rows,
        "bytes_read": done.bytes_read,
        "bytes_written": done.bytes_written,
        "files": done.files,
        "seconds": round(done.seconds, 6),
        "notes": dict(done.notes),
        "snapshots": dict(done.snapshots),
    }


class Bar:
    """A progress bar on standard error that appears when the work takes longer than 2 s."""

    def __init__(self, *, visible: bool) -> None:
        self._visible = visible
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._overall: TaskID
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, uri: str, read: int, total: int) -> None:
        """Take note of how far the reading of `uri` is."""
        if not self._visible or time.monotonic() - self._started < PATIENCE_S:
            return
        progress = self._shown()
        if uri not in self._tasks:
            name = neutral_lines(uri.rsplit("/", 1)[-1])
            self._tasks[uri] = progress.add_task(name, total=total)
        progress.update(self._tasks[uri], completed=read, total=total)
        if read >= total:  # of thousands of objects only those at work are shown
            progress.remove_task(self._tasks.pop(uri))
            self._done += 1
            progress.update(self._overall, description=counted(self._done, "object"))

    def _shown(self) -> Progress:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            name = TextColumn("{task.description}", markup=False)
            columns = (name, BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._overall = self._progress.add_task("0 objects", total=None)
            self._progress.start()
        return self._progress
