"""Slices keep the answer to a query: equal to it, current or known to be behind."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import catalog, refresh
from lakeq.api import Lake
from lakeq.errors import BadCatalog, NotFound, OutOfMemory, UsageError
from tests.support.lakes import cohort_lake

SLICES = ["thousand_genomes.variants_clinvar", "thousand_genomes.calls_clinvar"]


@pytest.fixture
def own_lake(lake_dir: Path, made_cohort: MadeCohort) -> Lake:
    return cohort_lake(lake_dir, made_cohort)


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_holds_what_its_query_answers(own_lake: Lake, name: str) -> None:
    done = own_lake.refresh(name)
    asked = own_lake.sql(f"@{name.partition('.')[2]}").arrow()
    kept = own_lake.sql(f"select * exclude (_source) from {name}").arrow()
    assert done.refreshed
    assert done.rows == kept.num_rows > 0
    assert kept.cast(asked.schema).equals(asked)


def test_a_query_that_lacks_memory_is_asked_again_with_more(
    own_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "thousand_genomes.variants_clinvar"
    expected = own_lake.refresh(name).rows
    monkeypatch.setattr(refresh, "MEMORY_LIMIT", "1MB")
    with pytest.raises(OutOfMemory, match="memory"):
        lakeq.connect(own_lake.settings.lake, memory_limit="1MB").refresh(name, force=True)
    assert own_lake.refresh(name, force=True).rows == expected


def test_the_seed_query_gives_the_same_from_the_slice(own_lake: Lake) -> None:
    own_lake.refresh("thousand_genomes.variants_clinvar")
    joined = own_lake.sql("@allele_frequency_clinvar").df()
    kept = own_lake.sql(
        f"select {', '.join(joined.columns)} from thousand_genomes.variants_clinvar "
        "where is_pathogenic and ac >= 1 order by af desc, contig, pos, ref, alt"
    )
    assert kept.df().equals(joined)
    assert kept.report.files_total == 1


def test_a_current_slice_is_left_as_it_is(own_lake: Lake) -> None:
    first = own_lake.refresh("thousand_genomes.variants_clinvar")
    again = own_lake.refresh("thousand_genomes.variants_clinvar")
    assert not again.refreshed
    assert (again.snapshot_id, again.rows) == (first.snapshot_id, first.rows)
    assert own_lake.refresh("thousand_genomes.variants_clinvar", force=True).refreshed


def test_a_slice_is_made_again_when_a_table_of_it_changed(
    own_lake: Lake, made_cohort: MadeCohort
) -> None:
    name = "thousand_genomes.variants_clinvar"
    own_lake.refresh(name)
    before = own_lake.table(name).made_from
    own_lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    assert own_lake.refresh(name).refreshed
    after = own_lake.table(name).made_from
    assert before["clinvar.grch37"] != after["clinvar.grch37"]
    assert before["thousand_genomes.variants"] == after["thousand_genomes.variants"]


def test_a_slice_takes_no_objects(own_lake: Lake, made_cohort: MadeCohort) -> None:
    with pytest.raises(UsageError, match="lakeq refresh"):
        own_lake.ingest("thousand_genomes.variants_clinvar", [made_cohort.vcf])


def test_a_table_of_objects_is_not_refreshed(own_lake: Lake) -> None:
    with pytest.raises(UsageError, match="is no slice"):
        own_lake.refresh("clinvar.grch37")


def test_a_slice_of_tables_that_are_not_there_is_not_found(lake: Lake) -> None:
    with pytest.raises(NotFound, match="not in the lake yet"):
        lake.refresh("thousand_genomes.variants_clinvar")


OWN = """\
dataset: mine
title: slices of my own
doc: what I ask often
license: mine
citation: me
homepage: https://example.org/
tables:
  rare:
    doc: One row per rare allele.
    query: {query}
    columns:
      pos: {{type: int64, doc: position}}
      af: {{type: float32, doc: frequency}}
"""


def _with_own(lake_dir: Path, folder: Path, query: str) -> Lake:
    folder.mkdir()
    (folder / "mine.yaml").write_text(OWN.format(query=query))
    return lakeq.connect(lake_dir, catalogs=str(folder))


def test_a_catalog_of_ones_own_may_keep_any_select(
    own_lake: Lake, lake_dir: Path, tmp_path: Path
) -> None:
    query = "select pos, af from thousand_genomes.variants where af < 0.1"
    lake = _with_own(lake_dir, tmp_path / "own", query)
    done = lake.refresh("mine.rare")
    assert done.rows == lake.sql(query).arrow().num_rows
    assert str(lake.sql("select af from mine.rare").arrow().schema.field("af").type) == "float"


@pytest.mark.parametrize(
    "query",
    [
        "select pos from thousand_genomes.variants",
        "select id as pos, af from thousand_genomes.variants",
    ],
)
def test_an_answer_that_is_not_the_catalogs_leaves_the_lake_as_it_was(
    own_lake: Lake, lake_dir: Path, tmp_path: Path, query: str
) -> None:
    lake = _with_own(lake_dir, tmp_path / "own", query)
    with pytest.raises(BadCatalog, match=r"mine\.rare"):
        lake.refresh("mine.rare")
    assert "mine.rare" not in [info.name for info in lake.tables() if info.snapshot]
    assert not list(lake_dir.rglob("mine/**/*.parquet"))


def test_a_table_has_a_format_or_a_query(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN.format(query="select 1\n    format: vcf\n    partition_by: pos"))
    with pytest.raises(BadCatalog) as caught:
        catalog.check(file)
    assert "exclude each other" in str(caught.value)
    assert "a query has no partition_by" in str(caught.value)
    file.write_text(OWN.format(query="x").replace("    query: x\n", ""))
    with pytest.raises(BadCatalog, match="no format"):
        catalog.check(file)


def test_a_query_of_a_slice_that_fell_behind_says_so(
    own_lake: Lake, made_cohort: MadeCohort
) -> None:
    name = "thousand_genomes.variants_clinvar"
    own_lake.refresh(name)
    assert own_lake.sql(f"select count(*) from {name}").report.notes == ()
    own_lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    report = own_lake.sql(f"select count(*) from {name}").report
    assert report.notes == (f"{name} was made before clinvar.grch37 changed: lakeq refresh {name}",)
    assert report.notes[0] in str(report)
