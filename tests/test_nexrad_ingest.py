"""Radar volumes from their archive on S3: what is listed and read, and each volume once."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.formats import _nexrad_volume, nexrad_level2
from lakeq.storage import Storage
from tests.lake_formats import named_files, warehouse_files
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.data import real_file
from tests.support.radar import three_times
from tests.support.s3 import REGION, S3

BUCKET = "unidata-nexrad-level2"
CLEAR = "KABR20050101_000745.gz"  # 7 sweeps, 2,569 rays (Py-ART 2.3.0: radar.nsweeps, radar.nrays)
HEAD = 16 << 10


@pytest.fixture
def archive(s3: S3, aws_credentials: None) -> Iterator[CountingProxy]:
    """Some real volumes where the archive has them, with a sidecar, on a counted endpoint."""
    s3.client.create_bucket(Bucket=BUCKET)
    for day, name in (("2005/01/01", CLEAR), ("2025/01/01", "KDMX20250101_225441_V06")):
        s3.put(BUCKET, f"{day}/{name[:4]}/{name}", real_file(f"nexrad/volumes/{name}"))
    s3.put(BUCKET, "2025/01/01/KDMX/KDMX20250101_225441_V06_MDM", b"no volume")
    s3.put(BUCKET, "2025/01/01/KDVN/KDVN20250101_225441_V06", b"no volume")
    with counting_proxy(s3.endpoint_url) as proxy:
        yield proxy
    for key in s3.keys(BUCKET):
        s3.client.delete_object(Bucket=BUCKET, Key=key)
    s3.client.delete_bucket(Bucket=BUCKET)


def remote(proxy: CountingProxy, folder: Path) -> Lake:
    return lakeq.connect(folder, s3_endpoint_url=proxy.url, s3_region=REGION, s3_anon=False)


def test_volumes_alone_take_one_listing_and_16_kib_an_object(
    archive: CountingProxy, tmp_path: Path
) -> None:
    lake = remote(archive, tmp_path / "lake")
    for site, day in (("KABR", "2005-01-01"), ("KDMX", "2025-01-01")):
        lake.ingest("nexrad", site=site, start=day, end=day, tables=["volumes"])
    assert archive.listed() == [f"{BUCKET}/2005/01/01/KABR/", f"{BUCKET}/2025/01/01/KDMX/"]
    assert [(r.range, r.sent) for r in archive.read("")] == [(f"bytes=0-{HEAD - 1}", HEAD)] * 2
    assert len(archive.requests) == 4
    assert lake.table("nexrad.volumes").rows == 2


def test_the_sidecar_is_skipped_by_its_name(archive: CountingProxy, tmp_path: Path) -> None:
    lake = remote(archive, tmp_path / "lake")
    report = lake.ingest(
        "nexrad", site="KDMX", start="2025-01-01", end="2025-01-01", tables=["volumes"]
    )
    assert report.notes["objects that the dataset skips by name"] == 1
    assert not archive.read("_MDM")


def test_all_tables_read_an_object_once(archive: CountingProxy, tmp_path: Path) -> None:
    lake = remote(archive, tmp_path / "lake")
    report = lake.ingest("nexrad", site=["KABR"], start="2005-01-01T00:00", end="2005-01-01T01:00")
    size = real_file(f"nexrad/volumes/{CLEAR}").stat().st_size
    assert sum(r.sent for r in archive.read(CLEAR)) == size
    assert report.rows["nexrad.rays"] == lake.table("nexrad.rays").rows == 2569


def test_a_volume_is_decoded_in_one_pass_over_its_object(
    archive: CountingProxy, tmp_path: Path
) -> None:
    """One request for its version, one for all its bytes."""
    name = "KDMX20250101_225441_V06"
    source = Storage(remote(archive, tmp_path / "lake").settings).source(
        f"s3://{BUCKET}/2025/01/01/KDMX/{name}"
    )
    with source.open() as stream:
        sweeps = list(_nexrad_volume.read_stream(name, stream).sweeps)
    assert len(sweeps) == 8  # Py-ART 2.3.0: radar.nsweeps
    size = real_file(f"nexrad/volumes/{name}").stat().st_size
    asked = [(r.method, r.sent) for r in archive.requests if r.path.endswith(name)]
    assert asked == [("HEAD", 0), ("GET", size)]


# Each volume once.


def test_a_volume_under_another_name_replaces_itself(lake: Lake, tmp_path: Path) -> None:
    original = real_file(f"nexrad/volumes/{CLEAR}").resolve()
    names = ("KABR20050101_000745", "mirror/KABR20050101_000745_V06.gz")
    copies = [tmp_path / name for name in names]
    copies[1].parent.mkdir()
    copies[0].write_bytes(gzip.decompress(original.read_bytes()))
    copies[1].write_bytes(original.read_bytes())
    replaced = original.as_uri()
    lake.ingest("nexrad", [original], tables=["volumes", "rays"])
    for copy in copies:
        (report,) = lake.ingest("nexrad", [copy], tables=["volumes", "rays"]).objects
        assert report.replaced == (replaced,)
        assert (lake.table("nexrad.volumes").rows, lake.table("nexrad.rays").rows) == (1, 2569)
        replaced = copy.as_uri()
    assert warehouse_files(lake._iceberg) == named_files(lake._iceberg)


def test_an_object_overwritten_by_a_larger_one_is_complete_then(lake: Lake, tmp_path: Path) -> None:
    data = gzip.decompress(real_file(f"nexrad/volumes/{CLEAR}").read_bytes())
    path = tmp_path / "KABR20050101_000745"
    path.write_bytes(data[: len(data) // 2])
    lake.ingest("nexrad", [path], tables=["volumes", "rays"])
    wanted = "select complete, rays from nexrad.volumes"
    (row,) = lake.sql(wanted).arrow().to_pylist()
    assert row["complete"] is False
    assert 0 < row["rays"] < 2569
    path.write_bytes(data)
    lake.ingest("nexrad", [path], tables=["volumes", "rays"])
    assert lake.table("nexrad.rays").rows == 2569
    assert lake.sql(wanted).arrow().to_pylist() == [{"complete": True, "rays": 2569}]


def test_a_copy_cut_short_does_not_take_the_place_of_the_whole(lake: Lake, tmp_path: Path) -> None:
    original = real_file(f"nexrad/volumes/{CLEAR}").resolve()
    cut = tmp_path / "KABR20050101_000745"
    cut.write_bytes(gzip.decompress(original.read_bytes())[:1_000_000])
    lake.ingest("nexrad", [original], tables=["volumes", "rays"])
    (report,) = lake.ingest("nexrad", [cut], tables=["volumes", "rays"]).objects
    assert report.kept == original.as_uri()
    assert lake.table("nexrad.rays").rows == 2569


def test_a_copy_named_as_another_volume_is_another_and_the_report_says_so(
    lake: Lake, tmp_path: Path
) -> None:
    """What is there must be known of a listing, before anything is read: the name decides."""
    original = real_file(f"nexrad/volumes/{CLEAR}").resolve()
    other = tmp_path / "KABR20050101_010745.gz"
    other.write_bytes(original.read_bytes())
    told = "volumes whose name tells another radar or time than they hold"
    assert told not in lake.ingest("nexrad", [original], tables=["volumes"]).notes
    for _ in range(2):
        report = lake.ingest("nexrad", [other], tables=["volumes", "sweeps"])
        assert (report.notes[told], report.objects[0].replaced) == (1, ())
    twice = (
        "select site, volume_time, list_sort(list(object)) as objects from nexrad.volumes "
        "group by all having count(*) > 1"
    )
    (row,) = lake.sql(twice).arrow().to_pylist()
    assert (row["site"], f"{row['volume_time']:%Y-%m-%d %H:%M:%S}") == (
        "KABR",
        "2005-01-01 00:07:45",
    )
    assert row["objects"] == [CLEAR, other.name]


def test_a_name_of_the_archive_that_is_seconds_off_its_header_is_no_other_volume(
    lake: Lake,
) -> None:
    volume = real_file("nexrad/volumes/KTLX20140101_000624_V06.gz")  # the header says 00:06:27
    assert not lake.ingest("nexrad", [volume], tables=["volumes"]).notes


# A volume's head tells less than the whole.


KNOWN = "select complete, rays, size_bytes from nexrad.volumes"


def test_the_head_of_a_volume_does_not_take_the_place_of_the_whole(
    lake: Lake, tmp_path: Path
) -> None:
    original = real_file(f"nexrad/volumes/{CLEAR}").resolve()
    copy = tmp_path / "KABR20050101_000745_V06"
    copy.write_bytes(gzip.decompress(original.read_bytes()))
    lake.ingest("nexrad", [original], tables=["volumes", "rays"])
    whole = lake.sql(KNOWN).arrow().to_pylist()
    assert (whole[0]["complete"], whole[0]["rays"]) == (True, 2569)
    for head in (original, copy):
        (report,) = lake.ingest("nexrad", [head], tables=["volumes"]).objects
        assert (report.kept, report.rows) == (original.as_uri(), {})
        assert lake.sql(KNOWN).arrow().to_pylist() == whole
    lake.maintain("nexrad.volumes")
    lake.ingest("nexrad", [original], tables=["volumes"])
    assert lake.sql(KNOWN).arrow().to_pylist() == whole


def test_the_head_of_a_newer_version_is_taken_and_the_whole_replaces_it(
    lake: Lake, tmp_path: Path
) -> None:
    data = gzip.decompress(real_file(f"nexrad/volumes/{CLEAR}").read_bytes())
    path = tmp_path / "KABR20050101_000745"
    path.write_bytes(data[: len(data) // 2])
    lake.ingest("nexrad", [path], tables=["volumes", "rays"])
    path.write_bytes(data)
    for tables, rays in ((["volumes"], None), (["volumes", "rays"], 2569)):
        lake.ingest("nexrad", [path], tables=tables)
        (row,) = lake.sql(KNOWN).arrow().to_pylist()
        assert (row["rays"], row["size_bytes"]) == (rays, len(data))


def test_a_whole_volume_that_comes_meanwhile_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer commits the whole volume while its head is being read."""
    original = real_file(f"nexrad/volumes/{CLEAR}").resolve()
    head, begun = nexrad_level2._Reading.head, []

    def slow(reading: nexrad_level2._Reading) -> Any:
        if not begun:
            begun.append(True)
            lakeq.connect(lake.settings.lake).ingest(
                "nexrad", [original], tables=["volumes", "rays"]
            )
        yield from head(reading)

    monkeypatch.setattr(nexrad_level2._Reading, "head", slow)
    (report,) = lake.ingest("nexrad", [original], tables=["volumes"]).objects
    assert report.kept == original.as_uri()
    assert lake.sql(KNOWN).arrow().to_pylist()[0]["rays"] == 2569
    assert warehouse_files(lake._iceberg) == named_files(lake._iceberg)


# After compaction, on S3.


@pytest.mark.slow
def test_a_compacted_site_day_on_s3_sends_a_small_part_of_itself_for_a_place(
    s3: S3, tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy counts. Row groups are small, for a day of three times two sweeps is."""
    for module in ("parquet", "layout"):
        monkeypatch.setattr(f"lakeq.lake.{module}.row_group_rows", lambda _table: 4096)
    chunks = three_times(tmp_path)
    bucket = s3.bucket()
    with counting_proxy(s3.endpoint_url) as proxy:
        settings = {"s3_endpoint_url": proxy.url, "s3_region": REGION, "s3_anon": False}
        lake = lakeq.connect(tmp_path / "lake", warehouse=f"s3://{bucket}/lake", **settings)
        lake.ingest("nexrad", [chunks], tables=["gates"])
        before = [_sent(proxy, lake, sql) for sql in (BOX, GAUGE)]
        report = lake.maintain("nexrad.gates")
        after = [_sent(proxy, lake, sql) for sql in (BOX, GAUGE)]
    assert [table.compacted for table in report.tables] == [1]
    size = lake.table("nexrad.gates").size_bytes
    for aim, (was, old), (now, new) in zip((0.06, 0.02), before, after, strict=True):
        assert sorted(map(str, new)) == sorted(map(str, old))
        assert len(new) > 0
        assert now < aim * size < was


BOX = """select * from nexrad.gates
where latitude between 42.02 and 42.22 and longitude between -87.58 and -87.28"""
GAUGE = """select * from nexrad.gates
where latitude between 42.11 and 42.13 and longitude between -87.44 and -87.42"""  # 50 km from TORD


def _sent(proxy: CountingProxy, lake: Lake, sql: str) -> tuple[int, list[dict[str, object]]]:
    """The bytes of rows that a query makes the server send, footers left out, and its answer.

    With the footers they are what the report says that was scanned, and within the plan.
    """
    plan = lake.plan(sql)
    files = lake.table("nexrad.gates").snapshot.files  # type: ignore[union-attr]  # it is there
    ends = {
        file.path.removeprefix("s3:/"): max(
            c.offset + c.length for g in file.row_groups for c in g.chunks
        )
        for file in files
    }
    proxy.requests.clear()
    result = lake.sql(sql)
    rows = result.arrow().to_pylist()
    assert sum(r.sent for r in proxy.read(".parquet")) == result.report.bytes_scanned
    assert plan.low_bytes <= result.report.bytes_scanned <= plan.high_bytes
    ranges = [(r, int(r.range[6:].partition("-")[0])) for r in proxy.read(".parquet")]
    return sum(r.sent for r, start in ranges if start < ends[r.path]), rows
