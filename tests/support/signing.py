"""Messages signed as SNS signs them: by openssl, which knows nothing of lakeq."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:us-east-1:123456789012:volumes"
CERTIFICATE = f"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{'0a' * 16}.pem"
NOW = datetime(2026, 10, 9, 4, 36, 50, tzinfo=UTC)


@dataclass(frozen=True)
class Signer:
    """A key, its certificate, and openssl to sign with."""

    folder: Path
    certificate: bytes

    @classmethod
    def new(cls, folder: Path, valid_until: datetime = NOW + timedelta(days=300)) -> Signer:
        """A signer whose certificate is valid from a day before `NOW`, or before its end."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / "key.pem").write_bytes(pem)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(min(NOW, valid_until) - timedelta(days=1))
            .not_valid_after(valid_until)
            .sign(key, hashes.SHA256())
        )
        return cls(folder, certificate.public_bytes(serialization.Encoding.PEM))

    def message(self, version: str = "2", **changes: Any) -> dict[str, Any]:
        """A notification with `changes`, signed."""
        message = {
            "Type": "Notification",
            "MessageId": "m-1",
            "TopicArn": TOPIC,
            "Message": '{"Records": []}',
            "Timestamp": "2026-10-09T04:36:44.969Z",
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE,
            **changes,
        }
        return message | {"Signature": self.signature(message, version)}

    def signature(self, message: dict[str, Any], version: str) -> str:
        """The fields in the order that the developer guide of SNS lists, through openssl."""
        if message["Type"] == "Notification":
            names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
        else:
            names = [
                "Message",
                "MessageId",
                "SubscribeURL",
                "Timestamp",
                "Token",
                "TopicArn",
                "Type",
            ]
        text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
        digest = "-sha1" if version == "1" else "-sha256"
        command = ["openssl", "dgst", digest, "-sign", str(self.folder / "key.pem")]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
        return base64.b64encode(done.stdout).decode()
