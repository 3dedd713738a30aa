"""Panel files: both layouts of 1000 Genomes, and the line of what is wrong."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.errors import BadSource
from lakeq.panel import Member, read_panel
from tests.support.data import real_file

PHASE_3 = "sample\tpop\tsuper_pop\tgender\t\t\nHG00096\tGBR\tEUR\tmale\n"
PEDIGREE = (
    "FamilyID SampleID FatherID MotherID Sex Population Superpopulation\n"
    "HG00096 HG00096 0 0 1 GBR EUR\n"
    "1463 NA12878 NA12891 NA12892 2 CEU EUR\n"
)


@pytest.mark.parametrize(("name", "samples"), [("v3.20130502.ALL", 2504), ("plus31related", 2535)])
def test_real_panel_has_every_sample(name: str, samples: int) -> None:
    path = real_file(f"genomics/thousand_genomes/integrated_call_samples_{name}.panel")
    members = read_panel(path.read_bytes())
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    assert len(members) == samples
    assert members == {sample: Member(*rest) for sample, *rest in rows}
    assert len(Counter(member.population for member in members.values())) == 26


def test_pedigree_of_30x_gives_the_same_members() -> None:
    assert read_panel(PEDIGREE) == read_panel(PHASE_3) | {"NA12878": Member("CEU", "EUR", "female")}


def test_columns_are_found_by_name() -> None:
    text = "sex\tPopulation\textra\tSample\n2\tYRI\tx\tNA1\n"
    assert read_panel(text) == {"NA1": Member("YRI", None, "female")}


def test_what_a_panel_does_not_say_is_none() -> None:
    text = "sample\tpop\tsuper_pop\tgender\nNA1\tNA\t.\tunknown\n"
    assert read_panel(text) == {"NA1": Member(None, None, None)}


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    data = ("\ufeff" + PHASE_3.replace("\n", "\r\n")).encode()
    assert read_panel(data) == read_panel(PHASE_3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("sample\tpop\n", "names no sample"),
        ("name\tpop\nNA1\tYRI\n", "line 1"),
        ("sample\tpop\tgender\nNA1\tYRI\tmale\nNA2\tYRI\n", "line 3"),
        ("sample\tpop\tgender\nNA1\tYRI\tboth\n", "unknown sex 'both'"),
        ("sample\tpop\nNA1\tYRI\nNA1\tYRI\n", "'NA1' stands twice"),
        ("sample\tpop\n\tYRI\n", "names no sample"),
    ],
)
def test_a_wrong_panel_says_what_and_where(text: str, words: str) -> None:
    with pytest.raises(BadSource) as raised:
        read_panel(text, "my.panel")
    assert words in str(raised.value)
    assert "my.panel" in str(raised.value)


def test_a_compressed_panel_is_refused() -> None:
    with pytest.raises(BadSource, match="not compressed"):
        read_panel(b"\x1f\x8b\x08\x00", "my.panel.gz")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_panel_or_bad_source(data: bytes) -> None:
    try:
        read_panel(data)
    except BadSource as error:
        assert "the panel" in str(error)
