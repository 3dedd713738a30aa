"""A storm of S3 by the clock, as long as the scenario has it: 60 s at 30 %, 30 s at 100 % (S12)."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from lakeq.ingest.brake import Brake
from tests.support.ingest import Chain, expected, failing, throttle

PARTS = {"calm": (20, 0.0), "some": (60, 0.3), "all": (30, 1.0)}  # seconds, share that fails
COUNT = 600  # more than are done before the storm is over


def part_at(seconds: float) -> tuple[str, float]:
    """Where in the storm that is, and the share of calls that fail then."""
    for part, (long, share) in PARTS.items():
        if seconds < long:
            return part, share
        seconds -= long
    return "after", 0.0


@pytest.mark.soak
def test_s12_a_minute_at_thirty_percent_and_half_a_minute_at_all(chain: Chain) -> None:
    for number in range(COUNT):
        chain.put(f"a/{number}")
    storage, chance = chain.storage(), random.Random(12)
    began = time.monotonic()
    seen: Counter[str] = Counter()
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(request: Any) -> Any:
        part, share = part_at(time.monotonic() - began)
        with lock:
            seen[part] += 1
            tries[request.headers["amz-sdk-invocation-id"]] += 1
            return throttle(request) if chance.random() < share else None

    worker = chain.worker(chain.ingester(storage), jobs=4)
    worker.brake = Brake()  # as `lakeq ingest watch` has it
    client = storage._buckets.client("signed", "us-east-1")
    with failing(client, "", answer) as counts:
        worker.run()
    rates = {part: seen[part] / seconds for part, (seconds, _) in PARTS.items()}
    most = max(tries.values())
    print({part: f"{rate:.1f}/s" for part, rate in rates.items()}, counts, f"at most {most} tries")
    assert seen["after"] > 0  # the storm was over before the work was
    assert most <= 8
    assert rates["all"] <= rates["calm"] / 2
    assert rates["all"] <= rates["some"] / 2
    assert worker.tally.counts["committed"] == COUNT
    assert worker.tally.counts["dead letters"] == 0
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(COUNT)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0
