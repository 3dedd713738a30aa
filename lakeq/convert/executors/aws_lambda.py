"""Workers that are calls of a function on AWS Lambda: `lakeq.ingest.aws_part`.

Lambda takes and gives 6 MB in a call that waits for its answer; what is larger, a unit with the
names of very many samples say, goes by an object in the folder that the unit writes to.
"""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakeq import redact
from lakeq.convert.executors import Workers
from lakeq.errors import AccessDenied, NotFound, StorageUnavailable, UsageError
from lakeq.storage.s3 import DEFAULT_REGION

if TYPE_CHECKING:
    from lakeq.config import S3Settings
    from lakeq.lake.io import WarehouseIO

AT_ONCE = 50  # calls at a time, of the 1,000 that an account has by default
MAX_PAYLOAD_BYTES = 6_000_000  # AWS Lambda quotas: 6 MB each way
ANSWER_S = 910  # Lambda ends a call after 900
PATIENCE_S = 300  # while the account's other calls take all there is
_THROTTLED = (
    "TooManyRequestsException", "EC2ThrottledException", "ServiceException", "ThrottlingException",
    "ResourceNotReadyException",
)  # fmt: skip
_DENIED = (
    "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "ExpiredTokenException",
    "InvalidSignatureException",
)  # fmt: skip


class Lambda(Workers):
    """`at_once` calls of `function` at a time; 0 is the default number."""

    repeat = True  # a call that was lost on its way may have run
    only_s3 = True
    name = "lambda"

    def __init__(self, function: str, s3: S3Settings, at_once: int = 0) -> None:
        self._function = function
        self._s3 = s3
        self._at_once = at_once or AT_ONCE
        self._threads: ThreadPoolExecutor | None = None
        self._ended = False

    def begin(self) -> None:
        """Make ready to call."""
        self._threads = ThreadPoolExecutor(self._at_once, "lakeq-lambda")

    def end(self, *, failed: bool) -> None:
        """Call no more, and wait for the calls that run: they cannot be stopped."""
        assert self._threads is not None
        self._ended = True
        self._threads.shutdown(cancel_futures=True)

    def submit(self, unit: str) -> Future[str]:
        """Call the function with `unit`."""
        assert self._threads is not None
        return self._threads.submit(self._call, unit)

    def _call(self, unit: str) -> str:
        payload = json.dumps({"unit": unit}).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            payload = json.dumps({"unit_at": self._left(unit)}).encode()
        answer = json.loads(self._invoked(payload))
        if isinstance(answer, dict) and "answer_at" in answer:
            return str(self._files.read(answer["answer_at"]), "utf-8")
        if not isinstance(answer, dict) or not isinstance(answer.get("answer"), str):
            what = "the function's answer is none of lakeq's"
            hint = "its handler is lakeq.ingest.aws_part.handler"
            raise UsageError(what, self._function, hint)
        return str(answer["answer"])

    def _left(self, unit: str) -> str:
        """Where the unit is left for the function."""
        told = json.loads(unit)
        location = next(iter(told["targets"].values()))["location"]
        path = f"{location}/data/{told['folder']}/unit.json"
        self._files.write(path, unit.encode())
        return path

    def _invoked(self, payload: bytes) -> bytes:
        """What the function gives back; raises `RuntimeError` when it failed."""
        from botocore.exceptions import BotoCoreError, ClientError

        until = time.monotonic() + PATIENCE_S
        pause = 0.2
        while True:
            try:
                told = self._client.invoke(FunctionName=self._function, Payload=payload)
                data: bytes = told["Payload"].read()
                break
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code not in _THROTTLED or time.monotonic() > until or self._ended:
                    raise self._named(code, error) from redact.bare(error)
                time.sleep(random.uniform(0, pause))
                pause = min(20.0, pause * 2)
            except BotoCoreError as error:
                if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                    hint = "log in: aws sso login, or set AWS_PROFILE"
                    raise AccessDenied("no AWS credentials", self._function, hint) from error
                raise
        if told.get("FunctionError"):
            raise RuntimeError(_failure(data))
        return data

    def _named(self, code: str, error: Exception) -> Exception:
        where = f"function {self._function}"
        if code == "ResourceNotFoundException":
            hint = "make it: lakeq ingest template DATASET --parts"
            return NotFound(f"no function {self._function!r}", where, hint)
        if code in _DENIED:
            hint = "the policy needs lambda:InvokeFunction; are the credentials still good?"
            return AccessDenied(f"may not call the function: {code}", where, hint)
        what = f"AWS Lambda: {redact.redacted(str(error))}"
        return StorageUnavailable(what, where, "try again later, or with fewer calls at a time")

    @cached_property
    def _files(self) -> WarehouseIO:
        from lakeq.lake.io import WarehouseIO

        return WarehouseIO(self._s3)

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import ProfileNotFound

        try:
            session = boto3.session.Session(
                profile_name=self._s3.profile or None, region_name=self._s3.region or None
            )
        except ProfileNotFound as error:
            what = f"no AWS profile named {self._s3.profile!r}"
            raise UsageError(what, "--profile") from redact.bare(error)
        redact.remember_session(session)
        config = Config(
            connect_timeout=10,
            read_timeout=ANSWER_S,
            max_pool_connections=self._at_once,
            retries={"total_max_attempts": 1},  # a call that is tried again would run again
        )
        region = session.region_name or DEFAULT_REGION
        return session.client("lambda", config=config, region_name=region)


def _failure(data: bytes) -> str:
    """Lambda's own words on why the function failed: its time or memory was over, it crashed."""
    try:
        told = json.loads(data)
        return f"{told.get('errorType', '')}: {told.get('errorMessage', '')}".strip(": ")[:500]
    except (ValueError, AttributeError):
        return data[:200].decode("utf-8", "replace")
