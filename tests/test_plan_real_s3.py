"""Plans over real genomes on S3: every shape of query, against the bytes that were sent.

1000 Genomes (chrMT, a slice of chr22) and a ClinVar release, in a lake whose warehouse is on moto;
a proxy before moto counts. Genomes have no structs and no times: those two shapes ask a radar volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import lakeq
from lakeq.api import Lake
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.data import real_file
from tests.support.s3 import CREDENTIALS, REGION, S3
from tests.support.shapes import SHAPES

V, G, C = "thousand_genomes.variants", "thousand_genomes.genotypes", "clinvar.grch37"
CALLS, SAMPLES = "thousand_genomes.calls", "thousand_genomes.samples"
FOLDER = "genomics/thousand_genomes"
OBJECTS = (
    "ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz",
    "phase3.chr22_16050075_16499957.vcf.gz",
)

EXACT = {
    "equality": f"select count(*) from {C} where gene = 'BRCA2'",
    "one person": f"select pos, alt from {CALLS} where sample = 'HG00096'",
    "small table": f"select population, count(*) from {SAMPLES} group by 1",
    "projection": f"select max(af), sum(ac) from {V}",
    "IN": f"select sum(ac) from {V} where pos in (73, 263, 16050075)",
    "OR": f"select sum(ac) from {V} where pos < 100 or pos > 16400000",
    "list and unnest": f"select count(*) from (select unnest(het) as h from {G})",
    "count(*)": f"select count(*) from {V}",
    "count(column)": f"select count(rs) from {C}",
    "group by": f"select contig, count(*), avg(af) from {V} group by contig",
    "CTE": f"with x as (select pos, af from {V} where contig = '22') select max(af) from x where pos > 16300000",
    "union": f"select pos from {V} where contig = 'MT' union all select pos from {C} where significance_rank = 0",
    "window": f"select max(r) from (select row_number() over (partition by contig order by pos) as r from {V})",
    "view": f"with rare as (select contig, af from {V} where af < 0.01) select r.contig, count(*) from rare r group by 1",
    "partition pruning": f"select max(af), min(ref) from {V} where contig = 'MT'",
    "struct field": "select max(dbzh_coding.scale) from nexrad.rays",
    "timestamp": "select count(*) from nexrad.rays where time >= timestamptz '2014-01-01 00:08:00+00'",
}
BETWEEN = {
    "range": f"select sum(ac) from {V} where pos between 1000 and 9000",
    "join": f"select count(*) from {V} v join {C} c using (contig, pos, ref, alt)",
    "join, transitive predicate": f"select max(v.af) from {V} v join {C} c "
    "on v.contig = c.contig and v.pos = c.pos where c.contig = 'MT'",
    "semi-join": f"select max(af) from {V} where pos in (select pos from {C} where is_pathogenic)",
    "anti-join": f"select count(*) from {V} v where not exists "
    f"(select 1 from {C} c where c.contig = v.contig and c.pos = v.pos)",
    "LIMIT": f"select * from {V} limit 3",
    "top-N": f"select * from {V} order by af desc limit 5",
    "subquery": f"select count(*) from {V} where af > (select avg(af) from {V} where contig = 'MT')",
    "SELECT *, selective text": f"select * from {C} where conditions = 'Leber optic atrophy'",
}


@dataclass(frozen=True)
class Real:
    """The lake on S3 and the proxy that counts."""

    lake: Lake
    proxy: CountingProxy


@pytest.fixture(scope="module")
def real(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with pytest.MonkeyPatch.context() as patch, counting_proxy(s3.endpoint_url) as proxy:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        s3.client.create_bucket(Bucket="real-genomes")
        lake = lakeq.connect(
            tmp_path_factory.mktemp("real") / "lake",
            warehouse="s3://real-genomes/warehouse",
            s3_endpoint_url=proxy.url,
            s3_region=REGION,
        )
        panel = real_file(f"{FOLDER}/integrated_call_samples_plus31related.panel")
        lake.ingest("thousand_genomes", [real_file(f"{FOLDER}/{o}") for o in OBJECTS], panel=panel)
        release = real_file("genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz")
        lake.ingest("clinvar", [release])
        lake.ingest("nexrad", [real_file("nexrad/volumes/KTLX20140101_000624_V06.gz")])
        yield Real(lake, proxy)


@pytest.mark.parametrize("shape", [*EXACT, *BETWEEN])
def test_plans_over_real_genomes_hold_on_s3(real: Real, shape: str) -> None:
    sql = EXACT.get(shape) or BETWEEN[shape]
    plan = real.lake.plan(sql)
    real.proxy.requests.clear()
    result = real.lake.sql(sql)
    result.arrow()
    sent = sum(asked.sent for asked in real.proxy.requests)
    assert result.report.bytes_scanned == sent
    assert plan.low_bytes <= sent <= plan.high_bytes
    assert plan.low_requests <= len(real.proxy.requests) <= plan.high_requests
    assert result.report.files_read <= plan.files
    assert result.report.row_groups_read <= plan.row_groups
    assert plan.exact == (shape in EXACT)


def test_every_shape_of_the_made_tables_is_asked_of_real_ones() -> None:
    assert SHAPES.keys() - {"parameter", "equality, other columns"} <= EXACT.keys() | BETWEEN.keys()
    assert len(EXACT) >= 11
