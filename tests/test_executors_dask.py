"""Dask: a real scheduler and workers in processes of their own, some of which are killed."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq import config
from lakeq.api import Lake
from lakeq.convert.executors.dask import Dask
from lakeq.convert.executors.jobs import Jobs
from lakeq.errors import BadSource, StorageUnavailable, UsageError, WorkerLost
from tests.support.dask_cluster import cluster
from tests.support.workers import FEW, deaths, dying, named_after, only_named_files, same_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_compiled")]
pytest.importorskip("distributed", reason="the extra dask is not installed")


@pytest.fixture
def here(tmp_path: Path) -> Lake:
    return lakeq.connect(tmp_path / "here")


@pytest.mark.soak
def test_workers_of_a_cluster_give_the_rows_of_an_ingest_here(
    here: Lake, lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "KTLX20200101_000000_V06"
    bad.write_bytes(b"not a volume")
    with cluster(tmp_path) as executor:
        lake.ingest("nexrad", made_volumes, executor=executor)
        with pytest.raises(BadSource) as caught:
            lake.ingest("nexrad", [bad], executor=executor)
    assert caught.value.where.startswith(bad.as_uri())
    here.ingest("nexrad", made_volumes)
    assert same_rows(here, lake)["nexrad.volumes"] == 3
    only_named_files(lake)


def test_what_a_killed_worker_had_is_done_by_another(
    here: Lake, lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    environ = dying(tmp_path, named_after(made_volumes[1]), 2)
    with cluster(tmp_path, **environ) as executor:
        lake.ingest("nexrad", made_volumes, tables=FEW, executor=executor)
    assert deaths(tmp_path) == 2
    here.ingest("nexrad", made_volumes, tables=FEW)
    assert same_rows(here, lake)["nexrad.volumes"] == 3
    only_named_files(lake)


@pytest.mark.soak
def test_an_object_that_every_worker_dies_of_is_named(
    lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    lake.ingest("nexrad", made_volumes[:1])
    before = lake._iceberg.metadata_files()
    environ = dying(tmp_path, named_after(made_volumes[1]), 99)
    with (
        cluster(tmp_path, **environ) as executor,
        pytest.raises(WorkerLost, match="no worker of dask finished the object") as caught,
    ):
        lake.ingest("nexrad", made_volumes, executor=executor)
    assert caught.value.where == made_volumes[1].as_uri()
    assert lake._iceberg.metadata_files() == before
    only_named_files(lake)


def test_no_scheduler_and_no_worker_are_clear_errors_in_bounded_time(
    lake: Lake, made_volumes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq.convert.executors.dask.CONNECT_S", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageUnavailable, match="no Dask scheduler answers"):
            lake.ingest("nexrad", made_volumes, executor=f"dask://{address}")
    monkeypatch.setattr("lakeq.convert.executors.dask.CONNECT_S", 30)
    monkeypatch.setattr(Dask, "wait_s", 1.0)
    with cluster(tmp_path, 0) as executor, pytest.raises(WorkerLost, match="had no worker for 1 s"):
        lake.ingest("nexrad", made_volumes, executor=executor)
    assert lake._iceberg.tables() == []


SUBMITS = {
    "slurm": ("sbatch", 'echo "Submitted batch job $$"', "scancel"),
    "htcondor": ("condor_submit", 'echo "1 job(s) submitted to cluster $$."', "condor_rm"),
}
# A batch system of one machine: the submitted worker is begun here, and ended by its number.
SUBMIT = """#!{python}
import os, re, subprocess, sys
script = open(sys.argv[-1]).read()
open("{folder}/script", "w").write(script)
if "{name}" == "slurm":
    command = ["/bin/sh", sys.argv[-1]]
else:
    text = re.search(r'^Arguments = "(.*)"$', script, re.M).group(1)
    inner = re.fullmatch(r"-c '(.*)'", text).group(1).replace("''", "'").replace('""', '"')
    command = ["/bin/sh", "-c", inner]
child = subprocess.Popen(command, start_new_session=True, cwd="{folder}",
                         stdout=subprocess.DEVNULL, stderr=open("{folder}/log", "a"))
open("{folder}/jobs", "a").write(f"{{child.pid}}\\n")
print("Submitted batch job" if "{name}" == "slurm" else "1 job(s) submitted to cluster", child.pid)
"""
CANCEL = """#!{python}
import os, re, signal, sys
for word in sys.argv[1:]:
    number = re.match(r"[0-9]+", word)
    if number:
        try:
            os.killpg(int(number.group()), signal.SIGKILL)
        except ProcessLookupError:
            pass
"""


@pytest.fixture(params=["slurm", pytest.param("htcondor", marks=pytest.mark.soak)])
def batch_system(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = request.param
    submit, _, cancel = SUBMITS[name]
    folder = tmp_path / "batch"
    folder.mkdir()
    for command, text in ((submit, SUBMIT), (cancel, CANCEL)):
        path = folder / command
        path.write_text(text.format(python=sys.executable, folder=folder, name=name))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield name
    jobs = folder / "jobs"
    for pid in jobs.read_text().split() if jobs.exists() else ():
        try:
            os.killpg(int(pid), 9)
        except ProcessLookupError:
            continue


def test_jobs_of_a_batch_system_do_the_work(
    batch_system: str, here: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    lake = Lake(
        config.load(
            {
                "lake": tmp_path / "lake",
                "jobs_queue": "short",
                "jobs_host": "127.0.0.1",
                "jobs_memory": "1GB",
                "jobs_walltime": "00:10:00",
                "jobs_wait_s": 120,
            }
        )
    )
    lake.ingest("nexrad", made_volumes, tables=FEW, executor=f"{batch_system}:2")
    here.ingest("nexrad", made_volumes, tables=FEW)
    assert same_rows(here, lake)["nexrad.volumes"] == 3
    only_named_files(lake)
    script = (tmp_path / "batch" / "script").read_text()
    wanted = {
        "slurm": ("#SBATCH -p short", "#SBATCH --cpus-per-task=1", "#SBATCH -t 00:10:00"),
        "htcondor": ("accounting_group = short", "+MaxRuntime = 600", "RequestDisk"),
    }
    for line in wanted[batch_system]:
        assert line in script
    until = time.monotonic() + 20
    pids = [int(pid) for pid in (tmp_path / "batch" / "jobs").read_text().split()]
    while any(map(_runs, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(pids) == 2
    assert not any(map(_runs, pids))  # the jobs end with the work


def test_a_machine_without_the_batch_system_says_so(lake: Lake, made_volumes: list[Path]) -> None:
    for name, (command, _, _) in SUBMITS.items():
        with pytest.raises(UsageError, match=f"there is no {command}"):
            lake.ingest("nexrad", made_volumes, executor=name)
    assert lake._iceberg.tables() == []


def test_a_line_that_breaks_a_jobs_script_is_refused() -> None:
    with pytest.raises(UsageError, match="one line"):
        config.load({"jobs_queue": "short\n#SBATCH --wrap=evil"})
    with pytest.raises(UsageError, match="HH:MM:SS"):
        config.load({"jobs_walltime": "forever"})
    assert Jobs.only_s3 is False


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status != "Z"
