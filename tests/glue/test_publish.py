"""`lakeq publish`: a local lake on S3 and in Glue, read there by DuckDB and by Athena."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.engines import athena
from lakeq.errors import BadLake, NotFound, UsageError
from lakeq.snapshot import DataFile
from tests.support.athena import FakeAthena
from tests.support.data import ROOT
from tests.support.glue import client, options, variables
from tests.support.s3 import S3

pytestmark = pytest.mark.usefixtures("aws_credentials")
TABLES = ("thousand_genomes.variants", "thousand_genomes.samples", "clinvar.grch37")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort) -> Path:
    """The folder of a lake of three tables; tests copy its pointers, and share its files."""
    folder = tmp_path_factory.mktemp("published") / "lake"
    lake = lakeq.connect(folder)
    lake.ingest("thousand_genomes", [made_cohort.vcf], tables=["variants", "samples"])
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    return folder


@pytest.fixture
def local(made: Path, s3: S3, prefix: str) -> Lake:
    """The lake, as one that reaches S3 and Glue."""
    return connected(made, s3, prefix)


def connected(folder: Path, s3: S3, prefix: str) -> Lake:
    reached = {k: v for k, v in options(s3, prefix).items() if k != "catalog"}
    return lakeq.connect(folder, **reached)


def told(file: DataFile) -> tuple[object, ...]:
    """What a snapshot says of a file but for its path: bounds and checksums of chunks as well."""
    footer = file.footer
    bounds = [bound and tuple(bound) for bound in footer.bounds]
    facts = (file.size_bytes, file.rows, file.partition, file.source, file.members, file.order)
    return (*facts, list(footer.lengths), bounds, list(footer.crc32s), footer.footer_crc32)


def everything(lake: Lake, name: str) -> list[tuple[object, ...]]:
    return list(lake.sql(f"select * from {name} order by all").rows())


def test_rows_are_equal_there_in_duckdb_and_athena(
    local: Lake, s3: S3, root: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = local.publish(root)
    assert {table.table for table in done.tables} >= set(TABLES)
    assert done.sent_bytes == sum(local.table(t.table).size_bytes for t in done.tables)
    there = lakeq.connect(root, **options(s3, prefix), athena_output="s3://results/x")
    monkeypatch.setattr(
        athena, "new_client", lambda service, settings: FakeAthena(there, glue=client(s3))
    )
    monkeypatch.setattr(athena, "FIRST_WAIT_S", 0.001)
    for name in TABLES:
        assert everything(there, name) == everything(local, name)
        columns = ", ".join(c.name for c in local.table(name).columns[:5])
        sql = f"select {columns} from {name} order by all"
        assert there.sql(sql, engine="athena").rows() == local.sql(sql).rows()
    assert there.verify().sound


def test_records_of_files_keep_bounds_partitions_and_ids(
    local: Lake, s3: S3, root: str, prefix: str
) -> None:
    local.publish(root)
    there = lakeq.connect(root, **options(s3, prefix))
    mine, its = (lake.table(TABLES[0]).snapshot for lake in (local, there))
    assert mine is not None
    assert its is not None
    assert mine.columns == its.columns
    assert [told(file) for file in mine.files] == [told(file) for file in its.files]
    sql = "select count(*) from thousand_genomes.variants where pos < 0"
    assert there.plan(sql).low_bytes == local.plan(sql).low_bytes


def test_a_second_publish_sends_only_what_is_new(
    s3: S3, root: str, prefix: str, tmp_path: Path, made_cohort: MadeCohort
) -> None:
    folder = tmp_path / "mine"
    lake = connected(folder, s3, prefix)
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    first = lake.publish(root)
    again = lake.publish(root)
    assert (again.sent_files, again.sent_bytes) == (0, 0)
    lake.ingest("thousand_genomes", [made_cohort.vcf], tables=["variants", "samples"])
    third = lake.publish(root)
    assert third.sent_bytes == sum(t.size_bytes for t in third.tables) - first.sent_bytes
    there = lakeq.connect(root, **options(s3, prefix))
    for name in TABLES:
        assert everything(there, name) == everything(lake, name)


def test_a_dry_run_says_bytes_requests_and_dollars_and_writes_nothing(
    made: Path,
    s3: S3,
    root: str,
    prefix: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in variables(s3, prefix).items():
        if key != "LAKEQ_CATALOG":
            monkeypatch.setenv(key, value)
    arguments = ["publish", root, "--lake", str(made), "--report", "json", "--format", "json"]
    assert run([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr()
    expected = json.loads(out.err)
    assert s3.keys(root.split("/")[2]) == []
    assert expected["dry_run"]
    assert float(expected["request_usd"]) > 0
    assert run(arguments) == 0
    done = json.loads(capsys.readouterr().err)
    for name in ("sent_files", "sent_bytes", "puts", "request_usd", "month_usd"):
        assert done[name] == expected[name]


@pytest.mark.parametrize(
    ("point", "call"),
    [
        ("lakeq.lake.publish:send", 2),
        pytest.param("lakeq.lake.shared_log:SharedLog.put", 1, marks=pytest.mark.soak),
    ],
)
def test_a_publish_killed_in_the_middle_leaves_the_destination_and_goes_on(
    made: Path, local: Lake, s3: S3, root: str, prefix: str, point: str, call: int, tmp_path: Path
) -> None:
    local.publish(root, ["clinvar"])
    there = lakeq.connect(root, **options(s3, prefix))
    rows = everything(there, "clinvar.grch37")
    script = (
        "import sys\n"
        "from tests.support.killing import arm, counting\n"
        f"arm({point!r}, counting({call}), {str(tmp_path)!r})\n"
        "from lakeq.cli import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    given = {k: v for k, v in variables(s3, prefix).items() if k != "LAKEQ_CATALOG"}
    line = [sys.executable, "-c", script, "publish", root, "--lake", str(made)]
    killed = subprocess.run(line, env={**os.environ, **given}, cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert everything(there, "clinvar.grch37") == rows
    with pytest.raises(NotFound):
        there.sql("select 1 from thousand_genomes.variants")
    there_already = point.endswith("put")
    done = local.publish(root)
    assert (done.sent_files == 0) == there_already
    assert everything(there, "thousand_genomes.variants") == everything(local, TABLES[0])


def test_a_table_that_is_no_copy_is_refused_before_anything_is_sent(
    local: Lake, s3: S3, root: str, prefix: str
) -> None:
    glue = client(s3)
    glue.create_database(DatabaseInput={"Name": f"{prefix}clinvar"})
    theirs = {"Name": "grch37", "StorageDescriptor": {"Location": "s3://theirs/x"}}
    glue.create_table(DatabaseName=f"{prefix}clinvar", TableInput=theirs)
    with pytest.raises(UsageError, match="another table by the name"):
        local.publish(root)
    assert s3.keys(root.split("/")[2]) == []
    found = glue.get_table(DatabaseName=f"{prefix}clinvar", Name="grch37")["Table"]
    assert found["StorageDescriptor"]["Location"] == "s3://theirs/x"


def test_a_destination_that_was_ingested_into_is_refused(
    local: Lake, s3: S3, root: str, prefix: str, made_cohort: MadeCohort
) -> None:
    local.publish(root, "clinvar")
    there = lakeq.connect(root, **options(s3, prefix))
    there.ingest("clinvar.grch37", [made_cohort.clinvar])
    with pytest.raises(UsageError, match="others than lakeq publish have changed"):
        local.publish(root, "clinvar")


def test_another_lakes_table_is_refused(
    local: Lake, s3: S3, root: str, prefix: str, tmp_path: Path, made_cohort: MadeCohort
) -> None:
    other = connected(tmp_path / "other", s3, prefix)
    other.ingest("clinvar.grch37", [made_cohort.clinvar])
    other.publish(root)
    with pytest.raises(UsageError, match="no copy of this lake's"):
        local.publish(root, "clinvar")


def test_a_damaged_file_is_not_published(
    s3: S3, root: str, prefix: str, tmp_path: Path, made_cohort: MadeCohort
) -> None:
    lake = connected(tmp_path / "mine", s3, prefix)
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    snapshot = lake.table("clinvar.grch37").snapshot
    assert snapshot is not None
    path = Path(snapshot.files[0].path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadLake, match="sha256"):
        lake.publish(root)
    assert [key for key in s3.keys(root.split("/")[2]) if "_lakeq" not in key] == []


def test_another_file_at_the_place_of_one_is_refused(
    local: Lake, s3: S3, root: str, prefix: str
) -> None:
    snapshot = local.table("clinvar.grch37").snapshot
    assert snapshot is not None
    below = snapshot.files[0].path.partition("/warehouse/")[2]
    key = f"{root.partition('//')[2].partition('/')[2]}/{below}"
    s3.put(root.split("/")[2], key, b"something else")
    with pytest.raises(UsageError, match="another file lies"):
        local.publish(root, "clinvar")


def test_columns_that_came_later_are_published(
    s3: S3, root: str, prefix: str, tmp_path: Path, made_cohort: MadeCohort
) -> None:
    from dataclasses import replace

    from lakeq.catalog import Column
    from lakeq.lake import IcebergLake

    lake = connected(tmp_path / "mine", s3, prefix)
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    lake.publish(root)
    table = lake.catalog.table("clinvar.grch37", "a test")
    grown = replace(table, columns=(*table.columns, Column("later", "int64", "new")))
    IcebergLake(lake.settings).ensure_table(grown)
    lake.publish(root)
    there = lakeq.connect(root, **options(s3, prefix))
    mine, its = (x.table("clinvar.grch37").snapshot for x in (lake, there))
    assert mine is not None
    assert its is not None
    assert mine.columns == its.columns


def test_what_is_in_glue_already_and_what_is_not_there_are_named(
    local: Lake, s3: S3, root: str, prefix: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="named by Glue already"):
        lakeq.connect(root, **options(s3, prefix)).publish(root)
    with pytest.raises(UsageError, match="no tables to publish"):
        connected(tmp_path / "empty", s3, prefix).publish(root)
    with pytest.raises(UsageError, match="not a place on S3"):
        local.publish("elsewhere")
    with pytest.raises(NotFound, match=r"clinvar\.grch38 is not in the lake"):
        local.publish(root, "clinvar.grch38")
