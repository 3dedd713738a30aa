"""What the fence must not stand in the way of: analysis, on real tables, with right results."""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from lakeq.api import Lake
from tests.attacks.conftest import CHR_MT, PANEL
from tests.attacks.ordinary import QUERIES, Facts, Ordinary, S, V
from tests.support import bcftools
from tests.support.data import real_file


@pytest.fixture(scope="session")
def facts(bcftools: str) -> Facts:
    """The same variants by `bcftools query`, the same samples by `bcftools query -l` and csv."""
    return read_facts(real_file(CHR_MT), real_file(PANEL))


def read_facts(vcf: Path, panel: Path) -> Facts:
    variants = [
        (int(pos), ref, alt, int(ac))
        for pos, ref, alts, acs in bcftools.query(vcf, "%POS\t%REF\t%ALT\t%AC")
        for alt, ac in zip(alts.split(","), acs.split(","), strict=True)
    ]
    with panel.open(newline="") as file:
        known = {row["sample"]: row for row in csv.DictReader(file, delimiter="\t")}
    names = bcftools.run("query", "-l", vcf).split()
    columns = ("pop", "super_pop", "gender")
    samples = [(name, *(known[name][column] for column in columns)) for name in names]
    return Facts(variants, samples)  # type: ignore[arg-type]  # three columns are three texts


def test_there_are_sixty_queries_or_more() -> None:
    assert len({query.name for query in QUERIES}) == len(QUERIES) >= 60


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_an_ordinary_query_gives_its_rows(query: Ordinary, real_lake: Lake, facts: Facts) -> None:
    rows = real_lake.sql(query.sql, query.parameters).rows()
    assert sorted(map(plain, rows)) == sorted(map(plain, query.expected(facts)))


def plain(row: tuple[object, ...]) -> str:
    """A row as text, however Python spells the same number or moment."""
    return repr([_plain(value) for value in row])


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.isoformat()
    return value


def test_explain_shows_the_plan_and_no_file(real_lake: Lake) -> None:
    result = real_lake.sql(f"explain select * from {V} v, {S} s where v.pos > $p", {"p": 5})
    lines = [str(line) for (line,) in result.rows()]
    assert any("READ_PARQUET" in line for line in lines)
    assert not any(str(real_lake.settings.lake) in line or ".parquet" in line for line in lines)
