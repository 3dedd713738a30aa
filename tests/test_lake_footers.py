"""Footers of many files at once: what is found equals what pyarrow finds, file by file."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lakeq import maintain as upkeep
from lakeq.config import S3Settings, Settings
from lakeq.errors import BadLake, LakeqError
from lakeq.lake import IcebergLake, footers
from lakeq.lake import read as lake_read
from lakeq.lake import read_many as many
from lakeq.lake.inside import Inside, read_inside, with_inside
from lakeq.lake.io import WarehouseIO
from lakeq.lake.pointers import Checksum
from lakeq.lake.read import UNREAD
from lakeq.lake.side import Side, SideFiles
from lakeq.lake.thrift import varint
from lakeq.maintain import Work
from lakeq.snapshot import DataFile, TableSnapshot
from tests import test_lake_pages as pages
from tests.lake_formats import lake_at, put, sites
from tests.lake_formats.tally import SITES

FILES = WarehouseIO(S3Settings())
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

# A column: its type and values of it, bounds of every kind among them.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
FLOATS = st.floats(width=32)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "string": (pa.string(), TEXTS),
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float32(), FLOATS),
    "double": (pa.float64(), st.floats()),
    "boolean": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "time": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "decimal": (pa.decimal128(9, 2), st.integers(-(10**8), 10**8).map(lambda n: Decimal(n) / 100)),
    "binary": (pa.binary(), st.binary(max_size=8)),
    "unsigned": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "list": (pa.list_(pa.int32()), st.lists(st.integers(0, 9), max_size=3)),
    "struct": (
        pa.struct([("gene", pa.string()), ("score", pa.float64())]),
        st.fixed_dictionaries({"gene": TEXTS, "score": st.floats()}),
    ),
}


@st.composite
def tables(draw: st.DrawFn, kinds: Sequence[str]) -> pa.Table:
    """A small table of some columns, each with nulls."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    rows = draw(st.integers(0, 12))
    arrays = {}
    for number, kind in enumerate(chosen):
        type_, values = COLUMNS[kind]
        some = st.one_of(st.none(), values) if draw(st.booleans()) else values
        column = draw(st.lists(some, min_size=rows, max_size=rows))
        arrays[f"{kind}{number}"] = pa.array(column, type_)
    return pa.table(arrays)


def bare(path: Path) -> DataFile:
    return DataFile(str(path), path.stat().st_size, 0, UNREAD)


def summed(path: Path) -> Checksum:
    data = path.read_bytes()
    metadata = pq.read_metadata(path)
    chunks = metadata.num_row_groups * metadata.num_columns
    length = int.from_bytes(data[-8:-4], "little") + 8
    return Checksum(len(data), "", crc32(data[-length:]), None, tuple(range(chunks)))


def read(paths: Sequence[Path], sums: dict[str, Checksum]) -> Sequence[DataFile]:
    """All at once; that nothing was left to the other way is for the caller to check."""
    slow = reader(sums)
    with ThreadPoolExecutor(2) as pool:
        return many.read_many(FILES, [bare(path) for path in paths], sums, slow, pool)


def reader(sums: dict[str, Checksum]) -> Callable[[DataFile], Inside]:
    return lambda file: read_inside(FILES, file.path, file.size_bytes, sums.get(file.path))


def one_by_one(paths: Sequence[Path], sums: dict[str, Checksum]) -> list[DataFile]:
    slow = reader(sums)
    return [with_inside(bare(path), slow(bare(path))) for path in paths]


def told(files: Sequence[DataFile]) -> list[object]:
    """Everything of files, footers too, in plain types; the sign of a zero and NaN as bits."""
    return [
        (file, file.footer.leaves, *map(list, _numbers(file)), _bounds(file), _sums(file))
        for file in files
    ]


def _numbers(file: DataFile) -> tuple[Sequence[int], ...]:
    footer = file.footer
    return footer.rows, footer.offsets, footer.lengths, footer.crc32s


def _sums(file: DataFile) -> tuple[int, int | None]:
    return file.footer.size_bytes, file.footer.footer_crc32


def _bounds(file: DataFile) -> list[object]:
    """Without the texts that arrays cannot hold: those with a NUL character."""
    footer = file.footer
    found: list[object] = []
    for each in footer.bounds or [None] * len(footer.lengths):
        if each is not None and "\0" in f"{each.low}{each.high}":
            found.append((_bits(None), _bits(None), each.nulls, each.all_null))
        else:
            found.append(each and (_bits(each.low), _bits(each.high), each.nulls, each.all_null))
    return found


def _bits(value: object) -> object:
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


@QUICK
@given(
    found=st.lists(tables(tuple(COLUMNS)), min_size=1, max_size=4),
    group=st.integers(1, 5),
    statistics=st.booleans(),
    vouched=st.booleans(),
)
def test_footers_of_pyarrow_are_what_pyarrow_reads(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[pa.Table],
    group: int,
    statistics: bool,
    vouched: bool,
) -> None:
    folder = tmp_path_factory.mktemp("pyarrow")
    paths = []
    for number, table in enumerate([*found, *found]):
        paths.append(folder / f"{number}.parquet")
        pq.write_table(table, paths[-1], row_group_size=group, write_statistics=statistics)
    sums = {str(path): summed(path) for path in paths} if vouched else {}
    assert told(read(paths, sums)) == told(one_by_one(paths, sums))


@QUICK
@example(found=[[dict.fromkeys(pages.KINDS) | {"text": "\0"}]], group=1)
@given(found=st.lists(pages.ROWS, min_size=1, max_size=4), group=st.integers(1, 45))
def test_footers_of_our_writer_are_what_pyarrow_reads(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[dict[str, Any]]], group: int
) -> None:
    folder = tmp_path_factory.mktemp("own")
    paths = []
    for number, rows in enumerate([*found, *found]):
        paths.append(folder / f"{number}.parquet")
        table = pa.Table.from_pylist(rows, schema=pages.SCHEMA)
        paths[-1].write_bytes(pages.write(table, group))
    sums = {str(path): summed(path) for path in paths}
    assert told(read(paths, sums)) == told(one_by_one(paths, sums))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 row groups of every column that our writer has, with notes."""
    path = tmp_path_factory.mktemp("written") / "file.parquet"
    rows = [{"text": f"{n}", "pos": n, "double": n / 3, "codes": [n]} for n in range(60)]
    path.write_bytes(pages.write(pa.Table.from_pylist(rows, schema=pages.SCHEMA), 3))
    return path


def test_no_file_of_the_plain_case_is_read_the_other_way(written: Path) -> None:
    def never(file: DataFile) -> Inside:
        raise AssertionError(file.path)

    sums = {str(written): summed(written)}
    with ThreadPoolExecutor(1) as pool:
        found = many.read_many(FILES, [bare(written)] * 3, sums, never, pool)
    assert [len(file.footer.rows) for file in found] == [20] * 3
    text = found[0].footer.bounds[pages.SCHEMA.names.index("text")]
    assert text is not None
    assert (text.low, text.high) == ("0", "2")


def outcome(way: Callable[..., Sequence[DataFile]], path: Path) -> object:
    """What was found, or the words of the error."""
    try:
        return told(way([path], {}))
    except LakeqError as error:
        return str(error)


def damaged(data: bytes, seed: int) -> bytes:
    """`data` with one to three bytes of its footer changed, or cut short."""
    chance, found = random.Random(seed), bytearray(data)
    length = int.from_bytes(data[-8:-4], "little") + 8
    for _ in range(chance.randint(1, 3)):
        at = len(data) - chance.randint(1, length)
        found[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(found[: -chance.randint(1, 40)] if chance.random() < 0.1 else found)


@pytest.mark.parametrize("start", [0, pytest.param(1000, marks=pytest.mark.soak)])
def test_damaged_footers_are_told_as_one_by_one(written: Path, tmp_path: Path, start: int) -> None:
    """Nothing vouches for them: what cannot be read is an error, what can is read alike."""
    data, path = written.read_bytes(), tmp_path / "damaged.parquet"
    for seed in range(start, start + (200 if start == 0 else 20_000)):
        path.write_bytes(damaged(data, seed))
        assert outcome(read, path) == outcome(one_by_one, path), seed


def test_a_footer_that_is_not_what_was_written_is_named(written: Path, tmp_path: Path) -> None:
    data, path = written.read_bytes(), tmp_path / "damaged.parquet"
    for seed in range(50):
        path.write_bytes(damaged(data, seed))
        if path.read_bytes() == data:
            continue
        with pytest.raises(BadLake) as found:
            read([written, path, written], {str(path): summed(written)})
        assert found.value.where == str(path)


@pytest.mark.parametrize("count", [15, 2**31, 2**62, 2**64 - 1])
def test_a_list_longer_than_the_footer_asks_for_no_memory(count: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    footer = b"\x15\x02\x19\xfc" + varint(count)  # version 1, a schema of `count` elements
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    walked = footers.walk(np.frombuffer(footer, np.uint8), np.asarray([len(footer)]))
    assert walked.files[0, footers.OK] == 0
    assert sum(array.nbytes for array in walked) < 1000
    with pytest.raises(BadLake, match="more than bytes") as found:
        read([path], {})
    assert found.value.where == str(path)


def test_a_lake_is_the_same_read_at_once_or_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of one object, compacted ones whose footers name several, and one without sums."""
    lake = lake_at(tmp_path)
    for number in range(4):
        put(lake, f"s3://b/{number}", sites(number, number + 7))
    upkeep.maintain(lake, Settings(lake=tmp_path), [SITES], Work())
    for number in range(4, 7):
        put(lake, f"s3://b/{number}", [*sites(number), *sites(number + 3, contig="X")])
    with sqlite3.connect(tmp_path / "catalog.db") as catalog:
        catalog.execute("delete from lakeq_checksums where path in (?)", [paths_of(lake)[-1]])

    def cold() -> TableSnapshot:
        shutil.rmtree(tmp_path / "cache")
        return lake.snapshot("made.sites")

    plain = cold()
    monkeypatch.setattr(lake_read, "MANY_FILES", 1)
    at_once = cold()
    assert [bool(file.members) for file in plain.files].count(True) == 1
    assert [file.footer.footer_crc32 is None for file in plain.files].count(True) == 1
    assert told(at_once.files) == told(plain.files)
    assert replace(at_once, files=()) == replace(plain, files=())
    assert told(lake.snapshot("made.sites").files) == told(plain.files)  # from its side file


def paths_of(lake: IcebergLake) -> list[str]:
    return [file.path for file in lake.snapshot("made.sites").files]


def test_a_text_bound_that_ends_in_a_line_break_is_kept_whole(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    pq.write_table(pa.table({"note": ["a\n", "b\n"]}), file)
    table = TableSnapshot(
        "made.t", 1, datetime(2026, 1, 1, tzinfo=UTC), (), read([file], {str(file): summed(file)})
    )
    sides = SideFiles(tmp_path)
    sides.write("made.t", "head", "key", Side(table))
    side = sides.read("made.t", "head", "key")
    assert side is not None
    (bounds,) = side.snapshot.files[0].footer.bounds
    assert bounds is not None
    assert (bounds.low, bounds.high) == ("a\n", "b\n")
