"""Chunks of the real-time bucket become the volume that the archive will have (INGEST.md, S28)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

import lakeq
from lakeq.api import Lake
from tests.lake_formats import named_files, warehouse_files
from tests.support.data import real_file, real_files
from tests.support.s3 import REGION, S3

TABLES = ("volumes", "sweeps", "rays", "gates", "grid")
OF_THE_OBJECT = ("object", "etag", "size_bytes")


def chunks(volume: str) -> list[Path]:
    """The chunk objects of a real volume in the order of their numbers."""
    real_file(f"nexrad/chunks/{volume}/{FIRST[volume]}")
    return real_files(f"nexrad/chunks/{volume}/*")


FIRST = {
    "KLOT/34": "20201019-054806-001-S",
    "KLOT/901": "20260328-201457-001-S",
    "KLOT/940": "20210625-075154-001-S",
    "TORD/185": "20260811-225858-001-S",
}


def archived(volume: str, folder: Path) -> Path:
    """The archive's object: the chunks one after the other (PROVENANCE.md)."""
    first = FIRST[volume]
    path = folder / f"{volume.partition('/')[0]}{first[:8]}_{first[9:15]}_V06"
    path.write_bytes(b"".join(chunk.read_bytes() for chunk in chunks(volume)))
    return path


def rows(lake: Lake, table: str) -> str:
    """A relation of the table's rows without what tells of its objects.

    Chunks know the start of their volume to the second, from their keys.
    """
    paths = [file.path for file in lake._iceberg.snapshot(f"nexrad.{table}").files]
    without = ["_source", *(OF_THE_OBJECT if table == "volumes" else ())]
    second = "date_trunc('second', volume_time) AS volume_time"
    return f"SELECT * EXCLUDE ({', '.join(without)}) REPLACE ({second}) FROM read_parquet({paths})"


def contents(lake: Lake, table: str) -> tuple[int, int]:
    """The number of rows, and the sum of the hashes of all rows, whatever their order."""
    sums = f"SELECT count(*), sum(hash(r)::HUGEINT) FROM ({rows(lake, table)}) AS r"
    found = duckdb.sql(sums).fetchone()
    assert found is not None
    return found


def ask(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return duckdb.sql(sql.replace("VOLUMES", f"({rows(lake, 'volumes')})")).fetchall()


def shuffled(volume: str, seed: int = 28) -> list[Path]:
    """All chunks, a third of them twice, in no order."""
    found = chunks(volume)
    order = [*found, *found[::3]]
    random.Random(seed).shuffle(order)
    return order


def ingest_in_calls(lake: Lake, objects: Sequence[Path], calls: int) -> None:
    size = -(-len(objects) // calls)
    for start in range(0, len(objects), size):
        lake.ingest("nexrad", list(dict.fromkeys(objects[start : start + size])))


@pytest.mark.slow
def test_shuffled_chunks_in_several_calls_give_the_tables_of_the_archive(
    lake: Lake, tmp_path: Path
) -> None:
    """The last chunks of a volume that broke off (KLOT/34) never come: the archive lacks them."""
    whole = lakeq.connect(tmp_path / "whole")
    for volume, calls in (("TORD/185", 3), ("KLOT/34", 2)):
        whole.ingest("nexrad", [archived(volume, tmp_path)])
        ingest_in_calls(lake, shuffled(volume), calls)
    for table in TABLES:
        assert contents(lake, table) == contents(whole, table), table
    missing = "SELECT sweeps_missing[1], complete FROM VOLUMES ORDER BY volume_time"
    assert ask(lake, missing) == [(3, False), (None, True)]


@pytest.mark.soak
@pytest.mark.parametrize("volume", FIRST)
@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_all_chunks_gives_the_tables_of_the_archive(
    volume: str, seed: int, lake: Lake, tmp_path: Path
) -> None:
    whole = lakeq.connect(tmp_path / "whole")
    path = archived(volume, tmp_path)
    whole.ingest("nexrad", [path])
    ingest_in_calls(lake, shuffled(volume, seed), 4 + 3 * seed)
    for table in TABLES:
        assert contents(lake, table) == contents(whole, table), table
    lake.ingest("nexrad", [path])
    for table in TABLES:
        assert contents(lake, table) == contents(whole, table), table


def test_the_archive_replaces_its_chunks_and_a_late_chunk_changes_nothing(
    lake: Lake, tmp_path: Path
) -> None:
    found = chunks("TORD/185")
    path = archived("TORD/185", tmp_path)
    lake.ingest("nexrad", found[:10])
    (report,) = lake.ingest("nexrad", [path]).objects
    assert len(report.replaced) == 10
    before = {table: lake.table(f"nexrad.{table}").snapshot for table in TABLES}
    late = lake.ingest("nexrad", found[8:15]).objects
    assert {item.kept for item in late} == {path.as_uri()}
    assert {table: lake.table(f"nexrad.{table}").snapshot for table in TABLES} == before
    for snapshot in before.values():
        assert snapshot is not None
        assert {file.source for file in snapshot.files} == {path.as_uri()}
    assert warehouse_files(lake._iceberg) == named_files(lake._iceberg)


def test_a_volume_in_the_making_says_what_is_missing(lake: Lake) -> None:
    """The TDWR sends 16 cuts of 3 chunks each, after the chunk with the header."""
    found = chunks("TORD/185")
    wanted = "SELECT complete, sweeps_declared, sweeps_present, sweeps_missing, rays FROM VOLUMES"
    lake.ingest("nexrad", [*found[:3], *found[7:10]], tables=["volumes", "sweeps"])
    ((complete, declared, present, missing, rays),) = ask(lake, wanted)
    assert (complete, declared, present) == (False, 16, 2)
    assert missing == [1, 2, *range(4, 17)]
    lake.ingest("nexrad", found[3:7], tables=["volumes", "sweeps"])
    assert ask(lake, wanted)[0][3] == list(range(4, 17))
    lake.ingest("nexrad", found[10:], tables=["volumes", "sweeps"])
    assert ask(lake, wanted) == [(True, 16, 16, [], 5760)]
    assert rays < 5760


@pytest.mark.parametrize("gone", ["S", "I", "E"])
def test_without_one_chunk_the_volume_is_incomplete_and_all_other_rays_are_there(
    lake: Lake, gone: str
) -> None:
    found = chunks("TORD/185")
    number = {"S": 0, "I": 20, "E": len(found) - 1}[gone]
    rest = [chunk for chunk in found if chunk is not found[number]]
    lake.ingest("nexrad", rest, tables=["volumes", "sweeps", "rays"])
    lake_rays = lake.table("nexrad.rays").rows
    ((complete, missing, rays),) = ask(lake, "SELECT complete, sweeps_missing, rays FROM VOLUMES")
    assert rays == lake_rays
    assert lake_rays == (5760 if gone == "S" else 5640)
    assert complete is False
    assert missing == {"S": [], "I": [7], "E": [16]}[gone]


def test_a_volume_number_used_again_is_another_volume(lake: Lake, tmp_path: Path) -> None:
    """Numbers wrap from 999 to 0 and come again a day later: site and time name the volume."""
    first = chunks("TORD/185")[:4]
    folder = tmp_path / "TORD" / "185"
    folder.mkdir(parents=True)
    for chunk in first:
        shutil.copy(chunk, folder / chunk.name.replace("20260811", "20260812"))
    lake.ingest("nexrad", first, tables=["volumes", "rays"])
    lake.ingest("nexrad", [*folder.iterdir()], tables=["volumes", "rays"])
    times = ask(lake, "SELECT volume_time::VARCHAR, rays FROM VOLUMES ORDER BY 1")
    assert [rays for _, rays in times] == [360, 360]
    assert lake.table("nexrad.rays").rows == 720


def test_chunks_are_chosen_and_read_from_their_bucket_on_s3(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_credentials: None
) -> None:
    bucket = s3.bucket()
    for chunk in chunks("TORD/185")[:4]:
        s3.put(bucket, f"TORD/185/{chunk.name}", chunk)
    lake = lakeq.connect(
        tmp_path / "lake", s3_endpoint_url=s3.endpoint_url, s3_region=REGION, s3_anon=False
    )
    keys = lake.catalog.dataset("nexrad").keys["chunks"]
    mirror = keys.replace("unidata-nexrad-level2-chunks", bucket)
    chosen = {"site": "TORD", "keys": mirror, "tables": ["volumes", "rays"]}
    report = lake.ingest("nexrad", start="2026-08-11", **chosen)  # type: ignore[arg-type]  # kept short
    assert len(report.objects) == 4
    again = lake.ingest("nexrad", start="2026-08-11", **chosen)  # type: ignore[arg-type]  # kept short
    assert all(item.kept == item.uri for item in again.objects)
    assert ask(lake, "SELECT rays, complete FROM VOLUMES") == [(360, False)]
