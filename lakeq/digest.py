"""The digest of a result: whether two runs of a query gave the same rows, and in the same order.

`set` is over the rows whatever their order, repeats counted: BLAKE2b over the encoded rows,
sorted. `seq` is over the rows as they came, and there only when the query says ORDER BY at its
top. A row is encoded value by value, floating point to the last bit: Python's `marshal`, or
`repr` for a row with values that it lacks (decimals, times). `how` names the way of the rows,
"rows" for Python's values as the engine gives them and "arrow" for those of Arrow: the two differ
in some types, so digests of the two ways say nothing about each other.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

_MARSHAL = 2  # the last version that encodes equal rows equally, without references
_BYTES = 16


@dataclass(frozen=True, slots=True)
class Digest:
    """What identifies the rows of a result; `seq` is "" for a query without ORDER BY."""

    how: str
    rows: int
    set: str
    seq: str = ""

    def __str__(self) -> str:
        return f"{self.how}:{self.rows}:{self.set}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that was written as `text`."""
        how, rows, of_set, of_sequence = text.split(":")
        return cls(how, int(rows), of_set, of_sequence)


class Digester:
    """Takes the rows as they pass; gives no digest once they are more than `limit`."""

    def __init__(self, limit: int, how: str) -> None:
        self._limit = limit
        self._how = how
        self._seen: list[bytes] = []
        self.wants = limit > 0

    def add(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Take some further rows."""
        if len(self._seen) + len(rows) > self._limit:
            self.wants = False
            self._seen = []
        if self.wants:
            self._seen += [_encoded(row) for row in rows]

    def digest(self, *, ordered: bool) -> Digest | None:
        """The digest of all rows; None where they were too many."""
        if not self.wants:
            return None
        sequence = _over(self._seen) if ordered else ""
        return Digest(self._how, len(self._seen), _over(sorted(self._seen)), sequence)


def is_ordered(serialized: str) -> bool:
    """Whether a query, as `json_serialize_sql` tells it, has ORDER BY at its top."""
    try:
        node = json.loads(serialized)["statements"][0]["node"]
    except (ValueError, LookupError, RecursionError):
        return False
    return any(part.get("type") == "ORDER_MODIFIER" for part in node.get("modifiers", ()))


def _encoded(row: tuple[object, ...]) -> bytes:
    try:
        return marshal.dumps(row, _MARSHAL)  # type: ignore[arg-type]  # what it lacks, it says
    except ValueError:  # a value of a type that marshal lacks
        return repr(row).encode("utf-8", "backslashreplace")


def _over(rows: Sequence[bytes]) -> str:
    whole = blake2b(digest_size=_BYTES)
    whole.update(b"".join([len(row).to_bytes(4, "big") + row for row in rows]))
    return whole.hexdigest()
