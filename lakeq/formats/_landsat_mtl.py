"""MTL files, the metadata of a Landsat product, in their three forms: as groups of keys and texts.

Sources: Data Format Control Books LSDS-809 (before the collections), LSDS-1656 (Collection 1),
LSDS-1822 and LSDS-1328 (Collection 2). One key occurs in several groups with other values: of an
L2 product those of Level 1 stand in groups LEVEL1_*. So a key means nothing without its group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from xml.parsers import expat

from lakeq.errors import BadSource

Groups = Mapping[str, Mapping[str, str]]

LIMIT_BYTES = 1 << 20  # the longest real one has 24 kB
_ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")
_STATEMENT = re.compile(r"\s*([A-Z0-9_]+)\s*=\s*(.*?)\s*\Z")
_HINT = "fetch the object again, or leave it out"


def parse(data: bytes, uri: str) -> dict[str, dict[str, str]]:
    """The groups of an MTL file in order, each with its keys and the texts of their values.

    Text (ODL), JSON and XML are told apart by how they begin. Raises `BadSource`, which names the
    line, for what is none of them.
    """
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"{":
        return _json(data, uri)
    if re.match(rb"<(?:!doctype )?html", start, re.IGNORECASE):
        what = "an HTML page, not an MTL file: a web server's error page, it seems"
        raise BadSource(what, f"{uri}, line 1", _HINT)
    if start[:1] == b"<":
        return _xml(data, uri)
    return _odl(data, uri)


def _odl(data: bytes, uri: str) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    open_: list[str] = []
    ended = False
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or ended:  # some files of 2021 have no END
            continue
        where = f"{uri}, line {number}"
        if line.strip() == "END":
            ended = True
            continue
        statement = _STATEMENT.match(line)
        if statement is None:
            raise BadSource(f"no statement of an MTL file: {line.strip()[:60]!r}", where, _HINT)
        key, value = statement.groups()
        if key == "GROUP":
            _begin(groups, open_, value, where)
        elif key == "END_GROUP":
            if not open_ or open_.pop() != value:
                raise BadSource(f"END_GROUP = {value} ends no open group", where, _HINT)
        elif len(open_) != 2:
            raise BadSource(f"{key} stands in no group", where, _HINT)
        else:
            groups[open_[-1]].setdefault(key, _plain(value))
    if open_ or not groups:
        what = f"the MTL file is cut short: group {open_[-1]} has no end" if open_ else "no groups"
        raise BadSource(what, uri, _HINT)
    return groups


def _begin(groups: dict[str, dict[str, str]], open_: list[str], name: str, where: str) -> None:
    if not open_ and name not in _ROOTS:
        raise BadSource(f"no MTL file begins with a group {name[:60]}", where, _HINT)
    if len(open_) == 2 or (open_ and name in groups):
        raise BadSource(f"group {name} where none can begin", where, _HINT)
    if open_:
        groups[name] = {}
    open_.append(name)


def _plain(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _json(data: bytes, uri: str) -> dict[str, dict[str, str]]:
    try:
        document = json.loads(data, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise BadSource(f"not JSON: {error}", f"{uri}, line {line}", _HINT) from error
    root = next((document[name] for name in _ROOTS if name in document), None)
    if not isinstance(root, dict):
        raise BadSource(f"JSON without {_ROOTS[0]}: no MTL file", uri, _HINT)
    return {
        group: {key: str(value) for key, value in keys.items() if value is not None}
        for group, keys in root.items()
        if isinstance(keys, dict)
    }


class _Reader:
    """Takes the events of an XML parser; what an MTL file has none of is refused unread.

    Entities are not declared, so none can grow; depth is three.
    """

    def __init__(self, uri: str) -> None:
        self.groups: dict[str, dict[str, str]] = {}
        self._uri = uri
        self._open: list[str] = []
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.StartDoctypeDeclHandler = self._refused
        self._parser.EntityDeclHandler = self._refused

    def read(self, data: bytes) -> None:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            what = f"not XML: {expat.errors.messages[error.code]}"
            raise BadSource(what, f"{self._uri}, line {error.lineno}", _HINT) from error

    def _where(self) -> str:
        return f"{self._uri}, line {self._parser.CurrentLineNumber}"

    def _refused(self, *_: object) -> None:
        raise BadSource("a document type in XML, which no MTL file has", self._where(), _HINT)

    def _start(self, name: str, _attributes: object) -> None:
        if not self._open and name not in _ROOTS:
            raise BadSource(f"XML of {name[:60]}, no MTL file", self._where(), _HINT)
        if len(self._open) == 3 or (len(self._open) == 1 and name in self.groups):
            raise BadSource(f"element {name[:60]} where none can begin", self._where(), _HINT)
        if len(self._open) == 1:
            self.groups[name] = {}
        self._open.append(name)
        self._text.clear()

    def _end(self, name: str) -> None:
        self._open.pop()
        if len(self._open) == 2:
            self.groups[self._open[-1]].setdefault(name, "".join(self._text).strip())


def _xml(data: bytes, uri: str) -> dict[str, dict[str, str]]:
    reader = _Reader(uri)
    reader.read(data)
    return reader.groups
