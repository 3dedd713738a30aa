"""Pixels on S3: pinned by etag, few requests at once, requester pays where the catalog says so."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import lakeq
from lakeq.api import Lake
from lakeq.errors import AccessDenied, BadSource
from lakeq.formats._landsat_pixels import PixelRows
from lakeq.formats._landsat_scan import Band
from lakeq.selection import Part
from tests.support.counting_proxy import counting_proxy
from tests.support.data import real_files
from tests.support.s3 import S3
from tests.support.scenes import Scene, make_scene

REAL = real_files("landsat/s3/usgs-landsat/**/*_MTL.txt")
QUERY = "select count(*), sum(red), sum(nir08) from landsat.pixels where line between 10 and 140"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


def uploaded(s3: S3, folder: Path, prefix: str, bucket: str = "") -> str:
    """The URI of the folder's metadata on S3, its images beside it."""
    bucket = bucket or s3.bucket()
    for path in sorted(folder.iterdir()):
        s3.put(bucket, f"{prefix}/{folder.name}/{path.name}", path)
    mtl = next(path for path in folder.iterdir() if "_MTL." in path.name)
    return f"s3://{bucket}/{prefix}/{folder.name}/{mtl.name}"


def lake_of(s3: S3, folder: Path) -> Lake:
    return lakeq.connect(folder / "lake", s3_endpoint_url=s3.endpoint_url)


def test_pixels_on_s3_are_those_on_disk(
    s3: S3, scene: Scene, tmp_path: Path, aws_credentials: None
) -> None:
    lake = lake_of(s3, tmp_path)
    lake.ingest("landsat", [uploaded(s3, scene.folder, "made")])
    plan = lake.plan(QUERY)
    result = lake.sql(QUERY)
    cut = {band: scene.bands[band][10:141] for band in ("red", "nir08")}
    sums = (int(values.sum(dtype=np.int64)) for values in cut.values())
    assert result.rows() == [(131 * 300, *sums)]
    assert plan.exact
    assert result.report.bytes_scanned == plan.high_bytes
    assert result.report.s3_requests == plan.high_requests == 2  # of each band its tiles at once


def test_a_plan_says_what_choosing_the_tiles_took(
    s3: S3, scene: Scene, tmp_path: Path, aws_credentials: None
) -> None:
    """The index lies on S3 as well: it is read to plan, and once more by the query."""
    uri, bucket = uploaded(s3, scene.folder, "made"), s3.bucket()
    given = {"warehouse": f"s3://{bucket}/lake", "s3_endpoint_url": s3.endpoint_url}
    lakeq.connect(tmp_path / "lake", **given).ingest("landsat", [uri])
    with counting_proxy(s3.endpoint_url) as proxy:
        lake = lakeq.connect(tmp_path / "lake", **{**given, "s3_endpoint_url": proxy.url})
        plan = lake.plan(QUERY)
        asked = len(proxy.requests)
        assert {r.path.partition("/tiles/")[1] for r in proxy.requests} == {"/tiles/"}
    told = plan.planning
    assert told is not None
    assert told.index_bytes == told.bytes > 0
    assert told.requests == asked > 0
    assert "of the index that says where pixels lie" in str(plan)
    result = lakeq.connect(tmp_path / "lake", **given).sql(QUERY)
    assert len(result.rows()) == 1
    assert result.report.bytes_scanned == plan.high_bytes > told.index_bytes


def test_requests_are_under_way_at_the_same_time(
    s3: S3, scene: Scene, tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of three requests waits for the others: one after the other they would wait for ever."""
    lake = lake_of(s3, tmp_path)
    lake.ingest("landsat", [uploaded(s3, scene.folder, "made")])
    together = threading.Barrier(3, timeout=60)
    read = PixelRows._read

    def waiting(self: PixelRows, band: Band, part: Part) -> bytes:
        together.wait()
        return read(self, band, part)

    monkeypatch.setattr(PixelRows, "_read", waiting)
    query = "select sum(red), sum(nir08), sum(green) from landsat.pixels where line < 140"
    result = lake.sql(query)
    assert len(result.rows()) == 1
    assert result.report.s3_requests == 3  # the index lies on disk


def test_an_object_replaced_since_it_was_indexed_is_refused(
    s3: S3, scene: Scene, tmp_path: Path, aws_credentials: None
) -> None:
    lake = lake_of(s3, tmp_path)
    uri = uploaded(s3, scene.folder, "made")
    lake.ingest("landsat", [uri])
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    red = key.rpartition("/")[0] + "/" + scene.file("red").name
    s3.put(bucket, red, scene.file("nir08"))
    with pytest.raises(BadSource, match="not the one that was indexed") as raised:
        lake.sql(QUERY).rows()
    assert raised.value.where == f"s3://{bucket}/{red}"
    assert "ingest" in raised.value.hint


@pytest.mark.parametrize("mtl", REAL, ids=lambda path: path.parent.name)
def test_the_bucket_of_the_usgs_is_asked_with_requester_pays(
    s3: S3, mtl: Path, tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.client

    s3.client.create_bucket(Bucket="usgs-landsat")
    prefix = str(mtl.parent.parent).rpartition("/usgs-landsat/")[2]
    uri = uploaded(s3, mtl.parent, prefix, "usgs-landsat")
    payers = []
    call = botocore.client.BaseClient._make_api_call

    def watched(self: object, operation: str, arguments: dict[str, object]) -> object:
        if operation in ("GetObject", "HeadObject") and arguments["Bucket"] == "usgs-landsat":
            payers.append(arguments.get("RequestPayer"))
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", watched)
    lake = lake_of(s3, tmp_path)
    lake.ingest("landsat", [uri])
    result = lake.sql("select max(red), min(y) < 0 from landsat.pixels")
    assert result.rows()[0][1] is True  # a southern scene in a northern zone
    assert set(payers) == {"requester"}
    assert result.report.s3_requests > 0


def test_a_refusal_by_the_bucket_is_access_denied(
    s3: S3, scene: Scene, tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.client
    from botocore.exceptions import ClientError

    lake = lake_of(s3, tmp_path)
    lake.ingest("landsat", [uploaded(s3, scene.folder, "made")])
    call = botocore.client.BaseClient._make_api_call

    def forbidden(self: object, operation: str, arguments: dict[str, str]) -> object:
        if operation == "GetObject" and arguments["Key"].endswith("_SR_B5.TIF"):
            metadata = {"HTTPStatusCode": 403}
            raise ClientError(
                {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": metadata}, operation
            )
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", forbidden)
    with pytest.raises(AccessDenied) as raised:
        lake.sql(QUERY).rows()
    assert raised.value.where.endswith("_SR_B5.TIF")
