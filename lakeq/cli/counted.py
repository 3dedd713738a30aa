"""Numbers with the noun that they count, for people: 1 file, 2 files."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """The number, with commas, and the noun in its form for that many."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
