"""The main job on real files: raw VCF objects -> tables -> SQL -> rows, against bcftools.

The counts of shared alleles are those of PROVENANCE.md beside the data: alleles matched on
(contig, pos, ref, alt) with multi-allelic rows split.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.errors import AssemblyMismatch
from tests.support.bcftools import query as bcftools_query
from tests.support.data import name, real_file, real_files

PANEL = "genomics/thousand_genomes/integrated_call_samples_plus31related.panel"
GRCH37_SLICES = [
    "genomics/thousand_genomes/phase3.chr22_16050075_16499957.vcf.gz",
    "genomics/thousand_genomes/phase3.chr1_11697036_11836540.vcf.gz",
    "genomics/thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz",
]
GRCH38_SLICES = [
    "genomics/thousand_genomes/highcov3202.chr1_10390_66441.phased_panel.vcf.gz",
    "genomics/thousand_genomes/highcov3202.chr12_66888_139103.gatk.vcf.gz",
]
BRCA_GRCH38 = "genomics/thousand_genomes/phase3.brca1_brca2_exonic_af01.GRCh38.vcf"
CLINVAR_2014 = "genomics/clinvar/clinvar_2014-06-04.GRCh37.vcf.gz"
CLINVAR_2016 = "genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz"
SLICES = [
    *(("thousand_genomes", p) for p in GRCH37_SLICES),
    *(("thousand_genomes_30x", p) for p in GRCH38_SLICES),
]
SHARED = """
    select count(*), count(*) filter (c.is_pathogenic)
    from thousand_genomes.variants v join clinvar.grch37 c using (contig, pos, ref, alt)
"""

Site = tuple[str, int, str, str]


def canonical(contig: str) -> str:
    """The canonical spelling of the few contigs in these files."""
    return contig.removeprefix("chr").replace("chrM", "MT")


def alleles(path: Path) -> list[Site]:
    """bcftools' sites, one per alternate allele: (contig, pos, ref, alt)."""
    return [
        (canonical(chrom), int(pos), ref, alt)
        for chrom, pos, ref, alts in bcftools_query(path, "%CHROM\t%POS\t%REF\t%ALT")
        for alt in alts.split(",")
    ]


@pytest.mark.parametrize(("dataset", "path"), SLICES, ids=lambda v: Path(v).name)
def test_sites_equal_bcftools(dataset: str, path: str, lake: Lake) -> None:
    file = real_file(path)
    lake.ingest(dataset, [file], panel=real_file(PANEL))
    rows = lake.sql(f"select contig, pos, ref, alt from {dataset}.variants").rows()
    assert sorted(rows) == sorted(alleles(file))


@pytest.mark.parametrize(("dataset", "path"), SLICES, ids=lambda v: Path(v).name)
def test_allele_counts_equal_bcftools(dataset: str, path: str, lake: Lake) -> None:
    file = real_file(path)
    lake.ingest(dataset, [file], panel=real_file(PANEL))
    rows = lake.sql(
        f"select contig, pos, ref, alt, ac, an from {dataset}.variants order by pos, ref, alt"
    ).rows()
    expected = counts_from_genotypes(file)
    assert {tuple(r[:4]): tuple(r[4:]) for r in rows} == expected


def counts_from_genotypes(path: Path) -> dict[Site, tuple[int, int]]:
    """AC and AN of every split allele, counted from the genotypes that bcftools prints."""
    counts: dict[Site, tuple[int, int]] = {}
    for chrom, pos, ref, alts, genotypes in bcftools_query(
        path, "%CHROM\t%POS\t%REF\t%ALT\t[ %GT]"
    ):
        called = genotypes.replace("|", " ").replace("/", " ").split()
        an = len(called) - called.count(".")
        for index, alt in enumerate(alts.split(","), start=1):
            counts[canonical(chrom), int(pos), ref, alt] = (called.count(str(index)), an)
    return counts


@pytest.mark.parametrize(("dataset", "path"), SLICES, ids=lambda v: Path(v).name)
def test_one_samples_calls_equal_bcftools(dataset: str, path: str, lake: Lake) -> None:
    file = real_file(path)
    lake.ingest(dataset, [file], panel=real_file(PANEL))
    rows = lake.sql(
        f"""select contig, pos, ref, alt, allele_numbers, phased from {dataset}.calls
            where sample = $sample and alt is not null order by pos, ref, alt_index""",
        params={"sample": "HG00096"},
    ).rows()
    expected = [
        (canonical(chrom), int(pos), ref, alts.split(",")[allele - 1], gt)
        for chrom, pos, ref, alts, gt in bcftools_query(
            file, "%CHROM\t%POS\t%REF\t%ALT\t[%GT]", samples=["HG00096"]
        )
        for allele in sorted({int(a) for a in gt.replace("|", "/").split("/") if a not in "0."})
    ]
    got = [(c, p, r, a, genotype_text(numbers, phased)) for c, p, r, a, numbers, phased in rows]
    assert sorted(got) == sorted(expected)


def genotype_text(numbers: list[int | None], phased: bool | None) -> str:
    """The VCF spelling of a call."""
    return ("|" if phased else "/").join("." if n is None else str(n) for n in numbers)


@pytest.mark.parametrize(
    "path", real_files("genomics/clinvar/*.vcf.gz") + real_files("genomics/clinvar/*.vcf"), ids=name
)
def test_every_clinvar_vcf_gives_bcftools_alleles(path: Path, lake: Lake) -> None:
    table = "clinvar.grch38" if "GRCh38" in path.name else "clinvar.grch37"
    lake.ingest(table, [path])
    rows = lake.sql(f"select contig, pos, ref, alt from {table}").rows()
    if "brca_exchange" in path.name:  # spaces in its #CHROM line: bcftools does not open it
        lines = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
        expected: list[Site] = [(f[0], int(f[1]), f[3], f[4]) for f in lines]
    else:
        expected = [(*site, None if alt == "." else alt) for *site, alt in alleles(path)]
    assert Counter(rows) == Counter(expected)


def test_mitochondrial_alleles_shared_with_clinvar_2016(lake: Lake) -> None:
    lake.ingest("thousand_genomes", [real_file(GRCH37_SLICES[2])], panel=real_file(PANEL))
    lake.ingest("clinvar", [real_file(CLINVAR_2016)])
    assert lake.sql(SHARED).rows() == [(206, 83)]


def test_clinvar_2014_has_no_mitochondrial_rows_to_share(lake: Lake) -> None:
    lake.ingest("thousand_genomes", [real_file(GRCH37_SLICES[2])], panel=real_file(PANEL))
    lake.ingest("clinvar", [real_file(CLINVAR_2014)])
    assert lake.sql(SHARED).rows() == [(0, 0)]
    alleles, records = lake.sql(
        "select count(*), count(distinct source_record) from clinvar.grch37"
    ).rows()[0]
    assert (alleles, records) == (87_571, 83_547)


@pytest.mark.parametrize(("clinvar", "shared"), [(CLINVAR_2014, 20), (CLINVAR_2016, 62)])
def test_phase_1_alleles_shared_with_clinvar(clinvar: str, shared: int, lake: Lake) -> None:
    phase1 = real_file("genomics/thousand_genomes/phase1.chr22_50300078_5samples.vcf.gz")
    lake.ingest("thousand_genomes", [phase1], panel=real_file(PANEL))
    lake.ingest("clinvar", [real_file(clinvar)])
    assert lake.sql(SHARED).rows()[0][0] == shared


@pytest.mark.parametrize(
    ("path", "in_2014", "in_2016"),
    [
        ("genomics/callers/exome.Pfeiffer.gatk.vcf.gz", 897, 2042),
        ("genomics/callers/gatk4.HG002_trio_ashkenazim.vcf.gz", 172, 445),
        ("genomics/gnomad_exac/gnomad.exomes.v2.1.GRCh37.PCSK9.vcf.bgz", 4, 5),
        ("genomics/giab/PG_NA12878.chr21.hg19.vcf.gz", 55, 88),
    ],
)
def test_callsets_of_others_share_the_known_alleles(
    path: str, in_2014: int, in_2016: int, lake: Lake
) -> None:
    lake.ingest("thousand_genomes.variants", [real_file(path)], panel="")
    distinct = SHARED.replace("count(*)", "count(distinct (contig, pos, ref, alt))", 1)
    shared = []
    for clinvar in (CLINVAR_2014, CLINVAR_2016):
        lake.ingest("clinvar", [real_file(clinvar)])
        shared.append(lake.sql(distinct).rows()[0][0])
    assert shared == [in_2014, in_2016]


def test_grch38_alleles_do_not_join_grch37_clinvar(lake: Lake) -> None:
    lake.ingest("thousand_genomes_30x", [real_file(BRCA_GRCH38)], panel=real_file(PANEL))
    lake.ingest("clinvar", [real_file(CLINVAR_2016)])
    query = "select count(*) from thousand_genomes_30x.variants v join clinvar.grch37 c using (pos)"
    with pytest.raises(AssemblyMismatch, match=r"GRCh37.*GRCh38|GRCh38.*GRCh37"):
        lake.sql(query)
    by_rs = """select count(distinct v.rs)
               from thousand_genomes_30x.variants v join clinvar.grch37 c using (rs)"""
    assert lake.sql(by_rs, across_assemblies=True).rows() == [(35,)]


def test_public_names_are_few() -> None:
    assert {"connect", "Lake", "Result"} <= set(lakeq.__all__)


def test_a_cohort_counts_only_calls_that_an_object_has(lake: Lake) -> None:
    """NA19240 is one of the relatives whom the chrMT object has and the chr22 object lacks."""
    lake.ingest("thousand_genomes", [real_file(p) for p in GRCH37_SLICES], panel=real_file(PANEL))
    _, *others = cohort = ["NA19240", "HG00096", "NA20318"]
    for contig, ploidy, samples in (("MT", 1, cohort), ("22", 2, others)):
        rows = lake.sql("@cohort_frequency", {"samples": cohort, "contig": contig}).arrow()
        assert set(rows["samples"].to_pylist()) == {len(samples)}
        assert set(rows["an"].to_pylist()) == {ploidy * len(samples)}
    calls = bcftools_query(real_file(GRCH37_SLICES[2]), "%POS\t%REF\t%ALT[\t%GT]", samples=cohort)
    expected = {
        (int(pos), ref, alt): gts.count(str(index))
        for pos, ref, alts, *gts in calls
        for index, alt in enumerate(alts.split(","), start=1)
    }
    rows = lake.sql("@cohort_frequency", {"samples": cohort, "contig": "MT"}).arrow().to_pylist()
    assert {(r["pos"], r["ref"], r["alt"]): r["ac"] for r in rows} == expected
