"""Budgets as the settings write them: how many dollars, for whom, in which period.

    [[budget]]
    usd = "5.00"
    per = "day"        # a UTC day, or "month"
    project = "cohort" # which spending counts; "*" gives every project a budget of its own
    user = "*"
    tags = {grant = "R01"}

What a budget does not name it does not look at: one without project, user and tags is for
everything that the ledger holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from lakeq.errors import UnknownName, UsageError

EACH = "*"  # a budget of its own for each value
PERIODS = {"day": "%Y-%m-%d", "month": "%Y-%m"}
ALERTS = (50, 80, 100)  # per cent of the budget that are told once in a period
_KEYS = ("name", "usd", "per", "project", "user", "tags", "alerts", "sns_topic")


@dataclass(frozen=True, slots=True)
class Spender:
    """Who spends, on what: `tags` are the user's own words, by name."""

    user: str
    project: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    def value(self, scope: str) -> str | None:
        """The value of `user`, `project` or `tag.NAME`; None when the tag is not given."""
        if scope.startswith("tag."):
            return dict(self.tags).get(scope.removeprefix("tag."))
        return self.user if scope == "user" else self.project


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `usd` dollars in each period, over the spending that has the `scope`'s values.

    `scope` has pairs such as ("project", "cohort") or ("tag.grant", "*"), by name.
    """

    usd: Decimal
    per: str
    scope: tuple[tuple[str, str], ...] = ()
    name: str = ""
    alerts: tuple[int, ...] = ALERTS
    sns_topic: str = ""
    origin: str = ""

    @property
    def title(self) -> str:
        """Its name, or what it is for: "project=cohort per day"."""
        words = ", ".join(f"{key}={value}" for key, value in self.scope) or "everything"
        return self.name or f"{words} per {self.per}"

    def share(self, spender: Spender) -> tuple[tuple[str, str], ...] | None:
        """The scope with the spender's own values, or None where the budget is not for them."""
        found = []
        for scope, wanted in self.scope:
            value = spender.value(scope)
            if value is None or (wanted not in (EACH, value)):
                return None
            found.append((scope, value))
        return tuple(found)

    def period(self, moment: datetime) -> str:
        """The period that a moment in UTC lies in: 2026-11-24, or 2026-11."""
        return moment.strftime(PERIODS[self.per])

    def __str__(self) -> str:
        return f"{self.title}: ${self.usd}"


def of(given: object, origin: str) -> Budget:
    """The budget that one `[[budget]]` table describes; `UsageError` says what is wrong with it."""
    if not isinstance(given, Mapping):
        raise UsageError(f"budget = {given!r}: expected [[budget]] tables", origin)
    for key in given:
        if key not in _KEYS:
            raise UnknownName.among("key of a budget", str(key), _KEYS, origin)
    per = given.get("per", "month")
    if per not in PERIODS:
        raise UsageError(f"per = {per!r}: expected day or month", origin)
    return Budget(
        usd=amount(given.get("usd"), "usd of a budget", origin),
        per=str(per),
        scope=_scope(given, origin),
        name=_word(given.get("name", ""), "name", origin),
        alerts=_alerts(given.get("alerts", ALERTS), origin),
        sns_topic=_word(given.get("sns_topic", ""), "sns_topic", origin),
        origin=origin,
    )


def amount(given: object, key: str, origin: str) -> Decimal:
    """Dollars of 0 or more, exactly as written; a float has lost its digits and is refused."""
    wrong = UsageError(f"{key} = {given!r}: expected dollars, such as 5 or '0.25'", origin)
    if isinstance(given, bool) or not isinstance(given, int | str | Decimal):
        raise wrong
    try:
        found = Decimal(given)
    except InvalidOperation as error:
        raise wrong from error
    if not found.is_finite() or found < 0:
        raise wrong
    return found


def tags_of(given: object, origin: str) -> dict[str, str]:
    """Tags from a table, or from text such as "grant=R01,cohort=b"."""
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        given = {name.strip(): value.strip() if equals else None for name, equals, value in pairs}
    if not isinstance(given, Mapping):
        raise UsageError(f"tags = {given!r}: expected names and values", origin)
    for name, value in given.items():
        if not (isinstance(value, str) and isinstance(name, str) and _is_word(name)):
            raise UsageError(f"tag {name!r} = {value!r}: expected name=value", origin)
        _word(value, f"tag {name}", origin)
    return dict(sorted(given.items()))


def _scope(given: Mapping[str, object], origin: str) -> tuple[tuple[str, str], ...]:
    plain = [(key, _word(given[key], key, origin)) for key in ("project", "user") if key in given]
    tags = tags_of(given.get("tags", {}), origin)
    return (*plain, *((f"tag.{name}", value) for name, value in tags.items()))


def _word(value: object, key: str, origin: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise UsageError(f"{key} = {value!r}: expected one line of text", origin)
    return value


def _is_word(name: str) -> bool:
    return bool(name) and name.isprintable() and not set(name) & set("=, ")


def _alerts(given: object, origin: str) -> tuple[int, ...]:
    good = isinstance(given, list | tuple) and all(
        isinstance(part, int) and not isinstance(part, bool) and 0 < part <= 100 for part in given
    )
    if not good:
        raise UsageError(f"alerts = {given!r}: expected per cents, such as [50, 80, 100]", origin)
    assert isinstance(given, list | tuple)
    return tuple(sorted(set(given)))
