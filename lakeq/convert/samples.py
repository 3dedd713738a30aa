"""The samples of a dataset: their numbers in the lake, and what the panel says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakeq.errors import AccessDenied, BadSource, NotFound, UsageError
from lakeq.formats import Sample
from lakeq.panel import Member, read_panel
from lakeq.storage import SourceObject, Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Dataset, Table
    from lakeq.lake import IcebergLake

_NOBODY = Member(None, None, None)
OBJECTS = "objects"
NOT_IN_PANEL = "samples not in the panel (their population is NULL)"


def samples_table(dataset: Dataset) -> Table | None:
    """The dataset's table of samples: of that name, or with the option `role: samples`."""
    for table in dataset.tables.values():
        if table.options.get("role") == "samples":
            return table
    return dataset.tables.get("samples")


@dataclass(frozen=True, slots=True)
class Known:
    """The samples that the lake has, which each object holds, and the snapshot that says so.

    `members` maps an object's URI to the names of its samples, and is None where the table does
    not keep that; `snapshot_id` is 0 for no snapshot.
    """

    samples: Mapping[str, Sample]
    members: Mapping[str, frozenset[str]] | None
    snapshot_id: int


def known_samples(lake: IcebergLake, table: Table | None) -> Known:
    """The lake's samples of a dataset, by name."""
    keeps = table is not None and any(column.name == OBJECTS for column in table.columns)
    if table is None or table.qualified not in lake.tables():
        return Known({}, {} if keeps else None, 0)
    snapshot_id = lake.snapshot(table.qualified).snapshot_id
    if not snapshot_id:
        return Known({}, {} if keeps else None, 0)
    stored = lake.read_table(table.qualified, snapshot_id)
    columns = ["sample", "number", "population", "super_population", "sex"]
    rows = stored.select(columns).to_pylist()
    samples = {row["sample"]: Sample(row.pop("sample"), **row) for row in rows}
    if not keeps:
        return Known(samples, None, snapshot_id)
    members: dict[str, set[str]] = {}
    if OBJECTS in stored.column_names:  # not in a table made before the column was
        for name, uris in zip(samples, stored[OBJECTS].to_pylist(), strict=True):
            for uri in uris or ():
                members.setdefault(uri, set()).add(name)
    return Known(samples, {uri: frozenset(who) for uri, who in members.items()}, snapshot_id)


class Roster:
    """Numbers the samples of one ingest: the lake's keep theirs, new ones follow on, densely."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._now = dict(known.samples)
        self._enrolled: dict[str, frozenset[str]] = {}

    def enroll(
        self, names: Sequence[str], panel: Mapping[str, Member] | None, uri: str
    ) -> dict[str, Sample]:
        """The samples of one object, in its order; `panel` None keeps what the lake knows."""
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadSource(f"sample {twice!r} stands twice in the header", uri)
        for name in names:
            known = self._now.get(name)
            number = len(self._now) if known is None else known.number
            if known is None or (panel is not None and name in panel):
                member = (panel or {}).get(name, _NOBODY)
                self._now[name] = Sample(name, number, *member)
        self._enrolled[uri] = frozenset(names)
        return {name: self._now[name] for name in names}

    @property
    def _members(self) -> dict[str, frozenset[str]] | None:
        return None if self.known.members is None else {**self.known.members, **self._enrolled}

    @property
    def changed(self) -> bool:
        """Whether the lake's table of samples has to be written again."""
        return self._now != self.known.samples or self._members != self.known.members

    def rebase(self, known: Known) -> bool:
        """Take over what another writer committed; False when it gave our numbers away."""
        numbers = {sample.number: name for name, sample in known.samples.items()}
        for name, sample in self._now.items():
            other = known.samples.get(name)
            if other is not None and other.number != sample.number:
                return False
            if other is None and sample.number in numbers:
                return False
        self._now = {**known.samples, **self._now}
        self.known = known
        return sorted(s.number for s in self._now.values()) == list(range(len(self._now)))

    def rows(self, schema: pa.Schema) -> pa.RecordBatch:
        """All samples by number, as rows of the samples table."""
        import pyarrow as pa

        from lakeq.formats._arrow import values

        ordered = sorted(self._now.values(), key=lambda sample: sample.number)
        objects: dict[str, list[str]] = {sample.name: [] for sample in ordered}
        for uri, names in sorted((self._members or {}).items()):
            for name in names:
                objects[name].append(uri)
        columns: dict[str, list[Any]] = {
            "sample": [sample.name for sample in ordered],
            "number": [sample.number for sample in ordered],
            "population": [sample.population for sample in ordered],
            "super_population": [sample.super_population for sample in ordered],
            "sex": [sample.sex for sample in ordered],
            OBJECTS: [objects[sample.name] for sample in ordered],
        }
        nothing: list[Any] = [None] * len(ordered)
        arrays = [values(columns.get(field.name, nothing), field.type) for field in schema]
        return pa.record_batch(arrays, schema=schema)


@dataclass
class Panels:
    """Finds the panel for an object: see `for_object`."""

    dataset: Dataset
    storage: Storage
    given: str | None
    _read: dict[str, dict[str, Member]]

    @classmethod
    def of(cls, dataset: Dataset, storage: Storage, given: str | None) -> Panels:
        """`given` is the user's word: a path or URI, "" for no panel, None to look for one."""
        return cls(dataset, storage, given, {})

    def for_object(
        self, source: SourceObject, names: Sequence[str], known: Known
    ) -> Mapping[str, Member] | None:
        """The panel for the samples `names` of one object; None keeps what the lake knows.

        In this order: the panel given; none, if the lake has all samples or the dataset has no
        panel; the file beside the object that is named like the catalog's; the catalog's, if the
        object comes from its place. Otherwise a `UsageError` asks for one.
        """
        if self.given == "":
            return {}
        if self.given is not None:
            return self._panel(self.given)
        if not names or not self.dataset.panel:
            return {}
        if all(name in known.samples for name in names):
            return None
        file_name = self.dataset.panel.rpartition("/")[2]
        beside = source.uri.rpartition("/")[0] + "/" + file_name
        found = self._try(beside)
        if found is None and _same_place(source.uri, self._places()):
            found = self._panel(self.dataset.panel)
        if found is None:
            what = f"no panel says which population the {len(names)} samples belong to"
            hint = f"give --panel FILE (the catalog's is {self.dataset.panel}) or --no-panel"
            raise UsageError(what, source.uri, hint)
        return found

    def _places(self) -> list[str]:
        objects = [uri for table in self.dataset.tables.values() for uri in table.objects]
        return [self.dataset.panel, *objects]

    def _try(self, uri: str) -> Mapping[str, Member] | None:
        try:
            return self._panel(uri)
        except (NotFound, AccessDenied):
            return None

    def _panel(self, uri: str) -> Mapping[str, Member]:
        if uri not in self._read:
            source = self.storage.source(uri, tuple(self.dataset.tables.values()))
            self._read[uri] = read_panel(source)
        return self._read[uri]


def _same_place(uri: str, places: Sequence[str]) -> bool:
    """Whether `uri` is in a bucket, or on a server, of one of `places`."""
    return "://" in uri and any(_place(uri) == _place(place) for place in places)


def _place(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
