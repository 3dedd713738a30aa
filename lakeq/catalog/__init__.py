"""catalogs/*.yaml -> frozen dataclasses Dataset, Table, Column: the facts about every dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lakeq.errors import BadCatalog, NotFound, UnknownName

if TYPE_CHECKING:
    from lakeq.catalog.yaml import Problem

Access = Literal["anonymous", "signed", "requester_pays"]
Replace = Literal["source", "table"]

SUFFIX = ".yaml"
SOURCE_COLUMN = "_source"  # the system column that the lake adds to every table: the object's URI
MAX_BYTES = 1 << 20  # of one file; the largest here has 25 kB
MAX_PROBLEMS_TOLD = 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `type` is written in the language of `lakeq.types`; `unit` is empty where there is none;
    `source` says which field of the raw format fills it (`INFO/AF`, `FORMAT/DP`), empty where
    the format itself defines the column.
    """

    name: str
    type: str
    doc: str
    unit: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Population:
    """One population of a cohort: its code in the panel, its name, and the group above it.

    `super_population` is empty for a super-population itself.
    """

    code: str
    name: str
    super_population: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One SQL table of a dataset; `columns` are in storage order, without the system columns.

    Its rows come from raw objects of `format`, or they are kept from the answer to `query`: then
    it is a slice, and `format` is empty. With an `index`, another table of the dataset, it is
    virtual: its rows are made from raw objects when a query asks for them, by the format's `scan`.
    """

    dataset: str
    name: str
    doc: str
    format: str
    columns: tuple[Column, ...]
    assembly: str = ""
    objects: tuple[str, ...] = ()
    region: str = ""
    access: Access = "anonymous"
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    replace: Replace = "source"
    options: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    index: str = ""

    @property
    def qualified(self) -> str:
        """The name used in SQL: dataset.table."""
        return f"{self.dataset}.{self.name}"


@dataclass(frozen=True, slots=True)
class Topic:
    """One SNS topic that announces new objects, by its ARN.

    Where messages are not events of S3, `objects` are templates of the objects that one tells of,
    filled from the message's fields: `{s3_location}/{name}_MTL.json`. `attributes` and `body` say
    how a subscription chooses: templates of an attribute's value, and of prefixes of a field of
    the message, such as `{"SiteID": ("{site}",)}`.
    """

    arn: str
    objects: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Macro:
    """A function of a dataset's queries: `sql` is an expression of its `parameters`."""

    name: str
    parameters: tuple[str, ...]
    sql: str
    doc: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One public dataset: what it is, where it lies, what it allows, and its tables.

    `populations` has the super-populations first; `origin` is the file it was read from. `keys`
    are templates of the archive's keys by name, the usual one first (`lakeq.keys`); objects whose
    file names match a glob of `skip` are not ingested.
    """

    name: str
    title: str
    doc: str
    license: str
    citation: str
    homepage: str
    tables: Mapping[str, Table]
    assembly: str = ""
    panel: str = ""
    populations: tuple[Population, ...] = ()
    topics: tuple[Topic, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    macros: Mapping[str, Macro] = field(default_factory=dict)
    origin: str = ""

    @property
    def notifications(self) -> tuple[str, ...]:
        """The ARNs of the topics that announce new objects."""
        return tuple(topic.arn for topic in self.topics)


class Catalog:
    """All datasets by name; a file is read when its dataset is first asked for."""

    def __init__(self, files: Mapping[str, Path], cache: Path | None = None) -> None:
        """A catalog of the dataset files `files` (name -> path); `cache` None keeps nothing."""
        self._datasets = _Datasets(files, cache)

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The datasets by name, sorted."""
        return self._datasets

    def dataset(self, name: str, where: str = "the catalog") -> Dataset:
        """The dataset called `name`, or `UnknownName` with the nearest one; says `where`."""
        if name not in self._datasets:
            raise UnknownName.among("dataset", name, list(self._datasets), where)
        return self._datasets[name]

    def table(self, name: str, where: str = "the catalog") -> Table:
        """The table called `dataset.table`, or `UnknownName` with the nearest one."""
        dataset, _, table = name.partition(".")
        if dataset not in self._datasets or table not in self._datasets[dataset].tables:
            known = [known.qualified for known in self.tables()]
            raise UnknownName.among("table", name, known, where)
        return self._datasets[dataset].tables[table]

    def tables(self) -> list[Table]:
        """Every table of every dataset, in order of datasets and then as the file has them."""
        return [table for d in self._datasets.values() for table in d.tables.values()]


class _Datasets(Mapping[str, Dataset]):
    """Datasets that are read on first use."""

    def __init__(self, files: Mapping[str, Path], cache: Path | None) -> None:
        self._files = dict(sorted(files.items()))
        self._cache = cache
        self._read: dict[str, Dataset] = {}

    def __getitem__(self, name: str) -> Dataset:
        if name not in self._read:
            self._read[name] = _read(self._files[name], self._cache)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def load(user_folders: Sequence[Path] = (), *, cache: Path | None = None) -> Catalog:
    """The packaged datasets and those in the user's own folders.

    `cache` is where parsed catalogs are kept; None means the user's cache folder. Raises
    `NotFound` for a folder that is not there and `BadCatalog` when two files name one dataset;
    what is wrong inside a file is raised when its dataset is first used.
    """
    from lakeq import config

    files: dict[str, Path] = {}
    for folder in (config.data_dir("catalogs"), *user_folders):
        for path in _files(folder):
            if path.stem in files:
                raise BadCatalog(
                    f"two files for dataset {path.stem!r}",
                    f"{files[path.stem]} and {path}",
                    "rename yours, in its name and in its key dataset",
                )
            files[path.stem] = path
    return Catalog(files, config.cache_dir() if cache is None else cache)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        hint = "see the setting catalogs: lakeq config show"
        raise NotFound(f"cannot list the catalogs: {error.strerror}", str(folder), hint) from error


def _read(path: Path, cache: Path | None) -> Dataset:
    from lakeq.catalog import cache as catalog_cache

    data = _bytes(path)
    key = catalog_cache.key(data)
    known = catalog_cache.load(cache, path, key) if cache is not None else None
    if known is not None:
        return known
    dataset = _parse(data, path, None)
    if cache is not None:
        catalog_cache.store(cache, path, key, dataset)
    return dataset


def check(path: Path, formats: Collection[str] | None = None) -> Dataset:
    """The dataset of one catalog file, read afresh.

    `formats` are the formats that exist (`lakeq.formats.names()`); None leaves that unchecked.
    Raises `BadCatalog` that tells every problem of the file, each with its line and the nearest
    valid name.
    """
    return _parse(_bytes(path), path, formats)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadCatalog(f"cannot read the catalog: {error.strerror}", str(path)) from error
    if len(data) > MAX_BYTES:
        raise BadCatalog(f"larger than {MAX_BYTES:,} bytes", str(path), "split it into datasets")
    return data


def _parse(data: bytes, path: Path, formats: Collection[str] | None) -> Dataset:
    from lakeq.catalog import schema as catalog_schema
    from lakeq.catalog import yaml as catalog_yaml

    root, problems = catalog_yaml.compose(data, path)
    dataset = catalog_schema.dataset(root, problems, path.stem, formats)
    if dataset is None:
        raise _bad(problems, path)
    return replace(dataset, origin=str(path))


def _bad(problems: Sequence[Problem], path: Path) -> BadCatalog:
    problems = sorted(problems, key=lambda problem: problem.line)
    first = problems[0]
    if len(problems) == 1:
        return BadCatalog(first.what, f"{path}:{first.line}", first.hint)
    told = [
        f"  {path}:{p.line}: {p.what}" + (f"; {p.hint}" if p.hint else "")
        for p in problems[:MAX_PROBLEMS_TOLD]
    ]
    if len(problems) > MAX_PROBLEMS_TOLD:
        told.append(f"  and {len(problems) - MAX_PROBLEMS_TOLD} more")
    lines = "\n".join(told)
    return BadCatalog(f"{len(problems)} problems:\n{lines}", f"{path}:{first.line}")
