"""What a query says of a virtual table's rows before they are made: values of its columns.

A format turns it into the parts of raw objects that can hold such rows. It may give more rows than
are selected, never fewer: the engine tests each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.storage import SourceObject

Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Domain:
    """Values that a column may have: `low` to `high`, both included, None open; or `values`.

    Times are microseconds since 1970, dates days.
    """

    low: Any = None
    high: Any = None
    values: frozenset[Value] | None = None

    @property
    def anything(self) -> bool:
        """Whether it leaves out no value."""
        return self.low is None and self.high is None and self.values is None

    @property
    def least(self) -> Any:
        """The least value, None where there is no bound."""
        return self.low if self.values is None else min(self.values, default=None)

    @property
    def most(self) -> Any:
        """The greatest value, None where there is no bound."""
        return self.high if self.values is None else max(self.values, default=None)

    @property
    def empty(self) -> bool:
        """Whether no value is left."""
        if self.values is not None:
            return not self.values
        return self.low is not None and self.high is not None and bool(self.low > self.high)

    def both(self, other: Domain) -> Domain:
        """The values that are in both."""
        if self.values is not None or other.values is not None:
            one, two = (self, other) if self.values is not None else (other, self)
            assert one.values is not None
            return Domain(values=frozenset(v for v in one.values if two.holds(v)))
        lows = [each for each in (self.low, other.low) if each is not None]
        highs = [each for each in (self.high, other.high) if each is not None]
        return Domain(max(lows, default=None), min(highs, default=None))

    def either(self, other: Domain) -> Domain:
        """Values that are in one of them, and perhaps some between."""
        if self.values is not None and other.values is not None:
            return Domain(values=self.values | other.values)
        if self.empty or other.empty:
            return other if self.empty else self
        lows, highs = (self.least, other.least), (self.most, other.most)
        low = None if None in lows else min(lows)
        return Domain(low, None if None in highs else max(highs))

    def holds(self, value: Value) -> bool:
        """Whether a value is in it."""
        if self.values is not None:
            return value in self.values
        above = self.low is None or bool(value >= self.low)
        return above and (self.high is None or bool(value <= self.high))


ANYTHING = Domain()
Domains = Mapping[str, Domain]  # by column; one that is not named may have any value


@dataclass(frozen=True, slots=True)
class Spans:
    """Rows of conditions as arrays: in row n a column lies from `low[column][n]` to `high`.

    Both are included; an end that is open is infinite, and none is NULL. `shared` is what all rows
    leave of other columns.
    """

    low: Mapping[str, Any]
    high: Mapping[str, Any]
    count: int
    shared: Domains = field(default_factory=dict)

    def of(self, column: str) -> Domain:
        """The values of a column that any of the rows leaves, and perhaps some between."""
        if not self.count:
            return Domain(values=frozenset())
        if column in self.shared:
            return self.shared[column]
        if column not in self.low:
            return ANYTHING
        low, high = float(self.low[column].min()), float(self.high[column].max())
        return Domain(None if low == -_OPEN else low, None if high == _OPEN else high)


_OPEN = float("inf")


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of one virtual table that a query may need.

    A row is wanted when it fits one of `scans`, each the filters of one scan of the table, and in
    each of `joined` one of its rows, made from what the table is joined with.
    """

    scans: tuple[Domains, ...] = ({},)
    joined: tuple[Spans, ...] = ()

    def of(self, column: str) -> Domain:
        """The values of a column that any wanted row may have."""
        found = _either([scan.get(column, ANYTHING) for scan in self.scans])
        for rows in self.joined:
            found = found.both(rows.of(column))
        return found


def _either(domains: Sequence[Domain]) -> Domain:
    if not domains:
        return Domain(values=frozenset())
    if any(domain.anything for domain in domains):
        return ANYTHING
    if all(domain.values is not None for domain in domains):
        return Domain(values=frozenset(v for d in domains for v in d.values or ()))
    found = domains[0]
    for domain in domains[1:]:
        found = found.either(domain)
    return found


class Part(NamedTuple):
    """`length` bytes of an object from `offset`: one range request."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a format needs to make rows of a virtual table.

    `columns` are those that the query reads. `index` runs SQL over the table's index, which it
    calls "index" and which has `index_bytes`, and gives the columns as arrays by name. `pinned`
    opens an object of which URI, size and version are known, without asking for it. `rows` are
    enough where it is not None, and where `limited`, reading may end after any row: what is not
    needed yet is not read ahead.
    """

    columns: tuple[str, ...]
    selection: Selection
    index: Callable[[str], Mapping[str, Any]]
    pinned: Callable[[str, int, str], SourceObject]
    threads: int
    index_bytes: int = 0
    limited: bool = False
    rows: int | None = None


class Rows(Protocol):
    """Rows of a virtual table that are not made yet; what making them will read is known.

    `take` is told of bytes that are about to be read, and may refuse; `reads` grows while rows are
    made, by as many readings as there are; `failure` is what stopped the making. `once` says that
    the query reads them no more than once. `constants` are columns with one value in all rows, as
    Python has it; the batches lack them.
    """

    take: Callable[[int], None]
    reads: list[Part]
    failure: BaseException | None
    once: bool
    constants: Mapping[str, object]

    @property
    def stream_schema(self) -> pa.Schema:
        """Of the batches."""
        ...

    @property
    def parts(self) -> Sequence[Part]:
        """The range requests of one reading."""
        ...

    @property
    def objects(self) -> int:
        """How many objects they concern."""
        ...

    @property
    def object_bytes(self) -> int:
        """The sizes of those objects."""
        ...

    @property
    def blocks(self) -> int:
        """How many blocks they fetch."""
        ...

    @property
    def column_bytes(self) -> Mapping[str, int]:
        """What each column takes."""
        ...

    def begin(self) -> None:
        """Start what the first reading needs, where it is sure that all is read, once."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Make the rows, once more with each call, in bounded memory."""
        ...

    def blocks_of(self, part: Part) -> int:
        """How many blocks a request fetches."""
        ...

    def close(self) -> None:
        """Stop whatever is being made; may be called again."""
        ...
