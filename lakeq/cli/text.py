"""Text for terminals: nothing in data or names may steer them."""

from __future__ import annotations

from lakeq.neutral import neutral, neutral_lines

__all__ = ["neutral", "neutral_lines"]
