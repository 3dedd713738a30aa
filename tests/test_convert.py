"""Raw objects to rows: what is replaced, how samples are numbered, what errors leave behind."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lakeq import convert, formats
from lakeq.config import S3Settings, Settings
from lakeq.convert import IngestReport
from lakeq.errors import (
    BadSource,
    NotFound,
    StorageUnavailable,
    UnknownName,
    UsageError,
)
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
from tests.lake_formats import FOLDER, file_limit, lake_at, positions
from tests.lake_formats.tally import CARRIERS, RELEASE, SAMPLES, SITES, dataset
from tests.support.s3 import S3

PANEL = "sample\tpop\tsuper_pop\tgender\nann\tGBR\tEUR\tfemale\nbob\tYRI\tAFR\tmale\n"
TWO = "#samples ann bob\n22 1000 A 1 0\n22 1001 C 0 1\nX 5 T 1 1\n"


@pytest.fixture(autouse=True)
def _tally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def ingest(lake: IcebergLake, *objects: str | Path, **options: Any) -> IngestReport:
    """Ingest into the made dataset, without a panel unless one is given."""
    options = {"panel": "", **options}
    into = options.pop("into", dataset())
    s3 = options.pop("s3", S3Settings())
    storage = Storage(Settings(lake=lake.folder, s3=s3))
    return convert.ingest(lake, storage, into, objects, **options)


def made(folder: Path, name: str, text: str = TWO) -> Path:
    (folder / name).write_text(text)
    return folder / name


def numbers(lake: IcebergLake) -> dict[str, int]:
    rows = lake.read_table("made.samples").to_pylist()
    return {row["sample"]: row["number"] for row in rows}


def contents(lake: IcebergLake) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables, and the files there are: to see that nothing changed."""
    rows = {name: lake.read_table(name).to_pylist() for name in lake.tables()}
    files = sorted(str(p) for p in (lake.folder / "warehouse").rglob("*") if p.is_file())
    return {**rows, "files": [{"path": path} for path in files]}


def random_positions(count: int) -> list[int]:
    """Positions that no encoding makes small."""
    generator = random.Random(1)
    return [generator.randrange(1 << 40) for _ in range(count)]


# What an ingest does.


def test_every_table_gets_its_rows_and_the_report_counts_them(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    path = made(tmp_path, "a.txt")
    report = ingest(iceberg, path)
    assert report.rows == {"made.sites": 3, "made.carriers": 4}
    assert report.bytes_read == path.stat().st_size
    assert set(report.snapshots) == {"made.sites", "made.carriers", "made.samples"}
    assert report.bytes_written == sum(
        file.size_bytes for name in iceberg.tables() for file in iceberg.snapshot(name).files
    )
    assert sorted(positions(iceberg)) == [5, 1000, 1001]


def test_every_row_says_which_object_it_comes_from(iceberg: IcebergLake, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        ingest(iceberg, made(tmp_path, name))
    for file in iceberg.snapshot("made.sites").files:
        assert set(pq.read_table(file.path)["_source"].to_pylist()) == {file.source}
    sources = {file.source for file in iceberg.snapshot("made.sites").files}
    assert sources == {(tmp_path / name).as_uri() for name in ("a.txt", "b.txt")}


def test_the_same_object_again_replaces_its_rows(iceberg: IcebergLake, tmp_path: Path) -> None:
    path = made(tmp_path, "a.txt")
    assert not ingest(iceberg, path).objects[0].replaces
    assert ingest(iceberg, path).objects[0].replaces
    assert sorted(positions(iceberg)) == [5, 1000, 1001]


def test_a_new_version_replaces_the_old_one(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann bob\n7 7 G 1 1\n"))
    assert positions(iceberg) == [7]
    assert iceberg.read_table("made.carriers").num_rows == 2


def test_an_object_that_lost_its_rows_takes_them_out_of_every_table(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann bob\n7 7 G 0 0\n"))
    assert positions(iceberg) == [7]
    assert iceberg.read_table("made.carriers").num_rows == 0


def test_all_objects_of_a_call_are_one_commit(iceberg: IcebergLake, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        made(tmp_path, name)
    ingest(iceberg, tmp_path / "*.txt")
    assert [len(iceberg.snapshots(name)) for name in iceberg.tables()] == [1, 1, 1]


def test_many_objects_are_committed_in_batches(
    iceberg: IcebergLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "BATCH_OBJECTS", 2)
    for name in "abcde":
        made(tmp_path, f"{name}.txt", f"#samples ann\n1 {ord(name)} A 1\n")
    report = ingest(iceberg, tmp_path / "*.txt")
    assert len(iceberg.snapshots("made.sites")) == 3
    assert positions(iceberg) == [97, 98, 99, 100, 101]
    assert len(report.objects) == 5


def test_one_table_alone_can_be_filled(iceberg: IcebergLake, tmp_path: Path) -> None:
    report = ingest(iceberg, made(tmp_path, "a.txt"), table_names=["carriers"])
    assert report.rows == {"made.carriers": 4}
    assert iceberg.tables() == ["made.carriers", "made.samples"]


def test_an_unknown_table_names_the_nearest(iceberg: IcebergLake, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean sites"):
        ingest(iceberg, made(tmp_path, "a.txt"), table_names=["site"])


def test_each_partition_value_has_its_own_file(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    partitions = [file.partition for file in iceberg.snapshot("made.sites").files]
    assert partitions == [(("contig", "22"),), (("contig", "X"),)]


def test_rows_keep_their_order_over_many_batches(iceberg: IcebergLake, tmp_path: Path) -> None:
    lines = "".join(f"22 {number} A 1\n" for number in range(5000))
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann\n" + lines))
    assert positions(iceberg) == list(range(5000))


def test_a_large_table_is_written_in_several_row_groups_and_files(
    iceberg: IcebergLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq.lake.parquet.BUFFER_BYTES", 20_000)
    monkeypatch.setattr("lakeq.lake.layout.FILE_BYTES", 10_000)
    values = random_positions(9000)
    lines = "".join(f"22 {value} A 1\n" for value in values)
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann\n" + lines))
    files = iceberg.snapshot("made.sites").files
    assert len(files) > 1
    assert len(files[0].row_groups) > 1
    assert positions(iceberg) == values


def test_memory_over_all_open_files_is_bounded(
    iceberg: IcebergLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many partitions are open, what waits in memory is written beyond the limit."""
    from lakeq.convert import sink as convert_sink

    monkeypatch.setattr(convert_sink, "PENDING_BYTES", 50_000)
    lines = "".join(f"{number % 20} {number} A 1\n" for number in range(20_000))
    pending: list[int] = []
    write = convert_sink.Sink.write

    def watched(self: convert_sink.Sink, batch: formats.TableBatch) -> None:
        write(self, batch)
        pending.append(sum(file.pending_bytes for file in self._open.values()))

    monkeypatch.setattr(convert_sink.Sink, "write", watched)
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann\n" + lines))
    assert max(pending) < 60_000
    assert iceberg.snapshot("made.sites").rows == 20_000


def test_progress_is_told_the_bytes_read_and_ends_with_all(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    path = made(tmp_path, "a.txt")
    calls: list[tuple[str, int, int]] = []
    ingest(iceberg, path, progress=lambda *call: calls.append(call))
    size = path.stat().st_size
    assert calls[-1] == (path.as_uri(), size, size)
    assert [read for _, read, _ in calls] == sorted(read for _, read, _ in calls)


# A dry run.


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    path = made(tmp_path, "a.txt")
    report = ingest(iceberg, path, dry_run=True)
    assert report.dry_run
    (planned,) = report.objects
    assert (planned.uri, planned.size_bytes) == (path.as_uri(), path.stat().st_size)
    assert set(planned.rows) == {"made.sites", "made.carriers"}
    assert not planned.replaces
    assert not iceberg.folder.exists()


def test_a_dry_run_says_which_objects_are_in_the_lake(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    made(tmp_path, "b.txt")
    report = ingest(iceberg, tmp_path / "*.txt", dry_run=True)
    assert [planned.replaces for planned in report.objects] == [True, False]


# Tables that hold one release at a time.


def test_a_new_release_replaces_the_table(iceberg: IcebergLake, tmp_path: Path) -> None:
    into = dataset(RELEASE)
    ingest(iceberg, made(tmp_path, "2023.txt"), into=into)
    ingest(iceberg, made(tmp_path, "2024.txt", "1 9 A\n"), into=into)
    assert positions(iceberg, table="made.release") == [9]


def test_two_releases_in_one_call_are_refused(iceberg: IcebergLake, tmp_path: Path) -> None:
    for name in ("2023.txt", "2024.txt"):
        made(tmp_path, name)
    with pytest.raises(UsageError, match="one object at a time"):
        ingest(iceberg, tmp_path / "*.txt", into=dataset(RELEASE))
    assert iceberg.tables() == []


def test_an_object_without_rows_for_a_release_table_leaves_it(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    """The other assembly's object, say: each object fills the tables that it has rows for."""
    into = dataset(RELEASE)
    ingest(iceberg, made(tmp_path, "2023.txt", "1 9 A\n"), into=into)
    ingest(iceberg, made(tmp_path, "other.txt", "#nothing\n"), into=into)
    assert positions(iceberg, table="made.release") == [9]


# Formats.


def test_a_dataset_of_two_formats_goes_by_the_name_of_the_object(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    sites = replace(SITES, objects=("https://h/x/*.txt",))
    other = replace(RELEASE, format="vcf", objects=("https://h/x/*.vcf",))
    ingest(iceberg, made(tmp_path, "a.txt"), into=dataset(sites, other))
    assert iceberg.tables() == ["made.sites"]
    with pytest.raises(UsageError, match="cannot tell"):
        ingest(iceberg, made(tmp_path, "a.dat"), into=dataset(sites, other))


# Samples and panels.


def test_samples_are_numbered_from_0_in_the_order_of_the_header(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    ingest(iceberg, made(tmp_path, "a.txt", "#samples zoe ann mia\n1 1 A 1 0 1\n"))
    assert numbers(iceberg) == {"zoe": 0, "ann": 1, "mia": 2}
    assert iceberg.read_table("made.sites")["carriers"].to_pylist() == [[0, 2]]


def test_a_sample_keeps_its_number_in_every_object(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt", "#samples ann bob\n1 1 A 1 1\n"))
    ingest(iceberg, made(tmp_path, "b.txt", "#samples cid bob ann\n1 2 A 1 1 0\n"))
    assert numbers(iceberg) == {"ann": 0, "bob": 1, "cid": 2}
    carriers = dict(
        zip(
            positions(iceberg),
            iceberg.read_table("made.sites")["carriers"].to_pylist(),
            strict=True,
        )
    )
    assert carriers == {1: [0, 1], 2: [2, 1]}


def test_objects_of_one_call_share_their_numbers(iceberg: IcebergLake, tmp_path: Path) -> None:
    made(tmp_path, "a.txt", "#samples ann bob\n1 1 A 1 1\n")
    made(tmp_path, "b.txt", "#samples bob cid\n1 2 A 1 1\n")
    ingest(iceberg, tmp_path / "*.txt")
    assert numbers(iceberg) == {"ann": 0, "bob": 1, "cid": 2}


def test_samples_that_are_known_make_no_new_snapshot(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    report = ingest(iceberg, made(tmp_path, "b.txt"), panel=None)
    assert "made.samples" not in report.snapshots
    assert len(iceberg.snapshots("made.samples")) == 1


def test_a_sample_named_twice_is_bad(iceberg: IcebergLake, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="'ann' stands twice"):
        ingest(iceberg, made(tmp_path, "a.txt", "#samples ann ann\n1 1 A 1 1\n"))


def test_the_panel_fills_populations_and_counts_whom_it_lacks(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    panel = made(tmp_path, "p.panel", PANEL)
    path = made(tmp_path, "a.txt", "#samples ann cid bob\n1 1 A 1 1 1\n")
    report = ingest(iceberg, path, panel=panel)
    assert report.notes == {"samples not in the panel (their population is NULL)": 1}
    assert iceberg.read_table("made.samples").to_pylist() == [
        _sample("ann", 0, "GBR", "EUR", "female"),
        _sample("cid", 1, None, None, None),
        _sample("bob", 2, "YRI", "AFR", "male"),
    ]


def _sample(
    name: str, number: int, population: str | None, super_population: str | None, sex: str | None
) -> dict[str, object]:
    groups = {"population": population, "super_population": super_population}
    return {"sample": name, "number": number, **groups, "sex": sex}


def test_a_panel_given_later_fills_in_what_was_unknown(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    path = made(tmp_path, "a.txt")
    ingest(iceberg, path)
    ingest(iceberg, path, panel=made(tmp_path, "p.panel", PANEL))
    assert iceberg.read_table("made.samples")["population"].to_pylist() == ["GBR", "YRI"]
    assert numbers(iceberg) == {"ann": 0, "bob": 1}


WITH_PANEL = dataset(SITES, SAMPLES, panel="https://archive.example/2013/all.panel")


def test_the_panel_beside_the_object_is_found_by_its_name_in_the_catalog(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    made(tmp_path, "all.panel", PANEL)
    ingest(iceberg, made(tmp_path, "a.txt"), into=WITH_PANEL, panel=None)
    assert iceberg.read_table("made.samples")["population"].to_pylist() == ["GBR", "YRI"]


def test_the_lakes_own_samples_come_before_a_panel(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"), into=WITH_PANEL, panel=made(tmp_path, "p", PANEL))
    ingest(iceberg, made(tmp_path, "b.txt"), into=WITH_PANEL, panel=None)
    assert iceberg.read_table("made.samples")["population"].to_pylist() == ["GBR", "YRI"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_any_panel_the_user_is_asked_for_one(
    iceberg: IcebergLake, tmp_path: Path, dry_run: bool
) -> None:
    with pytest.raises(UsageError, match="--panel FILE.*--no-panel"):
        ingest(iceberg, made(tmp_path, "a.txt"), into=WITH_PANEL, panel=None, dry_run=dry_run)
    assert iceberg.tables() == []


def test_a_panel_that_is_not_there_is_not_found(iceberg: IcebergLake, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.panel"):
        ingest(iceberg, made(tmp_path, "a.txt"), panel=tmp_path / "none.panel")


def test_the_catalogs_panel_is_read_when_the_object_comes_from_its_place(
    iceberg: IcebergLake, s3: S3, aws_credentials: None
) -> None:
    bucket = s3.bucket()
    panel = s3.put(bucket, "meta/all.panel", PANEL.encode())
    uri = s3.put(bucket, "release/a.txt", TWO.encode())
    into = dataset(SITES, SAMPLES, panel=panel)
    ingest(iceberg, uri, into=into, panel=None, s3=S3Settings(endpoint_url=s3.endpoint_url))
    assert iceberg.read_table("made.samples")["population"].to_pylist() == ["GBR", "YRI"]


def test_two_first_ingests_at_once_agree_on_the_numbers(
    iceberg: IcebergLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one commits between our conversion and our commit, so ours is done again."""
    ours = made(tmp_path, "a.txt", "#samples ann bob\n1 1 A 1 1\n")
    theirs = made(tmp_path, "b.txt", "#samples bob cid\n1 2 A 1 1\n")
    commit = convert.Batch.commit
    done: list[IngestReport] = []

    def commit_after_them(self: convert.Batch) -> bool:
        if not done:
            done.append(IngestReport("", ()))
            done.append(ingest(lake_at(iceberg.folder), theirs))
        return commit(self)

    monkeypatch.setattr(convert.Batch, "commit", commit_after_them)
    ingest(iceberg, ours)
    assert numbers(iceberg) == {"bob": 0, "cid": 1, "ann": 2}
    table = iceberg.read_table("made.sites")
    carriers = dict(zip(table["pos"].to_pylist(), table["carriers"].to_pylist(), strict=True))
    assert carriers == {1: [2, 0], 2: [0, 1]}


@pytest.mark.slow
def test_many_ingests_at_once_give_each_sample_one_number(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    def work(number: int) -> None:
        text = f"#samples all s{number}\n1 {number} A 1 1\n"
        ingest(lake_at(iceberg.folder), made(tmp_path, f"{number}.txt", text))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = numbers(iceberg)
    assert sorted(given.values()) == [0, 1, 2, 3, 4]
    table = iceberg.read_table("made.sites")
    for position, carriers in zip(
        table["pos"].to_pylist(), table["carriers"].to_pylist(), strict=True
    ):
        assert carriers == [given["all"], given[f"s{position}"]]


# What goes wrong.


@pytest.mark.parametrize("bad", ["!fail\n", "22 notanumber A 1 0\n"])
def test_a_bad_object_leaves_the_lake_as_it_was(
    iceberg: IcebergLake, tmp_path: Path, bad: str
) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    before = contents(iceberg)
    made(tmp_path, "b.txt", "#samples new one\n1 1 A 1 1\n")
    made(tmp_path, "c.txt", TWO + bad)
    with pytest.raises((BadSource, ValueError)):
        ingest(iceberg, tmp_path / "*.txt")
    assert contents(iceberg) == before


def test_a_bad_object_in_a_new_lake_leaves_it_empty(iceberg: IcebergLake, tmp_path: Path) -> None:
    with pytest.raises(BadSource):
        ingest(iceberg, made(tmp_path, "a.txt", TWO + "!fail\n"))
    assert iceberg.tables() == []
    assert contents(iceberg) == {"files": []}


def test_an_object_that_changes_meanwhile_leaves_the_lake_as_it_was(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    path = made(tmp_path, "a.txt")
    before = contents(iceberg)

    def touch(_uri: str, _read: int, _total: int) -> None:
        os.utime(path, ns=(1, 1))

    made(tmp_path, "b.txt")
    with pytest.raises(BadSource, match="changed"):
        ingest(iceberg, tmp_path / "b.txt", path, progress=touch)
    assert contents(iceberg) == before


def test_a_full_disk_leaves_the_lake_as_it_was(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, made(tmp_path, "a.txt"))
    before = contents(iceberg)
    lines = "".join(f"22 {n} A 1 1\n" for n in random_positions(30_000))
    path = made(tmp_path, "b.txt", "#samples ann bob\n" + lines)
    with pytest.raises(StorageUnavailable, match="the disk is full"), file_limit(30_000):
        ingest(iceberg, path)
    assert contents(iceberg) == before


def test_a_full_file_system_leaves_the_lake_as_it_was(tmp_path: Path, small_disk: Path) -> None:
    lake = lake_at(small_disk / "lake")
    ingest(lake, made(tmp_path, "a.txt"))
    before = contents(lake)
    lines = "".join(f"22 {n} A 1 1\n" for n in random_positions(300_000))
    path = made(tmp_path, "b.txt", "#samples ann bob\n" + lines)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        ingest(lake, path)
    assert contents(lake) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of one megabyte, where the test may mount one."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# Objects and warehouse on S3.


def test_objects_and_warehouse_on_s3(lake_dir: Path, s3: S3, aws_credentials: None) -> None:
    settings = S3Settings(endpoint_url=s3.endpoint_url)
    bucket = s3.bucket()
    lake = lake_at(lake_dir, f"s3://{bucket}/warehouse", settings)
    uris: Sequence[str] = [s3.put(bucket, f"raw/{name}.txt", TWO.encode()) for name in "ab"]
    report = ingest(lake, f"s3://{bucket}/raw/*.txt", s3=settings)
    assert [planned.uri for planned in report.objects] == list(uris)
    ingest(lake, uris[0], s3=settings)
    assert sorted(positions(lake)) == [5, 5, 1000, 1000, 1001, 1001]
    assert not list(lake_dir.rglob("*.parquet"))
    named = {f.path for name in lake.tables() for f in lake.snapshot(name).files}
    stored = {f"s3://{bucket}/{key}" for key in s3.keys(bucket) if key.endswith("parquet")}
    assert named <= stored


def test_a_failed_ingest_leaves_no_objects_in_the_warehouse(
    lake_dir: Path, s3: S3, tmp_path: Path, aws_credentials: None
) -> None:
    bucket = s3.bucket()
    settings = S3Settings(endpoint_url=s3.endpoint_url)
    lake = lake_at(lake_dir, f"s3://{bucket}/w", settings)
    made(tmp_path, "a.txt")
    made(tmp_path, "b.txt", TWO + "!fail\n")
    with pytest.raises(BadSource):
        ingest(lake, tmp_path / "*.txt", s3=settings)
    assert s3.keys(bucket) == []


def test_the_made_tables_are_those_of_the_format() -> None:
    assert CARRIERS.format == "tally"
    assert "tally" in formats.names()
