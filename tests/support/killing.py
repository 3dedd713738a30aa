"""Workers that are forked, and killed at a named step or at random.

Reads one order of JSON a line: {"folder", "endpoint", "bucket", "topic", "url", "dead", "point",
"calls", "chance", "seed", "prefix"}. A worker with `prefix` is a backfill of that prefix.
Answers with the process id, and on a further line with how it ended. Before a process kills
itself it writes the step to the file `DEATHS` in the folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tests.support.data import ROOT

POINTS = {
    "after receive": "lakeq.ingest.worker:Worker._handle",
    "after get": "lakeq.ingest.source:_Stream._compare",
    "mid-convert": "lakeq.convert.sink:Sink.write",
    "after private put": "lakeq.convert.things:Converted.count",  # the files are closed then
    "between convert and commit": "lakeq.ingest.core:Ingester._commit_together",
    "after commit before delete": "lakeq.ingest.worker:Worker._answer",
    "mid-delete": "lakeq.ingest.queue:Queue.delete",
}
STEPS = (
    *POINTS.values(),
    "lakeq.ingest.queue:_message",  # received, and not yet known to the worker
    "lakeq.ingest.core:Ingester._look",
    "lakeq.ingest.core:Ingester._open",
    "lakeq.lake.parquet:FileWriter.close",
    "lakeq.lake.commit:stage",
    "lakeq.lake.io:WarehouseIO.write",
    "lakeq.lake.pointers:Pointers.switch",
    "lakeq.lake.side:SideFiles.write",
    "lakeq.convert.batch:Batch._settle",
)


DEATHS = "deaths"


def deaths(folder: Path) -> Counter[str]:
    """How many processes killed themselves at each step."""
    path = folder / DEATHS
    return Counter(path.read_text().split("\n")[:-1] if path.exists() else ())


def arm(point: str, deadly: Callable[[], bool], folder: str) -> None:
    """Make the process kill itself as it enters `point` when `deadly` says so."""
    module, _, name = point.partition(":")
    owner: Any = import_module(module)
    *outer, name = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real = owner.__dict__[name]

    def wrapped(*given: object, **named: object) -> object:
        if deadly():
            note = os.open(f"{folder}/{DEATHS}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(note, f"{point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    setattr(owner, name, wrapped)


def counting(calls: int) -> Callable[[], bool]:
    """True at the given call."""
    left = [calls]

    def deadly() -> bool:
        left[0] -= 1
        return left[0] == 0

    return deadly


def main() -> None:
    """Fork a worker for each order."""
    import pyiceberg.io.pyarrow  # noqa: F401  # loaded before the kill

    import lakeq.formats
    import lakeq.ingest.archive
    import lakeq.lake.commit
    import lakeq.lake.read
    import lakeq.lake.rewrite
    from tests.lake_formats import FOLDER
    from tests.support import ingest as support  # noqa: F401  # to have it loaded

    lakeq.formats.__path__.append(FOLDER)
    _keep_models()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _work(order)
            os._exit(0)
        print(child, flush=True)
        sys.stdin.readline()  # until then the process keeps its id, done or not
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _keep_models() -> None:
    """Read botocore's descriptions of the services once, before the forks: half of a start."""
    import boto3
    from botocore.loaders import JSONFileLoader

    load = lru_cache(JSONFileLoader().load_file)  # each session has a loader of its own
    JSONFileLoader.load_file = staticmethod(load)
    for service in ("s3", "sqs"):
        boto3.client(service, region_name="us-east-1")


def _work(order: dict[str, Any]) -> None:
    from tests.lake_formats import marks
    from tests.support.aws import Aws
    from tests.support.ingest import Chain
    from tests.support.s3 import S3

    if order["point"]:
        arm(order["point"], counting(order["calls"]), order["folder"])
    if order["chance"]:
        dice = random.Random(order["seed"])
        for step in STEPS:
            arm(step, lambda: dice.random() < order["chance"], order["folder"])
    os.environ.update(order["env"])
    dataset = marks.dataset(order["bucket"], (order["topic"],))
    aws = Aws(S3(order["endpoint"], None))
    chain = Chain(
        aws,
        Path(order["folder"]),
        order["bucket"],
        order["topic"],
        order["url"],
        order["dead"],
        dataset,
    )
    if order["prefix"]:
        from lakeq.convert.select import Selection
        from lakeq.ingest.allow import AllowList
        from lakeq.ingest.archive import Archive
        from lakeq.keys import Wanted

        selection = Selection(Wanted.of({"site": [order["prefix"]]}))
        Archive(chain.ingester(), selection, AllowList((dataset,)), jobs=2).backfill()
        return
    chain.worker(visibility_s=order["visibility"], interval_s=order["visibility"] / 3,
                 jobs=order["jobs"], max_receives=1000).run()  # fmt: skip


@dataclass
class Nursery:
    """The process that forks."""

    orders: IO[str]
    answers: IO[str]

    def start(self, chain: Any, **more: Any) -> int:
        """Fork a worker on a chain; returns its process id."""
        from tests.support.s3 import CREDENTIALS

        order = {
            "folder": str(chain.folder),
            "endpoint": chain.aws.s3.endpoint_url,
            "bucket": chain.bucket,
            "topic": chain.topic,
            "url": chain.url,
            "dead": chain.dead_url,
            "env": CREDENTIALS,
            "point": "",
            "calls": 0,
            "chance": 0,
            "seed": 0,
            "prefix": "",
            "visibility": 2,
            "jobs": 2,
            **more,
        }
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        return int(self.answers.readline())

    def ended(self) -> bool:
        """Wait for it; whether it came to its end, and was not killed."""
        self.orders.write("\n")
        self.orders.flush()
        status = int(self.answers.readline())
        assert status in (0, -signal.SIGKILL), status
        return status == 0


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start it; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.killing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Nursery(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait(timeout=120)


if __name__ == "__main__":
    main()
