"""Real objects through the whole chain: put, told by S3 and SNS, received, queryable in SQL."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.catalog import Dataset, Topic
from lakeq.ingest.service import Service
from lakeq.ingest.worker import Pace
from tests.support.aws import Aws, notify
from tests.support.data import real_file
from tests.support.radar import pyart_file

PACE = Pace(jobs=2, wait_s=0, retry_s=0, drain=True)


def moved(dataset: Dataset, old: str, new: str, topic: Topic) -> Dataset:
    """`dataset` with its bucket `old` here under the name `new`, told of by `topic`."""
    tables = {
        name: replace(
            table,
            objects=tuple(uri.replace(f"s3://{old}/", f"s3://{new}/") for uri in table.objects),
            access="signed",
        )
        for name, table in dataset.tables.items()
    }
    keys = {n: text.replace(f"s3://{old}/", f"s3://{new}/") for n, text in dataset.keys.items()}
    return replace(dataset, tables=tables, keys=keys, topics=(topic,))


def bucket_of(dataset: Dataset) -> str:
    """The first bucket of a dataset."""
    uris = (uri for table in dataset.tables.values() for uri in table.objects)
    return next(uri for uri in uris if uri.startswith("s3://")).split("/")[2]


@pytest.fixture
def lake(aws: Aws, tmp_path: Path, aws_credentials: None) -> Lake:
    return lakeq.connect(
        tmp_path / "lake", s3_endpoint_url=aws.s3.endpoint_url, s3_region="us-east-1"
    )


def work(
    lake: Lake, dataset: Dataset, url: str, pace: Pace = PACE, **options: Any
) -> dict[str, int]:
    """Drain the queue; what the worker counted."""
    from lakeq.ingest.core import Options

    service = Service(lake, dataset, Options(**options))
    worker = service.worker(url, pace)
    worker.run()
    service.close()
    return dict(worker.tally.counts)


def test_a_volume_put_into_the_archive_is_gates_in_sql(aws: Aws, lake: Lake) -> None:
    path = real_file("nexrad/trimmed/KCRP20170826_044114.bin")
    bucket, topic, url = aws.s3.bucket(), aws.topic(), aws.queue()
    aws.subscribe(topic, url)
    notify(aws, bucket, topic)
    nexrad = lake.catalog.dataset("nexrad")
    here = moved(nexrad, bucket_of(nexrad), bucket, Topic(topic))
    aws.s3.put(bucket, "2017/08/26/KCRP/KCRP20170826_044114_V06", path)
    assert work(lake, here, url, tables=("volumes", "gates"))["committed"] == 1
    query = "select max(dbzh), count(dbzh) from nexrad.gates where sweep_number = 0"
    [(top, count)] = lake.sql(query).rows()
    data = pyart_file(path).get_data("REF", 1832, scans=[0])
    assert top == pytest.approx(float(data.max()), abs=0.01)
    assert count == data.count()
    aws.s3.put(bucket, "2017/08/26/KCRP/KCRP20170826_044114_V06", path)  # told of again
    assert work(lake, here, url, tables=("volumes", "gates"))["duplicate"] == 1


def test_a_vcf_put_into_a_bucket_is_variants_in_sql(aws: Aws, lake: Lake, made_cohort: Any) -> None:
    bucket, topic, url = aws.s3.bucket(), aws.topic(), aws.queue()
    aws.subscribe(topic, url)
    notify(aws, bucket, topic)
    genomes = lake.catalog.dataset("thousand_genomes")
    here = moved(genomes, bucket_of(genomes), bucket, Topic(topic))
    prefix = "release/20130502"
    aws.s3.put(bucket, f"{prefix}/{made_cohort.panel.name}", made_cohort.panel)
    name = "ALL.chr22.phase3_shapeit2_mvncall_integrated_v5a.20130502.genotypes.vcf.gz"
    aws.s3.put(bucket, f"{prefix}/{name}", made_cohort.vcf)
    counts = work(lake, here, url, panel=str(made_cohort.panel))
    assert counts["committed"] == 1, counts
    reference = lakeq.connect(lake.settings.lake.parent / "reference")
    reference.ingest("thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel)
    query = "select count(*) as n, sum(ac) as ac from thousand_genomes.variants"
    rows = [one.sql(query).rows() for one in (lake, reference)]
    assert rows[0] == rows[1]
    assert rows[0][0][0] > 0


def test_a_landsat_message_is_a_scene_in_sql(aws: Aws, lake: Lake) -> None:
    """A message in the form of the real one of public-c2-notify-v2, about a product at hand."""
    real = real_file("landsat/sns/public-c2-notify-v2_message_landsat-l8-valid.json")
    path = real_file("landsat/c2/metadata/LC08_L2SP_047027_20201204_20210313_02_T1_MTL.txt")
    product = path.name.removesuffix("_MTL.txt")
    landsat, bucket = lake.catalog.dataset("landsat"), aws.s3.bucket()
    topic, url = aws.topic(), aws.queue()
    aws.subscribe(topic, url)
    announced = next(topic.objects for topic in landsat.topics if topic.objects)
    here = moved(landsat, "usgs-landsat", bucket, Topic(topic, announced))
    folder = f"collection02/level-2/standard/oli-tirs/2020/047/027/{product}/"
    aws.s3.put(bucket, f"{folder}{path.name}", path)
    told = json.loads(real.read_text())
    assert told.keys() == {"landsat_product_id", "s3_location"}
    told = {"landsat_product_id": product, "s3_location": f"s3://{bucket}/{folder}"}
    aws.client("sns").publish(TopicArn=topic, Message=json.dumps(told))
    assert work(lake, here, url)["committed"] == 1
    [(name, cloud)] = lake.sql("select product_id, cloud_cover from landsat.scenes").rows()
    text = path.read_text()
    assert name == product
    assert cloud == pytest.approx(float(text.partition("CLOUD_COVER = ")[2].split()[0]))


@pytest.mark.parametrize(
    ("name", "file", "key", "left", "reason"),
    [
        (
            "nexrad",
            "nexrad/trimmed/KCRP20170826_044114.bin",
            "2017/08/26/KCRP/KCRP20170826_044114_V06",
            3000,
            "the object holds no message ({uri})",
        ),
        (
            "clinvar",
            "genomics/clinvar/clinvar_2012-06-16.GRCh37.vcf.gz",
            "pub/clinvar/vcf_GRCh37/clinvar_20120616.vcf.gz",
            100_000,
            "the data ends inside a BGZF block ({uri}, byte 9",
        ),
    ],
)
def test_s08_a_real_object_cut_short_is_dead_with_the_parsers_words(
    aws: Aws, lake: Lake, name: str, file: str, key: str, left: int, reason: str
) -> None:
    """After exactly as many receives as the queue gives it, here three; the lake stays empty."""
    path = real_file(file)
    bucket, topic, dead = aws.s3.bucket(), aws.topic(), aws.queue()
    policy = {"deadLetterTargetArn": aws.queue_arn(dead), "maxReceiveCount": 3}
    url = aws.queue(RedrivePolicy=json.dumps(policy))
    aws.subscribe(topic, url)
    dataset = lake.catalog.dataset(name)
    tables = {
        table: replace(described, objects=(f"s3://{bucket}/**",), access="signed")
        for table, described in dataset.tables.items()
    }
    here = replace(dataset, tables=tables, topics=(Topic(topic),))
    notify(aws, bucket, topic)
    aws.s3.put(bucket, key, path.read_bytes()[:left])
    counts = work(lake, here, url)
    assert (counts["again"], counts["dead letters"]) == (2, 1)
    found = aws.client("sqs").receive_message(QueueUrl=dead, MessageAttributeNames=["All"])
    told = found["Messages"][0]["MessageAttributes"]["reason"]["StringValue"]
    assert told.startswith(reason.format(uri=f"s3://{bucket}/{key}"))
    assert [table for table in lake._iceberg.tables() if lake._iceberg.snapshot(table).files] == []
