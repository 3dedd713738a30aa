"""Fields of a VCF's INFO column as Arrow arrays, all rows at once (VCF v4.3, section 1.6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class InfoFields:
    """Finds `KEY=value` items in an array of INFO texts without splitting them into objects.

    Items are found once (every start of a row and every `;`); a key is then a comparison of the
    first bytes of all items, and its values are slices of the same text.
    """

    def __init__(self, info: pa.Array) -> None:
        """`info` is an Arrow string array without NULLs, at most 2 GiB of text."""
        import numpy as np
        import pyarrow as pa

        self._rows = len(info)
        _, offsets, data = info.buffers()
        places = np.frombuffer(offsets, np.int32)[info.offset : info.offset + len(info) + 1]
        self._data = data if data is not None else pa.py_buffer(b"")
        text = np.frombuffer(self._data, np.uint8)[: places[-1]]
        self._row_starts = places[:-1]
        cuts = np.flatnonzero(text[places[0] :] == ord(";")) + places[0] + 1
        starts = np.concatenate([places, cuts.astype(np.int32)])
        starts.sort(kind="stable")  # two sorted runs: one merge
        starts = starts[np.append(True, starts[1:] != starts[:-1])]
        self._starts, ends = starts[:-1], starts[1:].copy()
        self._ends = ends - (text[ends - 1] == ord(";")) if len(ends) else ends
        padded = np.concatenate([text, np.zeros(8, np.uint8)])
        self._words = np.lib.stride_tricks.as_strided(
            padded[:8].view("<u8"), shape=(len(text) + 1,), strides=(1,), writeable=False
        )
        self._firsts = self._words[self._starts]
        self._sizes = self._ends - self._starts

    def get(self, key: str) -> pa.Array:
        """The value of `key` in every row as strings; NULL where it is absent, empty or `.`.

        A key that stands twice in a row counts with its first value.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        items = self._items(key.encode() + b"=")
        if not len(items):
            return pa.nulls(self._rows, pa.string())
        starts = self._starts[items] + len(key.encode()) + 1
        ends = self._ends[items]
        between = np.empty(2 * len(items), np.int32)
        between[::2], between[1::2] = starts, ends
        slices = pa.StringArray.from_buffers(len(between) - 1, pa.py_buffer(between), self._data)
        rows = np.searchsorted(self._row_starts, self._starts[items], "right") - 1
        place = np.full(self._rows, -1, np.int64)
        place[rows[::-1]] = 2 * np.arange(len(items) - 1, -1, -1)
        values = slices.take(pa.array(place, mask=place < 0))
        missing = pc.or_(pc.equal(values, "."), pc.equal(values, ""))
        return pc.if_else(missing, None, values)

    def _items(self, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """The items that start with `key`, compared eight bytes at a time."""
        import numpy as np

        mask, value = _pattern(key[:8])
        found: np.ndarray[tuple[int], np.dtype[np.intp]] = np.flatnonzero(
            (self._firsts & mask) == value
        )
        found = found[self._sizes[found] >= len(key)]
        for at in range(8, len(key), 8):
            mask, value = _pattern(key[at : at + 8])
            found = found[(self._words[self._starts[found] + at] & mask) == value]
        return found


def _pattern(part: bytes) -> tuple[np.uint64, np.uint64]:
    """Mask and value that a little-endian word has which starts with `part`."""
    import numpy as np

    return np.uint64((1 << 8 * len(part)) - 1), np.uint64(int.from_bytes(part, "little"))
