"""Workers that die: a `sitecustomize` for their processes, and the rows of two lakes compared."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from lakeq.api import Lake
from tests.support.data import ROOT

# A data file is written and about to be synced, or its PUT is begun, when its worker dies.
DEADLY = """
import os, signal, socket
fsync, sendall = os.fsync, socket.socket.sendall
def die():
    for n in range(int(os.environ["TEST_DEATHS"])):
        try:
            os.close(os.open(os.environ["TEST_FLAG"] + str(n), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
def deadly(fd):
    if os.environ["TEST_DIES_AT"] in os.readlink(f"/proc/self/fd/{fd}"):
        die()
    fsync(fd)
def sending(self, data, *flags):
    head = bytes(data[:2000])
    if head.startswith(b"PUT ") and os.environ["TEST_DIES_AT"].encode() in head:
        die()
    return sendall(self, data, *flags)
os.fsync, socket.socket.sendall = deadly, sending
"""


FEW = ["volumes", "sweeps", "grid"]  # tables of a volume, without the millions of gates


def dying(folder: Path, at: str, times: int) -> dict[str, str]:
    """The environment of workers that kill themselves, `times` in all, over a file named `at`."""
    (folder / "deadly").mkdir(exist_ok=True)
    (folder / "deadly" / "sitecustomize.py").write_text(DEADLY)
    return {
        "PYTHONPATH": os.pathsep.join([str(folder / "deadly"), str(ROOT)]),
        "TEST_DIES_AT": at,
        "TEST_DEATHS": str(times),
        "TEST_FLAG": str(folder / "deadly" / "died-"),
    }


def named_after(volume: Path) -> str:
    """How the files of a volume's rows are named."""
    return volume.name.partition(".")[0].replace("_", "-")


def deaths(folder: Path) -> int:
    """How many workers died."""
    return len(list((folder / "deadly").glob("died-*")))


def same_rows(one: Lake, other: Lake) -> dict[str, int]:
    """The rows of each table, which both lakes must have, to the last value and as often."""
    names = one._iceberg.tables()
    assert names == other._iceberg.tables()
    counts = {}
    for name in names:
        a, b = (lake._iceberg.read_table(name) for lake in (one, other))
        assert a.schema == b.schema
        with duckdb.connect() as connection:
            connection.register("a", a)
            connection.register("b", b)
            for left, right in (("a", "b"), ("b", "a")):
                sql = f"select count(*) from (from {left} except all from {right})"
                assert connection.sql(sql).fetchone() == (0,), name
        counts[name] = a.num_rows
    return counts


def data_files(folder: Path) -> list[Path]:
    """Every Parquet file below a local lake's warehouse."""
    return sorted((folder / "warehouse").rglob("*.parquet"))


def only_named_files(lake: Lake) -> None:
    """Hold the data files on the disk against those that the snapshots name."""
    iceberg = lake._iceberg
    named = {f.path for name in iceberg.tables() for f in iceberg.snapshot(name).files}
    assert {str(path) for path in data_files(iceberg.folder)} == named


def recorded_unit(lake: Lake, volume: Path) -> str:
    """The unit that a worker got for `volume`; it waits for nobody, so it can be done again."""
    told: list[str] = []

    class Recording(ThreadPoolExecutor):
        def submit(self, call: Any, text: str) -> Future[str]:  # type: ignore[override]  # one shape
            told.append(text)
            return super().submit(call, text)

    with Recording(1) as executor:
        lake.ingest("nexrad.volumes", [volume], executor=executor)
    return json.dumps(json.loads(told[0]) | {"journal": ""})
