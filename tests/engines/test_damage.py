"""Damaged Parquet files: an error that names the file, exit code 7, and a process that lives on.

The files are damaged copies of a real table's, with the times that they had; they are read in a
child process, which would die of a crash; every query goes the whole way: guard, plan, engine.
DuckDB 1.5.5 by itself does crash on some of them (seed 224), so it is given no byte that is not
what was written, from a disk and from S3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.engines.duckdb import Engine
from lakeq.errors import BadLake
from tests.support.damage import damaged
from tests.support.data import ROOT
from tests.support.s3 import S3

CHILD = """
import json, os, shutil, sys
from pathlib import Path
import boto3
import lakeq
from lakeq.errors import LakeqError
from tests.support.damage import damaged

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lake = lakeq.connect(folder, **json.loads(sys.argv[4]))
names = ["clinvar.grch37", "thousand_genomes.genotypes", "thousand_genomes.samples"]
files = {name: lake.table(name).snapshot.files[0].path for name in names}

def place(path):
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return boto3.client("s3", endpoint_url=lake.settings.s3.endpoint_url), bucket, key

def read(path):
    if path.startswith("s3://"):
        client, bucket, key = place(path)
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return Path(path).read_bytes()

def write(path, data):
    if path.startswith("s3://"):
        client, bucket, key = place(path)
        client.put_object(Bucket=bucket, Key=key, Body=data)
    else:
        times = os.stat(path)
        Path(path).write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

good = {name: read(path) for name, path in files.items()}
shapes = ["select * from {}", "select min(columns(*)) from {}", "select count(*) from {}"]
queries = [shape.format(name) for shape in shapes for name in names]
right = {query: lake.sql(query).rows() for query in queries}
for seed in range(first, last):
    name = names[seed // 2 % len(names)]
    write(files[name], damaged(good[name], seed))
    if seed % 4 == 0:  # nothing is known of the file but what is in it
        shutil.rmtree(folder / "cache", ignore_errors=True)
    query = shapes[seed % 5 % 3].format(name)
    print(json.dumps([seed, query, "begins", ""]), flush=True)
    try:
        rows = lake.sql(query).rows()
        outcome, told = (0, "right") if rows == right[query] else (0, "wrong")
    except LakeqError as error:
        outcome, told = error.exit_code, str(error)
    named = files[name] in told
    print(json.dumps([seed, query, outcome, "named" if named else told]))
    write(files[name], good[name])
    if seed % 10 == 0:  # the session goes on
        assert lake.sql("select count(*) from thousand_genomes.variants").rows()[0][0] >= 400
assert lake.verify().sound
"""


def outcomes(lake: Path, first: int, last: int, **options: object) -> Counter[object]:
    """How the queries over damaged files ended: an exit code each, wrong ends told in full.

    A query may also give the right rows: it did not read the bytes that are damaged.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(lake), str(first), str(last), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    ends = [line for line in lines if line[2] != "begins"]
    wrong = [line for line in ends if line[2:] not in ([7, "named"], [0, "right"])]
    assert wrong == []
    return Counter(line[2] for line in ends)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort) -> Path:
    from tests.support.lakes import cohort_lake

    folder = tmp_path_factory.mktemp("victim") / "lake"
    cohort_lake(folder, made_cohort)
    return folder


def test_damaged_files_are_errors_that_name_them_and_nothing_crashes(victim: Path) -> None:
    counts = outcomes(victim, 0, 200)
    assert counts.total() == 200
    assert counts[7] > 170


@pytest.mark.usefixtures("aws_credentials")
def test_damaged_objects_on_s3_are_errors_that_name_them_and_nothing_crashes(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    """Without listing, HEAD or a second GET: the bytes themselves are what is checked."""
    from tests.support.lakes import cohort_lake

    place = {"warehouse": f"s3://{s3.bucket()}/lake", "s3_endpoint_url": s3.endpoint_url}
    cohort_lake(tmp_path / "lake", made_cohort, **place)
    counts = outcomes(tmp_path / "lake", 218, 230, **place)  # 224 is a page header
    assert counts.total() == 12
    assert counts[7] > 9


@pytest.mark.soak
@pytest.mark.parametrize("part", range(12))
def test_six_thousand_damaged_files_crash_nothing(part: int, victim: Path) -> None:
    assert outcomes(victim, part * 500, part * 500 + 500)[7] > 0


def test_the_damaged_one_of_several_files_is_named_by_the_engine_too(victim: Path) -> None:
    lake = lakeq.connect(victim)
    names = ["thousand_genomes.calls", "thousand_genomes.samples"]
    tables = {name: lake.table(name).snapshot for name in names}
    path = Path(tables[names[0]].files[0].path)  # type: ignore[union-attr]  # it is in the lake
    good = path.read_bytes()
    sql = "select * from thousand_genomes.calls join thousand_genomes.samples using (sample)"
    for seed in (3, 4, 12, 13, 21):  # zeros and noise
        path.write_bytes(damaged(good, seed))
        engine = Engine(lake.settings)
        try:
            running = engine.run(sql, {}, tables)  # type: ignore[arg-type]  # as above
            while running.fetch(10_000):
                pass
        except BadLake as error:
            assert error.where == str(path)
        finally:
            engine.close()
            path.write_bytes(good)
