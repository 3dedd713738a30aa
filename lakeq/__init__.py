"""SQL over public scientific archives, with the bytes scanned and the dollars.

>>> import lakeq
>>> lake = lakeq.connect("mylake")
>>> lake.sql("select 1 as one").rows()
[(1,)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq import errors
    from lakeq.api import Lake, connect, plan
    from lakeq.planner import Plan
    from lakeq.query import Report, Result

__all__ = ["connect", "plan", "Plan", "Lake", "Result", "Report", "errors"]

_HOMES = {
    "connect": "api",
    "plan": "api",
    "Plan": "planner",
    "Lake": "api",
    "Result": "query",
    "Report": "query",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that `import lakeq` costs next to nothing."""
    from importlib import import_module

    if name == "errors":
        return import_module("lakeq.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'lakeq' has no attribute {name!r}")
    return getattr(import_module(f"lakeq.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
