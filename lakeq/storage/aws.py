"""Clients of AWS services other than S3, as the settings reach AWS, and what their errors say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeq import redact

if TYPE_CHECKING:
    from lakeq.config import S3Settings

DEFAULT_REGION = "us-east-1"
EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestExpired",
    }
)
DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)


def client(service: str, s3: S3Settings, region: str = "", endpoint_url: str = "") -> Any:
    """boto3's client of `service`, with the profile of `s3`; raises botocore's own errors."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(profile_name=s3.profile or None)
    redact.remember_session(session)
    return session.client(
        service,
        region_name=region or s3.region or session.region_name or DEFAULT_REGION,
        endpoint_url=endpoint_url or None,
        config=Config(retries={"mode": "standard", "total_max_attempts": 5}),
    )


def code_of(error: BaseException) -> str:
    """AWS's code of an error, "" where it has none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return ""


def refuses_credentials(error: BaseException) -> bool:
    """Whether there were no credentials, or AWS takes them no more."""
    return code_of(error) in EXPIRED or type(error).__name__ in _NO_CREDENTIALS
