"""Objects on web servers: read pinned, never from the user's own network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
from tests.support.web import DATA, Script, answer, as_usual, cut_after, serve


def storage(**s3: Any) -> Storage:
    return Storage(Settings(lake=Path("unused"), s3=S3Settings(**s3)))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "_FIRST_WAIT_S", 0.001)


@pytest.fixture
def web() -> Iterator[Script]:
    with serve() as script:
        yield script


def test_an_object_on_a_web_server_is_read_whole_and_in_parts(web: Script) -> None:
    web.objects["/clinvar.vcf.gz"] = DATA
    source = storage(endpoint_url=web.url).source(f"{web.url}/clinvar.vcf.gz")
    assert (source.size_bytes, source.version) == (len(DATA), '"1"')
    assert source.open().read() == DATA
    assert source.read_range(100, 7) == DATA[100:107]
    assert source.read_range(100, 0) == b""


def test_a_broken_web_stream_goes_on_where_it_broke(web: Script) -> None:
    web.objects["/a"] = DATA
    source = storage(endpoint_url=web.url).source(f"{web.url}/a")
    web.answers = [cut_after(1000), as_usual]
    assert source.open().read() == DATA
    assert web.requests[-1][2]["Range"] == "bytes=1000-255999"
    assert web.requests[-1][2]["If-Match"] == '"1"'


@pytest.mark.parametrize("know_if_match", [True, False])
def test_a_web_object_that_changes_is_bad(web: Script, know_if_match: bool) -> None:
    web.objects["/a"] = DATA
    web.know_if_match = know_if_match
    source = storage(endpoint_url=web.url).source(f"{web.url}/a")
    web.etags["/a"] = '"2"'
    for read in (source.open().read, partial(source.read_range, 0, 5)):
        with pytest.raises(BadSource, match="changed"):
            read()


def test_a_server_without_ranges_cannot_be_read_in_parts(web: Script) -> None:
    web.objects["/a"] = DATA
    web.know_ranges = False
    source = storage(endpoint_url=web.url).source(f"{web.url}/a")
    assert source.open().read() == DATA
    with pytest.raises(BadSource, match="parts"):
        source.read_range(5, 5)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (410, NotFound), (401, AccessDenied), (403, AccessDenied)],
)
def test_answers_of_web_servers_become_errors(
    web: Script, status: int, kind: type[LakeqError]
) -> None:
    web.answers = [answer(status)]
    with pytest.raises(kind, match=str(status)) as caught:
        storage(endpoint_url=web.url).source(f"{web.url}/a?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)


def test_a_busy_web_server_is_asked_again_and_then_unavailable(web: Script) -> None:
    web.objects["/a"] = DATA
    reader = storage(endpoint_url=web.url)
    web.answers = [answer(503), answer(429), as_usual]
    assert reader.source(f"{web.url}/a").size_bytes == len(DATA)
    web.answers = [answer(503)] * 20
    with pytest.raises(StorageUnavailable):
        reader.source(f"{web.url}/a")
    assert len(web.answers) == 15


def test_the_name_of_a_web_object_drops_its_query(web: Script) -> None:
    web.objects["/a"] = DATA
    source = storage(endpoint_url=web.url).source(f"{web.url}/a?token=secret")
    assert source.uri == f"{web.url}/a"
    assert "token=secret" in web.requests[0][1]


def test_a_redirect_to_another_host_is_not_followed(web: Script) -> None:
    web.answers = [answer(302, Location="http://169.254.169.254/latest/meta-data/")]
    with pytest.raises(UsageError, match=r"give http://169\.254\.169\.254"):
        storage(endpoint_url=web.url).source(f"{web.url}/a")
    assert len(web.requests) == 1


def test_a_redirect_within_the_host_is_followed(web: Script) -> None:
    web.objects["/b"] = DATA
    web.answers = [answer(302, Location="/b")]
    assert storage(endpoint_url=web.url).source(f"{web.url}/a").size_bytes == len(DATA)


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1:{port}/a",
        "https://localhost:{port}/a",
        "https://[::1]:{port}/a",
        "https://[::ffff:127.0.0.1]:{port}/a",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/a",
        "https://192.168.1.1/a",
        "https://0.0.0.0:{port}/a",
        "https://2130706433:{port}/a",
        "http://127.0.0.1:{port}/a",
        "http://example.com/a",
    ],
)
def test_private_addresses_and_plain_http_are_refused_without_a_connection(
    web: Script, uri: str
) -> None:
    port = web.url.rpartition(":")[2]
    with pytest.raises(UsageError, match="public|plain http"):
        storage().source(uri.format(port=port))
    assert web.requests == []
