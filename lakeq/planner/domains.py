"""The values that pushed-down filters leave a column."""

from __future__ import annotations

from functools import reduce

from lakeq.planner.filters import Filter
from lakeq.selection import ANYTHING, Domain


def domain(filter_: Filter) -> Domain:
    """The values that may pass a filter, NULL aside; more than those where it is not understood."""
    if filter_.fields:
        return ANYTHING
    if filter_.kind in ("and", "expression"):
        return reduce(Domain.both, map(domain, filter_.children), ANYTHING)
    if filter_.kind == "or" and filter_.children:
        return reduce(Domain.either, map(domain, filter_.children))
    if filter_.kind == "in":
        return Domain(values=frozenset(filter_.values))
    if filter_.kind == "compare":
        value = filter_.values[0]
        if filter_.operator == "=":
            return Domain(values=frozenset([value]))
        if filter_.operator in ("<", "<="):
            return Domain(high=value)
        if filter_.operator in (">", ">="):
            return Domain(low=value)
    return ANYTHING
