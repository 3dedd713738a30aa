"""Text for terminals and pages: nothing in data or names may steer them."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, line and paragraph separators, and the marks that reorder text.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def neutral(text: str) -> str:
    """`text` with control characters written out, as Python writes them in a string."""
    return _CONTROL.sub(_written, text)


def neutral_lines(text: str) -> str:
    """As `neutral`, but line breaks stay."""
    return "\n".join(map(neutral, text.split("\n")))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _NAMES.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
