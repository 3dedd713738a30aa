"""What a plan says beforehand against what is read, for every shape of query, on S3."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lakeq
from lakeq import cost, planner, query
from lakeq._packed_files import pack, unpack
from lakeq.api import Lake
from lakeq.config import Limits, S3Settings, Settings
from lakeq.errors import BudgetRefused, LimitPassed
from lakeq.planner import Plan
from lakeq.planner import scans as plan_scans
from lakeq.query import Report
from tests.lake_formats import lake_at, put, sites, tally
from tests.support.counting_server import CountingServer, counting_server
from tests.support.data import real_file
from tests.support.s3 import CREDENTIALS, REGION, S3
from tests.support.shapes import CONTIGS, PARAMETERS, SHAPES, Shapes, make
from tests.test_storage import rclone

# Where DuckDB decides by the data: whether a row passes, which side of a join comes first.
NOT_EXACT = {
    "equality, other columns",
    "join",
    "join, transitive predicate",
    "semi-join",
    "anti-join",
    "LIMIT",
    "top-N",
    "subquery",
    "SELECT *, selective text",
}
Ask = Callable[[str], Report]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(scope="module")
def shapes(folder: Path) -> Shapes:
    """The tables at s3://shapes/."""
    (folder / "shapes").mkdir()
    return make(folder / "shapes", "s3://shapes/")


@pytest.fixture(scope="module")
def moto(s3: S3, shapes: Shapes, folder: Path) -> Ask:
    """Asks on moto."""
    s3.client.create_bucket(Bucket="shapes")
    for path in (folder / "shapes").iterdir():
        s3.put("shapes", path.name, path)
    return asking(shapes, s3.endpoint_url, signed=True)


@pytest.fixture
def server(folder: Path, shapes: Shapes) -> Iterator[CountingServer]:
    with counting_server(folder) as server:
        yield server


def asking(shapes: Shapes, url: str, limits: Limits | None = None, *, signed: bool = False) -> Ask:
    s3 = S3Settings(anon=not signed, endpoint_url=url, region=REGION)
    chosen = Settings(lake=Path("unused"), s3=s3, limits=limits or Limits())

    def ask(shape: str) -> Report:
        result = query.run(
            SHAPES.get(shape, shape),
            datasets=shapes.datasets,
            lake=shapes,
            settings=chosen,
            parameters=PARAMETERS.get(shape),
        )
        result.arrow()
        return result.report

    return ask


@pytest.mark.usefixtures("aws_credentials")
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_and_requests_lie_in_the_interval_of_the_plan(moto: Ask, shape: str) -> None:
    report = moto(shape)
    plan = report.plan
    assert plan.low_bytes <= report.bytes_scanned <= plan.high_bytes
    assert plan.low_requests <= report.s3_requests <= plan.high_requests
    assert report.files_read <= plan.files
    assert report.row_groups_read <= plan.row_groups
    assert plan.exact == (shape not in NOT_EXACT)


def test_a_second_server_sent_what_the_plans_said(shapes: Shapes, server: CountingServer) -> None:
    ask = asking(shapes, server.url)
    for shape in SHAPES:
        server.requests.clear()
        plan = ask(shape).plan
        assert plan.low_bytes <= server.sent <= plan.high_bytes, shape
        if plan.exact:
            assert len(server.requests) == plan.high_requests, shape


@pytest.mark.usefixtures("aws_credentials")
def test_rclone_gives_the_bytes_that_were_planned(shapes: Shapes, folder: Path) -> None:
    key, secret = (CREDENTIALS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    with rclone(folder, key, secret) as endpoint:
        ask = asking(shapes, endpoint, signed=True)
        for shape in SHAPES.keys() - NOT_EXACT:
            report = ask(shape)
            assert report.bytes_scanned == report.plan.high_bytes, shape
            assert report.s3_requests == report.plan.high_requests, shape


@pytest.mark.parametrize(
    ("condition", "files"),
    [
        ("seen > now()", 4),
        ("seen::date = current_date", 4),
        ("seen > timestamptz '2099-01-01'", 0),
        ("contig = '1' and note <> 'now'", 1),
    ],
)
def test_what_the_clock_says_prunes_nothing(local: Shapes, condition: str, files: int) -> None:
    assert advised(local, f"select count(*) from shapes.sites where {condition}").files == files


def test_a_plan_on_s3_tells_requests_egress_and_three_places(shapes: Shapes) -> None:
    plan = advised(shapes, SHAPES["projection"])
    lines = str(plan).splitlines()
    assert lines[0].startswith(f"will read exactly {plan.high_bytes:,} bytes")
    assert lines[1] == "4 of 4 files, 12 of 12 row groups"
    requests, bill = f"{plan.high_requests} requests to S3", cost.dollars(plan.egress_usd)
    assert lines[2].startswith(requests)
    assert lines[2].endswith(f"; outside of its region {bill} more for the bytes")
    assert [line[:16].strip() for line in lines[3:7]] == [
        "where it may run",
        "DuckDB here",
        "DuckDB in region",
        "Athena",
    ]


def test_a_plan_that_reads_ends_of_small_files_twice_says_so(local: Shapes) -> None:
    plan = replace(advised(local, SHAPES["projection"]), bytes_total=10)
    assert (
        str(plan)
        .splitlines()[0]
        .endswith("(more than there is: the ends of small files are read twice)")
    )


@pytest.mark.parametrize("limits", [Limits(max_bytes=100_000), Limits(max_usd=Decimal("0.00001"))])
def test_a_refused_query_reads_nothing(
    shapes: Shapes, server: CountingServer, limits: Limits
) -> None:
    with pytest.raises(BudgetRefused, match="before anything was read") as refused:
        asking(shapes, server.url, limits)("projection")
    assert refused.value.exit_code == 3
    assert server.requests == []


# Pruning must never change an answer: DuckDB over all files is the witness.

TEXTS = st.sampled_from(["A", "C", "G", "AAAAAAAAA", "TTTTTTTTTT", "B", "", "it's", "~"])
NUMBERS = st.one_of(st.integers(-5, 25_000), st.sampled_from([1, 7999, 8001, 23_999, 24_001]))
OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _in(column: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.lists(values, min_size=1, max_size=4).map(", ".join)
    return st.builds("{} {} ({})".format, st.just(column), st.sampled_from(["in", "not in"]), lists)


CONDITIONS = st.one_of(
    st.builds("pos {} {}".format, OPERATORS, NUMBERS),
    st.builds("depth {} {}".format, OPERATORS, st.integers(-1, 61)),
    st.builds("qual {} {}".format, OPERATORS, st.floats(-1, 101)),
    st.builds("ref {} {}".format, OPERATORS, TEXTS.map(_quoted)),
    st.builds("contig {} {}".format, OPERATORS, st.sampled_from([*CONTIGS, "4"]).map(_quoted)),
    st.builds("note {} {}".format, OPERATORS, st.sampled_from(["'note 5'", "'note 99999'", "'z'"])),
    st.builds("info.effect.kind {} {}".format, OPERATORS, st.sampled_from(["'stop'", "'zzz'"])),
    st.builds(
        "seen {} timestamptz '2024-0{}-0{} 00:00:00+00'".format,
        OPERATORS,
        st.integers(1, 3),
        st.integers(1, 9),
    ),
    _in("pos", NUMBERS.map(str)),
    _in("contig", st.sampled_from(CONTIGS).map(_quoted)),
    _in("ref", TEXTS.map(_quoted)),
    st.sampled_from(
        ["depth is null", "depth is not null", "ref like 'A%'", "pos % 2 = 0", "len(het) > 5"]
    ),
)
PREDICATES = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    return make(tmp_path_factory.mktemp("local"), rows=6000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    predicate=PREDICATES,
    columns=st.sampled_from(
        [
            "count(*)",
            "sum(depth)",
            "max(note), count(ref)",
            "max(info.effect.score)",
            "sum(len(het))",
        ]
    ),
)
def test_any_filter_gives_the_rows_of_all_files_within_the_plan(
    local: Shapes, predicate: str, columns: str
) -> None:
    sql = f"select {columns} from shapes.sites where {predicate}"
    result = query.run(
        sql, datasets=local.datasets, lake=local, settings=Settings(lake=Path("unused"))
    )
    paths = [file.path for file in local.snapshots["shapes.sites"].files]
    witness = duckdb.connect()
    witness.execute("SET TimeZone = 'UTC'")
    source = f"read_parquet({paths})"
    expected = witness.execute(sql.replace("shapes.sites", source)).fetchall()
    assert result.rows() == expected
    holding = f"select distinct filename from {source} where {predicate}"
    wanted = [Path(name).stat().st_size for (name,) in witness.execute(holding).fetchall()]
    assert result.report.plan.athena_bytes >= sum(wanted)  # it reads such small files whole
    plan, read = result.report.plan, result.report.bytes_scanned
    assert plan.low_bytes <= read <= plan.high_bytes
    assert plan_in_bulk(local, sql) == plan


def plan_in_bulk(shapes: Shapes, sql: str) -> Plan:
    """The plan as it is made for thousands of files."""
    packed = {}
    for name, table in shapes.snapshots.items():
        header, arrays = pack(table.files)
        packed[name] = replace(table, files=unpack(header, memoryview(b"".join(arrays))))
    lake = Shapes(packed, shapes.datasets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_scans, "MANY_FILES", 1)
        ready = query.prepare(
            sql, datasets=shapes.datasets, lake=lake, settings=Settings(lake=Path("unused"))
        )
    ready.planner.close()
    return ready.plan


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - PARAMETERS.keys()))
def test_many_files_are_planned_as_few_are(local: Shapes, shape: str) -> None:
    ready = query.prepare(
        SHAPES[shape], datasets=local.datasets, lake=local, settings=Settings(lake=Path("unused"))
    )
    ready.planner.close()
    assert plan_in_bulk(local, SHAPES[shape]) == ready.plan


# Limits that are passed while a query runs.


ENDLESS = "select s.note from shapes.sites s, range(20000) where hash(s.pos, range) = 1 limit 5"


def endless(shapes: Shapes, limits: Limits, s3: S3Settings | None = None) -> query.Result:
    """A query that reads on for long: its LIMIT makes the plan say "stops"."""
    return query.run(
        ENDLESS,
        datasets=shapes.datasets,
        lake=shapes,
        settings=Settings(lake=Path("unused"), threads=1, limits=limits, s3=s3 or S3Settings()),
    )


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_query_never_reads_more_bytes_than_it_is_allowed(
    place: str, share: float, shapes: Shapes, local: Shapes, server: CountingServer
) -> None:
    """By the engine's count, and on S3 by the server's."""
    remote = S3Settings(anon=True, endpoint_url=server.url, region=REGION)
    lake, s3 = (shapes, remote) if place == "s3" else (local, S3Settings())
    limit = int(share * plan_in_bulk(local, ENDLESS).high_bytes)
    with pytest.raises(LimitPassed, match=f"stopped before reading more; {limit:,} ") as stopped:
        endless(lake, Limits(max_bytes=limit), s3).rows()
    assert stopped.value.exit_code == 3
    words = stopped.value.what.split("it has read ")[1]
    assert ("on Athena" in words) == (words != "nothing")
    told = 0 if words == "nothing" else int(words.split(" bytes")[0].replace(",", ""))
    assert told <= limit
    assert (told > 0) == (share > 0)
    assert server.sent == (told if place == "s3" else 0)


def test_a_query_that_passes_its_seconds_is_stopped_within_one_more(local: Shapes) -> None:
    started = time.perf_counter()
    with pytest.raises(LimitPassed, match="max_seconds is 0.5"):
        endless(local, Limits(max_seconds=0.5)).rows()
    assert time.perf_counter() - started < 5  # 1 s on a machine that does nothing else


def test_the_report_of_a_stopped_query_says_what_it_cost(local: Shapes) -> None:
    result = query.run(
        "select s.note from shapes.sites s, range(200000)",
        datasets=local.datasets,
        lake=local,
        settings=Settings(lake=Path("unused"), threads=1, limits=Limits(max_seconds=0.3)),
    )
    with pytest.raises(LimitPassed):
        for _ in result.batches():
            pass
    assert 0 < result.report.bytes_scanned <= result.report.plan.high_bytes
    assert "note: stopped after 0.3 s" in str(result.report)


# Advice


def advised(shapes: Shapes, sql: str) -> Plan:
    ready = query.prepare(
        sql, datasets=shapes.datasets, lake=shapes, settings=Settings(lake=Path("unused"))
    )
    try:
        return ready.advised()
    finally:
        ready.planner.close()


@pytest.mark.parametrize("shape", ["projection", "join", "partition pruning", "group by", "union"])
def test_cheaper_queries_run_and_read_less(local: Shapes, shape: str) -> None:
    plan = advised(local, SHAPES[shape])
    assert plan.cheaper
    for cheaper in plan.cheaper:
        result = query.run(
            cheaper.sql, datasets=local.datasets, lake=local, settings=Settings(lake=Path("unused"))
        )
        result.arrow()
        assert result.report.bytes_scanned <= cheaper.high_bytes < plan.high_bytes


def test_a_refusal_names_three_cheaper_queries(shapes: Shapes, server: CountingServer) -> None:
    with pytest.raises(BudgetRefused) as refused:
        asking(shapes, server.url, Limits(max_bytes=1000))("SELECT *, selective text")
    assert refused.value.hint.count("reads less, ") == 3  # all are billed as 10 MB
    assert server.requests == []


NARROW = {"equality", "count(*)", "CTE", "view", "partition pruning", "parameter"} | {
    "join, transitive predicate"  # of one contig: how many rows it gives is no question
}


def test_three_cheaper_queries_are_found_but_for_what_is_narrow_already(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    large = make(tmp_path_factory.mktemp("cheaper"), rows=12_000)
    for shape in SHAPES.keys() - NARROW:
        assert len(advised(large, SHAPES[shape]).cheaper) == 3, shape


def test_advice_names_the_slice_that_exists(
    cohort_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq._advice.WORTH_BYTES", 0)
    advice = cohort_lake.plan("select sum(ac) from thousand_genomes.variants").advice
    (told,) = (line for line in advice if "variants_clinvar is a slice" in line)
    sources = "clinvar.grch37 and thousand_genomes.variants"
    assert told.startswith("thousand_genomes.variants_clinvar is a slice of ")
    assert told.split(" is a slice of ")[1].split(":")[0] in (sources, "thousand_genomes.variants")
    asked = "select count(*) from thousand_genomes.samples"
    assert not any("is a slice" in line for line in cohort_lake.plan(asked).advice)


def test_advice_names_costly_columns_and_what_would_prune(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    large = make(tmp_path_factory.mktemp("large"), rows=12_000)
    advice = "\n".join(advised(large, "select * from shapes.sites").advice)
    assert "is the column info of shapes.sites" in advice
    assert "shapes.sites is partitioned by contig" in advice
    assert "shapes.sites is sorted by pos" in advice


@given(st.integers(0, 10**13), st.integers(0, 10**5), st.integers(0, 10**13))
def test_the_cheapest_place_asks_no_more_than_any_other(size: int, gets: int, athena: int) -> None:
    plan = replace(
        planner.nothing({}, cost.prices()).plan,
        low_bytes=size,
        high_bytes=size,
        low_requests=gets,
        high_requests=gets,
        athena_bytes=athena,
    )
    assert all(plan.cheapest.high_usd <= option.high_usd for option in plan.options)
    assert len(plan.options) == (3 if gets else 2)


NEAR, ATHENA, HERE = "DuckDB in region", "Athena", "DuckDB here"
# Bytes, GETs, the cheaper place. By hand, of list prices: a GET is $0.0000004; Athena asks $5 for
# 10^12 bytes, as for 12,500,000 GETs, and for 10 MB or less $0.00005, as for 125.
CHEAPER = [
    (1, 1, NEAR), (1, 124, NEAR), (1, 126, ATHENA), (10**7, 124, NEAR), (10**7, 126, ATHENA),
    (2 * 10**7, 249, NEAR), (2 * 10**7, 251, ATHENA), (10**8, 1249, NEAR), (10**8, 1251, ATHENA),
    (10**9, 100, NEAR), (10**9, 12_499, NEAR), (10**9, 12_501, ATHENA), (10**11, 1_249_999, NEAR),
    (10**11, 1_250_001, ATHENA), (10**12, 12_499_999, NEAR), (10**12, 12_500_001, ATHENA),
    (10**13, 1_000_000, NEAR), (0, 0, HERE), (10**9, 0, HERE), (10**13, 0, HERE),
]  # fmt: skip


@pytest.mark.parametrize(("size", "gets", "place"), CHEAPER)
def test_the_cheaper_place_is_picked(size: int, gets: int, place: str) -> None:
    plan = replace(
        planner.nothing({}, cost.prices()).plan,
        low_bytes=size,
        high_bytes=size,
        low_requests=gets,
        high_requests=gets,
        athena_bytes=size,
    )
    assert len(CHEAPER) == 20
    assert plan.cheapest.place == place


# What the plan itself takes


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_plan_says_what_the_making_of_it_took(
    place: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a side file metadata, manifest list, manifests and footers; with one nothing."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    s3.client.create_bucket(Bucket="planned")
    settings = S3Settings(endpoint_url=s3.endpoint_url, region=REGION)
    lake = lake_at(tmp_path, "s3://planned/warehouse" if place == "s3" else "", settings)
    files = 3
    for number in range(files):
        put(lake, f"s3://raw/{number}", sites(number))
    sql = "select count(*) from made.sites"

    described = SimpleNamespace(datasets={"made": tally.dataset()})

    def planned() -> planner.Planning:
        connected = lakeq.connect(tmp_path, s3_endpoint_url=s3.endpoint_url, s3_region=REGION)
        monkeypatch.setattr(connected, "catalog", described)
        found = connected.plan(sql).planning
        assert found is not None
        return found

    warm = planned()
    shutil.rmtree(tmp_path / "cache")
    cold = planned()
    assert warm == planner.Planning(0, 0, Decimal(0))
    assert cold.bytes > 10_000
    manifests = files  # one a commit
    assert cold.requests == (2 + manifests + files if place == "s3" else 0)
    assert cold.usd == cost.s3_requests_cost_usd(cold.requests)
    assert planned() == warm


# Real tables


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """chrMT of 1000 Genomes and a ClinVar release."""
    lake = lakeq.connect(tmp_path_factory.mktemp("real") / "lake")
    chr_mt = "ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
    folder = "genomics/thousand_genomes"
    panel = real_file(f"{folder}/integrated_call_samples_plus31related.panel")
    lake.ingest("thousand_genomes", [real_file(f"{folder}/{chr_mt}")], panel=panel)
    lake.ingest("clinvar", [real_file("genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz")])
    return lake


REAL = {
    "select gene, count(*) from clinvar.grch37 where is_pathogenic group by gene": None,
    "select count(*) from clinvar.grch37 where contig = '17' and pos > 41196312": None,
    "select max(af) from thousand_genomes.variants": True,
    "select sum(ac) from thousand_genomes.variants where pos between 1000 and 9000": None,
    "select contig, pos, alt from thousand_genomes.calls where sample = 'HG00096'": None,
    "select count(*) from thousand_genomes.samples": True,
    "select * from clinvar.grch37 limit 3": None,
    "@allele_frequency_clinvar": None,
    "@sample_clinvar": None,
}


@pytest.mark.parametrize("question", REAL)
def test_plans_hold_on_real_tables(real: Lake, question: str) -> None:
    params = {"sample": "HG00096"} if question == "@sample_clinvar" else None
    said = real.plan(question, params)
    result = real.sql(question, params)
    frame = result.df()
    read = result.report.bytes_scanned
    assert said.low_bytes <= read <= said.high_bytes
    assert result.report.files_read <= said.files
    assert frame.attrs["lakeq"]["plan"]["high_bytes"] == said.high_bytes
    if REAL[question]:
        assert said.exact
