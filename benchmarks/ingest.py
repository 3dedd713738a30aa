"""What a notification takes: understanding it, letting it in, checking its signature.

    python benchmarks/ingest.py [--messages DIR] [--count 4000] [--chain DIR [--events 50000]]

DIR has real messages (`*/sns/*.json`); without it made ones of the same shapes are read. Rates
are CPU seconds of one core, the best of five rounds; json.loads alone stands beside them, since
nothing in Python can be faster. Signatures are made by the package cryptography and checked by
lakeq with the certificate in its cache.

With `--chain` the whole way is measured, against moto in a process of its own: DIR holds the chunks
of a real radar volume (`KLOT/940`). What an object takes beyond its conversion is the time of the
smallest there is, the first chunk (2 kB), brought in alone under another time each round; a
duplicate is the same event again; from SNS to queryable is a whole volume, put into its bucket,
told by SNS to SQS, worked on by what `lakeq ingest watch` runs, and asked for in SQL as soon as it
is there, sixteen times; then chunks, one by one. The soak sends so many events, one in a hundred of
a new object, ten at a time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from lakeq.catalog import load
from lakeq.ingest.allow import AllowList
from lakeq.ingest.messages import Event, parse
from lakeq.ingest.sns import Certificates, Verifier, signed_text

ROUNDS = 5
VOLUMES = 16
TOPIC = "arn:aws:sns:us-east-1:684042711724:NewNEXRADLevel2Archive"
CERTIFICATE = f"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{'0a' * 16}.pem"


def made() -> dict[str, str]:
    """One message of each shape, as it is sent."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-10-09T04:36:44.969Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAJMJHDL5XKNJIWLOFU"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "7779804F7484568F", "x-amz-id-2": "Z" * 76},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "NewNEXRADLevel2Object",
            "bucket": {
                "name": "unidata-nexrad-level2",
                "ownerIdentity": {"principalId": "A174AJZU80HRKD"},
                "arn": "arn:aws:s3:::unidata-nexrad-level2",
            },
            "object": {
                "key": "2026/10/09/KTLX/KTLX20261009_043037_V06",
                "size": 9055527,
                "eTag": "097940d06c46ebf6d6856d5e381a8ce6",
                "sequencer": "005E66F9BC6F8DFE3E",
            },
        },
    }
    s3 = json.dumps({"Records": [record]})
    chunk = json.dumps(
        {
            "S3Bucket": "unidata-nexrad-level2-chunks",
            "Key": "KTLX/399/20261009-043037-048-I",
            "SiteID": "KTLX",
            "DateTime": "2026-10-09T04:30:37",
            "VolumeID": 399,
            "ChunkID": 48,
            "ChunkType": "I",
            "L2Version": "V06",
        }
    )
    return {"sns": json.dumps(envelope(s3)), "raw": s3, "chunk": json.dumps(envelope(chunk))}


def envelope(message: str) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "27f57c3d-9d2e-5fa3-8f83-2e41a3aa5634",
        "TopicArn": TOPIC,
        "Subject": "Amazon S3 Notification",
        "Message": message,
        "Timestamp": "2026-10-09T04:36:44.969Z",
        "SignatureVersion": "2",
        "Signature": "A" * 344,
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": f"https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&Arn={TOPIC}",
    }


def real(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(folder.glob("*/sns/*.json"))}


def best(count: int, once: Callable[[], object]) -> float:
    """Calls of `once` a CPU second."""
    found = 0.0
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(count):
            once()
        found = max(found, count / (time.process_time() - started))
    return found


def json_alone(body: str) -> None:
    told = json.loads(body)
    if isinstance(told.get("Message"), str):
        json.loads(told["Message"])


def normalising(messages: Mapping[str, str], count: int) -> Iterator[str]:
    catalog = load()
    allowed = AllowList([catalog.dataset("nexrad"), catalog.dataset("landsat")])

    def whole(body: str) -> None:
        for found in parse(body, allowed.adapters):
            if isinstance(found, Event):
                allowed.judge(found)

    yield "messages understood, and judged, a CPU second of one core: aim 20,000"
    yield f"{'message':52} {'bytes':>6} {'parse/s':>9} {'with judge/s':>12} {'json/s':>9}"
    for name, body in messages.items():
        rates = (
            best(count, lambda body=body: parse(body, allowed.adapters)),  # type: ignore[misc]  # mypy knows no type for a default of a lambda
            best(count, lambda body=body: whole(body)),  # type: ignore[misc]  # mypy knows no type for a default of a lambda
            best(count, lambda body=body: json_alone(body)),  # type: ignore[misc]  # mypy knows no type for a default of a lambda
        )
        yield f"{name[:52]:52} {len(body):6,} {rates[0]:9,.0f} {rates[1]:12,.0f} {rates[2]:9,.0f}"


def signatures(count: int) -> Iterator[str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = datetime(2026, 10, 9, 4, 36, 50, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    for version, algorithm in (("1", hashes.SHA1()), ("2", hashes.SHA256())):
        message = envelope("x" * 900) | {"SignatureVersion": version}
        signature = key.sign(signed_text(message), padding.PKCS1v15(), algorithm)
        message["Signature"] = base64.b64encode(signature).decode()
        verifier = Verifier({TOPIC}, Certificates(lambda _: certificate, now.timestamp))
        verifier.clock = now.timestamp
        rate = best(count, lambda: verifier.check(message))  # noqa: B023  # called before the next
        yield f"signatures of version {version} checked: {rate:,.0f} a CPU second"


# The whole way


@contextmanager
def moto() -> Iterator[str]:
    """A server of moto in a process of its own; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", MOTO, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


MOTO = (
    "import logging, sys; logging.disable(); from moto.server import ThreadedMotoServer as S;"
    "S('127.0.0.1', int(sys.argv[1])).start(); import time; time.sleep(1e6)"
)
CHUNK_BUCKET, ARCHIVE_BUCKET = "unidata-nexrad-level2-chunks", "unidata-nexrad-level2"


class Chain:
    """A lake in a folder, and clients of the services."""

    def __init__(self, url: str, folder: Path) -> None:
        import boto3

        import lakeq
        from lakeq.lake import IcebergLake

        own = {"endpoint_url": url, "region_name": "us-east-1",
               "aws_access_key_id": "x", "aws_secret_access_key": "y"}  # fmt: skip
        self.url = url
        self.s3, self.sns, self.sqs = (boto3.client(name, **own) for name in ("s3", "sns", "sqs"))
        self.lake = lakeq.connect(folder / "lake", s3_endpoint_url=url)
        self.there = IcebergLake(self.lake.settings)
        for bucket in (CHUNK_BUCKET, ARCHIVE_BUCKET):
            self.s3.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, body: bytes) -> Event:
        """Store an object that anybody may read."""
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")
        return Event("created", bucket, key)

    def service(self, *tables: str, **more: Any) -> Any:
        """What brings objects into these tables, or all."""
        from lakeq.ingest.core import Options
        from lakeq.ingest.service import service

        return service(self.lake, "nexrad", Options(tables=tables or None), **more)


def objects(chain: Chain, body: bytes, count: int) -> Iterator[Event]:
    """So many first chunks of volumes a second apart."""
    start = datetime(2021, 6, 25, tzinfo=UTC)
    for number in range(count):
        time_ = start + timedelta(seconds=number)
        key = f"KLOT/{number % 1000}/{time_:%Y%m%d-%H%M%S}-001-S"
        yield chain.put(CHUNK_BUCKET, key, body)


def overhead(chain: Chain, body: bytes, rounds: int = 60) -> Iterator[str]:
    ingest = chain.service("volumes").ingester
    first: list[tuple[float, float]] = []
    again: list[tuple[float, float]] = []
    for event in objects(chain, body, rounds):
        for times in (first, again):
            cpu, started = time.process_time(), time.perf_counter()
            (outcome,) = ingest([event])
            times.append((time.perf_counter() - started, time.process_time() - cpu))
        assert outcome.status == "duplicate", outcome
    both = (("an object of 2 kB, alone", first, 300), ("a duplicate, no request", again, 20))
    for name, times, aim_ms in both:
        wall, cpus = (quantiles(column, n=20) for column in zip(*times[5:], strict=True))
        yield (
            f"{name}: {wall[9] * 1e3:,.1f} ms (95 %: {wall[18] * 1e3:,.1f}),"
            f" {cpus[9] * 1e3:,.1f} ms of CPU, {rounds - 5} rounds; aim {aim_ms} ms"
        )


def queryable(chain: Chain, chunks: Sequence[bytes]) -> Iterator[str]:
    """From publishing to rows, with a worker that waits as it always does."""
    topic = chain.sns.create_topic(Name="volumes")["TopicArn"]
    queue = chain.sqs.create_queue(QueueName="volumes")["QueueUrl"]
    arn = chain.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    endpoint = arn["Attributes"]["QueueArn"]
    chain.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    work = chain.service(topics=[topic])
    worker = work.worker(queue)
    thread = threading.Thread(target=worker.run)
    thread.start()
    volume = b"".join(chunks)
    try:
        size, found = f"a volume of {len(volume) / 1e6:.1f} MB, SNS to gates in SQL", []
        for hour in range(VOLUMES):
            key = f"2021/06/25/KLOT/KLOT20210625_{hour:02}5154_V06"
            found.append(_visible(chain, topic, ARCHIVE_BUCKET, key, volume))
        seconds, cpu = found[0]
        yield f"{size}, the first of a process: {seconds:.1f} s, {cpu:.1f} s of CPU"
        wall, cpus = (quantiles(column, n=20) for column in zip(*found[1:], strict=True))
        yield (
            f"{size}: median {wall[9]:.1f} s, 95 % {wall[18]:.1f} s, {cpus[9]:.1f} s of CPU,"
            f" {len(found) - 1} volumes; aim 5 s, 95 % of archive volumes 30 s"
        )
        times = []
        for number, chunk in enumerate(chunks[:20], 1):
            kind = "S" if number == 1 else "I"
            key = f"KLOT/7/20210626-120000-{number:03}-{kind}"
            times.append(_visible(chain, topic, CHUNK_BUCKET, key, chunk)[0])
        cuts = quantiles(times, n=20)
        yield (
            f"{len(times)} chunks one by one, SNS to SQL: median {cuts[9]:.1f} s,"
            f" 95 % {cuts[18]:.1f} s; aim 15 s"
        )
    finally:
        worker.stop()
        thread.join()
        work.close()


def _visible(chain: Chain, topic: str, bucket: str, key: str, body: bytes) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process, from publishing to an answer in SQL."""
    chain.put(bucket, key, body)
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
    }
    uri = f"s3://{bucket}/{key}"
    cpu, started = time.process_time(), time.perf_counter()
    chain.sns.publish(TopicArn=topic, Message=json.dumps({"Records": [record]}))
    while not chain.there.versions("nexrad", [uri]):  # a millisecond, where SQL takes a hundred
        time.sleep(0.02)
    query = f"select count(*) from nexrad.gates where _source like '%{key}'"
    if bucket == CHUNK_BUCKET:  # its row of `volumes` is said to be of the first chunk
        query = "select count(*) from nexrad.volumes where not complete"
    assert int(str(chain.lake.sql(query).rows()[0][0])) > 0, uri
    return time.perf_counter() - started, time.process_time() - cpu


def soak(chain: Chain, body: bytes, events: int) -> Iterator[str]:
    """Memory and time by tenths; `lakeq maintain` runs beside, after each tenth, as from cron."""
    work = chain.service("volumes", keep=timedelta(seconds=10))
    ingest = work.ingester
    known = list(objects(chain, body, events // 100))
    chance = random.Random(32)
    order = sorted(
        (number + chance.uniform(0, 3), number) for number in range(len(known)) for _ in range(100)
    )  # each object's hundred lie among those of its neighbours
    waiting = [known[number] for _, number in order]
    tenth = len(waiting) // 10
    seen: list[tuple[float, int, float]] = []
    yield "events     RSS, MB   open files   ms an event, median and 95 % of calls of ten"
    for start in range(0, tenth * 10, tenth):
        times = []
        for at in range(start, start + tenth, 10):
            started = time.perf_counter()
            outcomes = ingest(waiting[at : at + 10])
            times.append((time.perf_counter() - started) * 100)
            assert all(outcome.settled for outcome in outcomes)
        cuts = quantiles(times, n=20)
        memory, files = _rss(), len(list(Path("/proc/self/fd").iterdir()))
        seen.append((memory, files, cuts[18]))
        _maintain(chain)
        yield f"{start + tenth:7,} {memory:10.1f} {files:12} {cuts[9]:10.2f} {cuts[18]:8.2f}"
    work.close()
    (memory, files, late), (memory_after, files_after, late_after) = seen[2], seen[-1]
    yield (
        f"from the third tenth to the last: {memory_after - memory:+.1f} MB (aim 20),"
        f" {files_after - files:+} open files, 95 % times {late_after / late:.2f} (aim: flat)"
    )


def _maintain(chain: Chain) -> None:
    """Merge the small files, and give up every snapshot but the current one."""
    what = ["maintain", "nexrad", "--expire-older-than", "0m", "--report", "none"]
    where = ["--lake", str(chain.lake.settings.lake)]
    command = [sys.executable, "-m", "lakeq.cli", *what, *where]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _rss() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def whole_way(folder: Path, events: int) -> Iterator[str]:
    chunks = [path.read_bytes() for path in sorted(folder.iterdir())]
    parts: list[Callable[[Chain], Iterator[str]]] = [
        lambda chain: overhead(chain, chunks[0]),
        lambda chain: queryable(chain, chunks),
    ]
    parts += [lambda chain: soak(chain, chunks[0], events)] if events else []
    for part in parts:
        with moto() as url, tempfile.TemporaryDirectory() as place:
            yield from part(Chain(url, Path(place)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=Path)
    parser.add_argument("--count", type=int, default=4_000)
    parser.add_argument("--chain", type=Path, metavar="DIR")
    parser.add_argument("--events", type=int, default=50_000, help="of the soak; 0: none")
    given = parser.parse_args()
    messages = real(given.messages) if given.messages else made()
    for line in normalising(messages, given.count):
        print(line, flush=True)
    for line in signatures(given.count // 4):
        print(line, flush=True)
    if given.chain:
        os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
        for line in whole_way(given.chain, given.events):
            print(line, flush=True)


if __name__ == "__main__":
    main()
