"""Budgets as the settings write them: whom they are for, which period, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from lakeq import budget, config
from lakeq.budget import Spender
from lakeq.errors import LakeqError

ADA = Spender("ada", "cohort", (("grant", "R01"),))


def of(**given: object) -> budget.Budget:
    return budget.of({"usd": "5", **given}, "here")


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, ()),
        ({"project": "cohort"}, (("project", "cohort"),)),
        ({"project": "other"}, None),
        ({"user": "*"}, (("user", "ada"),)),
        ({"project": "*", "tags": {"grant": "*"}}, (("project", "cohort"), ("tag.grant", "R01"))),
        ({"tags": {"grant": "R02"}}, None),
        ({"tags": {"purpose": "*"}}, None),
    ],
)
def test_a_budget_is_for_the_spenders_it_names(given: dict[str, object], share: object) -> None:
    assert of(**given).share(ADA) == share


def test_periods_are_days_and_months_in_utc() -> None:
    moment = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)
    assert of(per="day").period(moment) == "2026-11-24"
    assert of().period(moment) == "2026-11"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"usd": 0.1}, "expected dollars"),
        ({"usd": "-1"}, "expected dollars"),
        ({"usd": "nan"}, "expected dollars"),
        ({"usd": None}, "expected dollars"),
        ({"per": "week"}, "expected day or month"),
        ({"projekt": "x"}, "did you mean project"),
        ({"alerts": [0]}, "expected per cents"),
        ({"name": "two\nlines"}, "expected one line"),
        ({"tags": {"a": 1}}, "expected name=value"),
    ],
)
def test_a_wrong_budget_says_what_and_where(given: dict[str, object], words: str) -> None:
    with pytest.raises(LakeqError) as raised:
        of(**given)
    assert words in str(raised.value)
    assert "here" in str(raised.value)


def test_budgets_tags_and_prices_of_both_files_add_up(tmp_path: Path) -> None:
    user = tmp_path / "config" / "lakeq" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[[budget]]\nusd = 9.10\n[tags]\na = "1"\nb = "1"\n[prices]\ndate = "x"\n')
    (tmp_path / "lakeq.toml").write_text(
        '[[budget]]\nusd = 5\nper = "day"\n[tags]\nb = "2"\n[prices]\negress_usd_per_gb = 0.02\n'
    )
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
    found = config.load(environ=environ, folder=tmp_path)
    assert [(b.usd, b.per) for b in found.budget] == [(Decimal("9.10"), "month"), (5, "day")]
    assert found.tags == {"a": "1", "b": "2"}
    assert found.prices == {"date": "x", "egress_usd_per_gb": "0.02"}
    tags = config.load(environ=environ | {"LAKEQ_TAGS": "b=3,c=4"}, folder=tmp_path).tags
    assert tags == {"a": "1", "b": "3", "c": "4"}
