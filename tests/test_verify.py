"""Is the lake what was written: every flipped bit is found, named, and mended from its object."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import run
from tests.support.s3 import S3

FLIPS = 300
VARIANTS = "thousand_genomes.variants"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort) -> Lake:
    """A lake of this module's own, whose objects are still where they were read from."""
    from tests.support.lakes import cohort_lake

    return cohort_lake(tmp_path_factory.mktemp("verified") / "lake", made_cohort)


@pytest.fixture
def own(original: Lake) -> Lake:
    """The same lake, put back after the test: its files name each other by absolute paths."""
    folder = original.settings.lake
    kept = folder.with_name("kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    yield lakeq.connect(folder)  # type: ignore[misc]  # pytest makes a fixture of the generator
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)


def data_file(lake: Lake, table: str = VARIANTS) -> Path:
    snapshot = lake.table(table).snapshot
    assert snapshot is not None
    return Path(snapshot.files[0].path)


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_lake_that_nobody_touched_is_sound(own: Lake) -> None:
    report = own.verify()
    assert report.sound
    assert report.findings == ()
    assert report.unsummed == 0
    assert report.rows == sum(table.rows for table in own.tables())
    files = [p for p in (own.settings.lake / "warehouse").rglob("*") if p.is_file()]
    named = [p for p in files if p.suffix == ".parquet"]
    assert report.bytes_read > sum(path.stat().st_size for path in named)  # and the metadata


def test_every_single_flipped_bit_is_found_and_its_file_named(own: Lake) -> None:
    chance = random.Random(20)
    report = own.verify()
    listed = {t: own._iceberg.inventory(t).files for t in report.tables}
    places = [(table, Path(file.path)) for table, files in listed.items() for file in files]
    places += [(t, Path(p)) for t in report.tables for p in own._iceberg.inventory(t).metadata]
    missed = []
    for _ in range(FLIPS):
        table, path = chance.choice(places)
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        found = own.verify(table)
        if found.sound or str(path) not in {finding.path for finding in found.findings}:
            missed.append((path.name, bit))
        flip(path, bit)
    assert missed == []
    assert own.verify().sound


def test_pages_are_checked_where_no_checksum_was_kept(own: Lake) -> None:
    with sqlite3.connect(own.settings.lake / "catalog.db") as catalog:
        catalog.execute("DROP TABLE lakeq_checksums")
    assert own.verify(VARIANTS).sound
    assert own.verify(VARIANTS).unsummed > 0
    path = data_file(own)
    snapshot = own.table(VARIANTS).snapshot
    assert snapshot is not None
    chunk = snapshot.files[0].row_groups[0].chunks[3]
    flip(path, (chunk.offset + chunk.length - 2) * 8)
    (finding,) = own.verify(VARIANTS).findings
    assert finding.problem == "damaged"
    assert f"row group 0, column {chunk.path}: page" in finding.detail
    assert "CRC" in finding.detail


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def swap(path: Path) -> None:
    """Another good Parquet file under the same name."""
    others = path.parents[3].rglob("*.parquet")
    path.write_bytes(next(other for other in others if other != path).read_bytes())


def spoil(path: Path) -> None:
    flip(path, 999)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [(cut, "damaged"), (swap, "damaged"), (Path.unlink, "missing"), (spoil, "damaged")],
)
def test_what_is_lost_is_ingested_again_in_one_commit(
    harm: Callable[[Path], object], problem: str, own: Lake, made_cohort: MadeCohort
) -> None:
    before = own.sql(f"from {VARIANTS} order by all").arrow()
    commits = len(own.snapshots(VARIANTS))
    harm(data_file(own))
    shutil.rmtree(own.settings.lake / "cache")  # nothing but the files themselves is known
    (found,) = own.verify(VARIANTS).findings
    assert found.problem == problem
    assert found.sources == (made_cohort.vcf.resolve().as_uri(),)
    assert "--repair" in found.next
    report = own.verify(repair=True)
    assert report.sound
    assert {finding.outcome for finding in report.findings} == {"repaired"}
    assert own.sql(f"from {VARIANTS} order by all").arrow().equals(before)
    assert len(own.snapshots(VARIANTS)) == commits + 1
    again = own.verify()
    assert [finding.problem for finding in again.findings] == ["old"]  # time travel alone needs it


def test_what_cannot_be_ingested_again_is_told_with_the_reason(
    lake: Lake, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    vcf = shutil.copy(made_cohort.clinvar, tmp_path / "clinvar.vcf")
    lake.ingest("clinvar.grch37", [vcf])
    data_file(lake, "clinvar.grch37").unlink()
    Path(vcf).unlink()
    report = lake.verify(repair=True)
    assert not report.sound
    (finding,) = report.findings
    assert finding.outcome.startswith("not repaired: no file")


def test_a_repair_reads_objects_as_the_ingest_did(tmp_path: Path, made_cohort: MadeCohort) -> None:
    """The rows of a region and of some samples come back, and no others."""
    place = "thousand_genomes"
    counts = {n: f"select count(*) from {place}.{n}" for n in ("variants", "calls")}
    whole = lakeq.connect(tmp_path / "whole")
    whole.ingest(place, [made_cohort.vcf], panel=made_cohort.panel)
    ((contig, low, high),) = whole.sql(
        f"select any_value(contig), min(pos), max(pos) from {place}.variants"
    ).rows()
    (sample,) = whole.sql(f"select max(sample) from {place}.calls").rows()[0]
    lake = lakeq.connect(tmp_path / "lake")
    region = f"{contig}:{low}-{(low + high) // 2}"  # type: ignore[operator]  # numbers
    chosen = {"region": region, "samples": [str(sample)], "panel": made_cohort.panel}
    lake.ingest(place, [made_cohort.vcf], **chosen)  # type: ignore[arg-type]  # as it takes them
    before = {name: lake.sql(sql).rows() for name, sql in counts.items()}
    assert all(rows[0][0] > 0 for rows in before.values())  # type: ignore[operator]  # numbers
    assert before != {name: whole.sql(sql).rows() for name, sql in counts.items()}
    for name in counts:
        for file in lake.table(f"thousand_genomes.{name}").snapshot.files:  # type: ignore[union-attr]  # it is there
            Path(file.path).unlink()
    report = lake.verify(repair=True)
    assert {finding.outcome for finding in report.findings} == {"repaired"}
    assert {name: lake.sql(sql).rows() for name, sql in counts.items()} == before


@pytest.mark.parametrize("harm", [Path.unlink, spoil, cut])
def test_the_samples_come_back_with_their_numbers(
    harm: Callable[[Path], object], own: Lake
) -> None:
    table = "thousand_genomes.samples"
    before = own.sql(f"from {table} order by number").arrow()
    path, files = data_file(own, table), sorted(own.settings.lake.rglob("*.parquet"))
    whole = path.read_bytes()
    harm(path)
    shutil.rmtree(own.settings.lake / "cache")
    report = own.verify(repair=True)
    assert [finding.outcome for finding in report.findings] == ["repaired"]
    assert path.read_bytes() == whole
    assert sorted(own.settings.lake.rglob("*.parquet")) == files
    assert own.verify().findings == ()
    assert own.sql(f"from {table} order by number").arrow().equals(before)


def test_samples_of_several_ingests_keep_their_numbers(
    tmp_path: Path, made_cohort: MadeCohort
) -> None:
    """The later file brings the first of the names, so the order of the ingests decides."""
    lines = gzip.decompress(made_cohort.vcf.read_bytes()).decode().splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("#CHROM"))
    lake = lakeq.connect(tmp_path / "lake")
    for name, first in (("b.vcf", 14), ("a.vcf", 9), ("c.vcf", 11)):
        cells = [line.split("\t") for line in lines[head : head + 4]]
        text = lines[:head] + ["\t".join(c[:9] + c[first : first + 6]) for c in cells]
        (tmp_path / name).write_text("\n".join(text) + "\n")
        lake.ingest("thousand_genomes.variants", [tmp_path / name], panel=made_cohort.panel)
    path = data_file(lake, "thousand_genomes.samples")
    before = lake.sql("select sample, number from thousand_genomes.samples order by all").rows()
    assert [number for _, number in before] != sorted(number for _, number in before)  # type: ignore[type-var]  # numbers
    path.unlink()
    report = lake.verify(repair=True)
    assert {f.outcome for f in report.findings if f.path == str(path)} == {"repaired"}
    after = lake.sql("select sample, number from thousand_genomes.samples order by all").rows()
    assert after == before


def test_samples_that_cannot_be_proved_to_be_the_lost_ones_are_not_taken(
    tmp_path: Path, made_cohort: MadeCohort
) -> None:
    vcf = tmp_path / made_cohort.vcf.name
    shutil.copy(made_cohort.vcf, vcf)
    panel = tmp_path / "panel"
    shutil.copy(made_cohort.panel, panel)
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("thousand_genomes.variants", [vcf], panel=panel)
    path = data_file(lake, "thousand_genomes.samples")
    path.unlink()
    files = sorted(lake.settings.lake.rglob("*.parquet"))
    lines = panel.read_text().splitlines()
    panel.write_text("\n".join([lines[0], *lines[2:]]) + "\n")  # one of them is gone
    (finding,) = lake.verify(repair=True).findings
    assert "numbers of samples cannot be told" in finding.outcome
    assert sorted(lake.settings.lake.rglob("*.parquet")) == files


def test_a_damaged_slice_is_made_again(own: Lake) -> None:
    own.refresh("thousand_genomes.variants_clinvar")
    before = own.sql("select * from thousand_genomes.variants_clinvar order by all").rows()
    flip(data_file(own, "thousand_genomes.variants_clinvar"), 4000)
    report = own.verify(repair=True)
    assert [finding.outcome for finding in report.findings] == ["repaired"]
    assert own.sql("select * from thousand_genomes.variants_clinvar order by all").rows() == before
    assert {finding.problem for finding in own.verify().findings} == {"old"}  # for time travel


def test_files_that_no_snapshot_names_are_found_and_swept(own: Lake) -> None:
    stray = data_file(own).with_name("stray.parquet")
    stray.write_bytes(b"x")
    report = own.verify()
    assert report.sound  # nothing is lost
    assert [(f.problem, f.path) for f in report.findings] == [("orphan", str(stray))]
    assert own.verify(repair=True).findings[0].outcome == "deleted"
    assert not stray.exists()


def test_compacted_files_are_summed_too(own: Lake) -> None:
    own.maintain(["thousand_genomes"])
    report = own.verify()
    assert report.sound
    assert report.unsummed == 0


def test_the_command_ends_with_7_and_names_file_object_and_remedy(
    own: Lake, made_cohort: MadeCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--lake", str(own.settings.lake)]
    assert run(["verify", *folder]) == 0
    assert "all of it is what was written" in capsys.readouterr().err
    path = data_file(own)
    flip(path, 4000)
    assert run(["verify", "thousand_genomes", "--format", "json", *folder]) == 7
    (row,) = json.loads(capsys.readouterr().out)
    assert row["file"] == str(path)
    assert row["objects"] == made_cohort.vcf.resolve().as_uri()
    assert "--repair" in row["next"]
    assert run(["maintain", "thousand_genomes", "--repair", "--no-compact", *folder]) == 0
    assert "repaired" in capsys.readouterr().out


@pytest.mark.usefixtures("aws_credentials")
def test_a_warehouse_on_s3_is_verified_and_mended(
    s3: S3, lake_dir: Path, made_cohort: MadeCohort
) -> None:
    bucket = s3.bucket()
    lake = lakeq.connect(
        lake_dir, warehouse=f"s3://{bucket}/w", s3_endpoint_url=s3.endpoint_url, s3_anon=False
    )
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    assert lake.verify().sound
    rows = lake.sql("select count(*), sum(pos) from clinvar.grch37").rows()
    uri = str(data_file(lake, "clinvar.grch37")).replace("s3:/", "s3://")
    key = urlsplit(uri).path.lstrip("/")
    data = bytearray(s3.client.get_object(Bucket=bucket, Key=key)["Body"].read())
    data[500] ^= 4
    s3.put(bucket, key, bytes(data))
    s3.put(bucket, "w/clinvar/grch37/data/stray.parquet", b"x")
    found = {finding.problem: finding.path for finding in lake.verify().findings}
    assert found == {"damaged": uri, "orphan": f"s3://{bucket}/w/clinvar/grch37/data/stray.parquet"}
    assert lake.verify(repair=True).sound
    assert lake.sql("select count(*), sum(pos) from clinvar.grch37").rows() == rows
    assert "w/clinvar/grch37/data/stray.parquet" not in s3.keys(bucket)
