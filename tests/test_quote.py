"""What a conversion costs and when it has paid back: the formulas, and quotes of dry runs."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import cost, quote
from lakeq.cli import run
from tests.support.s3 import S3

BOOK = cost.prices()
CENTS = st.decimals("0.0001", 10_000, places=4)


@given(CENTS, CENTS)
def test_the_queries_that_pay_back_are_the_fewest_that_do(usd: Decimal, saved: Decimal) -> None:
    count = quote.queries_for(usd, saved)
    assert count is not None
    assert count * saved >= usd > (count - 1) * saved


@pytest.mark.parametrize(
    ("usd", "saved", "count"),
    [("0", "0", 0), ("0", "-1", 0), ("1", "0", None), ("1", "-1", None), ("1", "1", 1)],
)
def test_nothing_is_paid_back_at_once_and_a_loss_never(
    usd: str, saved: str, count: int | None
) -> None:
    assert quote.queries_for(Decimal(usd), Decimal(saved)) == count


def test_1000_genomes_from_outside_its_region() -> None:
    """AWS's post of 2016: 100 GB of text for $0.50 a query, 60 MB of columns for $0.0003.

    By hand: 100 GB out of the region are $9.00, 8.6 GB kept are 8.6 x $0.023 = $0.1978 a month; a
    query saves $0.4997, so 19 pay for the way out, and one a month for the files.
    """
    asked = quote.quote(
        [100 * 10**9],
        cost.prices({"get_usd_per_1000": "0", "put_usd_per_1000": "0"}),
        signed=[100 * 10**9],
        warehouse_on_s3=True,
        lake_bytes=8_600_000_000,
        query_bytes=60_000_000,
    )
    assert (asked.once_usd, asked.month_usd) == (Decimal(9), Decimal("0.1978"))
    assert (asked.raw_query_usd, asked.lake_query_usd) == (Decimal("0.5"), Decimal("0.0003"))
    assert asked.saved_usd == Decimal("0.4997")
    assert (asked.pays_back_after, asked.queries_a_month) == (19, 1)
    assert str(asked) == (
        "costs $9.00 once and $0.20 a month; a query of the raw objects costs $0.50 on Athena, of "
        "the tables $0.0003: pays back after 19 queries, and 1 a month carry the files"
    )


def test_a_day_of_one_radar_whose_owner_pays() -> None:
    """250 volumes of 10 MB, all tables of which take 2.8 times as much; a box query reads 4 MB.

    By hand: 250 x 8 PUTs are $0.01, 7 GB are $0.161 a month. A query of the day's 2.5 GB is
    $0.0125, of the tables Athena's least, $0.00005: it saves $0.01245.
    """
    asked = quote.quote(
        [10_000_000] * 250,
        BOOK,
        warehouse_on_s3=True,
        lake_bytes=7_000_000_000,
        query_bytes=4_000_000,
    )
    assert (asked.once_usd, asked.month_usd) == (Decimal("0.01"), Decimal("0.161"))
    assert asked.saved_usd == Decimal("0.01245")
    assert (asked.pays_back_after, asked.queries_a_month) == (1, 13)


def test_tables_that_are_dearer_to_ask_never_pay_back() -> None:
    asked = quote.quote([1000], BOOK, signed=[10**9], query_bytes=10**12)
    assert asked.saved_usd < 0
    assert asked.pays_back_after is None
    assert str(asked).endswith("it does not pay back in dollars")


def test_a_dry_run_is_quoted_by_what_the_lake_has_seen(
    tmp_path: Path, made_cohort: MadeCohort
) -> None:
    lake = lakeq.connect(tmp_path / "lake")
    first = lake.quote(lake.ingest("thousand_genomes", [made_cohort.vcf], dry_run=True))
    assert (first.lake_bytes, first.query_bytes) == (None, None)
    assert first.raw_bytes == made_cohort.vcf.stat().st_size
    lake.ingest("thousand_genomes", [made_cohort.vcf])
    result = lake.sql("select sum(ac) from thousand_genomes.variants")
    result.rows()
    again = lake.quote(lake.ingest("thousand_genomes", [made_cohort.vcf], dry_run=True))
    names = ("variants", "genotypes", "calls")
    tables = [lake.table(f"thousand_genomes.{name}").snapshot for name in names]
    assert again.lake_bytes is not None
    assert abs(again.lake_bytes - sum(t.size_bytes for t in tables if t)) <= 1
    assert again.query_bytes == result.report.bytes_scanned
    assert again.once_usd == again.month_usd == 0  # a lake on a disk


def test_the_command_quotes_a_dry_run(
    tmp_path: Path, made_cohort: MadeCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["ingest", "thousand_genomes", str(made_cohort.vcf), "--lake", str(tmp_path / "lake")]
    run([*line, "--dry-run"])
    told = "costs $0.00 once and an unknown sum a month; a query of the raw objects"
    assert told in capsys.readouterr().err
    run([*line, "--dry-run", "--report", "json"])
    facts = json.loads(capsys.readouterr().err)
    assert facts["quote"]["raw_bytes"] == made_cohort.vcf.stat().st_size


@pytest.mark.usefixtures("aws_credentials")
def test_objects_of_ones_own_on_s3_cost_their_way_out(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    bucket = s3.bucket()
    uri = s3.put(bucket, "cohort.vcf.gz", made_cohort.vcf)
    place = {"warehouse": f"s3://{bucket}/lake", "s3_endpoint_url": s3.endpoint_url}
    lake = lakeq.connect(tmp_path / "lake", s3_anon=False, **place)
    asked = lake.quote(lake.ingest("thousand_genomes", [uri], panel="", dry_run=True))
    size = made_cohort.vcf.stat().st_size
    requests = 16 * BOOK.get_usd_per_1000 / 1000 + 8 * BOOK.put_usd_per_1000 / 1000
    assert asked.once_usd == cost.egress_cost_usd(size, BOOK) + requests
