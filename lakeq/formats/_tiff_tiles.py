"""The pixels of a TIFF: blocks fetched in few ranges, inflated within their size, put in place.

What is in a block comes from a stranger: it may not grow past what the directory says of it, and
one that ends early is refused, so a damaged object never gives fewer pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats import _tiff_kernels

if TYPE_CHECKING:
    from lakeq.formats._tiff_header import Image
    from lakeq.storage import SourceObject

Pixels = np.ndarray[Any, np.dtype[Any]]

GAP_BYTES = 1 << 14  # ranges as near as this become one request
RANGE_BYTES = 8 << 20  # a request is not made longer than this by joining
THREADS = 8
DAMAGED = "the object is damaged or was replaced: fetch it again"


class Layout(NamedTuple):
    """What decoding a block needs to know of its image; see `Image`."""

    block_width: int
    block_height: int
    samples: int
    dtype: str
    byte_order: str
    compression: str
    predictor: int

    @classmethod
    def of(cls, image: Image) -> Layout:
        """The layout of an image's blocks."""
        return cls(
            image.block_width, image.block_height, 1 if image.planar else image.samples,
            image.dtype, image.byte_order, image.compression, image.predictor,
        )  # fmt: skip

    @property
    def line_bytes(self) -> int:
        """Bytes of one line of a block."""
        if self.dtype == "bits":
            return -(-self.block_width * self.samples // 8)
        return self.block_width * self.samples * int(self.dtype[1:])


def inflated(layout: Layout, data: Any, lines: int, where: str) -> Any:
    """The bytes of `lines` lines of a block; it may hold more lines, up to its height."""
    least, most = layout.line_bytes * lines, layout.line_bytes * layout.block_height
    out: Any = b""
    if layout.compression == "none":
        out = data
    elif layout.compression == "deflate":
        out = _deflate(data, most, where)
    elif layout.compression == "zstd":
        out = _zstd(data, least, most, where)
    else:
        out = _lzw(data, most, where)
    if len(out) > most:
        raise BadSource(f"a block is more than its {most:,} bytes", where, DAMAGED)
    if len(out) < least:
        raise BadSource(f"a block gives {len(out):,} of its {least:,} bytes", where, DAMAGED)
    return out


def _deflate(data: Any, most: int, where: str) -> bytes:
    from isal import isal_zlib

    error: Any = isal_zlib.error
    try:
        out: bytes = isal_zlib.decompressobj().decompress(data, most + 1)
    except error as cause:
        raise BadSource(f"a block does not inflate: {cause}", where, DAMAGED) from cause
    return out


def _zstd(data: Any, least: int, most: int, where: str) -> Any:
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
    try:
        return stream.read(most + 1)
    except OSError as cause:
        raise BadSource(f"a block of {least:,} bytes: {cause}", where, DAMAGED) from cause


def _lzw(data: Any, most: int, where: str) -> Any:
    out = np.empty(most, np.uint8)
    table = np.empty((2, 4096), np.int64)
    found = _tiff_kernels.lzw(np.frombuffer(data, np.uint8), out, table[0], table[1])
    if found < 0:
        words = {_tiff_kernels.BAD_CODE: "a code of LZW that was not defined"}
        what = words.get(found, f"LZW gives more than {most:,} bytes")
        raise BadSource(f"a block does not inflate: {what}", where, DAMAGED)
    return out[:found].data


def decoded(layout: Layout, data: bytes, lines: int, where: str) -> Pixels:
    """The first `lines` lines of a block: lines x pixels x samples, in native byte order."""
    raw = inflated(layout, data, lines, where)
    width, samples = layout.block_width, layout.samples
    if layout.dtype == "bits":
        rows = np.frombuffer(raw, np.uint8)[: layout.line_bytes * lines].reshape(lines, -1)
        return np.unpackbits(rows, axis=1)[:, : width * samples].reshape(lines, width, samples)
    if layout.predictor == 3:
        return _floats(layout, raw, lines).reshape(lines, width, samples)
    dtype = np.dtype(layout.byte_order + layout.dtype)
    rows = np.frombuffer(raw, dtype, lines * width * samples).reshape(lines, width * samples)
    rows = rows.astype(dtype.newbyteorder("="))
    if layout.predictor == 2:
        _tiff_kernels.sums(rows.view(f"u{dtype.itemsize}"), samples)
    return rows.reshape(lines, width, samples)


def _floats(layout: Layout, raw: Any, lines: int) -> Pixels:
    """Predictor 3: bytes of equal weight stand together, highest first, as differences."""
    size = int(layout.dtype[1:])
    values = layout.block_width * layout.samples
    rows = np.frombuffer(raw, np.uint8, lines * values * size).reshape(lines, values * size).copy()
    _tiff_kernels.sums(rows, layout.samples)
    planes = rows.reshape(lines, size, values).transpose(0, 2, 1)
    return np.ascontiguousarray(planes).view(f">f{size}").astype(f"=f{size}").reshape(lines, values)


class Run(NamedTuple):
    """One range request, and the numbers of what it fetches."""

    offset: int
    length: int
    members: tuple[int, ...]


def runs(
    offsets: Sequence[int], lengths: Sequence[int], *, gap: int = GAP_BYTES, most: int = RANGE_BYTES
) -> list[Run]:
    """The requests that fetch these ranges, in order of offset; members index the arguments.

    Ranges of no length are left out.
    """
    order = sorted((n for n in range(len(offsets)) if lengths[n]), key=lambda n: offsets[n])
    found: list[Run] = []
    members: list[int] = []
    start = end = 0
    for n in order:
        stop = offsets[n] + lengths[n]
        if members and (offsets[n] > end + gap or max(stop, end) - start > most):
            found.append(Run(start, end - start, tuple(members)))
            members = []
        if not members:
            start, end = offsets[n], stop
        members.append(n)
        end = max(end, stop)
    if members:
        found.append(Run(start, end - start, tuple(members)))
    return found


def read(source: SourceObject, image: Image, window: tuple[slice, slice] | None = None) -> Pixels:
    """Pixels of an image as samples x lines x pixels; `window` are the lines and the pixels wanted.

    Blocks of the window are fetched in few requests at the same time and no others are. Raises
    `BadSource`, which names the byte, for a damaged block.
    """
    lines, columns = window or (slice(0, image.height), slice(0, image.width))
    top, bottom = lines.indices(image.height)[:2]
    left, right = columns.indices(image.width)[:2]
    dtype = np.uint8 if image.dtype == "bits" else np.dtype(image.dtype)
    shape = (image.samples, max(0, bottom - top), max(0, right - left))
    out = np.full(shape, np.array(image.fill).astype(dtype) if image.kind != "mask" else 0, dtype)
    blocks = list(_blocks(image, (top, bottom), (left, right)))
    offsets = [int(image.offsets[number]) for number in blocks]
    lengths = [int(image.lengths[number]) for number in blocks]
    layout = Layout.of(image)

    def work(run: Run) -> None:
        data = source.read_range(run.offset, run.length)
        for member in run.members:
            start = offsets[member] - run.offset
            part = data[start : start + lengths[member]]
            _place(image, layout, blocks[member], part, source.uri, out, (top, left))

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, runs(offsets, lengths)):
            pass
    return out


def _blocks(image: Image, lines: tuple[int, int], columns: tuple[int, int]) -> Iterator[int]:
    """The numbers of the blocks that overlap a window, in all planes."""
    if lines[0] >= lines[1] or columns[0] >= columns[1]:
        return
    plane = image.across * image.down
    for first in range(0, plane * (image.samples if image.planar else 1), plane):
        for row in range(lines[0] // image.block_height, -(-lines[1] // image.block_height)):
            start = first + row * image.across
            for column in _spanned(columns, image.block_width):
                yield start + column


def _spanned(columns: tuple[int, int], width: int) -> Iterable[int]:
    return range(columns[0] // width, -(-columns[1] // width))


def _place(
    image: Image, layout: Layout, number: int, data: bytes, uri: str, out: Pixels,
    corner: tuple[int, int],
) -> None:  # fmt: skip
    """Decode a block and copy what of it lies in `out`, whose first pixel is `corner`."""
    plane, rest = divmod(number, image.across * image.down)
    line = rest // image.across * image.block_height
    pixel = rest % image.across * image.block_width
    lines = min(image.block_height, image.height - line)
    where = f"{uri}, byte {int(image.offsets[number])} (block {number})"
    block = decoded(layout, data, lines, where)
    top, bottom = max(line, corner[0]), min(line + lines, corner[0] + out.shape[1])
    left = max(pixel, corner[1])
    right = min(pixel + image.block_width, image.width, corner[1] + out.shape[2])
    part = block[top - line : bottom - line, left - pixel : right - pixel]
    into = out[:, top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
    if image.planar:
        into[plane] = part[:, :, 0]
    else:
        into[:] = part.transpose(2, 0, 1)
