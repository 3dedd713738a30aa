"""The lake: commits, data files, growth, time travel, a warehouse on S3."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.catalog import Column
from lakeq.config import S3Settings
from lakeq.errors import (
    BadLake,
    LakeqError,
    NotFound,
    StorageUnavailable,
    UsageError,
)
from lakeq.lake import IcebergLake
from lakeq.lake.commit import Change, Overtaken
from tests.lake_formats import (
    lake_at,
    new_file,
    positions,
    put,
    sites,
    warehouse_files,
)
from tests.lake_formats.tally import CARRIERS, RELEASE, SITES
from tests.support.s3 import S3


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


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


def test_a_commit_that_only_adds_looks_into_no_manifest(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.manifest import ManifestFile

    read: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def counted(self: ManifestFile, *given: Any, **named: Any) -> Any:
        read.append(self.manifest_path)
        return fetch(self, *given, **named)

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", counted)
    for number in range(5):
        put(iceberg, f"s3://b/{number}", sites(number))
    assert read == []
    put(iceberg, "s3://b/0", sites(9))
    assert read  # what it replaces is looked for
    assert sorted(positions(iceberg)) == [1, 2, 3, 4, 9]


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
    from lakeq.lake.parquet import _slug

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
