"""kill -9 at any moment, eight writers at once: no finished run is lost, none is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import lakeq
from lakeq import config
from lakeq.api import Lake
from lakeq.ledger import Ledger
from tests.support.ledgers import ask, check, lines

WRITERS = 8
KILLS = 24  # in each run of the suite; 200 under `soak`
# Imports once, then forks a writer per line "LAKE SAID": it enters run after run, and says each in
# the file SAID once it is settled.
NURSERY = """
import os, sys
from decimal import Decimal
from pathlib import Path
from lakeq import config
from lakeq.ledger import Ledger, Line

def write_on(lake, said):
    ledger = Ledger(config.load({"lake": Path(lake), "budget": [{"usd": 10**6, "per": "day"}]}))
    said = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        run = ledger.begin("query", sql="select 1")
        run.allow()
        run.reserve(Decimal("0.02"))
        run.settle([Line("query", 10, 1, Decimal("0.01")), Line("egress", 10, None, Decimal("0.001"))])
        os.write(said, f"{run.id}\\n".encode())

for line in sys.stdin:
    lake, said = line.split()
    child = os.fork()
    if not child:
        write_on(lake, said)
    print(child, flush=True)
    sys.stdin.readline()  # until then it keeps its id
    os.waitpid(child, 0)
    print("gone", flush=True)
"""  # noqa: E501  # a program


class Writers:
    """Processes that write into one ledger until they are killed."""

    def __init__(self, lake: Path, count: int) -> None:
        self.lake = lake
        self.said = lake / "said"
        lake.mkdir()
        self.nurseries = [
            subprocess.Popen(
                [sys.executable, "-c", NURSERY],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            for _ in range(count)
        ]
        self.pids = [self.start(number) for number in range(count)]

    def tell(self, number: int, text: str) -> str:
        """Give an order to one of the nurseries; returns its answer."""
        stdin, stdout = self.nurseries[number].stdin, self.nurseries[number].stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(text + "\n")
        stdin.flush()
        return stdout.readline().strip()

    def start(self, number: int) -> int:
        return int(self.tell(number, f"{self.lake} {self.said}"))

    def kill(self, number: int) -> None:
        os.kill(self.pids[number], signal.SIGKILL)
        assert self.tell(number, "") == "gone"

    def stop(self) -> None:
        for number, nursery in enumerate(self.nurseries):
            self.kill(number)
            assert nursery.stdin is not None
            nursery.stdin.close()
            nursery.wait(timeout=30)

    def finished(self) -> list[str]:
        """Runs that were said to be settled; a last line cut short was not said."""
        text = self.said.read_text()
        return [line for line in text.split("\n")[:-1] if line]


def kill_and_check(tmp_path: Path, kills: int, pause_s: float) -> None:
    writers = Writers(tmp_path / "lake", WRITERS)
    moments = random.Random(20130502)
    for _ in range(kills):
        time.sleep(moments.uniform(0, pause_s))
        number = moments.randrange(WRITERS)
        writers.kill(number)
        writers.pids[number] = writers.start(number)
    writers.stop()
    path = tmp_path / "lake" / "ledger.db"
    Ledger(config.load({"lake": tmp_path / "lake"})).begin("query").reserve(Decimal(0))
    check(path)
    found = lines(path)
    settled = [line["run"] for line in found if line["outcome"] == "ok"]
    said = writers.finished()
    assert len(said) == len(set(said)) > kills
    assert set(said) <= set(settled)  # nothing that was finished is lost
    assert len(settled) == 2 * len(set(settled))  # each run's two lines, never one of them
    # a run that was killed between its transaction and its word is there and was not said
    assert len(set(settled) - set(said)) <= kills + WRITERS
    interrupted = [line for line in found if line["outcome"] == "interrupted"]
    assert all(line["usd"] == "0.02" for line in interrupted)
    assert not {line["run"] for line in interrupted} & set(settled)
    assert len(ask(path, "SELECT * FROM reservations")) == 1  # this process's own


def test_kills_lose_no_finished_run_and_double_none(tmp_path: Path) -> None:
    kill_and_check(tmp_path, KILLS, 0.1)


@pytest.mark.soak
def test_200_kills_lose_no_finished_run_and_double_none(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 200, 0.2)


FORKS = """
import os, sys
from decimal import Decimal
from pathlib import Path
from lakeq import config
from lakeq.ledger import Ledger, Line

ledger = Ledger(config.load({"lake": Path(sys.argv[1])}))

def enter(times):
    for _ in range(times):
        run = ledger.begin("query")
        run.reserve(Decimal("0.02"))
        run.settle([Line("query", 10, 1, Decimal("0.01"))])

children = []
for _ in range(6):
    enter(5)
    children.append(os.fork())
    if not children[-1]:
        enter(100)
        os._exit(0)
    enter(20)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_forked_processes_of_one_that_writes_lose_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-c", FORKS, str(tmp_path)]
    subprocess.run(line, check=True, cwd=Path(__file__).parents[1])
    path = tmp_path / "ledger.db"
    check(path)
    assert len(lines(path)) == 6 * 125
    assert ask(path, "SELECT * FROM reservations") == []


@pytest.fixture
def query_process(cohort_lake: Lake, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real query that would run for minutes, begun and reading."""
    path = tmp_path / "own.db"
    sql = "select count(*) from thousand_genomes.variants, range(100000000) a, range(1000) b"
    env = {**os.environ, "LAKEQ_LEDGER": str(path), "LAKEQ_LAKE": str(cohort_lake.settings.lake)}
    process = subprocess.Popen(
        [sys.executable, "-m", "lakeq.cli", "sql", sql],
        env=env,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (path.exists() and ask(path, "SELECT * FROM reservations")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_a_killed_query_is_interrupted_at_what_it_had_reserved(
    query_process: subprocess.Popen[bytes], cohort_lake: Lake, tmp_path: Path
) -> None:
    path = tmp_path / "own.db"
    (held,) = ask(path, "SELECT usd FROM reservations")
    query_process.kill()
    query_process.wait()
    lakeq.connect(cohort_lake.settings.lake, ledger=path).sql("select 1").rows()
    first, second = lines(path)
    assert (first["outcome"], first["usd"], first["bytes"]) == ("interrupted", held["usd"], None)
    assert (second["outcome"], second["usd"]) == ("ok", "0.00005")
    check(path)


def test_an_interrupted_query_is_cancelled_and_pays_for_what_it_read(
    query_process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    time.sleep(0.3)
    query_process.send_signal(signal.SIGINT)
    assert query_process.wait(timeout=60) == 130
    (line,) = lines(tmp_path / "own.db")
    assert line["outcome"] == "cancelled"
    assert line["bytes"] is not None
