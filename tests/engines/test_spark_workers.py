"""Spark clusters whose workers are processes, one of which is killed while a query runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.engines import _sail
from lakeq.errors import StorageUnavailable
from tests.support.agree import agree
from tests.support.jvm_spark import jvm_cluster, why_not
from tests.support.s3 import S3, signed
from tests.support.sail_cluster import SailCluster, sail_cluster

SHORT = "select contig, count(*), sum(ac) from thousand_genomes.variants group by 1 order by 1"
PAIRS = 300_000_000  # some seconds of one processor
Kill = Callable[[], None]


def long_query(lake: Lake) -> str:
    """A query over pairs of variants that goes through both workers twice: pairs, then groups."""
    ((count,),) = lake.sql("select count(*) from thousand_genomes.variants").rows()
    times = max(1, PAIRS // (count * count))
    return (
        "select a.pos % 5 as k, count(*) as n, sum((a.pos * b.pos + r.n) % 7) as s"
        f" from thousand_genomes.variants a, thousand_genomes.variants b, range({times}) as r (n)"
        " where a.pos % 7 <> (b.pos + r.n) % 11 group by 1 order by 1"
    )


def killed_in_the_middle(lake: Lake, kill: Kill) -> list[tuple[object, ...]]:
    """The rows of the long query, one of whose workers is killed before they are there."""
    result = lake.sql(long_query(lake), engine="spark", max_usd="none")
    times: list[float] = []

    def killed() -> None:
        kill()
        times.append(time.monotonic())

    killer = threading.Thread(target=killed)
    killer.start()
    try:
        return result.rows()
    finally:
        done = time.monotonic()
        killer.join()
        assert times[0] < done


def right_or_one_clear_error(lake: Lake, cluster: SailCluster) -> None:
    """Sail 0.7 streams rows between workers and does not begin again when one is gone."""

    def kill() -> None:
        cluster.at_work().process.kill()

    assert agree(lake, "spark", SHORT, ordered=True) == 1
    try:
        rows = killed_in_the_middle(lake, kill)
        assert rows == lake.sql(long_query(lake), max_usd="none").rows()
    except StorageUnavailable as error:
        assert error.what.startswith("Spark lost a worker")
        assert error.where == cluster.remote
        assert lake.history()[0].outcome == "failed"
    assert agree(lake, "spark", SHORT, ordered=True) == 1


def test_the_local_cluster_of_sail_is_one_process(tables: Lake) -> None:
    """So no worker of it can be killed by itself."""
    clustered = lakeq.connect(tables.settings.lake, spark_remote="local-cluster")
    assert agree(clustered, "spark", SHORT, ordered=True) == 1
    threads = Path(f"/proc/{_sail.server(clustered.settings).process.pid}/task").iterdir()
    assert {(thread / "children").read_text() for thread in threads} == {""}


def test_a_killed_worker_of_sail_is_one_clear_error_or_none(tables: Lake, tmp_path: Path) -> None:
    with sail_cluster(tmp_path, {}) as cluster:
        lake = lakeq.connect(tables.settings.lake, spark_remote=cluster.remote)
        right_or_one_clear_error(lake, cluster)


def test_a_killed_worker_over_s3_is_one_clear_error_or_none(
    s3: S3, tmp_path: Path, aws_credentials: None, made_cohort: MadeCohort
) -> None:
    lake = lakeq.connect(tmp_path / "lake", **signed(s3, warehouse=True))
    lake.ingest("thousand_genomes.variants", [made_cohort.vcf], panel=made_cohort.panel)
    reached = _sail.environment(lake.settings)
    with sail_cluster(tmp_path, reached) as cluster:
        clustered = lakeq.connect(tmp_path / "lake", **signed(s3), spark_remote=cluster.remote)
        right_or_one_clear_error(clustered, cluster)


@pytest.mark.soak
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_killed_worker_of_sparks_own_changes_no_row(tables: Lake, tmp_path: Path) -> None:
    with jvm_cluster(tmp_path) as (address, workers):
        lake = lakeq.connect(tables.settings.lake, spark_remote=address)
        assert agree(lake, "spark", SHORT, ordered=True) == 1
        until = time.monotonic() + 60
        while not all(worker.tasks() for worker in workers) and time.monotonic() < until:
            time.sleep(0.2)
        before = [worker.tasks() for worker in workers]
        assert all(before)  # both have work

        def kill() -> None:
            while workers[1].tasks() == before[1]:
                time.sleep(0.01)
            workers[1].kill()

        rows = killed_in_the_middle(lake, kill)
        assert rows == lake.sql(long_query(lake), max_usd="none").rows()
        assert "Lost executor" in (tmp_path / "spark.log").read_text()
        assert agree(lake, "spark", SHORT, ordered=True) == 1
