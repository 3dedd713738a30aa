"""What went wrong on Spark, in lakeq's words."""

from __future__ import annotations

import re
from types import TracebackType
from typing import TYPE_CHECKING

from lakeq import redact
from lakeq.errors import AccessDenied, LakeqError, NotFound, QueryFailed, StorageUnavailable

if TYPE_CHECKING:
    from typing import Self

_DENIED = re.compile(
    r"\b(403|Forbidden|AccessDenied|Unauthenticated|ExpiredToken)\b|PERMISSION_DENIED"
)
_MISSING = re.compile(r"\b(NoSuchBucket|NoSuchKey|PATH_NOT_FOUND)\b|not found in store|\b404\b")
_UNREACHABLE = re.compile(
    r"failed to connect|Connection refused|StatusCode\.UNAVAILABLE|DNS resolution|Socket closed"
)
_LOST = re.compile(
    r"Connection refused|h2 protocol error|transport error|[Cc]onnection (reset|closed)"
    r"|[Bb]roken pipe|error reading a body|stream closed|lost worker|heartbeat timeout"
)


class explain:  # noqa: N801  # used as a function: `with explain(where):`
    """A block in which errors of Spark Connect become lakeq's."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, LakeqError) or not isinstance(error, Exception):
            return
        module = type(error).__module__
        if module.startswith(("pyspark", "grpc")):
            raise named(error, self._where) from redact.bare(error)


def named(error: Exception, where: str) -> LakeqError:
    """The error of lakeq that says what `error` says."""
    text = redact.redacted(str(error)).partition("JVM stacktrace:")[0]
    line = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    if type(error).__name__ == "SparkRuntimeException" and _LOST.search(text):
        # Sail tells the innermost cause only, which is the same for a worker and for S3.
        what = f"Spark lost a worker, or its storage, while the query ran: {line}"
        return StorageUnavailable(what, where, "run it again; the cluster's log says which and why")
    if _UNREACHABLE.search(text):
        hint = 'is it running, and the address right? spark.remote = "sc://host:15002"'
        return StorageUnavailable("the Spark server does not answer", where, hint)
    if _DENIED.search(text):
        hint = "which credentials the cluster has: log in again, or --profile"
        return AccessDenied(f"Spark may not read: {line}", where, hint)
    if _MISSING.search(text):
        return NotFound(f"Spark does not find: {line}", where, "lakeq verify")
    return QueryFailed(line, where)
