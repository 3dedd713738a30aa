"""How DuckDB reaches S3: its extension from the wheel, credentials, one secret a bucket."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from lakeq import redact
from lakeq.engines._duckdb_sql import literal
from lakeq.errors import (
    AccessDenied,
    UsageError,
)

if TYPE_CHECKING:
    from lakeq.config import S3Settings


def bucket_of(path: str) -> str:
    return urlsplit(path).netloc


def httpfs(version: str) -> str:
    """The extension file of the wheel `duckdb-extension-httpfs`, made for this DuckDB."""
    spec = find_spec("duckdb_extension_httpfs")
    origin = spec.origin if spec else None
    name = f"extensions/v{version}/httpfs.duckdb_extension"
    path = Path(origin).parent / name if origin else None
    if path is None or not path.is_file():
        wheel = f"duckdb-extension-httpfs=={version}"
        raise UsageError(f"reading S3 needs {wheel}", "this installation", f"pip install {wheel}")
    return str(path)


class Keys(NamedTuple):
    """What signs requests, all empty for anonymous access; and the region that came with it."""

    access_key: str = ""
    secret_key: str = ""
    token: str = ""
    region: str = ""

    def __repr__(self) -> str:
        return f"Keys({'***' if self.access_key else ''})"  # tracebacks can show variables


def credentials(s3: S3Settings) -> Keys:
    """The credentials that the settings ask for; those of the environment load no AWS library."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if s3.anon:
        return Keys(region=region)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    keys = Keys._make((*(os.environ.get(name, "") for name in names), region))
    if s3.profile or not (keys.access_key and keys.secret_key):
        keys = _resolved(s3)
    redact.remember(*keys[:3])
    return keys


def _resolved(s3: S3Settings) -> Keys:
    """Credentials as the AWS SDK finds them: profile, SSO, instance role, and so on."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session(profile=s3.profile or None)
        region = session.get_config_variable("region") or ""
        found = session.get_credentials()
        keys = found.get_frozen_credentials() if found else None
    except BotoCoreError as error:
        hint = "name another --profile, or log in again"
        what = f"no AWS credentials: {error}"
        raise AccessDenied(what, "the AWS settings", hint) from redact.bare(error)
    if keys is not None:
        return Keys(keys.access_key, keys.secret_key, keys.token or "", region)
    if s3.anon is False:
        hint = "set AWS_PROFILE or --profile, or read without credentials: --anon"
        raise AccessDenied("no AWS credentials found", "the AWS settings", hint)
    return Keys(region=region)


def secret(name: str, bucket: str, s3: S3Settings, keys: Keys) -> str:
    options = {
        "KEY_ID": literal(keys.access_key),
        "SECRET": literal(keys.secret_key),
        "REGION": literal(s3.region or keys.region or "us-east-1"),
        "SCOPE": literal(f"s3://{bucket}"),
    }
    if keys.token:
        options["SESSION_TOKEN"] = literal(keys.token)
    if s3.requester_pays and keys.access_key:
        options["REQUESTER_PAYS"] = "true"
    if s3.endpoint_url:
        endpoint = urlsplit(s3.endpoint_url)
        options["ENDPOINT"] = literal(endpoint.netloc + endpoint.path.rstrip("/"))
        options["URL_STYLE"] = "'path'"
        options["USE_SSL"] = "true" if endpoint.scheme == "https" else "false"
    described = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"CREATE TEMPORARY SECRET {name} (TYPE s3, {described})"
