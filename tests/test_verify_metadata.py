"""A table's own metadata, damaged or missing, is rebuilt: the same rows, snapshots and history."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.errors import LakeqError
from tests.support.s3 import S3

VARIANTS = "thousand_genomes.variants"
CLINVAR = "clinvar.grch37"
SLICE = "thousand_genomes.variants_clinvar"
TABLES = (VARIANTS, CLINVAR, SLICE)
KINDS = {"metadata": r"\.metadata\.json$", "list": r"/snap-", "manifest": r"-m\d+\.avro$"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort) -> Lake:
    """Tables of one, two and four commits; the slice was made from them."""
    lake = lakeq.connect(tmp_path_factory.mktemp("metadata") / "lake")
    lake.ingest("thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel)
    lake.ingest(CLINVAR, [made_cohort.clinvar])
    lake.ingest(CLINVAR, [made_cohort.clinvar])
    lake.refresh(SLICE)
    lake.refresh(SLICE, force=True)
    return lake


@pytest.fixture
def own(original: Lake) -> Iterator[Lake]:
    """The same lake, put back after the test: its files name each other by absolute paths."""
    folder = original.settings.lake
    kept = folder.with_name("kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    yield lakeq.connect(folder)
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)


def current(lake: Lake, table: str, kind: str) -> Path:
    """The file of that kind that the current snapshot hangs on, as PyIceberg tells it."""
    place = f"sqlite:///{lake.settings.lake}/catalog.db"
    found = SqlCatalog("lakeq", uri=place).load_table(table)
    snapshot = found.current_snapshot()
    assert snapshot is not None
    if kind == "metadata":
        return Path(found.metadata_location)
    if kind == "list":
        return Path(snapshot.manifest_list)
    return Path(snapshot.manifests(found.io)[0].manifest_path)


def state(lake: Lake) -> dict[str, object]:
    """Rows, snapshots and what PyIceberg makes of every table."""
    told: dict[str, object] = {}
    place = f"sqlite:///{lake.settings.lake}/catalog.db"
    for name in TABLES:
        told[name] = lake.sql(f"select * exclude (_source) from {name} order by all").rows()
        told[f"{name} history"] = lake.snapshots(name)
        scan = SqlCatalog("lakeq", uri=place).load_table(name).scan()
        rows = scan.to_arrow()
        told[f"{name} elsewhere"] = sorted(map(repr, rows.drop_columns("_source").to_pylist()))
    return told


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def forget_cache(lake: Lake) -> None:
    shutil.rmtree(lake.settings.lake / "cache", ignore_errors=True)


def keep_cache(lake: Lake) -> None:
    """The side files tell of the files."""


HARMS: tuple[Callable[[Path], object], ...] = (flip, cut, Path.unlink)
CACHES = (keep_cache, forget_cache)
CASES = [  # each harm meets each kind, each table, and each state of the side files
    (table, kind, CACHES[(t + k) % 2], HARMS[(t + k) % 3])
    for t, table in enumerate(TABLES)
    for k, kind in enumerate(KINDS)
]
ALL = [(t, k, c, h) for t in TABLES for k in KINDS for c in CACHES for h in HARMS]


@pytest.mark.parametrize(
    ("table", "kind", "cache", "harm"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.soak) for case in ALL)],
)
def test_a_lost_file_of_the_metadata_is_rebuilt(
    own: Lake,
    table: str,
    kind: str,
    cache: Callable[[Lake], None],
    harm: Callable[[Path], object],
) -> None:
    before = state(own)
    path = current(own, table, kind)
    harm(path)
    cache(own)
    broken = own.verify(table)
    assert not broken.sound
    assert str(path) in {finding.path for finding in broken.findings}
    report = own.verify(repair=True)
    assert report.sound, report.findings
    assert {f.outcome for f in report.findings if f.problem == "metadata"} == {"repaired"}
    after = state(own)
    if cache is forget_cache and kind == "metadata":  # nothing tells of the time and of old ones
        before = {name: value for name, value in before.items() if "history" not in name}
        ids = [s.snapshot_id for s in own.snapshots(table)]
        assert ids
    assert {name: after[name] for name in before} == before
    again = own.verify()
    assert again.sound
    assert again.findings == ()
    own.refresh(SLICE, force=True)  # and it can be written to


def test_all_of_it_at_once(own: Lake) -> None:
    before = state(own)
    for table in TABLES:
        for kind in KINDS:
            if kind != "metadata":
                flip(current(own, table, kind))
    for table in TABLES:
        flip(Path(own._iceberg.metadata_files()[table]))
    report = own.verify(repair=True)
    assert report.sound, report.findings
    assert state(own) == before


def test_a_snapshot_of_before_comes_back_or_is_given_up(own: Lake) -> None:
    old, new = own.snapshots(CLINVAR)
    rows = own.sql(f"from {CLINVAR} order by all", at=old.snapshot_id).rows()
    place = f"sqlite:///{own.settings.lake}/catalog.db"
    past = SqlCatalog("lakeq", uri=place).load_table(CLINVAR).snapshot_by_id(old.snapshot_id)
    assert past is not None
    flip(Path(past.manifest_list))
    assert own.verify(repair=True).sound
    assert own.sql(f"from {CLINVAR} order by all", at=old.snapshot_id).rows() == rows
    past = SqlCatalog("lakeq", uri=place).load_table(CLINVAR).snapshot_by_id(old.snapshot_id)
    assert past is not None
    Path(past.manifest_list).unlink()
    with closing(sqlite3.connect(own.settings.lake / "catalog.db")) as catalog, catalog:
        names = "DELETE FROM lakeq_checksums WHERE path LIKE '%/grch37/data/%'"
        catalog.execute(names)  # which of the files it had, nothing tells any more
    forget_cache(own)
    report = own.verify(CLINVAR, repair=True)
    assert report.sound
    assert [s.snapshot_id for s in own.snapshots(CLINVAR)][-1] == new.snapshot_id


def test_what_cannot_be_told_exactly_is_left_and_said(own: Lake) -> None:
    """The manifest is gone, and so is one of the files that it named."""
    snapshot = own.table(VARIANTS).snapshot
    assert snapshot is not None
    current(own, VARIANTS, "manifest").unlink()
    Path(snapshot.files[0].path).unlink()
    files = sorted((own.settings.lake / "warehouse").rglob("*"))
    pointers = own._iceberg.metadata_files()
    report = own.verify(VARIANTS, repair=True)
    assert not report.sound
    outcome = next(f.outcome for f in report.findings if f.problem == "metadata")
    assert "damaged or missing as well" in outcome
    assert snapshot.files[0].path in outcome
    assert own._iceberg.metadata_files() == pointers
    assert sorted((own.settings.lake / "warehouse").rglob("*")) == files


def test_three_hundred_flips_in_every_kind_of_file_are_found_and_mended(own: Lake) -> None:
    """A share of the soak: every kind of file of a table, its side file included."""
    _flips(own, 20, 7)


@pytest.mark.soak
def test_soak_three_hundred_flips_found_and_mended(own: Lake) -> None:
    _flips(own, 300, 20)


def _flips(lake: Lake, count: int, seed: int) -> None:
    chance = random.Random(seed)
    before = state(lake)
    for number in range(count):
        table = chance.choice(TABLES)
        kind = (*KINDS, "data", "side")[number % 5]
        if kind == "data":
            held = lake.table(table).snapshot
            assert held is not None
            path = Path(chance.choice(held.files).path)
        elif kind == "side":
            path = lake.settings.lake / "cache" / table / "head.side"
        else:
            path = current(lake, table, kind)
        bit = chance.randrange(path.stat().st_size * 8)
        data = bytearray(path.read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found = {f.path: f for f in lake.verify(table).findings}
        assert str(path) in found, (kind, bit)
        assert found[str(path)].hurts == (kind != "side")
        done = {f.path: f.outcome for f in lake.verify(table, repair=True).findings}
        assert done[str(path)] == ("deleted" if kind == "side" else "repaired"), (kind, bit)
        if kind == "data":  # the damaged file is left to time travel
            lake.maintain([table], compact=False, expire_older_than=timedelta(0))
        assert lake.verify(table).findings == ()
        after = state(lake)
        changed = {name for name in before if after[name] != before[name]}
        allowed = {f"{t} history" for t in TABLES} if kind == "data" else set()
        assert changed <= allowed, (kind, bit)
        before = after


@pytest.mark.usefixtures("aws_credentials")
@pytest.mark.parametrize("kind", KINDS)
def test_metadata_on_s3_is_rebuilt(
    s3: S3, tmp_path: Path, made_cohort: MadeCohort, kind: str
) -> None:
    bucket = s3.bucket()
    lake = lakeq.connect(
        tmp_path / "lake",
        warehouse=f"s3://{bucket}/w",
        s3_endpoint_url=s3.endpoint_url,
        s3_anon=False,
    )
    lake.ingest(CLINVAR, [made_cohort.clinvar])
    lake.ingest(CLINVAR, [made_cohort.clinvar])
    rows = lake.sql(f"from {CLINVAR} order by all").rows()
    keys = [k for k in s3.keys(bucket) if re.search(KINDS[kind], "/" + k)]
    for key in keys:
        s3.client.delete_object(Bucket=bucket, Key=key)
    report = lake.verify(repair=True)
    assert report.sound, report.findings
    assert lake.sql(f"from {CLINVAR} order by all").rows() == rows


def test_maintain_rebuilds_before_it_works(own: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(own)
    flip(current(own, CLINVAR, "list"))
    folder = ["--lake", str(own.settings.lake)]
    forget_cache(own)
    with pytest.raises(LakeqError, match="metadata is damaged"):
        own.sql(f"select count(*) from {CLINVAR}").rows()
    assert run(["maintain", "clinvar", "--repair", "--no-compact", *folder]) == 0
    assert "repaired" in capsys.readouterr().out
    assert state(own) == before
