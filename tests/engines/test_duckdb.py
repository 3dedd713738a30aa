"""The lock-down, the views and the honest count of bytes, against the kernel and a server."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import engines, planner
from lakeq.config import S3Settings, Settings
from lakeq.engines._duckdb_sql import identifier, value_literal
from lakeq.engines.duckdb import Engine
from lakeq.errors import (
    AccessDenied,
    BadLake,
    LakeqError,
    LimitPassed,
    QueryFailed,
    StorageUnavailable,
    UnknownName,
)
from lakeq.snapshot import TableSnapshot
from tests.support.counting_server import CountingServer, counting_server
from tests.support.data import ROOT
from tests.support.tables import snapshot, write

COLUMNS = {
    "contig": pa.string(),
    "pos": pa.int64(),
    "ref": pa.string(),
    "het": pa.list_(pa.int32()),
    "seen": pa.timestamp("us", tz="UTC"),
}
SHAPES = [
    "select count(*) from d.t",
    "select sum(pos) from d.t",
    "select contig, count(*) from d.t group by 1",
    "select count(*) from d.t where contig = '21'",
    "select count(*) from d.t where contig = '21' and pos between 5000 and 5100",
    "select sum(len(het)) from d.t where contig = '20'",
    "select * from d.t where pos = 7007",
    "select * from d.t limit 5",
    "select * from d.t order by pos desc limit 3",
    "select max(seen) from d.t",
    "select count(*) from d.t a join d.t b using (contig, pos) where len(b.het) = 3",
    "select * from d.t where pos in (select pos from d.t where ref = 'A' limit 2)",
]
CANARIES = ("AKIACANARYCANARY", "canary-secret-key", "canary-session-token")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of 5,000 rows in row groups of 1,000."""
    folder = tmp_path_factory.mktemp("files") / "bucket"
    folder.mkdir()
    for contig in ("20", "21", "22"):
        rows = range(5000)
        columns = {
            "contig": pa.array([contig] * 5000),
            "pos": pa.array([1 + 2 * row for row in rows]),
            "ref": pa.array(["ACGT"[row * 7 % 4] for row in rows]),
            "het": pa.array([list(range(row * 31 % 17)) for row in rows], pa.list_(pa.int32())),
            "seen": pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 5000, COLUMNS["seen"]),
        }
        write(folder / f"{contig}.parquet", columns)
    return folder


@pytest.fixture
def table(folder: Path) -> TableSnapshot:
    return snapshot("d.t", sorted(folder.iterdir()), COLUMNS)


@pytest.fixture
def remote(folder: Path) -> TableSnapshot:
    return snapshot("d.t", sorted(folder.iterdir()), COLUMNS, "s3://bucket/")


@pytest.fixture
def server(folder: Path) -> Iterator[CountingServer]:
    with counting_server(folder.parent) as server:
        yield server


def settings(**values: object) -> Settings:
    return Settings(lake=Path("unused"), **values)  # type: ignore[arg-type]  # as the test says


def run(
    sql: str,
    tables: Sequence[TableSnapshot] = (),
    parameters: Mapping[str, object] | None = None,
    with_settings: Settings | None = None,
) -> tuple[list[engines.Row], engines.Access]:
    """All rows and what was read."""
    engine = Engine(with_settings or settings())
    try:
        running = engine.run(sql, parameters or {}, {table.name: table for table in tables})
        rows: list[engines.Row] = []
        while part := running.fetch(1000):
            rows += part
        return rows, running.access()
    finally:
        engine.close()


def test_rows_are_those_of_the_files(table: TableSnapshot) -> None:
    rows, _ = run("select contig, count(*), sum(pos), sum(len(het)) from d.t group by 1", [table])
    lists = sum(row * 31 % 17 for row in range(5000))
    assert sorted(rows) == [(c, 5000, 25_000_000, lists) for c in ("20", "21", "22")]


def test_zoned_times_come_as_utc(table: TableSnapshot) -> None:
    rows, _ = run("select seen, het from d.t where pos = 3", [table])
    assert rows == [(datetime(2020, 1, 1, tzinfo=UTC), list(range(14)))] * 3


def test_columns_are_matched_by_field_id(folder: Path) -> None:
    files = sorted(folder.iterdir())
    renamed = {
        "chrom": pa.string(),
        "start": pa.int64(),
        "base": pa.string(),
        "added": COLUMNS["het"],
    }
    columns = snapshot("d.t", files, renamed).columns
    moved = (*columns[:3], columns[3]._replace(field_id=99))
    table = TableSnapshot("d.t", 1, datetime.now(UTC), moved, snapshot("d.t", files, {}).files)
    rows, _ = run("select chrom, start, added from d.t where start = 1 order by 1", [table])
    assert rows == [("20", 1, None), ("21", 1, None), ("22", 1, None)]


def test_a_table_without_files_is_empty_and_typed() -> None:
    rows, access = run(
        "select typeof(any_value(het)), count(*) from d.t", [snapshot("d.t", [], COLUMNS)]
    )
    assert rows == [("INTEGER[]", 0)]
    assert access.scanned_bytes == 0


@pytest.mark.parametrize("name", ["we[ird] *?", "quo'te", 'dou"ble', "semi;colon --", "ünï"])
def test_a_folder_of_any_name_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    other = tmp_path / "wei xx"  # what the pattern "we[ird] *?" would find
    other.mkdir()
    for at, value in ((place, 1), (other, 2)):
        write(at / "a.parquet", {"pos": pa.array([value])})
    rows, access = run(
        "select * from d.t", [snapshot("d.t", [place / "a.parquet"], {"pos": pa.int64()})]
    )
    assert rows == [(1,)]
    assert {read.path for read in access.reads} <= {str(place / "a.parquet")}


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{outside}')",
        "select * from '{sibling}'",
        "select * from read_parquet('{folder}/*.parquet')",
        "select * from read_parquet('{folder}/../bucket/../other.parquet')",
        "select * from glob('{folder}/*')",
        "copy (select 1) to '{folder}/out.csv'",
        "copy (select 1) to '{folder}/20.parquet'",
        "attach '{folder}/new.db'",
        "install spatial",
        "load spatial",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set allowed_paths = ['/etc/passwd']",
        "set memory_limit = '100GB'",
        "reset threads",
        "select * from frame",
        "select * from 'http://127.0.0.1:9/x.parquet'",
        "select * from 's3://other/x.parquet'",
        "export database '{folder}/x'",
    ],
)
def test_the_fence_holds_without_the_guard(
    sql: str, table: TableSnapshot, folder: Path, tmp_path: Path
) -> None:
    frame = pa.table({"secret": [1]})  # a replacement scan would find it
    assert frame.num_rows == 1
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    sibling = write(tmp_path / "sibling.parquet", {"pos": pa.array([1])})
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    text = sql.format(outside=outside, sibling=sibling, folder=folder)
    with pytest.raises(LakeqError):
        run(text, [table])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_persistent_secrets_and_extensions_of_the_user_are_not_seen(table: TableSnapshot) -> None:
    engine = Engine(settings())
    engine.run("select 1", {}, {"d.t": table})
    names = ("autoload_known_extensions", "autoinstall_known_extensions", "enable_external_access",
             "allow_community_extensions", "allow_unsigned_extensions", "allow_persistent_secrets",
             "python_enable_replacements")  # fmt: skip
    values = engine.connection.execute(
        f"select value from duckdb_settings() where name in {names}"
    ).fetchall()
    engine.close()
    assert values == [("false",)] * len(names)


# Bytes


LOCAL_WITNESS = """
import json, sys
from tests.engines.test_duckdb import COLUMNS, SHAPES, run
from tests.support.tables import snapshot
from pathlib import Path
from lakeq.config import Settings
from lakeq.engines import _duckdb_spares
from lakeq.engines.duckdb import Engine

_duckdb_spares.QUERIES = 10**9  # a database made ahead meanwhile reads /proc/meminfo too

def rchar():
    return int(open("/proc/self/io").read().split()[1])

table = snapshot("d.t", sorted(Path(sys.argv[1]).iterdir()), COLUMNS)
for shape in SHAPES[-1:] + SHAPES:  # the first one only loads what Python loads
    engine = Engine(Settings(lake=Path("unused")))
    engine.serialize("select 1")
    before = rchar()
    running = engine.run(shape, {}, {"d.t": table})
    while running.fetch(1000):
        pass
    read = rchar() - before
    print(json.dumps([shape, running.access().scanned_bytes, read]))
    engine.close()
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel counts on Linux only")
def test_local_bytes_are_those_the_kernel_counts(folder: Path) -> None:
    command = [sys.executable, "-c", LOCAL_WITNESS, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    lines = [json.loads(line) for line in done.stdout.splitlines()][1:]
    assert len(lines) == len(SHAPES)
    for shape, scanned, read in lines:
        assert 0 <= read - scanned < 1000, shape  # /proc/self/io itself and DuckDB's /proc/meminfo


@pytest.mark.parametrize("sql", SHAPES)
def test_s3_bytes_and_requests_are_those_the_server_counts(
    sql: str, remote: TableSnapshot, server: CountingServer
) -> None:
    _, access = run(sql, [remote], with_settings=endpoint(server, anon=True))
    assert access.scanned_bytes == server.sent
    assert len(access.reads) + access.opened == len(server.requests)


@pytest.mark.parametrize(
    "query", ["select sum(c1) from d.t", "select count(*) from d.t a join d.t b on a.c1 < b.c2"]
)
@pytest.mark.parametrize(
    ("columns", "row_groups"), [(3, 2), (60, 2), (60, 30), (300, 32), (300, 33), (300, 40)]
)
def test_a_long_footer_is_counted_as_the_server_counts_it(
    tmp_path: Path, columns: int, row_groups: int, query: str
) -> None:
    """Footers from 2 kB to 1.3 MB: in one read, in two that overlap, in two that do not."""
    (tmp_path / "bucket").mkdir()
    arrays = {f"c{number}": pa.array([1] * row_groups) for number in range(columns)}
    file = write(tmp_path / "bucket" / "wide.parquet", arrays, rows_per_group=1)
    wide = snapshot("d.t", [file], dict.fromkeys(arrays, pa.int64()), "s3://bucket/")
    with counting_server(tmp_path) as server:
        _, access = run(query, [wide], with_settings=endpoint(server))
        assert access.scanned_bytes == server.sent
        assert len(access.reads) + access.opened == len(server.requests)


def test_row_groups_read_are_those_whose_bytes_were(table: TableSnapshot) -> None:
    _, access = run(
        "select ref from d.t where contig = '21' and pos between 5001 and 5100", [table]
    )
    used = planner.usage([table], access.reads)
    assert (used.files_read, used.files_total) == (3, 3)  # all footers, one row group
    assert (used.row_groups_read, used.row_groups_total) == (1, 15)
    assert used.bytes_total == sum(file.size_bytes for file in table.files)


def test_a_count_reads_footers_only(table: TableSnapshot) -> None:
    _, access = run("select count(*) from d.t", [table])
    assert planner.usage([table], access.reads).row_groups_read == 0
    assert 0 < access.scanned_bytes < table.size_bytes


def test_spilled_rows_are_not_counted_and_are_removed(table: TableSnapshot, tmp_path: Path) -> None:
    small = settings(memory_limit="60MB", threads=1, temp_dir=tmp_path)
    sql = "select a.pos from d.t a, range(300) order by hash(a.pos, range) limit 4000000"
    rows, access = run(sql, [table], with_settings=small)
    assert len(rows) == 4_000_000
    column = sum(file.footer.column_bytes({"pos"}) for file in table.files)
    assert access.scanned_bytes == column + sum(min(16_384, f.size_bytes) for f in table.files)
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_spills_never_reads_more_bytes_than_it_is_allowed(
    table: TableSnapshot, tmp_path: Path
) -> None:
    """The sort has spilled when the second scan begins, which is one byte too much."""
    sort = "select a.pos from d.t a, range(300) order by hash(a.pos, range) limit 4000000"
    scan = "select max(b.pos) from d.t b, range(2) where hash(b.pos) in (from s)"
    sql = f"with s as materialized ({sort}) {scan}"
    column = sum(file.footer.column_bytes({"pos"}) for file in table.files)
    footers = sum(min(16_384, file.size_bytes) for file in table.files)
    allowance = engines.Allowance(bytes=2 * (column + footers) - 1)
    engine = Engine(settings(memory_limit="60MB", threads=1, temp_dir=tmp_path))
    try:
        with pytest.raises(LimitPassed, match="stopped before reading more"):
            engine.run(sql, {}, {"d.t": table}, allowance=allowance).fetch(10)
        spilled = any(path.is_dir() for path in tmp_path.iterdir())
        read = engine.access().scanned_bytes
    finally:
        engine.close()
    assert spilled
    assert column + footers < read <= 2 * (column + footers) - 1


DROPPED = """
import gc, sys, threading
from pathlib import Path
from tests.engines.test_duckdb import COLUMNS, settings
from tests.support.tables import snapshot
from lakeq.engines.duckdb import Engine
from lakeq.storage.ranges import Ranges

table = snapshot("d.t", sorted(Path(sys.argv[1]).iterdir()), COLUMNS)
read = Ranges.read

def slow(*arguments):
    threading.Event().wait(0.002)
    return read(*arguments)

Ranges.read = slow
for number in range(40):
    engine = Engine(settings(threads=2))
    running = engine.run("select * from d.t where hash(pos) % 2 = 1", {}, {"d.t": table})
    if number % 2:
        running.fetch(1)
    else:
        next(running.reader(1))
    del engine, running
    gc.collect()
print("ended")
"""


def test_a_query_that_is_dropped_while_its_threads_read_ends(folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DROPPED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=120)
    assert done.stdout == "ended\n"


def test_a_query_may_spill_half_of_the_free_room_and_no_more(tmp_path: Path) -> None:
    engine = Engine(settings(temp_dir=tmp_path))
    engine.run("select 1", {}, {})
    said = "select value from duckdb_settings() where name = 'max_temp_directory_size'"
    ((limit,),) = engine.connection.execute(said).fetchall()
    engine.close()
    number, unit = limit.split()
    size = float(number) * {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert size <= min(100e9, shutil.disk_usage(tmp_path).free * 0.6)


# S3


def endpoint(server: CountingServer, **values: object) -> Settings:
    s3 = S3Settings(endpoint_url=server.url, region="us-east-1", **values)  # type: ignore[arg-type]  # as the test says
    return settings(s3=s3)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that fail are made again at once."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name, value in zip(names, CANARIES, strict=True):
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("canaries")
def test_anonymous_reads_carry_no_credentials_even_when_there_are_some(
    remote: TableSnapshot, server: CountingServer
) -> None:
    _, access = run("select sum(pos) from d.t", [remote], with_settings=endpoint(server, anon=True))
    assert not access.signed
    sent = str([request.headers for request in server.requests])
    assert "authorization" not in sent
    assert not any(canary in sent for canary in CANARIES)


@pytest.mark.usefixtures("canaries")
def test_signed_reads_use_the_environments_credentials(
    remote: TableSnapshot, server: CountingServer
) -> None:
    _, access = run("select sum(pos) from d.t", [remote], with_settings=endpoint(server))
    assert access.signed
    for request in server.requests:
        assert f"Credential={CANARIES[0]}/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == CANARIES[2]


@pytest.mark.usefixtures("canaries")
def test_requester_pays_is_said_in_every_request(
    remote: TableSnapshot, server: CountingServer
) -> None:
    run("select sum(pos) from d.t", [remote], with_settings=endpoint(server, requester_pays=True))
    assert all(r.headers["x-amz-request-payer"] == "requester" for r in server.requests)


def test_without_any_credentials_reads_are_anonymous(
    remote: TableSnapshot, server: CountingServer
) -> None:
    run("select sum(pos) from d.t", [remote], with_settings=endpoint(server))
    assert not any("authorization" in request.headers for request in server.requests)


def test_signing_without_credentials_is_refused(
    remote: TableSnapshot, server: CountingServer
) -> None:
    with pytest.raises(AccessDenied, match="no usable AWS credentials"):
        run("select sum(pos) from d.t", [remote], with_settings=endpoint(server, anon=False))
    assert server.requests == []


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, AccessDenied), (401, AccessDenied), (404, BadLake), (301, AccessDenied),
     (400, AccessDenied), (503, StorageUnavailable), (500, StorageUnavailable)],
)  # fmt: skip
def test_refusals_of_s3_are_told_by_their_cause_and_without_secrets(
    status: int,
    kind: type[LakeqError],
    remote: TableSnapshot,
    server: CountingServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.status = status
    caplog.set_level(logging.DEBUG)
    with pytest.raises(kind) as caught:
        run("select sum(pos) from d.t", [remote], with_settings=endpoint(server))
    assert caught.value.hint
    seen = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert not any(canary in seen for canary in CANARIES)


def test_an_endpoint_that_is_down_is_unavailable(
    remote: TableSnapshot, server: CountingServer
) -> None:
    s3 = S3Settings(endpoint_url="http://127.0.0.1:9", anon=True)
    with pytest.raises(StorageUnavailable):
        run("select sum(pos) from d.t", [remote], with_settings=settings(s3=s3))


@pytest.mark.usefixtures("canaries")
def test_duckdb_holds_no_credentials_and_makes_no_connection(
    remote: TableSnapshot, server: CountingServer
) -> None:
    engine = Engine(endpoint(server))
    running = engine.run("select sum(pos) from d.t", {}, {"d.t": remote})
    running.fetch(10)
    ask = engine.connection.execute
    handlers = ask("select count(*) from duckdb_secret_types() where type = 's3'").fetchall()
    told = f"{ask('from duckdb_settings()').fetchall()} {ask('from duckdb_logs').fetchall()}"
    secrets = ask("from duckdb_secrets()").fetchall()
    engine.close()
    assert server.requests
    assert handlers == [(0,)]  # httpfs is not loaded
    assert secrets == []
    assert not any(canary in told for canary in CANARIES)


# Errors


def test_a_missing_file_is_a_damaged_lake(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gone.parquet"
    copy.write_bytes((folder / "20.parquet").read_bytes())
    table = snapshot("d.t", [copy], COLUMNS)
    copy.unlink()
    with pytest.raises(BadLake) as caught:
        run("select count(*) from d.t", [table])
    assert caught.value.where == str(copy)


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_file_is_a_damaged_lake(folder: Path, tmp_path: Path, kept: float) -> None:
    copy = tmp_path / "short.parquet"
    data = (folder / "20.parquet").read_bytes()
    copy.write_bytes(data)
    table = snapshot("d.t", [copy], COLUMNS)
    copy.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(BadLake) as caught:
        run("select sum(pos), sum(len(het)) from d.t", [table])
    assert caught.value.where == str(copy)


def test_a_damaged_page_is_a_damaged_lake(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "flipped.parquet"
    copy.write_bytes((folder / "20.parquet").read_bytes())
    table = snapshot("d.t", [copy], COLUMNS)
    chunk = table.files[0].row_groups[2].chunks[3]
    data = bytearray(copy.read_bytes())
    data[chunk.offset + 60 : chunk.offset + 90] = bytes(30)
    copy.write_bytes(data)
    with pytest.raises(BadLake) as caught:
        run("select sum(pos), sum(list_sum(het)) from d.t", [table])
    assert caught.value.where == str(copy)


def test_a_column_that_does_not_exist_is_told_with_candidates_and_line(
    table: TableSnapshot,
) -> None:
    with pytest.raises(QueryFailed) as caught:
        run("select\n  poss\nfrom d.t", [table])
    assert '"pos"' in caught.value.what
    assert caught.value.where == "the query, line 2"


def test_a_failure_while_rows_come_is_told(table: TableSnapshot) -> None:
    with pytest.raises(QueryFailed, match="Could not convert"):
        run("select cast(ref as integer) from d.t", [table])


def test_too_little_memory_is_told(table: TableSnapshot) -> None:
    tight = settings(memory_limit="20MB", threads=1)
    with pytest.raises(LakeqError) as caught:
        run("select list(range) from range(100000000)", with_settings=tight)
    assert "memory" in f"{caught.value.what} {caught.value.hint}".lower()


def test_an_unknown_engine_answers_with_the_nearest() -> None:
    assert "duckdb" in engines.names()
    with pytest.raises(UnknownName, match="duckdb"):
        engines.get("duckbd", settings())


# Values


NASTY = [
    "",
    "'",
    "''",
    '"',
    "\\",
    "\n",
    "; drop view d.t; --",
    "$x",
    ":x",
    "?",
    "/*",
    "ünï😀",
    "\x1b]52",
    "a\0b",
]


@pytest.mark.parametrize("value", NASTY)
def test_a_nasty_text_is_itself(value: str) -> None:
    assert run("select $v, $v = $v, length($v)", parameters={"v": value})[0] == [
        (value, True, len(value))
    ]


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, 2**31, 2**63 - 1, -(2**63), 2**64, 0.1, 1e300, ["a", "b'"], [1, 2],
     [], ["a", None], [[1], [2, 3]], b"\x00\xff", {"a": 1}, date(2020, 1, 2)],
)  # fmt: skip
def test_a_value_is_itself(value: object) -> None:
    assert run("select $v", parameters={"v": value})[0] == [(value,)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_a_parameter(text: str) -> None:
    assert run("select $v", parameters={"v": text})[0] == [(text,)]


@given(st.floats(allow_nan=False) | st.integers(-(2**100), 2**100) | st.lists(st.text("a'\"\\;")))
def test_literals_are_read_back_as_they_were(value: object) -> None:
    written = value_literal(value)
    if written is not None:
        assert duckdb.execute(f"select {written}").fetchone() == (value,)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_name_survives_as_an_identifier(name: str) -> None:
    cursor = duckdb.execute(f"select 1 as {identifier(name)}")
    assert cursor.description is not None
    assert cursor.description[0][0] == name


class Deaf:
    """A cursor that passes on only the third interrupt, as if two came between two steps."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self.cursor, self.heard = cursor, 0

    def interrupt(self) -> None:
        self.heard += 1
        if self.heard > 2:
            self.cursor.interrupt()


def test_a_query_is_interrupted_until_it_ends() -> None:
    engine = Engine(settings())
    begun = engine.run("select 1", {}, {})
    deaf = Deaf(begun._cursor)
    begun._cursor = deaf  # type: ignore[assignment]  # a stand-in
    endless = "select count(*) from range(10000000) a, range(1000000) b where a.range + b.range < 0"
    told: list[str] = []
    ended = threading.Event()

    def work() -> None:
        try:
            deaf.cursor.execute(endless).fetchall()
        except duckdb.Error as error:
            told.append(str(error))
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    begun._stop(ended)
    begun._cursor = deaf.cursor
    engine.close()
    assert deaf.heard > 2
    assert len(told) == 1
    assert engine.stopped
