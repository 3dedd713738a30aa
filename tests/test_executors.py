"""Objects read by workers: the same rows as here, whatever becomes of the workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.convert import executors
from lakeq.convert.executors.processes import Processes
from lakeq.errors import BadSource, BudgetRefused, NotFound, UnknownName, UsageError, WorkerLost
from lakeq.lake import places
from tests.support.data import real_file, real_files
from tests.support.s3 import S3
from tests.support.workers import (
    FEW,
    data_files,
    deaths,
    dying,
    named_after,
    only_named_files,
    same_rows,
)

VOLUMES = ("KABR20050101_000745.gz", "KTLX20140101_000624_V06.gz")
VCFS = (
    "thousand_genomes/phase1.chr22_50300078_5samples.vcf.gz",
    "thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz",
    "thousand_genomes/phase1.chr1_first100_11samples.vcf.gz",
)
pytestmark = pytest.mark.usefixtures("_compiled")
CLINVAR = "clinvar/clinvar_2023-07-10.GRCh37.chr1_69134_981226.vcf.gz"


def volumes() -> list[Path]:
    return [real_file(f"nexrad/volumes/{name}") for name in VOLUMES]


@pytest.fixture
def here(tmp_path: Path) -> Lake:
    return lakeq.connect(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, pytest.param(9, marks=pytest.mark.soak)])
def test_processes_give_the_rows_of_real_volumes_and_cohorts(
    here: Lake, lake: Lake, most: int
) -> None:
    vcfs = [real_file(f"genomics/{name}") for name in VCFS[:most]]
    for where, executor in ((here, None), (lake, "processes:2")):
        where.ingest("nexrad", volumes()[:most], executor=executor)
        where.ingest("thousand_genomes", vcfs, panel="", executor=executor)
        where.ingest("clinvar.grch37", [real_file(f"genomics/{CLINVAR}")], executor=executor)
    counts = same_rows(here, lake)
    assert min(counts.values()) > 0
    assert {"nexrad.gates", "thousand_genomes.calls", "clinvar.grch37"} <= counts.keys()
    only_named_files(lake)


def test_parts_of_a_volume_are_put_together_from_what_workers_kept_aside(
    here: Lake, lake: Lake
) -> None:
    chunks = real_files("nexrad/chunks/KLOT/**/*")[:4]
    if not chunks:
        pytest.skip("no real chunks")
    for where, executor in ((here, None), (lake, "processes:2")):
        where.ingest("nexrad", chunks, tables=FEW, executor=executor)
    assert same_rows(here, lake)["nexrad.volumes"] == 1


def test_reports_progress_and_ledger_are_those_of_an_ingest_here(
    here: Lake, lake: Lake, made_volumes: list[Path]
) -> None:
    seen: list[tuple[str, int, int]] = []
    one = here.ingest("nexrad", made_volumes)
    two = lake.ingest(
        "nexrad", made_volumes, executor="processes:2", progress=lambda *told: seen.append(told)
    )
    assert [(o.uri, o.rows) for o in one.objects] == [(o.uri, o.rows) for o in two.objects]
    assert (one.files, one.rows, one.notes) == (two.files, two.rows, two.notes)
    assert sorted(told[0] for told in seen) == sorted(path.as_uri() for path in made_volumes)
    lines = [
        {line["kind"]: (line["bytes"], line["count"]) for line in entry.lines}
        for where in (here, lake)
        for entry in where.history()
    ]
    assert lines[0]["ingest"] == lines[1]["ingest"]


def test_a_killed_workers_object_is_read_again_and_nothing_is_left(
    here: Lake,
    lake: Lake,
    made_volumes: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in dying(tmp_path, named_after(made_volumes[1]), 2).items():
        monkeypatch.setenv(name, value)
    lake.ingest("nexrad", made_volumes, tables=FEW, executor="processes:2")
    assert deaths(tmp_path) == 2
    monkeypatch.undo()
    here.ingest("nexrad", made_volumes, tables=FEW)
    assert same_rows(here, lake)["nexrad.volumes"] == 3
    only_named_files(lake)


def test_an_object_that_workers_die_of_is_named_and_the_lake_stays(
    lake: Lake, made_volumes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.ingest("nexrad", made_volumes[:1], tables=FEW)
    before = lake._iceberg.metadata_files()
    for name, value in dying(tmp_path, named_after(made_volumes[1]), 99).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkerLost, match="in 3 attempts .*SIGKILL") as caught:
        lake.ingest("nexrad", made_volumes, tables=FEW, executor="processes:2")
    assert caught.value.where == made_volumes[1].as_uri()
    assert caught.value.exit_code == 6
    assert deaths(tmp_path) == 3
    assert lake._iceberg.metadata_files() == before
    only_named_files(lake)


def test_a_bad_object_is_the_same_error_as_here(
    lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "KTLX20200101_000000_V06"
    bad.write_bytes(b"not a volume")
    with pytest.raises(BadSource) as here:
        lake.ingest("nexrad", [made_volumes[0], bad])
    with pytest.raises(BadSource) as there:
        lake.ingest("nexrad", [made_volumes[0], bad], executor="processes:2")
    assert str(here.value) == str(there.value)
    assert lake._iceberg.tables() == []
    assert data_files(lake.settings.lake) == []


def test_any_executor_of_the_standard_library_will_do(
    here: Lake, lake: Lake, made_volumes: list[Path]
) -> None:
    here.ingest("nexrad", made_volumes[:2], tables=FEW)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        lake.ingest("nexrad", made_volumes[:2], tables=FEW, executor=pool)
    same_rows(here, lake)


def test_a_dead_coordinators_workers_end_and_the_next_writer_sweeps(
    lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    code = (
        "import sys, lakeq; lakeq.connect(sys.argv[1]).ingest('nexrad', sys.argv[2:],"
        " tables=['volumes', 'grid'], executor='processes:2')"
    )
    folder = lake.settings.lake
    command = [sys.executable, "-c", code, str(folder), *map(str, made_volumes)]
    process = subprocess.Popen(command)
    until = time.monotonic() + 60
    while not data_files(folder) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = data_files(folder)
    assert left
    assert all("/parts-" in str(path) for path in left)
    time.sleep(1.0)  # the workers hear that their input has ended
    lake.ingest("nexrad", made_volumes[:1], tables=FEW)
    only_named_files(lake)


def test_maintenance_leaves_files_of_workers_at_work_alone(
    lake: Lake, made_volumes: list[Path]
) -> None:
    lake.ingest("nexrad", made_volumes[:1])
    with lake._iceberg.session() as session:
        table = lake.catalog.table("nexrad.volumes")
        folder = lake._iceberg.place_of(table).folder(places.run_folder("0" * 16))
        session.record(folder)
        file = Path(folder) / "0-0" / "file.parquet"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"in the making")
        assert str(file) not in lake._iceberg.orphans("nexrad.volumes")
    assert str(file) in lake._iceberg.orphans("nexrad.volumes")


def test_files_of_workers_are_compacted_into_folders_of_the_table(
    lake: Lake, made_volumes: list[Path]
) -> None:
    lake.ingest("nexrad", made_volumes, executor=ThreadPoolExecutor(1))
    lake.maintain("nexrad.gates")
    paths = [file.path for file in lake._iceberg.snapshot("nexrad.gates").files]
    assert paths
    assert not any("/parts-" in path for path in paths)


def test_a_lake_on_s3_takes_files_of_workers(
    s3: S3, tmp_path: Path, made_volumes: list[Path], aws_credentials: None
) -> None:
    bucket = s3.bucket()
    lake = lakeq.connect(
        tmp_path / "remote", warehouse=f"s3://{bucket}/lake", s3_endpoint_url=s3.endpoint_url
    )
    uris = [s3.put(bucket, f"raw/{path.name}", path) for path in made_volumes]
    lake.ingest("nexrad", uris, tables=FEW, executor="processes:2")
    here = lakeq.connect(tmp_path / "here", s3_endpoint_url=s3.endpoint_url)
    here.ingest("nexrad", uris, tables=FEW)
    assert same_rows(here, lake)["nexrad.volumes"] == 3
    request = next(x for x in next(iter(lake.history())).lines if x["kind"] == "request")
    assert request["count"] > 3 * len(uris)  # those of the workers are counted
    poor = lakeq.connect(
        lake.settings.lake,
        s3_endpoint_url=s3.endpoint_url,
        budget=[{"usd": "0.00000001", "per": "day"}],
    )
    before = s3.keys(bucket)
    with pytest.raises(BudgetRefused):
        poor.ingest("nexrad", uris, executor="processes:2")
    assert s3.keys(bucket) == before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("threads", UnknownName),
        ("proceses:2", UnknownName),
        ("processes:0", UsageError),
        ("processes:x", UsageError),
        ("dask", UsageError),
        ("dask://host", UsageError),
        ("dask://user@host:1/x", UsageError),
        ("lambda", UsageError),
        ("lambda:a b", UsageError),
        ("slurm:many", UsageError),
        ("", UnknownName),
    ],
)
def test_an_executor_that_cannot_be_read_is_refused(
    lake: Lake, made_volumes: list[Path], text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        lake.ingest("nexrad", made_volumes, executor=text)
    assert not lake.settings.lake.exists()


def test_workers_that_do_not_see_the_lake_say_so(
    lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    class Blind(ThreadPoolExecutor):
        def submit(self, call, text):  # type: ignore[no-untyped-def, override]  # a stand-in for one call
            from lakeq.convert.unit import decode

            journal = decode(text).journal
            return super().submit(call, text.replace(journal, str(tmp_path / "elsewhere")))

    with (
        Blind(1) as pool,
        pytest.raises(UsageError, match="does not see the lake's folder") as caught,
    ):
        lake.ingest("nexrad", made_volumes[:1], executor=pool)
    assert "share" in caught.value.hint
    assert lake._iceberg.tables() == []


def test_an_object_that_workers_do_not_see_is_named(lake: Lake, made_volumes: list[Path]) -> None:
    class Elsewhere(ThreadPoolExecutor):
        def submit(self, call, text):  # type: ignore[no-untyped-def, override]  # a stand-in for one call
            return super().submit(call, text.replace(made_volumes[0].name, "gone"))

    with Elsewhere(1) as pool, pytest.raises(NotFound, match="gone"):
        lake.ingest("nexrad", made_volumes[:1], executor=pool)


def test_an_interrupt_ends_the_workers(lake: Lake, made_volumes: list[Path]) -> None:
    workers = executors.chosen("processes:2", lake.settings)
    assert isinstance(workers, Processes)
    pids: list[int] = []

    def interrupted() -> None:
        with workers:
            workers.submit("{}").result(60)
            pids.extend(workers.pids)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert pids
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
