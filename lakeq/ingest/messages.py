"""What notifications say: every shape of message to one normal form, `Event`.

Shapes, as INGEST names them in docs/explanation/ingest.md: (a) an SNS envelope around an S3 event,
(b) the S3 event itself, (c) either inside an event of Lambda, (d) a chunk of a radar volume,
(e) a scene, (f) a STAC item, (g) EventBridge, (h) the test event of S3, (i) a confirmation of
SNS, (j) S3 events of any kind and of version 2. Sources: Amazon S3 User Guide, "Event message
structure"; Amazon SNS Developer Guide, "Parsing message formats".

Nothing here reads anything but the message, and a message is untrusted: what it cannot mean is a
`Refusal` with its reason, never an exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

Kind = Literal["created", "removed", "other"]
Shape = Literal["sns", "s3", "chunk", "scene", "stac", "eventbridge", "test", "confirmation"]

Adapter = Callable[[Mapping[str, Any]], Sequence[str]]  # a message -> s3:// URIs, or ValueError

MAX_MESSAGE_BYTES = 1 << 20  # of SQS, since 2025; SNS stops at 256 KiB, an S3 event at 64 KiB
MAX_ENVELOPES = 4  # Lambda, SQS, SNS, EventBridge
MAX_KEY_BYTES = 1024  # of S3
MAX_RECORDS = 1000  # S3 sends one record a message; more than this is no event of S3

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]\Z")
_SEQUENCER = re.compile(r"[0-9A-Fa-f]{1,64}\Z")
_EVENTBRIDGE_KINDS: Mapping[str, Kind] = {
    "Object Created": "created",
    "Object Deleted": "removed",
}
_KINDS: Mapping[str, Kind] = {
    "ObjectCreated": "created",
    "ObjectRemoved": "removed",
    "LifecycleExpiration": "removed",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one object.

    `kind` is `created` (put, copied, uploaded in parts, overwritten), `removed` (deleted, expired,
    hidden by a delete marker) or `other` (restored, tagged, the test event, a confirmation of
    SNS): of those none is read. `name` is the sender's own word for it,
    such as `ObjectCreated:Put`. `key` is decoded as its shape demands. What a message does not say
    is "" or None: a message about a chunk or a scene has no size, etag or sequencer, and a message
    about a scene may have no bucket before its topic's adapter gave it one. `etag` has no quotes.
    `event_time` is UTC, and of the sender's clock. `topic` is the ARN of the SNS topic, "" for raw
    delivery. `message_id` is that of SNS or EventBridge, not of SQS.
    """

    kind: Kind
    bucket: str
    key: str
    version_id: str = ""
    etag: str = ""
    size: int | None = None
    sequencer: str = ""
    event_time: datetime | None = None
    topic: str = ""
    shape: Shape = "s3"
    message_id: str = ""
    name: str = ""

    @property
    def uri(self) -> str:
        """The object as the lake names it in `_source`."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message, or one record of it, that is not taken; trying again cannot help."""

    reason: str
    topic: str = ""
    message_id: str = ""


class Unusable(ValueError):
    """Why a message cannot be meant."""


@dataclass(frozen=True, slots=True)
class _Envelope:
    topic: str = ""
    message_id: str = ""
    time: datetime | None = None
    shape: Shape = "s3"
    adapters: Mapping[str, Adapter] = field(default_factory=dict)


def parse(
    message: str | bytes | Mapping[str, Any], adapters: Mapping[str, Adapter] | None = None
) -> list[Event | Refusal]:
    """Every event of one message, in its order: the body of SQS, or an event as Lambda has it.

    `adapters` read the messages of topics that announce scenes, by ARN; that of "" reads those of
    raw delivery. Never raises; a message without any event (an empty `Records`) gives nothing.
    """
    try:
        told = message if isinstance(message, Mapping) else _json(message)
        return _parsed(told, _Envelope(adapters=adapters or {}), 0)
    except Unusable as error:
        return [Refusal(str(error))]


def _no_constant(name: str) -> None:
    raise Unusable(f"not JSON: {name} is no number of JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def _json(text: str | bytes) -> Mapping[str, Any]:
    """The object that `text` is in JSON."""
    size = len(text)
    if size > MAX_MESSAGE_BYTES:
        raise Unusable(f"{size:,} bytes: a message has at most {MAX_MESSAGE_BYTES:,}")
    try:
        told = _decode(text if isinstance(text, str) else text.decode("utf-8"))
    except Unusable:
        raise
    except UnicodeDecodeError as error:
        raise Unusable(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Unusable(f"not JSON: {error.msg} at character {error.pos}") from error
    except (RecursionError, ValueError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else "a number too long"
        raise Unusable(f"not taken as JSON: {what}") from error
    if not isinstance(told, dict):
        raise Unusable(f"not an object of JSON: {_short(told)}")
    return told


def _parsed(told: Mapping[str, Any], envelope: _Envelope, depth: int) -> list[Event | Refusal]:
    if depth > MAX_ENVELOPES:
        raise Unusable("an envelope in an envelope in an envelope")
    if "Records" in told:
        return _records(told["Records"], envelope, depth)
    if "Message" in told or "TopicArn" in told:
        return _of_sns(told, envelope, depth)
    if "detail-type" in told:
        return [_of_eventbridge(told, envelope)]
    if "S3Bucket" in told:
        return [_of_chunk(told, envelope)]
    if told.get("Event") == "s3:TestEvent":
        return [_told("test", "s3:TestEvent", envelope)]
    return _of_scene(told, envelope)


def _records(records: object, envelope: _Envelope, depth: int) -> list[Event | Refusal]:
    """Those of an S3 event, or those that Lambda has from SNS or SQS."""
    if not isinstance(records, list):
        raise Unusable(f"Records is not a list: {_short(records)}")
    if len(records) > MAX_RECORDS:
        raise Unusable(f"{len(records):,} Records: at most {MAX_RECORDS:,} are taken")
    found: list[Event | Refusal] = []
    for number, record in enumerate(records):
        try:
            found += _record(record, envelope, depth)
        except Unusable as error:
            reason = f"Records[{number}]: {error}"
            found.append(Refusal(reason, envelope.topic, envelope.message_id))
    return found


def _record(record: object, envelope: _Envelope, depth: int) -> Sequence[Event | Refusal]:
    if not isinstance(record, dict):
        raise Unusable(f"not an object: {_short(record)}")
    source = record.get("eventSource", record.get("EventSource"))
    if source == "aws:s3":
        return (_of_s3(record, envelope),)
    if source == "aws:sns":
        return _of_sns(_object(record, "Sns"), envelope, depth + 1)
    if source == "aws:sqs":
        return _parsed(_json(_text(record, "body")), envelope, depth + 1)
    raise Unusable(f"not of S3, SNS or SQS: eventSource {_short(source)}")


def _of_s3(record: Mapping[str, Any], envelope: _Envelope) -> Event:
    """One record of an S3 event, of any version 2.x (2.0 of 2017 to 2.6)."""
    version = record.get("eventVersion")
    if not isinstance(version, str) or not version.startswith("2."):
        raise Unusable(f"eventVersion {_short(version)}: only 2.x is known")
    name = _text(record, "eventName").removeprefix("s3:")
    s3 = _object(record, "s3")
    bucket, told = _object(s3, "bucket"), _object(s3, "object")
    return Event(
        _KINDS.get(name.partition(":")[0], "other"),
        bucket_name(_text(bucket, "name")),
        decoded(_text(told, "key")),
        _optional(told, "versionId"),
        _optional(told, "eTag").strip('"'),
        _size(told.get("size")),
        _sequencer(told.get("sequencer")),
        _time(record.get("eventTime")),
        envelope.topic,
        envelope.shape,
        envelope.message_id,
        name,
    )


def _of_sns(told: Mapping[str, Any], outer: _Envelope, depth: int) -> list[Event | Refusal]:
    topic, message_id = _optional(told, "TopicArn"), _optional(told, "MessageId")
    time = _time(told.get("Timestamp"))
    try:
        return _said(told, _Envelope(topic, message_id, time, "sns", outer.adapters), depth)
    except Unusable as error:
        return [Refusal(str(error), topic, message_id)]


def _said(told: Mapping[str, Any], envelope: _Envelope, depth: int) -> list[Event | Refusal]:
    kind = told.get("Type")
    if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return [_told("confirmation", str(kind), envelope)]
    if kind != "Notification":
        raise Unusable(f"unknown Type of SNS message: {_short(kind)}")
    message = told.get("Message")
    if isinstance(message, str):
        message = _json(message)
    if not isinstance(message, dict):
        raise Unusable(f"Message is neither text nor an object: {_short(message)}")
    return _parsed(message, envelope, depth + 1)


def _of_eventbridge(told: Mapping[str, Any], envelope: _Envelope) -> Event:
    """An event that S3 sent to EventBridge; its key is the key, nothing is encoded."""
    if told.get("source") != "aws.s3":
        raise Unusable(f"not of S3: source {_short(told.get('source'))}")
    name, detail = _text(told, "detail-type"), _object(told, "detail")
    bucket, of = _object(detail, "bucket"), _object(detail, "object")
    more = _optional(detail, "deletion-type")
    return Event(
        _EVENTBRIDGE_KINDS.get(name, "other"),
        bucket_name(_text(bucket, "name")),
        plain_key(_text(of, "key")),
        _optional(of, "version-id"),
        _optional(of, "etag").strip('"'),
        _size(of.get("size")),
        _sequencer(of.get("sequencer")),
        _time(told.get("time")),
        envelope.topic,
        "eventbridge",
        envelope.message_id or _optional(told, "id"),
        f"{name}: {more}" if more else name,
    )


def _of_chunk(told: Mapping[str, Any], envelope: _Envelope) -> Event:
    """A chunk of a radar volume; numbers come as text too, and its key is not encoded.

    `DateTime` is the start of the volume, so the only time of the event is that of SNS.
    """
    return _created(_text(told, "S3Bucket"), _text(told, "Key"), "chunk", envelope)


def _of_scene(told: Mapping[str, Any], envelope: _Envelope) -> list[Event | Refusal]:
    """A message that names a scene in its topic's own way, or is a STAC item."""
    stac = told.get("type") == "Feature" and "assets" in told
    adapter = envelope.adapters.get(envelope.topic)
    if adapter is None:
        names = ", ".join(sorted(map(_short, told))[:5])
        what = "a STAC item" if stac else f"an object with {names or 'nothing'}"
        where = f" for topic {_short(envelope.topic)}" if envelope.topic else ""
        raise Unusable(f"unknown shape: {what}, and no catalog says what it names{where}")
    try:
        uris = adapter(told)
    except ValueError as error:
        raise Unusable(f"the message {error}") from error
    found: list[Event | Refusal] = []
    for uri in uris:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        found.append(_created(bucket, key, "stac" if stac else "scene", envelope))
    return found


def _created(bucket: str, key: str, shape: Shape, envelope: _Envelope) -> Event:
    return Event(
        "created",
        bucket_name(bucket),
        plain_key(key),
        event_time=envelope.time,
        topic=envelope.topic,
        shape=shape,
        message_id=envelope.message_id,
        name=shape,
    )


def _told(shape: Shape, name: str, envelope: _Envelope) -> Event:
    """What is no event of an object: to be acknowledged and counted."""
    return Event(
        "other",
        "",
        "",
        event_time=envelope.time,
        topic=envelope.topic,
        shape=shape,
        message_id=envelope.message_id,
        name=name,
    )


# What a field can be


def decoded(key: str) -> str:
    """The key that a record of S3 means: encoded as in a form, so `+` is a space, in UTF-8."""
    if "%" in key or "+" in key:
        try:
            key = unquote_to_bytes(key.replace("+", " ")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unusable(f"key {_short(key)} does not decode to UTF-8") from error
    return plain_key(key)


def plain_key(key: str) -> str:
    """`key`, if S3 can have such a key."""
    try:
        size = len(key) if key.isascii() else len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Unusable(f"key {_short(key)} is not text that UTF-8 can hold") from error
    if not 0 < size <= MAX_KEY_BYTES:
        raise Unusable(f"a key of {size:,} bytes: S3 has 1 to {MAX_KEY_BYTES:,}")
    return key


def bucket_name(name: str) -> str:
    """`name`, if a bucket can be called so."""
    if not _BUCKET.match(name):
        raise Unusable(f"no name of a bucket: {_short(name)}")
    return name


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = told.get(name)
    if not isinstance(value, dict):
        raise Unusable(f"{name} is not an object: {_short(value)}")
    return value


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise Unusable(f"{name} is not text: {_short(value)}")
    return value


def _optional(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_KEY_BYTES:
        raise Unusable(f"{name} is not a short text: {_short(value)}")
    return value


def _size(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Unusable(f"size is no number of bytes: {_short(value)}")
    return value


def _sequencer(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not _SEQUENCER.match(value):
        raise Unusable(f"sequencer is not hexadecimal: {_short(value)}")
    return value


def _time(value: object) -> datetime | None:
    """The instant in UTC; None for anything that is none, since nothing depends on it."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _short(value: object) -> str:
    """`value` as an error can quote it: one line, printable, at most 60 characters."""
    text = ascii(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
