"""Real objects the whole way: put into a bucket, told by SNS to SQS, worked on, asked in SQL."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.ingest.core import Options
from lakeq.ingest.service import service
from lakeq.ingest.worker import Pace
from tests.support import bcftools as judge
from tests.support import radar
from tests.support.aws import Aws, notify
from tests.support.data import real_file

PACE = Pace(jobs=2, wait_s=0, retry_s=0, drain=True)


@dataclass
class Line:
    """A bucket of a catalog on moto, a topic, a queue and a lake."""

    aws: Aws
    lake: Lake
    bucket: str
    topic: str
    url: str

    def put(self, key: str, path: Path) -> None:
        self.aws.s3.client.put_object(
            Bucket=self.bucket, Key=key, Body=path.read_bytes(), ACL="public-read"
        )

    def work(self, dataset: str, **options: Any) -> Counter[str]:
        """Let a worker empty the queue."""
        work = service(self.lake, dataset, Options(**options), topics=[self.topic])
        worker = work.worker(self.url, PACE)
        worker.run()
        work.close()
        return Counter(
            {name: n for name, n in worker.tally.counts.items() if name in ("committed", "skipped")}
        )


@pytest.fixture
def line(
    aws: Aws, tmp_path: Path, request: pytest.FixtureRequest, aws_credentials: None
) -> Iterator[Line]:
    bucket, topic, url = request.param, aws.topic(), aws.queue()
    aws.s3.client.create_bucket(Bucket=bucket)
    aws.subscribe(topic, url)
    notify(aws, bucket, topic)
    lake = lakeq.connect(
        tmp_path / "lake",
        s3_endpoint_url=aws.s3.endpoint_url,
        s3_requester_pays=True if bucket == "usgs-landsat" else None,
    )
    yield Line(aws, lake, bucket, topic, url)
    for key in aws.s3.keys(bucket):
        aws.s3.client.delete_object(Bucket=bucket, Key=key)
    aws.s3.client.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("line", ["unidata-nexrad-level2"], indirect=True)
def test_an_archive_volume_becomes_gates(line: Line) -> None:
    path = real_file("nexrad/volumes/KDMX20250101_225441_V06")
    line.put("2025/01/01/KDMX/KDMX20250101_225441_V06", path)
    line.put("2025/01/01/KDMX/KDMX20250101_225441_V06_MDM", path)
    counts = line.work("nexrad", tables=("volumes", "gates"))
    assert counts == {"committed": 1, "skipped": 2}  # the sidecar and the test event of S3
    file = radar.pyart_file(path)
    rays = sum(map(file.get_nrays, range(file.nscans)))
    found = line.lake.sql("SELECT site, rays, complete IS NOT NULL FROM nexrad.volumes").rows()
    assert found == [("KDMX", rays, True)]
    lowest = file.get_data("REF", 1832, scans=[0], raw_data=False)
    wanted = "SELECT count(dbzh), max(dbzh) FROM nexrad.gates WHERE sweep_number = 0"
    ((gates, strongest),) = line.lake.sql(wanted).rows()
    assert gates == lowest.count() > 10_000
    assert strongest == pytest.approx(float(lowest.max()))


@pytest.mark.parametrize("line", ["1000genomes"], indirect=True)
def test_a_vcf_becomes_variants(line: Line, bcftools: str) -> None:
    path = real_file("genomics/thousand_genomes/phase3.chr1_first100_11samples.vcf.gz")
    name = "ALL.chr1.phase3_shapeit2_mvncall_integrated_v5a.20130502.genotypes.vcf.gz"
    line.put(f"release/20130502/{name}", path)
    line.put(f"release/20130502/{name}.tbi", path)
    counts = line.work("thousand_genomes", panel="", tables=("variants",))
    assert counts == {"committed": 1, "skipped": 2}
    fields = (text.split("\t") for text in judge.lines(path, r"%POS\t%REF\t%ALT\n"))
    told = [(int(pos), ref, alt) for pos, ref, alts in fields for alt in alts.split(",")]
    found = line.lake.sql("SELECT pos, ref, alt FROM thousand_genomes.variants").rows()
    assert sorted(found) == sorted(told)


@pytest.mark.parametrize("line", ["usgs-landsat"], indirect=True)
def test_a_scene_becomes_a_row(line: Line) -> None:
    product = "LC08_L2SR_084024_20160111_20201016_02_T1"
    path = real_file(f"landsat/c2/metadata/{product}_MTL.txt")
    folder = f"collection02/level-2/standard/oli-tirs/2016/084/024/{product}"
    line.put(f"{folder}/{product}_MTL.txt", path)
    line.aws.bodies(line.url)  # this topic has no events of S3: only messages about scenes
    told = {"landsat_product_id": product, "s3_location": f"s3://usgs-landsat/{folder}/"}
    for _ in range(2):
        line.aws.client("sns").publish(TopicArn=line.topic, Message=json.dumps(told))
    assert line.work("landsat", tables=("scenes",))["committed"] == 1
    wanted = "SELECT product_id, cloud_cover FROM landsat.scenes"
    text = path.read_text()
    cloud = float(text.partition("CLOUD_COVER = ")[2].split()[0])
    assert line.lake.sql(wanted).rows() == [(product, pytest.approx(cloud))]
