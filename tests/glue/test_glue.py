"""A lake whose tables Glue names: commits of several tables, conflicts, crashes, other tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.engines import athena
from lakeq.errors import AccessDenied, BadLake, NotFound, UsageError
from lakeq.lake import IcebergLake, glue_pointers
from lakeq.lake.commit import Change
from lakeq.lake.glue import GlueTables
from lakeq.lake.shared_log import SharedLog
from lakeq.lake.versions import Claim, Outdated, Version
from tests.lake_formats import new_file, positions, put, sites
from tests.lake_formats.tally import CARRIERS, SITES
from tests.support.athena import error
from tests.support.data import ROOT
from tests.support.glue import client, glue_lake, options, variables
from tests.support.glue_writer import carried, commit
from tests.support.s3 import S3

pytestmark = pytest.mark.usefixtures("aws_credentials")


@pytest.fixture
def iceberg(s3: S3, root: str, prefix: str) -> IcebergLake:
    return glue_lake(s3, root, prefix)


STEP = "lakeq.lake.glue:GlueTables.step"
END = "lakeq.lake.shared_log:SharedLog.end"


class Machine:
    """One of several machines that share the lake: its own folders."""

    def __init__(self, s3: S3, root: str, prefix: str, folder: Path) -> None:
        self.s3, self.root, self.prefix, self.folder = s3, root, prefix, folder

    def environment(self) -> dict[str, str]:
        home = {f"XDG_{kind}_HOME": str(self.folder / kind) for kind in ("DATA", "STATE", "CACHE")}
        return {**os.environ, **variables(self.s3, self.prefix), **home}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        (self.folder / "DATA").mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-m", "tests.support.glue_writer", self.root, *map(str, arguments)]
        return subprocess.Popen(
            line, env=self.environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )

    def lake(self) -> IcebergLake:
        place = self.root.removeprefix("s3://")
        folder = self.folder / "DATA" / "lakeq" / "glue" / place
        return glue_lake(self.s3, self.root, self.prefix, folder)


@pytest.fixture
def machine(s3: S3, root: str, prefix: str, tmp_path: Path) -> Callable[[str], Machine]:
    return lambda name: Machine(s3, root, prefix, tmp_path / name)


def foreign(s3: S3, root: str, prefix: str) -> Any:
    """The lake as PyIceberg's own catalog of Glue has it."""
    from pyiceberg.catalog.glue import GlueCatalog

    keys = {
        "s3.endpoint": s3.endpoint_url,
        "s3.access-key-id": "tests-own-client",
        "s3.secret-access-key": "tests-own-secret",
        "s3.region": "us-east-1",
    }
    return GlueCatalog("foreign", client=client(s3), **keys)


def test_the_first_commit_makes_database_and_table(
    iceberg: IcebergLake, s3: S3, prefix: str, root: str
) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    assert iceberg.tables() == ["made.sites"]
    assert positions(iceberg) == [1, 2]
    table = client(s3).get_table(DatabaseName=f"{prefix}made", Name="sites")["Table"]
    assert table["Parameters"]["table_type"] == "ICEBERG"
    assert table["StorageDescriptor"]["Location"] == f"{root}/made/sites"
    assert table["Parameters"]["metadata_location"] == iceberg.metadata_files()["made.sites"]


def test_an_object_ingested_again_on_another_machine_replaces_its_rows(
    iceberg: IcebergLake, machine: Callable[[str], Machine]
) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    put(iceberg, "s3://b/b", sites(3))
    put(machine("other").lake(), "s3://b/a", sites(9))
    assert sorted(positions(iceberg)) == [3, 9]
    assert iceberg.snapshot("made.sites") == machine("third").lake().snapshot("made.sites")


def test_a_lake_that_nothing_was_put_into_has_no_tables(iceberg: IcebergLake, s3: S3) -> None:
    assert iceberg.tables() == []
    assert iceberg.versions("made", ["s3://b/a"]) == {}
    with pytest.raises(NotFound, match=r"made\.sites"):
        iceberg.snapshot("made.sites")


def test_versions_checksums_and_ways_are_known_to_every_machine(
    iceberg: IcebergLake, machine: Callable[[str], Machine]
) -> None:
    commit(iceberg, "s3://b/a", 7)
    iceberg.note_ways("made", {"s3://b/a": "{}"})
    other = machine("other").lake()
    assert other.versions("made", ["s3://b/a"])["s3://b/a"].etag == "7"
    assert other.ways("made") == {"s3://b/a": "{}"}
    file = other.snapshot("made.sites").files[0]
    checked = other.check_data(file)
    assert checked.verified
    assert not checked.problem


def test_of_two_claims_of_one_revision_one_is_outdated(
    iceberg: IcebergLake, machine: Callable[[str], Machine]
) -> None:
    claims = {"made": [Claim(Version("s3://b/a", etag="x"), expected=0)]}
    iceberg.commit_all([Change(SITES, frozenset(["s3://b/a"]), ())], claims=claims)
    with pytest.raises(Outdated):
        machine("other").lake().commit_all(
            [Change(SITES, frozenset(["s3://b/a"]), ())], claims=claims
        )


@pytest.mark.parametrize("commits", [2, pytest.param(25, marks=pytest.mark.soak)])
def test_four_processes_and_another_tool_lose_nothing(
    machine: Callable[[str], Machine], s3: S3, root: str, prefix: str, commits: int
) -> None:
    """4 x `commits` of two tables each, as many of PyIceberg between them, the log trimmed."""
    lake = machine("0").lake()
    put(lake, "s3://b/first", sites(1))
    put(lake, "s3://b/first", carried(1), CARRIERS)
    running = [machine(str(number % 2)).start(number, commits) for number in range(1, 5)]
    catalog = foreign(s3, root, prefix)
    told = trimmed = 0
    while told < commits:
        trimmed += lake.pointers.trim(datetime.now(UTC) + timedelta(days=1))  # of any age
        with suppress(CommitFailedException):
            table = catalog.load_table((f"{prefix}made", "sites"))
            table.transaction().set_properties({f"foreign.{told}": "yes"}).commit_transaction()
            told += 1
    for process in running:
        assert process.wait() == 0, process.stderr and process.stderr.read()
    wanted = sorted([1, *(1000 * n + k for n in range(1, 5) for k in range(commits))])
    fresh = machine("fresh").lake()
    assert sorted(positions(fresh)) == wanted
    assert sorted(positions(fresh, table="made.carriers")) == wanted
    assert len(list(fresh.all_versions("made"))) == 4 * commits
    properties = catalog.load_table((f"{prefix}made", "sites")).properties
    assert [k for k in range(commits) if properties.get(f"foreign.{k}") != "yes"] == []
    assert trimmed > 0


@pytest.mark.parametrize(
    ("point", "call", "after"),
    [
        pytest.param("lakeq.lake.shared_log:SharedLog.put", 1, [1], marks=pytest.mark.soak),
        pytest.param(STEP, 1, [1, 2000], marks=pytest.mark.soak),
        pytest.param(STEP, 2, [1, 2000], marks=pytest.mark.soak),  # as below, with a sweep
        (END, 1, [1, 2000]),
    ],
    ids=["before the intent", "before the first table", "between two tables", "before the end"],
)
def test_a_writer_killed_between_two_tables_leaves_all_or_nothing(
    machine: Callable[[str], Machine], point: str, call: int, after: list[int]
) -> None:
    lake = machine("0").lake()
    put(lake, "s3://b/first", sites(1))
    put(lake, "s3://b/first", carried(1), CARRIERS)
    assert machine("1").start(2, 1, point, call).wait() == -9
    reader = machine("2").lake()
    assert positions(reader) == [1]
    assert positions(reader, table="made.carriers") == [1]
    assert reader.versions("made", ["s3://b/2-0"]) == {}
    put(lake, "s3://b/next", [], SITES)  # the next writer finishes what was begun
    assert positions(reader) == after
    assert positions(reader, table="made.carriers") == after
    assert len(reader.versions("made", ["s3://b/2-0"])) == len(after) - 1


def test_what_a_killed_writer_left_is_swept_unless_it_was_finished(
    machine: Callable[[str], Machine], s3: S3, root: str
) -> None:
    lake = machine("0").lake()
    put(lake, "s3://b/first", sites(1))
    put(lake, "s3://b/first", carried(1), CARRIERS)
    bucket = root.split("/")[2]
    before = s3.keys(bucket)
    assert machine("1").start(2, 1, "lakeq.lake.shared_log:SharedLog.put", 1).wait() == -9
    assert s3.keys(bucket) != before
    machine("1").lake().sweep()
    assert [key for key in s3.keys(bucket) if "_lakeq" not in key] == [
        key for key in before if "_lakeq" not in key
    ]
    assert machine("1").start(2, 1, STEP, 2).wait() == -9
    machine("1").lake().sweep()
    assert positions(machine("3").lake()) == [1, 2000]


def test_a_commit_that_another_tool_comes_between_is_taken_back_and_made_again(
    iceberg: IcebergLake, s3: S3, root: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyIceberg commits to the second table after the intent, before the step."""
    commit(iceberg, "s3://b/first", 1)
    real, done = GlueTables.step, []

    def step(self: GlueTables, table: str, accepted: Any, new: str) -> bool:
        if table == "made.carriers" and not done:
            done.append(table)
            other = foreign(s3, root, prefix).load_table((f"{prefix}made", "carriers"))
            other.transaction().set_properties(mine="yes").commit_transaction()
        return real(self, table, accepted, new)

    monkeypatch.setattr(GlueTables, "step", step)
    commit(iceberg, "s3://b/a", 2)
    assert done
    assert positions(iceberg) == [1, 2]
    assert positions(iceberg, table="made.carriers") == [1, 2]
    other = foreign(s3, root, prefix)
    assert other.load_table((f"{prefix}made", "carriers")).properties["mine"] == "yes"
    for name in ("sites", "carriers"):
        assert other.load_table((f"{prefix}made", name)).scan().to_arrow().num_rows == 2


def test_what_another_tool_commits_is_read_and_built_upon(
    iceberg: IcebergLake, s3: S3, root: str, prefix: str
) -> None:
    put(iceberg, "s3://b/a", sites(1, 2))
    foreign(s3, root, prefix).load_table((f"{prefix}made", "sites")).delete("pos = 2")
    assert positions(iceberg) == [1]
    put(iceberg, "s3://b/b", sites(3))
    assert positions(iceberg) == [1, 3]


def test_a_table_of_the_same_name_elsewhere_is_refused_and_left(
    iceberg: IcebergLake, s3: S3, prefix: str
) -> None:
    glue = client(s3)
    glue.create_database(DatabaseInput={"Name": f"{prefix}made"})
    theirs = {"Name": "sites", "StorageDescriptor": {"Location": "s3://theirs/sites"}}
    glue.create_table(DatabaseName=f"{prefix}made", TableInput=theirs)
    with pytest.raises(UsageError, match="another table by the name") as told:
        put(iceberg, "s3://b/a", sites(1))
    assert "glue.prefix" in told.value.hint
    found = glue.get_table(DatabaseName=f"{prefix}made", Name="sites")["Table"]
    assert found["StorageDescriptor"]["Location"] == "s3://theirs/sites"
    assert iceberg.tables() == []


def test_a_table_dropped_in_glue_is_gone_and_can_be_made_again(
    iceberg: IcebergLake, s3: S3, prefix: str
) -> None:
    put(iceberg, "s3://b/a", sites(1))
    client(s3).delete_table(DatabaseName=f"{prefix}made", Name="sites")
    assert iceberg.tables() == []
    put(iceberg, "s3://b/b", sites(2))
    assert positions(iceberg) == [2]


def test_a_new_machine_begins_at_the_last_checkpoint(
    iceberg: IcebergLake, machine: Callable[[str], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glue_pointers, "CHECKPOINT_EVERY", 2)
    for number in range(5):
        commit(iceberg, f"s3://b/{number}", number)
    read: list[int] = []
    real = SharedLog.after
    monkeypatch.setattr(
        SharedLog, "after", lambda self, number: read.append(number) or real(self, number)
    )
    other = machine("other").lake()
    assert positions(other) == [0, 1, 2, 3, 4]
    assert len(list(other.all_versions("made"))) == 5
    assert min(read) == 4


def log_keys(s3: S3, root: str) -> list[str]:
    """What the log has, without its folder."""
    bucket, _, key = root.removeprefix("s3://").partition("/")
    folder = f"{key}/_lakeq/log/"
    return [k.removeprefix(folder) for k in s3.keys(bucket) if k.startswith(folder)]


def test_a_trimmed_log_is_the_same_lake_to_machines_that_are_new_or_were_away(
    iceberg: IcebergLake, machine: Callable[[str], Machine], s3: S3, root: str
) -> None:
    commit(iceberg, "s3://b/0", 0)
    away = machine("away").lake()
    assert positions(away) == [0]
    for number in range(1, 4):
        commit(iceberg, f"s3://b/{number}", number)
    assert iceberg.pointers.trim(datetime.now(UTC) - timedelta(days=1)) == 0
    assert len(log_keys(s3, root)) == 8
    assert iceberg.pointers.trim(datetime.now(UTC) + timedelta(days=1)) == 8
    assert log_keys(s3, root) == ["floor-000000000004"]
    for lake in (iceberg, away, machine("new").lake()):
        assert positions(lake) == [0, 1, 2, 3]
        assert len(list(lake.all_versions("made"))) == 4
        assert lake.check_data(lake.snapshot("made.sites").files[0]).verified
    commit(away, "s3://b/4", 4)
    assert positions(iceberg) == [0, 1, 2, 3, 4]
    assert iceberg.pointers.trim(datetime.now(UTC) + timedelta(days=1)) == 4  # with a checkpoint
    assert log_keys(s3, root) == ["floor-000000000005"]


@pytest.mark.parametrize("point", ["put", "end"])
def test_a_writer_that_slept_while_the_log_was_trimmed_is_in_order_again(
    iceberg: IcebergLake,
    machine: Callable[[str], Machine],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """Between looking and putting its entry, or its end, others commit and trim."""
    commit(iceberg, "s3://b/0", 0)
    other = machine("other").lake()
    real, slept = getattr(SharedLog, point), []

    def late(self: SharedLog, number: int, *more: Any) -> Any:
        if not slept:
            slept.append(number)
            for k in range(2, 5):
                commit(other, f"s3://b/{k}", k)
            other.pointers.trim(datetime.now(UTC) + timedelta(days=1))
        return real(self, number, *more)

    with monkeypatch.context() as patched:
        patched.setattr(SharedLog, point, late)
        commit(iceberg, "s3://b/1", 1)
    assert slept == [2]
    for lake in (iceberg, other, machine("new").lake()):
        assert sorted(positions(lake)) == [0, 1, 2, 3, 4]
        assert sorted(positions(lake, table="made.carriers")) == [0, 1, 2, 3, 4]
        assert len(list(lake.all_versions("made"))) == 5


def test_a_log_with_a_hole_is_a_clear_error(
    iceberg: IcebergLake, machine: Callable[[str], Machine], s3: S3, root: str
) -> None:
    for number in range(3):
        commit(iceberg, f"s3://b/{number}", number)
    bucket, _, key = root.removeprefix("s3://").partition("/")
    s3.client.delete_object(Bucket=bucket, Key=f"{key}/_lakeq/log/000000000001.json")
    with pytest.raises(BadLake, match="entries of the lake's log are missing"):
        positions(machine("new").lake())


def test_old_snapshots_expire_and_young_orphans_are_left(iceberg: IcebergLake) -> None:
    put(iceberg, "s3://b/a", sites(1))
    put(iceberg, "s3://b/a", sites(2))
    iceberg.expire("made.sites", datetime.now(UTC))
    assert len(iceberg.snapshots("made.sites")) == 1
    assert positions(iceberg) == [2]
    with iceberg.session() as session:
        new_file(iceberg, session, SITES, ("22",), sites(5))
        assert iceberg.orphans("made.sites") == {}


def test_a_denied_update_says_which_right_is_missing_and_leaves_the_lake(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch, machine: Callable[[str], Machine]
) -> None:
    commit(iceberg, "s3://b/first", 1)
    real = GlueTables._call

    def call(self: GlueTables, name: str, table: str, **arguments: Any) -> Any:
        if name == "update_table" and table == "made.carriers":
            raise self._named(error("AccessDeniedException", "no"), table, "UpdateTable")
        return real(self, name, table, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(GlueTables, "_call", call)
        with pytest.raises(AccessDenied) as told:
            commit(iceberg, "s3://b/a", 2)
    assert "glue:UpdateTable" in told.value.hint
    assert positions(machine("other").lake()) == [1]
    assert positions(machine("other").lake(), table="made.carriers") == [1]


@pytest.mark.soak
def test_the_whole_job_runs_on_a_lake_that_glue_names(
    s3: S3, root: str, prefix: str, made_cohort: MadeCohort, cohort_lake: Lake
) -> None:
    """Ingest, SQL, upkeep and verification, with the rows of the same lake on the disk."""
    lake = lakeq.connect(root, **options(s3, prefix))
    lake.ingest("thousand_genomes", [made_cohort.vcf], tables=["variants", "samples"])
    sql = "select contig, pos, ref, alt, ac, an from thousand_genomes.variants order by all"
    rows = lake.sql(sql).rows()
    assert rows == cohort_lake.sql(sql).rows()
    again = lake.ingest("thousand_genomes", [made_cohort.vcf], tables=["variants", "samples"])
    assert again.objects
    lake.maintain("thousand_genomes", expire_older_than=timedelta(0), sweep=True)
    assert len(lake.snapshots("thousand_genomes.variants")) == 1
    assert lake.verify().sound
    assert lakeq.connect(root, **options(s3, prefix)).sql(sql).rows() == rows
    assert lake.history()[0].kind == "query"


@pytest.mark.parametrize("side", ["kept", "lost"])
@pytest.mark.parametrize("kind", ["metadata", "list", "manifest"])
def test_lost_metadata_of_a_lake_that_glue_names_is_rebuilt(
    kind: str,
    side: str,
    s3: S3,
    root: str,
    prefix: str,
    made_cohort: MadeCohort,
    machine: Callable[[str], Machine],
) -> None:
    """Here or on a machine that knows nothing of it; another tool reads the same rows again."""
    name = "clinvar.grch37"
    lake = lakeq.connect(root, **options(s3, prefix))
    for _ in range(2):
        lake.ingest(name, [made_cohort.clinvar])
    sql = f"select * from {name} order by all"
    before, snapshots = lake.sql(sql).rows(), lake.snapshots(name)
    table = foreign(s3, root, prefix).load_table((f"{prefix}clinvar", "grch37"))
    there = sorted(map(repr, table.scan().to_arrow().to_pylist()))
    snapshot = table.current_snapshot()
    lost = {
        "metadata": table.metadata_location,
        "list": snapshot.manifest_list,
        "manifest": snapshot.manifests(table.io)[0].manifest_path,
    }[kind]
    bucket, _, at = lost.removeprefix("s3://").partition("/")
    s3.client.delete_object(Bucket=bucket, Key=at)
    if side == "lost":
        shutil.rmtree(lake.settings.lake / "cache")
        lake = lakeq.connect(root, **options(s3, prefix))
    report = lake.verify(name)
    assert lost in {finding.path for finding in report.findings}
    assert not report.sound
    assert lake.verify(name, repair=True).sound
    assert lake.sql(sql).rows() == before
    if side == "kept" or kind != "metadata":  # else nothing tells of old snapshots
        assert lake.snapshots(name) == snapshots
    mended = foreign(s3, root, prefix).load_table((f"{prefix}clinvar", "grch37"))
    assert sorted(map(repr, mended.scan().to_arrow().to_pylist())) == there
    assert machine("third").lake().snapshot(name).rows == len(before)
    lake.ingest(name, [made_cohort.clinvar])  # and it can be written to
    assert lake.verify(name).sound


def test_a_lake_on_s3_without_a_catalog_is_refused_with_both_ways() -> None:
    with pytest.raises(UsageError) as told:
        lakeq.connect("s3://bucket/lake")
    assert 'catalog = "glue"' in told.value.hint
    assert "warehouse" in told.value.hint


@pytest.mark.parametrize("place", ["lake", "s3://bucket", "s3://bucket/a//b", "s3://bucket/../x"])
def test_glue_needs_a_place_on_s3(place: str) -> None:
    with pytest.raises(UsageError, match="lies on S3"):
        lakeq.connect(place, catalog="glue")


def test_expired_credentials_are_one_clear_error(
    iceberg: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(iceberg, "s3://b/a", 1)

    class Expired:
        def get_table(self, **_: object) -> None:
            raise error("ExpiredTokenException", "The security token is expired", "GetTable")

    monkeypatch.setattr(iceberg.pointers.glue, "_client", Expired())
    with pytest.raises(AccessDenied, match="expired") as told:
        put(iceberg, "s3://b/b", sites(2))
    assert "log in again" in told.value.hint


def test_the_doctor_tells_a_right_of_glue_that_is_missing(
    s3: S3,
    root: str,
    prefix: str,
    iceberg: IcebergLake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit(iceberg, "s3://b/a", 1)
    for key, value in variables(s3, prefix).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)

    def denied(self: GlueTables, name: str, table: str, **_: Any) -> Any:
        raise self._named(error("AccessDeniedException", "no"), f"{table}", "GetTables")

    monkeypatch.setattr(GlueTables, "_call", denied)
    monkeypatch.setattr(athena, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(athena, "ATTEMPTS", 1)
    assert run(["athena", "doctor", "--lake", root, "--format", "json"]) == 1
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["lake"]["result"] == "wrong"
    line = json.loads(found["lake"]["next"].partition(": ")[2])
    assert line["Action"] == ["glue:GetTables"]
    assert f"arn:aws:glue:*:*:table/{prefix}made/*" in line["Resource"]
