"""Radar volumes by notification, the whole way: messages, function, tables (S28)."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.catalog import load
from lakeq.errors import UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.aws_lambda import Function, from_environment
from lakeq.ingest.core import Ingester, Options
from lakeq.storage import Storage
from tests.ingest.test_aws_lambda import Context
from tests.support import radar
from tests.support.aws import Aws
from tests.support.data import ROOT, real_file, real_files
from tests.support.notes import envelope, lambda_sqs, s3_event
from tests.support.required import missing
from tests.support.runtime_api import RuntimeApi, runtime_api

DOCKERFILE = ROOT / "docs" / "how-to" / "container" / "Dockerfile"
NEXRAD = load().dataset("nexrad")
ARCHIVE, CHUNKS = NEXRAD.notifications
ARCHIVE_BUCKET, CHUNK_BUCKET = "unidata-nexrad-level2", "unidata-nexrad-level2-chunks"
VOLUME = (
    "SELECT complete, sweeps_declared, sweeps_present, sweeps_missing, rays FROM nexrad.volumes"
)


@dataclass
class Live:
    """A lake, the function that fills it, and the two buckets on moto."""

    aws: Aws
    lake: Lake
    function: Function

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")

    def call(self, *bodies: str) -> list[str]:
        """Call the function, ten messages at a time; the ids that come again."""
        again = []
        for start in range(0, len(bodies), 10):
            answer = self.function(lambda_sqs(*bodies[start : start + 10]), Context())
            again += [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        return again

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.lake.sql(sql).rows()


@pytest.fixture
def live(aws: Aws, tmp_path: Path) -> Iterator[Live]:
    for bucket in (ARCHIVE_BUCKET, CHUNK_BUCKET):
        aws.client("s3").create_bucket(Bucket=bucket)
    lake = lakeq.connect(tmp_path / "lake", s3_endpoint_url=aws.s3.endpoint_url)
    options = Options(tables=("volumes", "sweeps"))
    core = Ingester(lake._iceberg, Storage(lake.settings), NEXRAD, options)
    yield Live(aws, lake, Function(AllowList([NEXRAD]), core))
    for bucket in (ARCHIVE_BUCKET, CHUNK_BUCKET):
        for key in aws.s3.keys(bucket):
            aws.client("s3").delete_object(Bucket=bucket, Key=key)
        aws.client("s3").delete_bucket(Bucket=bucket)


def chunks(volume: str, first: str) -> list[Path]:
    """The chunks of a real volume in the order of their numbers."""
    real_file(f"nexrad/chunks/{volume}/{first}-001-S")
    return real_files(f"nexrad/chunks/{volume}/*")


def tdwr() -> list[Path]:
    """16 cuts of 3 chunks each, after the chunk with the header."""
    return chunks("TORD/185", "20260811-225858")


def announced(live: Live, site: str, number: str, paths: Sequence[Path]) -> list[str]:
    """Put chunks into their bucket; the messages that tell of them, a third of them twice."""
    messages = []
    for path in paths:
        key = f"{site}/{number}/{path.name}"
        live.put(CHUNK_BUCKET, key, path.read_bytes())
        told = {  # as the recorded message of the topic has it
            "S3Bucket": CHUNK_BUCKET,
            "Key": key,
            "SiteID": site,
            "VolumeID": int(number),
            "ChunkID": int(path.name[16:19]),
            "ChunkType": path.name[-1],
            "L2Version": "V06",
        }
        messages.append(json.dumps(envelope(told, TopicArn=CHUNKS)))
    messages += messages[::3]
    random.Random(28).shuffle(messages)
    return messages


def archived(live: Live, key: str, body: bytes) -> str:
    """Put an archive's volume into its bucket; the message that tells of it."""
    live.put(ARCHIVE_BUCKET, key, body)
    told = s3_event(key.replace("/", "%2F"), ARCHIVE_BUCKET)
    told["Records"][0]["s3"]["object"] |= {"size": len(body), "eTag": ""}
    return json.dumps(envelope(told, TopicArn=ARCHIVE))


def test_s28_shuffled_doubled_chunks_with_gaps_and_then_the_archives_volume(
    live: Live, tmp_path: Path
) -> None:
    """One I of the second cut and the E come late."""
    found = tdwr()
    messages = announced(live, "TORD", "185", [*found[:4], *found[5:-1]])
    assert live.call(*messages) == []
    ((complete, declared, present, lacking, rays),) = live.ask(VOLUME)
    assert (complete, declared, present, lacking) == (False, 16, 16, [2, 16])

    assert live.call(*announced(live, "TORD", "185", [found[4], found[-1]])) == []
    body = b"".join(path.read_bytes() for path in found)
    (tmp_path / "TORD20260811_225858_V06").write_bytes(body)
    judge = radar.pyart_file(tmp_path / "TORD20260811_225858_V06")
    whole: tuple[Any, ...] = (True, 16, 16, [], sum(map(judge.get_nrays, range(judge.nscans))))
    assert live.ask(VOLUME) == [whole]
    assert rays < whole[-1]

    key = "2026/08/11/TORD/TORD20260811_225858_V06"
    volume = archived(live, key, body)
    assert live.call(volume, volume) == []
    assert live.ask("SELECT DISTINCT _source FROM nexrad.sweeps") == [
        (f"s3://{ARCHIVE_BUCKET}/{key}",)
    ]
    assert live.ask(VOLUME) == [whole]

    before = live.lake.snapshots("nexrad.volumes")
    assert live.call(*messages[:10]) == []  # late ones change nothing
    assert live.lake.snapshots("nexrad.volumes") == before
    assert live.function.counts.keys() <= {"committed", "duplicate", "stale"}


def test_s28_sweeps_that_did_not_come_are_listed(live: Live) -> None:
    """Without its first chunk a volume is there, and says what else is missing once it has come."""
    found = tdwr()
    assert live.call(*announced(live, "TORD", "185", [*found[1:4], *found[7:10]])) == []
    ((complete, _, present, _, _),) = live.ask(VOLUME)
    assert (complete, present) == (False, 2)
    assert live.call(*announced(live, "TORD", "185", found[:1])) == []
    ((complete, declared, present, lacking, _),) = live.ask(VOLUME)
    assert (complete, declared, present, lacking) == (False, 16, 2, [2, *range(4, 17)])


def test_s28_numbers_of_volumes_wrap_and_come_again(live: Live) -> None:
    """999 is followed by 0, and 999 names another volume on another day."""
    messages = [
        *announced(live, "KLOT", "999", chunks("KLOT/34", "20201019-054806")[:5]),
        *announced(live, "KLOT", "0", chunks("KLOT/940", "20210625-075154")[:5]),
        *announced(live, "KLOT", "999", chunks("KLOT/901", "20260328-201457")[:5]),
    ]
    random.Random(999).shuffle(messages)
    assert live.call(*messages) == []
    times = live.ask("SELECT volume_time, complete FROM nexrad.volumes ORDER BY volume_time")
    expected = ["2020-10-19T05:48:06", "2021-06-25T07:51:54", "2026-03-28T20:14:57"]
    assert [time.isoformat()[:19] for time, _ in times] == expected
    assert {complete for _, complete in times} == {False}


def test_a_chunk_that_its_bucket_forgot_is_gone_and_no_dead_letter(live: Live) -> None:
    found = tdwr()
    messages = announced(live, "TORD", "185", found[:3])
    live.aws.client("s3").delete_object(Bucket=CHUNK_BUCKET, Key=f"TORD/185/{found[1].name}")
    assert live.call(*messages) == []
    assert live.function.counts["gone"] >= 1


@dataclass
class Image:
    """A process of Lambda's own client with the handler, what it is called by, its dead letters."""

    api: RuntimeApi
    dead: str
    process: subprocess.Popen[bytes]

    def peak_bytes(self) -> int:
        """The most memory that the process had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10


@contextmanager
def image(live: Live, folder: Path, memory_mb: int = 3008, **more: str) -> Iterator[Image]:
    """The command of docs/how-to/container/Dockerfile, and the variables of the template.

    `LAKEQ_TEST_IMAGE` names the Python of an environment that the recipe's steps have made; lakeq
    is then taken from there.
    """
    python = os.environ.get("LAKEQ_TEST_IMAGE", "")
    if not python and importlib.util.find_spec("awslambdaric") is None:
        missing("awslambdaric is not installed")
    dead = live.aws.queue()
    (command,) = [line for line in DOCKERFILE.read_text().splitlines() if line.startswith("CMD")]
    variables = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LAKEQ_"))},
        "HOME": str(folder),
        "PYTHONPATH": "" if python else str(ROOT),
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_ENDPOINT_URL_SQS": live.aws.s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "LAKEQ_S3_ENDPOINT_URL": live.aws.s3.endpoint_url,
        "LAKEQ_LAKE": str(folder / "lake"),
        "LAKEQ_INGEST_DATASET": "nexrad",
        "LAKEQ_INGEST_DEAD_LETTERS": dead,
        **more,
    }
    with runtime_api() as api:
        variables["AWS_LAMBDA_RUNTIME_API"] = api.address
        process = subprocess.Popen(
            [python or sys.executable, *json.loads(command.removeprefix("CMD "))],
            env=variables,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield Image(api, dead, process)
        finally:
            process.kill()
            process.wait()


def test_lambdas_own_client_runs_the_handler_of_the_image(live: Live, tmp_path: Path) -> None:
    found = tdwr()
    good = announced(live, "TORD", "185", found[:2])
    other = [told.replace("TORD", "KTLX") for told in good]
    chosen = {"LAKEQ_INGEST_TABLES": "volumes,sweeps", "LAKEQ_INGEST_ONLY": "site=TORD,KLOT"}
    with image(live, tmp_path, **chosen) as run:
        told = run.api.invoke(lambda_sqs(*good, "nonsense", *other))
        again = run.api.invoke(lambda_sqs(*good))
        broken = run.api.invoke({"Records": [{"eventSource": "aws:sqs"}]})
    assert (told, again) == (("response", {"batchItemFailures": []}),) * 2
    assert (broken[0], broken[1]["errorType"]) == ("error", "UsageError")
    assert [row[0] for row in live.ask("SELECT site FROM nexrad.volumes")] == ["TORD"]
    assert live.aws.bodies(run.dead) == ["nonsense"]


def test_s10_lambdas_own_client_partial_failures_time_and_memory(
    live: Live, tmp_path: Path
) -> None:
    """Of SQS what failed comes again, of SNS the whole call; without time nothing is begun."""
    header, *rest = tdwr()
    key = "2026/08/11/TORD/TORD20260811_22{}58_V08"
    volume = b"".join(path.read_bytes() for path in (header, *rest))
    good, cut = (key.format(minute) for minute in ("58", "59"))
    events = [
        archived(live, good, volume),
        archived(live, cut, b"no volume at all"),
        archived(live, key.format("57"), volume),
    ]
    large = json.loads(events[2])
    record = json.loads(large["Message"])
    record["Records"][0]["s3"]["object"]["size"] = 3008 << 17 | 1  # an eighth of the memory, and 1
    large["Message"] = json.dumps(record)
    direct = {"Records": [{"EventSource": "aws:sns", "Sns": json.loads(events[0])}]}
    failing = {"Records": [{"EventSource": "aws:sns", "Sns": json.loads(events[1])}]}
    with image(live, tmp_path, LAKEQ_INGEST_TABLES="volumes,sweeps") as run:
        late = run.api.invoke(lambda_sqs(*events), left_s=14)
        told = run.api.invoke(lambda_sqs(*events[:2], json.dumps(large)))
        sns, broken = run.api.invoke(direct), run.api.invoke(failing)
        peak = run.peak_bytes()
    assert (late[0], late[1]["errorType"]) == ("error", "AllFailed")
    assert "no time was left" in late[1]["errorMessage"]
    assert told == ("response", {"batchItemFailures": [{"itemIdentifier": "id-2"}]})
    assert sns == ("response", {"batchItemFailures": []})
    assert (broken[0], broken[1]["errorType"]) == ("error", "AllFailed")
    assert live.aws.bodies(run.dead) == [json.dumps(large)]
    assert live.ask("SELECT site, sweeps_present FROM nexrad.volumes") == [("TORD", 16)]
    assert peak < 1024 << 20


def test_the_function_needs_to_know_its_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="LAKEQ_INGEST_DATASET"):
        from_environment({"HOME": str(tmp_path)})
