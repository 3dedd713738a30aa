"""What a notification takes: understanding it, letting it in, checking its signature.

    python benchmarks/ingest.py [--messages DIR] [--count 20000]

DIR has real messages (`*/sns/*.json`); without it made ones of the same shapes are read. Rates
are CPU seconds of one core, the best of five rounds; json.loads alone stands beside them, since
nothing in Python can be faster. Signatures are made by the package cryptography and checked by
lakeq with the certificate in its cache.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakeq.catalog import load
from lakeq.ingest.allow import AllowList
from lakeq.ingest.messages import Event, parse
from lakeq.ingest.sns import Certificates, Verifier, signed_text

ROUNDS = 5
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

    yield f"{'message':52} {'bytes':>6} {'parse/s':>9} {'with judge/s':>12} {'json/s':>9}"
    for name, body in messages.items():
        rates = (
            best(count, lambda body=body: parse(body, allowed.adapters)),  # type: ignore[misc]
            best(count, lambda body=body: whole(body)),  # type: ignore[misc]
            best(count, lambda body=body: json_alone(body)),  # type: ignore[misc]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    given = parser.parse_args()
    messages = real(given.messages) if given.messages else made()
    for line in normalising(messages, given.count):
        print(line)
    for line in signatures(given.count // 4):
        print(line)


if __name__ == "__main__":
    main()
