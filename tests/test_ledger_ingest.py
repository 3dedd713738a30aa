"""Ingests in the ledger and in budgets: what S3 asks for, counted by a witness on the way."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import config, convert, cost
from lakeq._work_account import Upkeep
from lakeq.api import Lake
from lakeq.errors import BadSource, BudgetRefused
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.ledgers import check, lines, spent
from tests.support.s3 import S3

BOOK = cost.prices()
PUTS = ("PUT", "POST")


def on_s3(folder: Path, url: str, bucket: str, **options: object) -> Lake:
    """A lake whose files lie in `bucket`, asked by way of `url`."""
    given = {"warehouse": f"s3://{bucket}/lake", "s3_endpoint_url": url, "s3_anon": False}
    return lakeq.connect(folder / "lake", **given, **options)


def by_kind(folder: Path) -> dict[str, dict[str, object]]:
    return {str(line["kind"]): line for line in lines(folder / "lake" / "ledger.db")}


def priced(proxy: CountingProxy) -> tuple[int, int]:
    """Requests at the price of a GET, and of a PUT; a DELETE is free."""
    puts = [r for r in proxy.requests if r.method in PUTS or "list-type" in r.query]
    gets = [r for r in proxy.requests if r.method in ("GET", "HEAD") and r not in puts]
    return len(gets), len(puts)


@pytest.mark.usefixtures("aws_credentials")
def test_an_ingest_is_entered_with_its_requests_its_way_out_and_its_first_month(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    bucket = s3.bucket()
    uri = s3.put(bucket, "cohort.vcf.gz", made_cohort.vcf)
    with counting_proxy(s3.endpoint_url) as proxy:
        done = on_s3(tmp_path, proxy.url, bucket).ingest("thousand_genomes", [uri], panel="")
        gets, puts = priced(proxy)
    found, size = by_kind(tmp_path), made_cohort.vcf.stat().st_size
    assert set(found) == {"ingest", "convert", "egress", "request", "storage"}
    usd = {kind: Decimal(str(line["usd"])) for kind, line in found.items()}
    assert found["egress"]["bytes"] == size
    assert usd["egress"] == size * BOOK.egress_usd_per_gb / 10**9
    assert found["storage"]["bytes"] == done.bytes_written == found["convert"]["bytes"]
    assert usd["storage"] == done.bytes_written * BOOK.storage_usd_per_gb_month / 10**9
    assert found["request"]["count"] == gets + puts
    assert usd["request"] == (gets * BOOK.get_usd_per_1000 + puts * BOOK.put_usd_per_1000) / 1000
    assert usd["ingest"] == usd["convert"] == 0
    check(tmp_path / "lake" / "ledger.db")


def test_objects_whose_owner_pays_cost_nothing_and_are_counted(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    bucket = s3.bucket()
    uri = s3.put(bucket, "cohort.vcf.gz", made_cohort.vcf)
    s3.client.put_object_acl(Bucket=bucket, Key="cohort.vcf.gz", ACL="public-read")
    lake = lakeq.connect(tmp_path / "lake", s3_endpoint_url=s3.endpoint_url, s3_anon=True)
    lake.ingest("thousand_genomes", [uri], panel="")
    found = by_kind(tmp_path)
    assert found["egress"]["bytes"] == made_cohort.vcf.stat().st_size
    assert int(str(found["request"]["count"])) >= 2
    assert {line["usd"] for line in found.values()} == {"0"}
    assert "storage" not in found  # on a disk


@pytest.mark.usefixtures("aws_credentials")
def test_an_ingest_that_a_budget_cannot_hold_reads_nothing(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    uri = s3.put(s3.bucket(), "cohort.vcf.gz", made_cohort.vcf)
    options = {"budget": [{"usd": "0.01"}], "prices": {"egress_usd_per_gb": "100000"}}
    with counting_proxy(s3.endpoint_url) as proxy:
        settings = {"lake": tmp_path / "lake", "s3_endpoint_url": proxy.url, "s3_anon": False}
        lake = Lake(config.load({**settings, **options}))
        with pytest.raises(BudgetRefused, match=r"this would cost up to .* of \$0.01"):
            lake.ingest("thousand_genomes", [uri], panel="")
        assert [r.method for r in proxy.requests] == ["HEAD"]  # its size
    (line,) = (each for each in lines(tmp_path / "lake" / "ledger.db") if each["kind"] == "ingest")
    assert line["outcome"] == "refused"


@pytest.mark.usefixtures("aws_credentials")
def test_a_budget_ends_an_ingest_between_two_batches_and_keeps_the_first(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "BATCH_OBJECTS", 1)
    bucket, size = s3.bucket(), made_cohort.vcf.stat().st_size
    uris = [s3.put(bucket, f"{name}.vcf.gz", made_cohort.vcf) for name in "abc"]
    per_gb = Decimal(10**9) / size  # a dollar for each object
    prices = {"egress_usd_per_gb": str(per_gb), "get_usd_per_1000": "0"}
    settings = {"lake": tmp_path / "lake", "s3_endpoint_url": s3.endpoint_url, "s3_anon": False}
    lake = Lake(config.load({**settings, "budget": [{"usd": "2.5"}], "prices": prices}))
    with pytest.raises(BudgetRefused):
        lake.ingest("thousand_genomes", uris, panel="")
    snapshot = lake.table("thousand_genomes.variants").snapshot
    assert snapshot is not None
    assert {file.source for file in snapshot.files} == set(uris[:2])
    assert abs(spent(tmp_path / "lake" / "ledger.db") - 2) < Decimal("0.0001")
    check(tmp_path / "lake" / "ledger.db")


@pytest.mark.usefixtures("aws_credentials")
def test_an_ingest_that_fails_owes_what_it_may_have_fetched(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    data = made_cohort.vcf.read_bytes()
    uri = s3.put(s3.bucket(), "cut.vcf.gz", data[: len(data) // 2])
    lake = lakeq.connect(tmp_path / "lake", s3_endpoint_url=s3.endpoint_url, s3_anon=False)
    with pytest.raises(BadSource):
        lake.ingest("thousand_genomes", [uri], panel="")
    found = by_kind(tmp_path)
    assert found["ingest"]["outcome"] == "failed"
    assert found["ingest"]["bytes"] is None  # not known
    assert Decimal(str(found["egress"]["usd"])) == (len(data) // 2) * BOOK.egress_usd_per_gb / 10**9


COSTLY = {"egress_usd_per_gb": "1000000", "storage_usd_per_gb_month": "1000000"}  # 0.1 cent a byte


@pytest.mark.usefixtures("aws_credentials")
def test_upkeep_of_a_lake_on_s3_is_set_aside_and_entered_with_what_it_read_and_wrote(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    bucket = s3.bucket()
    on_s3(tmp_path, s3.endpoint_url, bucket).ingest(
        "thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel
    )
    on_s3(tmp_path, s3.endpoint_url, bucket).ingest("clinvar.grch37", [made_cohort.clinvar])
    table = "thousand_genomes.variants_clinvar"
    calls = {
        "verify": lambda lake: lake.verify("thousand_genomes"),
        "refresh": lambda lake: lake.refresh(table, force=True),
    }
    for name, call in calls.items():
        with counting_proxy(s3.endpoint_url) as proxy:
            poor = on_s3(tmp_path, proxy.url, bucket, budget=[{"usd": "0.01"}], prices=COSTLY)
            known = len(lines(tmp_path / "lake" / "ledger.db"))
            with pytest.raises(BudgetRefused, match=r"this would cost up to .* of \$0.01"):
                call(poor)
            parquet = [r for r in proxy.requests if r.path.endswith(".parquet")]
            assert {r.method for r in parquet} <= {"HEAD"}, name
        after = lines(tmp_path / "lake" / "ledger.db")[known:]
        assert {line["outcome"] for line in after} <= {"refused", "failed", "cancelled"}
    with counting_proxy(s3.endpoint_url) as proxy:
        rich = on_s3(tmp_path, proxy.url, bucket)
        known = len(lines(tmp_path / "lake" / "ledger.db"))
        report = rich.verify("thousand_genomes")
        gets, puts = priced(proxy)
        sent = sum(request.sent for request in proxy.read())
    found = {str(x["kind"]): x for x in lines(tmp_path / "lake" / "ledger.db")[known:]}
    assert report.sound
    assert found["maintain"]["bytes"] == report.bytes_read
    assert found["egress"]["bytes"] == sent  # files whole, metadata and footers once more
    assert found["request"]["count"] == gets + puts
    made = on_s3(tmp_path, s3.endpoint_url, bucket).refresh(table)
    stored = [x for x in lines(tmp_path / "lake" / "ledger.db") if x["kind"] == "storage"][-1]
    assert stored["bytes"] == made.size_bytes
    check(tmp_path / "lake" / "ledger.db")


@pytest.mark.usefixtures("aws_credentials")
def test_an_upkeep_that_a_budget_lacks_reads_and_writes_no_data_file(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    """And one that it holds is entered with what it set aside at the least."""
    bucket, twin = s3.bucket(), tmp_path / "twin.vcf.gz"
    twin.write_bytes(made_cohort.vcf.read_bytes())
    sources = [made_cohort.vcf, twin]
    name = "thousand_genomes.variants"
    on_s3(tmp_path, s3.endpoint_url, bucket).ingest(
        "thousand_genomes", sources, tables=["variants"], panel=made_cohort.panel
    )
    kept, known = sorted(s3.keys(bucket)), len(lines(tmp_path / "lake" / "ledger.db"))
    with counting_proxy(s3.endpoint_url) as proxy:
        poor = on_s3(tmp_path, proxy.url, bucket, budget=[{"usd": "0.01"}], prices=COSTLY)
        with pytest.raises(BudgetRefused, match=r"this would cost up to .* of \$0.01"):
            poor.maintain([name])
        assert not [r for r in proxy.requests if r.path.endswith(".parquet")]
        assert not [r for r in proxy.requests if r.method in PUTS and "list-type" not in r.query]
    assert sorted(s3.keys(bucket)) == kept
    refused = lines(tmp_path / "lake" / "ledger.db")[known:]
    assert refused[0]["outcome"] in ("refused", "failed")
    assert "egress" not in {line["kind"] for line in refused}
    known += len(refused)
    with counting_proxy(s3.endpoint_url) as proxy:
        rich = on_s3(tmp_path, proxy.url, bucket)
        (upkept,) = rich.maintain([name]).tables
        gets, puts = priced(proxy)
        sent = sum(request.sent for request in proxy.read())
    found = {str(x["kind"]): x for x in lines(tmp_path / "lake" / "ledger.db")[known:]}
    assert upkept.compacted > 0
    assert found["request"]["count"] == gets + puts
    assert found["storage"]["bytes"] == upkept.bytes_after
    assert found["egress"]["bytes"] == sent
    check(tmp_path / "lake" / "ledger.db")


@pytest.mark.usefixtures("aws_credentials")
def test_an_upkeep_sets_aside_at_least_the_requests_that_it_makes(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from the files of the snapshot; a witness on the way counts those made."""
    bucket, twin = s3.bucket(), tmp_path / "twin.vcf.gz"
    twin.write_bytes(made_cohort.vcf.read_bytes())
    dataset, panel = "thousand_genomes", made_cohort.panel
    lake = on_s3(tmp_path, s3.endpoint_url, bucket)
    lake.ingest(dataset, [made_cohort.vcf, twin], tables=["variants", "samples"], panel=panel)
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    asked: list[tuple[int, int, int, int]] = []
    allow = Upkeep.allow

    def told(self: Upkeep, *given: int) -> None:
        asked.append((*given, 0)[:4])  # type: ignore[arg-type]  # four numbers
        allow(self, *given)

    monkeypatch.setattr(Upkeep, "allow", told)
    calls = {
        "verify": lambda lake: lake.verify(),
        "maintain": lambda lake: lake.maintain([f"{dataset}.variants"]),
        "refresh": lambda lake: lake.refresh(f"{dataset}.variants_clinvar"),
    }
    for name, call in calls.items():
        asked.clear()
        with counting_proxy(s3.endpoint_url) as proxy:
            call(on_s3(tmp_path, proxy.url, bucket))
            gets, puts = priced(proxy)
            lists = sum("list-type" in request.query for request in proxy.requests)
        reads, writes = (sum(each[n] for each in asked) for n in (2, 3))
        if name != "refresh":  # whose query has an entry of its own
            assert gets <= reads <= 30 * gets, name  # no chunk joined with its neighbours
            assert sum(r.sent for r in proxy.read()) <= sum(each[0] for each in asked), name
        assert puts <= writes <= 12 * (puts + lists), name


@pytest.mark.usefixtures("aws_credentials")
def test_a_check_asks_before_it_reads_the_metadata(
    tmp_path: Path, made_cohort: MadeCohort, s3: S3
) -> None:
    bucket = s3.bucket()
    on_s3(tmp_path, s3.endpoint_url, bucket).ingest("clinvar.grch37", [made_cohort.clinvar])
    with counting_proxy(s3.endpoint_url) as proxy:
        poor = on_s3(tmp_path, proxy.url, bucket, budget=[{"usd": "0.01"}], prices=COSTLY)
        with pytest.raises(BudgetRefused, match=r"this would cost up to .* of \$0.01"):
            poor.verify()
        assert not [r for r in proxy.requests if "/clinvar/" in r.path]
    assert lines(tmp_path / "lake" / "ledger.db")[-1]["outcome"] == "refused"
