"""Names and values of any kind are data: bound or quoted, never read as SQL, paths or patterns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.api import Lake
from lakeq.config import S3Settings, Settings
from lakeq.engines._duckdb_sql import identifier
from lakeq.engines.duckdb import Engine
from lakeq.errors import LakeqError
from lakeq.lake.parquet import _slug
from lakeq.snapshot import SnapshotColumn, TableSnapshot
from tests.support.s3 import S3
from tests.support.tables import snapshot, write

PARTS = ["'", '"', "''", '""', "\\", ";", "--", "/*", "*/", "$1", "$v", ":v", "?", "%", "_", "`",
         "\n", "\t", "\r", "\x1b[2J", "\u202e", "\u200b", "\ufeff", "é", "e\u0301", "😀", "ﬀ", "ｓ",
         "(", ")", "[", "]", "{", "}", "*", "#", "&", "|", "<", ">", "=", "@", "!", "~", "^", "+",
         " ", ".", "..", "/", "NULL", "null", "select", "true", "1", "-1", "1e9", "0x1"]  # fmt: skip
WHOLE = [
    "'; drop view d.t; --", '"; drop view d.t; --', "x' or '1'='1", "1; copy (select 1) to 'x'",
    "read_text('/etc/passwd')", "(select 1)", "${HOME}", "$(id)", "{{7*7}}", "%s%n", "\\'; --",
    "../../etc/passwd", "s3://other/x", "file:///etc/passwd", "C:\\x", "CON", "a" * 300, " x ",
    "Robert'); DROP TABLE students;--", "=cmd()", "<script>alert(1)</script>", "\u0130ı", "İ",
    "select", "from", "order", "group", "main", "information_schema", "pg_catalog", "duckdb_logs",
]  # fmt: skip
NASTY = list(
    dict.fromkeys([*PARTS, *WHOLE, *(f"{a}{b}x" for a, b in product(PARTS[:12], PARTS[:12]))])
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(Settings(lake=Path("unused")))
    yield engine
    engine.close()


def rows(
    engine: Engine, sql: str, tables: dict[str, TableSnapshot], **values: object
) -> list[tuple[object, ...]]:
    running = engine.run(sql, values, tables)
    found = []
    while part := running.fetch(1000):
        found += part
    return found


def test_there_are_200_of_them() -> None:
    assert len(NASTY) >= 200


def test_values_are_bound(cohort_lake: Lake) -> None:
    sql = "select unnest($all) as value, $one, len($all), $one in (select unnest($all))"
    found = cohort_lake.sql(sql, {"all": NASTY, "one": NASTY[0]}).rows()
    assert [row[0] for row in found] == NASTY
    assert {row[1:] for row in found} == {(NASTY[0], len(NASTY), True)}


@pytest.mark.parametrize("value", NASTY[::9])
def test_a_value_finds_only_itself(value: str, cohort_lake: Lake) -> None:
    sql = "select v from (select unnest($all) as v) where v = $one"
    assert cohort_lake.sql(sql, {"all": NASTY, "one": value}).rows() == [(value,)]
    sql = "select count(*) from thousand_genomes.samples where sample = :one"
    assert cohort_lake.sql(sql, {"one": value}).rows() == [(0,)]


def test_columns_of_any_name_are_read(engine: Engine, tmp_path: Path) -> None:
    names = [name for name in NASTY if "\0" not in name]
    low = [name.lower() for name in names]
    unlike = [name for name in names if low.count(name.lower()) == 1]  # SQL folds case
    path = write(tmp_path / "a.parquet", {name: pa.array([n]) for n, name in enumerate(unlike)})
    table = snapshot("d.t", [path], dict.fromkeys(unlike, pa.int64()))
    wanted = ", ".join(map(identifier, unlike))
    assert rows(engine, f"select {wanted} from d.t", {"d.t": table}) == [tuple(range(len(unlike)))]


def test_tables_and_datasets_of_any_name_are_read(engine: Engine, tmp_path: Path) -> None:
    taken = {"main", "information_schema", "pg_catalog"}  # DuckDB's own schemas
    names = {n.lower(): n for n in NASTY if "." not in n and n.lower() not in taken}
    tables = {}
    for number, name in enumerate(names.values()):
        path = write(tmp_path / f"{number}.parquet", {"x": pa.array([number])})
        whole = f"{name}.{name}"
        columns = (SnapshotColumn(1, "x", "BIGINT"),)
        files = snapshot("d.t", [path], {"x": pa.int64()}).files
        tables[whole] = TableSnapshot(whole, 1, datetime.now(UTC), columns, files)
    parts = [f"select x from {identifier(n)}.{identifier(n)}" for n in names.values()]
    found = rows(engine, " union all ".join(parts), tables)
    assert sorted(found) == [(number,) for number in range(len(names))]


KEYS = ["a b", "a+b", "a%20b", "a%2Fb", "a*b", "a[b]c", "a{b,c}", "a'b", 'a"b', "a$b", "a&b=c",
        "a;b", "a,b", "a@b", "a:b", "é", "😀", "a\\b", "a~b", "a|b", "a^b", "(a)", "a!b",
        "**", "[a-z]", "a?b", "a#b", "a?s3_endpoint=127.0.0.1:1"]  # fmt: skip


@pytest.mark.usefixtures("aws_credentials")
def test_an_object_of_any_key_is_read_as_it_is_or_not_at_all(s3: S3, tmp_path: Path) -> None:
    bucket = s3.bucket()
    place = S3Settings(endpoint_url=s3.endpoint_url, region="us-east-1")
    for number, key in enumerate(KEYS):
        path = write(tmp_path / f"{number}.parquet", {"x": pa.array([number])})
        s3.put(bucket, f"p/{key}.parquet", path)
    read = 0
    for number, key in enumerate(KEYS):
        table = snapshot("d.t", [tmp_path / f"{number}.parquet"], {"x": pa.int64()})
        file = table.files[0]
        moved = type(file)(f"s3://{bucket}/p/{key}.parquet", file.size_bytes, 1, file.footer)
        there = TableSnapshot("d.t", 1, table.committed_at, table.columns, (moved,))
        engine = Engine(Settings(lake=Path("unused"), s3=place))
        try:
            assert rows(engine, "select x from d.t", {"d.t": there}) == [(number,)]
            read += 1
        except LakeqError as error:
            assert key in str(error)  # never another file's rows
        finally:
            engine.close()
    assert read >= len(KEYS) - 6


@given(st.text(max_size=80))
def test_a_partition_value_never_leaves_its_folder(value: str) -> None:
    path = PurePosixPath("data", f"contig-{_slug(value)}", "x.parquet")
    assert path.parts[1].startswith("contig-")
    assert len(path.parts) == 3
    assert not set("*?[]{}%#&'\"\\ \n") & set(str(path))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_is_a_name(name: str) -> None:
    engine = Engine(Settings(lake=Path("unused")))
    try:
        running = engine.run(f"select 1 as {identifier(name)}", {}, {})
        assert running.columns[0].name == name
    finally:
        engine.close()
