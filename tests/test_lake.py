"""The lake: commits, snapshots, time travel, growth, side files, sweeping, damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import types
from lakeq._lake_commit import Change, Overtaken
from lakeq._lake_parquet import NewFile
from lakeq._lake_session import Session
from lakeq._lake_side import SideFiles
from lakeq.catalog import Column, Table
from lakeq.config import S3Settings
from lakeq.errors import (
    AccessDenied,
    BadLake,
    LakeqError,
    NotFound,
    StorageUnavailable,
    UsageError,
)
from lakeq.lake import IcebergLake
from lakeq.snapshot import DataFile, Footer
from tests.lake_formats import file_limit, lake_at, positions, put, sites
from tests.lake_formats.tally import CARRIERS, RELEASE, SITES
from tests.support.s3 import S3

HEAVY = ("pyiceberg", "pandas", "pyarrow", "numpy", "boto3", "duckdb", "sqlalchemy")


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def warehouse_files(lake: IcebergLake) -> set[str]:
    return {str(path) for path in (lake.folder / "warehouse").rglob("*") if path.is_file()}


def named_files(lake: IcebergLake) -> set[str]:
    """Every file that PyIceberg's own catalog says the lake's tables have."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{lake.folder}/catalog.db")
    named: set[str] = set()
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            table = catalog.load_table(identifier)
            named |= {table.metadata_location}
            named |= {entry.metadata_file for entry in table.metadata.metadata_log}
            for snapshot in table.snapshots():
                named |= {snapshot.manifest_list}
                for manifest in snapshot.manifests(table.io):
                    named |= {manifest.manifest_path}
                    entries = manifest.fetch_manifest_entry(table.io)
                    named |= {entry.data_file.file_path for entry in entries}
    return named


def new_file(
    lake: IcebergLake,
    session: Session,
    table: Table,
    partition: tuple[str, ...],
    rows: list[dict[str, object]],
) -> NewFile:
    """A finished data file of the object s3://b/a."""
    file = lake.writer(table, session).open("s3://b/a", partition, 0)
    file.write(pa.RecordBatch.from_pylist(rows, types.arrow_schema(table)))
    return file.close()


# Commits.


def test_the_first_commit_makes_the_lake_and_the_table(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    assert iceberg.tables() == ["made.sites"]
    assert positions(iceberg) == [1, 2]


def test_an_object_ingested_again_replaces_its_own_rows_only(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    put(iceberg, "s3://b/b", sites(3))
    put(iceberg, "s3://b/a", sites(9))
    assert sorted(positions(iceberg)) == [3, 9]


def test_sources_that_differ_only_at_their_ends_are_told_apart(iceberg: IcebergLake) -> None:
    long = "s3://bucket/" + "x" * 900
    put(iceberg, long + "/1", sites(1))
    put(iceberg, long + "/2", sites(2))
    put(iceberg, long + "/1", sites(3))
    assert sorted(positions(iceberg)) == [2, 3]


def test_every_commit_is_one_snapshot(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    put(iceberg, "s3://b/a", sites(9))
    assert [(s.operation, s.rows) for s in iceberg.snapshots("made.sites")] == [
        ("append", 2),
        ("overwrite", 1),
    ]


def test_replacing_an_object_leaves_the_files_of_others_untouched(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/b", sites(2))
    kept = [f for f in iceberg.snapshot("made.sites").files if f.source == "s3://b/b"]
    put(iceberg, "s3://b/a", sites(3))
    assert [f for f in iceberg.snapshot("made.sites").files if f.source == "s3://b/b"] == kept


def test_a_table_replaced_as_a_whole_keeps_nothing_of_other_objects(iceberg: IcebergLake) -> None:
    rows: list[dict[str, object]] = [{"pos": 1, "allele": "A"}]
    put(iceberg, "https://h/2023.vcf", rows, RELEASE)
    put(iceberg, "https://h/2024.vcf", [{"pos": 2, "allele": "C"}], RELEASE)
    assert positions(iceberg, table="made.release") == [2]


def test_a_commit_without_rows_removes_the_object(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/b", sites(2))
    iceberg.commit(SITES, ["s3://b/a"], [])
    assert positions(iceberg) == [2]


def test_a_commit_that_changes_nothing_makes_no_snapshot(iceberg: IcebergLake) -> None:
    first = put(iceberg, "s3://b/a", sites(1))
    assert iceberg.commit(SITES, ["s3://b/unknown"], []) == first
    assert len(iceberg.snapshots("made.sites")) == 1


def test_tables_of_one_commit_are_switched_together(iceberg: IcebergLake) -> None:
    """The second change is overtaken, so the first does not happen either."""
    put(iceberg, "s3://b/a", sites(1))
    before = warehouse_files(iceberg)
    changes = [
        Change(SITES, frozenset(["s3://b/a"]), ()),
        Change(CARRIERS, frozenset(), (), base=123),
    ]
    with pytest.raises(Overtaken):
        iceberg.commit_all(changes)
    assert positions(iceberg) == [1]
    assert iceberg.tables() == ["made.sites"]
    assert warehouse_files(iceberg) == before


def test_other_tools_read_the_lake_through_the_sqlite_catalog(iceberg: IcebergLake) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    put(iceberg, "s3://b/a", sites(1, 2))
    put(iceberg, "s3://b/b", sites(7, contig="X"))
    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{iceberg.folder}/catalog.db")
    rows = catalog.load_table("made.sites").scan(row_filter="contig = 'X'").to_arrow()
    assert rows.select(["pos", "carriers", "_source"]).to_pylist() == [
        {"pos": 7, "carriers": [0], "_source": "s3://b/b"}
    ]


def test_other_tools_may_write_to_the_lake(iceberg: IcebergLake) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    put(iceberg, "s3://b/a", sites(1, 2))
    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{iceberg.folder}/catalog.db")
    catalog.load_table("made.sites").delete("pos = 2")
    assert positions(iceberg) == [1]


def test_manifests_stay_few_over_many_commits(iceberg: IcebergLake) -> None:
    for number in range(45):
        put(iceberg, f"s3://b/{number % 9}", sites(number))
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{iceberg.folder}/catalog.db")
    table = catalog.load_table("made.sites")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(table.io)) <= 20
    assert sorted(positions(iceberg)) == list(range(36, 45))


# Data files.


def test_data_files_carry_field_ids_bounds_checksums_and_no_arrow_schema(
    iceberg: IcebergLake,
) -> None:
    put(iceberg, "s3://b/a", sites(5, 6))
    (file,) = iceberg.snapshot("made.sites").files
    metadata = pq.read_metadata(file.path)
    schema = pq.read_schema(file.path)
    ids = {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in schema}
    assert ids == {c.name: c.field_id for c in iceberg.snapshot("made.sites").columns}
    element = schema.field("carriers").type.value_field
    assert element.metadata[b"PARQUET:field_id"] not in {str(i).encode() for i in ids.values()}
    assert b"ARROW:schema" not in (metadata.metadata or {})
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    pq.read_table(file.path, page_checksum_verification=True)


def test_positions_and_lists_of_samples_are_delta_encoded(iceberg: IcebergLake) -> None:
    carriers = Column("carriers", "list<int32>", "", unit="sample number")
    table = replace(SITES, columns=(*SITES.columns[:3], carriers))
    put(iceberg, "s3://b/a", sites(5, 6), table)
    (file,) = iceberg.snapshot("made.sites").files
    group = pq.read_metadata(file.path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in columns["pos"].encodings
    assert "DELTA_BINARY_PACKED" in columns["carriers.list.element"].encodings
    assert columns["allele"].has_dictionary_page


def test_a_flipped_bit_is_caught_by_the_page_checksum(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(*range(1000)))
    (file,) = iceberg.snapshot("made.sites").files
    chunk = next(c for c in file.row_groups[0].chunks if c.column == "pos")
    data = bytearray(Path(file.path).read_bytes())
    data[chunk.offset + chunk.length - 5] ^= 1
    Path(file.path).write_bytes(data)
    with pytest.raises(OSError, match="CRC|checksum"):
        pq.read_table(file.path, page_checksum_verification=True)


def test_row_groups_are_those_of_the_parquet_footer(iceberg: IcebergLake) -> None:
    small = replace(SITES, options={"row_group_rows": "100"})
    put(iceberg, "s3://b/a", sites(*range(250)), small)
    (file,) = iceberg.snapshot("made.sites").files
    assert [group.rows for group in file.row_groups] == [100, 100, 50]
    metadata = pq.read_metadata(file.path)
    for number, group in enumerate(file.row_groups):
        for index, chunk in enumerate(group.chunks):
            column = metadata.row_group(number).column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            expected = (column.path_in_schema, start, column.total_compressed_size)
            assert (chunk.path, chunk.offset, chunk.length) == expected


def test_column_bytes_sum_the_chunks_of_the_named_columns(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(*range(250)))
    (file,) = iceberg.snapshot("made.sites").files
    wanted = sum(
        chunk.length
        for group in file.row_groups
        for chunk in group.chunks
        if chunk.column in ("pos", "carriers")
    )
    assert file.footer.column_bytes(["pos", "carriers"]) == wanted


def test_duckdb_reads_what_was_written(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(*range(10_000)))
    paths = [file.path for file in iceberg.snapshot("made.sites").files]
    query = "select count(*), sum(pos), sum(len(carriers)), min(_source) from read_parquet(?)"
    row = duckdb.execute(query, [paths]).fetchone()
    assert row == (10_000, sum(range(10_000)), 10_000, "s3://b/a")


def test_partition_values_are_recorded(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", [*sites(1), *sites(2, contig="HLA-A*01:01")])
    files = iceberg.snapshot("made.sites").files
    assert [file.partition for file in files] == [
        (("contig", "22"),),
        (("contig", "HLA-A*01:01"),),
    ]


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_names_of_files_stay_inside_the_table_whatever_the_object_is_called(
    contig: str, key: str
) -> None:
    from lakeq._lake_parquet import _slug

    for text in (contig, key):
        assert re.fullmatch(r"[A-Za-z0-9-]{1,48}", _slug(text))


# Schemas that grow.


def test_a_new_column_of_the_catalog_is_added_and_null_in_old_rows(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    grown = replace(SITES, columns=(*SITES.columns, Column("depth", "int32", "")))
    put(iceberg, "s3://b/b", [{**sites(2)[0], "depth": 30}], grown)
    assert iceberg.read_table("made.sites")["depth"].to_pylist() == [None, 30]
    names = [column.name for column in iceberg.snapshot("made.sites").columns]
    assert names == ["contig", "pos", "allele", "carriers", "_source", "depth"]


def test_a_past_snapshot_has_the_columns_of_its_time(iceberg: IcebergLake) -> None:
    first = put(iceberg, "s3://b/a", sites(1))
    grown = replace(SITES, columns=(*SITES.columns, Column("depth", "int32", "")))
    iceberg.ensure_table(grown)
    assert "depth" in [c.name for c in iceberg.snapshot("made.sites").columns]
    put(iceberg, "s3://b/b", [{**sites(2)[0], "depth": 30}], grown)
    assert "depth" not in [c.name for c in iceberg.snapshot("made.sites", first).columns]


def test_a_column_of_another_type_is_refused_with_both_types(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    columns = tuple(replace(c, type="string") if c.name == "pos" else c for c in SITES.columns)
    with pytest.raises(BadLake, match="pos is string in the catalog but long in the lake"):
        iceberg.ensure_table(replace(SITES, columns=columns))


def test_other_partitions_are_refused(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    with pytest.raises(UsageError, match="partitioned by"):
        iceberg.ensure_table(replace(SITES, partition_by=()))


def test_a_file_written_before_another_writer_took_its_field_ids_is_refused(
    iceberg: IcebergLake,
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    mine = replace(SITES, columns=(*SITES.columns, Column("mine", "int32", "")))
    theirs = replace(SITES, columns=(*SITES.columns, Column("theirs", "string", "")))
    with iceberg.session() as session:
        new = new_file(iceberg, session, mine, ("22",), sites(3))
        iceberg.ensure_table(theirs)
        with pytest.raises(StorageUnavailable, match="run the command again"):
            iceberg.commit_all([Change(mine, frozenset(["s3://b/c"]), (new,))], session)


def test_a_table_without_a_commit_has_snapshot_0_and_no_files(iceberg: IcebergLake) -> None:
    iceberg.ensure_table(SITES)
    snapshot = iceberg.snapshot("made.sites")
    assert (snapshot.snapshot_id, snapshot.files, snapshot.rows) == (0, (), 0)
    assert iceberg.snapshots("made.sites") == []
    assert positions(iceberg) == []


# Time travel.


def test_a_snapshot_is_read_by_its_number_or_its_digits(iceberg: IcebergLake) -> None:
    first = put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/a", sites(2))
    assert positions(iceberg, first) == positions(iceberg, str(first)) == [1]


def test_a_time_means_the_snapshot_that_was_current_then(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    time.sleep(0.01)
    put(iceberg, "s3://b/a", sites(2))
    first, second = iceberg.snapshots("made.sites")
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    just_before = second.committed_at - timedelta(milliseconds=1)
    assert positions(iceberg, first.committed_at) == [1]
    assert positions(iceberg, just_before.isoformat()) == [1]
    assert positions(iceberg, just_before.astimezone(kathmandu).isoformat()) == [1]
    assert positions(iceberg, second.committed_at.replace(tzinfo=None).isoformat()) == [2]
    assert positions(iceberg, datetime(2200, 1, 1, tzinfo=UTC)) == [2]


def test_a_time_before_the_first_snapshot_is_not_found_and_says_the_earliest(
    iceberg: IcebergLake,
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    earliest = iceberg.snapshots("made.sites")[0].committed_at.isoformat(timespec="milliseconds")
    with pytest.raises(NotFound, match=re.escape(earliest)):
        iceberg.snapshot("made.sites", "2001-01-01")


@pytest.mark.parametrize("at", [12345, "12345", "20240131"])
def test_an_unknown_snapshot_is_not_found(iceberg: IcebergLake, at: int | str) -> None:
    put(iceberg, "s3://b/a", sites(1))
    with pytest.raises(NotFound, match="no snapshot"):
        iceberg.snapshot("made.sites", at)


def test_a_time_that_is_none_is_a_usage_error(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    with pytest.raises(UsageError, match="'yesterday'"):
        iceberg.snapshot("made.sites", "yesterday")


# Reading without the heavy imports.


def test_reading_an_unchanged_snapshot_imports_nothing_heavy(iceberg: IcebergLake) -> None:
    first = put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/a", sites(2))
    iceberg.snapshot("made.sites", first)  # makes its side file
    code = f"""
import sys
from pathlib import Path
from lakeq.config import Settings
from lakeq.lake import IcebergLake
lake = IcebergLake(Settings(lake=Path({str(iceberg.folder)!r})))
assert lake.tables() == ["made.sites"]
assert lake.snapshot("made.sites").files[0].row_groups[0].rows == 1
assert lake.snapshot("made.sites", {first}).rows == 1
assert len(lake.snapshots("made.sites")) == 2
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"


def test_the_side_file_after_a_commit_equals_the_one_made_from_the_metadata(
    iceberg: IcebergLake,
) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    put(iceberg, "s3://b/b", [*sites(3), *sites(4, contig="X")])
    put(iceberg, "s3://b/a", sites(*range(100)))
    fast = iceberg.snapshot("made.sites")
    (iceberg.folder / "cache" / "made.sites" / "head.side").unlink()
    slow = iceberg.snapshot("made.sites")
    assert fast == slow
    assert [f.row_groups for f in fast.files] == [f.row_groups for f in slow.files]


@pytest.mark.parametrize("damage", [b"", b"x", b"lakeq-side-1 00000000 000000000002\n{}", None])
def test_a_damaged_side_file_is_made_again(iceberg: IcebergLake, damage: bytes | None) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    path = iceberg.folder / "cache" / "made.sites" / "head.side"
    data = path.read_bytes()
    expected = iceberg.snapshot("made.sites")
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    assert iceberg.snapshot("made.sites") == expected
    assert path.read_bytes() == data


@given(st.data())
def test_no_byte_of_a_side_file_can_change_unnoticed(data: st.DataObject) -> None:
    good = _side_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[at] ^= data.draw(st.integers(1, 255))
    from lakeq._lake_side import _decoded

    try:
        decoded = _decoded(bytes(flipped), "key")
    except (ValueError, KeyError, IndexError, TypeError, OverflowError):
        return
    assert decoded is None or decoded == _decoded(good, "key")


def _side_bytes() -> bytes:
    from lakeq._lake_side import Side, _encoded
    from lakeq.snapshot import Leaf, SnapshotColumn, TableSnapshot

    footer = Footer((Leaf("pos", "pos"),), [5], [4], [60])
    files = (DataFile("/w/t/1.parquet", 99, 5, footer, (("contig", "22"),), "s3://b/a"),)
    columns = (SnapshotColumn(1, "pos", "BIGINT"),)
    snapshot = TableSnapshot("d.t", 7, datetime(2024, 1, 1, tzinfo=UTC), columns, files)
    return _encoded(Side(snapshot), "key")


def test_a_stale_side_file_is_not_used(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    path = iceberg.folder / "cache" / "made.sites" / "head.side"
    stale = path.read_bytes()
    put(iceberg, "s3://b/a", sites(2))
    path.write_bytes(stale)
    assert positions(iceberg) == [2]


def test_a_cache_folder_that_cannot_be_written_only_costs_time(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    put(iceberg, "s3://b/a", sites(1))
    assert iceberg.snapshot("made.sites").rows == 1
    assert not list((iceberg.folder / "cache").rglob("*.side"))


def test_reading_makes_no_lake(iceberg: IcebergLake) -> None:
    assert iceberg.tables() == []
    with pytest.raises(NotFound, match=r"made\.sites is not in the lake"):
        iceberg.snapshot("made.sites")
    assert not iceberg.folder.exists()


def test_several_tables_are_read_as_of_one_moment(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit between the two reads is seen in both tables or in none."""
    put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/a", [{"sample": "ann", "pos": 1, "allele": "A"}], CARRIERS)
    read = SideFiles.read
    committed: list[bool] = []

    def read_after_commit(self: SideFiles, table: str, name: str, key: str) -> Any:
        if not committed:
            committed.append(True)
            put(lake_at(iceberg.folder), "s3://b/a", sites(2))
        return read(self, table, name, key)

    monkeypatch.setattr(SideFiles, "read", read_after_commit)
    found = iceberg.read(["made.sites", "made.carriers"])
    assert [s.rows for s in found.values()] == [1, 1]
    assert len(iceberg.snapshots("made.sites")) == 2


def test_readers_never_see_half_of_a_commit(iceberg: IcebergLake) -> None:
    """Two tables change together, a hundred times; each read finds both in the same state."""

    def rows(count: int) -> list[Change]:
        sites_file = new_file(iceberg, session, SITES, ("22",), sites(*range(count)))
        one = [{"sample": "ann", "pos": n, "allele": "A"} for n in range(count)]
        carriers_file = new_file(iceberg, session, CARRIERS, (), one)
        source = frozenset(["s3://b/a"])
        return [Change(SITES, source, (sites_file,)), Change(CARRIERS, source, (carriers_file,))]

    with iceberg.session() as session:
        iceberg.commit_all(rows(1), session)
        seen: list[list[int]] = []
        writing = threading.Event()

        def read() -> None:
            reader = lake_at(iceberg.folder)
            while not writing.is_set():
                found = reader.read(["made.sites", "made.carriers"])
                seen.append([snapshot.rows for snapshot in found.values()])

        thread = threading.Thread(target=read)
        thread.start()
        for count in range(2, 30):
            iceberg.commit_all(rows(count), session)
        writing.set()
        thread.join()
    assert len(seen) > 10
    assert all(first == second for first, second in seen)


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
    monkeypatch.setattr("lakeq._lake_pointers.Pointers.switch", lambda *_: False)
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


# A warehouse on S3.


@pytest.fixture
def remote(lake_dir: Path, s3: S3, aws_credentials: None) -> IcebergLake:
    settings = S3Settings(endpoint_url=s3.endpoint_url)
    return lake_at(lake_dir, f"s3://{s3.bucket()}/ware/house", settings)


def test_the_warehouse_may_be_on_s3(remote: IcebergLake, s3: S3) -> None:
    put(remote, "s3://b/a", sites(1))
    put(remote, "s3://b/b", sites(2))
    put(remote, "s3://b/a", sites(3))
    (remote.folder / "cache" / "made.sites" / "head.side").unlink()
    assert positions(remote) == [2, 3]
    files = remote.snapshot("made.sites").files
    assert all(file.path.startswith("s3://") for file in files)
    assert not (remote.folder / "warehouse").exists()
    first = remote.snapshots("made.sites")[0].snapshot_id
    assert positions(remote, first) == [1]


def test_a_warehouse_on_s3_is_remembered(remote: IcebergLake, s3: S3) -> None:
    put(remote, "s3://b/a", sites(1))
    again = lake_at(remote.folder, s3=S3Settings(endpoint_url=s3.endpoint_url))
    put(again, "s3://b/b", sites(2))
    assert positions(again) == [1, 2]


def test_another_warehouse_than_the_lakes_is_refused(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    other = lake_at(iceberg.folder, "s3://elsewhere/x")
    with pytest.raises(UsageError, match="inside the lake, not s3://elsewhere/x"):
        put(other, "s3://b/b", sites(2))


def test_a_warehouse_in_a_bucket_that_is_not_there_is_not_found(
    lake_dir: Path, s3: S3, aws_credentials: None
) -> None:
    settings = S3Settings(endpoint_url=s3.endpoint_url)
    lake = lake_at(lake_dir, "s3://no-such-bucket-here/x", settings)
    with pytest.raises(NotFound, match="no such bucket"):
        put(lake, "s3://b/a", sites(1))
    assert lake.tables() == []


def test_a_missing_object_of_the_warehouse_is_a_bad_lake(remote: IcebergLake, s3: S3) -> None:
    put(remote, "s3://b/a", sites(1))
    path = remote.snapshot("made.sites").files[0].path
    bucket, _, key = path.removeprefix("s3://").partition("/")
    s3.client.delete_object(Bucket=bucket, Key=key)
    assert remote.missing_files(remote.snapshot("made.sites")) == [path]
    with pytest.raises(BadLake, match="missing") as caught:
        positions(remote)
    assert caught.value.where == path


def test_the_errors_of_a_lake_say_what_where_and_next(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    (iceberg.folder / "catalog.db").write_bytes(b"x" * 100)
    with pytest.raises(LakeqError) as caught:
        iceberg.tables()
    assert caught.value.what
    assert caught.value.where
    assert caught.value.hint


def test_metadata_properties_are_those_of_the_design(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    folder = iceberg.folder / "warehouse" / "made" / "sites" / "metadata"
    metadata = json.loads(next(iter(folder.glob("*.metadata.json"))).read_text())
    assert metadata["format-version"] == 2
    properties = metadata["properties"]
    assert properties["write.metadata.metrics.column._source"] == "full"
    assert properties["commit.manifest-merge.enabled"] == "true"
    assert properties["commit.retry.num-retries"] == "30"
