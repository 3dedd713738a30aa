"""Text for terminals, which nothing in data or names may steer; and text that a user wrote."""

from __future__ import annotations

import re
from datetime import timedelta

from lakeq.errors import UsageError
from lakeq.neutral import neutral, neutral_lines

__all__ = ["age", "neutral", "neutral_lines"]
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str, option: str) -> timedelta:
    """What an age given as `option`, such as 30d, means."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None:
        hint = "write a number and m, h, d or w, such as 30d"
        raise UsageError(f"not an age: {text!r}", option, hint)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
