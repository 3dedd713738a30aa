"""Notifications into a lake that AWS Glue names: two machines on one queue, each object once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lakeq import formats
from lakeq.config import Settings
from tests.ingest.test_archive import archive, key
from tests.lake_formats import FOLDER
from tests.support.aws import Aws
from tests.support.glue import glue_settings, strict_moto
from tests.support.ingest import Chain, expected
from tests.support.s3 import moto_server


@dataclass
class Machine(Chain):
    """A machine of several that share the chain's queue and its lake."""

    root: str = ""

    @property
    def settings(self) -> Settings:
        """Those of the lake, whose local files lie in a folder of the machine's own."""
        prefix = self.root.split("/")[2].replace("-", "_") + "_"
        return glue_settings(self.aws.s3, self.root, prefix, self.folder / "lake")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """moto with the checks of Glue and S3 that it lacks."""
    with strict_moto(), moto_server() as server:
        yield Aws(server)


@pytest.fixture
def machines(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_credentials: None
) -> list[Machine]:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    made = Chain.made(aws, tmp_path)
    root = f"s3://{aws.s3.bucket()}/lake"
    rest = (made.bucket, made.topic, made.url, made.dead_url, made.dataset)
    return [Machine(aws, tmp_path / name, *rest, root=root) for name in ("a", "b")]


def test_two_machines_watch_one_queue_beside_a_backfill(machines: list[Machine]) -> None:
    """Three messages of each object, shuffled; an overwrite and a deletion come after."""
    first, second = machines
    count = 12
    for number in range(count):
        first.put(key(number))
    bodies = [body for body in first.aws.bodies(first.url) if "s3:TestEvent" not in body] * 3
    random.Random(7).shuffle(bodies)
    for body in bodies:
        first.queue().send(body)
    second_at_work = threading.Thread(target=second.work)
    second_at_work.start()
    report = archive(first).backfill()
    first.work()
    second_at_work.join()
    assert not report.failed
    rows = {key(n): (1, 3) for n in range(count)}
    assert first.rows() == second.rows() == expected(rows)
    first.put(key(0), 2)
    second.delete(key(1))
    second.work()
    del rows[key(1)]
    assert first.rows() == expected(rows | {key(0): (2, 3)})
    assert first.depth() == first.depth(first.dead_url) == 0
    assert archive(second).reconcile().findings == {}
