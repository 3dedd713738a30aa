"""Rows of pixels out of blocks: fetched ahead, decoded on all cores, passed on in bounded memory.

Groups of neighbouring blocks are fetched together, a few groups ahead of what is decoded. Fetching,
inflating and the kernels run without the GIL. Where a LIMIT may end the reading, groups begin with
one unit and grow, batches begin small and grow, and no more is fetched ahead than was used already.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats import _landsat_quality, _tiff_kernels
from lakeq.formats._landsat_columns import PLACES, SAME, Column, Pixels, array, texts
from lakeq.formats._landsat_scan import Band, Product, Unit, products, units
from lakeq.formats._tiff_tiles import inflated, runs
from lakeq.selection import Part

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.selection import Wanted
    from lakeq.storage import SourceObject

AHEAD_BYTES = 24 << 20  # fetched and not decoded yet
GROUP_BYTES = 4 << 20
GROUP_UNITS = 64
BATCH_ROWS = 1 << 15  # smaller batches are joined
# Where pyarrow stands between, it asks for up to 48 batches before DuckDB does: the first unit has
# more small ones than that.
FIRST_ROWS = 1 << 8
GROWTH = 64  # a batch of what may end early is no more than this part of what was given before
REMOTE_READERS = 24
LOCAL_READERS = 2
AGAIN = "index it again: lakeq ingest landsat OBJECT, its metadata file"


@dataclass(slots=True)
class _Fetch:
    """The range requests of a group of units, and their answers."""

    units: list[Unit]
    requests: list[tuple[Band, Part, tuple[int, ...]]]  # of a band, with its blocks' numbers
    answers: dict[tuple[str, int], tuple[Future[bytes], Part]] = field(default_factory=dict)
    left: int = 0

    @property
    def size(self) -> int:
        """Bytes of all requests."""
        return sum(part.length for _, part, _ in self.requests)


class PixelRows:
    """The rows of one mention of a virtual table; see `lakeq.selection.Rows`."""

    def __init__(self, table: Table, wanted: Wanted) -> None:
        self._table, self._wanted = table, wanted
        self._scaled = table.options.get("quantity", "")
        named = [c.name for c in table.columns if c.name in wanted.columns] or ["line"]
        self.schema = _schema(table, named)
        self._bands = self._bands_for(named)
        self._products = products(wanted, self._bands, table.options)
        self.constants: Mapping[str, object] = _constants(self._products, named)
        self._numbers = {product.product_id: n for n, product in enumerate(self._products)}
        found = _enough(units(self._products), wanted.rows)
        self._groups = list(_grouped(found, growing=wanted.limited))
        self.parts = [part for group in self._groups for _, part, _ in group.requests]
        self.objects = len({part.path for part in self.parts})
        self.blocks = sum(len(numbers) for g in self._groups for _, _, numbers in g.requests)
        self._blocks = {p: len(n) for group in self._groups for _, p, n in group.requests}
        self.column_bytes: dict[str, int] = {}
        for group in self._groups:
            for band, part, _ in group.requests:
                known = self.column_bytes.get(band.name, 0)
                self.column_bytes[band.name] = known + part.length
        self.take: Callable[[int], None] = lambda _bytes: None
        self.reads: list[Part] = []
        self.failure: BaseException | None = None
        self.once = False
        self._sources: dict[str, SourceObject] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._begun: _Pipeline | None = None

    @property
    def object_bytes(self) -> int:
        """Sizes of all files that hold the bands of the products wanted."""
        sizes = {
            band.facts["object"]: int(band.facts["object_bytes"])
            for product in self._products
            for band in product.bands.values()
        }
        return sum(sizes.values())

    def _bands_for(self, named: Sequence[str]) -> tuple[str, ...]:
        """The bands whose blocks are needed for columns."""
        found = [name for name in named if name not in (*PLACES, *_landsat_quality.FLAGS)]
        if any(name in _landsat_quality.FLAGS for name in named):
            found.append("qa_pixel")
        if self._scaled and any(not name.startswith("qa_") for name in found):
            found += ["qa_pixel", "qa_radsat"]
        return tuple(dict.fromkeys(found))

    def blocks_of(self, part: Part) -> int:
        """How many blocks a request fetches."""
        return self._blocks[part]

    def begin(self) -> None:
        """Start to fetch and decode what the first reading will ask for, if it asks for all."""
        if self.once and not self._wanted.limited and self._groups and self._begun is None:
            self._begun = self._pipeline()
            self._begun.fill()

    def close(self) -> None:
        """Stop whatever is being made."""
        self._stopped.set()
        if self._begun is not None:
            self._begun.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, product by product and block by block, as record batches."""
        try:
            yield from self._joined()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def _joined(self) -> Iterator[pa.RecordBatch]:
        held: list[dict[str, Column]] = []
        rows = given = 0
        for count, columns in self._decoded():
            if self._wanted.limited and given < GROWTH * BATCH_ROWS:
                batch = self._batch([columns])
                while len(batch):
                    part = batch[: max(FIRST_ROWS, given // GROWTH)]
                    yield part
                    given += len(part)
                    batch = batch[len(part) :]
                continue
            held.append(columns)
            rows += count
            if rows >= BATCH_ROWS:
                yield self._batch(held)
                held, rows = [], 0
        if rows:
            yield self._batch(held)

    def _batch(self, held: Sequence[Mapping[str, Column]]) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = []
        for part in self.stream_schema:
            columns = [columns[part.name] for columns in held]
            if part.name == "product_id":
                numbers = array(columns, pa.int32())
                arrays.append(pa.DictionaryArray.from_arrays(numbers, self._names))
            else:
                arrays.append(array(columns, part.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.stream_schema)

    @cached_property
    def _names(self) -> pa.Array:
        return texts([product.product_id for product in self._products])

    @cached_property
    def stream_schema(self) -> pa.Schema:
        """The schema of the batches: product_id is a dictionary, which DuckDB takes for text."""
        import pyarrow as pa

        coded = pa.dictionary(pa.int32(), pa.string())
        return pa.schema(
            [
                pa.field(p.name, coded if p.name == "product_id" else p.type)
                for p in self.schema
                if p.name not in self.constants
            ]
        )

    def _decoded(self) -> Iterator[tuple[int, dict[str, Column]]]:
        """The columns of each unit in order, with its rows."""
        pipeline, self._begun = self._begun or self._pipeline(), None
        try:
            while (found := pipeline.next()) is not None:
                yield found
        finally:
            pipeline.close()

    def _pipeline(self) -> _Pipeline:
        remote = any(
            "://" in part.path and not part.path.startswith("file:") for part in self.parts
        )
        readers = REMOTE_READERS if remote else LOCAL_READERS
        limited = self._wanted.limited
        return _Pipeline(self, self._groups, readers, max(1, self._wanted.threads), limited=limited)

    def fetch(self, group: _Fetch, readers: ThreadPoolExecutor) -> None:
        group.left = len(group.units)
        for band, part, numbers in group.requests:
            future = readers.submit(self._read, band, part)
            for number in numbers:
                group.answers[part.path, number] = future, part

    def _read(self, band: Band, part: Part) -> bytes:
        if self._stopped.is_set():
            return b""
        with self._lock:
            source = self._sources.get(part.path)
            if source is None:
                facts = band.facts
                source = self._wanted.pinned(part.path, int(facts["object_bytes"]), facts["etag"])
                self._sources[part.path] = source
        self.take(part.length)
        try:
            data = source.read_range(part.offset, part.length)
        except BadSource as error:
            if "changed" in error.what:
                what = "the object is not the one that was indexed"
                raise BadSource(what, part.path, AGAIN) from error
            raise
        self.reads.append(part)
        return data

    def decode(self, group: _Fetch, unit: Unit) -> tuple[int, dict[str, Column]]:
        """The columns of the wanted pixels of one unit."""
        if self._stopped.is_set():
            raise RuntimeError("stopped")
        cut = unit.rectangles
        hull = (
            int(cut[:, 0].min()),
            int(cut[:, 1].max()),
            int(cut[:, 2].min()),
            int(cut[:, 3].max()),
        )
        mask = _mask(cut, hull) if len(cut) > 1 else None
        stored: dict[str, Column] = {}
        for name in self._bands:
            band = unit.product.bands.get(name)
            if band is not None:
                values = self._band(group, unit, band, hull)
                stored[name] = (values.ravel() if mask is None else values[mask]), None
        count = (hull[1] - hull[0]) * (hull[3] - hull[2]) if mask is None else int(mask.sum())
        pixels = Pixels(unit.product, hull, mask, count, stored)
        columns = {}
        for part in self.stream_schema:
            if part.name == "product_id":
                number = self._numbers[unit.product.product_id]
                columns[part.name] = np.full(count, number, np.int32), None
            elif part.name in PLACES:
                columns[part.name] = pixels.place(part.name)
            elif part.name in _landsat_quality.FLAGS:
                columns[part.name] = pixels.flag(part.name)
            elif self._scaled and not part.name.startswith("qa_"):
                columns[part.name] = pixels.scaled(part.name, self._scaled)
            else:
                columns[part.name] = pixels.band(part.name)
        return count, columns

    def _band(self, group: _Fetch, unit: Unit, band: Band, hull: tuple[int, int, int, int]) -> Any:
        """The stored values of a band in a rectangle, as int32."""
        layout = band.layout
        top, bottom, left, right = hull
        out = np.empty((bottom - top, right - left), np.int32)
        across = band.offsets.shape[1]
        image_lines = int(band.facts["image_lines"])
        for row in range(top // layout.block_height, -(-bottom // layout.block_height)):
            line = row * layout.block_height
            first, last = max(line, top), min(line + layout.block_height, bottom)
            for column in range(left // layout.block_width, -(-right // layout.block_width)):
                sample = column * layout.block_width
                start, stop = max(sample, left), min(sample + layout.block_width, right)
                into = out[first - top : last - top, start - left : stop - left]
                if not band.lengths[row, column]:
                    into[:] = band.fill
                    continue
                future, part = group.answers[band.facts["object"], row * across + column]
                offset = int(band.offsets[row, column])
                data = memoryview(future.result())[offset - part.offset :]
                data = data[: int(band.lengths[row, column])]
                where = f"{band.facts['object']}, byte {offset} ({band.name}, block {row}/{column})"
                lines = min(layout.block_height, image_lines - line)
                raw = inflated(layout, data, lines, where)
                dtype = np.dtype(layout.byte_order + layout.dtype)
                block = np.frombuffer(raw, dtype, lines * layout.block_width)
                block = block.reshape(lines, layout.block_width)
                if not dtype.isnative:
                    block = block.astype(dtype.newbyteorder("="))
                _tiff_kernels.widened(
                    block[first - line : last - line], layout.predictor == 2, 8 * dtype.itemsize,
                    dtype.kind == "i", start - sample, stop - start, into,
                )  # fmt: skip
        return out


class _Pipeline:
    """One reading of groups: fetched ahead, decoded on threads, given out in order."""

    def __init__(
        self, rows: PixelRows, groups: Sequence[_Fetch], readers: int, threads: int, *,
        limited: bool,
    ) -> None:  # fmt: skip
        self._rows = rows
        self._readers = ThreadPoolExecutor(readers)
        self._decoders = ThreadPoolExecutor(threads)
        self._waiting = deque(groups)
        self._ready: deque[tuple[_Fetch, Unit]] = deque()
        self._pending: deque[tuple[_Fetch, Future[tuple[int, dict[str, Column]]]]] = deque()
        self._depth = 3 * threads
        self._ahead = 0
        self._most = 0 if limited else AHEAD_BYTES

    def fill(self) -> None:
        """Fetch and decode as far ahead as memory allows."""
        while self._waiting and (self._ahead < self._most or not (self._ready or self._pending)):
            planned = self._waiting.popleft()
            group = _Fetch(planned.units, planned.requests)
            self._ahead += group.size
            self._rows.fetch(group, self._readers)
            self._ready.extend((group, unit) for unit in group.units)
        while self._ready and len(self._pending) < self._depth:
            group, unit = self._ready.popleft()
            self._pending.append((group, self._decoders.submit(self._rows.decode, group, unit)))

    def next(self) -> tuple[int, dict[str, Column]] | None:
        """The columns of the next unit, with its rows; None after the last."""
        self.fill()
        if not self._pending:
            return None
        group, future = self._pending.popleft()
        found = future.result()
        group.left -= 1
        if not group.left:
            self._ahead -= group.size
            self._most = min(AHEAD_BYTES, self._most + group.size)
            group.answers.clear()
        return found

    def close(self) -> None:
        """Give up what is not done."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)


def _schema(table: Table, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    from lakeq import types

    return pa.schema([part for part in types.arrow_schema(table) if part.name in names])


def _constants(found: Sequence[Product], named: Sequence[str]) -> dict[str, object]:
    """The columns whose rows all have one value, unless that are all columns.

    DuckDB need not look at them: it works conditions on them out when it plans.
    """
    if not found or not set(named) - set(SAME):
        return {}
    constants: dict[str, object] = {}
    for name in set(named) & set(SAME):
        values = {p.product_id if name == "product_id" else p.facts[name] for p in found}
        if len(values) == 1:
            value = values.pop()
            if name == "acquired" and value is not None:
                value = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(value))
            constants[name] = value
    return constants


def _mask(cut: Any, hull: tuple[int, int, int, int]) -> Any:
    mask = np.zeros((hull[1] - hull[0], hull[3] - hull[2]), bool)
    for top, bottom, left, right in cut.tolist():
        mask[top - hull[0] : bottom - hull[0], left - hull[2] : right - hull[2]] = True
    return mask


def _enough(found: Iterator[Unit], rows: int | None) -> Iterator[Unit]:
    """The first units that have so many rows between them; None: all."""
    given = 0
    for unit in found:
        if rows is not None and given >= rows:
            return
        yield unit
        if len(unit.rectangles) == 1:  # several may overlap
            top, bottom, left, right = unit.rectangles[0].tolist()
            given += (bottom - top) * (right - left)


def _grouped(found: Iterator[Unit], *, growing: bool) -> Iterator[_Fetch]:
    """Neighbouring units of one product with the requests that fetch their blocks.

    Where `growing`, the first group has one unit and each further one up to twice as many.
    """
    group: list[Unit] = []
    size = 0
    most = 1 if growing else GROUP_UNITS
    for unit in found:
        if group and (
            unit.product is not group[0].product or size > GROUP_BYTES or len(group) >= most
        ):
            yield _Fetch(group, list(_requests(group)))
            group, size = [], 0
            most = min(GROUP_UNITS, 2 * most)
        group.append(unit)
        for band in unit.product.bands.values():
            size += sum(int(band.lengths.flat[number]) for number in _numbers(unit, band))
    if group:
        yield _Fetch(group, list(_requests(group)))


def _numbers(unit: Unit, band: Band) -> list[int]:
    """The blocks of a band that the wanted rectangles of a unit lie in."""
    height, width = int(band.facts["block_lines"]), int(band.facts["block_samples"])
    across = band.offsets.shape[1]
    cut = unit.rectangles
    rows = range(int(cut[:, 0].min()) // height, -(-int(cut[:, 1].max()) // height))
    columns = range(int(cut[:, 2].min()) // width, -(-int(cut[:, 3].max()) // width))
    return [row * across + column for row in rows for column in columns]


def _requests(group: Sequence[Unit]) -> Iterator[tuple[Band, Part, tuple[int, ...]]]:
    for band in group[0].product.bands.values():
        numbers = sorted({number for unit in group for number in _numbers(unit, band)})
        offsets = [int(band.offsets.flat[number]) for number in numbers]
        lengths = [int(band.lengths.flat[number]) for number in numbers]
        for run in runs(offsets, lengths):
            part = Part(band.facts["object"], run.offset, run.length)
            yield band, part, tuple(numbers[member] for member in run.members)
