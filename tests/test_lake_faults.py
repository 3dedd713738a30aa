"""Writers that meet, writers that were killed, damaged files, full disks."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lakeq import types
from lakeq.errors import (
    AccessDenied,
    BadLake,
    StorageUnavailable,
    UsageError,
)
from lakeq.lake import IcebergLake
from lakeq.lake.commit import Change
from tests.lake_formats import (
    file_limit,
    lake_at,
    named_files,
    positions,
    put,
    sites,
    warehouse_files,
)
from tests.lake_formats.tally import SITES


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


# Several writers.


def _commit_ten(folder: str, worker: int) -> None:
    lake = lake_at(Path(folder))
    for number in range(10):
        put(lake, f"s3://b/{worker}-{number}", sites(worker * 100 + number))


@pytest.mark.slow
def test_four_processes_committing_at_once_lose_nothing(iceberg: IcebergLake) -> None:
    context = multiprocessing.get_context("spawn")
    folder = str(iceberg.folder)
    workers = [context.Process(target=_commit_ten, args=(folder, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    expected = [worker * 100 + number for worker in range(4) for number in range(10)]
    assert sorted(positions(iceberg)) == expected
    assert len(iceberg.snapshots("made.sites")) == 40
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_two_writers_of_one_object_leave_the_rows_of_one(iceberg: IcebergLake) -> None:
    threads = [
        threading.Thread(target=put, args=(lake_at(iceberg.folder), "s3://b/a", sites(number)))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(positions(iceberg)) == 1
    assert len(iceberg.snapshots("made.sites")) == 4
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_a_commit_that_is_always_overtaken_gives_up_and_leaves_nothing(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    before = warehouse_files(iceberg)
    monkeypatch.setattr("lakeq.lake._LONGEST_WAIT_S", 0.0)
    monkeypatch.setattr("lakeq.lake.pointers.Pointers.switch", lambda *_: False)
    with pytest.raises(StorageUnavailable, match="31 commits in a row"):
        iceberg.commit(SITES, ["s3://b/a"], [])
    assert warehouse_files(iceberg) == before


def test_a_locked_catalog_is_waited_for(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    holder = sqlite3.connect(iceberg.folder / "catalog.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: None)
    thread = threading.Thread(target=put, args=(iceberg, "s3://b/b", sites(2)))
    thread.start()
    time.sleep(0.5)
    assert positions(lake_at(iceberg.folder)) == [1]
    holder.rollback()
    holder.close()
    thread.join()
    release.cancel()
    assert sorted(positions(iceberg)) == [1, 2]


# What killed writers leave.


def test_sweep_deletes_what_a_killed_writer_left(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    code = f"""
import os
from pathlib import Path
from tests.lake_formats import lake_at, sites
from tests.lake_formats.tally import SITES
import pyarrow as pa
from lakeq import types
lake = lake_at(Path({str(iceberg.folder)!r}))
with lake.session() as session:
    file = lake.writer(SITES, session).open("s3://b/b", ("22",), 0)
    file.write(pa.RecordBatch.from_pylist(sites(2), types.arrow_schema(SITES)))
    file.flush()
    (session.scratch / "part").write_text("x")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())
    assert warehouse_files(iceberg) - named_files(iceberg)
    assert len(iceberg.sweep()) == 1
    assert warehouse_files(iceberg) == named_files(iceberg)
    assert not list((iceberg.folder / "tmp").iterdir())
    assert positions(iceberg) == [1]


def test_sweep_leaves_a_writer_at_work_alone(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    with iceberg.session() as session:
        file = iceberg.writer(SITES, session).open("s3://b/b", ("22",), 0)
        file.write(pa.RecordBatch.from_pylist(sites(2), types.arrow_schema(SITES)))
        file.flush()
        assert lake_at(iceberg.folder).sweep() == []
        new = file.close()
        iceberg.commit_all([Change(SITES, frozenset(["s3://b/b"]), (new,))], session)
    assert sorted(positions(iceberg)) == [1, 2]


def test_sweep_keeps_what_a_writer_killed_after_its_commit_wrote(iceberg: IcebergLake) -> None:
    code = f"""
import os
from pathlib import Path
from tests.lake_formats import lake_at, put, sites
from lakeq.lake import IcebergLake
IcebergLake._remember = lambda *_: os._exit(9)
put(lake_at(Path({str(iceberg.folder)!r})), "s3://b/a", sites(1))
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())
    assert iceberg.sweep() == []
    assert positions(iceberg) == [1]
    assert warehouse_files(iceberg) == named_files(iceberg)


# Damage, and places that cannot be written to.


def test_a_lake_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("not a folder")
    lake = lake_at(tmp_path / "lake")
    for attempt in (lake.tables, lambda: put(lake, "s3://b/a", sites(1))):
        with pytest.raises(UsageError, match="not a folder"):
            attempt()


def test_a_lake_that_may_not_be_written_to_is_access_denied(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(AccessDenied, match="Permission denied"):
        put(iceberg, "s3://b/a", sites(1))


@pytest.mark.parametrize("data", [b"not a database, but long enough to look at", b"\0" * 5000])
def test_a_damaged_catalog_is_a_bad_lake_that_names_it(iceberg: IcebergLake, data: bytes) -> None:
    put(iceberg, "s3://b/a", sites(1))
    (iceberg.folder / "catalog.db").write_bytes(data)
    with pytest.raises(BadLake) as caught:
        iceberg.snapshot("made.sites")
    assert str(iceberg.folder / "catalog.db") in caught.value.where


def test_an_empty_catalog_file_is_a_new_lake(iceberg: IcebergLake) -> None:
    """What a writer killed at its very first step leaves."""
    iceberg.folder.mkdir()
    (iceberg.folder / "catalog.db").touch()
    assert iceberg.tables() == []
    put(iceberg, "s3://b/a", sites(1))
    assert positions(iceberg) == [1]


@pytest.mark.parametrize("kind", ["metadata.json", "snap-*.avro", "*-m*.avro"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbled"])
def test_a_damaged_metadata_file_is_a_bad_lake_that_names_it(
    iceberg: IcebergLake, kind: str, damage: str
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    folder = iceberg.folder / "warehouse" / "made" / "sites" / "metadata"
    (path,) = folder.glob(kind if kind.endswith("avro") else f"*.{kind}")
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbled":
        path.write_bytes(bytes(byte ^ 0x5A for byte in data))
    (iceberg.folder / "cache" / "made.sites" / "head.side").unlink()
    with pytest.raises(BadLake) as caught:
        iceberg.snapshot("made.sites")
    assert caught.value.where == str(path)


def test_a_missing_data_file_is_named(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    snapshot = iceberg.snapshot("made.sites")
    Path(snapshot.files[0].path).unlink()
    assert iceberg.missing_files(snapshot) == [snapshot.files[0].path]
    with pytest.raises(BadLake, match="a file of the lake is missing"):
        positions(iceberg)


def test_a_full_disk_leaves_the_lake_as_it_was(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    before = warehouse_files(iceberg)
    with pytest.raises(StorageUnavailable, match="the disk is full"), file_limit(5000):
        put(iceberg, "s3://b/a", sites(*[n * n * 7919 % 1_000_003 for n in range(50_000)]))
    iceberg.sweep()
    assert warehouse_files(iceberg) == before
    assert positions(iceberg) == [1]


def test_a_disk_that_fills_up_during_the_commit_leaves_the_lake_as_it_was(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    before = warehouse_files(iceberg)
    fsync = os.fsync
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        put(iceberg, "s3://b/a", sites(2))
    monkeypatch.undo()
    iceberg.sweep()
    assert warehouse_files(iceberg) == before
    assert positions(iceberg) == [1]


def test_a_lake_in_a_folder_with_odd_characters_works(tmp_path: Path) -> None:
    lake = lake_at(tmp_path / "a b#c%20d?[x]*é")
    put(lake, "s3://b/a", sites(1))
    put(lake, "s3://b/b", sites(2))
    (lake.folder / "cache" / "made.sites" / "head.side").unlink()
    assert positions(lake) == [1, 2]
