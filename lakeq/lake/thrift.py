"""Thrift's compact protocol, as far as writing a Parquet footer and page headers needs it.

Source: Apache Thrift, thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

_BYTE = [bytes([number]) for number in range(128)]
_KINDS = {"i16": 4, "i32": 5, "i64": 6, "text": 8, "bytes": 8, "struct": 12}
_LISTS = {"i32s": "i32", "texts": "text", "structs": "struct"}


def struct(*fields: tuple[int, str, Any]) -> bytes:
    """A struct of the compact protocol: its fields as (number, kind, value), None left out."""
    parts: list[bytes] = []
    last = 0
    for number, kind, value in fields:
        if value is None:
            continue
        code = _KINDS.get(kind, 9) if kind != "bool" else 1 if value else 2
        parts.append(bytes([(number - last) << 4 | code]))
        last = number
        if kind != "bool":  # its value is in its code
            parts.append(_value(code, kind, value))
    parts.append(b"\0")
    return b"".join(parts)


def _value(code: int, kind: str, value: Any) -> bytes:
    if code < 8:
        number = value << 1 if value >= 0 else (-value << 1) - 1
        return _BYTE[number] if number < 128 else varint(number)
    if code == 12:
        return bytes(value)
    if code == 8:
        data = value.encode() if kind == "text" else value
        return varint(len(data)) + bytes(data)
    inner = _LISTS[kind]
    code, count = _KINDS[inner], len(value)
    head = bytes([count << 4 | code]) if count < 15 else bytes([0xF0 | code]) + varint(count)
    return head + b"".join([_value(code, inner, part) for part in value])


def varint(number: int) -> bytes:
    """An unsigned number in groups of 7 bits."""
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
