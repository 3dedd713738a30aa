"""Objects on HTTPS servers, read pinned to an etag or a date.

Only public addresses are connected to, and no redirect is followed to another host: a catalog
or a web server must not be able to point lakeq at the user's own network.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
from dataclasses import dataclass
from email.message import Message
from typing import Any, BinaryIO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from lakeq.errors import (
    AccessDenied,
    BadSource,
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
)

TIMEOUT_S = 60
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError)
_RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class _Pin:
    """One version of one object on a web server."""

    web: Web
    uri: str
    size_bytes: int
    etag: str
    modified: str

    def open(self) -> BinaryIO:
        """A stream that reconnects at the byte where its connection broke."""
        stream = ResumedStream(self.uri, self.size_bytes, self._connect, _BROKEN)
        return cast("BinaryIO", io.BufferedReader(stream, STREAM_BUFFER_BYTES))

    def read_range(self, offset: int, length: int) -> bytes:
        """One GET with a Range; the server must know ranges."""
        if not length:
            return b""
        last: Exception | None = None
        for _ in attempts():
            try:
                with self._connect(offset, length) as body:
                    return exactly(body.read, length, self.uri, offset)
            except _BROKEN as error:
                last = error
        what = f"the connection breaks at byte {offset}"
        raise StorageUnavailable(what, self.uri, "try again later") from last

    def _connect(self, offset: int, length: int | None = None) -> BinaryIO:
        end = self.size_bytes if length is None else offset + length
        headers = {}
        if self.etag and not self.etag.startswith("W/"):
            headers["If-Match"] = self.etag
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-{end - 1}"
        response = self.web.ask("GET", self.uri, headers)
        self._check(response, ranged="Range" in headers)
        return cast("BinaryIO", response)

    def _check(self, response: Any, ranged: bool) -> None:
        etag, modified = _version(response.headers)
        if (etag, modified) != (self.etag, self.modified):
            response.close()
            raise changed(self.uri)
        if ranged and response.status != 206:
            response.close()
            raise BadSource("the server cannot send parts of the object", self.uri, "download it")


class Web:
    """HTTPS servers; `trusted` is the user's own endpoint, which alone may be private or plain."""

    def __init__(self, trusted: str = "") -> None:
        self._trusted = _origin(trusted)
        self._opener = _opener()
        self._private_opener = build_opener(_SameHost)

    def source(self, uri: str) -> SourceObject:
        """The object at `uri` as it is now; its name drops the query, which may hold a secret."""
        response = self.ask("HEAD", uri, {})
        response.close()
        length = response.headers.get("Content-Length")
        if length is None or not length.isdigit():
            raise BadSource("the server does not say how long the object is", uri, "download it")
        etag, modified = _version(response.headers)
        pin = _Pin(self, uri, int(length), etag, modified)
        return SourceObject(_bare(uri), int(length), etag or modified or length, pin)

    def ask(self, method: str, uri: str, headers: dict[str, str]) -> Any:
        """The response to one request, asked again while the server is busy."""
        last: Exception | None = None
        for _ in attempts():
            try:
                return self._once(method, uri, headers)
            except HTTPError as error:
                error.close()
                if error.code not in _RETRIED:
                    raise _answered(error, uri) from error
                last = error
            except (URLError, *_BROKEN) as error:
                if isinstance(cause := getattr(error, "reason", None), _PrivateAddressError):
                    raise UsageError(str(cause), uri, "give a public https:// URL") from error
                last = error
        what = f"the server cannot be reached: {last}"
        raise StorageUnavailable(what, _bare(uri), "check the network, then try again") from last

    def _once(self, method: str, uri: str, headers: dict[str, str]) -> Any:
        trusted = _origin(uri) == self._trusted
        if not trusted and not uri.startswith("https://"):
            raise UsageError("plain http is not read", _bare(uri), "use https://")
        headers = {**headers, "Accept-Encoding": "identity", "User-Agent": "lakeq"}
        request = Request(uri, headers=headers, method=method)  # noqa: S310  # scheme checked above
        opener = self._private_opener if trusted else self._opener
        return opener.open(request, timeout=TIMEOUT_S)


def _version(headers: Message) -> tuple[str, str]:
    return headers.get("ETag", ""), headers.get("Last-Modified", "")


def _origin(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc


def _bare(uri: str) -> str:
    """The URI without its query, which may hold a signature."""
    return uri.partition("?")[0]


def _answered(error: HTTPError, uri: str) -> LakeqError:
    where = _bare(uri)
    words = f"the server answers {error.code} {error.reason}"
    if error.code in (404, 410):
        return NotFound(f"no such object: {words}", where, "check the URL")
    if error.code in (401, 403):
        return AccessDenied(words, where, "lakeq sends no passwords: download the object first")
    if error.code in (412, 416):
        return changed(where)
    if error.code in (301, 302, 303, 307, 308):
        target = _bare(error.headers.get("Location", "another host"))
        return UsageError(f"the object is elsewhere: {target}", where, f"give {target} instead")
    return StorageUnavailable(words, where, "try again later")


class _SameHost(HTTPRedirectHandler):
    """Follows a redirect only to the same host and scheme; another one is the server's answer."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if _origin(newurl) != _origin(req.full_url):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _PrivateAddressError(OSError):
    """A name that leads to an address which is not public."""


def _public_connection(
    address: tuple[str, int], timeout: Any = None, source_address: Any = None
) -> socket.socket:
    """A connection to `address`, whose every address must be public; none is looked up twice."""
    host, port = address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for text in addresses:
        ip = ipaddress.ip_address(text.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not ip.is_global or ip.is_multicast:
            raise _PrivateAddressError(f"{host} leads to {text}, which is not a public address")
    return socket.create_connection((addresses[0], port), timeout, source_address)


class _PublicConnection(http.client.HTTPSConnection):
    """An HTTPS connection to a public address, or through the proxy that the user configured."""

    def connect(self) -> None:
        if not getattr(self, "_tunnel_host", None):
            self._create_connection = _public_connection
        super().connect()


class _PublicHandler(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(cast("Any", _PublicConnection), req)


class _NoPlainHttp(HTTPHandler):
    def http_open(self, req: Request) -> Any:  # the base class's name
        raise URLError("plain http is not read")


def _opener() -> OpenerDirector:
    return build_opener(_PublicHandler, _NoPlainHttp, _SameHost)
