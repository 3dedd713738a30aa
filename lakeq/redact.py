"""Secrets kept out of logs: those that lakeq was given, and what looks like AWS's.

botocore at level DEBUG writes the access key's id and the session token, whatever handler listens.
A filter sees only its own logger's records, so records are changed where they are made, in every
logger of the process, from the moment that lakeq first has credentials.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

MASK = "***"
_SHORTEST = 8  # characters; a shorter text would blot out words
_SHAPES = (
    (re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"), MASK),
    (re.compile(r"(?i)(x-amz-security-token['\"]?\s*[:=]\s*b?['\"]?)[^'\"\s,&}]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)((?:x-amz-)?signature=)[0-9a-f]{16,}"), rf"\1{MASK}"),
)
_known: set[str] = set()
_lock = threading.Lock()
_installed = False


def remember(*secrets: str) -> None:
    """Keep `secrets` out of every log record from now on."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)
    _install()


def remember_session(session: Any) -> None:
    """Keep the credentials of a boto3 or botocore session out of every log record."""
    found = session.get_credentials()
    if found is not None:
        keys = found.get_frozen_credentials()
        remember(keys.access_key, keys.secret_key, keys.token or "")


def redacted(text: str) -> str:
    """`text` without known secrets and without what looks like one."""
    for secret in tuple(_known):
        if secret in text:
            text = text.replace(secret, MASK)
    for shape, mask in _SHAPES:
        text = shape.sub(mask, text)
    return text


def bare(error: BaseException) -> BaseException:
    """`error` and its causes without the frames of the libraries that raised them.

    botocore's frames hold signed requests; a traceback that shows variables would print them.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        found = todo.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            todo += [found.__cause__, found.__context__]
    return error


def _install() -> None:
    global _installed  # noqa: PLW0603  # one process has one way of making records
    with _lock:
        if _installed:
            return
        _installed = True
        make = logging.getLogRecordFactory()

        def without_secrets(*args: Any, **kwargs: Any) -> logging.LogRecord:
            return _cleaned(make(*args, **kwargs))

        logging.setLogRecordFactory(without_secrets)


def _cleaned(record: logging.LogRecord) -> logging.LogRecord:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):  # logging tells of it itself
        return record
    clean = redacted(text)
    if clean != text:
        record.msg, record.args = clean, ()
    if record.exc_info:
        text = logging.Formatter().formatException(record.exc_info)
        clean = redacted(text)
        if clean != text:
            record.exc_text = clean
    return record
