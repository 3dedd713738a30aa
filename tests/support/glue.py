"""moto's Glue and S3 with the checks that they lack, and a lake whose tables they name.

Stock moto ignores the VersionId of UpdateTable and looks for an object before it puts it without
a lock, so commits are lost that AWS refuses. API:
https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lakeq import config
from lakeq.config import Settings
from lakeq.lake import IcebergLake
from tests.support.s3 import S3

_LOCK = threading.RLock()


@contextmanager
def strict_moto() -> Iterator[None]:
    """Glue refuses an update of another version, S3 puts an object that must be new once."""
    from moto.core.exceptions import JsonRESTError
    from moto.glue.models import GlueBackend
    from moto.glue.responses import GlueResponse
    from moto.s3.responses import S3Response

    update, create, put = (
        GlueResponse.update_table,
        GlueBackend.create_table,
        S3Response.put_object,
    )

    def checked_update(self: Any) -> Any:
        with _LOCK:
            name = self.parameters["TableInput"]["Name"]
            table = self.glue_backend.get_table(self.parameters["DatabaseName"], name)
            version = self.parameters.get("VersionId")
            if version is not None and version != table.as_dict()["VersionId"]:
                raise JsonRESTError(
                    "ConcurrentModificationException", f"Table {name} was changed meanwhile"
                )
            return update(self)

    def locked_create(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _LOCK:
            return create(self, *args, **kwargs)

    def locked_put(self: Any) -> Any:
        with _LOCK:
            return put(self)

    # moto has no annotations for what is put in the place of its methods
    GlueResponse.update_table = checked_update  # type: ignore[method-assign]  # patches moto
    GlueBackend.create_table = locked_create  # type: ignore[method-assign]  # patches moto
    S3Response.put_object = locked_put  # type: ignore[method-assign]  # patches moto
    try:
        yield
    finally:
        GlueResponse.update_table = update  # type: ignore[method-assign]  # patches moto
        GlueBackend.create_table = create  # type: ignore[method-assign]  # patches moto
        S3Response.put_object = put  # type: ignore[method-assign]  # patches moto


def options(s3: S3, prefix: str) -> dict[str, str]:
    """What `lakeq.connect` takes to reach Glue and S3 on `s3`; databases begin with `prefix`."""
    return {
        "catalog": "glue",
        "glue_endpoint_url": s3.endpoint_url,
        "glue_prefix": prefix,
        "s3_endpoint_url": s3.endpoint_url,
        "s3_region": "us-east-1",
    }


def variables(s3: S3, prefix: str) -> dict[str, str]:
    """The same in the environment of a process."""
    return {f"LAKEQ_{key.upper()}": value for key, value in options(s3, prefix).items()}


def glue_settings(s3: S3, root: str, prefix: str, folder: Any = None) -> Settings:
    """The settings of the lake at `root`; `folder` stands for another machine's."""
    made = config.load({"lake": root, **options(s3, prefix)})
    return made if folder is None else replace(made, lake=folder)


def glue_lake(s3: S3, root: str, prefix: str, folder: Any = None) -> IcebergLake:
    """The lake at `root`."""
    return IcebergLake(glue_settings(s3, root, prefix, folder))


def client(s3: S3) -> Any:
    """The tests' own client of Glue."""
    import boto3

    return boto3.client(
        "glue",
        endpoint_url=s3.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="tests-own-client",
        aws_secret_access_key="tests-own-secret",
    )


def data_keys(s3: S3, root: str) -> set[str]:
    """The data files that lie below `root`, as s3:// URIs."""
    bucket, _, key = root.removeprefix("s3://").partition("/")
    keys = (k for k in s3.keys(bucket) if k.startswith(f"{key}/") and "/data/" in k)
    return {f"s3://{bucket}/{k}" for k in keys}


def named_data(lake: IcebergLake) -> set[str]:
    """The data files that the lake's current snapshots name."""
    return {f.path for name in lake.tables() for f in lake.snapshot(name).files}
