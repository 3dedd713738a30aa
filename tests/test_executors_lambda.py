"""AWS Lambda: boto3 calls a server that really runs the handler, on moto's S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.convert.executors import aws_lambda
from lakeq.convert.unit import decode
from lakeq.errors import AccessDenied, BadSource, NotFound, UsageError, WorkerLost
from lakeq.ingest import aws_part
from tests.support.lambda_server import Function, crash, lambda_server, throttled
from tests.support.s3 import S3
from tests.support.workers import FEW, same_rows

pytestmark = pytest.mark.usefixtures("aws_credentials", "_compiled")


@pytest.fixture
def function(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    with lambda_server(Function(aws_part.handler)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
        monkeypatch.setenv("LAKEQ_S3_ENDPOINT_URL", s3.endpoint_url)
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    name = s3.bucket()
    monkeypatch.setenv("LAKEQ_WAREHOUSE", f"s3://{name}/lake")
    return name


@pytest.fixture
def uris(s3: S3, bucket: str, made_volumes: list[Path]) -> list[str]:
    return [s3.put(bucket, f"raw/{path.name}", path) for path in made_volumes]


@pytest.fixture
def remote(tmp_path: Path, bucket: str, function: Function) -> Lake:
    return lakeq.connect(tmp_path / "remote")


def named_keys(lake: Lake, bucket: str) -> set[str]:
    iceberg = lake._iceberg
    files = [f.path for name in iceberg.tables() for f in iceberg.snapshot(name).files]
    return {path.removeprefix(f"s3://{bucket}/") for path in files}


def test_calls_of_a_function_give_the_rows_of_an_ingest_here(
    remote: Lake, s3: S3, bucket: str, uris: list[str], function: Function, tmp_path: Path
) -> None:
    remote.ingest("nexrad", uris, tables=FEW, executor="lambda:lakeq-parts:2")
    here = lakeq.connect(tmp_path / "here", warehouse=f"s3://{bucket}/here")
    here.ingest("nexrad", uris, tables=FEW)
    assert same_rows(here, remote)["nexrad.volumes"] == 3
    assert (function.calls, function.most_at_once) == (3, 2)
    data = {key for key in s3.keys(bucket) if key.startswith("lake/") and "/data/" in key}
    assert data == named_keys(remote, bucket)


def test_what_is_too_large_for_a_call_goes_by_the_lake_and_is_gone_after(
    remote: Lake,
    s3: S3,
    bucket: str,
    uris: list[str],
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws_lambda, "MAX_PAYLOAD_BYTES", 1000)
    monkeypatch.setattr(aws_part, "MAX_ANSWER_BYTES", 1000)
    remote.ingest("nexrad", uris[:1], tables=FEW, executor="lambda:lakeq-parts")
    assert function.sizes
    assert max(size for sizes in function.sizes for size in sizes) < 1000
    assert not [key for key in s3.keys(bucket) if key.endswith(".json") and "/data/" in key]
    assert remote.sql("select count(*) from nexrad.volumes").rows() == [(1,)]


def test_a_call_that_fails_or_is_throttled_is_made_again(
    remote: Lake, s3: S3, bucket: str, uris: list[str], function: Function
) -> None:
    answers = {
        1: throttled(),
        2: crash("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error"),
        3: crash("Sandbox.Timedout", "Task timed out after 900.00 seconds"),
    }
    function.fail = answers.get
    remote.ingest("nexrad", uris[:1], tables=FEW, executor="lambda:lakeq-parts")
    assert function.calls == 4
    assert remote.sql("select count(*) from nexrad.volumes").rows() == [(1,)]


def test_a_call_that_ran_but_whose_answer_was_lost_leaves_no_file(
    remote: Lake, s3: S3, bucket: str, uris: list[str], function: Function
) -> None:
    def lossy(event: Any, context: Any) -> Any:
        answer = aws_part.handler(event, context)
        if function.calls == 1:
            raise TimeoutError("the answer was lost")
        return answer

    function.handler = lossy
    remote.ingest("nexrad", uris[:1], tables=FEW, executor="lambda:lakeq-parts")
    assert function.calls == 2
    data = {key for key in s3.keys(bucket) if key.startswith("lake/") and "/data/" in key}
    assert data == named_keys(remote, bucket)
    assert remote.sql("select count(*) from nexrad.volumes").rows() == [(1,)]


def test_a_function_that_fails_each_time_is_an_error_with_its_words(
    remote: Lake, s3: S3, bucket: str, uris: list[str], function: Function
) -> None:
    function.fail = lambda _: crash("Runtime.OutOfMemory", "signal: killed")
    with pytest.raises(WorkerLost, match="in 3 attempts .*OutOfMemory") as caught:
        remote.ingest("nexrad", uris[:1], tables=FEW, executor="lambda:lakeq-parts")
    assert caught.value.where == uris[0]
    assert remote._iceberg.tables() == []
    assert not [key for key in s3.keys(bucket) if key.startswith("lake/")]


def test_errors_of_the_object_and_of_the_account_are_clear(
    remote: Lake, s3: S3, bucket: str, uris: list[str], function: Function
) -> None:
    bad = s3.put(bucket, "raw/KTLX20200101_000000_V06", b"not a volume")
    with pytest.raises(BadSource) as caught:
        remote.ingest("nexrad", [bad], executor="lambda:lakeq-parts")
    assert caught.value.where.startswith(bad)
    with pytest.raises(NotFound, match="no function 'missing'"):
        remote.ingest("nexrad", uris, executor="lambda:missing")
    denied = (403, {"x-amzn-ErrorType": "AccessDeniedException"}, b'{"Message": "no"}')
    function.fail = lambda _: denied
    with pytest.raises(AccessDenied, match="may not call the function"):
        remote.ingest("nexrad", uris, executor="lambda:lakeq-parts")


def test_a_lake_or_an_object_on_a_disk_is_refused(
    lake: Lake,
    remote: Lake,
    made_volumes: list[Path],
    function: Function,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="objects on S3") as caught:
        remote.ingest("nexrad", made_volumes, executor="lambda:lakeq-parts")
    assert caught.value.where == made_volumes[0].as_uri()
    monkeypatch.delenv("LAKEQ_WAREHOUSE")
    local = lakeq.connect(tmp_path / "local")
    with pytest.raises(UsageError, match="a lake on S3 only"):
        local.ingest("nexrad", made_volumes, executor="lambda:lakeq-parts")
    assert function.calls == 0


def test_the_function_writes_below_its_warehouse_only_and_reads_no_disk(
    remote: Lake, uris: list[str], function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, str]] = []
    function.handler = lambda event, context: events.append(dict(event)) or 1 / 0
    with pytest.raises(WorkerLost):
        remote.ingest("nexrad", uris[:1], tables=FEW, executor="lambda:lakeq-parts")
    unit = json.loads(events[0]["unit"])
    warehouse = decode(events[0]["unit"]).targets["grid"].location.removesuffix("/nexrad/grid")

    def refused(changed: dict[str, Any], word: str) -> None:
        answer = aws_part.handler({"unit": json.dumps(unit | changed)}, function)["answer"]
        assert word in json.loads(answer)["error"]["what"]

    for location, word in (
        (f"{warehouse}2/x", "writes below"),
        (f"{warehouse}/../x", "not a unit"),
    ):
        refused({"targets": {"grid": {**unit["targets"]["grid"], "location": location}}}, word)
    refused({"source": {**unit["source"], "uri": "file:///etc/passwd"}}, "on S3 only")
    refused({"source": {**unit["source"], "size_bytes": 1 << 40}}, "this function takes")
    refused({"lakeq": "0.0.1"}, "this worker has")
    refused({"folder": "../../elsewhere"}, "not a unit")
    outside = aws_part.handler({"unit_at": "s3://other/unit.json"}, function)
    assert "outside" in json.loads(outside["answer"])["error"]["what"]
    monkeypatch.delenv("LAKEQ_WAREHOUSE")
    refused({}, "LAKEQ_WAREHOUSE")
