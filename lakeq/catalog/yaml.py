"""YAML text of bounded depth -> nodes with line numbers; nothing in it is ever run or expanded.

Only mappings, sequences and untagged scalars; no tags, no merge keys, one document. The limits
hold while the events are read, before anything is built, so that a hostile file costs little
(measured: 2 MB, 100,000 levels, or aliases that multiply to 43 million nodes: each < 20 ms).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lakeq.errors import BadCatalog

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEPTH = 32
MAX_ALIASES = 256
MAX_NODES = 50_000  # after aliases are followed; the largest catalog here has about 2,000

Kind = Literal["text", "null", "bool", "number", "date"]

_PLAIN_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("null", re.compile(r"(~|null|Null|NULL|)\Z")),
    ("bool", re.compile(r"(?i:true|false|yes|no|on|off)\Z")),
    ("number", re.compile(r"[-+]?(0[xob])?[0-9][0-9_a-fA-F]*(\.[0-9]*)?([eE][-+]?[0-9]+)?\Z")),
    ("number", re.compile(r"(?i:[-+]?\.(inf|nan)|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?)\Z")),
    ("date", re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?\Z")),
)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `kind` is what YAML 1.1 takes a plain one for, "text" when it is quoted."""

    line: int
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping: key, line of the key and value, in file order; keys are unique."""

    line: int
    entries: tuple[tuple[str, int, Node], ...]


Node = Scalar | Items | Entries


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, at a line from 1, and what to do about it."""

    line: int
    what: str
    hint: str = ""


def compose(data: bytes, path: Path) -> tuple[Node, list[Problem]]:
    """The root node of the one document in `data`, and the duplicate keys found in it.

    Of a duplicate key the first value stands. Raises `BadCatalog` with file and line for text
    that is not UTF-8 or not YAML, for tags, and for a file beyond a limit.
    """
    import yaml

    composer = _Composer(path)
    try:
        text = data.decode("utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for event in yaml.parse(text, Loader=loader):
            composer.take(event)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadCatalog("not UTF-8", f"{path}:{line}") from error
    except yaml.YAMLError as error:
        raise _not_yaml(error, path) from error
    if composer.root is None:
        raise BadCatalog("the file is empty", f"{path}:1", "start with: dataset: NAME")
    return composer.root, composer.problems


def _not_yaml(error: Exception, path: Path) -> BadCatalog:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return BadCatalog(f"not YAML: {what}", f"{path}:{line}")


class _Frame:
    """A collection whose end has not come yet."""

    def __init__(self, line: int, anchor: str | None, *, mapping: bool) -> None:
        self.line = line
        self.anchor = anchor
        self.mapping = mapping
        self.children: list[Node] = []
        self.weight = 1

    def close(self, problems: list[Problem]) -> Node:
        if not self.mapping:
            return Items(self.line, tuple(self.children))
        entries: dict[str, tuple[str, int, Node]] = {}
        for key, value in zip(self.children[::2], self.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                problems.append(Problem(key.line, "a key must be a name"))
            elif key.text in entries:
                hint = f"see line {entries[key.text][1]}"
                problems.append(Problem(key.line, f"duplicate key {key.text!r}", hint))
            else:
                entries[key.text] = (key.text, key.line, value)
        return Entries(self.line, tuple(entries.values()))


class _Composer:
    """Builds nodes from parser events and stops at the first limit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.aliases = 0
        self.nodes = 0

    def refuse(self, what: str, line: int) -> BadCatalog:
        return BadCatalog(what, f"{self.path}:{line}")

    def take(self, event: Any) -> None:  # Any: PyYAML has no types for its events
        line = event.start_mark.line + 1
        kind = type(event).__name__
        if getattr(event, "tag", None) is not None:
            raise self.refuse(f"tags are not allowed: {event.tag!r}", line)
        if kind == "DocumentStartEvent" and self.root is not None:
            raise self.refuse("a second document", line)
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            self.open(_Frame(line, event.anchor, mapping=kind[0] == "M"))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            frame = self.stack.pop()
            self.add(frame.close(self.problems), frame.weight, frame.anchor)
        elif kind == "ScalarEvent":
            self.add(Scalar(line, event.value, _kind(event)), 1, event.anchor)
        elif kind == "AliasEvent":
            self.alias(event.anchor, line)

    def open(self, frame: _Frame) -> None:
        self.stack.append(frame)
        if len(self.stack) > MAX_DEPTH:
            raise self.refuse(f"nested deeper than {MAX_DEPTH} levels", frame.line)

    def alias(self, name: str, line: int) -> None:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.refuse(f"more than {MAX_ALIASES} aliases", line)
        if name not in self.anchors:
            raise self.refuse(f"alias {name!r} stands for nothing before it", line)
        self.add(*self.anchors[name], None)

    def add(self, node: Node, weight: int, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = (node, weight)
        if not self.stack:
            self.root = node
            return
        self.stack[-1].children.append(node)
        self.stack[-1].weight += weight
        if self.stack[-1].weight > MAX_NODES:
            raise self.refuse(f"more than {MAX_NODES:,} values", node.line)


def _kind(event: Any) -> Kind:
    if not event.implicit[0]:
        return "text"
    return next((kind for kind, pattern in _PLAIN_KINDS if pattern.match(event.value)), "text")
