"""What SQL may do: refusals, ordinary queries, the assembly rule."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import catalog
from lakeq.config import Settings
from lakeq.engines.duckdb import Engine
from lakeq.errors import AssemblyMismatch, LakeqError, QueryFailed, QueryRefused, UnknownName
from lakeq.guard import Guarded, check
from lakeq.guard.functions import ALLOWED, NAMES, refusal
from tests.support.data import ROOT

Check = Callable[..., Guarded]
VARIANTS = "thousand_genomes.variants"
VARIANTS_30X = "thousand_genomes_30x.variants"

STATEMENTS = [
    "CREATE TABLE t (a INTEGER)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "INSERT INTO clinvar.grch37 VALUES (1)",
    "UPDATE clinvar.grch37 SET pos = 1",
    "DELETE FROM clinvar.grch37",
    "DROP VIEW clinvar.grch37",
    "ALTER TABLE clinvar.grch37 RENAME TO x",
    "TRUNCATE clinvar.grch37",
    "COPY (SELECT 1) TO '/var/x.csv'",
    "COPY clinvar.grch37 FROM '/etc/passwd'",
    "EXPORT DATABASE '/var/x'",
    "IMPORT DATABASE '/var/x'",
    "ATTACH '/var/x.db' AS x",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CALL enable_logging('QueryLog')",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "EXPLAIN ANALYZE SELECT * FROM clinvar.grch37",
    "EXPLAIN (ANALYZE) SELECT 1",
    "EXPLAIN (FORMAT JSON) SELECT 1",
    "EXPLAIN COPY (SELECT 1) TO '/var/x'",
    "EXPLAIN SELECT * FROM read_text('/etc/passwd')",
    "EXPLAIN SELECT 1; SELECT 2",
    "EXPLAIN",
    "EXPLAIN EXPLAIN SELECT 1",
    "DESCRIBE '/etc/passwd'",
    "DESCRIBE SELECT * FROM read_text('/etc/passwd')",
    "SUMMARIZE 'data.parquet'",
    "SUMMARIZE SELECT getenv('HOME')",
    "SELECT * FROM (SUMMARIZE FROM read_text('/etc/passwd'))",
    "DESCRIBE",
    "DESCRIBE TABLES",
    "SHOW TABLES",
    "SHOW TABLES FROM clinvar",
    "SHOW DATABASES",
    "SHOW ALL TABLES",
    "MERGE INTO clinvar.grch37 USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW clinvar.grch37",
    "/* harmless */ SELECT 1 /* ; */; COPY (SELECT 1) TO '/var/x'",
    "",
    "-- nothing",
    ";",
]
FILES = [
    "FROM '/etc/passwd'",
    "SELECT * FROM 'data.parquet'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM 's3://bucket/key.parquet'",
    "SELECT * FROM 'https://example.org/x.csv'",
    "SELECT * FROM 'a.parquet' AS t, clinvar.grch37",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM parquet_scan('x.parquet')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_json('x')",
    "SELECT * FROM read_json_auto('x')",
    "SELECT * FROM read_ndjson('x')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_duckdb('x.db')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM parquet_schema('x')",
    "SELECT * FROM parquet_file_metadata('x')",
    "SELECT * FROM parquet_kv_metadata('x')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM seq_scan('x')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('clinvar.grch37')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM main.read_text('/etc/passwd')",
    "SELECT * FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM range(3), read_text('/etc/passwd')",
    "SELECT * FROM clinvar.grch37, LATERAL (SELECT * FROM read_text('/etc/passwd'))",
    "SELECT * FROM clinvar.grch37 WHERE pos IN (SELECT 1 FROM read_text('/etc/passwd'))",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT EXISTS (FROM read_text('/etc/passwd'))",
    "SELECT 1 ORDER BY (SELECT 1 FROM read_text('/etc/passwd'))",
    "SELECT 1 LIMIT (SELECT 1 FROM read_text('/etc/passwd'))",
    "SELECT 1 OFFSET (SELECT 1 FROM read_text('/etc/passwd'))",
    "SELECT pos FROM clinvar.grch37 GROUP BY (SELECT 1 FROM read_text('/etc/passwd')), pos",
    "SELECT pos FROM clinvar.grch37 QUALIFY (SELECT true FROM read_text('/etc/passwd'))",
    "SELECT sum(pos) OVER (ORDER BY (SELECT 1 FROM read_text('x'))) FROM clinvar.grch37",
    "SELECT sum(pos) FILTER ((SELECT true FROM read_text('x'))) FROM clinvar.grch37",
    "SELECT list_transform([1], lambda x: (SELECT x FROM read_text('x')))",
    "SELECT CASE WHEN true THEN (SELECT 1 FROM read_text('x')) END",
    "SELECT [(SELECT 1 FROM read_text('x'))]",
    "VALUES ((SELECT content FROM read_text('/etc/passwd')))",
    "WITH t AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM t",
    "WITH t AS MATERIALIZED (FROM read_text('/etc/passwd')) SELECT 1",
    "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT 2 FROM read_text('x')) SELECT * FROM t",
    "SELECT 1 UNION ALL SELECT 1 FROM read_text('/etc/passwd')",
    "SELECT * FROM clinvar.grch37 a JOIN read_text('x') b ON true",
    "SELECT * FROM clinvar.grch37 a JOIN clinvar.grch37 b ON (SELECT true FROM read_text('x'))",
    "SELECT * FROM unnest((SELECT list(content) FROM read_text('/etc/passwd')))",
    "PIVOT (FROM read_text('/etc/passwd')) ON filename IN ('a') USING count(*)",
    "UNPIVOT (FROM read_text('/etc/passwd')) ON content",
    "SELECT * FROM (VALUES (1)) t, (TABLE '/etc/passwd')",
    "SELECT * FROM repeat(1, 1000000000)",
]
SYSTEM = [
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_logs",
    "SELECT * FROM duckdb_logs_parsed('FileSystem')",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM pragma_table_info('x')",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM main.sqlite_master",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM memory.clinvar.grch37",
    "SELECT * FROM clinvar.grch37 AT (VERSION => 1)",
    "SELECT getenv('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT 'HOME'.getenv()",
    "SELECT getvariable('x')",
    "SELECT current_setting('s3_secret_access_key')",
    "SELECT write_log('x')",
    "SELECT nextval('s')",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(10)",
    "SELECT pg_get_viewdef(1)",
    "SELECT json_serialize_plan('SELECT * FROM read_text(''x'')')",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "SELECT pos FROM clinvar.grch37 WHERE ref = getenv('HOME')",
]
ORDINARY = [
    ("SELECT 1", []),
    ("VALUES (1, 'a'), (2, 'b');", []),
    ("FROM clinvar.grch37", ["clinvar.grch37"]),
    ("TABLE clinvar.grch37", ["clinvar.grch37"]),
    ("SELECT * FROM CLINVAR.GRCh37", ["clinvar.grch37"]),
    ('SELECT * FROM "clinvar"."grch37" AS c (a, b)', ["clinvar.grch37"]),
    ("SELECT count(*) FROM clinvar.grch37 -- read_text('x')", ["clinvar.grch37"]),
    ("SELECT 'read_text(''/etc/passwd'')' AS harmless", []),
    (f"SELECT c.gene, v.af FROM clinvar.grch37 c JOIN {VARIANTS} v USING (contig, pos, ref, alt)",
     ["clinvar.grch37", VARIANTS]),
    ("WITH p AS (SELECT * FROM clinvar.grch37), q AS (FROM p) SELECT * FROM p, q",
     ["clinvar.grch37"]),
    ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9) FROM r", []),
    ("SELECT sample, u.x FROM thousand_genomes.samples, unnest([1, 2]) AS u (x)",
     ["thousand_genomes.samples"]),
    ("SELECT number, unnest(het) FROM thousand_genomes.genotypes, thousand_genomes.samples",
     ["thousand_genomes.genotypes", "thousand_genomes.samples"]),
    ("SELECT * FROM range(3), generate_series(1, 3)", []),
    ("SELECT row_number() OVER (PARTITION BY contig ORDER BY pos) FROM clinvar.grch37 QUALIFY true",
     ["clinvar.grch37"]),
    ("SELECT gene, count(*) FILTER (is_pathogenic) FROM clinvar.grch37 GROUP BY ALL",
     ["clinvar.grch37"]),
    ("SELECT gene FROM clinvar.grch37 GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 DESC LIMIT 5",
     ["clinvar.grch37"]),
    ("SELECT contig FROM clinvar.grch37 GROUP BY GROUPING SETS ((contig), ())",
     ["clinvar.grch37"]),
    ("PIVOT clinvar.grch37 ON contig IN ('1', '2') USING count(*)", ["clinvar.grch37"]),
    ("SELECT list_filter(het, lambda x: x > 5) FROM thousand_genomes.genotypes",
     ["thousand_genomes.genotypes"]),
    ("SELECT COLUMNS('af_.*') FROM thousand_genomes.variants TABLESAMPLE 10%", [VARIANTS]),
    ("SELECT * EXCLUDE (ref) REPLACE (pos + 1 AS pos) FROM clinvar.grch37", ["clinvar.grch37"]),
    ("DESCRIBE clinvar.grch37", ["clinvar.grch37"]),
    ("DESCRIBE SELECT gene FROM clinvar.grch37", ["clinvar.grch37"]),
    ("SUMMARIZE clinvar.grch37", ["clinvar.grch37"]),
    ("SELECT column_name FROM (SUMMARIZE clinvar.grch37)", ["clinvar.grch37"]),
    ("WITH p AS (FROM clinvar.grch37) FROM (DESCRIBE p)", ["clinvar.grch37"]),
    ("EXPLAIN SELECT * FROM clinvar.grch37", ["clinvar.grch37"]),
    ("/* why */ explain -- so\nFROM clinvar.grch37", ["clinvar.grch37"]),
    ("EXPLAIN (SELECT 1) UNION ALL SELECT pos FROM clinvar.grch37", ["clinvar.grch37"]),
    ("EXPLAIN SUMMARIZE clinvar.grch37", ["clinvar.grch37"]),
    ("SELECT CAST(pos AS VARCHAR), pos::DOUBLE, random(), now() FROM clinvar.grch37",
     ["clinvar.grch37"]),
]  # fmt: skip
BOTH = f"FROM {VARIANTS} UNION ALL BY NAME FROM {VARIANTS_30X}"
STEP = "SELECT c.pos FROM r JOIN clinvar.grch38 c USING (pos)"
ACROSS = [
    f"SELECT * FROM {VARIANTS} v JOIN {VARIANTS_30X} w USING (pos)",
    f"SELECT * FROM {VARIANTS} v LEFT JOIN clinvar.grch38 c ON v.rs = c.rs",
    f"SELECT * FROM {VARIANTS}, clinvar.grch38",
    f"SELECT * FROM {VARIANTS} NATURAL JOIN clinvar.grch38",
    f"SELECT * FROM {VARIANTS} v ASOF JOIN clinvar.grch38 c ON v.pos >= c.pos",
    f"SELECT * FROM {VARIANTS} POSITIONAL JOIN clinvar.grch38",
    f"SELECT * FROM {VARIANTS} SEMI JOIN clinvar.grch38 USING (pos)",
    f"SELECT * FROM {VARIANTS} ANTI JOIN clinvar.grch38 USING (pos)",
    f"SELECT * FROM {VARIANTS} WHERE pos IN (SELECT pos FROM clinvar.grch38)",
    f"SELECT * FROM {VARIANTS} WHERE pos NOT IN (SELECT pos FROM clinvar.grch38)",
    f"SELECT * FROM {VARIANTS} WHERE pos = ANY (SELECT pos FROM clinvar.grch38)",
    f"SELECT * FROM {VARIANTS} v WHERE EXISTS (FROM clinvar.grch38 c WHERE c.pos = v.pos)",
    f"SELECT (SELECT max(gene) FROM clinvar.grch38 c WHERE c.pos = v.pos) FROM {VARIANTS} v",
    f"SELECT * FROM {VARIANTS} v, LATERAL (FROM clinvar.grch38 c WHERE c.pos = v.pos)",
    f"SELECT pos FROM {VARIANTS} INTERSECT SELECT pos FROM clinvar.grch38",
    f"SELECT pos FROM {VARIANTS} EXCEPT SELECT pos FROM clinvar.grch38",
    f"WITH c AS (SELECT * FROM clinvar.grch38) SELECT * FROM {VARIANTS} JOIN c USING (pos)",
    f"WITH c AS (FROM clinvar.grch38), d AS (FROM c) FROM d JOIN {VARIANTS} USING (pos)",
    f"SELECT * FROM (SELECT pos FROM (FROM {VARIANTS})) JOIN (FROM clinvar.grch38) USING (pos)",
    f"WITH b AS ({BOTH}) FROM b JOIN clinvar.grch37 USING (pos)",
    f"WITH b AS ({BOTH}) SELECT * FROM b x JOIN b y USING (pos)",
    f"SELECT * FROM thousand_genomes.samples s, {VARIANTS} v, clinvar.grch38 c",
    f"SELECT * FROM {VARIANTS} WHERE pos = (SELECT max(pos) FROM clinvar.grch38)",
    f"SELECT (SELECT pos FROM {VARIANTS}) IN (SELECT pos FROM clinvar.grch38)",
    f"SELECT 1 UNION SELECT pos FROM clinvar.grch38 JOIN {VARIANTS} USING (pos)",
    f"WITH RECURSIVE r AS (SELECT pos FROM {VARIANTS} UNION {STEP}) FROM r",
]  # fmt: skip
APART = [
    f"SELECT pos FROM {VARIANTS} UNION ALL SELECT pos FROM {VARIANTS_30X}",
    f"SELECT 37, count(*) FROM {VARIANTS} UNION SELECT 38, count(*) FROM clinvar.grch38",
    f"SELECT (SELECT count(*) FROM {VARIANTS}), (SELECT count(*) FROM {VARIANTS_30X})",
    f"SELECT contig, count(*) FROM ({BOTH}) GROUP BY 1",
    "SELECT * FROM thousand_genomes.samples JOIN thousand_genomes_30x.samples USING (sample)",
    f"SELECT * FROM thousand_genomes_30x.samples, {VARIANTS}",
    f"SELECT * FROM {VARIANTS} JOIN clinvar.grch37 USING (contig, pos, ref, alt)",
    f"WITH unused AS (FROM clinvar.grch38) FROM {VARIANTS}",
]  # fmt: skip


@pytest.fixture(scope="module")
def guard() -> Iterator[Check]:
    """The guard over the packaged catalog."""
    engine = Engine(Settings(lake=Path("unused")))
    datasets = catalog.load().datasets
    yield lambda sql, **kwargs: check(sql, datasets, engine.serialize, **kwargs)
    engine.close()


@pytest.mark.parametrize("sql", STATEMENTS + FILES + SYSTEM)
def test_what_is_not_one_select_over_the_catalog_is_refused(guard: Check, sql: str) -> None:
    with pytest.raises((QueryRefused, UnknownName, QueryFailed)):
        guard(sql)


@pytest.mark.parametrize(("sql", "tables"), ORDINARY)
def test_ordinary_queries_pass_and_name_their_tables(
    guard: Check, sql: str, tables: list[str]
) -> None:
    assert [table.qualified for table in guard(sql).tables] == tables


@pytest.mark.parametrize("sql", ACROSS)
def test_a_match_across_assemblies_is_refused(guard: Check, sql: str) -> None:
    with pytest.raises(AssemblyMismatch, match="GRCh37.*GRCh38"):
        guard(sql)


@pytest.mark.parametrize("sql", ACROSS)
def test_a_match_across_assemblies_passes_when_the_user_says_so(guard: Check, sql: str) -> None:
    assert guard(sql, across_assemblies=True).tables


@pytest.mark.parametrize("sql", APART)
def test_tables_of_two_assemblies_may_stand_side_by_side(guard: Check, sql: str) -> None:
    assert len(guard(sql).tables) >= 1


def test_a_mismatch_says_why_and_what_to_do(guard: Check) -> None:
    with pytest.raises(AssemblyMismatch) as caught:
        guard(f"SELECT *\nFROM {VARIANTS}\nJOIN clinvar.grch38 USING (pos)")
    text = str(caught.value)
    assert "name different bases" in text
    assert "--across-assemblies" in text
    assert "across_assemblies=True" in text
    assert "rs" in text


def test_the_hint_of_a_mismatch_lets_the_query_pass(guard: Check) -> None:
    query = f"SELECT * FROM {VARIANTS} v JOIN clinvar.grch38 c USING (rs)"
    assert len(guard(query, across_assemblies=True).tables) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("thousand_genomes.variant", "did you mean thousand_genomes.variants?"),
        ("clinvar.grch39", "did you mean clinvar.grch38?"),
        ("grch37", "did you mean clinvar.grch37?"),
        ("samples", "did you mean thousand_genomes.samples or thousand_genomes_30x.samples?"),
    ],
)
def test_an_unknown_table_answers_with_the_nearest(guard: Check, name: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        guard(f"SELECT 1\n  -- µ is two bytes\nFROM {name}")
    assert caught.value.what == f"no table named {name!r}"
    assert caught.value.where == "the query, line 3"
    assert caught.value.hint == hint


def test_a_syntax_error_names_its_line(guard: Check) -> None:
    with pytest.raises(QueryFailed) as caught:
        guard("SELECT 1\nFROM clinvar.grch37\nWHERE AND")
    assert caught.value.where == "the query, line 3"


def test_parameters_are_told_in_any_place(guard: Check) -> None:
    found = guard("SELECT $a FROM clinvar.grch37 WHERE pos IN (SELECT $b) LIMIT $c")
    assert sorted(found.parameters) == ["a", "b", "c"]


def test_a_cte_hides_no_catalog_table(guard: Check) -> None:
    sql = "WITH grch37 AS (SELECT 1) SELECT * FROM clinvar.grch37, grch37"
    assert [table.qualified for table in guard(sql).tables] == ["clinvar.grch37"]


def test_a_name_of_a_cte_is_unknown_outside_its_query(guard: Check) -> None:
    with pytest.raises(UnknownName):
        guard("SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t), t")


def test_a_query_that_is_nested_too_deeply_is_refused(guard: Check) -> None:
    with pytest.raises(LakeqError):
        guard("SELECT " + "abs(" * 800 + "1" + ")" * 800)


def test_a_query_past_the_limit_is_refused(guard: Check) -> None:
    with pytest.raises(QueryRefused, match="longer than"):
        guard("SELECT '" + "x" * (1 << 20) + "'")


def test_every_function_of_duckdb_is_allowed_or_refused_for_a_reason() -> None:
    found = duckdb.connect().execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'macro')"
    )
    names = {name for (name,) in found.fetchall()}
    refused = {name for name in names if refusal(name)}
    assert refused & ALLOWED == set()
    assert names - refused <= ALLOWED
    assert {n for n in NAMES if n not in names} == {"alias", "error", "row", "unnest"} - names


def test_the_reference_lists_the_functions_that_a_query_may_call() -> None:
    text = (ROOT / "docs" / "reference" / "sql.md").read_text(encoding="utf-8")
    listed = text.partition("## Functions")[2]
    assert set(re.findall(r"`(\w+)`", listed)) == NAMES


@pytest.mark.parametrize(
    ("sql", "what", "where", "hint"),
    [
        ("SELECT 1;\n\nCOPY (SELECT 1) TO 'x'", "COPY is not allowed", "line 3", "-o FILE"),
        ("-- a\nSET threads = 1", "SET is not allowed", "line 2", "lakeq config show"),
        ("SELECT\n1;\nSELECT 2", "2 statements", "line 3", "one at a time"),
        ("SELECT\n  getenv('HOME')", "environment", "line 2", "lakeq tables"),
        ("SELECT\n  flor(1.5)", "flor()", "line 2", "did you mean floor()?"),
        ("\nFROM read_csv('x')", "read_csv()", "line 2", "lakeq tables"),
        ("\n\nSHOW TABLES", "SHOW", "line 3", "lakeq tables"),
        ("EXPLAIN ANALYZE\nSELECT 1", "EXPLAIN ANALYZE", "line 1", "--dry-run"),
        ("PIVOT clinvar.grch37 ON ref USING count(*)", "PIVOT", "line 1", "c IN"),
        ("SELECT '\ud800'", "half of one", "line 1", ""),
    ],
)
def test_a_refusal_says_what_where_and_what_next(
    guard: Check, sql: str, what: str, where: str, hint: str
) -> None:
    with pytest.raises(QueryRefused) as caught:
        guard(sql)
    assert what in caught.value.what
    assert caught.value.where.endswith(where)
    assert hint in caught.value.hint


@given(st.text(max_size=60))
def test_no_text_makes_the_guard_fail_in_another_way(guard: Check, text: str) -> None:
    with contextlib.suppress(LakeqError):
        guard(text.encode("utf-8", "ignore").decode())


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_string_literal_is_never_read_as_sql(guard: Check, text: str) -> None:
    quoted = text.replace("'", "''")
    assert guard(f"SELECT '{quoted}' AS x FROM clinvar.grch37 -- '").tables
