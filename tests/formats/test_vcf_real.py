"""Real files against bcftools, which is an independent reader and counter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakeq import catalog
from lakeq.errors import BadSource
from lakeq.formats import vcf
from lakeq.storage import local_source
from tests.support import bcftools
from tests.support.data import name, real_file, real_files
from tests.support.vcf import arrow, memory, panel, variants

FOLDER = "genomics/thousand_genomes"
VCFS = [p for p in real_files(f"{FOLDER}/*") if p.name.endswith((".vcf", ".vcf.gz"))]
PHASE3 = f"{FOLDER}/phase3.chr22_16050075_16499957.vcf.gz"
GATK = f"{FOLDER}/highcov3202.chr12_66888_139103.gatk.vcf.gz"
MITOCHONDRION = f"{FOLDER}/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
PANEL = f"{FOLDER}/integrated_call_samples_v3.20130502.ALL.panel"
COUNTS = "%POS\t%REF\t%ALT\t%AC\t%AN"

real = pytest.mark.parametrize("path", VCFS, ids=name)


def dataset(path: Path) -> str:
    high = "highcov" in path.name or "GRCh38" in path.name
    return "thousand_genomes_30x" if high else "thousand_genomes"


def read(path: Path) -> dict[str, pa.Table]:
    samples = panel(real_file(PANEL), vcf.sample_names(local_source(path)))
    return arrow(path, dataset=dataset(path), samples=samples)


def rows(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


def counted(path: Path, samples: list[str] | None = None) -> list[tuple[int, str, str, int, int]]:
    """pos, ref, alt, AC and AN of each alternate allele, counted by bcftools from the genotypes.

    bcftools view -s SAMPLES FILE | bcftools +fill-tags - -- -t AC,AN | bcftools query -f ...
    """
    view = bcftools.run("view", *(["-s", ",".join(samples)] if samples else []), path)
    if "##contig=" not in view:  # bcftools writes no record of a contig it was not told of
        contig = view.rstrip("\n").rsplit("\n", 1)[1].split("\t", 1)[0]
        view = view.replace("#CHROM", f"##contig=<ID={contig}>\n#CHROM", 1)
    filled = piped(view, "+fill-tags", "-", "--", "-t", "AC,AN")
    return [
        (int(pos), ref, alt, int(copies), int(an))
        for line in piped(filled, "query", "-f", COUNTS + "\n", "-").splitlines()
        for pos, ref, alts, ac, an in [line.split("\t")]
        for alt, copies in zip(alts.split(","), ac.split(","), strict=True)
    ]


def piped(text: str, *arguments: str) -> str:
    """What `bcftools ARGUMENTS` prints when it reads `text`."""
    command = [bcftools.executable(), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


@real
def test_sites_equal_bcftools(path: Path) -> None:
    expected = [
        (int(pos), ref, alt, None if id_ == "." else id_, None if filter_ == "." else filter_)
        for pos, ref, alts, id_, filter_ in bcftools.query(path, "%POS\t%REF\t%ALT\t%ID\t%FILTER")
        for alt in alts.split(",")
    ]
    found = arrow(path, dataset=dataset(path), names=("variants",))["variants"]
    assert rows(found, "pos", "ref", "alt", "id", "filter") == expected


@real
def test_allele_counts_equal_bcftools(path: Path) -> None:
    if vcf.sample_names(local_source(path)):
        expected = counted(path)
    else:
        expected = [
            (int(pos), ref, alt, int(ac), int(an))
            for pos, ref, alts, acs, an in bcftools.query(path, COUNTS)
            for alt, ac in zip(alts.split(","), acs.split(","), strict=True)
        ]
    found = arrow(path, dataset=dataset(path), names=("variants",))["variants"]
    assert rows(found, "pos", "ref", "alt", "ac", "an") == expected


@pytest.mark.parametrize("code", ["AFR", "AMR", "EAS", "EUR", "SAS", "GBR"])
@pytest.mark.parametrize("file", [PHASE3, f"{FOLDER}/phase3.chr1_11697036_11836540.vcf.gz"])
def test_allele_counts_of_populations_equal_bcftools(file: str, code: str) -> None:
    path, key = real_file(file), code.lower()
    known = panel(real_file(PANEL), vcf.sample_names(local_source(path)))
    members = [s.name for s in known.values() if code in (s.population, s.super_population)]
    found = arrow(path, samples=known, names=("variants",))["variants"]
    assert rows(found, "pos", "ref", "alt", f"ac_{key}", f"an_{key}") == counted(path, members)


@real
def test_calls_of_samples_equal_bcftools(path: Path) -> None:
    names = vcf.sample_names(local_source(path))
    chosen = sorted({names[0], names[len(names) // 2], names[-1]}) if names else []
    calls = read(path)["calls"]
    calls = calls.filter(pc.is_in(calls["sample"], pa.array(chosen, pa.string())))
    found = {
        (sample, pos, ref, tuple(alleles), phased)
        for sample, pos, ref, alleles, phased in rows(
            calls, "sample", "pos", "ref", "allele_numbers", "phased"
        )
    }
    expected = {
        (sample, int(pos), ref, *genotype(gt))
        for sample, pos, ref, gt in per_sample(path, "%SAMPLE\t%POS\t%REF\t%GT", chosen)
        if set(gt) - set("0/|")
    }
    assert found == expected


def per_sample(path: Path, fields: str, samples: list[str]) -> list[list[str]]:
    r"""The rows of bcftools query -s SAMPLES -f '[FIELDS\n]' FILE."""
    if not samples:
        return []
    text = bcftools.run("query", "-s", ",".join(samples), "-f", f"[{fields}\n]", path)
    return [line.split("\t") for line in text.splitlines()]


def genotype(text: str) -> tuple[tuple[int | None, ...], bool | None]:
    """Allele numbers and phase of a GT as bcftools prints it."""
    alleles = tuple(None if a == "." else int(a) for a in text.replace("|", "/").split("/"))
    return alleles, None if len(alleles) == 1 else "/" not in text


@real
def test_calls_hold_every_carried_allele_once_in_order(path: Path) -> None:
    made = read(path)
    keys = rows(made["calls"], "contig", "sample", "pos", "alt_index")
    contigs = list(dict.fromkeys(key[0] for key in keys))
    order = [(contigs.index(c), s, pos, alt or 1 << 40) for c, s, pos, alt in keys]
    assert order == sorted(order)
    if made["genotypes"].num_rows:
        copies = pc.sum(made["calls"]["alt_copies"]).as_py()
        assert copies == pc.sum(made["variants"]["ac"]).as_py()


@real
def test_genotypes_and_variants_agree(path: Path) -> None:
    made = read(path)
    variants, genotypes = made["variants"], made["genotypes"]
    if not vcf.sample_names(local_source(path)):
        assert genotypes.num_rows == 0
        return
    site = ["contig", "pos", "ref", "alt", "alt_index"]
    assert variants.select(site) == genotypes.select(site)
    lists = {"het": "n_het", "het_phase": "n_het", "hom_alt": "n_hom_alt", "hemi": "n_hemi",
             "missing": "n_missing"}  # fmt: skip
    for column, count in lists.items():
        assert pc.list_value_length(genotypes[column]).equals(variants[count])
    for column in ("het", "hom_alt", "hemi", "missing"):
        assert all(numbers == sorted(numbers) for numbers in genotypes[column].to_pylist())


def test_mitochondrion_is_haploid() -> None:
    path = real_file(MITOCHONDRION)
    found = read(path)["variants"]
    # bcftools query -f '[%GT\n]' FILE | sort | uniq -c: every call is one allele or '.'
    assert set(found["contig"].to_pylist()) == {"MT"}
    assert pc.max(found["n_het"]).as_py() == pc.max(found["n_hom_alt"]).as_py() == 0
    assert found["n_hemi"].equals(found["ac"])
    called = pc.add(found["an"], found["n_missing"])
    assert called.unique().to_pylist() == [2534]


def test_info_equals_bcftools() -> None:
    path = real_file(PHASE3)
    fields = "AC AN AF NS DP EAS_AF AA END SVTYPE MULTI_ALLELIC"
    asked = "%POS\t%REF\t%ALT" + "".join(f"\t%INFO/{key}" for key in fields.split())
    found = iter(variants(path))
    count = 0
    for pos, _ref, alts, ac, an, af, ns, dp, eas, aa, end, sv, multi in bcftools.query(path, asked):
        for i, alt in enumerate(alts.split(",")):
            row = next(found)
            assert (row["pos"], row["alt"]) == (int(pos), alt)
            assert row["info_ac"] == int(ac.split(",")[i])
            assert row["info_af"] == pytest.approx(float(af.split(",")[i]), rel=1e-5)
            assert row["info_eas_af"] == pytest.approx(float(eas.split(",")[i]), rel=1e-5)
            assert (row["info_an"], row["info_ns"], row["info_dp"]) == (int(an), int(ns), int(dp))
            assert (row["info_aa"] or ".", row["info_svtype"] or ".") == (aa, sv)
            assert row["end_pos"] == (int(end) if end != "." else int(pos) + len(row["ref"]) - 1)
            assert row["info_multi_allelic"] == (multi == "1")
            count += 1
    assert next(found, None) is None
    assert count == 6139


def test_format_fields_equal_bcftools() -> None:
    path = real_file(GATK)
    names = vcf.sample_names(local_source(path))
    columns = ("sample", "pos", "dp", "gq", "ad", "pl")
    found = {
        (*scalars, ad and tuple(ad), pl and tuple(pl))
        for *scalars, ad, pl in rows(read(path)["calls"], *columns)
    }
    expected = {
        (sample, int(pos), integer(dp), integer(gq), numbers(ad), numbers(pl))
        for sample, pos, gt, dp, gq, ad, pl in per_sample(
            path, "%SAMPLE\t%POS\t%GT\t%DP\t%GQ\t%AD\t%PL", names
        )
        if set(gt) - set("0/|")
    }
    assert found == expected
    assert len(found) > 5000


def integer(text: str) -> int | None:
    return None if text == "." else int(text)


def numbers(text: str) -> tuple[int | None, ...] | None:
    """A list as bcftools prints it; '.' alone is a missing one."""
    if text == ".":
        return None
    return tuple(integer(part) for part in text.split(","))


def test_bcf_has_the_rows_of_its_vcf() -> None:
    path = real_file(f"{FOLDER}/1kg_2020_chrM.bcf")
    view = bcftools.run("view", "--output-type", "v", path).encode()
    read = [variants(source, dataset="thousand_genomes_30x") for source in (path, memory(view))]
    assert read[0] == read[1]
    alternates = [alt for (alts,) in bcftools.query(path, "%ALT") for alt in alts.split(",")]
    assert [row["alt"] for row in read[0]] == alternates


def test_lifted_file_belongs_to_the_new_assembly() -> None:
    path = real_file(f"{FOLDER}/phase3.brca1_brca2_exonic_af01.GRCh38.vcf")
    with pytest.raises(BadSource, match="is of assembly GRCh38, the table of GRCh37"):
        variants(path)
    assert len(variants(path, dataset="thousand_genomes_30x")) == 37


def test_every_table_of_the_catalogs_can_be_built() -> None:
    path = real_file(f"{FOLDER}/phase3.sites.BRCA1_17_41039887.VEP.vcf.gz")
    for known in catalog.load().datasets.values():
        vcf_tables = [t.name for t in known.tables.values() if t.format == "vcf"]
        if known.assembly == "GRCh37" and "variants" in vcf_tables:
            assert len(variants(path, dataset=known.name)) == 20
