"""Limits of one query: refused by its plan before it reads anything, or an allowance to run with.

A query is refused when it may pass a limit. One with LIMIT, whose plan cannot say where it ends, is
refused when it surely would, and else runs until it does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NoReturn

from lakeq import cost
from lakeq.config import Limits
from lakeq.errors import BudgetRefused
from lakeq.planner import Plan


def passed(limits: Limits, plan: Plan) -> list[str]:
    """Each of `limits` for which `plan` is refused, in words."""
    usd, size = (plan.low_usd, plan.low_bytes) if plan.stops else (plan.high_usd, plan.high_bytes)
    sure = plan.stops or plan.exact
    return passed_by(limits, usd, size, "it", sure=sure)


def passed_by(
    limits: Limits, usd: Decimal, size: int, what: str, *, sure: bool = False
) -> list[str]:
    """Each of `limits` that so many dollars and bytes of `what` pass, in words."""
    found = []
    may = "will" if sure else "may"
    if limits.max_usd is not None and usd > limits.max_usd:
        amount, limit = cost.dollars(usd), cost.dollars(limits.max_usd)
        found.append(f"{what} {may} cost {amount}, and max_usd is {limit}")
    if limits.max_bytes is not None and size > limits.max_bytes:
        found.append(f"{what} {may} read {size:,} bytes, and max_bytes is {limits.max_bytes:,}")
    return found


def allowed_bytes(limits: Limits, plan: Plan) -> int | None:
    """The most bytes that the query may read; None where its plan stays within the limits."""
    most = [limits.max_bytes] if limits.max_bytes is not None else []
    if limits.max_usd is not None:
        most.append(cost.athena_bytes_for(limits.max_usd, plan.prices))
    if not most or (plan.high_bytes <= min(most) and plan.bounded):
        return None
    return min(most)


def refuse(limits: Limits, plan: Plan) -> NoReturn:
    """Raise `BudgetRefused` for a plan that is refused; its cheaper queries are the hint."""
    what = "refused before anything was read, at no cost: " + "; ".join(passed(limits, plan))
    least = cost.athena_cost_usd(1, plan.prices)
    if limits.max_usd is not None and limits.max_usd < least:
        hint = f"no query costs less than {cost.dollars(least)}, the least that Athena bills"
    else:
        hint = "\n         ".join(plan.told_cheaper) or "raise the limit, or ask for less"
    raise BudgetRefused(what, "the query", hint)


def with_cheaper(refusal: BudgetRefused, plan: Plan) -> BudgetRefused:
    """`refusal` with the plan's cheaper queries in its hint."""
    hints = [refusal.hint, *plan.told_cheaper]
    return BudgetRefused(refusal.what, refusal.where, "\n         ".join(filter(None, hints)))
