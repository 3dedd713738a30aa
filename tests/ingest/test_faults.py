"""What goes wrong on the way: throttling, torn reads, overwrites, full disks."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from lakeq.lake.io import WarehouseIO
from lakeq.lake.pointers import Pointers
from lakeq.storage import ATTEMPTS
from tests.lake_formats import file_limit, marks
from tests.support.ingest import Chain, expected, failing, statuses, throttle


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for what the SDK and the storage wait for."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    monkeypatch.setattr("botocore.retries.standard.RetryHandler._wait", None, raising=False)
    monkeypatch.setattr("lakeq.storage._FIRST_WAIT_S", 0.001)


def test_s12_a_storm_of_503_loses_nothing(chain: Chain) -> None:
    """30 % of the calls fail, then all of them, then none."""
    count = 20
    for number in range(count):
        chain.put(f"a/{number}")
    storage, chance = chain.storage(), random.Random(12)
    calls = itertools.count()

    def answer(request: Any) -> Any:
        number = next(calls)
        share = 0.3 if number < 40 else 1.0 if number < 120 else 0.0
        return throttle(request) if chance.random() < share else None

    client = storage._buckets.client("signed", "us-east-1")
    with failing(client, "", answer) as counts:
        told = chain.work(ingester=chain.ingester(storage), jobs=4)
    assert counts["failed"] > 80
    assert told["committed"] == count
    assert told["throttled"] > 0
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(count)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0


def test_s12_one_call_is_tried_at_most_eight_times(chain: Chain) -> None:
    event, storage = chain.put("a"), chain.storage()
    client = storage._buckets.client("signed", "us-east-1")
    with failing(client, "HeadObject", throttle) as counts:
        outcome = chain.ingester(storage)([event])[0]
    assert (outcome.status, outcome.throttled) == ("failed", True)
    assert counts["asked"] <= 8
    assert max(ATTEMPTS, counts["asked"]) <= 8


def test_s12_the_rate_of_requests_falls_in_a_storm(chain: Chain) -> None:
    """By a clock of the test's: requests in the second ten seconds against the first."""
    from lakeq.ingest.brake import Brake

    now = 0.0
    brake = Brake(0.5, 60, lambda: now, random.Random(5))
    at = []
    for _ in range(40):
        at.append(now)
        now += 0.05 + brake.throttled()
    before = 1 / 0.05  # requests a second of an unbraked thread
    in_storm = sum(10 <= time < 30 for time in at) / 20
    assert in_storm <= before * 0.5


@pytest.mark.parametrize("code", ["ThrottlingException", "TooManyRequestsException"])
def test_s13_sqs_throttles_every_third_call(chain: Chain, code: str) -> None:
    for number in range(10):
        chain.put(f"a/{number}")
    worker = chain.worker()
    client, calls = chain.aws.client("sqs"), itertools.count()

    def answer(request: Any) -> Any:
        return throttle(request, code, 400, "json") if next(calls) % 3 == 0 else None

    with failing(client, "", answer) as counts:
        worker.run()
    assert counts["failed"] > 5
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(10)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0


class _Torn:
    """A body that ends before it should, as a socket that is closed does."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, amount: int | None = None) -> bytes:
        size = len(self._data) if amount is None else amount
        part, self._data = self._data[:size], self._data[size:]
        return part

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("tears", [1, 3, 100])
def test_s14_a_body_cut_in_half_is_never_committed(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, tears: int
) -> None:
    """Ten million bytes, of which five come."""
    body = marks.body("a" * 2000, rows=5000)
    assert len(body) > 10_000_000
    event, storage, left = chain.put("a", data=body), chain.storage(), [tears]
    client = storage._buckets.client("signed", "us-east-1")
    get = client.get_object

    def torn(**given: Any) -> Any:
        answer = get(**given)
        if left[0]:
            left[0] -= 1
            data = answer["Body"].read()
            answer["Body"] = _Torn(data[: min(len(data), 5_000_000)])
        return answer

    monkeypatch.setattr(client, "get_object", torn)
    outcome = chain.ingester(storage)([event])[0]
    if tears < ATTEMPTS:
        assert outcome.status == "committed"
        assert len(chain.rows()) == 5000
    elif outcome.status == "failed":
        assert chain.rows() == []
        assert outcome.throttled
    assert len(chain.rows()) in (0, 5000)


def test_s14_bytes_that_differ_from_the_checksum_are_read_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = marks.body("a")
    chain.aws.s3.client.put_object(
        Bucket=chain.bucket, Key="a", Body=body, ChecksumAlgorithm="CRC32"
    )
    storage = chain.storage()
    uri = f"s3://{chain.bucket}/a"
    assert storage.version(uri).crc32
    client = storage._buckets.client("signed", "us-east-1")
    get = client.get_object

    def flipped(**given: Any) -> Any:
        answer = get(**given)
        answer["Body"] = _Torn(answer["Body"].read().replace(b"1", b"7"))
        return answer

    monkeypatch.setattr(client, "get_object", flipped)
    event = replace(chain.put("b"), key="a", etag="")
    outcome = chain.ingester(storage)([event])[0]
    assert (outcome.status, outcome.throttled) == ("failed", True)
    assert "CRC-32" in outcome.reason
    assert chain.rows() == []
    monkeypatch.setattr(client, "get_object", get)
    assert statuses(chain.ingester(storage)([event])) == ["committed"]


def test_s15_an_object_overwritten_while_it_is_read(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks in the middle; by the time of the second range it is another object."""
    old = marks.body("a", 1, rows=9000)
    event, storage, calls = chain.put("a", data=old), chain.storage(), itertools.count()
    client = storage._buckets.client("signed", "us-east-1")
    get = client.get_object

    def overwritten(**given: Any) -> Any:
        number = next(calls)
        if number == 1:
            assert given["Range"]
            chain.put("a", 2, rows=9000)
        answer = get(**given)
        if number == 0:
            answer["Body"] = _Torn(answer["Body"].read()[:50_000])
        return answer

    monkeypatch.setattr(client, "get_object", overwritten)
    assert statuses(chain.ingester(storage)([event])) == ["committed"]
    assert chain.rows() == expected({"a": (2, 9000)})
    assert chain.leftovers() == set()


def test_s30_a_full_disk_keeps_the_message(chain: Chain) -> None:
    """Every file beyond 2 kB is refused, as on a full disk."""
    event = chain.put("a", rows=3)
    ingester = chain.ingester()
    assert statuses(ingester([event])) == ["committed"]
    other = chain.put("b", data=b"".join(f"{random.Random(n).random()} 1 {n}\n".encode()
                                         for n in range(5000)))  # fmt: skip
    with file_limit(30_000):
        outcome = ingester([other])[0]
    assert (outcome.status, outcome.throttled) == ("failed", True)
    assert "disk is full" in outcome.reason
    assert chain.rows() == expected({"a": (1, 3)})
    assert chain.leftovers() == set()
    assert statuses(ingester([other])) == ["committed"]


@pytest.mark.parametrize("where", ["write", "switch"])
def test_s30_a_commit_that_may_not_write_keeps_the_message(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from lakeq.errors import AccessDenied

    chain.put("a")

    def denied(*_: object) -> None:
        raise AccessDenied(
            "S3 forbids the signed write", "s3://warehouse/x", "ask for s3:PutObject"
        )

    owner = WarehouseIO if where == "write" else Pointers
    with monkeypatch.context() as patched:
        patched.setattr(owner, where, denied)
        outcome = chain.ingester()([replace(chain.put("b"))])[0]
    assert outcome.status == "failed"
    assert "forbids the signed write" in outcome.reason
    assert chain.rows() == []
    assert chain.work()["committed"] == 2
    assert chain.rows() == expected({"a": (1, 3), "b": (1, 3)})
    assert chain.leftovers() == set()
