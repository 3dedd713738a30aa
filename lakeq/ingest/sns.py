"""Whether SNS itself signed a message that came over HTTPS, and the confirmation of subscriptions.

Source: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages": RSA over
named fields of the message, SHA-1 in SignatureVersion 1 and SHA-256 in 2, with a certificate that
lies at an address of SNS. Everything that needs no certificate is checked before one is fetched,
and no address is ever followed that the message brought, but for that of the certificate.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from lakeq.errors import LakeqError, StorageUnavailable, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate

REPLAY_S = 3600.0  # SNS retries a delivery for up to an hour
AHEAD_S = 900.0  # a clock of ours that is 10 minutes slow must not lose messages
MAX_PEM_BYTES = 64 << 10
FETCH_TIMEOUT_S = 5.0
FETCHES_AN_HOUR = 30  # SNS changes its certificate some times a year; more is somebody's game
KEPT_CERTIFICATES = 32
FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
FIELDS["UnsubscribeConfirmation"] = FIELDS["SubscriptionConfirmation"]

_CERTIFICATE_URL = re.compile(
    r"https://sns\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?P<china>\.cn)?"
    r"/SimpleNotificationService-[0-9a-f]{32}\.pem",
    re.ASCII,
)
_TOPIC = re.compile(r"arn:(?P<partition>aws[a-z-]*):sns:(?P<region>[a-z0-9-]+):\d{12}:[\w-]{1,256}")


class Forged(LakeqError):
    """A message that SNS did not sign, or not for us, or not now."""


Fetch = Callable[[str], bytes]


@dataclass
class Certificates:
    """The certificates of SNS by address; each is fetched once."""

    fetch: Fetch | None = None  # None: over HTTPS
    clock: Callable[[], float] = time.time
    _known: OrderedDict[str, Certificate] = field(default_factory=OrderedDict)
    _fetched: deque[float] = field(default_factory=lambda: deque(maxlen=FETCHES_AN_HOUR))
    _lock: Lock = field(default_factory=Lock)

    def key(self, url: str) -> RSAPublicKey:
        """The key in the certificate at `url`, which must be one of SNS; `Forged` when unusable."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

        with self._lock:
            certificate = self._known.get(url) or self._fetch(url)
            now = datetime.fromtimestamp(self.clock(), UTC)
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                self._known.pop(url, None)
                raise Forged("the certificate is not valid now", url)
            self._known[url] = certificate
            while len(self._known) > KEPT_CERTIFICATES:
                self._known.popitem(last=False)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
            raise Forged("the certificate has no RSA key of 2048 bits or more", url)
        return key

    def _fetch(self, url: str) -> Certificate:
        from cryptography.x509 import load_pem_x509_certificate

        now = self.clock()
        full = len(self._fetched) == FETCHES_AN_HOUR
        if full and now - self._fetched[0] < 3600:
            hint = "SNS sends the message again"
            raise StorageUnavailable("too many certificates were asked for", url, hint)
        self._fetched.append(now)
        try:
            return load_pem_x509_certificate((self.fetch or fetched)(url))
        except ValueError as error:
            raise Forged("no certificate is there", url) from error


def fetched(url: str) -> bytes:
    """What lies at `url`: no redirect is followed, and at most 64 KiB are taken."""
    from http.client import HTTPException, HTTPSConnection

    host, _, path = url.removeprefix("https://").partition("/")
    connection = HTTPSConnection(host, timeout=FETCH_TIMEOUT_S)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        body = answer.read(MAX_PEM_BYTES + 1)
    except (OSError, HTTPException) as error:
        what = f"the certificate of SNS cannot be fetched: {error}"
        raise StorageUnavailable(what, url, "SNS sends the message again") from error
    finally:
        connection.close()
    if answer.status != 200 or len(body) > MAX_PEM_BYTES:
        raise Forged(f"no certificate is there: {answer.status}, {len(body):,} bytes", url)
    return body


@dataclass
class Verifier:
    """Tells the messages of SNS for `topics` from all others.

    With `lowest_version` 2 those signed over SHA-1 are refused; a topic signs by its attribute
    `SignatureVersion`, and public topics mostly by 1.
    """

    topics: Collection[str]
    certificates: Certificates = field(default_factory=Certificates)
    lowest_version: int = 1
    clock: Callable[[], float] = time.time

    def check(self, message: Mapping[str, Any]) -> None:
        """Nothing for a message that SNS signed within the last hour for one of the topics.

        Raises `Forged` for any other one, and `StorageUnavailable` when a certificate that is
        needed cannot be had.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        signed = signed_text(message)
        self._check_topic(message)
        self._check_time(message)
        version = self._version(message)
        url = self._certificate_url(message)
        signature = _signature(message)
        # SHA-1 is what version 1 is; nobody chooses it here
        algorithm = hashes.SHA256() if version == 2 else hashes.SHA1()  # noqa: S303
        try:
            self.certificates.key(url).verify(signature, signed, PKCS1v15(), algorithm)
        except InvalidSignature as error:
            raise Forged("the signature is not that of the message", url) from error

    def _check_topic(self, message: Mapping[str, Any]) -> None:
        topic = message["TopicArn"]
        if topic not in self.topics:
            raise Forged(f"topic {_short(topic)} is not expected here")

    def _check_time(self, message: Mapping[str, Any]) -> None:
        told = message["Timestamp"]
        try:
            sent = datetime.fromisoformat(told)
        except ValueError as error:
            raise Forged(f"Timestamp {_short(told)} is no time") from error
        age = self.clock() - sent.replace(tzinfo=sent.tzinfo or UTC).timestamp()
        if not -AHEAD_S <= age <= REPLAY_S:
            raise Forged(f"sent at {_short(told)}, which is more than an hour ago or ahead")

    def _version(self, message: Mapping[str, Any]) -> int:
        version = {"1": 1, "2": 2}.get(str(message.get("SignatureVersion")), 0)
        if version < self.lowest_version or not version:
            told = _short(message.get("SignatureVersion"))
            raise Forged(f"SignatureVersion {told}, where {self.lowest_version} is the lowest")
        return version

    def _certificate_url(self, message: Mapping[str, Any]) -> str:
        """The address of the certificate, if it is one of SNS in the topic's own region."""
        url = message.get("SigningCertURL", message.get("SigningCertUrl"))
        found = _CERTIFICATE_URL.fullmatch(url) if isinstance(url, str) else None
        topic = _TOPIC.fullmatch(message["TopicArn"])
        if found is None or topic is None:
            raise Forged(f"SigningCertURL {_short(url)} is no address of SNS")
        china = topic["partition"] == "aws-cn"
        if found["region"] != topic["region"] or bool(found["china"]) != china:
            raise Forged(f"SigningCertURL {_short(url)} is not of the topic's region")
        return str(url)


def signed_text(message: Mapping[str, Any]) -> bytes:
    """The text that the signature of `message` is over; `Forged` where it lacks a field."""
    kind = message.get("Type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise Forged(f"no message of SNS: Type {_short(kind)}")
    parts: list[str] = []
    for name in FIELDS[kind]:
        value = message.get(name)
        if value is None and name == "Subject":
            continue  # only messages that have one sign it
        if not isinstance(value, str):
            raise Forged(f"no message of SNS: {name} is not text")
        parts += (name, value)
    try:
        return "".join(f"{part}\n" for part in parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Forged("no message of SNS: text that UTF-8 cannot hold") from error


def _signature(message: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(message.get("Signature") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Forged("Signature is not base64") from error


def confirm(message: Mapping[str, Any], topics: Collection[str], client: Any = None) -> str:
    """Confirm the subscription that `message`, checked before, asks about; returns its ARN.

    SNS is asked by its API with the message's token: the SubscribeURL is not followed. Raises
    `Forged` for a topic that is not one of `topics`.
    """
    topic, token = message.get("TopicArn"), message.get("Token")
    parts = _TOPIC.fullmatch(topic) if isinstance(topic, str) else None
    if parts is None or topic not in topics or not isinstance(token, str):
        raise Forged(f"topic {_short(topic)} is not expected here")
    client = client or _anonymous_client(parts["region"])
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.confirm_subscription(TopicArn=topic, Token=token)
    except (ClientError, BotoCoreError) as error:
        hint = "SNS sends the confirmation again; or subscribe anew"
        raise StorageUnavailable(f"SNS does not confirm: {error}", str(topic), hint) from error
    return str(answer["SubscriptionArn"])


def _anonymous_client(region: str) -> Any:
    """A client of SNS that signs nothing: the token is all that a confirmation needs."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(signature_version=UNSIGNED, connect_timeout=5, read_timeout=10)
    return boto3.session.Session().client("sns", region_name=region, config=config)


def need_cryptography() -> None:
    """Raise `UsageError` where the extra that checks signatures is not installed."""
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise UsageError("signatures of SNS are checked by the package cryptography",
                         "SNS over HTTPS", "pip install 'lakeq[ingest]'")  # fmt: skip


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."
