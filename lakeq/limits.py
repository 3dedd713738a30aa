"""Limits of one query: refused before it reads anything, by its plan."""

from __future__ import annotations

from collections.abc import Sequence

from lakeq import cost
from lakeq.config import Limits
from lakeq.errors import BudgetRefused
from lakeq.planner import Plan


def passed(limits: Limits, plan: Plan) -> list[str]:
    """Each of `limits` that `plan` may pass, in words."""
    found = []
    if limits.max_usd is not None and plan.high_usd > limits.max_usd:
        may, limit = cost.dollars(plan.high_usd), cost.dollars(limits.max_usd)
        found.append(f"it may cost {may}, and max_usd is {limit}")
    if limits.max_bytes is not None and plan.high_bytes > limits.max_bytes:
        found.append(f"it may read {plan.high_bytes:,} bytes; max_bytes is {limits.max_bytes:,}")
    return found


def check(limits: Limits, plan: Plan, rewrites: Sequence[str] = ()) -> None:
    """Raise `BudgetRefused` when `plan` may pass a limit; `rewrites` say what is cheaper."""
    found = passed(limits, plan)
    if not found:
        return
    what = "refused before anything was read, at no cost: " + "; ".join(found)
    hint = "\n         ".join(rewrites) or "raise the limit, or ask for fewer columns or rows"
    raise BudgetRefused(what, "the query", hint)
