"""Queries of every shape over two made tables, to compare what a plan says with what is read."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakeq.catalog import Column, Dataset, Table
from lakeq.lake.inside import footer_of
from lakeq.snapshot import DataFile, SnapshotColumn, TableSnapshot
from lakeq.types import to_arrow, to_duckdb

CONTIGS = ("1", "2", "3", "X")
GROUP_ROWS = 4000
ROWS = 3 * GROUP_ROWS
SITES = {
    "contig": "string",
    "pos": "int64",
    "ref": "string",
    "qual": "float64",
    "depth": "int32",
    "het": "list<int32>",
    "info": "struct<gene: string, effect: struct<kind: string, score: float64>>",
    "seen": "timestamp",
    "note": "string",
}
LABELS = {"contig": "string", "pos": "int64", "label": "string", "weight": "float64"}
TABLES = {"sites": SITES, "labels": LABELS}

SHAPES = {
    "projection": "select sum(pos), max(qual) from shapes.sites",
    "range": "select sum(depth) from shapes.sites where pos between 9000 and 21000",
    "equality": "select count(*) from shapes.sites where ref = 'C'",
    "equality, other columns": "select note from shapes.sites where pos = 7777",
    "IN": "select sum(depth) from shapes.sites where pos in (101, 8003, 23001)",
    "OR": "select sum(depth) from shapes.sites where pos < 2000 or pos > 22000",
    "struct field": "select max(info.effect.score) from shapes.sites",
    "list and unnest": "select sum(h) from (select unnest(het) as h from shapes.sites)",
    "count(*)": "select count(*) from shapes.sites",
    "count(column)": "select count(qual) from shapes.sites",
    "group by": "select ref, avg(qual) from shapes.sites group by ref",
    "CTE": "with x as (select pos, depth from shapes.sites where contig = '2') "
    "select max(depth) from x where pos > 15000",
    "union": "select pos from shapes.sites where contig = '1' "
    "union all select pos from shapes.labels where contig = '3'",
    "timestamp": "select sum(depth) from shapes.sites "
    "where seen >= timestamptz '2024-02-01 00:00:00+00'",
    "join": "select count(*) from shapes.sites s join shapes.labels l using (contig, pos)",
    "join, transitive predicate": "select sum(s.depth) from shapes.sites s "
    "join shapes.labels l on s.contig = l.contig and s.pos = l.pos where l.contig = 'X'",
    "semi-join": "select sum(depth) from shapes.sites where pos in "
    "(select pos from shapes.labels where label = 'benign')",
    "anti-join": "select sum(depth) from shapes.sites s where not exists "
    "(select 1 from shapes.labels l where l.pos = s.pos)",
    "LIMIT": "select * from shapes.sites limit 5",
    "top-N": "select * from shapes.sites order by qual desc limit 5",
    "window": "select max(r) from (select row_number() over (partition by contig order by pos) "
    "as r from shapes.sites)",
    "subquery": "select count(*) from shapes.sites "
    "where qual > (select avg(weight) from shapes.labels)",
    "view": "with slow as (select contig, pos, depth from shapes.sites where depth > 10) "
    "select a.contig, count(*) from slow a group by 1",
    "partition pruning": "select sum(qual), min(note) from shapes.sites where contig = '3'",
    "SELECT *, selective text": "select * from shapes.sites where note = 'note 9'",
    "parameter": "select sum(depth) from shapes.sites where contig = $contig and pos >= $pos",
}
PARAMETERS = {"parameter": {"contig": "X", "pos": 12_001}}


@dataclass(frozen=True)
class Shapes:
    """The two tables as snapshots, and the dataset that describes them; a lake for `query.run`."""

    snapshots: Mapping[str, TableSnapshot]
    datasets: Mapping[str, Dataset]

    def tables(self) -> Sequence[str]:
        """The tables that are in the lake."""
        return list(self.snapshots)

    def read(self, names: Sequence[str], at: object = None) -> Mapping[str, TableSnapshot]:
        """What the tables `names` hold."""
        return {name: self.snapshots[name] for name in names}

    def check_unchanged(self, tables: Iterable[TableSnapshot]) -> None:
        """Files of S3 are S3's to keep."""


def make(folder: Path, prefix: str = "", rows: int = ROWS) -> Shapes:
    """The tables, as files below `folder`; `prefix` stands for the folder in their paths."""
    files: dict[str, list[DataFile]] = {name: [] for name in TABLES}
    for contig in CONTIGS:
        for name, data in (("sites", _sites(contig, rows)), ("labels", _labels(contig, rows))):
            path = folder / f"{name}-{contig}.parquet"
            _write(path, TABLES[name], data)
            files[name].append(_data_file(path, prefix, contig))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    snapshots = {}
    for name, columns in TABLES.items():
        described = [
            SnapshotColumn(number, column, to_duckdb(type_))
            for number, (column, type_) in enumerate(columns.items(), 1)
        ]
        full = f"shapes.{name}"
        snapshots[full] = TableSnapshot(full, 7, moment, tuple(described), tuple(files[name]))
    return Shapes(snapshots, {"shapes": dataset()})


def dataset() -> Dataset:
    """The catalog's entry of the tables."""
    tables = {
        name: Table(
            dataset="shapes",
            name=name,
            doc="Made rows.",
            format="made",
            columns=tuple(Column(column, type_, "made") for column, type_ in columns.items()),
            partition_by=("contig",),
            sort_by=("pos",),
        )
        for name, columns in TABLES.items()
    }
    return Dataset("shapes", "Shapes", "Made rows.", "none", "", "", tables)


def _sites(contig: str, rows: int) -> list[dict[str, object]]:
    chance = random.Random(contig)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        {
            "contig": contig,
            "pos": 1 + 2 * row,
            "ref": chance.choice("ACGT") * chance.choice((1, 1, 1, 9)),
            "qual": chance.random() * 100,
            "depth": None if chance.random() < 0.01 else chance.randrange(60),
            "het": [chance.randrange(2504) for _ in range(row % 7)],
            "info": {
                "gene": f"GENE{chance.randrange(2000)}",
                "effect": {"kind": chance.choice(("missense", "stop")), "score": chance.random()},
            },
            "seen": start + timedelta(minutes=5 * row),
            "note": f"note {chance.randrange(10**9)}",
        }
        for row in range(rows)
    ]


def _labels(contig: str, rows: int) -> list[dict[str, object]]:
    chance = random.Random(f"labels {contig}")
    return [
        {
            "contig": contig,
            "pos": 1 + 14 * row,
            "label": chance.choice(("benign", "pathogenic", "unknown")),
            "weight": chance.random() * 100,
        }
        for row in range(rows // 2)
    ]


ROWS_OF = {"sites": _sites, "labels": _labels}


def _write(path: Path, columns: Mapping[str, str], rows: list[dict[str, object]]) -> None:
    ids = count(100)
    fields = [
        _with_id(pa.field(name, to_arrow(type_)), number, ids)
        for number, (name, type_) in enumerate(columns.items(), 1)
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    options = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=GROUP_ROWS, **options)


def _with_id(field: pa.Field, number: int, ids: count[int]) -> pa.Field:
    type_ = field.type
    if pa.types.is_list(type_):
        type_ = pa.list_(_with_id(type_.value_field, next(ids), ids))
    elif pa.types.is_struct(type_):
        parts = [type_.field(at) for at in range(type_.num_fields)]
        type_ = pa.struct([_with_id(part, next(ids), ids) for part in parts])
    return pa.field(field.name, type_, metadata={"PARQUET:field_id": str(number)})


def _data_file(path: Path, prefix: str, contig: str) -> DataFile:
    metadata = pq.read_metadata(path)
    return DataFile(
        path=f"{prefix}{path.name}" if prefix else str(path),
        size_bytes=path.stat().st_size,
        rows=metadata.num_rows,
        footer=footer_of(metadata, path.stat().st_size),
        partition=(("contig", contig),),
    )
