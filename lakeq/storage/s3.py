"""Objects on S3 and what speaks its language: listed, and read pinned to an etag and version."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lakeq import redact
from lakeq.errors import (
    AccessDenied,
    LakeqError,
    NotFound,
    StorageUnavailable,
    UsageError,
)
from lakeq.storage import (
    STREAM_BUFFER_BYTES,
    ResumedStream,
    SourceObject,
    attempts,
    changed,
    exactly,
    has_glob,
)

if TYPE_CHECKING:
    from lakeq.catalog import Access, Table
    from lakeq.config import S3Settings
    from lakeq.storage.tally import Tally

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
DEFAULT_REGION = "us-east-1"

_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
)
_REGION = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
)
_MISSING = ("NoSuchBucket", "NoSuchKey", "NoSuchVersion", "404")
_CHANGED = ("PreconditionFailed", "412", "InvalidRange", "416")


@dataclass(frozen=True, slots=True)
class _Pin:
    """One version of one object, and how its bucket is reached."""

    client: Any
    uri: str
    access: Access
    size_bytes: int
    etag: str
    arguments: Mapping[str, str]  # Bucket, Key and, where there are any, VersionId, RequestPayer

    def open(self) -> BinaryIO:
        """A stream that reconnects at the byte where its connection broke."""
        stream = ResumedStream(self.uri, self.size_bytes, self._connect, body_errors())
        return cast("BinaryIO", io.BufferedReader(stream, STREAM_BUFFER_BYTES))

    def read_range(self, offset: int, length: int) -> bytes:
        """One GET with a Range; a broken body is fetched again."""
        last: Exception | None = None
        for _ in attempts() if length else ():
            try:
                body = self._connect(offset, length)
                return exactly(body.read, length, self.uri, offset)
            except body_errors() as error:
                last = error
        if not length:
            return b""
        what = f"the connection breaks at byte {offset}"
        raise StorageUnavailable(what, self.uri, "try again later") from last

    def _connect(self, offset: int, length: int | None = None) -> BinaryIO:
        end = self.size_bytes if length is None else offset + length
        arguments = dict(self.arguments, IfMatch=self.etag)
        if offset or length is not None:
            arguments["Range"] = f"bytes={offset}-{end - 1}"
        with_range = partial(self.client.get_object, **arguments)
        response = called(with_range, self.uri, self.access)
        if response["ETag"] != self.etag:  # a server that does not know If-Match
            response["Body"].close()
            raise changed(self.uri)
        return cast("BinaryIO", response["Body"])


class Buckets:
    """S3 as `settings` reach it; each way of access to each region has one client.

    `tally` counts the requests.
    """

    def __init__(self, settings: S3Settings, tally: Tally | None = None) -> None:
        self._settings = settings
        self._tally = tally
        self._clients: dict[tuple[bool, str], Any] = {}

    def source(
        self,
        uri: str,
        tables: Collection[Table] = (),
        version_id: str = "",
        *,
        checked: bool = False,
    ) -> SourceObject:
        """The object at s3://bucket/key as it is now, or one version; raises those of `called`.

        With `checked` its checksum is asked for.
        """
        bucket, key = split_uri(uri)
        if not key:
            raise UsageError("a bucket is not an object", uri, f"name a key: s3://{bucket}/KEY")
        access = self.access(bucket, tables)
        arguments = {"Bucket": bucket, "Key": key, **payer(access)}
        if version_id:
            arguments["VersionId"] = version_id
        client = self.client(access, self._region(bucket, tables))
        more = {"ChecksumMode": "ENABLED"} if checked else {}
        head = called(partial(client.head_object, **arguments, **more), uri, access)
        return _source(client, uri, access, head, arguments)

    def pinned(
        self, uri: str, size_bytes: int, etag: str, tables: Collection[Table] = ()
    ) -> SourceObject:
        """The version of an object that is known to have this size and etag; asks nothing."""
        bucket, key = split_uri(uri)
        access = self.access(bucket, tables)
        arguments = {"Bucket": bucket, "Key": key, **payer(access)}
        head = {"ContentLength": size_bytes, "ETag": f'"{etag}"'}
        return _source(
            self.client(access, self._region(bucket, tables)), uri, access, head, arguments
        )

    def matches(self, pattern: str, tables: Collection[Table] = ()) -> Iterator[SourceObject]:
        """The objects whose keys match the glob, by key; one key without a glob is only asked."""
        bucket, key_pattern = split_uri(pattern)
        if not has_glob(key_pattern):
            yield self.source(pattern, tables)
            return
        accepts = glob_pattern(key_pattern)
        prefix = re.split(r"[*?\[]", key_pattern, maxsplit=1)[0]
        for key in self.keys(bucket, prefix, tables):
            if key == key_pattern or accepts.fullmatch(key):
                yield self.source(f"s3://{bucket}/{key}", tables)

    def keys(self, bucket: str, prefix: str, tables: Collection[Table] = ()) -> Iterator[str]:
        """The keys that begin with `prefix`, in S3's order."""
        return (item["Key"] for item in self._items(bucket, prefix, tables))

    def listed(
        self, prefix: str, tables: Collection[Table] = (), after: str = ""
    ) -> Iterator[SourceObject]:
        """The objects below s3://bucket/prefix as the listing has them, without one more request.

        Markers of folders are left out, and what does not come behind the URI `after`.
        """
        bucket, key_prefix = split_uri(prefix)
        access = self.access(bucket, tables)
        client = self.client(access, self._region(bucket, tables))
        for item in self._items(bucket, key_prefix, tables, split_uri(after)[1] if after else ""):
            key = item["Key"]
            if not key.endswith("/"):
                uri = f"s3://{bucket}/{key}"
                head = {"ContentLength": item["Size"], **item}
                arguments = {"Bucket": bucket, "Key": key, **payer(access)}
                yield _source(client, uri, access, head, arguments)

    def _items(
        self, bucket: str, prefix: str, tables: Collection[Table], after: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        access = self.access(bucket, tables)
        client = self.client(access, self._region(bucket, tables))
        uri = f"s3://{bucket}/{prefix}"
        arguments: dict[str, str] = {"Bucket": bucket, "Prefix": prefix, **payer(access)}
        if after:
            arguments["StartAfter"] = after
        while True:
            page = called(partial(client.list_objects_v2, **arguments), uri, access)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def access(self, bucket: str, tables: Collection[Table] = ()) -> Access:
        """How `bucket` is reached: the user's word, else the catalog's for its own buckets.

        Any other bucket is the user's own: signed when there are credentials.
        """
        settings = self._settings
        if settings.requester_pays:
            return "requester_pays"
        if settings.anon is not None:
            return "anonymous" if settings.anon else "signed"
        owner = _owner(bucket, tables)
        if owner is not None:
            return owner.access
        return "signed" if self._has_credentials else "anonymous"

    @cached_property
    def _has_credentials(self) -> bool:
        return bool(self._session().get_credentials())

    @cached_property
    def _own_region(self) -> str:
        return self._session().region_name or DEFAULT_REGION

    def client(self, access: Access, region: str) -> Any:
        """The boto3 client for one way of access; anonymous ones cannot sign."""
        key = (access == "anonymous", region)
        if key not in self._clients:
            self._clients[key] = self._new_client(*key)
        return self._clients[key]

    def own_client(self, bucket: str) -> tuple[Any, Access]:
        """The client for a bucket of the user's own, such as the warehouse's."""
        access = self.access(bucket)
        return self.client(access, self._region(bucket, ())), access

    def _region(self, bucket: str, tables: Collection[Table]) -> str:
        if self._settings.region:
            return self._settings.region
        owner = _owner(bucket, tables)
        if owner is not None and owner.region:
            return owner.region
        return self._own_region

    def _session(self) -> Any:
        import boto3
        import botocore.session
        from botocore.exceptions import ProfileNotFound

        profile = self._settings.profile
        core = botocore.session.Session()
        core.register_component("data_loader", _loader())
        try:
            session = boto3.session.Session(profile_name=profile or None, botocore_session=core)
            core.get_scoped_config()
        except ProfileNotFound as error:
            hint = "see `aws configure list-profiles`"
            what = f"no AWS profile named {profile!r}"
            raise UsageError(what, "--profile", hint) from redact.bare(error)
        return session

    def _new_client(self, anonymous: bool, region: str) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config

        endpoint = self._settings.endpoint_url or None
        config = Config(
            signature_version=UNSIGNED if anonymous else None,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": 5},
            max_pool_connections=32,
            s3={"addressing_style": "path"} if endpoint else {},
            request_checksum_calculation="when_required",  # not every S3 server knows the others
            response_checksum_validation="when_required",
        )
        session = self._session()
        if not anonymous:
            redact.remember_session(session)
        client = session.client("s3", region_name=region, endpoint_url=endpoint, config=config)
        if self._tally is not None:
            self._tally.watch(client, signed=not anonymous)
        return client


def _source(
    client: Any, uri: str, access: Access, head: Mapping[str, Any], arguments: Mapping[str, str]
) -> SourceObject:
    version = head.get("VersionId")
    if version and version != "null":
        arguments = {**arguments, "VersionId": version}
    size = int(head["ContentLength"])
    pin = _Pin(client, uri, access, size, head["ETag"], arguments)
    told = arguments.get("VersionId", "")
    crc32 = head.get("ChecksumCRC32", "") if head.get("ChecksumType") != "COMPOSITE" else ""
    etag = head["ETag"].strip('"')
    crc32 = "" if "-" in crc32 else crc32  # of the parts, as older uploads have it
    return SourceObject(uri, size, etag, pin, told, head.get("LastModified"), crc32)


@cache
def _loader() -> Any:
    """What botocore knows of S3, read once: 50 ms for each client else."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; the key is taken as it stands, nothing is decoded."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise UsageError(f"no bucket in {uri!r}", hint="write s3://bucket/key")
    return bucket, key


def _owner(bucket: str, tables: Collection[Table]) -> Table | None:
    """The table whose catalog names objects of `bucket`."""
    prefix = f"s3://{bucket}/"
    return next((t for t in tables if any(u.startswith(prefix) for u in t.objects)), None)


def payer(access: Access) -> dict[str, str]:
    """The argument that agrees to pay, where that is needed."""
    return {"RequestPayer": "requester"} if access == "requester_pays" else {}


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stay within one folder, `**` crosses them, `[...]` is a set of characters."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part) or _literal(part) for part in parts), re.DOTALL)


def _literal(part: str) -> str:
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        negated = part[1] == "!"
        inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", part[2 if negated else 1 : -1])
        return f"[{'^' if negated else ''}{inner}]"
    return re.escape(part)


def body_errors() -> tuple[type[Exception], ...]:
    """What a response body raises when its connection fails."""
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    return (
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
        exceptions.ConnectionError,
        HTTPError,
        ConnectionError,
        TimeoutError,
    )


def called(call: Any, uri: str, access: Access) -> Any:
    """The answer of one S3 call, its failures turned into what, where and next.

    `AccessDenied` for 401, 403, missing credentials and a wrong region, `NotFound` for 404,
    `BadSource` for an object that changed, `StorageUnavailable` for what may pass.
    """
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except S3UploadFailedError as error:
        if not isinstance(cause := error.__context__, ClientError):
            raise StorageUnavailable(
                f"the upload failed: {error}", uri, "try again"
            ) from redact.bare(error)
        raise _answered(cause.response, uri, access) from redact.bare(error)
    except ClientError as error:
        raise _answered(error.response, uri, access) from redact.bare(error)
    except BotoCoreError as error:
        raise _unanswered(error, uri) from redact.bare(error)
    except RecursionError as error:  # botocore, of a redirection that names no region
        raise _wrong_region({}, uri) from redact.bare(error)


def lacks_credentials(error: Exception) -> bool:
    """Whether botocore asked nothing because it found no credentials, or none that it can use."""
    from botocore import exceptions

    return isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.ProfileNotFound
        | exceptions.SSOError,
    )


def _unanswered(error: Exception, uri: str) -> LakeqError:
    from botocore import exceptions

    if lacks_credentials(error):
        hint = "log in or name a --profile; a public bucket needs none: --anon"
        return AccessDenied(f"no usable AWS credentials: {error}", uri, hint)
    if isinstance(error, exceptions.ParamValidationError | exceptions.InvalidRegionError):
        return UsageError(f"S3 cannot be asked so: {error}", uri)
    if isinstance(error, ValueError | exceptions.NoRegionError):
        return UsageError(f"S3 cannot be asked so: {error}", uri, "check --region and endpoint_url")
    hint = "check the network and endpoint_url, then try again"
    return StorageUnavailable(f"S3 cannot be reached: {error}", uri, hint)


def _answered(response: Mapping[str, Any], uri: str, access: Access) -> LakeqError:
    code = str(response.get("Error", {}).get("Code", ""))
    words = response.get("Error", {}).get("Message") or code
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CHANGED:
        return changed(uri)
    if code in _MISSING or status == 404:
        what = "no such bucket" if code == "NoSuchBucket" else "no such object"
        return NotFound(f"{what}: {words}", uri, "check the name; names are case-sensitive")
    if code in _REGION or status == 301:
        return _wrong_region(response, uri)
    if code in _CREDENTIALS:
        hint = "the credentials are at fault: log in again or name another --profile"
        return AccessDenied(f"S3 refuses the credentials: {words}", uri, hint)
    if status in (401, 403):
        return _forbidden(words, uri, access)
    if status == 400:  # all that a HEAD tells of an expired token or another region
        hint = "the region or the credentials are at fault: check --region, log in again"
        return AccessDenied(f"S3 does not accept the request: {words}", uri, hint)
    hint = "wait a minute, then try again"
    return StorageUnavailable(f"S3 answers {status or code}: {words}", uri, hint)


def _wrong_region(response: Mapping[str, Any], uri: str) -> AccessDenied:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    error = response.get("Error", {})
    region = headers.get("x-amz-bucket-region") or error.get("Region", "")
    what = f"the bucket is in another region{f', {region}' if region else ''}"
    return AccessDenied(what, uri, f"the region is at fault: --region {region or 'REGION'}")


def _forbidden(words: str, uri: str, access: Access) -> AccessDenied:
    hints = {
        "anonymous": "the object is not public: sign with credentials (--no-anon), "
        "or agree to pay if the owner asks for it (--request-payer)",
        "signed": "the credentials may not read it: name another --profile, agree to pay if "
        "the owner asks for it (--request-payer), or read a public bucket with --anon",
        "requester_pays": "requester pays was sent, so the credentials are at fault: they need "
        "s3:GetObject and s3:ListBucket; name another --profile",
    }
    return AccessDenied(f"S3 forbids the {access} read: {words}", uri, hints[access])
