"""Each thing once: copies under other names, better and worse ones, and parts in any order."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from lakeq import convert, formats
from lakeq.config import Settings
from lakeq.convert import IngestReport
from lakeq.errors import BadLake, BadSource
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
from tests.lake_formats import FOLDER, lake_at, named_files, warehouse_files
from tests.lake_formats.puzzle import dataset


@pytest.fixture(autouse=True)
def _puzzle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def ingest(lake: IcebergLake, *objects: Path, **options: Any) -> IngestReport:
    storage = Storage(Settings(lake=lake.folder))
    return convert.ingest(lake, storage, dataset(), objects, **options)


def made(folder: Path, name: str, *numbers: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, numbers)))
    return path


def pieces(lake: IcebergLake) -> list[int]:
    return sorted(lake.read_table("puzzle.pieces")["n"].to_pylist())


def things(lake: IcebergLake) -> list[tuple[str, int, int, bool]]:
    rows = lake.read_table("puzzle.things").to_pylist()
    return sorted((r["thing"], r["n"], r["total"], r["whole"]) for r in rows)


# Copies.


def test_the_report_says_whether_the_object_was_there_before(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    first = made(tmp_path, "a.whole", 1, 2)
    assert [ingest(iceberg, first).objects[0].replaces for _ in range(2)] == [False, True]


def test_a_copy_under_another_name_replaces_the_first(iceberg: IcebergLake, tmp_path: Path) -> None:
    first = made(tmp_path, "a.whole", 1, 2)
    copy = made(tmp_path, "elsewhere/a.whole.gz", 1, 2)
    ingest(iceberg, first)
    (report,) = ingest(iceberg, copy).objects
    assert (report.replaced, report.kept) == ((first.as_uri(),), "")
    assert pieces(iceberg) == [1, 2]
    assert things(iceberg) == [("a", 2, 3, True)]


def test_a_copy_with_fewer_rows_is_left_for_the_fuller_one(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    full = made(tmp_path, "a.whole", 1, 2, 3)
    ingest(iceberg, full)
    (report,) = ingest(iceberg, made(tmp_path, "cut/a.whole", 1)).objects
    assert (report.kept, report.rows) == (full.as_uri(), {})
    assert pieces(iceberg) == [1, 2, 3]
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_an_object_overwritten_under_its_own_name_counts_whatever_it_holds(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    ingest(iceberg, made(tmp_path, "a.whole", 1, 2, 3))
    ingest(iceberg, made(tmp_path, "a.whole", 9))
    assert pieces(iceberg) == [9]


def test_of_two_copies_in_one_call_the_fuller_one_is_taken(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    full = made(tmp_path, "a.whole", 1, 2, 3)
    cut = made(tmp_path, "cut/a.whole.gz", 1)
    reports = ingest(iceberg, full, cut, made(tmp_path, "b.whole", 7)).objects
    assert [report.kept for report in reports] == ["", full.as_uri(), ""]
    assert pieces(iceberg) == [1, 2, 3, 7]
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_objects_without_an_identity_replace_only_themselves(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    for folder in ("x", "y"):
        ingest(iceberg, made(tmp_path, f"{folder}/NAMELESS", 5))
    assert pieces(iceberg) == [5, 5]


def test_objects_that_the_dataset_skips_by_name_are_not_read(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    (tmp_path / "a.skip").write_text("!fail")
    report = ingest(iceberg, made(tmp_path, "a.whole", 1), tmp_path / "a.skip")
    assert report.notes == {"objects that the dataset skips by name": 1}
    assert len(report.objects) == 1


def test_a_dry_run_says_what_would_be_replaced_or_left(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    first = made(tmp_path, "a.whole", 1, 2)
    ingest(iceberg, first)
    copy, late = made(tmp_path, "x/a.whole.gz", 1), made(tmp_path, "a.001.part", 1)
    reports = ingest(iceberg, copy, late, dry_run=True).objects
    assert reports[0].replaced == (first.as_uri(),)
    assert reports[1].kept == first.as_uri()


def test_many_objects_at_once_give_the_rows_of_one_by_one(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    for number in range(30):
        name = f"{chr(97 + number // 26)}{chr(97 + number % 26)}.whole"
        made(tmp_path, name, number, number + 100)
    ingest(iceberg, tmp_path / "*.whole")
    assert pieces(iceberg) == sorted([*range(30), *range(100, 130)])
    sources = [file.source for file in iceberg.snapshot("puzzle.pieces").files]
    assert sources == sorted(map(str, sources))


def test_a_bad_object_among_many_leaves_nothing(iceberg: IcebergLake, tmp_path: Path) -> None:
    for name in "abcdefgh":
        made(tmp_path, f"{name}.whole", 1)
    (tmp_path / "e.whole").write_text("!fail")
    with pytest.raises(BadSource):
        ingest(iceberg, tmp_path / "*.whole")
    assert iceberg.tables() == []
    assert warehouse_files(iceberg) == set()


# Parts.


def parts(folder: Path, count: int = 6, thing: str = "a") -> list[Path]:
    return [made(folder, f"{thing}.{n:03}.part", 10 * n, 10 * n + 1) for n in range(count)]


def test_parts_add_up_in_any_order_over_many_calls(iceberg: IcebergLake, tmp_path: Path) -> None:
    paths = parts(tmp_path) * 2  # each comes twice
    random.Random(28).shuffle(paths)
    for start in range(0, len(paths), 3):
        ingest(iceberg, *paths[start : start + 3])
    assert pieces(iceberg) == sorted(n for k in range(6) for n in (10 * k, 10 * k + 1))
    assert things(iceberg) == [("a", 12, 306, False)]


def test_a_part_that_is_there_already_is_not_read(iceberg: IcebergLake, tmp_path: Path) -> None:
    first, *_ = parts(tmp_path)
    ingest(iceberg, first)
    snapshots = len(iceberg.snapshots("puzzle.pieces"))
    (report,) = ingest(iceberg, first).objects
    assert (report.kept, report.rows) == (first.as_uri(), {})
    assert len(iceberg.snapshots("puzzle.pieces")) == snapshots


def test_a_damaged_file_of_parts_is_not_believed(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, *parts(tmp_path, 3))
    before = iceberg.metadata_files()
    path = Path(iceberg.snapshot("puzzle._parts").files[0].path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(BadLake, match="a data file is damaged") as told:
        ingest(iceberg, *parts(tmp_path, 4)[3:])
    assert told.value.where == str(path)
    assert iceberg.metadata_files() == before


def test_a_part_that_changed_replaces_itself(iceberg: IcebergLake, tmp_path: Path) -> None:
    ingest(iceberg, *parts(tmp_path, 3))
    ingest(iceberg, made(tmp_path, "a.001.part", 500))
    assert pieces(iceberg) == [0, 1, 20, 21, 500]
    assert things(iceberg) == [("a", 5, 542, False)]


def test_a_part_from_another_place_replaces_the_same_part(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    ingest(iceberg, *parts(tmp_path, 3))
    ingest(iceberg, made(tmp_path, "mirror/a.001.part", 10, 11))
    assert pieces(iceberg) == [0, 1, 10, 11, 20, 21]
    assert things(iceberg) == [("a", 6, 63, False)]


def test_the_whole_object_replaces_its_parts_and_late_parts_change_nothing(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    early = parts(tmp_path)
    ingest(iceberg, *early[:4])
    whole = made(tmp_path, "a.whole", *pieces(iceberg), 40, 41, 50, 51)
    (report,) = ingest(iceberg, whole).objects
    assert set(report.replaced) == {path.as_uri() for path in early[:4]}
    late = ingest(iceberg, *early[4:]).objects
    assert {item.kept for item in late} == {whole.as_uri()}
    assert pieces(iceberg) == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    assert things(iceberg) == [("a", 12, 306, True)]
    assert iceberg.snapshot("puzzle._parts").rows == 0
    assert warehouse_files(iceberg) == named_files(iceberg)


def test_parts_and_the_whole_in_one_call_give_the_whole(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    ingest(iceberg, *parts(tmp_path, 2), made(tmp_path, "a.whole", 7), *parts(tmp_path, 2, "b"))
    assert things(iceberg) == [("a", 1, 7, True), ("b", 4, 22, False)]


def test_one_table_of_a_whole_object_leaves_the_parts_of_the_others(
    iceberg: IcebergLake, tmp_path: Path
) -> None:
    early = parts(tmp_path, 3)
    ingest(iceberg, *early[:2])
    ingest(iceberg, made(tmp_path, "a.whole", 7), table_names=["things"])
    ingest(iceberg, early[2])
    assert things(iceberg) == [("a", 1, 7, True)]
    assert pieces(iceberg) == [0, 1, 10, 11, 20, 21]


def test_parts_in_a_compacted_file_are_replaced_too(iceberg: IcebergLake, tmp_path: Path) -> None:
    from tests.test_lake_rewrite import merge

    ingest(iceberg, *parts(tmp_path, 3))
    merge(iceberg, dataset().tables["pieces"])
    ingest(iceberg, made(tmp_path, "a.001.part", 500))
    assert pieces(iceberg) == [0, 1, 20, 21, 500]


@pytest.mark.slow
def test_many_workers_at_once_assemble_one_thing(iceberg: IcebergLake, tmp_path: Path) -> None:
    """Each brings every part in its own order; the whole object arrives in the middle of it."""
    paths = parts(tmp_path, 5)
    whole = made(tmp_path, "b.whole", 7)
    others = parts(tmp_path, 2, "b")

    def work(seed: int) -> None:
        order = [*paths, *others, whole] if seed else [*others, *paths]
        random.Random(seed).shuffle(order)
        for path in order:
            ingest(lake_at(iceberg.folder), path)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert things(iceberg) == [("a", 10, 205, False), ("b", 1, 7, True)]
    assert pieces(iceberg) == sorted([7, *(n for k in range(5) for n in (10 * k, 10 * k + 1))])
