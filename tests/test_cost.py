"""Dollars: AWS's published bills, rounding, laws."""

from __future__ import annotations

import ast
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import cost
from lakeq.cost import (
    GB,
    MB,
    PRICES,
    TB,
    athena_billed_bytes,
    athena_cost_usd,
    dollars,
    egress_cost_usd,
    prices,
    s3_requests_cost_usd,
)
from lakeq.errors import UnknownName, UsageError


@pytest.mark.parametrize(
    ("scanned", "usd"),
    [
        (100 * GB, "0.5"),  # the 1000 Genomes query of 2016
        (60 * MB, "0.0003"),
        (TB, "5"),
        (0, "0.00005"),  # the minimum: 10 MB
        (1, "0.00005"),
        (10 * MB, "0.00005"),
        (10 * MB + 1, "0.000055"),
        (11 * MB, "0.000055"),
    ],
)
def test_athena_bills_as_published(scanned: int, usd: str) -> None:
    assert athena_cost_usd(scanned) == Decimal(usd)


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_cost_grows_with_scanned_bytes(a: int, b: int) -> None:
    small, large = sorted((a, b))
    assert athena_cost_usd(small) <= athena_cost_usd(large)


@given(st.integers(0, 10**15))
def test_billed_bytes_are_whole_megabytes_and_never_fewer_than_scanned(scanned: int) -> None:
    billed = athena_billed_bytes(scanned)
    assert billed % MB == 0
    assert billed >= max(scanned, 10 * MB)
    assert billed - scanned < MB or billed == 10 * MB


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_requests_and_egress_add_up(a: int, b: int) -> None:
    assert s3_requests_cost_usd(a) + s3_requests_cost_usd(b) == s3_requests_cost_usd(a + b)
    assert egress_cost_usd(a) + egress_cost_usd(b) == egress_cost_usd(a + b)


def test_a_thousand_requests_and_a_gigabyte_cost_their_list_price() -> None:
    assert s3_requests_cost_usd(1000) == Decimal("0.0004")
    assert egress_cost_usd(GB) == Decimal("0.09")


def test_the_price_book_is_dated_names_its_sources_and_holds_no_float() -> None:
    book = json.loads(PRICES.read_text(), parse_float=pytest.fail)
    assert date.fromisoformat(book["date"])
    assert all(source.startswith("https://aws.") for source in book["sources"].values())
    assert prices().athena_usd_per_tb == Decimal(5)


def test_every_region_of_the_book_has_every_price() -> None:
    for region in json.loads(PRICES.read_text())["regions"]:
        assert prices({"region": region}).region == region


def test_a_price_of_the_settings_stands_in_for_the_books_and_changes_its_version() -> None:
    mine = prices({"athena_usd_per_tb": "100000"})
    assert athena_cost_usd(0, mine) == Decimal(1)
    assert mine.overrides == ("athena_usd_per_tb",)
    assert mine.version not in (prices().version, prices({"athena_usd_per_tb": "1"}).version)


def test_a_region_without_prices_is_refused_and_an_unknown_price_too() -> None:
    with pytest.raises(UsageError, match="no prices are known for 'eu-west-1'"):
        prices({"region": "eu-west-1"})
    with pytest.raises(UnknownName, match="did you mean egress_usd_per_gb"):
        prices({"egress_usd_per_g": "1"})


def test_no_dollar_passes_through_a_float() -> None:
    for module in Path(cost.__file__).parent.glob("**/*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float":
                assert "usd" not in ast.unparse(node), module


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("0.5", "$0.50"), ("0.00005", "$0.00005"), ("0.0003", "$0.0003"),
     ("0.0123", "$0.012"), ("1234.5", "$1,234.50"), ("0.000000409", "$0.00000041")],
)  # fmt: skip
def test_dollars_are_written_for_people(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


@given(st.decimals("0.0000001", "1000", places=7))
def test_a_sum_is_never_shown_as_nothing(amount: Decimal) -> None:
    assert dollars(amount).strip("$0.,")


@given(
    st.decimals(0, 10**9, places=6) | st.integers(0, 10**14).map(lambda n: Decimal(n) * 9 / 10**11)
)
def test_dollars_in_json_keep_their_digits(amount: Decimal) -> None:
    told = json.dumps(cost.numbers({"usd": amount, "rows": 3}))
    assert json.loads(told, parse_float=Decimal) == {"usd": amount, "rows": 3}
    assert isinstance(cost.number(amount), float)


@given(st.decimals(0, 10**30, allow_nan=False))
def test_dollars_that_no_number_of_json_can_hold_are_text(amount: Decimal) -> None:
    told = cost.number(amount)
    assert Decimal(told if isinstance(told, str) else repr(told)) == amount
