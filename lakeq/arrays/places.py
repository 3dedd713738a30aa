"""Where the files of a scene may lie: beside its metadata, or where the catalog has objects.

Metadata are written by whoever made them. What they name elsewhere, a file of this machine, a host
or another bucket, is not opened: it would be read with the user's rights and credentials.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lakeq.errors import AccessDenied

if TYPE_CHECKING:
    from lakeq.catalog import Table


def check(uri: str | None, source: str, tables: Collection[Table]) -> str:
    """The `uri` of a file that the object `source` names, or `AccessDenied`.

    It has to lie in the folder of `source` or below, or on S3 and the web in its bucket or host, or
    in the bucket of an object that the catalog's `tables` name.
    """
    if uri and all(character > " " for character in uri):
        home = _home(uri)
        if home is not None and home in {_home(source), *_homes(tables)}:
            return uri
        if uri.startswith("file://") and _is_below(uri, source):
            return uri
    what = f"the metadata name a file that lies elsewhere, which is not opened: {(uri or '')[:200]}"
    hint = "fetch it beside its metadata and ingest these again, or name its bucket in a catalog"
    raise AccessDenied(what, source, hint)


def _homes(tables: Collection[Table]) -> set[str | None]:
    return {_home(pattern) for table in tables for pattern in table.objects} - {None}


def _home(uri: str) -> str | None:
    """Scheme, bucket or host, and port; None for what has none, or more than these."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in ("s3", "https", "http") or not parts.netloc or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.netloc.lower() if parts.scheme != 's3' else parts.netloc}"


def _is_below(uri: str, source: str) -> bool:
    """Whether a file lies in the folder of another; links are the user's own and not followed."""
    one, other = (urlsplit(text) for text in (uri, source))
    if other.scheme != "file" or one.netloc or other.netloc:
        return False
    path, folder = unquote(one.path), unquote(other.path).rpartition("/")[0] + "/"
    return "\0" not in path and ".." not in path.split("/") and path.startswith(folder)
