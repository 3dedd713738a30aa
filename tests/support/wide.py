"""Two tables large enough for estimates to be judged, and 40 queries with what each of them wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakeq.catalog import Column, Dataset, Table
from lakeq.lake.inside import footer_of
from lakeq.snapshot import DataFile, SnapshotColumn, TableSnapshot
from lakeq.types import to_duckdb
from tests.support.counting_server import CountingServer, counting_server
from tests.support.shapes import Shapes

SITES = {
    "contig": "string",
    "pos": "int64",
    "name": "string",
    "a": "float64",
    "b": "float64",
    "depth": "int32",
    "het": "list<int32>",
    "info": "struct<gene: string, score: float64>",
    "note": "string",
}
LABELS = {"contig": "string", "pos": "int64", "label": "string", "weight": "float64"}
COLUMNS = {"sites": SITES, "labels": LABELS}
LEAVES = {"het": ("het.list.element",), "info": ("info.gene", "info.score")}
# Of each file: rows, rows of a row group, first position. Chunks of "3" pass 8 MiB, "X" is small.
FILES = {
    "1": (200_000, 40_000, 0),
    "2": (200_000, 100_000, 10_000_000),
    "3": (450_000, 450_000, 20_000_000),
    "X": (9000, 9000, 30_000_000),
}


@dataclass(frozen=True)
class Wants:
    """By hand, what a query wants of one table: its columns, and bounds of rows that may pass."""

    columns: str
    where: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    table: str = "sites"

    @property
    def leaves(self) -> set[str]:
        """The leaf columns, but for the one that the table is partitioned by."""
        named = [*COLUMNS[self.table]] if self.columns == "*" else self.columns.split()
        return {leaf for name in named for leaf in LEAVES.get(name, (name,))} - {"contig"}


SLICE = {"pos": (20_000_000, 20_100_000)}  # of contig 3
TWO = (Wants("pos note", {"pos": (None, 49_999)}), Wants("pos note", {"pos": (10**7, 10**7 + 100)}))
QUERIES: dict[str, tuple[Wants, ...]] = {
    "select sum(a), max(b) from wide.sites": (Wants("a b"),),
    "select max(note) from wide.sites": (Wants("note"),),
    "select max(note), max(name) from wide.sites": (Wants("note name"),),
    "select max(name), sum(a) from wide.sites": (Wants("name a"),),
    "select max(info.gene), sum(b) from wide.sites": (Wants("info.gene b"),),
    "select max(info.score), max(info.gene) from wide.sites": (Wants("info"),),
    "select max(info) from wide.sites": (Wants("info"),),
    "select sum(len(het)), sum(a) from wide.sites": (Wants("het a"),),
    "select sum(h) from (select unnest(het) as h from wide.sites)": (Wants("het"),),
    "select count(note), count(name) from wide.sites": (Wants("note name"),),
    "select * from wide.sites": (Wants("*"),),
    "select * exclude (note) from wide.sites": (Wants("pos name a b depth het info"),),
    "select contig, count(distinct name) from wide.sites group by contig": (Wants("name"),),
    "select depth, avg(a), avg(b) from wide.sites group by depth": (Wants("depth a b"),),
    "select contig, max(note) from wide.sites group by 1 order by 1": (Wants("note"),),
    "select max(note) from wide.sites where contig = '3'": (Wants("note", {"contig": ("3", "3")}),),
    "select * from wide.sites where contig = '2'": (Wants("*", {"contig": ("2", "2")}),),
    "select * from wide.sites where contig = '1'": (Wants("*", {"contig": ("1", "1")}),),
    "select max(note), sum(a) from wide.sites where contig > '1' and contig < '3'": (
        Wants("note a", {"contig": ("2", "2")}),
    ),
    "select max(note), max(name) from wide.sites where pos < 10000000": (
        Wants("pos note name", {"pos": (None, 9_999_999)}),
    ),
    "select max(note), max(name) from wide.sites where pos >= 20000000": (
        Wants("pos note name", {"pos": (20_000_000, None)}),
    ),
    "select max(note) from wide.sites where pos between 10000000 and 10000100 or pos < 50000": TWO,
    "select max(name), max(note) from wide.sites where pos between 20000000 and 20100000": (
        Wants("pos name note", SLICE),
    ),
    "select sum(a), sum(b), max(info.gene) from wide.sites where pos > 15000000": (
        Wants("pos a b info.gene", {"pos": (15_000_001, None)}),
    ),
    "select max(note) from wide.sites where depth >= 0": (Wants("depth note", {"depth": (0, None)}),),
    "select max(note) from wide.sites where depth < 5": (Wants("depth note", {"depth": (None, 4)}),),
    "select max(note) from wide.sites where a > 0.5": (Wants("a note", {"a": (0.5, None)}),),
    "select max(note) from wide.sites where a > 0.5 and b < 0.5": (
        Wants("a b note", {"a": (0.5, None), "b": (None, 0.5)}),
    ),
    "select sum(a + b), max(name) from wide.sites where depth in (1, 2, 3)": (
        Wants("a b depth name", {"depth": (1, 3)}),
    ),
    "select max(note) from wide.sites where name like 'a%'": (Wants("name note"),),
    "select max(note) from wide.sites where length(name) = 16": (Wants("name note"),),
    "select max(note) from wide.sites where depth is not null": (Wants("depth note"),),
    "select max(n) from (select note as n, row_number() over (order by pos) as r from wide.sites)": (
        Wants("note"),
    ),
    "with x as (select name, a from wide.sites where contig = '3') select max(name), sum(a) from x": (
        Wants("name a", {"contig": ("3", "3")}),
    ),
    "select note from wide.sites where contig = '2' union all "
    "select name from wide.sites where contig = '3'": (
        Wants("note", {"contig": ("2", "2")}),
        Wants("name", {"contig": ("3", "3")}),
    ),
    "select max(note) from wide.sites where pos > (select avg(pos) from wide.labels)": (
        Wants("pos note"),
        Wants("pos", table="labels"),
    ),
    "select count(*), max(s.note) from wide.sites s join wide.labels l using (contig, pos)": (
        Wants("pos note"),
        Wants("pos", table="labels"),
    ),
    "select max(s.note) from wide.sites s left join wide.labels l on s.pos = l.pos": (
        Wants("pos note"),
        Wants("pos", table="labels"),
    ),
    "select max(note) from wide.sites where info.score > 0.5": (
        Wants("info.score note", {"info.score": (0.5, None)}),
    ),
    "select sum(l.weight), max(s.name), max(s.note) from wide.sites s "
    "join wide.labels l on s.contig = l.contig and s.pos = l.pos where s.contig = '3'": (
        Wants("pos name note", {"contig": ("3", "3")}),
        Wants("pos weight", {"contig": ("3", "3")}, "labels"),
    ),
}  # fmt: skip
# What DuckDB tests after its scan, in row groups that it has read, and Trino prunes by: by column.
AFTER_THE_SCAN: dict[str, tuple[Wants, ...]] = {
    f"select max(note) from wide.sites where {condition}": wants
    for condition, wants in {
        "50000 > pos or pos between 10000000 and 10000100": TWO,
        "pos in (10000000, 10000100) or pos < 50000": TWO,
        "not (pos not between 10000000 and 10000100 and pos >= 50000)": TWO,
        "not (pos >= 50000)": TWO[:1],
        "pos < 50000 and note like 'a%' or pos between 10000000 and 10000100": TWO,
        "contig = '1' and pos < 50000 or contig = '2' and pos between 10000000 and 10000100": TWO,
        "(pos < 50000 or a > 0.5) and pos < 60000": (Wants("pos a note", {"pos": (None, 59_999)}),),
        "(pos < 50000 and a > 0.5) or (pos between 10000000 and 10000100 and b < 0.1)": (
            Wants("pos a b note", {"pos": (None, 49_999)}),
            Wants("pos a b note", {"pos": (10**7, 10**7 + 100)}),
        ),
        "pos + depth < 50000 or pos < 50000": (Wants("pos depth note"),),
    }.items()
}


def hexes(chance: np.random.Generator, rows: int, letters: int) -> pa.Array:
    """Random texts of so many letters."""
    offsets = np.arange(rows + 1, dtype=np.int32) * letters
    data = chance.bytes(rows * letters // 2).hex().encode()
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))


def sites(contig: str) -> pa.Table:
    rows, _, start = FILES[contig]
    chance = np.random.default_rng(start)
    return pa.table(
        {
            "contig": pa.repeat(contig, rows),
            "pos": start + np.arange(rows, dtype=np.int64) * 2,
            "name": hexes(chance, rows, 16),
            "a": chance.random(rows),
            "b": chance.random(rows),
            "depth": chance.integers(0, 60, rows, dtype=np.int32),
            "het": pa.ListArray.from_arrays(
                np.arange(rows + 1, dtype=np.int32) * 3,
                pa.array(chance.integers(0, 2504, rows * 3, dtype=np.int32)),
            ),
            "info": pa.StructArray.from_arrays(
                [hexes(chance, rows, 8), pa.array(chance.random(rows))], ["gene", "score"]
            ),
            "note": hexes(chance, rows, 40),
        }
    )


def labels(contig: str) -> pa.Table:
    rows, _, start = FILES[contig]
    chance = np.random.default_rng(start)
    count = rows // 10
    return pa.table(
        {
            "contig": pa.repeat(contig, count),
            "pos": start + np.arange(count, dtype=np.int64) * 20,
            "label": hexes(chance, count, 4),
            "weight": chance.random(count),
        }
    )


@dataclass(frozen=True)
class Wide:
    """Two tables of 110 MB on a server that counts."""

    shapes: Shapes
    folder: Path
    server: CountingServer

    def paths(self, table: str) -> list[Path]:
        """The files of a table."""
        return [self.folder / f"{table}-{contig}.parquet" for contig in FILES]


@contextmanager
def wide_tables(root: Path) -> Iterator[Wide]:
    """The tables, in a bucket of a server that serves the folder `root`."""
    folder = root / "wide"
    folder.mkdir()
    files: dict[str, list[DataFile]] = {name: [] for name in COLUMNS}
    for contig, (_, group, _) in FILES.items():
        for name, made in (("sites", sites(contig)), ("labels", labels(contig))):
            path = folder / f"{name}-{contig}.parquet"
            pq.write_table(
                with_ids(made), path, row_group_size=group, compression="zstd", use_dictionary=False
            )
            metadata, size = pq.read_metadata(path), path.stat().st_size
            footer = footer_of(metadata, size)
            partition = (("contig", contig),)
            uri = f"s3://wide/{path.name}"
            files[name].append(DataFile(uri, size, metadata.num_rows, footer, partition))
    with counting_server(root) as server:
        yield Wide(described(files), folder, server)


def with_ids(table: pa.Table) -> pa.Table:
    fields = [
        field.with_metadata({"PARQUET:field_id": str(number)})
        for number, field in enumerate(table.schema, 1)
    ]
    return table.cast(pa.schema(fields))


def described(files: Mapping[str, Sequence[DataFile]]) -> Shapes:
    snapshots, tables = {}, {}
    for name, columns in COLUMNS.items():
        types = [
            SnapshotColumn(number, column, to_duckdb(type_))
            for number, (column, type_) in enumerate(columns.items(), 1)
        ]
        full, moment = f"wide.{name}", datetime(2026, 1, 1, tzinfo=UTC)
        snapshots[full] = TableSnapshot(full, 7, moment, tuple(types), tuple(files[name]))
        own = tuple(Column(column, type_, "made") for column, type_ in columns.items())
        tables[name] = Table(
            "wide", name, "Made.", "made", own, partition_by=("contig",), sort_by=("pos",)
        )
    dataset = Dataset("wide", "Wide", "Made rows.", "none", "", "", tables)
    return Shapes(snapshots, {"wide": dataset})
