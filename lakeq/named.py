"""The queries of sql/: one file each, whose head says what it answers and what it asks for.

    -- How common are pathogenic alleles in each population?
    -- param: gene string = 'BRCA1'  the gene, as ClinVar spells it
    -- param: samples list<string>  names of samples

The first line is the question. A parameter has a type (string, int, float, bool, date, geojson,
list<string>, list<int>), a default unless it must be given, and, after two spaces, its meaning.
A geojson is text, or the path of a file of GeoJSON or GeoParquet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from lakeq.config import data_dir
from lakeq.errors import BadCatalog, UnknownName, UsageError

_PARAMETER = re.compile(
    r"-- param: (?P<name>[a-z_][a-z0-9_]*) (?P<type>[a-z]+(?:<[a-z]+>)?)"
    r"(?: = (?P<default>\S.*?))?(?:  +(?P<doc>.*))?"
)
_NUMBER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a named query; without a `default` it must be given."""

    name: str
    type: str
    doc: str
    default: str | None

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is None

    def value(self, text: str) -> object:
        """The value that `text` of a command line stands for; `UsageError` when it is none."""
        try:
            return _READERS[self.type](text)
        except ValueError as error:
            what = f"{self.name}={text!r} is not of type {self.type}"
            raise UsageError(what, "the parameters", str(error)) from error


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One file of sql/: its name, the question that it answers, its parameters and its text."""

    name: str
    question: str
    parameters: tuple[Parameter, ...]
    sql: str

    def values(self, given: Mapping[str, object]) -> dict[str, object]:
        """A value for every parameter: those given, read when they are text, else the defaults.

        Raises `UnknownName` for a parameter that the query has not, `UsageError` for a value
        that does not fit its type and for one that is missing.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        where = f"the query {self.name}"
        for name in given:
            if name not in known:
                raise UnknownName.among("parameter", name, list(known), where)
        return {name: self._value(p, given.get(name, p.default)) for name, p in known.items()}

    def _value(self, parameter: Parameter, given: object) -> object:
        if given is None:
            what = f"the parameter {parameter.name} must be given: {parameter.doc}"
            hint = f"-p {parameter.name}=VALUE   ({parameter.type})"
            raise UsageError(what, f"the query {self.name}", hint)
        return parameter.value(given) if isinstance(given, str) else given


def _list_of(read: Callable[[str], object]) -> Callable[[str], object]:
    def read_list(text: str) -> list[object]:
        if not text.lstrip().startswith("["):
            return [read(part.strip()) for part in text.split(",") if part.strip()]
        items = json.loads(text)
        return [read(item if isinstance(item, str) else json.dumps(item)) for item in items]

    return read_list


def _string(text: str) -> str:
    return text


def _int(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("write a whole number, such as 42")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError("write a finite number, such as 0.01")
    return value


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


def _date(text: str) -> object:
    from datetime import date

    return date.fromisoformat(text)


def _geojson(text: str) -> str:
    from lakeq import geojson

    return geojson.text(text)


_READERS: Mapping[str, Callable[[str], object]] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "date": _date,
    "geojson": _geojson,
    "list<string>": _list_of(_string),
    "list<int>": _list_of(_int),
}


def queries(folder: Path | None = None) -> list[NamedQuery]:
    """Every named query, by name."""
    folder = data_dir("sql") if folder is None else folder
    return [_read(path) for path in sorted(folder.glob("*.sql"))]


def query(name: str, folder: Path | None = None) -> NamedQuery:
    """The named query `name`, with or without its @; `UnknownName` with the nearest one."""
    folder = data_dir("sql") if folder is None else folder
    known = {path.stem: path for path in folder.glob("*.sql")}
    name = name.removeprefix("@")
    if name not in known:
        raise UnknownName.among("named query", name, list(known), "sql/")
    return _read(known[name])


def _read(path: Path) -> NamedQuery:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("-- "):
        hint = "begin it with a line: -- the question?"
        raise BadCatalog("the query does not say what it answers", f"{path}:1", hint)
    parameters = tuple(
        _parameter(line, f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.startswith("-- param")
    )
    return NamedQuery(path.stem, lines[0].removeprefix("-- ").strip(), parameters, text)


def _parameter(line: str, where: str) -> Parameter:
    match = _PARAMETER.fullmatch(line.rstrip())
    if match is None:
        raise BadCatalog(f"not a parameter: {line!r}", where, "-- param: NAME TYPE = DEFAULT  DOC")
    if match["type"] not in _READERS:
        raise UnknownName.among("parameter type", match["type"], list(_READERS), where)
    default = match["default"]
    if default is not None and len(default) > 1 and default[0] == default[-1] == "'":
        default = default[1:-1].replace("''", "'")
    parameter = Parameter(match["name"], match["type"], match["doc"] or "", default)
    if default is not None:
        parameter.value(default)
    return parameter
