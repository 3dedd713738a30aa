"""Thrift's compact protocol, as far as writing a Parquet footer and page headers needs it.

Source: Apache Thrift, thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

_KINDS = {"i16": 4, "i32": 5, "i64": 6, "text": 8, "bytes": 8, "struct": 12}
_LISTS = {"i32s": "i32", "texts": "text", "structs": "struct"}
_LIST = 9


def struct(*fields: tuple[int, str, Any]) -> bytes:
    """A struct of the compact protocol: its fields as (number, kind, value), None left out."""
    out = bytearray()
    last = 0
    for number, kind, value in fields:
        if value is None:
            continue
        code = _KINDS.get(kind, _LIST) if kind != "bool" else 1 if value else 2
        out.append((number - last) << 4 | code)
        last = number
        if kind != "bool":  # its value is in its code
            _add(out, code, kind, value)
    out.append(0)
    return bytes(out)


def _add(out: bytearray, code: int, kind: str, value: Any) -> None:
    if code < 8:
        _add_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
    elif code == 12:
        out += value
    elif code == 8:
        data = value.encode() if kind == "text" else value
        _add_varint(out, len(data))
        out += data
    else:
        inner = _LISTS[kind]
        code, count = _KINDS[inner], len(value)
        out.append(min(count, 15) << 4 | code)
        if count >= 15:
            _add_varint(out, count)
        for part in value:
            _add(out, code, inner, part)


def _add_varint(out: bytearray, number: int) -> None:
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def varint(number: int) -> bytes:
    """An unsigned number in groups of 7 bits."""
    out = bytearray()
    _add_varint(out, number)
    return bytes(out)
