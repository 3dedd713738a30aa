"""Row groups of tables that are read one name at a time end with the rows of a name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeq import catalog
from lakeq.lake import IcebergLake, layout
from lakeq.types import arrow_schema
from tests.lake_formats import lake_at

CALLS = catalog.load().dataset("thousand_genomes").tables["calls"]
LEAST, LIMIT = 8, 20


@pytest.fixture
def iceberg(lake_dir: Path) -> IcebergLake:
    return lake_at(lake_dir)


def batch(names: list[str], first_pos: int, coded: bool) -> pa.RecordBatch:
    schema = arrow_schema(CALLS)
    known = {
        "sample": pa.array(names, pa.string()),
        "contig": pa.array(["22"] * len(names)),
        "pos": pa.array(range(first_pos, first_pos + len(names)), pa.int64()),
    }
    columns = [known.get(f.name, pa.nulls(len(names), f.type)) for f in schema]
    if coded:
        place = schema.get_field_index("sample")
        columns[place] = columns[place].dictionary_encode()
        schema = schema.set(place, pa.field("sample", columns[place].type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(1, 50),
    st.booleans(),
)
def test_row_groups_end_with_a_sample(
    iceberg: IcebergLake,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
    step: int,
    coded: bool,
) -> None:
    monkeypatch.setattr(layout, "LEAST_SLICE_ROWS", LEAST)
    monkeypatch.setattr(layout, "SLICE_ROW_GROUP_ROWS", LIMIT)
    names = [f"S{number:02}" for number, size in enumerate(sizes) for _ in range(size)]
    with iceberg.session() as session:
        file = iceberg.writer(CALLS, session).open("s3://b/a", ("22",), 0)
        for start in range(0, len(names), step):
            file.write(batch(names[start : start + step], start, coded))
        done = file.close()
    read = pq.ParquetFile(done.path)
    groups = [read.read_row_group(n)["sample"].to_pylist() for n in range(read.num_row_groups)]
    assert [name for group in groups for name in group] == names
    assert read.read()["pos"].to_pylist() == list(range(len(names)))
    for group in groups:
        changes = [k for k, (a, b) in enumerate(pairwise(group), 1) if a != b]
        assert all(change < LEAST for change in changes)  # the group ended at the first other one
        assert len(group) <= LIMIT + LEAST
    assert all(len(group) >= LEAST for group in groups[:-1])


def test_a_sample_as_large_as_those_of_phase_3_has_row_groups_of_its_own(
    iceberg: IcebergLake,
) -> None:
    sizes = {"HG1": 70_000, "HG2": 200_000, "HG3": 300_000, "HG4": 1}
    with iceberg.session() as session:
        file = iceberg.writer(CALLS, session).open("s3://b/a", ("22",), 0)
        for name, size in sizes.items():
            file.write(batch([name] * size, 0, coded=True))
        metadata = file.close().metadata
    found = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    bounds = [(g.column(0).statistics.min, g.column(0).statistics.max) for g in found]
    assert all(low == high for low, high in bounds), bounds
    assert sum(g.num_rows for g in found) == sum(sizes.values())
