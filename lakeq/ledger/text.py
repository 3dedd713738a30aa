"""Text that may stand in the ledger: no secret, and little of what the guard did not let pass.

The text of a query that ran is kept whole, for `lakeq rerun`. Text that the guard refused may be
anything, a CREATE SECRET too: of a statement that is no query its first two words are kept, of a
query all but its strings. Errors lose what they quote. Keys of the environment, AWS access key ids
and signatures in URLs become `***` wherever they stand.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal

from lakeq.errors import LakeqError

MAX_ERROR = 500  # characters
HIDDEN = "***"
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SHORTEST = 8  # a "key" of fewer characters would hide words of the query
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_SIGNED = re.compile(
    r"(?i)\b(x-amz-(?:signature|credential|security-token)|signature|awsaccesskeyid"
    r"|s3_(?:access_key_id|secret_access_key|session_token))=[^&\s'\"]+"
)
_USERINFO = re.compile(r"(?<=://)[^/\s'\"@]*:[^/\s'\"@]*@")
_STRING = re.compile(r"'(?:[^']|'')*'?|\$(\w*)\$.*?(?:\$\1\$|\Z)|\"(?:[^\"]|\"\")*\"?", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_QUERIES = ("select", "with", "from", "values", "explain", "describe", "summarize", "show", "table")
_TAGGED: Mapping[str, Callable[[str], object]] = {
    "$decimal": Decimal,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$bytes": bytes.fromhex,
}


def without_secrets(text: str) -> str:
    """`text` with keys, tokens, signatures and passwords of URLs hidden."""
    for name in _VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = _SIGNED.sub(rf"\1={HIDDEN}", _KEY_ID.sub(HIDDEN, text))
    return _USERINFO.sub(f"{HIDDEN}@", text)


def abridged(sql: str) -> str:
    """What may be kept of SQL that the guard did not let pass."""
    plain = " ".join(_STRING.sub("'…'", _COMMENT.sub(" ", sql)).split())
    words = plain.split(" ")
    if words[0].lstrip("(").lower() in _QUERIES and ";" not in plain.rstrip("; "):
        return plain
    return " ".join(words[:2]) + (" …" if len(words) > 2 else "")


def error_text(error: BaseException | None) -> str | None:
    """The class and the first line of an error, without the values that it quotes."""
    if error is None:
        return None
    what = error.what if isinstance(error, LakeqError) else str(error)
    first = without_secrets(_STRING.sub("'…'", what)).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:MAX_ERROR]


def encoded(parameters: Mapping[str, object]) -> str:
    """Parameters as JSON; values that JSON lacks as an object with one `$type`."""
    text = json.dumps(dict(parameters), default=_tagged, ensure_ascii=False, separators=(",", ":"))
    return without_secrets(text)


def decoded(text: str | None) -> dict[str, object]:
    """The parameters that `encoded` wrote; `ValueError` for one that it could not keep."""
    found: dict[str, object] = json.loads(text or "{}", object_hook=_untagged)
    return found


def _tagged(value: object) -> object:
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime | date | time):
        return {f"${type(value).__name__.lower()}": value.isoformat()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    return {"$lost": type(value).__name__}


def _untagged(value: dict[str, object]) -> object:
    if len(value) != 1:
        return value
    tag, text = next(iter(value.items()))
    if tag == "$lost":
        raise ValueError(f"a value of type {text} was not kept")
    return _TAGGED[tag](str(text)) if tag in _TAGGED else value
