"""A day's events in a row: memory, open files, requests and lag stay what they were (S32)."""

from __future__ import annotations

import gc
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import pytest

from lakeq import formats
from lakeq.ingest.upkeep import Upkeep
from tests.lake_formats import FOLDER
from tests.support.aws import Aws
from tests.support.ingest import Chain, expected

GROWTH_BYTES = 20 << 20
EACH = 100  # events of an object


def memory_bytes() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("events", [1500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_s32_neither_memory_nor_open_files_grow(
    events: int, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_credentials: None
) -> None:
    """One in a hundred is of a new object; those of one lie among those of its neighbours.

    Of the lag the part that depends on the lake is looked at, CPU seconds for each ten messages:
    the last third takes at most half as much again as the second, in the 95th of a hundred.
    """
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    chain = Chain.made(aws, tmp_path)
    known = [chain.put(f"a/{number}") for number in range(events // EACH)]
    chance = random.Random(32)
    order = sorted((n + chance.uniform(0, 3), n) for n in range(len(known)) for _ in range(EACH))
    ingest = chain.ingester()
    upkeep = Upkeep(lambda: ingest.lake.expire("marks.rows", datetime.now(UTC)), every=50)
    ingest.on_commit = upkeep.committed
    seen: list[tuple[int, int]] = []
    took: list[list[float]] = [[], [], []]
    for start in range(0, events, 10):
        part = min(2, 3 * start // events)
        if part and len(seen) < 1:
            seen.append((memory_bytes(), open_files()))
        began = time.thread_time()
        outcomes = ingest([known[number] for _, number in order[start : start + 10]])
        took[part].append(time.thread_time() - began)
        assert all(outcome.settled for outcome in outcomes)
    upkeep.close(60)
    seen.append((memory_bytes(), open_files()))
    (memory, files), (memory_after, files_after) = seen
    p95 = [quantiles(times, n=20)[18] for times in took]
    told = f"{memory / 1e6:.1f} MB after a third, {memory_after / 1e6:.1f} MB at the end"
    cpu_ms = [round(seconds * 1e3) for seconds in p95]
    print(f"{events} events: {told}, {files} and {files_after} files, CPU ms (95 %) {cpu_ms}")
    assert memory_after - memory < GROWTH_BYTES
    assert files_after <= files
    if events > 10_000:
        assert p95[2] < 1.5 * p95[1]
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(len(known))})
    assert chain.gets() == len(known)  # duplicates read nothing
    assert chain.heads() == len(known)
