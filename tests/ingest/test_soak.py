"""A day's events in a row: memory, open files and requests stay what they were (S32)."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest

from lakeq import formats
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
    """One in a hundred is of a new object; those of one lie among those of its neighbours."""
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    chain = Chain.made(aws, tmp_path)
    known = [chain.put(f"a/{number}") for number in range(events // EACH)]
    chance = random.Random(32)
    order = sorted((n + chance.uniform(0, 3), n) for n in range(len(known)) for _ in range(EACH))
    ingest = chain.ingester()
    third = events // 3
    seen: list[tuple[int, int]] = []
    for start in range(0, events, 10):
        if start >= third and not seen:
            seen.append((memory_bytes(), open_files()))
        outcomes = ingest([known[number] for _, number in order[start : start + 10]])
        assert all(outcome.settled for outcome in outcomes)
    seen.append((memory_bytes(), open_files()))
    (memory, files), (memory_after, files_after) = seen
    assert memory_after - memory < GROWTH_BYTES
    assert files_after <= files
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(len(known))})
    assert chain.gets() == len(known)  # duplicates read nothing
    assert chain.heads() == len(known)
