"""Landsat from its bucket on S3: what is listed and read, who pays, and each product once."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import lakeq
from lakeq.api import Lake
from lakeq.cli import cli
from lakeq.errors import AccessDenied, BadSource, NotFound, UsageError
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.data import real_file, real_files
from tests.support.s3 import REGION, S3

BUCKET = "usgs-landsat"
PRODUCT = "LC08_L2SP_001062_20201031_20201106_02_T2"
FOLDER = f"collection02/level-2/standard/oli-tirs/2020/001/062/{PRODUCT}"
DATA = f"landsat/s3/usgs-landsat/{FOLDER}"
RT = "LC08_L1TP_016037_20170813_20170814_01_RT"


@pytest.fixture
def bucket(s3: S3, aws_credentials: None) -> Iterator[CountingProxy]:
    """A real product where its bucket has it, whose readers pay, on a counted endpoint."""
    s3.client.create_bucket(Bucket=BUCKET)
    for path in real_files(f"{DATA}/*"):
        s3.put(BUCKET, f"{FOLDER}/{path.name}", path)
    with counting_proxy(s3.endpoint_url) as proxy:
        proxy.paid = frozenset({BUCKET})
        yield proxy
    for key in s3.keys(BUCKET):
        s3.client.delete_object(Bucket=BUCKET, Key=key)
    s3.client.delete_bucket(Bucket=BUCKET)


def remote(proxy: CountingProxy, folder: Path, **settings: object) -> Lake:
    return lakeq.connect(folder, s3_endpoint_url=proxy.url, s3_region=REGION, **settings)


def test_a_path_and_row_takes_two_listings_and_one_read_and_pays(
    bucket: CountingProxy, tmp_path: Path
) -> None:
    real_file(f"{DATA}/{PRODUCT}_MTL.txt")
    lake = remote(bucket, tmp_path / "lake")
    lake.ingest("landsat.scenes", path_row="1/62", start="2020-10-01", end="2020-12-31")
    assert {r.payer for r in bucket.requests} == {"requester"}
    listed = [f"{BUCKET}/collection02/level-2/standard/oli-tirs/2020/001/062/"]
    assert bucket.listed() == [*listed, f"{BUCKET}/{FOLDER}/{PRODUCT}"]
    assert {r.path.rpartition("_")[2] for r in bucket.read("")} == {"MTL.txt"}
    rows = lake.sql(
        "select a.name, a.uri, a.size_bytes from"
        " (select unnest(assets) as a from landsat.scenes) where a.name = 'SR_B4'"
    ).rows()
    size = real_file(f"{DATA}/{PRODUCT}_SR_B4.TIF").stat().st_size
    assert rows == [("SR_B4", f"s3://{BUCKET}/{FOLDER}/{PRODUCT}_SR_B4.TIF", size)]


def test_who_does_not_pay_is_told_so_and_the_lake_stays(
    bucket: CountingProxy, tmp_path: Path
) -> None:
    uri = f"s3://{BUCKET}/{FOLDER}/{PRODUCT}_MTL.txt"
    lake = remote(bucket, tmp_path / "lake", s3_anon=True)
    with pytest.raises(AccessDenied) as caught:
        lake.ingest("landsat.scenes", [uri])
    assert "--request-payer" in caught.value.hint
    assert caught.value.where == uri
    assert not any(table.rows for table in lake.tables())


def test_a_folder_of_the_bucket_gives_one_row_from_its_metadata(
    bucket: CountingProxy, tmp_path: Path
) -> None:
    real_file(f"{DATA}/{PRODUCT}_MTL.txt")
    lake = remote(bucket, tmp_path / "lake")
    report = lake.ingest("landsat.scenes", [f"s3://{BUCKET}/collection02/**"])
    assert report.notes["objects that the dataset skips by name"] > 15
    assert lake.table("landsat.scenes").rows == 1
    (row,) = lake.sql("select product_id, _source from landsat.scenes").rows()
    assert row[0] == PRODUCT
    assert "_MTL." in row[1]


def test_another_path_and_row_is_not_there(bucket: CountingProxy, tmp_path: Path) -> None:
    lake = remote(bucket, tmp_path / "lake")
    with pytest.raises(NotFound, match="place and time"):
        lake.ingest(
            "landsat.scenes", path_row=["2/62", "001/063"], start="2020-10-01", end="2020-12-31"
        )
    assert [p[-8:] for p in bucket.listed()] == ["002/062/", "001/063/"]


def test_a_path_and_row_is_written_with_a_slash(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="28-30"):
        lakeq.connect(tmp_path).ingest("landsat.scenes", path_row="28-30", start="2020-10-01")


def stac(part: str) -> Path:
    return real_file(
        f"landsat/c2/metadata/LT04_L2SP_002026_19830110_20200918_02_T1_{part}_stac.json"
    )


def test_items_of_reflectance_and_temperature_make_one_row(tmp_path: Path) -> None:
    lake = lakeq.connect(tmp_path)
    for part in ("ST", "SR"):
        lake.ingest("landsat.scenes", [stac(part)])
    (row,) = lake.sql("select product_id, assets from landsat.scenes").rows()
    names = {asset["name"] for asset in row[1]}
    assert {"SR_B1", "SR_B7", "ST_B6", "ST_QA", "QA_PIXEL"} <= names
    assert len(names) == len(row[1])
    assert all(asset["uri"].startswith("s3://usgs-landsat/") for asset in row[1])


def test_an_mtl_file_takes_the_place_of_items_and_stays(tmp_path: Path) -> None:
    mtl = stac("SR").with_name("LT04_L2SP_002026_19830110_20200918_02_T1_MTL.xml")
    lake = lakeq.connect(tmp_path)
    for path in (stac("SR"), stac("ST"), mtl, stac("SR")):
        lake.ingest("landsat.scenes", [path])
    (row,) = lake.sql("select _source, footprint_source from landsat.scenes").rows()
    assert row == (mtl.resolve().as_uri(), "image")


def reprocessed(tmp_path: Path) -> tuple[Path, Path]:
    """A real-time product, and the same scene as it is made again: other identifier, tier, sun."""
    source = next(iter(real_files(f"landsat/s3/landsat-pds/**/{RT}_MTL.txt")), None)
    if source is None:
        pytest.skip("no real data")
    final = "LC08_L1TP_016037_20170813_20170825_01_T1"
    text = source.read_text().replace(RT, final).replace('CATEGORY = "RT"', 'CATEGORY = "T1"')
    text = re.sub(r"CLOUD_COVER = .*", "CLOUD_COVER = 12.34", text, count=1)
    path = tmp_path / f"{final}_MTL.txt"
    path.write_text(text)
    return source, path


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_scene_made_again_is_the_latest_and_its_history_stays(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    both = reprocessed(tmp_path)
    lake = lakeq.connect(tmp_path / "lake")
    for number in order:
        lake.ingest("landsat.scenes", [both[number]])
    lake.refresh("landsat.scenes_latest")
    assert lake.table("landsat.scenes").rows == 2
    rows = lake.sql("select tier, cloud_cover, processed from landsat.scenes_latest").rows()
    assert [(tier, round(cover, 2), str(day)) for tier, cover, day in rows] == [
        ("T1", 12.34, "2017-08-25")
    ]


def test_levels_of_one_scene_are_products_of_their_own(tmp_path: Path) -> None:
    lake = lakeq.connect(tmp_path)
    lake.ingest("landsat.scenes", [stac("SR"), stac("ST")])
    level1 = json.loads(stac("SR").read_text())
    text = json.dumps(level1).replace("L2SP", "L1TP")
    path = tmp_path / "LT04_L1TP_002026_19830110_20200918_02_T1_stac.json"
    path.write_text(text)
    lake.ingest("landsat.scenes", [path])
    lake.refresh("landsat.scenes_latest")
    found = lake.sql("select processing_level from landsat.scenes_latest order by 1").rows()
    assert found == [("L1TP",), ("L2SP",)]


LIST = "landsat/scene_list/scene_list_head.csv"


@pytest.mark.parametrize("packed", [False, True])
def test_a_scene_list_gives_a_row_a_line(tmp_path: Path, packed: bool) -> None:
    text = real_file(LIST).read_bytes()
    path = tmp_path / ("scene_list.gz" if packed else "scene_list.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat.scenes", [path])
    rows = lake.sql(
        "select product_id, acquired, cloud_cover, processing_level, path, row, platform, sensor,"
        " collection, folder, assets[4].uri from landsat.scenes order by acquired desc"
    ).rows()
    lines = [line.split(",") for line in text.decode().splitlines()[1:]]
    wanted = sorted(lines, key=lambda line: line[1], reverse=True)
    for row, line in zip(rows, wanted, strict=True):
        folder = f"s3://landsat-pds/L8/{int(line[4]):03d}/{int(line[5]):03d}/{line[0]}/"
        assert row[0] == line[0]
        assert row[1].strftime("%Y-%m-%d %H:%M:%S.%f") == line[1]
        assert row[2] == pytest.approx(float(line[2]), rel=1e-6)
        assert row[3:9] == (line[3], int(line[4]), int(line[5]), "LANDSAT_8", "OLI_TIRS", 0)
        assert row[9:] == (folder, f"{folder}{line[0]}_B4.TIF")


HEAD = "productId,entityId,acquisitionDate,cloudCover,processingLevel,path,row,download_url\n"
LINE = (
    "LC08_L1TP_149039_20170411_20170415_01_T1,LC81490392017101LGN00,2017-04-11 05:36:29.349932,"
    "-1,L1TP,149,39,https://s3-us-west-2.amazonaws.com/landsat-pds/c1/L8/149/039/"
    "LC08_L1TP_149039_20170411_20170415_01_T1/index.html\n"
)
BAD_LISTS = {
    "field": (HEAD + LINE + LINE.replace("149,39", "149"), "line 3", "7 fields instead of 8"),
    "path": (HEAD + LINE.replace("149,39", "1x9,39"), "line 2", "path is no number: '1x9'"),
    "row": (HEAD + LINE + LINE.replace("149,39", "149,999"), "line 3", "row 999"),
    "time": (HEAD + LINE + LINE.replace("2017-04-11 05", "2017-14-11 05"), "line 3", "no time"),
    "name": (HEAD + LINE + LINE.replace("LC08", "XX08", 1), "line 3", "XX08"),
    "year": (HEAD + LINE + LINE.replace("2017-04-11 05", "1917-04-11 05"), "line 3", "year 1917"),
    "header": ("productId,a,b\n" + LINE, "line 1", "entityId"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_bad_line_of_a_list_is_named_and_the_lake_stays(tmp_path: Path, case: str) -> None:
    text, where, what = BAD_LISTS[case]
    path = tmp_path / "scene_list.csv"
    path.write_text(text)
    lake = lakeq.connect(tmp_path / "lake")
    with pytest.raises(BadSource) as caught:
        lake.ingest("landsat.scenes", [path])
    assert where in caught.value.where
    assert what in caught.value.what
    assert not list((tmp_path / "lake").rglob("*.parquet"))


def test_a_list_without_an_end_of_its_line_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "scene_list.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(HEAD.encode() + b"x" * (40 << 20))
    with pytest.raises(BadSource, match="line of more than"):
        lakeq.connect(tmp_path / "lake").ingest("landsat.scenes", [path])


def test_a_list_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scene_list.gz"
    path.write_bytes(gzip.compress((HEAD + LINE * 500).encode())[:-40])
    with pytest.raises(BadSource, match="cut short") as caught:
        lakeq.connect(tmp_path / "lake").ingest("landsat.scenes", [path])
    assert caught.value.where == path.as_uri()


def test_cloud_cover_that_was_not_determined_is_null(tmp_path: Path) -> None:
    path = tmp_path / "scene_list.csv"
    path.write_text(HEAD + LINE)
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat.scenes", [path])
    sql = "select cloud_cover, collection, tier, processed, len(assets) from landsat.scenes"
    (row,) = lake.sql(sql).rows()
    assert (*row[:3], str(row[3]), row[4]) == (None, 1, "T1", "2017-04-15", 13)


def test_the_command_ingests_and_the_page_of_an_error_names_it(tmp_path: Path) -> None:
    path = real_file(f"{DATA}/{PRODUCT}_MTL.json")
    run = CliRunner()
    lake = ["--lake", str(tmp_path)]
    done = run.invoke(cli, ["ingest", "landsat.scenes", str(path), *lake])
    assert done.exit_code == 0, done.output
    asked = "select path, row, epsg from landsat.scenes"
    assert "1,62,32620" in run.invoke(cli, ["sql", asked, *lake]).output
    page = tmp_path / f"{PRODUCT}_MTL.txt"
    page.write_text("<html><h1>403 Forbidden</h1></html>")
    failed = run.invoke(cli, ["ingest", "landsat.scenes", str(page), *lake])
    assert isinstance(failed.exception, BadSource)  # which `main` writes to standard error
    assert "HTML page" in str(failed.exception)
