"""The queries of sql/: their heads, their parameters, and their answers on a made cohort."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from lakeq import named
from lakeq.errors import BadCatalog, UnknownName, UsageError

NAMES = {
    "allele_frequency_clinvar",
    "genotype_frequency_clinvar",
    "sample_clinvar",
    "drug_response",
    "cohort_frequency",
    "variants_in_gene",
    "private_alleles",
    "reflectivity_in_box",
    "echo_top",
    "gauge_rain",
    "hail_cores",
    "velocity_couplets",
    "missing_sweeps",
    "vcp_use",
}
HEAD = """-- What is asked?
-- param: sample string = 'it''s'  the sample
-- param: least float = 0.5  at least
-- param: samples list<string>  names
select 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.sql").write_text(HEAD)
    return tmp_path


def test_the_packaged_queries_are_there_and_ask_a_question() -> None:
    queries = named.queries()
    assert {query.name for query in queries} >= NAMES
    assert all(query.question.endswith("?") for query in queries)
    assert all(parameter.doc for query in queries for parameter in query.parameters)


def test_a_head_is_read(folder: Path) -> None:
    query = named.query("@mine", folder)
    assert query.question == "What is asked?"
    assert [(p.name, p.type, p.default, p.doc) for p in query.parameters] == [
        ("sample", "string", "it's", "the sample"),
        ("least", "float", "0.5", "at least"),
        ("samples", "list<string>", None, "names"),
    ]


def test_values_are_defaults_and_what_is_given(folder: Path) -> None:
    query = named.query("mine", folder)
    assert query.values({"samples": "A,B"}) == {
        "sample": "it's",
        "least": 0.5,
        "samples": ["A", "B"],
    }
    given = {"samples": ["C"], "sample": "", "least": 1}
    assert query.values(given) == {"sample": "", "least": 1, "samples": ["C"]}


def test_a_parameter_that_must_be_given_says_so(folder: Path) -> None:
    with pytest.raises(UsageError, match="samples must be given"):
        named.query("mine", folder).values({})


def test_an_unknown_parameter_answers_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean samples"):
        named.query("mine", folder).values({"sampels": "A"})


def test_an_unknown_query_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean sample_clinvar"):
        named.query("@sample_clinvr")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "22", "22"),
        ("string", "", ""),
        ("int", " -7 ", -7),
        ("float", "1e-3", 0.001),
        ("bool", "TRUE", True),
        ("date", "2026-01-31", date(2026, 1, 31)),
        ("list<string>", "A, B,", ["A", "B"]),
        ("list<string>", '["A,B", "C"]', ["A,B", "C"]),
        ("list<string>", "", []),
        ("list<int>", "1,2", [1, 2]),
        ("list<int>", "[1, 2]", [1, 2]),
    ],
)
def test_text_is_read_as_its_type(kind: str, text: str, value: object) -> None:
    assert named.Parameter("x", kind, "", None).value(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int", "1.5"), ("int", ""), ("int", "1_000"), ("float", "nan"), ("float", "x"),
     ("bool", "1"), ("date", "31.1.2026"), ("list<int>", "1,x"), ("list<string>", "[1")],
)  # fmt: skip
def test_text_of_another_type_is_a_usage_error(kind: str, text: str) -> None:
    with pytest.raises(UsageError, match="is not of type"):
        named.Parameter("x", kind, "", None).value(text)


@pytest.mark.parametrize(
    "text",
    ["select 1", "", "-- Q?\n-- param: Bad string  x", "-- Q?\n-- param: x text = 1  y",
     "-- Q?\n-- param x int", "-- Q?\n-- param: x int = one  y"],
)  # fmt: skip
def test_a_bad_head_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.sql").write_text(text)
    with pytest.raises((BadCatalog, UnknownName, UsageError)):
        named.query("bad", tmp_path)
