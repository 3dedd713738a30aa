"""Objects read by workers into a lake that Glue names: the rows of an ingest here, no file more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.errors import WorkerLost
from lakeq.ingest import aws_part
from tests.support.dask_cluster import cluster
from tests.support.glue import data_keys, named_data, variables
from tests.support.lambda_server import Function, crash, lambda_server
from tests.support.s3 import S3
from tests.support.workers import FEW, deaths, dying, named_after, same_rows

pytestmark = pytest.mark.usefixtures("aws_credentials", "_compiled")


@pytest.fixture
def lake(s3: S3, root: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake; workers find S3 and Glue by their environment."""
    for key, value in variables(s3, prefix).items():
        monkeypatch.setenv(key, value)
    return lakeq.connect(root)


@pytest.fixture
def here(s3: S3, tmp_path: Path) -> Lake:
    reached = {"s3_endpoint_url": s3.endpoint_url, "s3_region": "us-east-1"}
    return lakeq.connect(tmp_path / "here", catalog="", **reached)


@pytest.fixture
def uris(s3: S3, made_volumes: list[Path]) -> list[str]:
    bucket = s3.bucket()
    return [s3.put(bucket, f"raw/{path.name}", path) for path in made_volumes]


@pytest.fixture
def function(s3: S3, root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    with lambda_server(Function(aws_part.handler)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        yield server


def test_a_killed_process_of_ours_loses_nothing(
    lake: Lake,
    here: Lake,
    s3: S3,
    root: str,
    uris: list[str],
    made_volumes: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        for name, value in dying(tmp_path, named_after(made_volumes[1]), 1).items():
            patched.setenv(name, value)
        lake.ingest("nexrad", uris, tables=FEW, executor="processes:2")
    assert deaths(tmp_path) == 1
    as_here(lake, here, s3, root, uris)


@pytest.mark.soak
def test_a_killed_worker_of_dask_loses_nothing(
    lake: Lake,
    here: Lake,
    s3: S3,
    root: str,
    uris: list[str],
    made_volumes: list[Path],
    tmp_path: Path,
) -> None:
    environ = dying(tmp_path, named_after(made_volumes[1]), 1)
    with cluster(tmp_path, **environ) as executor:
        lake.ingest("nexrad", uris, tables=FEW, executor=executor)
    assert deaths(tmp_path) == 1
    as_here(lake, here, s3, root, uris)


@pytest.mark.soak
def test_calls_of_lambda_one_of_which_fails_lose_nothing(
    lake: Lake,
    here: Lake,
    s3: S3,
    root: str,
    uris: list[str],
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The function knows the warehouse alone; Glue is the committer's."""
    real = aws_part.handler

    def handler(event: Any, context: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.delenv("LAKEQ_CATALOG")
            patched.setenv("LAKEQ_WAREHOUSE", root)
            return real(event, context)

    function.handler = handler
    function.fail = {2: crash("Sandbox.Timedout", "Task timed out")}.get
    lake.ingest("nexrad", uris, tables=FEW, executor="lambda:lakeq-parts:1")
    assert function.calls == len(uris) + 1
    as_here(lake, here, s3, root, uris)


def test_an_object_that_workers_die_of_leaves_the_lake_as_it_was(
    lake: Lake,
    s3: S3,
    root: str,
    uris: list[str],
    function: Function,
) -> None:
    lake.ingest("nexrad", uris[:1], tables=FEW)
    before = lake._iceberg.metadata_files()
    function.fail = lambda _: crash("Runtime.OutOfMemory", "signal: killed")
    with pytest.raises(WorkerLost, match="in 3 attempts"):
        lake.ingest("nexrad", uris[1:2], tables=FEW, executor="lambda:lakeq-parts")
    assert lake._iceberg.metadata_files() == before
    assert data_keys(s3, root) == named_data(lake._iceberg)


def as_here(lake: Lake, here: Lake, s3: S3, root: str, uris: list[str]) -> None:
    """The rows are those of an ingest here, and no file is left over."""
    here.ingest("nexrad", uris, tables=FEW)
    assert same_rows(here, lake)["nexrad.volumes"] == len(uris)
    assert data_keys(s3, root) == named_data(lake._iceberg)
