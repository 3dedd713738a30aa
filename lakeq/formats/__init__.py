"""One module per raw format; this package says what a format module must offer.

A format module `lakeq.formats.NAME` has

- `read(source, tables, context)`: the batches of each wanted table of one raw object;
- optionally `draft(name, sources, facts)`: the text of a catalog for objects of the user's own, and
  `widen(dataset, source)`: the columns that a further object needs;
- optionally `sample_names(source)`: the samples that the object's header names, in its order;
- optionally `identity(uri)`: what the object is a copy or a part of, told from its name alone, or
  None; see `Identity`;
- with it, where objects may be parts, `SUMMARIES` and `combine(tables, parts)`: see `Assembling`;
- optionally `scan(table, wanted)`: rows of a virtual table straight out of raw objects; see
  `lakeq.selection`;
- optionally `at_once(tables)`: how many objects may be read at the same time in threads, by
  default 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Dataset, Table
    from lakeq.storage import SourceObject


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Some rows of one table that belong to one partition.

    `rows` has exactly the columns of the catalog's table, in that order, with the Arrow types of
    `lakeq.types.arrow_schema`, or dictionaries of strings for strings; `partition` holds the
    values of `Table.partition_by` in that order. Batches of one (table, partition) come in the
    table's storage order.
    """

    table: str
    partition: tuple[str, ...]
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its number in the lake (dense, from 0, never reused) and what the panel says."""

    name: str
    number: int
    population: str | None = None
    super_population: str | None = None
    sex: str | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user asks of the reading of objects.

    `strict` refuses an object that deviates from its specification anywhere; otherwise what can be
    read unambiguously is read and deviations are noted. `regions` (22:16050000-17000000) limit the
    rows to those that overlap one, `samples` to those samples; None is all of them.
    """

    strict: bool = False
    regions: tuple[str, ...] = ()
    samples: tuple[str, ...] | None = None


def _no_other(uri: str) -> SourceObject:
    from lakeq.errors import NotFound

    raise NotFound("no other object can be reached from here", uri)


def _nothing_beside(_prefix: str) -> Mapping[str, int]:
    return {}


@dataclass(slots=True)
class ReadContext:
    """What a format may use while reading one object.

    `samples` maps sample name to Sample for every sample of the object; `temp_dir` is private to
    this read and removed after it; `progress` is told the raw (compressed) bytes consumed so far;
    `notes` collects remarks for the ingest report (kind -> count), for example fields left out.
    `other` opens another object, an index say, by its URI; `beside` lists the objects whose URIs
    begin with a prefix within one folder, with their sizes, where that can be asked.
    """

    dataset: Dataset
    temp_dir: Path
    samples: Mapping[str, Sample] = field(default_factory=dict)
    progress: Callable[[int], None] = lambda _bytes: None
    notes: dict[str, int] = field(default_factory=dict)
    options: ReadOptions = ReadOptions()
    other: Callable[[str], SourceObject] = _no_other
    beside: Callable[[str], Mapping[str, int]] = _nothing_beside


@dataclass(frozen=True, slots=True)
class Identity:
    """What an object is a copy or a part of: the lake keeps each thing once.

    Objects of one `key` hold the same thing, a radar volume say, whatever they are called and
    wherever they lie. One of a higher `rank` replaces those of lower ranks and is never replaced
    by them. `part` is empty for an object that holds the whole thing; parts, each with a name of
    its own that sorts them, add up to the thing.
    """

    key: str
    rank: int = 0
    part: str = ""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a format says whose `table`, read alone, is read from the begin of an object only.

    The column `version` is the object's version when it was read; `whole` is NULL in an outline and
    known after a whole reading. The lake keeps the fuller row (`lakeq.convert.outlines`).
    """

    table: str
    version: str
    whole: str


class Assembling(Protocol):
    """What a format offers further whose things come in parts.

    `SUMMARIES` are the tables whose rows tell of the whole thing. What `read` yields for them
    while it reads a part is kept aside, together with batches of made-up tables whose names
    begin with `_`; such batches may have columns of their own. All other rows of a part go into
    the tables as they are.
    """

    SUMMARIES: frozenset[str]

    def combine(
        self, tables: Mapping[str, Table], parts: Sequence[Mapping[str, pa.Table]]
    ) -> Iterator[TableBatch]:
        """The rows of `tables`, all summaries, of a thing of which these `parts` have come.

        `parts` are in the order of their names; each has what was kept aside of it, by table.
        """
        ...


class Format(Protocol):
    """What a module of this package offers."""

    def read(
        self, source: SourceObject, tables: Mapping[str, Table], context: ReadContext
    ) -> Iterator[TableBatch]:
        """Yield the batches of each wanted table of one object; raise `BadSource` on bad input."""
        ...


def names() -> list[str]:
    """The formats there are: every module of this package that is not private."""
    import pkgutil

    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _is_loaded(name: str) -> bool:
    """Whether it was found before: looking through the folder takes a millisecond."""
    return name.isidentifier() and name[0] != "_" and f"{__name__}.{name}" in sys.modules


def get(name: str) -> Format:
    """The format module called `name`; raise `UnknownName` with the nearest ones."""
    from importlib import import_module

    from lakeq.errors import UnknownName

    if not _is_loaded(name) and name not in names():
        raise UnknownName.among("format", name, names(), "the catalog")
    return cast("Format", import_module(f"lakeq.formats.{name}"))
