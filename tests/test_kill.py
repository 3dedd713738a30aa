"""kill -9 at any point of an ingest leaves every table as it was before or as it is after."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from lakeq import convert, formats
from lakeq.config import Settings
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
from tests.lake_formats import FOLDER, lake_at, named_files, warehouse_files
from tests.lake_formats.tally import dataset

RANDOM_KILLS = 20
POINTS = (
    "lakeq.lake.session:_locked",
    "lakeq.lake.parquet:FileWriter._write_group",
    "lakeq.lake.parquet:FileWriter.close",
    "lakeq.lake.commit:stage",
    "lakeq.lake.io:WarehouseIO.write",
    "lakeq.lake.pointers:Pointers.switch",
    "lakeq.lake.pointers:Pointers._step",
    "lakeq.lake.side:SideFiles.write",
)
UPKEEP_POINTS = (
    "lakeq.lake.parquet:FileWriter.close",
    "lakeq.lake.commit:stage",
    "lakeq.lake.io:WarehouseIO.write",
    "lakeq.lake.io:WarehouseIO.delete",
    "lakeq.lake.pointers:Pointers.switch",
    "lakeq.lake.side:SideFiles.write",
)
# Imports once, then forks one ingest per line: {"lake", "objects", "point", "calls"}; without
# objects it is the upkeep of the table of sites that is forked.
NURSERY = """
import json, os, sys
from importlib import import_module
from pathlib import Path
from datetime import UTC, datetime
from lakeq import convert, formats, maintain
from lakeq.lake import read as lake_read
from lakeq.lake import upkeep as lake_upkeep
from lakeq.lake import commit as lake_commit
from lakeq.config import Settings
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
import pyarrow.parquet, pyiceberg.io.pyarrow
from tests.lake_formats import FOLDER
from tests.lake_formats.tally import SITES, dataset

formats.__path__.append(FOLDER)

def arm(point, calls):
    "Make the process kill itself as it enters `point` for the given time."
    module, _, name = point.partition(":")
    owner = import_module(module)
    *outer, name = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real = owner.__dict__[name]
    plain = getattr(real, "__func__", real)
    left = [calls]
    def deadly(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), 9)
        return plain(*arguments, **named)
    setattr(owner, name, staticmethod(deadly) if isinstance(real, staticmethod) else deadly)

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        if order["point"]:
            arm(order["point"], order["calls"])
        settings = Settings(lake=Path(order["lake"]))
        objects = [order["objects"]]
        if objects == [""]:
            work = maintain.Work(expire_before=datetime.now(UTC), sweep=True)
            maintain.maintain(IcebergLake(settings), settings, [SITES], work)
        else:
            convert.ingest(IcebergLake(settings), Storage(settings), dataset(), objects, panel="")
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # until then the process keeps its id, done or not
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Nursery:
    """A process that forks ingests for us to kill."""

    orders: IO[str]
    answers: IO[str]

    def ingest(self, lake: IcebergLake, objects: str, **more: object) -> int:
        """Start one ingest; returns its process id."""
        order = {"lake": str(lake.folder), "objects": objects, "point": "", "calls": 0, **more}
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        return int(self.answers.readline())

    def ended(self) -> bool:
        """Wait for it; whether it came to its end, and was not killed."""
        self.orders.write("\n")
        self.orders.flush()
        status = int(self.answers.readline())
        assert status in (0, -signal.SIGKILL)
        return status == 0


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield Nursery(process.stdin, process.stdout)
    process.stdin.close()
    process.wait(timeout=60)


@pytest.fixture(autouse=True)
def _tally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])


def state(lake: IcebergLake) -> dict[str, tuple[int, str]]:
    """Row count and checksum of each table."""
    found = {}
    for name in lake.tables():
        rows = sorted(map(str, lake.read_table(name).to_pylist()))
        found[name] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
    return found


@dataclass
class Versions:
    """The states of a lake after each version of two objects; each adds rows and a sample."""

    folder: Path
    states: list[dict[str, tuple[int, str]]] = field(default_factory=lambda: [{}])

    @property
    def objects(self) -> str:
        return str(self.folder / "*.txt")

    def write(self, version: int) -> None:
        """Put the objects there in this version."""
        self.folder.mkdir(exist_ok=True)
        names = " ".join(f"s{number}" for number in range(version))
        for name in "ab":
            rows = "".join(
                f"{contig} {version * 1000 + row} {name} {'1 ' * version}\n"
                for contig in ("21", "22")
                for row in range(200 + version)
            )
            (self.folder / f"{name}.txt").write_text(f"#samples {names}\n{rows}")

    def state(self, version: int) -> dict[str, tuple[int, str]]:
        """What an undisturbed lake holds after this version."""
        lake = lake_at(self.folder / "reference")
        for number in range(len(self.states), version + 1):
            self.write(number)
            ingest(lake, self.objects)
            self.states.append(state(lake))
        return self.states[version]


def ingest(lake: IcebergLake, objects: str) -> None:
    storage = Storage(Settings(lake=lake.folder))
    convert.ingest(lake, storage, dataset(), [objects], panel="")


def check(lake: IcebergLake, versions: Versions, before: int) -> int:
    """The lake is at `before` or the version after it; says which."""
    found = state(lake)
    assert found in (versions.state(before), versions.state(before + 1))
    for path in (lake.folder / "cache").rglob("*.side"):
        path.unlink()
    assert state(lake_at(lake.folder)) == found  # as the metadata says, not only the side files
    return before if found == versions.state(before) else before + 1


def check_end(lake: IcebergLake, versions: Versions, version: int) -> None:
    """Nothing is left over, and the next ingest works."""
    lake.sweep()
    assert warehouse_files(lake) == (named_files(lake) if lake.tables() else set())
    assert not list((lake.folder / "tmp").iterdir())
    versions.write(version + 1)
    ingest(lake, versions.objects)
    assert state(lake) == versions.state(version + 1)


@pytest.mark.slow
def test_kills_at_random_moments_leave_before_or_after(tmp_path: Path, nursery: Nursery) -> None:
    lake = lake_at(tmp_path / "lake")
    versions = Versions(tmp_path / "objects")
    moments = random.Random(20130502)
    version, rounds, kills, duration_s = 0, 0, 0, 0.5
    while kills < RANDOM_KILLS:
        versions.state(version + 1)
        versions.write(version + 1)
        begun = time.perf_counter()
        process = nursery.ingest(lake, versions.objects)
        if rounds % 5 == 4:  # now and then one is let live, to learn how long it takes
            assert nursery.ended()
            duration_s = time.perf_counter() - begun
        else:
            time.sleep(moments.uniform(0, duration_s))
            os.kill(process, signal.SIGKILL)
            kills += not nursery.ended()
        rounds += 1
        version = check(lake, versions, version)
    check_end(lake, versions, version)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_kills_at_each_step_leave_before_or_after(
    tmp_path: Path, nursery: Nursery, point: str
) -> None:
    """The process dies as it enters the step for the first, second and fourth time."""
    lake = lake_at(tmp_path / "lake")
    versions = Versions(tmp_path / "objects")
    version = 0
    for calls in (1, 2, 4):
        versions.state(version + 1)
        versions.write(version + 1)
        nursery.ingest(lake, versions.objects, point=point, calls=calls)
        nursery.ended()
        version = check(lake, versions, version)
    check_end(lake, versions, version)


# Upkeep: compaction, giving up snapshots, sweeping.


def scattered(lake: IcebergLake, folder: Path, round_: int) -> None:
    """Three more objects, so that there is something to compact."""
    for number in range(3):
        name = f"{round_}-{number}"
        lines = "".join(f"22 {1000 * row + number} {name}\n" for row in range(50))
        (folder / f"{name}.txt").write_text("#samples\n" + lines)
        ingest(lake, str(folder / f"{name}.txt"))


def check_upkeep(lake: IcebergLake, before: dict[str, tuple[int, str]]) -> None:
    """Not a row is lost or doubled, and the next upkeep leaves nothing over."""
    assert state(lake) == before
    for path in (lake.folder / "cache").rglob("*.side"):
        path.unlink()
    assert state(lake_at(lake.folder)) == before


def check_upkeep_end(
    lake: IcebergLake, nursery: Nursery, before: dict[str, tuple[int, str]]
) -> None:
    nursery.ingest(lake, "")
    assert nursery.ended()
    check_upkeep(lake, before)
    assert len(lake.snapshot("made.sites").files) == 1
    assert len(lake.snapshots("made.sites")) <= 2
    lake.sweep()
    assert warehouse_files(lake) == named_files(lake)


@pytest.mark.slow
@pytest.mark.parametrize("point", UPKEEP_POINTS)
def test_an_upkeep_killed_at_a_step_leaves_the_rows_as_they_are(
    tmp_path: Path, nursery: Nursery, point: str
) -> None:
    lake = lake_at(tmp_path / "lake")
    for calls in (1, 3):
        scattered(lake, tmp_path, calls)
        before = state(lake)
        nursery.ingest(lake, "", point=point, calls=calls)
        nursery.ended()
        check_upkeep(lake, before)
    check_upkeep_end(lake, nursery, before)


@pytest.mark.slow
def test_an_upkeep_killed_at_random_moments_leaves_the_rows_as_they_are(
    tmp_path: Path, nursery: Nursery
) -> None:
    lake = lake_at(tmp_path / "lake")
    moments = random.Random(20190715)
    for round_ in range(6):
        scattered(lake, tmp_path, round_)
        before = state(lake)
        process = nursery.ingest(lake, "")
        time.sleep(moments.uniform(0, 0.6))
        os.kill(process, signal.SIGKILL)
        nursery.ended()
        check_upkeep(lake, before)
    check_upkeep_end(lake, nursery, before)
