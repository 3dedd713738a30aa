"""Ingest by notification, slices, checks and upkeep on a lake that Glue names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import formats
from lakeq.api import Lake
from lakeq.catalog import Catalog
from lakeq.cli import run
from lakeq.config import Settings
from lakeq.lake import IcebergLake
from lakeq.lake.shared_log import SharedLog
from tests.lake_formats import FOLDER
from tests.support.aws import Aws
from tests.support.glue import data_keys, glue_settings, named_data, options, variables
from tests.support.ingest import Chain, expected, statuses
from tests.support.s3 import S3

pytestmark = pytest.mark.usefixtures("aws_credentials")
SLICE = "thousand_genomes.variants_clinvar"
Command = Callable[..., tuple[int, str, str]]


@dataclass
class GlueChain(Chain):
    """The chain of bucket, topic and queue, into a lake that Glue names."""

    root: str = ""
    prefix: str = ""

    @property
    def settings(self) -> Settings:
        """The settings of the lake, whose folder stands for one machine's."""
        return glue_settings(self.aws.s3, self.root, self.prefix, self.folder / "here")

    def elsewhere(self) -> GlueChain:
        """The same lake from another machine."""
        return replace(self, folder=self.folder / "elsewhere")


@pytest.fixture
def chain(
    s3: S3, root: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> GlueChain:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    made = Chain.made(Aws(s3), tmp_path)
    return GlueChain(**{**vars(made), "root": root, "prefix": prefix})


@pytest.fixture
def command(
    chain: GlueChain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `lakeq ingest ...` on that lake; returns exit code, output and messages."""
    monkeypatch.setattr(Catalog, "dataset", lambda *_: chain.dataset)
    for key, value in variables(chain.aws.s3, chain.prefix).items():
        monkeypatch.setenv(key, value)

    def run_it(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["ingest", *words, "--lake", chain.root])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_it


def no_file_more(chain: GlueChain) -> bool:
    return data_keys(chain.aws.s3, chain.root) == named_data(chain.lake)


def test_workers_of_two_machines_bring_each_object_in_once(chain: GlueChain) -> None:
    for number in range(3):
        chain.put(f"a/{number}")
    bodies = [body for body in chain.aws.bodies(chain.url) if "s3:TestEvent" not in body]
    for body in bodies * 2:
        chain.queue().send(body)
    counts = chain.work(workers=2) + chain.elsewhere().work()
    assert (counts["committed"], counts["failed"], counts["poison"]) == (3, 0, 0)
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(3)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0
    assert no_file_more(chain)


@pytest.mark.soak
def test_overwritten_deleted_and_stale_objects_end_in_the_newest_on_any_machine(
    chain: GlueChain,
) -> None:
    first = replace(chain.put("a", 1), sequencer="0055AED6DCD90281E5")
    second = replace(chain.put("a", 2), sequencer="0055AED6DCD90281E6")
    there = chain.elsewhere()
    assert statuses(there.ingester()([second])) == ["committed"]
    assert statuses(chain.ingester()([first])) == ["stale"]
    assert chain.rows() == there.rows() == expected({"a": (2, 3)})
    assert statuses(chain.ingester()([chain.delete("a")])) == ["removed"]
    assert there.rows() == []


def test_a_worker_that_dies_in_its_commit_is_finished_by_the_next(
    chain: GlueChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the intent and the steps, before the end: its message is delivered again."""
    event = chain.put("a")

    class Killed(BaseException):
        pass

    def killed(self: SharedLog, number: int, outcome: bytes) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(SharedLog, "end", killed)
        with pytest.raises(Killed):
            chain.ingester()([event])
    assert chain.elsewhere().rows() == []
    assert statuses(chain.elsewhere().ingester()([event])) == ["duplicate"]
    assert chain.rows() == expected({"a": (1, 3)})
    assert no_file_more(chain)


@pytest.mark.soak
def test_the_commands_of_the_ingest_say_what_they_say_on_a_local_lake(
    chain: GlueChain, command: Command
) -> None:
    keys = [f"KTLX/20260328-0000{number:02d}" for number in range(3)]
    for key in keys[:2]:
        chain.put(key)
    chosen = ("marks", "--site", "KTLX", "--from", "2026-03-28", "--to", "2026-03-28")
    assert command("backfill", *chosen)[:2] == (0, '{"committed": 2}\n')
    assert command("backfill", *chosen)[:2] == (0, '{"duplicate": 2}\n')
    chain.put(keys[2])
    code, out, err = command("watch", "marks", "--queue-url", chain.url, "--drain")
    assert (code, json.loads(out)["committed"]) == (0, 1), err
    assert chain.rows() == expected(dict.fromkeys(keys, (1, 3)))
    chain.delete(keys[0])
    code, out, err = command("reconcile", *chosen, "--settle", "0")
    assert code == 0, err
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["removed"]
    assert chain.rows() == expected(dict.fromkeys(keys[1:], (1, 3)))


@pytest.fixture
def cohort(s3: S3, root: str, prefix: str, made_cohort: MadeCohort) -> Lake:
    lake = lakeq.connect(root, **options(s3, prefix))
    lake.ingest("thousand_genomes", [made_cohort.vcf], tables=["variants", "samples"])
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    return lake


def test_a_slice_is_made_kept_and_made_again(
    cohort: Lake, s3: S3, root: str, prefix: str, made_cohort: MadeCohort
) -> None:
    done = cohort.refresh(SLICE)
    asked = cohort.sql("@variants_clinvar").arrow()
    other = lakeq.connect(root, **options(s3, prefix))
    kept = other.sql(f"select * exclude (_source) from {SLICE}").arrow()
    assert done.rows == kept.num_rows > 0
    assert kept.cast(asked.schema).equals(asked)
    assert not other.refresh(SLICE).refreshed
    cohort.ingest("clinvar.grch37", [made_cohort.clinvar])
    assert other.refresh(SLICE).refreshed
    cohort.maintain("thousand_genomes", expire_older_than=timedelta(0))
    cohort.maintain("clinvar", expire_older_than=timedelta(0))
    assert data_keys(s3, root) == named_data(cohort._iceberg)


def test_a_flipped_bit_and_a_lost_file_are_found_and_repaired(
    cohort: Lake, s3: S3, root: str
) -> None:
    rows = cohort.sql("select * from clinvar.grch37 order by all").rows()
    names = ("clinvar.grch37", "thousand_genomes.variants")
    files = [cohort._iceberg.snapshot(name).files[0].path for name in names]
    bucket = root.split("/")[2]
    key = files[0].partition(f"{bucket}/")[2]
    data = bytearray(s3.client.get_object(Bucket=bucket, Key=key)["Body"].read())
    data[len(data) // 2] ^= 1
    s3.put(bucket, key, bytes(data))
    s3.client.delete_object(Bucket=bucket, Key=files[1].partition(f"{bucket}/")[2])
    found = cohort.verify()
    assert {finding.path for finding in found.findings} == set(files)
    report = cohort.verify(repair=True)
    assert {finding.outcome for finding in report.findings} == {"repaired"}
    assert {finding.problem for finding in cohort.verify().findings} == {"old"}  # time travel's
    assert cohort.sql("select * from clinvar.grch37 order by all").rows() == rows


@pytest.mark.soak
def test_small_files_are_compacted_to_the_same_rows(chain: GlueChain) -> None:
    for number in range(2):
        assert statuses(chain.ingester()([chain.put(f"a/{number}")])) == ["committed"]
    rows = chain.rows()
    lake: IcebergLake = chain.lake
    from lakeq.maintain import Work, maintain

    (table,) = chain.dataset.tables.values()
    report = maintain(lake, chain.settings, [table], Work(sweep=True))
    (done,) = report.tables
    assert (done.files_before, done.files_after) == (2, 1)
    assert chain.elsewhere().rows() == rows
