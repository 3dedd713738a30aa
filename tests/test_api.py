"""The public handle on a real lake: tables, snapshots, named queries checked by other means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.errors import AssemblyMismatch, NotFound, UnknownName
from tests.support import bcftools

SUPER_POPULATIONS = ("AFR", "AMR", "EAS", "EUR", "SAS")


def genotypes(made: MadeCohort) -> dict[tuple[int, str, str], dict[str, list[str]]]:
    """(pos, ref, alt) -> sample -> alleles as "0" (another), "1" (this alt) or ".", by bcftools."""
    names = bcftools.query(made.vcf, "[%SAMPLE ]")[0][0].split()
    found = {}
    for pos, ref, alts, calls in bcftools.query(made.vcf, "%POS\t%REF\t%ALT\t[ %GT]"):
        for number, alt in enumerate(alts.split(","), start=1):
            alleles = [call.replace("/", "|").split("|") for call in calls.split()]
            coded = [["." if a == "." else str(int(a == str(number))) for a in c] for c in alleles]
            found[int(pos), ref, alt] = dict(zip(names, coded, strict=True))
    return found


def panel(made: MadeCohort) -> dict[str, str]:
    """Sample -> super-population."""
    lines = [line.split("\t") for line in made.panel.read_text().splitlines()[1:]]
    return {fields[0]: fields[2] for fields in lines}


def test_importing_lakeq_loads_nothing_heavy() -> None:
    code = (
        "import sys, lakeq; heavy = {'duckdb', 'pyarrow', 'pandas', 'numpy', 'yaml', 'boto3', "
        "'pyiceberg', 'click'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_query_of_an_unchanged_snapshot_loads_neither_pyiceberg_nor_pandas(
    cohort_lake: Lake,
) -> None:
    code = (
        "import sys; from lakeq.cli import run; run(['sql', '@sample_clinvar', '--lake', "
        f"{str(cohort_lake.settings.lake)!r}]); "
        "heavy = {'pyiceberg', 'pandas', 'numpy', 'pyarrow', 'boto3', 'rich', 'yaml'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, capture_output=True, check=True)  # parses the catalogs once
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        lakeq.nothing
    assert dir(lakeq) == sorted(lakeq.__all__)


def test_connect_takes_settings_by_name(tmp_path: Path) -> None:
    handle = lakeq.connect(tmp_path, threads=2, s3_region="eu-west-1")
    assert handle.settings.lake == tmp_path
    assert (handle.settings.threads, handle.settings.s3.region) == (2, "eu-west-1")
    with pytest.raises(UnknownName, match="did you mean threads"):
        lakeq.connect(tmp_path, thread=2)


def test_tables_are_all_of_the_catalog_with_what_is_in_the_lake(cohort_lake: Lake) -> None:
    tables = {table.name: table for table in cohort_lake.tables()}
    assert {"clinvar.grch37", "clinvar.grch38", "thousand_genomes.calls"} <= set(tables)
    assert tables["thousand_genomes.samples"].rows == 120
    assert tables["clinvar.grch38"].snapshot is None
    assert tables["clinvar.grch38"].rows == 0
    variants = tables["thousand_genomes.variants"]
    assert variants.size_bytes > 0
    assert variants.partitions == ("contig=22",)
    count = cohort_lake.sql("select count(*) from thousand_genomes.variants").rows()
    assert count == [(variants.rows,)]


def test_a_table_knows_its_columns_and_licence(cohort_lake: Lake) -> None:
    table = cohort_lake.table("thousand_genomes.variants")
    pos = next(column for column in table.columns if column.name == "pos")
    assert (pos.type, pos.unit) == ("int64", "bp")
    assert table.dataset.license
    with pytest.raises(UnknownName, match="did you mean thousand_genomes.variants"):
        cohort_lake.table("thousand_genomes.varants")


def test_an_empty_lake_has_no_tables_and_says_how_to_fill_one(lake: Lake) -> None:
    assert not any(table.snapshot for table in lake.tables())
    with pytest.raises(NotFound, match="lakeq ingest clinvar"):
        lake.sql("select * from clinvar.grch37")


def test_time_travel_reads_the_snapshot_before(lake: Lake, made_cohort: MadeCohort) -> None:
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    first = lake.snapshots("clinvar.grch37")[-1]
    short = made_cohort.clinvar.with_name("clinvar_short.GRCh37.vcf")
    text = bcftools.run("view", str(made_cohort.clinvar)).splitlines(keepends=True)
    short.write_text("".join(text[:-5]))
    lake.ingest("clinvar.grch37", [short])
    counts = "select count(*) from clinvar.grch37"
    now = lake.sql(counts).rows()[0][0]
    assert lake.sql(counts, at=first.snapshot_id).rows()[0][0] == first.rows > now
    assert lake.sql(counts, at=first.committed_at).rows() == [(first.rows,)]
    with pytest.raises(NotFound):
        lake.sql(counts, at=12345)


def test_a_join_across_assemblies_is_refused_before_anything_is_read(cohort_lake: Lake) -> None:
    sql = "select 1 from thousand_genomes.variants join clinvar.grch38 using (contig, pos)"
    with pytest.raises(AssemblyMismatch):
        cohort_lake.sql(sql)


# Named queries, against genotypes as bcftools prints them


def test_allele_frequency_clinvar(cohort_lake: Lake, made_cohort: MadeCohort) -> None:
    calls, group = genotypes(made_cohort), panel(made_cohort)
    rows = cohort_lake.sql("@allele_frequency_clinvar").arrow().to_pylist()
    assert rows
    for row in rows:
        mine = calls[row["pos"], row["ref"], row["alt"]]
        alleles = [a for call in mine.values() for a in call if a != "."]
        assert (row["ac"], row["an"]) == (alleles.count("1"), len(alleles))
        for code in SUPER_POPULATIONS:
            part = [a for s, call in mine.items() if group[s] == code for a in call if a != "."]
            assert row[f"af_{code.lower()}"] == pytest.approx(part.count("1") / len(part))
    assert [row["af"] for row in rows] == sorted((row["af"] for row in rows), reverse=True)


def test_allele_frequency_of_one_gene(cohort_lake: Lake) -> None:
    everything = cohort_lake.sql("@allele_frequency_clinvar").arrow().to_pylist()
    gene = everything[0]["gene"]
    one = cohort_lake.sql("@allele_frequency_clinvar", {"gene": gene}).arrow().to_pylist()
    assert one == [row for row in everything if row["gene"] == gene]


def test_genotype_frequency_clinvar(cohort_lake: Lake, made_cohort: MadeCohort) -> None:
    calls, group = genotypes(made_cohort), panel(made_cohort)
    rows = cohort_lake.sql("@genotype_frequency_clinvar").arrow().to_pylist()
    kinds = {"het": ["0", "1"], "hom_alt": ["1", "1"], "hemi": ["1"]}
    sizes = {code: list(group.values()).count(code) for code in SUPER_POPULATIONS}
    pathogenic = {
        tuple(row)
        for row in cohort_lake.sql(
            "select distinct pos, ref, alt from clinvar.grch37 where is_pathogenic"
        ).rows()
    }
    expected = {
        (*site, code, kind): n
        for site in pathogenic & calls.keys()
        for code in SUPER_POPULATIONS
        for kind, alleles in kinds.items()
        if (n := sum(sorted(c) == alleles and group[s] == code for s, c in calls[site].items()))
    }
    found = {
        (r["pos"], r["ref"], r["alt"], r["super_population"], r["genotype"]): r["n"] for r in rows
    }
    assert found == expected != {}
    assert all(r["genotype_frequency"] == r["n"] / sizes[r["super_population"]] for r in rows)


def test_sample_clinvar(cohort_lake: Lake, made_cohort: MadeCohort) -> None:
    calls = genotypes(made_cohort)
    known = cohort_lake.sql("select distinct pos, ref, alt from clinvar.grch37").rows()
    expected = {tuple(s) for s in known if s in calls and "1" in calls[s]["HG00096"]}
    values = {"sample": "HG00096", "pathogenic_only": False}
    rows = cohort_lake.sql("@sample_clinvar", values).arrow().to_pylist()
    assert {(r["pos"], r["ref"], r["alt"]) for r in rows} == expected != set()
    assert all(
        r["alt_copies"] == calls[r["pos"], r["ref"], r["alt"]]["HG00096"].count("1") for r in rows
    )
    pathogenic = cohort_lake.sql("@sample_clinvar").arrow().to_pylist()
    assert all("athogenic" in row["clinical_significance"] for row in pathogenic)


def test_drug_response(cohort_lake: Lake) -> None:
    rows = cohort_lake.sql("@drug_response").arrow().to_pylist()
    assert rows
    assert all("drug response" in row["clinical_significance"] for row in rows)
    assert all(row["ac"] > 0 for row in rows)
    assert cohort_lake.sql("@drug_response", {"drug": "no such drug"}).rows() == []


def test_cohort_frequency(cohort_lake: Lake, made_cohort: MadeCohort) -> None:
    calls = genotypes(made_cohort)
    mine = list(panel(made_cohort))[3:40:3]
    values = {"samples": [*mine, "NOBODY"], "first_pos": 20_000_000, "last_pos": 45_000_000}
    rows = cohort_lake.sql("@cohort_frequency", values).arrow().to_pylist()
    expected = {}
    for site, call in calls.items():
        if 20_000_000 <= site[0] <= 45_000_000:
            alleles = [a for sample in mine for a in call[sample]]
            expected[site] = (len(mine), alleles.count("1"), len(alleles) - alleles.count("."))
    found = {(r["pos"], r["ref"], r["alt"]): (r["samples"], r["ac"], r["an"]) for r in rows}
    assert found == expected != {}
    assert all(r["af"] == pytest.approx(r["ac"] / r["an"]) for r in rows)


def test_cohort_frequency_of_nobody_is_empty(cohort_lake: Lake) -> None:
    assert cohort_lake.sql("@cohort_frequency", {"samples": ["NOBODY"]}).rows() == []


def test_variants_in_gene(cohort_lake: Lake) -> None:
    rows = cohort_lake.sql("@variants_in_gene", {"gene": "CHEK2"}).arrow().to_pylist()
    first, last = cohort_lake.sql(
        "select min(pos), max(pos) from clinvar.grch37 where gene = 'CHEK2'"
    ).rows()[0]
    sites = cohort_lake.sql(
        "select pos, ref, alt from thousand_genomes.variants where pos between $a and $b",
        {"a": first, "b": last},
    ).rows()
    assert {(r["pos"], r["ref"], r["alt"]) for r in rows} == set(sites) != set()


def test_private_alleles(cohort_lake: Lake, made_cohort: MadeCohort) -> None:
    group = panel(made_cohort)
    expected = {}
    for site, calls in genotypes(made_cohort).items():
        carriers = {group[sample] for sample, call in calls.items() if "1" in call}
        copies = sum(call.count("1") for call in calls.values())
        if len(carriers) == 1 and copies >= 2:
            expected[site] = (carriers.pop(), copies)
    rows = cohort_lake.sql("@private_alleles").arrow().to_pylist()
    found = {(r["pos"], r["ref"], r["alt"]): (r["super_population"], r["ac"]) for r in rows}
    assert found == expected != {}
    african = cohort_lake.sql("@private_alleles", {"super_population": "AFR"}).arrow().to_pylist()
    assert [row for row in rows if row["super_population"] == "AFR"] == african


def test_samples_keep_the_objects_that_hold_them(lake_dir: Path, made_cohort: MadeCohort) -> None:
    lake = lakeq.connect(lake_dir)
    lake.ingest("thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel)
    again = made_cohort.vcf.with_name("again.vcf.gz")
    again.write_bytes(made_cohort.vcf.read_bytes())
    both = [made_cohort.vcf, again]
    asked = "select distinct objects from thousand_genomes.samples"
    assert lake.sql(asked).rows() == [([made_cohort.vcf.as_uri()],)]
    lake.ingest("thousand_genomes", [again], panel=made_cohort.panel)
    assert lake.sql(asked).rows() == [(sorted(path.as_uri() for path in both),)]
    sources = "select distinct _source from thousand_genomes.genotypes order by 1"
    assert lake.sql(sources).rows() == [(path,) for path in sorted(p.as_uri() for p in both)]
