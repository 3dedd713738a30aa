"""Each thing once: which of several objects that hold the same thing the lake keeps.

Formats tell by an object's name what it is a copy or a part of (`lakeq.formats.Identity`). The
rule, for objects of one key:

1. A higher rank wins, whichever came first: the archive's volume over its chunks.
2. Of whole objects of one rank, the one with more rows wins; of equal ones, the one ingested last.
3. A part replaces only the same part, and nothing once the whole thing is there.
4. An object ingested again replaces its own rows, whatever it holds now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from lakeq._packed_files import contents
from lakeq.formats import Identity

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Dataset, Table
    from lakeq.formats import Format
    from lakeq.lake import IcebergLake
    from lakeq.lake.parquet import NewFile
    from lakeq.storage import SourceObject


@dataclass(slots=True)
class Converted:
    """One object, converted: its new files and rows by table, and what is kept aside of a part."""

    source: SourceObject
    identity: Identity | None
    tables: Mapping[str, Table]
    files: dict[str, list[NewFile]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    aside: dict[str, pa.Table] = field(default_factory=dict)

    def count(self) -> None:
        """Take the rows of the files; a table that the object brings none of has 0."""
        self.rows = {name: 0 for name, table in self.tables.items() if table.replace == "source"}
        self.rows |= {name: sum(f.rows for f in files) for name, files in self.files.items()}


class Identities:
    """What objects are copies or parts of, by URI; each is worked out once."""

    def __init__(self, reader: Format | None) -> None:
        identity = getattr(reader, "identity", None)
        self._identity = cast("Callable[[str], Identity | None] | None", identity)
        self._known: dict[str, Identity | None] = {}

    @property
    def told(self) -> bool:
        """Whether the format tells of identities at all."""
        return self._identity is not None

    def of(self, uri: str) -> Identity | None:
        """What the object at `uri` is a copy or a part of, or None."""
        if self._identity is None:
            return None
        if uri not in self._known:
            self._known[uri] = self._identity(uri)
        return self._known[uri]

    def key(self, uri: str) -> str | None:
        """The key of what the object at `uri` holds, or None."""
        identity = self.of(uri)
        return None if identity is None else identity.key


@dataclass(slots=True)
class Holding:
    """What the lake has of one object: rows and files by table."""

    uri: str
    identity: Identity
    rows: dict[str, int] = field(default_factory=dict)
    paths: dict[str, set[str]] = field(default_factory=dict)


class Things:
    """What a dataset's tables in the lake hold, by object and by thing."""

    def __init__(self, lake: IcebergLake, dataset: Dataset, identities: Identities) -> None:
        self.uris: dict[str, set[str]] = {}  # object -> the tables that have rows of it
        self._by_key: defaultdict[str, dict[str, Holding]] = defaultdict(dict)
        prefix = f"{dataset.name}."
        names = [name for name in lake.tables() if name.startswith(prefix)]
        for name, snapshot in lake.read(names).items():
            for path, inside in contents(snapshot.files):
                for uri, rows in inside:
                    self._add(identities.of(uri), uri, name.removeprefix(prefix), rows, path)

    def _add(self, identity: Identity | None, uri: str, table: str, rows: int, path: str) -> None:
        self.uris.setdefault(uri, set()).add(table)
        if identity is None:
            return
        held = self._by_key[identity.key].setdefault(uri, Holding(uri, identity))
        held.rows[table] = held.rows.get(table, 0) + rows
        held.paths.setdefault(table, set()).add(path)

    def of(self, key: str) -> Collection[Holding]:
        """The objects of one thing."""
        return self._by_key[key].values() if key in self._by_key else ()

    def above(self, identity: Identity, table: str) -> str | None:
        """An object of a higher rank that `table` has rows of, or None."""
        for held in self.of(identity.key):
            if held.identity.rank > identity.rank and table in held.rows:
                return held.uri
        return None

    def in_table(self, key: str, table: str) -> bool:
        """Whether `table` has rows of this thing."""
        return any(table in held.rows for held in self.of(key))

    def superseded(self, key: str, tables: Collection[str]) -> bool:
        """Whether a whole object in these `tables` leaves nothing of the thing's parts."""
        parts = [held for held in self.of(key) if held.identity.part]
        held_in = {name for held in parts for name in held.rows if not name.startswith("_")}
        return held_in <= set(tables)

    def paths(self, keys: Iterable[str], table: str) -> frozenset[str]:
        """The files of `table` with rows of these things."""
        found = (held.paths.get(table, ()) for key in keys for held in self.of(key))
        return frozenset(path for paths in found for path in paths)


@dataclass(slots=True)
class TableDecision:
    """What becomes of one table: rows of `sources` and of all objects of `keys` go."""

    sources: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    files: list[NewFile] = field(default_factory=list)
    minded: set[str] = field(default_factory=set)  # keys on which the decision depends


@dataclass
class Decision:
    """What one commit does, given what the lake holds.

    `kept` maps an object that is not taken to the one that stays; `replaced` an object to the
    others whose rows it replaces; `parts` has the parts taken by key.
    """

    tables: dict[str, TableDecision] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, set[str]] = field(default_factory=dict)
    parts: dict[str, list[Converted]] = field(default_factory=dict)
    wholes: list[Converted] = field(default_factory=list)

    def table(self, name: str) -> TableDecision:
        """The decision on one table, begun if there is none."""
        return self.tables.setdefault(name, TableDecision())


def decide(converted: Iterable[Converted], things: Things) -> Decision:
    """Which objects of a batch are taken, and whose rows they replace."""
    decision = Decision()
    by_key: defaultdict[str, list[Converted]] = defaultdict(list)
    for item in converted:
        if item.identity is None:
            for name in item.tables:
                _take(decision.table(name), item, name)
        else:
            by_key[item.identity.key].append(item)
    for key, items in by_key.items():
        for item in _best(items, decision):
            _settle(item, things, decision, key)
    return decision


def _take(table: TableDecision, item: Converted, name: str) -> None:
    table.sources.add(item.source.uri)
    table.files += item.files.get(name, ())


def _rank(item: Converted) -> int:
    assert item.identity is not None
    return item.identity.rank


def _best(items: list[Converted], decision: Decision) -> Iterator[Converted]:
    """Of the objects of one thing in one batch: the best whole one, or all its parts."""
    top = max(map(_rank, items))
    ranked = [item for item in items if _rank(item) == top]
    wholes = [item for item in ranked if item.identity and not item.identity.part]
    # among equals the last one
    best = max(reversed(wholes), key=lambda item: sum(item.rows.values()), default=None)
    taken = [best] if best is not None else ranked
    for item in items:
        if any(item is other for other in taken):
            yield item
        else:
            decision.kept[item.source.uri] = taken[0].source.uri


def _settle(item: Converted, things: Things, decision: Decision, key: str) -> None:
    """Take one object into the tables that have nothing better of its thing."""
    identity = item.identity
    assert identity is not None
    uri = item.source.uri
    above = {name: things.above(identity, name) for name in item.tables}
    better = next(filter(None, above.values()), None)
    open_ = [name for name in item.tables if above[name] is None]
    if not identity.part and (fuller := _fuller(item, things, open_)):
        better, open_ = fuller, []
    for name in item.tables:
        decision.table(name).minded.add(key)
    if not open_:
        decision.kept[uri] = better or uri
        return
    whole = not identity.part
    for name in open_:
        table = decision.table(name)
        _take(table, item, name)
        if whole:
            table.keys.add(key)
    rivals = [
        held
        for held in things.of(key)
        if held.uri != uri and not held.rows.keys().isdisjoint(open_)
    ]
    gone = [held for held in rivals if whole or held.identity.part == identity.part]
    for held in gone:
        for name in open_:
            decision.table(name).sources.add(held.uri)
    if gone:
        decision.replaced[uri] = {held.uri for held in gone}
    if whole:
        decision.wholes.append(item)
    else:
        decision.parts.setdefault(key, []).append(item)


def _fuller(item: Converted, things: Things, tables: Collection[str]) -> str | None:
    """Another whole object of the same rank with more rows in these tables, or None."""
    assert item.identity is not None
    own = sum(item.rows.get(name, 0) for name in tables)
    for held in things.of(item.identity.key):
        same = held.identity.rank == item.identity.rank and not held.identity.part
        rows = sum(held.rows.get(name, 0) for name in tables)
        if same and held.uri != item.source.uri and rows > own:
            return held.uri
    return None
