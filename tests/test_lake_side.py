"""Side files: reading an unchanged snapshot is light, and never trusts what is damaged or stale."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.errors import (
    NotFound,
)
from lakeq.lake import IcebergLake
from lakeq.lake.commit import Change
from lakeq.lake.side import SideFiles
from lakeq.snapshot import DataFile, Footer
from tests.lake_formats import (
    lake_at,
    new_file,
    positions,
    put,
    sites,
)
from tests.lake_formats.tally import CARRIERS, SITES

HEAVY = ("pyiceberg", "pandas", "pyarrow", "numpy", "boto3", "duckdb", "sqlalchemy")


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


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


@pytest.mark.parametrize("commits", range(1, 6))
def test_the_side_file_after_a_commit_equals_the_one_made_from_the_metadata(
    iceberg: IcebergLake, commits: int
) -> None:
    """Of a new table, with files added to those that were packed, and with some replaced."""
    told = [
        ("s3://b/a", sites(1, 2)),
        ("s3://b/b", [*sites(3), *sites(4, contig="X")]),
        ("s3://b/c", sites(7, contig="MT")),
        ("s3://b/a", sites(*range(100))),
        ("s3://b/d", sites(8)),
    ]
    for uri, rows in told[:commits]:
        put(iceberg, uri, rows)
    fast = iceberg.snapshot("made.sites")
    (iceberg.folder / "cache" / "made.sites" / "head.side").unlink()
    slow = iceberg.snapshot("made.sites")
    assert fast == slow
    assert [f.row_groups for f in fast.files] == [f.row_groups for f in slow.files]


@pytest.mark.parametrize("damage", [b"", b"x", b"lakeq-side-2 00000000 000000000002\n{}", None])
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
    from lakeq.lake.side import _decoded

    try:
        decoded = _decoded(bytes(flipped), "key")
    except (ValueError, KeyError, IndexError, TypeError, OverflowError):
        return
    assert decoded is None or decoded == _decoded(good, "key")


def _side_bytes() -> bytes:
    from lakeq.lake.side import Side, _encoded
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
