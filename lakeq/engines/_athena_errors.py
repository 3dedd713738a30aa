"""What went wrong on Athena, in lakeq's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakeq import redact
from lakeq.errors import (
    AccessDenied,
    LakeqError,
    LimitPassed,
    NotFound,
    QueryFailed,
    StorageUnavailable,
)
from lakeq.storage import aws

THROTTLED = frozenset(
    {"TooManyRequestsException", "ThrottlingException", "InternalServerException", "SlowDown"}
)
REGISTER = "publish the lake: lakeq publish s3://BUCKET/PREFIX; docs/how-to/athena.md"


def named(error: Exception, workgroup: str) -> LakeqError:
    """The error of lakeq for one of AWS's."""
    if isinstance(error, LakeqError):
        return error
    code, text = aws.code_of(error), redact.redacted(str(error))
    where = f"Athena, workgroup {workgroup or 'primary'}"
    if aws.refuses_credentials(error):
        hint = "log in again, or name another --profile; see: lakeq athena doctor"
        return AccessDenied(f"the AWS credentials are not taken: {text}", where, hint)
    if code in aws.DENIED:
        return AccessDenied(text, where, "lakeq athena doctor says which policy line is missing")
    if "WorkGroup" in text and ("not found" in text or "is not" in text):
        hint = "name another: athena.workgroup; see: lakeq athena doctor"
        return NotFound(f"there is no such workgroup: {text}", where, hint)
    if code in THROTTLED:
        return StorageUnavailable(f"Athena is throttled: {text}", where, "try again later")
    if type(error).__name__ in ("EndpointConnectionError", "ConnectTimeoutError"):
        return StorageUnavailable(text, where, "is the region right? athena.region")
    return QueryFailed(text, where, "see: lakeq athena doctor" if code else "")


def failed(execution: Mapping[str, Any], cut_off: int) -> LakeqError:
    """The error for a query that Athena ended."""
    status = execution["Status"]
    where = f"Athena, query {execution.get('QueryExecutionId', '')}"
    text = redact.redacted(str(status.get("StateChangeReason", "no reason is given")))
    if "scanned limit" in text.lower() or "bytes scanned" in text.lower():
        hint = f"the workgroup's cut-off is {cut_off:,} bytes: ask for less"
        return LimitPassed(text, where, hint)
    if status["State"] == "CANCELLED":
        hint = "somebody else stopped it: it is billed for what it had read; run it again"
        return QueryFailed(f"the query was cancelled: {text}", where, hint)
    if "Access Denied" in text or "AccessDenied" in text:
        hint = "may Athena read the lake's bucket and write the results'? lakeq athena doctor"
        return AccessDenied(text, where, hint)
    if "does not exist" in text:
        return NotFound(text, where, f"{REGISTER}; see: lakeq athena doctor")
    return QueryFailed(text, where)
