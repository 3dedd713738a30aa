"""Upkeep: what is compacted and how, that nothing else changes, and that writers come first."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lakeq import maintain as upkeep
from lakeq.catalog import Table
from lakeq.config import S3Settings, Settings
from lakeq.errors import NotFound
from lakeq.lake import IcebergLake
from lakeq.maintain import MaintenanceReport, Work
from lakeq.maintain.plan import groups, runs
from tests.lake_formats import lake_at, named_files, positions, put, sites, warehouse_files
from tests.lake_formats.tally import CARRIERS, SITES
from tests.support.s3 import S3

LATER = datetime(2200, 1, 1, tzinfo=UTC)


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def maintain(
    lake: IcebergLake, *tables: Table, s3: S3Settings | None = None, **work: Any
) -> MaintenanceReport:
    settings = Settings(lake=lake.folder, s3=s3 or S3Settings())
    return upkeep.maintain(lake, settings, tables or (SITES,), Work(**work))


def shuffled(lake: IcebergLake, objects: int = 6, rows: int = 50) -> list[int]:
    """Objects whose positions lie all over the contigs 21 and 22; returns all positions."""
    numbers = random.Random(5).sample(range(10_000), objects * rows)
    for number in range(objects):
        own = sorted(numbers[number * rows : (number + 1) * rows])
        half = rows // 2
        put(
            lake,
            f"s3://b/{number}",
            [*sites(*own[:half], contig="21"), *sites(*own[half:], contig="22")],
        )
    return sorted(numbers)


def rows(lake: IcebergLake) -> list[str]:
    """Every row with its object, whatever their order."""
    tables = [pq.read_table(file.path) for file in lake.snapshot("made.sites").files]
    return sorted(str(row) for table in tables for row in table.to_pylist())


# Compaction.


def test_each_partition_becomes_one_sorted_file_with_the_same_rows(iceberg: IcebergLake) -> None:
    shuffled(iceberg)
    before = rows(iceberg)
    (report,) = maintain(iceberg).tables
    assert (report.compacted, report.files_before, report.files_after) == (2, 12, 2)
    files = iceberg.snapshot("made.sites").files
    assert [file.partition for file in files] == [(("contig", "21"),), (("contig", "22"),)]
    for file in files:
        found = pq.read_table(file.path)["pos"].to_pylist()
        assert found == sorted(found)
        assert file.order == "pos"
        assert [source for source, _ in file.contents] == [f"s3://b/{n}" for n in range(6)]
    assert rows(iceberg) == before
    assert report.bytes_after == sum(Path(file.path).stat().st_size for file in files)


def test_objects_that_follow_each_other_are_sorted_one_after_the_other(
    iceberg: IcebergLake,
) -> None:
    for name, pos in {"late": (7, 9, 8), "early": (2, 1, 3), "between": (3, 5, 4)}.items():
        put(iceberg, f"s3://b/{name}", sites(*pos))
    before = rows(iceberg)
    (group,) = groups(iceberg.snapshot("made.sites"))
    found = [[file.source for file in run] for run in runs(group, SITES)]
    assert found == [["s3://b/early", "s3://b/between"], ["s3://b/late"]]
    assert runs(group, replace(SITES, sort_by=())) == [group.files]
    assert maintain(iceberg).tables[0].files_after == 1
    assert positions(iceberg) == [1, 2, 3, 3, 4, 5, 7, 8, 9]
    assert rows(iceberg) == before


def test_a_partition_of_wide_rows_is_compacted_in_the_memory_of_one_object(
    iceberg: IcebergLake,
) -> None:
    for number in range(8):
        wide = sites(*range(number * 100, number * 100 + 40))
        put(iceberg, f"s3://b/{number}", [{**row, "carriers": list(range(60_000))} for row in wide])
    before = rows(iceberg)
    settings = Settings(lake=iceberg.folder, memory_limit="60MB", threads=1)
    upkeep.maintain(iceberg, settings, (SITES,), Work())
    assert len(iceberg.snapshot("made.sites").files) == 1
    assert rows(iceberg) == before


def test_files_written_by_compaction_are_laid_out_as_those_of_an_ingest(
    iceberg: IcebergLake,
) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    (one,) = iceberg.snapshot("made.sites").files
    put(iceberg, "s3://b/b", sites(3))
    maintain(iceberg)
    (merged,) = iceberg.snapshot("made.sites").files
    assert pq.read_schema(one.path).equals(pq.read_schema(merged.path), check_metadata=False)
    fields = zip(pq.read_schema(one.path), pq.read_schema(merged.path), strict=True)
    assert all(a.equals(b, check_metadata=True) for a, b in fields)
    pq.read_table(merged.path, page_checksum_verification=True)


def test_what_is_compacted_already_is_left(iceberg: IcebergLake) -> None:
    shuffled(iceberg)
    maintain(iceberg)
    snapshot = iceberg.snapshot("made.sites")
    (report,) = maintain(iceberg).tables
    assert report.compacted == 0
    assert iceberg.snapshot("made.sites") == snapshot


def test_one_ordered_file_alone_is_left_and_an_unordered_one_sorted(iceberg: IcebergLake) -> None:
    small = replace(SITES, options={"row_group_rows": "100"})
    put(iceberg, "s3://b/a", sites(*range(250)), small)
    assert maintain(iceberg, small).tables[0].compacted == 0
    put(iceberg, "s3://b/a", sites(*reversed(range(250))), small)
    assert maintain(iceberg, small).tables[0].compacted == 1
    assert positions(iceberg) == list(range(250))


def test_new_objects_are_merged_into_the_compacted_file(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1, 5))
    put(iceberg, "s3://b/b", sites(3))
    maintain(iceberg)
    put(iceberg, "s3://b/c", sites(2, 4))
    maintain(iceberg)
    assert positions(iceberg) == [1, 2, 3, 4, 5]
    assert len(iceberg.snapshot("made.sites").files) == 1


def test_large_partitions_become_several_files_in_order(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq.lake.parquet.BUFFER_BYTES", 10_000)
    monkeypatch.setattr("lakeq.lake.layout.FILE_BYTES", 1_000)
    monkeypatch.setattr("lakeq.maintain.BATCH_ROWS", 100)
    numbers = shuffled(iceberg, objects=4, rows=1000)
    maintain(iceberg)
    by_contig = {"21": 0, "22": 0}
    for file in iceberg.snapshot("made.sites").files:
        by_contig[str(file.partition[0][1])] += 1
    assert min(by_contig.values()) > 1
    assert sorted(positions(iceberg)) == numbers
    assert maintain(iceberg).tables[0].compacted == 0


def test_an_object_of_a_compacted_file_is_replaced_and_compacted_again(
    iceberg: IcebergLake,
) -> None:
    numbers = shuffled(iceberg, objects=3, rows=4)
    maintain(iceberg)
    gone = [r for f in iceberg.snapshot("made.sites").files for r in _of(f.path, "s3://b/1")]
    put(iceberg, "s3://b/1", sites(77_777))
    assert sorted(positions(iceberg)) == sorted([*(set(numbers) - set(gone)), 77_777])
    maintain(iceberg)
    assert [f.order for f in iceberg.snapshot("made.sites").files] == ["pos", "pos"]


def _of(path: str, source: str) -> list[int]:
    return [r["pos"] for r in pq.read_table(path).to_pylist() if r["_source"] == source]


def test_a_table_without_an_order_is_merged_by_object(iceberg: IcebergLake) -> None:
    for name in "ba":
        row: dict[str, object] = {"sample": name, "pos": 1, "allele": "A"}
        put(iceberg, f"s3://b/{name}", [row], CARRIERS)
    maintain(iceberg, CARRIERS)
    (file,) = iceberg.snapshot("made.carriers").files
    assert pq.read_table(file.path)["sample"].to_pylist() == ["a", "b"]


def test_columns_that_old_files_lack_are_null_in_the_merged_one(iceberg: IcebergLake) -> None:
    from lakeq.catalog import Column

    put(iceberg, "s3://b/a", sites(1))
    grown = replace(SITES, columns=(*SITES.columns, Column("depth", "int32", "")))
    put(iceberg, "s3://b/b", [{**sites(2)[0], "depth": 30}], grown)
    maintain(iceberg, grown)
    assert iceberg.read_table("made.sites")["depth"].to_pylist() == [None, 30]


def test_tables_that_are_not_in_the_lake_are_left_out(iceberg: IcebergLake) -> None:
    assert maintain(iceberg).tables == ()
    put(iceberg, "s3://b/a", sites(1))
    assert [t.table for t in maintain(iceberg, CARRIERS, SITES).tables] == ["made.sites"]


def test_a_dry_run_changes_nothing(iceberg: IcebergLake) -> None:
    shuffled(iceberg)
    before = (warehouse_files(iceberg), iceberg.snapshot("made.sites"))
    (report,) = maintain(iceberg, dry_run=True, expire_before=LATER, sweep=True).tables
    assert (report.compacted, report.snapshots_expired) == (2, 5)
    assert (warehouse_files(iceberg), iceberg.snapshot("made.sites")) == before


# Beside other writers.


def test_an_ingest_during_the_compaction_wins_and_the_compaction_is_done_again(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled(iceberg, objects=3, rows=4)
    _interrupt(monkeypatch, iceberg, [lambda: put(iceberg, "s3://b/1", sites(77_777))])
    (report,) = maintain(iceberg).tables
    assert (report.compacted, report.left) == (2, 0)
    found = [r for f in iceberg.snapshot("made.sites").files for r in _of(f.path, "s3://b/1")]
    assert found == [77_777]
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_a_new_object_during_the_compaction_is_kept(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = shuffled(iceberg, objects=3, rows=4)
    _interrupt(monkeypatch, iceberg, [lambda: put(iceberg, "s3://b/new", sites(77_777))])
    maintain(iceberg)
    assert sorted(positions(iceberg)) == [*numbers, 77_777]


def test_a_partition_that_others_keep_changing_is_left(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled(iceberg, objects=3, rows=4)
    again = [lambda n=n: put(iceberg, "s3://b/1", sites(n)) for n in range(70_000, 70_010)]
    _interrupt(monkeypatch, iceberg, again)
    (report,) = maintain(iceberg).tables
    assert report.left > 0
    assert warehouse_files(iceberg) == named_files(iceberg)


def _interrupt(
    monkeypatch: pytest.MonkeyPatch, lake: IcebergLake, calls: Sequence[Callable[[], object]]
) -> None:
    """Each time a compaction is about to commit, the next of `calls` is made first."""
    waiting = list(calls)
    commit_all = IcebergLake.commit_all

    def late(self: IcebergLake, changes: Any, session: Any = None) -> dict[str, int]:
        if changes[0].rewrites and waiting:
            waiting.pop(0)()
        return commit_all(self, changes, session)

    monkeypatch.setattr(IcebergLake, "commit_all", late)


# Old snapshots and orphans.


def test_old_snapshots_are_given_up_with_their_files(iceberg: IcebergLake) -> None:
    numbers = shuffled(iceberg)
    first = iceberg.snapshots("made.sites")[0].snapshot_id
    maintain(iceberg)
    assert len(positions(iceberg, first)) == 50
    (report,) = maintain(iceberg, expire_before=LATER).tables
    assert report.snapshots_expired == 6
    assert report.files_expired >= 12
    assert len(iceberg.snapshots("made.sites")) == 1
    assert sorted(positions(iceberg)) == numbers
    assert warehouse_files(iceberg) == named_files(iceberg)
    with pytest.raises(NotFound, match="no snapshot"):
        iceberg.snapshot("made.sites", first)


def test_young_snapshots_stay(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/a", sites(2))
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert maintain(iceberg, expire_before=hour_ago).tables[0].snapshots_expired == 0
    assert len(iceberg.snapshots("made.sites")) == 2


def test_a_sweep_deletes_what_nothing_names_and_spares_writers_at_work(
    iceberg: IcebergLake,
) -> None:
    from tests.lake_formats import new_file

    put(iceberg, "s3://b/a", sites(1))
    stray = Path(iceberg.snapshot("made.sites").files[0].path).with_name("stray.parquet")
    stray.write_bytes(b"12345")
    with iceberg.session() as session:
        file = new_file(iceberg, session, SITES, ("22",), sites(9))
        (report,) = maintain(iceberg, sweep=True).tables
        assert Path(file.path).exists()
        iceberg.delete([file])
    assert (report.files_swept, report.bytes_swept) == (1, 5)
    assert not stray.exists()
    assert positions(iceberg) == [1]
    assert warehouse_files(iceberg) == named_files(iceberg)


# A warehouse on S3.


def test_upkeep_of_a_warehouse_on_s3(lake_dir: Path, s3: S3, aws_credentials: None) -> None:
    settings = S3Settings(endpoint_url=s3.endpoint_url, region="us-east-1")
    bucket = s3.bucket()
    lake = lake_at(lake_dir, f"s3://{bucket}/ware", settings)
    numbers = shuffled(lake, objects=2, rows=4)
    s3.put(bucket, "ware/made/sites/data/stray.parquet", b"12345")
    (report,) = maintain(lake, s3=settings, expire_before=LATER, sweep=True).tables
    assert (report.compacted, report.files_swept, report.bytes_swept) == (2, 1, 5)
    assert sorted(positions(lake)) == numbers
    put(lake, "s3://b/1", sites(77_777))
    assert len(positions(lake)) == 5
    kept = {f"s3://{bucket}/{key}" for key in s3.keys(bucket) if key.endswith(".parquet")}
    maintain(lake, s3=settings, compact=False, expire_before=LATER)
    assert {file.path for file in lake.snapshot("made.sites").files} <= kept
