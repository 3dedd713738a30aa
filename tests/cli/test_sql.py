"""`lakeq sql`: where the query comes from, what it prints in each format, how it ends."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeq.api import Lake
from lakeq.cli.sql import json_or_text
from tests.cli.conftest import Command

LAKEQ = [sys.executable, "-m", "lakeq.cli"]
TYPES = """select 1 as i, 1.5 as dec, 2.5::double as f, 'nan'::double as nan, true as b,
    null as n, '' as empty, 'a,"b"' as quoted, E'x\\ny' as lines, [1, null, 3] as list,
    {'k': 'v'} as struct, date '2020-01-02' as d, timestamptz '2020-01-02 03:04:05+00' as ts,
    'ü\U0001f600' as uni"""
COUNT = "select count(*) from thousand_genomes.variants"


# Where the query comes from


def test_the_query_is_an_argument(sql: Command) -> None:
    done = sql("select 1 as one")
    assert (done.code, done.text) == (0, "one\n1\n")


def test_a_dash_reads_standard_input(sql: Command) -> None:
    assert sql("-", stdin="select 2 as two").text == "two\n2\n"


def test_a_file_holds_the_query(sql: Command, tmp_path: Path) -> None:
    path = tmp_path / "query.sql"
    path.write_text("-- a remark\nselect 3 as three\n")
    assert sql("-f", str(path)).text == "three\n3\n"


def test_a_named_query_runs_with_typed_parameters(sql: Command) -> None:
    done = sql("@sample_clinvar", "-p", "sample=HG00096", "-p", "pathogenic_only=false")
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO(done.text)))
    assert rows
    assert {row["sample"] for row in rows} == {"HG00096"}


@pytest.mark.parametrize("given", [[], ["select 1", "-f", "x.sql"]])
def test_no_query_or_two_are_a_usage_error(sql: Command, given: list[str]) -> None:
    done = sql(*given)
    assert (done.code, done.out) == (2, b"")
    assert "give one query" in done.err


# Parameters


@pytest.mark.parametrize(
    ("given", "value"),
    [("22", 22), ("-1.5", -1.5), ("true", True), ("null", None), ('"22"', "22"), ("BRCA1", "BRCA1"),
     ("[1, 2]", [1, 2]), ("", ""), ("it's", "it's"), ("NaN", "NaN"), ("Infinity", "Infinity"),
     ("1e400x", "1e400x"), ("a=b", "a=b"), ("'; drop view x; --", "'; drop view x; --")],
)  # fmt: skip
def test_values_are_json_where_they_can_be_and_else_text(given: str, value: object) -> None:
    assert json_or_text(given) == value


@pytest.mark.parametrize(
    "value", ["it's", "'; select 2; --", "$v", ":v", "a=b", "ü😀", "\\", '"', "%"]
)
def test_a_nasty_value_is_bound_as_it_is(sql: Command, value: str) -> None:
    given = json.dumps(value) if value == '"' else value
    done = sql("select :v as v, 1 as one", "-p", f"v={given}", "--format", "json")
    assert json.loads(done.text) == [{"v": value, "one": 1}]


@pytest.mark.parametrize("given", ["novalue", "=x", "a b=1"])
def test_a_parameter_without_name_or_value_is_a_usage_error(sql: Command, given: str) -> None:
    assert sql("select 1", "-p", given).code == 2


def test_a_parameter_given_twice_is_a_usage_error(sql: Command) -> None:
    assert sql("select $a", "-p", "a=1", "-p", "a=2").code == 2


# Formats


def test_csv_is_read_back(sql: Command) -> None:
    header, row = csv.reader(io.StringIO(sql(TYPES, "--format", "csv").text))
    assert dict(zip(header, row, strict=True)) == {
        "i": "1", "dec": "1.5", "f": "2.5", "nan": "nan", "b": "true", "n": "", "empty": "",
        "quoted": 'a,"b"', "lines": "x\ny", "list": "[1,null,3]", "struct": '{"k":"v"}',
        "d": "2020-01-02", "ts": "2020-01-02T03:04:05+00:00", "uni": "ü😀",
    }  # fmt: skip


def test_csv_tells_an_empty_text_from_null(sql: Command) -> None:
    assert sql("select '' as a, null as b, 'x' as c", "--format", "csv").text == 'a,b,c\n"",,x\n'


def test_tsv_is_read_back(sql: Command) -> None:
    text = sql("select E'a\\tb' as x, 'c,d' as y", "--format", "tsv").text
    assert list(csv.reader(io.StringIO(text), delimiter="\t")) == [["x", "y"], ["a\tb", "c,d"]]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_is_read_back(sql: Command, kind: str) -> None:
    text = sql(TYPES, "--format", kind).text
    row = json.loads(text)[0] if kind == "json" else json.loads(text)
    assert row == {
        "i": 1, "dec": 1.5, "f": 2.5, "nan": None, "b": True, "n": None, "empty": "",
        "quoted": 'a,"b"', "lines": "x\ny", "list": [1, None, 3], "struct": {"k": "v"},
        "d": "2020-01-02", "ts": "2020-01-02T03:04:05+00:00", "uni": "ü😀",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, []), (1, [{"i": 0}]), (2, [{"i": 0}, {"i": 1}])]
)
def test_json_is_one_array_however_many_rows(
    sql: Command, rows: int, expected: list[object]
) -> None:
    text = sql(f"select range as i from range({rows})", "--format", "json").text
    assert json.loads(text) == expected


def test_json_keeps_columns_of_one_name_apart(sql: Command) -> None:
    text = sql("select 1 as a, 2 as a, 3 as a", "--format", "jsonl").text
    assert json.loads(text) == {"a": 1, "a_1": 2, "a_2": 3}


def test_json_keeps_large_and_exact_numbers(sql: Command) -> None:
    query = "select 9007199254740993 as i, 12345678901234567890.12::decimal(30, 2) as d"
    row = json.loads(sql(query, "--format", "jsonl").text)
    assert row["i"] == 9007199254740993
    assert Decimal(row["d"]) == Decimal("12345678901234567890.12")


def test_a_table_is_aligned_and_shows_null(sql: Command) -> None:
    text = sql("select 'a' as x, 5 as n union all select null, 50", "--format", "table").text
    assert text == "x      n\n----  --\na      5\nNULL  50\n"


def test_markdown_escapes_bars(sql: Command) -> None:
    text = sql("select 'a|b' as x, 5 as n", "--format", "markdown").text
    assert text == "| x | n |\n| --- | ---: |\n| a\\|b | 5 |\n"


@pytest.mark.parametrize("kind", ["table", "markdown"])
def test_control_characters_cannot_steer_the_terminal(sql: Command, kind: str) -> None:
    evil = "\x1b]52;c;x\x07\x9b31m\u202e\r"
    done = sql('select $e as "a\x1b[2J"', "-p", f"e={evil}", "--format", kind)
    assert not set(evil) & set(done.text) - set("]52;cx31m")
    assert "x1b]52" in done.text


def test_errors_cannot_steer_the_terminal(sql: Command) -> None:
    done = sql('select * from "a\x1b[2J"')
    assert "\x1b" not in done.err


CONTROLS = [
    *range(1, 0x20),
    *range(0x7F, 0xA0),
    0x61C,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]


@pytest.mark.parametrize("kind", ["table", "markdown"])
def test_no_control_character_is_printed(sql: Command, kind: str) -> None:
    cells = ", ".join(f"'a' || chr({code}) || 'z' as c{code}" for code in CONTROLS)
    printed = sql(f"select {cells}", "--format", kind).text.replace("\\\\", "\\")
    assert not {chr(code) for code in CONTROLS} & set(printed.replace("\n", ""))
    assert "a\\x1bz" in printed
    assert "a\\u202ez" in printed


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("start", list("=+-@\t\r\n＝＋－＠"))
def test_no_cell_runs_in_a_spreadsheet(sql: Command, kind: str, start: str) -> None:
    query = f"select chr({ord(start)}) || 'cmd()' as x"
    printed = sql(query, "--format", kind, "--csv-safe").text
    assert printed.split("\n", 1)[1].lstrip('"').startswith("'")


def test_csv_safe_disarms_formulas(sql: Command) -> None:
    query = "select '=cmd()' as a, '+1' as b, '-x' as c, '@y' as d, -5 as n"
    assert sql(query, "--format", "csv", "--csv-safe").text == (
        "a,b,c,d,n\n'=cmd(),'+1,'-x,'@y,-5\n"
    )


def test_arrow_is_read_back(sql: Command) -> None:
    table = pa.ipc.open_stream(sql(TYPES, "--format", "arrow").out).read_all()
    row = table.to_pylist()[0]
    assert math.isnan(row.pop("nan"))
    assert row == {
        "i": 1, "dec": Decimal("1.5"), "f": 2.5, "b": True, "n": None, "empty": "",
        "quoted": 'a,"b"', "lines": "x\ny", "list": [1, None, 3], "struct": {"k": "v"},
        "d": date(2020, 1, 2), "ts": datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), "uni": "ü😀",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["x.parquet", "x.PARQUET"])
def test_parquet_is_read_back_from_a_file(sql: Command, tmp_path: Path, name: str) -> None:
    done = sql("select range as i from range(5)", "-o", str(tmp_path / name))
    assert (done.code, done.out) == (0, b"")
    assert pq.read_table(tmp_path / name)["i"].to_pylist() == [0, 1, 2, 3, 4]


def test_a_result_without_rows_has_a_schema_in_every_format(sql: Command, tmp_path: Path) -> None:
    query = "select pos from thousand_genomes.variants where pos < 0"
    for name in ("x.parquet", "x.arrow", "x.csv", "x.json", "x.md", "x.txt"):
        assert sql(query, "-o", str(tmp_path / name)).code == 0
    assert pq.read_schema(tmp_path / "x.parquet").names == ["pos"]
    assert pa.ipc.open_stream(tmp_path.joinpath("x.arrow").read_bytes()).schema.names == ["pos"]
    assert (tmp_path / "x.csv").read_text() == "pos\n"
    assert json.loads((tmp_path / "x.json").read_text()) == []


# Output


def test_an_unknown_suffix_is_a_usage_error(sql: Command, tmp_path: Path) -> None:
    assert sql("select 1", "-o", str(tmp_path / "x.xls")).code == 2
    assert list(tmp_path.glob("x*")) == []


def test_format_wins_over_the_suffix(sql: Command, tmp_path: Path) -> None:
    sql("select 1 as a", "-o", str(tmp_path / "x.xls"), "--format", "csv")
    assert (tmp_path / "x.xls").read_text() == "a\n1\n"


def test_a_failing_query_leaves_the_old_file(sql: Command, tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    target.write_text("old")
    query = "select cast(if(range = 500000, 'x', '1') as integer) from range(1000000)"
    assert sql(query, "-o", str(target)).code == 1
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.csv"]


def test_a_folder_that_is_not_there_is_not_found(sql: Command, tmp_path: Path) -> None:
    assert sql("select 1", "-o", str(tmp_path / "no" / "x.csv")).code == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_is_told(sql: Command) -> None:
    done = sql("select range from range(100000)", "-o", "/dev/full", "--format", "csv")
    assert done.code == 6
    assert "No space left" in done.err


def test_rows_go_to_standard_output_and_the_report_to_standard_error(sql: Command) -> None:
    done = sql(COUNT)
    assert done.text.splitlines()[0] == "count_star()"
    assert "scanned" in done.err
    assert "$0.00005" in done.err


def test_the_report_is_json_for_machines(sql: Command) -> None:
    facts = json.loads(sql(COUNT, "--report", "json").err)
    assert facts["rows"] == 1
    assert 0 < facts["bytes_scanned"] < facts["bytes_total"]
    assert facts["cost_usd"] == 0.00005
    assert set(facts["snapshots"]) == {"thousand_genomes.variants"}


def test_the_report_can_be_left_out(sql: Command) -> None:
    assert sql(COUNT, "--report", "none").err == ""


def test_max_rows_stops_and_says_so(sql: Command) -> None:
    done = sql("select range as i from range(100)", "--max-rows", "2")
    assert done.text == "i\n0\n1\n"
    assert "there are more" in done.err


# Ends


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["selec 1"], 1, "syntax error"),
        (["select nope from clinvar.grch37"], 1, "nope"),
        (["select 1; copy t to 'x'"], 1, "COPY is not allowed"),
        (["drop table x"], 1, "one SELECT"),
        (["select * from read_csv('/etc/passwd')"], 1, "read_csv"),
        (["select 1 from thousand_genomes.variants join clinvar.grch38 using (pos)"], 1, "GRCh38"),
        (["select * from clinvar.grch337"], 5, "did you mean clinvar.grch37?"),
        (["select * from clinvar.grch38"], 5, "lakeq ingest clinvar"),
        (["@sample_clinva"], 5, "did you mean sample_clinvar?"),
        (["@sample_clinvar", "-p", "sampl=x"], 5, "did you mean sample?"),
        (["@cohort_frequency"], 2, "samples must be given"),
        (["-f", "no/such/file.sql"], 5, "no such file"),
        (["select 1", "--format", "xml"], 2, "xml"),
        (["select 1", "--bogus"], 2, "No such option"),
        (["select 1", "--at", "yesterday"], 0, ""),
        (["select * from clinvar.grch37", "--at", "yesterday"], 2, "yesterday"),
        (["select * from clinvar.grch37", "--at", "12345"], 5, "12345"),
        ([""], 1, "no query"),
    ],
)
def test_each_failure_has_its_code_and_one_clear_message(
    sql: Command, arguments: list[str], code: int, words: str
) -> None:
    done = sql(*arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err


def environment(lake: Lake) -> dict[str, str]:
    return {**os.environ, "LAKEQ_LAKE": str(lake.settings.lake), "PYTHONPATH": str(Path.cwd())}


def test_a_reader_that_goes_away_ends_it_quietly(cohort_lake: Lake) -> None:
    query = "select range from range(10000000)"
    process = subprocess.Popen(
        [*LAKEQ, "sql", query],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(cohort_lake),
    )
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""


def hears_interrupts() -> None:
    """A shell's background jobs, and what they start, are deaf to ^C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_it_with_130_and_no_traceback(cohort_lake: Lake) -> None:
    query = "select count(*) from range(10000000) a, range(1000000) b where a.range + b.range < 0"
    process = subprocess.Popen(
        [*LAKEQ, "sql", query],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(cohort_lake),
        preexec_fn=hears_interrupts,  # noqa: PLW1509  # it only sets a handler
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


PEAK = """
import sys
from lakeq.cli import run
code = run(sys.argv[1:])
status = open("/proc/self/status").read()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(code)
"""
HAS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts it")


def peak_kib(lake: Lake, *arguments: str, **env: str) -> tuple[int, int]:
    """Exit code, and the most memory that the command ever held, in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environment(lake), **env},
        check=False,
    )
    return done.returncode, int(done.stderr.split()[-1])


@HAS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "arrow"])
def test_ten_million_rows_stream_in_constant_memory(cohort_lake: Lake, kind: str) -> None:
    query = "select range as i, (range * 7)::varchar as s from range(10000000)"
    code, peak = peak_kib(cohort_lake, "sql", query, "--format", kind)
    assert code == 0
    assert peak * 1024 < 300_000_000


@HAS_PROC
def test_a_limit_on_memory_is_kept(cohort_lake: Lake) -> None:
    ordered = "select range from range(20000000) order by hash(range) limit 19999999"
    query = f"select count(*) from ({ordered})"
    limits = {"LAKEQ_MEMORY_LIMIT": "150MB", "LAKEQ_THREADS": "2"}
    code, peak = peak_kib(cohort_lake, "sql", query, **limits)
    assert code in (0, 1)
    assert peak * 1024 < 1.25 * 150_000_000 + 100_000_000  # the limit, and Python with DuckDB


def test_a_dry_run_says_what_it_would_read_and_reads_nothing(sql: Command) -> None:
    query = "select gene from clinvar.grch37 where is_pathogenic"
    told = sql(query, "--dry-run")
    assert told.code == 0
    assert "will read " in told.out.decode()
    assert "Athena" in told.out.decode()
    plan = json.loads(sql(query, "--dry-run", "--format", "json").out)
    report = json.loads(sql(query, "--report", "json", "-o", "/dev/null", "--format", "csv").err)
    assert plan["low_bytes"] <= report["bytes_scanned"] <= plan["high_bytes"]
    assert report["plan"]["high_bytes"] == plan["high_bytes"]


def test_over_budget_is_exit_code_3(sql: Command) -> None:
    done = sql("select * from clinvar.grch37", "--max-bytes", "10")
    assert done.code == 3
    assert done.out == b""
    assert "refused before anything was read" in done.err
    assert sql("select * from clinvar.grch37", "--max-usd", "0.5").code == 0
