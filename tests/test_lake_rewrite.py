"""Files with the rows of several objects: one object's rows go, the others' stay in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeq.catalog import Table
from lakeq.errors import BadLake
from lakeq.lake import IcebergLake
from lakeq.lake.commit import Change, Overtaken
from tests.lake_formats import lake_at, named_files, positions, put, sites, warehouse_files
from tests.lake_formats.tally import SITES


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def merge(lake: IcebergLake, table: Table = SITES) -> None:
    """Write the rows of all files of one partition into one, the last first."""
    with lake.session() as session:
        old = lake.snapshot(table.qualified).files
        rows = pa.concat_tables([pq.read_table(file.path) for file in old])
        file = lake.writer(table, session).merged("contig-22", "merged", "pos desc")
        for batch in rows.sort_by([(table.sort_by[0], "descending")]).to_batches():
            file.write(batch)
        rewrites = frozenset(file.path for file in old)
        new = (file.close(),)
        change = Change(table, frozenset(), new, rewrites=rewrites, why="compact")
        lake.commit_all([change], session)


def contents(lake: IcebergLake) -> Sequence[tuple[str, int]]:
    return [pair for file in lake.snapshot("made.sites").files for pair in file.contents]


def three(lake: IcebergLake) -> None:
    put(lake, "s3://b/a", sites(1, 4))
    put(lake, "s3://b/b", sites(2, 5, 6))
    put(lake, "s3://b/c", sites(3))
    merge(lake)


def test_a_merged_file_names_its_objects_and_their_rows(iceberg: IcebergLake) -> None:
    three(iceberg)
    expected = [("s3://b/a", 2), ("s3://b/b", 3), ("s3://b/c", 1)]
    assert contents(iceberg) == expected
    for path in (iceberg.folder / "cache").rglob("*.side"):
        path.unlink()
    assert contents(iceberg) == expected
    (file,) = iceberg.snapshot("made.sites").files
    assert (file.source, file.order) == (None, "pos desc")


def test_an_object_inside_a_merged_file_is_replaced_alone(iceberg: IcebergLake) -> None:
    three(iceberg)
    put(iceberg, "s3://b/b", sites(9))
    assert positions(iceberg) == [9, 4, 3, 1]
    assert sorted(contents(iceberg)) == [("s3://b/a", 2), ("s3://b/b", 1), ("s3://b/c", 1)]
    (rest,) = (file for file in iceberg.snapshot("made.sites").files if file.source is None)
    assert rest.order == "pos desc"


def test_without_its_side_file_the_footer_tells_what_a_merged_file_holds(
    iceberg: IcebergLake,
) -> None:
    three(iceberg)
    (iceberg.folder / "cache" / "made.sites" / "head.side").unlink()
    put(iceberg, "s3://b/b", sites(9))
    assert sorted(positions(iceberg)) == [1, 3, 4, 9]


def test_a_merged_file_that_another_tool_wrote_is_told_by_its_rows(iceberg: IcebergLake) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    three(iceberg)
    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{iceberg.folder}/catalog.db")
    table = catalog.load_table("made.sites")
    table.overwrite(table.scan().to_arrow())
    assert {file.members for file in iceberg.snapshot("made.sites").files} == {()}
    put(iceberg, "s3://b/b", sites(9))
    assert sorted(positions(iceberg)) == [1, 3, 4, 9]


def test_a_merge_of_files_that_were_replaced_meanwhile_is_overtaken(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    (old,) = iceberg.snapshot("made.sites").files
    put(iceberg, "s3://b/a", sites(2))
    with pytest.raises(Overtaken):
        iceberg.commit_all([Change(SITES, frozenset(), (), rewrites=frozenset([old.path]))])
    assert positions(iceberg) == [2]


def test_a_commit_that_finds_other_files_than_expected_is_overtaken(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    change = Change(SITES, frozenset(["s3://b/a"]), (), expected=frozenset(["elsewhere"]))
    with pytest.raises(Overtaken):
        iceberg.commit_all([change])
    (file,) = iceberg.snapshot("made.sites").files
    iceberg.commit_all([Change(SITES, change.sources, (), expected=frozenset([file.path]))])
    assert positions(iceberg) == []


def test_a_replaced_part_leaves_no_file_behind(iceberg: IcebergLake) -> None:
    three(iceberg)
    put(iceberg, "s3://b/b", sites(9))
    put(iceberg, "s3://b/a", sites(8))
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_predicates_cover_objects_by_their_names(iceberg: IcebergLake) -> None:
    three(iceberg)
    put(iceberg, "s3://b/d", sites(7))
    change = Change(SITES, frozenset(), (), covers=lambda source: source[-1] in "ad")
    iceberg.commit_all([change])
    assert sorted(positions(iceberg)) == [2, 3, 5, 6]


def test_rows_of_a_damaged_merged_file_are_not_carried_on(iceberg: IcebergLake) -> None:
    """A page that is changed where its CRC is not looked at by pyarrow gives other numbers."""
    three(iceberg)
    (file,) = iceberg.snapshot("made.sites").files
    path = Path(file.path)
    data = bytearray(path.read_bytes())
    chunk = file.row_groups[0].chunks[1]
    data[chunk.offset + chunk.length - 1] ^= 1
    path.write_bytes(data)
    before = iceberg.metadata_files(), warehouse_files(iceberg)
    with pytest.raises(BadLake, match="a data file is damaged") as told:
        put(iceberg, "s3://b/b", sites(9))
    assert told.value.where == file.path
    iceberg.sweep()
    written = {path for path in warehouse_files(iceberg) if path.endswith(".parquet")}
    assert iceberg.metadata_files() == before[0]
    assert {file.path} <= written
    with pytest.raises(BadLake, match="a data file is damaged"):
        iceberg.read_table("made.sites")
