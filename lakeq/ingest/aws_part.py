"""The function that AWS Lambda calls for one unit of `lakeq ingest --executor lambda:FUNCTION`.

It reads one object on S3 and writes its files below the warehouse that `LAKEQ_WAREHOUSE` names, and
nowhere else; it commits nothing. How S3 is reached is said by its own settings, such as
`LAKEQ_S3_REQUESTER_PAYS`, not by the caller.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakeq.convert.run_part import work
from lakeq.convert.unit import Unit, decode, encoded_error
from lakeq.errors import AccessDenied, LakeqError, UsageError
from lakeq.ingest.aws_lambda import SHARE_OF_MEMORY, Context

if TYPE_CHECKING:
    from lakeq.lake.io import WarehouseIO

MAX_ANSWER_BYTES = 5_500_000  # AWS Lambda quotas: 6 MB


def handler(event: Mapping[str, Any], context: Context) -> dict[str, str]:
    """What Lambda calls: the answer to the unit in `event`, or where a large one was left.

    An error of lakeq's own is an answer; any other fails the call, and it is tried again.
    """
    from lakeq import config
    from lakeq.lake.io import WarehouseIO

    settings = config.load(environ=os.environ)
    files = WarehouseIO(settings.s3)
    warehouse = settings.warehouse.rstrip("/") + "/"
    host = socket.gethostname()
    try:
        if not warehouse.startswith("s3://"):
            hint = "set it to the lake's own: s3://bucket/prefix"
            raise UsageError("LAKEQ_WAREHOUSE is not on S3", "the function's environment", hint)
        unit = decode(_text(event, files, warehouse))
        _check(unit, warehouse, int(context.memory_limit_in_mb) * (1 << 20) // SHARE_OF_MEMORY)
        answer = work(unit, host, settings.s3).encoded()
    except LakeqError as error:
        return {"answer": encoded_error(error, host)}
    if len(json.dumps(answer)) <= MAX_ANSWER_BYTES:
        return {"answer": answer}
    target = next(iter(unit.targets.values()))
    path = f"{target.location}/data/{unit.folder}/answer.json"
    files.write(path, answer.encode())
    return {"answer_at": path}


def _text(event: Mapping[str, Any], files: WarehouseIO, warehouse: str) -> str:
    """The unit's text, from the event or from where it was left."""
    text, place = event.get("unit"), event.get("unit_at")
    if isinstance(text, str):
        return text
    if not isinstance(place, str):
        raise UsageError("the event holds no unit", "the event of the call", "see --executor")
    if not place.startswith(warehouse):
        raise AccessDenied("the unit lies outside of the function's warehouse", place)
    return files.read(place).decode("utf-8", "replace")


def _check(unit: Unit, warehouse: str, largest: int) -> None:
    """Refuse a unit that would write elsewhere, read elsewhere, or not fit."""
    for target in unit.targets.values():
        if not target.location.startswith(warehouse):
            what = f"this function writes below {warehouse} only"
            hint = "LAKEQ_WAREHOUSE is to be that of the lake"
            raise AccessDenied(what, target.location, hint)
    source = unit.source
    if not source.uri.startswith("s3://"):
        raise UsageError("this function reads objects on S3 only", source.uri)
    if source.size_bytes > largest:
        what = f"the object has {source.size_bytes:,} bytes, and this function takes {largest:,}"
        hint = "give the function more memory, or ingest it without --executor"
        raise UsageError(what, source.uri, hint)
