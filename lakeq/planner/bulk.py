"""The same as `plan_scans`, for thousands of files at once: columns of numbers instead of objects.

Loading numpy takes longer than planning a few files, so this is used from `MANY_FILES` on, where
all files have one layout. A test holds it to the results of the plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakeq import _packed_files as packing
from lakeq._packed_files import Packed, PackedFiles
from lakeq.planner.filters import (
    Filter,
    Pass,
    duckdb_reads,
    judge,
    may_skip,
    text_side,
    text_skips,
)
from lakeq.planner.reads import (
    ATHENA_BUFFER_BYTES,
    ATHENA_FOOTER_BYTES,
    ATHENA_GAP_BYTES,
    ATHENA_SMALL_BYTES,
    GAP_BYTES,
    WHOLE_GROUP_SHARE,
    Cost,
    Interval,
    footer,
)
from lakeq.planner.scans import ScanCost, Scanner, more
from lakeq.snapshot import Bounds, DataFile

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[Any]]


def _leaves(filter_: Filter) -> Iterator[Filter]:
    """The filters that have no parts."""
    if not filter_.children:
        yield filter_
    for child in filter_.children:
        yield from _leaves(child)


class Bulk:
    """One scan of a packed table; row groups are numbered as in `Packed`."""

    def __init__(self, scanner: Scanner) -> None:
        import numpy as np

        files = scanner.table.files
        assert isinstance(files, PackedFiles)
        self.np = np
        self.scanner = scanner
        self.packed: Packed = files.packed
        self.files = np.asarray(files.numbers)
        self.layout = scanner.layout(self.packed.layouts[0])
        counts = self.array("group_counts")
        self.file_of = np.repeat(np.arange(len(counts)), counts)
        self.groups = len(self.file_of)
        self._judged: dict[int, tuple[Numbers, Numbers, Numbers]] = {}

    def array(self, name: str) -> Numbers:
        """An array of the packed files."""
        return self.np.asarray(self.packed.arrays[name])

    def of_leaf(self, name: str, place: int) -> Numbers:
        """One number for each row group, of the leaf at `place`."""
        return self.array(name)[place :: self.layout.width]

    def survivors(self) -> PackedFiles:
        """The files that may hold a row that passes."""
        np = self.np
        files = np.zeros(len(self.packed.paths), dtype=bool)
        files[self.file_of[self.alive]] = True
        partitions = [self.scanner.partition_survives(p) for p in self.packed.partitions]
        files &= np.asarray(partitions, dtype=bool)[self.array("partition_of")]
        return PackedFiles(self.packed, self.files[files[self.files]].tolist())

    @cached_property
    def alive(self) -> Numbers:
        """For each row group, whether it may hold a row that passes, as Athena judges too."""
        found = self.np.ones(self.groups, dtype=bool)
        for column in self.scanner.filters:
            found &= self.judged(column)[0] != Pass.NONE.value
        for column, filter_ in self.scanner.above:
            found &= self._judge(filter_, column)[0] != Pass.NONE.value
        return found

    def judged(self, column: int) -> tuple[Numbers, Numbers, Numbers]:
        """Of the filter of a column, for each row group: `Pass`, read by DuckDB, may be skipped."""
        if column not in self._judged:
            self._judged[column] = self._judge(self.scanner.filters[column], column)
        return self._judged[column]

    def _judge(self, filter_: Filter, column: int) -> tuple[Numbers, Numbers, Numbers]:
        np = self.np
        places = [p for (number, _), p in self.layout.places.items() if number == column]
        whole = self.layout.places.get((column, ()))
        if len(places) == 1 and whole is not None:
            quick = self._numeric(filter_, whole) or self._textual(filter_, whole)
            if quick is not None:
                return quick
        if len(places) != 1:
            return self._each(filter_, column, np.zeros(self.groups, dtype=int), lambda _: None)
        names = ("kinds", "lows", "highs", "nulls")
        columns = np.stack([self.of_leaf(n, places[0]).astype(np.int64) for n in names])
        distinct, which = np.unique(columns, axis=1, return_inverse=True)
        bounds = [packing.bounds(self.packed, *map(int, row)) for row in distinct.T]
        return self._each(filter_, column, which.reshape(-1), bounds.__getitem__)

    def _each(
        self,
        filter_: Filter,
        column: int,
        which: Numbers,
        bounds: Callable[[int], Bounds | None],
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Judge each distinct bound once; `which` is the number of the one of each row group."""
        np = self.np
        found = []
        places = self.layout.places
        for number in range(int(which.max(initial=-1)) + 1):
            value = bounds(number)

            def lookup(fields: tuple[int, ...], value: Bounds | None = value) -> Bounds | None:
                return value if (column, fields) in places else None

            passed = judge(filter_, lookup).value
            found.append((passed, duckdb_reads(filter_, lookup), may_skip(filter_, lookup)))
        table = np.asarray(found or [(0, False, False)])
        return table[which, 0], table[which, 1] > 0, table[which, 2] > 0

    def _numeric(self, filter_: Filter, place: int) -> tuple[Numbers, Numbers, Numbers] | None:
        """Comparisons of whole numbers without nulls, the common case of many distinct bounds."""
        np = self.np
        plain = all(
            part.kind in ("compare", "in") and not part.fields and type(value) is int
            for part in _leaves(filter_)
            for value in part.values or (None,)
        )
        if not (plain and (self.of_leaf("kinds", place) == packing.NUMBER).all()):
            return None
        low, high = self.of_leaf("lows", place), self.of_leaf("highs", place)
        nulls = self.of_leaf("nulls", place) != 0
        passed, skipped = self._whole_numbers(filter_, low, high, nulls)
        return passed, ~skipped, np.zeros(self.groups, dtype=bool)

    def _whole_numbers(
        self, filter_: Filter, low: Numbers, high: Numbers, nulls: Numbers
    ) -> tuple[Numbers, Numbers]:
        """`Pass` of each row group, and whether DuckDB skips it; see `filters.judge`."""
        np = self.np
        none = Pass.NONE.value
        if filter_.kind in ("compare", "in"):
            passed = self._compared(filter_, low, high, nulls)
            return passed, passed == none
        pairs = [self._whole_numbers(part, low, high, nulls) for part in filter_.children]
        found, skips = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if filter_.kind == "expression":
            return found[0], np.zeros(self.groups, dtype=bool)
        if filter_.kind == "or":
            return np.maximum.reduce(found), np.logical_and.reduce(skips)
        passed = np.minimum.reduce(found)
        unsure = sum((each != Pass.ALL.value).astype(int) for each in found)
        mixed = (unsure > 1) & (passed != none)
        return np.where(mixed, Pass.UNKNOWN.value, passed), np.logical_or.reduce(skips)

    def _textual(self, filter_: Filter, place: int) -> tuple[Numbers, Numbers, Numbers] | None:
        """A comparison of texts: each text is compared once, row groups by the outcomes."""
        np = self.np
        texts = all(type(value) is str for value in filter_.values)
        plain = filter_.kind in ("compare", "in") and not filter_.fields and texts
        if not (plain and (self.of_leaf("kinds", place) == packing.TEXT).all()):
            return None
        low, high = self.of_leaf("lows", place), self.of_leaf("highs", place)
        numbers, which = np.unique(np.concatenate([low, high]), return_inverse=True)
        used = [self.packed.texts[number] for number in numbers.tolist()]
        lows, highs = np.split(which.reshape(-1), 2)
        short = filter_.optional or filter_.kind == "in"
        passed = np.zeros(self.groups, dtype=np.int64)
        skipped = np.ones(self.groups, dtype=bool)
        for value in filter_.values:
            signs = np.asarray([(text > value) - (text < value) for text in used])
            found = self._compare(filter_.operator, 0, signs[lows], signs[highs])
            passed = np.maximum(passed, found)
            sides = np.asarray([text_side(value, text, short=short) for text in used])
            skips = text_skips(filter_.operator, sides[lows] < 0, sides[highs] > 0)
            skipped &= np.asarray(skips, dtype=bool)
        nulls = self.of_leaf("nulls", place) != 0
        passed = np.where((passed == Pass.ALL.value) & nulls, Pass.SOME.value, passed)
        return passed, ~skipped, np.zeros(self.groups, dtype=bool)

    def _compared(self, part: Filter, low: Numbers, high: Numbers, nulls: Numbers) -> Numbers:
        np = self.np
        best = np.zeros(self.groups, dtype=np.int64)
        for value in part.values:
            best = np.maximum(best, self._compare(part.operator, value, low, high))
        found: Numbers = np.where((best == Pass.ALL.value) & nulls, Pass.SOME.value, best)
        return found

    def _compare(self, operator: str, value: Any, low: Numbers, high: Numbers) -> Numbers:
        np = self.np
        every, some, none = Pass.ALL.value, Pass.SOME.value, Pass.NONE.value
        inside = (low <= value) & (value <= high)
        same = (low == high) & inside
        found: Numbers
        if operator == "=":
            ends = np.where((low == value) | (high == value), some, Pass.UNKNOWN.value)
            found = np.where(same, every, np.where(inside, ends, none))
        elif operator == "<>":
            found = np.where(same, none, np.where(inside, some, every))
        else:
            test = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
            passed = test[operator](low, value).astype(int) + test[operator](high, value)
            found = np.asarray([none, some, every])[passed]
        return found

    def run(self, files: Sequence[DataFile], survivors: Sequence[DataFile]) -> ScanCost:
        """What the scan takes; see `Scanner.run`."""
        np = self.np
        assert isinstance(files, PackedFiles)
        numbers = np.asarray(files.numbers, dtype=int)
        scan = self.scanner.scan
        found = ScanCost(files=survivors)
        columns = self.scanner.table.columns
        found.columns = {columns[c.number].name: 0 for c in scan.columns}
        opened = self._opened(numbers)
        given = np.zeros(len(self.packed.paths), dtype=bool)
        given[numbers] = True
        read = given[self.file_of]
        for column in self.scanner.filters:
            read &= self.judged(column)[1]
        groups = np.flatnonzero(read)
        least, most, fewest, requests = self._groups(groups, found)
        total_opened, opens = int(opened[0][numbers].sum()), int(opened[1][numbers].sum())
        found.cost = Cost(
            Interval(total_opened + int(least.sum()), total_opened + int(most.sum())),
            Interval(opens + int(fewest.sum()), opens + int(requests.sum())),
        )
        found.groups = len(groups)
        found.first = self._first(groups, least, fewest, numbers, opened)
        alive = survivors.numbers if isinstance(survivors, PackedFiles) else ()
        wanted = groups[self.alive[groups]]
        found.athena = self._athena(wanted, np.asarray(alive, dtype=int))
        if scan.late:
            found.cost = more(found.cost, scan, ())
        return found

    def _opened(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Bytes and requests of opening each file."""
        np = self.np
        pairs = np.stack([self.array("sizes"), self.array("footer_sizes")])
        distinct, which = np.unique(pairs[:, numbers], axis=1, return_inverse=True)
        costs = [footer(int(size), int(end)) for size, end in distinct.T]
        table = np.asarray([(c.bytes.high, c.requests.high) for c in costs] or [(0, 0)])
        found = np.zeros((len(self.packed.paths), 2), dtype=np.int64)
        found[numbers] = table[which.reshape(-1)] if len(numbers) else 0
        return found[:, 0], found[:, 1]

    def _groups(
        self, groups: Numbers, found: ScanCost
    ) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Bytes and requests of each row group: least bytes, most, fewest requests, most."""
        np = self.np
        leaves = self.packed.layouts[0]
        chunks = []
        for place, tested in self.layout.wanted:
            offset = self.of_leaf("offsets", place)[groups]
            length = self.of_leaf("lengths", place)[groups].astype(np.int64)
            found.columns[leaves[place].column] += int(length.sum())
            chunks.append((offset, length, tested))
        if not chunks:
            zeros = np.zeros(len(groups), dtype=np.int64)
            return zeros, zeros, zeros, zeros
        most, requests = self._merged(chunks)
        if not self.scanner.filters:
            whole, span = self._whole(groups, chunks)
            most, requests = np.where(whole, span, most), np.where(whole, 1, requests)
        least, fewest = self._surely(groups, most, requests)
        if self.scanner.scan.dynamic:
            requests = np.full(len(groups), len(chunks))
        return least, most, fewest, requests

    def _merged(self, chunks: Sequence[tuple[Numbers, Numbers, bool]]) -> tuple[Numbers, Numbers]:
        """Bytes and count of the ranges that are requested; see `plan_reads.merged`."""
        np = self.np
        size = len(chunks[0][0])
        apart = sum(length for _, length, tested in chunks if tested)
        count = np.full(size, sum(tested for *_, tested in chunks))
        starts: list[Numbers] = []
        ends: list[Numbers] = []  # of ranges that are not there in a row group: before their start
        for offset, length, tested in chunks:
            if not tested:
                self._join(starts, ends, offset, offset + length)
        total, far = np.zeros(size, dtype=np.int64) + apart, np.iinfo(np.int64).max
        for start, end in zip(starts, ends, strict=True):
            there = start != far
            total += np.where(there, end - start, 0)
            count = count + there
        return total, count

    def _join(
        self, starts: list[Numbers], ends: list[Numbers], offset: Numbers, end: Numbers
    ) -> None:
        """Let a chunk join the first range in the file that it is near to, or be a new one."""
        np = self.np
        far = np.iinfo(np.int64).max
        alone = np.ones(len(offset), dtype=bool)
        if starts:
            begin, stop = np.stack(starts), np.stack(ends)
            near = (begin != far) & (offset <= stop + GAP_BYTES) & (begin <= end + GAP_BYTES)
            chosen = np.where(near, begin, far).argmin(axis=0)
            alone = ~near.any(axis=0)
            for number in range(len(starts)):
                joins = ~alone & (chosen == number)
                starts[number] = np.where(joins, np.minimum(begin[number], offset), begin[number])
                ends[number] = np.where(joins, np.maximum(stop[number], end), stop[number])
        if alone.any():
            starts.append(np.where(alone, offset, far))
            ends.append(np.where(alone, end, 0))

    def _whole(
        self, groups: Numbers, chunks: Sequence[tuple[Numbers, Numbers, bool]]
    ) -> tuple[Numbers, Numbers]:
        """Which row groups are read at once, and their bytes."""
        np = self.np
        width = self.layout.width
        starts = self.array("offsets").reshape(-1, width)[groups]
        ends = starts + self.array("lengths").reshape(-1, width)[groups]
        span = ends.max(axis=1) - starts.min(axis=1)
        wanted = np.add.reduce([length for _, length, _ in chunks])
        return wanted > WHOLE_GROUP_SHARE * span, span

    def _surely(self, groups: Numbers, most: Numbers, requests: Numbers) -> tuple[Numbers, Numbers]:
        np = self.np
        least, fewest = most, requests
        unsure = np.zeros(len(groups), dtype=int)
        some = np.ones(len(groups), dtype=bool)
        smallest = np.full(len(groups), np.iinfo(np.int64).max)
        smallest_count = np.zeros(len(groups), dtype=np.int64)
        for column in self.scanner.testing:
            passed = self.judged(column)[0][groups]
            partial = passed != Pass.ALL.value
            unsure += partial
            some &= ~partial | (passed == Pass.SOME.value)
            size, count = self._column(column, groups)
            smaller = partial & (size < smallest)
            smallest = np.where(smaller, size, smallest)
            smallest_count = np.where(smaller, count, smallest_count)
        doubt = (unsure > 1) | ((unsure == 1) & ~some)
        least = np.where(doubt, smallest, least)
        fewest = np.where(doubt, smallest_count, fewest)
        for column in self.scanner.filters:
            skipped = self.judged(column)[2][groups]
            least, fewest = np.where(skipped, 0, least), np.where(skipped, 0, fewest)
        return least, fewest

    def _column(self, column: int, groups: Numbers) -> tuple[Numbers, int]:
        """Bytes of a tested column in each row group, and of how many chunks."""
        name = self.scanner.table.columns[column].name
        leaves = self.packed.layouts[0]
        places = [p for p, tested in self.layout.wanted if tested and leaves[p].column == name]
        sizes = [self.of_leaf("lengths", place)[groups].astype(int) for place in places]
        return self.np.add.reduce(sizes), len(places)

    def _first(
        self,
        groups: Numbers,
        least: Numbers,
        fewest: Numbers,
        numbers: Numbers,
        opened: tuple[Numbers, Numbers],
    ) -> Cost:
        if not len(numbers):
            return Cost(Interval(0, 0), Interval(0, 0))
        if not len(groups):
            place = int(numbers[0])
            size, count = int(opened[0][place]), int(opened[1][place])
            return Cost(Interval(size, size), Interval(count, count))
        files = self.file_of[groups]
        total = opened[0][files] + least
        place = int(total.argmin())
        requests = int(opened[1][files[place]] + fewest[place])
        return Cost(Interval(int(total[place]), int(total[place])), Interval(requests, requests))

    def _athena(self, groups: Numbers, opened: Numbers) -> int:
        """Bytes that Athena reads of files that it opens; see `plan_reads.athena_file`."""
        np = self.np
        sizes, ends = self.array("sizes"), self.array("footer_sizes")
        small = sizes[opened] <= ATHENA_SMALL_BYTES
        long = ends[opened] > ATHENA_FOOTER_BYTES
        footers = ATHENA_FOOTER_BYTES + np.where(long, ends[opened], 0)
        total = int(np.where(small, sizes[opened], footers).sum())
        large = groups[sizes[self.file_of[groups]] > ATHENA_SMALL_BYTES]
        order, width = sorted(self.layout.asked), self.layout.width
        offsets = self.array("offsets").reshape(-1, width)[large][:, order].reshape(-1)
        lengths = self.array("lengths").reshape(-1, width)[large][:, order].reshape(-1)
        files = np.repeat(self.file_of[large], len(order))
        return total + self._athena_ranges(files, offsets, lengths.astype(np.int64))

    def _athena_ranges(self, files: Numbers, offsets: Numbers, lengths: Numbers) -> int:
        """Bytes of chunks with what is read between them, all files at once, range by range."""
        np = self.np
        alone = lengths > ATHENA_BUFFER_BYTES
        total = int(lengths[alone].sum())
        if alone.any():
            files, offsets, lengths = (part[~alone] for part in (files, offsets, lengths))
        if not len(files):
            return total
        starts, ends = offsets, offsets + lengths
        if not ((starts[1:] >= starts[:-1]) | (files[1:] != files[:-1])).all():
            order = np.lexsort((starts, files))
            files, starts, ends = files[order], starts[order], ends[order]
        firsts = np.flatnonzero(np.concatenate([[True], files[1:] != files[:-1]]))
        counts = np.diff(np.append(firsts, len(files)))
        start, end = starts[firsts], ends[firsts]
        for number in range(1, int(counts.max())):
            here = np.flatnonzero(counts > number)
            at = firsts[here] + number
            whole = np.maximum(end[here], ends[at])
            near = starts[at] <= end[here] + ATHENA_GAP_BYTES
            joins = near & (whole - start[here] <= ATHENA_BUFFER_BYTES)
            total += int((end[here] - start[here])[~joins].sum())
            start[here] = np.where(joins, start[here], starts[at])
            end[here] = np.where(joins, whole, ends[at])
        return total + int((end - start).sum())
