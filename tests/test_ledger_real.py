"""The ledger of real tables: 1000 Genomes chrMT joined with two releases of ClinVar."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from tests.support.data import real_file
from tests.support.ledgers import check, lines, spent

CHR_MT = "genomics/thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
PANEL = "genomics/thousand_genomes/integrated_call_samples_plus31related.panel"
CLINVAR_2014 = "genomics/clinvar/clinvar_2014-06-04.GRCh37.vcf.gz"
CLINVAR_2016 = "genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz"
SHARED = (
    "select count(*) from thousand_genomes.variants v "
    "join clinvar.grch37 c using (contig, pos, ref, alt)"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with both, ClinVar of 2016; its ledger lies beside it."""
    lake = lakeq.connect(tmp_path_factory.mktemp("real") / "lake", project="mt")
    lake.ingest("thousand_genomes", [real_file(CHR_MT)], panel=real_file(PANEL))
    lake.ingest("clinvar.grch37", [real_file(CLINVAR_2016)])
    return lake


@pytest.fixture
def path(real: Lake) -> Path:
    return real.settings.lake / "ledger.db"


def test_an_ingest_is_entered_with_the_bytes_of_its_objects(real: Lake, path: Path) -> None:
    ingests = [line for line in lines(path) if line["kind"] == "ingest"]
    sizes = [real_file(name).stat().st_size for name in (CHR_MT, CLINVAR_2016)]
    assert [line["bytes"] for line in ingests] == sizes
    assert all(line["project"] == "mt" for line in ingests)


def test_queries_are_entered_as_they_were_reported(real: Lake, path: Path) -> None:
    before = len(lines(path))
    reports = []
    for query in (SHARED, "select pos from thousand_genomes.variants where af_afr > 0.5"):
        result = real.sql(query)
        result.rows()
        reports.append(result.report)
    new = lines(path)[before:]
    assert [line["bytes"] for line in new] == [r.bytes_scanned for r in reports]
    assert [Decimal(line["usd"]) for line in new] == [r.cost_usd for r in reports]
    check(path)


def lines_of_query(path: Path, number: int) -> dict[str, Any]:
    return next(line for line in lines(path) if line["id"] == number)


def snapshots(line: dict[str, Any]) -> dict[str, int]:
    return {name: facts["snapshot"] for name, facts in json.loads(line["tables"]).items()}


def test_a_rerun_gives_what_was_then_when_the_table_has_changed_since(
    real: Lake, path: Path
) -> None:
    """206 alleles of chrMT are in ClinVar of 2016 (PROVENANCE.md of the data), fewer in 2014's."""
    assert real.sql(SHARED).rows() == [(206,)]
    then = real.history()[0].id
    real.ingest("clinvar.grch37", [real_file(CLINVAR_2014)])
    ((now,),) = real.sql(SHARED).rows()
    assert now != 206
    assert real.rerun(then).same is True
    first, again = lines_of_query(path, then), lines_of_query(path, real.history()[0].id)
    assert snapshots(first) == snapshots(again)
    assert spent(path) == sum((entry.usd for entry in real.history()), Decimal(0))


def test_a_cost_report_of_real_tables_knows_the_size_of_the_raw_objects(real: Lake) -> None:
    real.sql(SHARED).rows()
    shares = {share.key: share for share in real.cost_report("table") if share.queries}
    assert set(shares) == {"thousand_genomes.variants", "clinvar.grch37"}
    assert all(share.parquet_usd is not None for share in shares.values())
