"""Runaway queries: they end when their time is over, within their memory, and leave no file.

Each runs in a process of its own, whose peak memory the kernel reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data import ROOT

SECONDS = 1.0
MEMORY_MB = 300
SEVENS = "(select range % 7 as k from range(100000000))"
RUNAWAYS = {
    "cross_join": "select count(*) from range(10000000) a, range(10000000) b where a <> b",
    "endless_recursion": "with recursive r as (select 1 as n union all select n + 1 from r)"
    " select max(n) from r",
    "large_sort": "select * from range(2000000000) order by hash(range) desc",
    "large_groups": "select hash(range), count(*) from range(2000000000) group by 1",
    "large_list": "select len(list(range)) from range(4000000000)",
    "long_text": "select string_agg(repeat('x', 1000), '') from range(100000000)",
    "large_window": "select sum(range) over (order by hash(range)) from range(2000000000)",
    "self_join": f"select count(*) from {SEVENS} a join {SEVENS} b using (k)",
    "regex_scan": "select count(*) from range(4000000000)"
    " where regexp_matches(range::varchar, '(1|2)*3.*4')",
    "rows_out": "select range, repeat('x', 100) from range(4000000000)",
}
CHILD = """
import json, resource, sys, time
from pathlib import Path
from lakeq.config import Settings
from lakeq.engines import Allowance
from lakeq.engines.duckdb import Engine
from lakeq.errors import LakeqError

sql, memory, seconds, folder = sys.argv[1:]
place = dict(lake=Path("unused"), memory_limit=memory, threads=2, temp_dir=Path(folder))
Engine(Settings(**place)).run("select 1", {}, {})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
engine = Engine(Settings(**place))
started = time.monotonic()
try:
    running = engine.run(sql, {}, {}, allowance=Allowance(seconds=float(seconds)))
    while running.fetch(10000):
        pass
    outcome = "finished"
except LakeqError as error:
    outcome = f"{error.exit_code} {error.what}"
took = time.monotonic() - started
engine.close()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([outcome, took, peak / 1024, before / 1024]))
"""


@pytest.mark.parametrize("name", RUNAWAYS)
def test_a_runaway_query_ends_in_time_and_memory(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, RUNAWAYS[name], f"{MEMORY_MB}MB", str(SECONDS)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=env,
        timeout=120,  # a query that hangs fails here and does not hold up the suite
    )
    outcome, took, peak_mb, before_mb = json.loads(done.stdout)
    assert outcome.startswith(("3 stopped after", "1 ")), outcome  # its time, or its memory
    assert outcome.startswith("3") or "MB" in outcome or "MiB used" in outcome
    assert took < SECONDS + 1
    assert peak_mb - before_mb < MEMORY_MB * 1.25
    assert list(tmp_path.iterdir()) == []
