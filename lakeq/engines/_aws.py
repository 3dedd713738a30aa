"""The AWS credentials that settings ask for, to be handed to an engine outside of this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from lakeq import redact
from lakeq.errors import AccessDenied

if TYPE_CHECKING:
    from lakeq.config import S3Settings


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
