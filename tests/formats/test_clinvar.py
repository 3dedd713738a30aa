"""ClinVar in all its layouts, against bcftools and against the text of the files."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeq import catalog, config, contigs, types
from lakeq.errors import BadSource
from lakeq.formats import ReadContext, _text_blocks, clinvar
from lakeq.formats import _clinvar_words as vocabulary
from lakeq.formats._info_fields import InfoFields
from lakeq.storage import local_source
from tests.support import bcftools
from tests.support.data import name, real_file, real_files

CLINVAR = "genomics/clinvar"
CODED = [
    f"{CLINVAR}/clinvar_{day}.GRCh37.vcf.gz" for day in ("2012-06-16", "2013-09-05", "2014-06-04")
]
FULL_TSV = f"{CLINVAR}/clinvar_2016-11-28.GRCh37.full.tsv.gz"
EXPORT = f"{CLINVAR}/clinvar_result_2016_12_04.ACMG.GRCh38.txt"
BRCA = f"{CLINVAR}/brca_exchange.ClinVar.GRCh38.vcf"
MODERN = [
    f"{CLINVAR}/clinvar_2021-10-25.GRCh38.testset50.vcf.gz",
    f"{CLINVAR}/clinvar_2023-07-10.GRCh37.chr1_69134_981226.vcf.gz",
]
CHR_MT = "genomics/thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
WORDS = {
    "0": "Uncertain significance",
    "1": "not provided",
    "2": "Benign",
    "3": "Likely benign",
    "4": "Likely pathogenic",
    "5": "Pathogenic",
    "6": "drug response",
    "7": "histocompatibility",
    "255": "other",
}

Read = tuple[dict[str, pa.Table], dict[str, int]]


@pytest.fixture(scope="module")
def dataset() -> catalog.Dataset:
    return catalog.check(config.data_dir("catalogs") / "clinvar.yaml")


@pytest.fixture
def read(dataset: catalog.Dataset, tmp_path: Path) -> Any:
    """Read an object as an ingest does; give its tables and the notes."""

    def run(path: Path, *names: str) -> Read:
        tables = {n: dataset.tables[n] for n in names or ("grch37", "grch38")}
        context = ReadContext(dataset, tmp_path)
        batches: dict[str, list[pa.RecordBatch]] = {}
        for batch in clinvar.read(local_source(path), tables, context):
            assert batch.rows.schema == types.arrow_schema(tables[batch.table])
            batches.setdefault(batch.table, []).append(batch.rows)
        return {n: pa.Table.from_batches(rows) for n, rows in batches.items()}, context.notes

    return run


def column(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[n].to_pylist() for n in names), strict=True))


def alleles(
    path: Path, fields: str = "%ID"
) -> Iterator[tuple[str, int, str, str | None, int, list[str]]]:
    """bcftools' records, one row for each alternate allele with its number, and the fields."""
    for chrom, pos, ref, alts, *rest in bcftools.query(path, f"%CHROM\t%POS\t%REF\t%ALT\t{fields}"):
        for number, alt in enumerate(alts.split(","), start=1):
            yield chrom, int(pos), ref, None if alt == "." else alt, number, rest


# Every file


@pytest.mark.parametrize("path", real_files(f"{CLINVAR}/*.vcf.gz"), ids=name)
def test_alleles_of_every_vcf_equal_bcftools(path: Path, read: Any) -> None:
    tables, _ = read(path)
    (table,) = tables.values()
    expected = Counter(row[:4] for row in alleles(path))
    assert Counter(column(table, "contig", "pos", "ref", "alt")) == expected


@pytest.mark.parametrize("path", real_files(f"{CLINVAR}/*"), ids=name)
def test_every_file_goes_to_the_table_of_its_assembly(path: Path, read: Any) -> None:
    tables, notes = read(path)
    assert list(tables) == ["grch38" if "GRCh38" in path.name else "grch37"]
    told_by_name = [kind for kind in notes if "taken from the file's name" in kind]
    assert bool(told_by_name) == (path.suffixes[-2:] == [".tsv", ".gz"])


@pytest.mark.parametrize("path", real_files(f"{CLINVAR}/*"), ids=name)
def test_rows_are_sorted_by_significance_contig_position_and_alleles(path: Path, read: Any) -> None:
    (table,) = read(path)[0].values()
    rows = column(table, "significance_rank", "contig", "pos", "ref", "alt")
    keys = [
        (rank, 99 if contig is None else contigs.rank(contig), pos or 0, ref or "~", alt or "~")
        for rank, contig, pos, ref, alt in rows
    ]
    assert all(a <= b for a, b in pairwise(keys))


@pytest.mark.parametrize("path", real_files(f"{CLINVAR}/*"), ids=name)
def test_pathogenic_rows_are_those_whose_words_say_so(path: Path, read: Any) -> None:
    (table,) = read(path)[0].values()
    for text, pathogenic, rank in column(
        table, "clinical_significance", "is_pathogenic", "significance_rank"
    ):
        said = bool(re.search(r"pathogenic($|[|/,])", (text or "").lower().replace("non-", "")))
        conflicts = (text or "").startswith("Conflicting")
        assert conflicts or pathogenic is said, text
        assert not pathogenic or rank <= 3, text


def test_record_and_allele_counts_of_2014(read: Any) -> None:
    table = read(real_file(CODED[2]))[0]["grch37"]
    assert (table.num_rows, len(set(table["source_record"].to_pylist()))) == (87_571, 83_547)


# The VCF before 2017


@pytest.mark.parametrize("path", CODED)
def test_codes_become_the_words_of_each_allele(path: str, read: Any) -> None:
    expected: Counter[Any] = Counter()
    for *site, number, (numbers, codes, hgvs, rs) in alleles(
        real_file(path), "%CLNALLE\t%CLNSIG\t%CLNHGVS\t%ID"
    ):
        mine = [i for i, n in enumerate(numbers.split(",")) if n == str(number)]
        words = {WORDS[c] for i in mine for c in codes.split(",")[i].split("|")}
        names = [h for i in mine if (h := hgvs.split(",")[i]) != "."]
        expected[(*site, frozenset(words), "|".join(names) or None, int(rs[2:]))] += 1
    table = read(real_file(path))[0]["grch37"]
    got = column(table, "contig", "pos", "ref", "alt", "clinical_significance", "hgvs", "rs")
    assert (
        Counter((*r[:4], frozenset(filter(None, (r[4] or "").split("|"))), *r[5:]) for r in got)
        == expected
    )


@pytest.mark.parametrize("path", CODED)
def test_accessions_and_conditions_of_each_allele(path: str, read: Any) -> None:
    text = gzip.decompress(real_file(path).read_bytes())
    expected: Counter[Any] = Counter()
    for line in text.splitlines():
        if line.startswith(b"#"):
            continue
        chrom, pos, _, ref, alts, _, _, info = decoded(line).split("\t")
        fields = dict(item.partition("=")[::2] for item in info.split(";"))
        numbers = fields["CLNALLE"].split(",")
        for number, alt in enumerate(alts.split(","), start=1):
            mine = [i for i, n in enumerate(numbers) if n == str(number)]
            said = [entries(fields[key], mine, len(numbers)) for key in ("CLNACC", "CLNDBN")]
            expected[(chrom, int(pos), ref, alt, *said)] += 1
    table = read(real_file(path))[0]["grch37"]
    got = column(table, "contig", "pos", "ref", "alt", "accessions", "conditions")
    assert Counter(got) == expected


def decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def entries(text: str, mine: list[int], count: int) -> str | None:
    """What the entries at `mine` say, in plain text; all of an uneven field for each."""
    parts = text.split(",")
    if len(parts) != count:
        parts = [text.replace(",", "|")] * count
    words = [word for i in mine for word in parts[i].split("|")]
    plain = [
        re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), w.replace("_", " "))
        for w in words
    ]
    return "|".join(dict.fromkeys(w.strip() for w in plain if w != ".")) or None


def test_assertions_of_no_listed_allele_are_kept_apart(read: Any) -> None:
    tables, notes = read(real_file(CODED[2]))
    sites = {
        (contig, pos): rest
        for contig, pos, *rest in column(
            tables["grch37"], "contig", "pos", "clinical_significance", "is_pathogenic",
            "unplaced_significance", "unplaced_hgvs",
        )
    }  # fmt: skip
    # bcftools query -f '%CLNALLE\t%CLNSIG\t%CLNHGVS\n' -i 'POS=8021927 || POS=157160110'
    duplication, limb = "NC_000001.10:g.8021928_8021945dup18", "NC_000007.13:g.157160110C>"
    assert sites["1", 8021927] == [None, False, "Pathogenic", duplication]
    assert sites["7", 157160110] == [None, False, "Pathogenic", f"{limb}A|{limb}G"]
    numbers = [
        n for (row,) in bcftools.query(real_file(CODED[2]), "%CLNALLE") for n in row.split(",")
    ]
    unplaced = sum(n in ("0", "-1") for n in numbers)
    assert notes["assertions on the reference allele or on none"] == unplaced


def test_latin_1_of_2012_is_read_and_counted(read: Any) -> None:
    tables, notes = read(real_file(CODED[0]))
    conditions = tables["grch37"]["conditions"].to_pylist()
    assert "Roussy-Lévy syndrome" in conditions
    assert notes["lines that are not UTF-8, read as Latin-1"] == 18


def test_condition_ids_name_their_database(read: Any) -> None:
    table = read(real_file(CODED[2]))[0]["grch37"]
    ids = dict(column(table, "pos", "condition_ids"))
    assert ids[985955] == "MedGen:CN186031,OMIM:615120"


# The VCF since 2017


@pytest.mark.parametrize("path", MODERN)
def test_fields_since_2017_equal_bcftools(path: str, read: Any) -> None:
    (table,) = read(real_file(path))[0].values()
    fields = (
        "CLNSIG",
        "GENEINFO",
        "RS",
        "ALLELEID",
        "CLNREVSTAT",
        "CLNDN",
        "CLNVC",
        "CLNHGVS",
        "MC",
    )
    expected: Counter[Any] = Counter()
    for *site, _, (key, sig, gene, rs, allele, status, names, kind, hgvs, mc) in alleles(
        real_file(path), "%ID\t" + "\t".join(f"%{field}" for field in fields)
    ):
        genes = "|".join(g.split(":")[0] for g in gene.split("|"))
        terms = "|".join(dict.fromkeys(t.split("|")[1] for t in mc.split(",") if "|" in t))
        expected[
            (
                *site,
                int(key),
                frozenset(sig.replace("_", " ").split("|")),
                None if gene == "." else genes,
                None if rs == "." else int(rs),
                int(allele),
                status.replace("_", " "),
                set_of(names),
                kind.replace("_", " "),
                hgvs.replace("%3D", "="),
                terms or None,
            )
        ] += 1
    got = column(
        table, "contig", "pos", "ref", "alt", "variation_id", "clinical_significance", "gene", "rs",
        "allele_id", "review_status", "conditions", "variant_type", "hgvs", "molecular_consequence",
    )  # fmt: skip
    assert (
        Counter((*r[:5], frozenset(r[5].split("|")), *r[6:10], set_of(r[10]), *r[11:]) for r in got)
        == expected
    )


def set_of(text: str) -> frozenset[str]:
    return frozenset(text.replace("_", " ").split("|"))


def test_a_conflict_is_pathogenic_when_one_of_its_sides_is(read: Any) -> None:
    table = read(real_file(MODERN[1]))[0]["grch37"]
    expected = {
        int(key): "athogenic(" in sides
        for key, sig, sides in bcftools.query(real_file(MODERN[1]), "%ID\t%CLNSIG\t%CLNSIGCONF")
        if sig.startswith("Conflicting")
    }
    got = {
        key: pathogenic
        for key, pathogenic, sides in column(
            table, "variation_id", "is_pathogenic", "conflicting_significance"
        )
        if sides
    }
    assert got == expected
    assert set(expected.values()) == {True, False}


# BRCA Exchange


def test_brca_exchange_with_its_spaced_header_is_read_and_said(read: Any) -> None:
    tables, notes = read(real_file(BRCA))
    assert notes["header line parted by spaces instead of tabs"] == 1
    names = ("contig", "pos", "ref", "alt", "clinical_significance", "gene", "conditions", "hgvs")
    cancer = "Breast-ovarian cancer, familial"
    assert column(tables["grch38"], *names) == [
        ("13", 32314943, "A", "G", "Benign", "BRCA2", f"{cancer} 2", "NM_000059.3.c.-764A>G"),
        (
            "17",
            43127867,
            "AC",
            "-",
            "Benign",
            "BRCA1",
            f"{cancer} 1",
            "NM_007294.3.c.-2617_-2616del",
        ),
    ]


# Tab separated text


def test_full_tsv_of_2016_has_every_row(read: Any) -> None:
    with gzip.open(real_file(FULL_TSV), "rt") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    expected = Counter(
        (
            r["chrom"],
            int(r["pos"]),
            r["ref"],
            r["alt"],
            r["gene"] or None,
            int(r["id"][2:]),
            frozenset(WORDS[c] for c in r["clnsig"].split("|")),
        )
        for r in rows
    )
    table = read(real_file(FULL_TSV))[0]["grch37"]
    got = column(table, "contig", "pos", "ref", "alt", "gene", "rs", "clinical_significance")
    assert Counter((*r[:6], frozenset(r[6].split("|"))) for r in got) == expected
    assert table.num_rows == 126_282


def test_mitochondrial_alleles_shared_with_1000_genomes(read: Any) -> None:
    cohort = {row[:4] for row in alleles(real_file(CHR_MT))}
    table = read(real_file(FULL_TSV))[0]["grch37"]
    shared = [
        pathogenic
        for *site, pathogenic in column(table, "contig", "pos", "ref", "alt", "is_pathogenic")
        if tuple(site) in cohort
    ]
    assert (len(shared), sum(shared)) == (206, 83)


def test_web_export_keeps_what_it_says_without_alleles(read: Any) -> None:
    with real_file(EXPORT).open(encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    expected = Counter(
        (
            int(r[9]),
            r[1] or None,
            None if not r[7] else int(r[7].split(" - ")[0]),
            None if not r[7] else int(r[7].split(" - ")[-1]),
            frozenset(re.split(r", ", re.sub(r"\(Last.*", "", r[4]))),
        )
        for r in rows
    )
    tables, notes = read(real_file(EXPORT))
    table = tables["grch38"]
    got = column(table, "variation_id", "gene", "pos", "end_pos", "clinical_significance")
    assert Counter((*r[:4], frozenset(r[4].split("|"))) for r in got) == expected
    assert set(column(table, "ref", "alt")) == {(None, None)}
    assert table["contig"].null_count == table["pos"].null_count == 14_116 - 13_411
    assert notes["rows without alleles"] == 14_116


SUMMARY = {
    "#AlleleID": "15041",
    "Type": "Indel",
    "Name": "NM_014855.3(AP5Z1):c.80_83delinsTGCTGTAAACTGTAACTGTAAA (p.Arg27_Ile28delinsLeuLeuTer)",
    "GeneID": "9907",
    "GeneSymbol": "AP5Z1",
    "ClinicalSignificance": "Pathogenic/Likely pathogenic; drug response",
    "ClinSigSimple": "1",
    "RS# (dbSNP)": "397704705",
    "nsv/esv (dbVar)": "-",
    "RCVaccession": "RCV000000012|RCV000000013",
    "PhenotypeIDS": "MONDO:MONDO:0013342,MedGen:C3150901",
    "PhenotypeList": "Hereditary spastic paraplegia 48|not provided",
    "Origin": "germline;unknown",
    "Assembly": "GRCh37",
    "Chromosome": "7",
    "Start": "4820844",
    "Stop": "4820847",
    "ReferenceAllele": "na",
    "AlternateAllele": "na",
    "ReviewStatus": "criteria provided, single submitter",
    "VariationID": "2",
    "PositionVCF": "4820844",
    "ReferenceAlleleVCF": "GGAT",
    "AlternateAlleleVCF": "TGCTGTAAACTGTAACTGTAAA",
}


def summary(path: Path, *changes: dict[str, str], without: tuple[str, ...] = ()) -> Path:
    """A variant_summary.txt.gz: the row of its README with changes, one row each."""
    rows = [{k: v for k, v in (SUMMARY | c).items() if k not in without} for c in changes]
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path


def test_variant_summary_fills_both_assemblies(read: Any, tmp_path: Path) -> None:
    path = summary(
        tmp_path / "variant_summary.txt.gz",
        {},
        {"Assembly": "GRCh38", "PositionVCF": "4781213", "Chromosome": "7"},
        {"Assembly": "NCBI36"},
        {"Assembly": "na", "Chromosome": "na"},
    )
    tables, notes = read(path)
    assert {n: column(t, "contig", "pos", "ref") for n, t in tables.items()} == {
        "grch37": [("7", 4820844, "GGAT")],
        "grch38": [("7", 4781213, "GGAT")],
    }
    assert notes == {"rows of assembly NCBI36, left out": 1, "rows of assembly na, left out": 1}


def test_variant_summary_gives_the_same_columns(read: Any, tmp_path: Path) -> None:
    table = read(summary(tmp_path / "s.txt.gz", {}))[0]["grch37"]
    row = {k: v for k, v in table.to_pylist()[0].items() if v is not None}
    assert row == {
        "contig": "7",
        "pos": 4820844,
        "ref": "GGAT",
        "alt": "TGCTGTAAACTGTAACTGTAAA",
        "clinical_significance": "Pathogenic/Likely pathogenic|drug response",
        "is_pathogenic": True,
        "significance_rank": 1,
        "gene": "AP5Z1",
        "rs": 397704705,
        "variation_id": 2,
        "allele_id": 15041,
        "review_status": "criteria provided, single submitter",
        "conditions": "Hereditary spastic paraplegia 48|not provided",
        "condition_ids": "MONDO:MONDO:0013342,MedGen:C3150901",
        "variant_type": "Indel",
        "hgvs": SUMMARY["Name"],
        "accessions": "RCV000000012|RCV000000013",
        "origin": "germline|unknown",
        "end_pos": 4820847,
        "source_record": 1,
    }


def test_rows_of_variant_summary_without_alleles_are_counted(read: Any, tmp_path: Path) -> None:
    nothing = {"PositionVCF": "-1", "ReferenceAlleleVCF": "na", "AlternateAlleleVCF": "na"}
    tables, notes = read(summary(tmp_path / "s.txt.gz", {}, nothing))
    assert notes == {"rows without alleles": 1}
    rows = column(tables["grch37"], "pos", "end_pos", "ref", "alt")
    assert (4820844, 4820847, None, None) in rows


def test_variant_summary_before_the_vcf_columns_has_alleles_of_plain_bases(
    read: Any, tmp_path: Path
) -> None:
    vcf = ("PositionVCF", "ReferenceAlleleVCF", "AlternateAlleleVCF")
    snv = {"ReferenceAllele": "G", "AlternateAllele": "A", "Stop": "4820844"}
    deletion = {"ReferenceAllele": "GGAT", "AlternateAllele": "-"}
    table = read(summary(tmp_path / "s.txt.gz", snv, deletion, without=vcf))[0]["grch37"]
    assert column(table, "pos", "end_pos", "ref", "alt") == [
        (4820844, 4820844, "G", "A"),
        (4820844, 4820847, None, None),
    ]


@pytest.mark.parametrize(("simple", "pathogenic"), [("1", True), ("0", False)])
def test_variant_summary_tells_what_a_conflict_is(
    simple: str, pathogenic: bool, read: Any, tmp_path: Path
) -> None:
    conflict = "Conflicting classifications of pathogenicity"
    row = {"ClinicalSignificance": conflict, "ClinSigSimple": simple}
    table = read(summary(tmp_path / "s.txt.gz", row))[0]["grch37"]
    assert column(table, "is_pathogenic", "significance_rank") == [(pathogenic, 3)]


# Assembly

VCF = (
    '##fileformat=VCFv4.1\n{reference}##INFO=<ID=CLNSIG,Number=.,Type=String,Description="">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{rows}"
)
ROW = "1\t100\t7\tA\tG\t.\t.\tCLNSIG=Pathogenic\n"


def vcf(path: Path, rows: str = ROW, reference: str = "##reference=GRCh37\n") -> Path:
    path.write_text(VCF.format(reference=reference, rows=rows))
    return path


def test_a_file_of_another_assembly_is_refused(read: Any, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"GRCh37.*clinvar\.grch38"):
        read(vcf(tmp_path / "c.vcf"), "grch38")


def test_the_table_that_is_named_settles_an_unknown_assembly(read: Any, tmp_path: Path) -> None:
    assert list(read(vcf(tmp_path / "c.vcf", reference=""), "grch38")[0]) == ["grch38"]


def test_an_assembly_that_nothing_tells_is_asked_for(read: Any, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"clinvar\.grch37 or clinvar\.grch38"):
        read(vcf(tmp_path / "c.vcf", reference=""))


def test_a_release_without_records_gives_an_empty_table(read: Any, tmp_path: Path) -> None:
    tables, _ = read(vcf(tmp_path / "c.vcf", rows=""))
    assert {n: t.num_rows for n, t in tables.items()} == {"grch37": 0}


@pytest.mark.parametrize("chrom", ["chr1", "NC_000001.10"])
def test_other_spellings_of_a_contig_are_kept_beside(chrom: str, read: Any, tmp_path: Path) -> None:
    path = vcf(tmp_path / "c.vcf", rows=ROW.replace("1", chrom, 1))
    assert column(read(path)[0]["grch37"], "contig", "source_contig") == [("1", chrom)]


def test_a_catalog_of_ones_own_may_have_fewer_columns_and_partitions(
    dataset: catalog.Dataset, tmp_path: Path
) -> None:
    columns = {c.name: c for c in dataset.tables["grch37"].columns}
    chosen = tuple(columns[n] for n in ("alt", "contig", "gene"))
    table = replace(dataset.tables["grch37"], columns=chosen, partition_by=("contig",))
    source = local_source(real_file(f"{CLINVAR}/clinvar_2014-06-04.GRCh37.vcf.gz"))
    rows: Counter[tuple[str, ...]] = Counter()
    for batch in clinvar.read(source, {"mine": table}, ReadContext(dataset, tmp_path)):
        assert batch.rows.schema == types.arrow_schema(table)
        assert set(batch.rows["contig"].to_pylist()) == set(batch.partition)
        rows[batch.partition] += batch.rows.num_rows
    path = Path(source.uri.removeprefix("file://"))
    expected = Counter((chrom,) for chrom, *_ in alleles(path))
    assert rows == expected


# Bad input


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROW + "1\t100\t7\tA\n", "line 6"),
        (ROW + ROW.replace("100", "1e5"), "POS '1e5' is not a position"),
        (ROW + ROW.replace("\tA\t", "\t\t"), "REF is empty"),
        ("\n" + ROW + "\n" + ROW.replace("100", "-1"), "line 8"),
    ],
)
def test_a_bad_row_is_named_with_line_and_field(
    rows: str, words: str, read: Any, tmp_path: Path
) -> None:
    with pytest.raises(BadSource) as raised:
        read(vcf(tmp_path / "c.vcf", rows))
    assert words in str(raised.value)
    assert "c.vcf" in str(raised.value)


CODED_HEADER = '##INFO=<ID=CLNALLE,Number=.,Type=Integer,Description="">\n##reference=GRCh37\n'


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("CLNALLE=1;CLNSIG=9", "CLNSIG '9' has a code that does not exist"),
        ("CLNALLE=2;CLNSIG=5", "CLNALLE 2, but ALT has fewer alleles"),
        ("CLNALLE=x;CLNSIG=5", "CLNALLE 'x' is not an allele"),
        ("CLNALLE=1,0;CLNSIG=5", "has not one entry for each of the 2 of CLNALLE"),
    ],
)
def test_codes_that_make_no_sense_are_refused(
    info: str, words: str, read: Any, tmp_path: Path
) -> None:
    rows = ROW.replace("CLNSIG=Pathogenic", info)
    path = vcf(tmp_path / "c.vcf", rows, CODED_HEADER)
    with pytest.raises(BadSource) as raised:
        read(path)
    assert words in str(raised.value)
    assert "line 6" in str(raised.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not text"),
        (b"a\tb\n1\t2\n", "no layout of ClinVar has the columns"),
        (b"##fileformat=VCFv4.1\n", "no #CHROM line"),
        (gzip.compress(bytes(range(1, 256)) * 9)[:50], "ends inside a member"),
        (
            b"chrom\tpos\tid\tref\talt\tgene\tclnsig\tclndbn\n1\t5\trs1\tA\tG\tX\t8\tY\n",
            "'8' has a code",
        ),
    ],
    ids=["empty", "binary", "other text", "no header", "truncated", "code"],
)
def test_what_is_not_clinvar_is_refused(data: bytes, words: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / "object.GRCh37.txt"
    path.write_bytes(data)
    with pytest.raises(BadSource) as raised:
        read(path)
    assert words in str(raised.value)


def test_a_vcf_of_another_kind_is_refused(read: Any) -> None:
    with pytest.raises(BadSource, match="none of ClinVar's INFO fields"):
        read(real_file("genomics/thousand_genomes/phase3.chr1_first100_11samples.vcf.gz"))


def test_small_blocks_give_the_same_rows(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = real_file(MODERN[1])
    whole = read(path)[0]["grch37"]
    monkeypatch.setattr(_text_blocks, "BLOCK_BYTES", 5_000)
    assert read(path)[0]["grch37"].equals(whole)


TOKENS = [
    b"\t",
    b"\n",
    b";",
    b"=",
    b",",
    b"|",
    b".",
    b"-1",
    b"9" * 20,
    b"\xff",
    b"\0",
    b'"',
    b"\r",
    b"",
]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from([CODED[2], MODERN[1], EXPORT, FULL_TSV]),
    changes=st.lists(st.tuples(st.integers(0, 9_999), st.sampled_from(TOKENS)), max_size=4),
)
def test_mutated_files_give_rows_or_bad_source(
    file: str, changes: list[tuple[int, bytes]], read: Any, tmp_path: Path
) -> None:
    data = bytearray(head_of(file))
    for place, token in changes:
        at = len(data) * place // 10_000
        data[at : at + 2] = token
    path = tmp_path / Path(file).name
    path.write_bytes(data)
    with suppress(BadSource):
        for table in read(path)[0].values():
            table.validate(full=True)


@cache
def head_of(file: str) -> bytes:
    """The header and 30 rows of a real file, not compressed."""
    data = real_file(file).read_bytes()
    text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    lines = text.splitlines(keepends=True)
    rows = [line for line in lines if not line.startswith(b"#")]
    return b"".join(lines[: len(lines) - len(rows)] + rows[:30])


# Laws of the vocabulary and of the INFO reader


@given(st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=6))
def test_order_of_assertions_does_not_matter(codes: list[str]) -> None:
    found = vocabulary.codes("|".join(codes))
    assert found == vocabulary.codes("|".join(reversed(codes)))
    assert found.is_pathogenic is bool({"4", "5"} & set(codes))
    assert set(found.text.split("|")) == {WORDS[code] for code in codes}


@pytest.mark.parametrize(
    ("text", "words", "rank", "pathogenic"),
    [
        ("Pathogenic/Likely_pathogenic|other", "Pathogenic/Likely pathogenic|other", 1, True),
        ("Likely_pathogenic,_low_penetrance", "Likely pathogenic, low penetrance", 2, True),
        ("drug_response|Benign", "drug response|Benign", 5, False),
        ("risk factor, Pathogenic", "Pathogenic|risk factor", 0, True),
        ("Conflicting_data_from_submitters", "Conflicting data from submitters", 3, None),
        ("association_not_found", "association not found", 9, False),
    ],
)
def test_words_of_a_release(text: str, words: str, rank: int, pathogenic: bool | None) -> None:
    assert vocabulary.words(text) == (words, rank, pathogenic)


keys = st.sampled_from(["A", "AC", "CLNSIG", "CLNSIGCONF", "CLNREVSTATUS", "CLNREVSTATUSX"])
values = st.text(st.characters(exclude_characters=";\0", codec="utf-8"), max_size=6)


@given(st.lists(st.lists(st.tuples(keys, values), max_size=5), max_size=8), st.integers(0, 3))
def test_info_fields_equal_those_of_splitting(
    rows: list[list[tuple[str, str]]], skipped: int
) -> None:
    texts = [";".join(f"{key}={value}" for key, value in row) for row in rows]
    info = InfoFields(pa.array(texts, pa.string()).slice(skipped))
    for key in ("A", "AC", "CLNSIG", "CLNSIGCONF", "CLNREVSTATUS", "CLNREVSTATUSX", "X"):
        first = [next((v for k, v in row if k == key), None) for row in rows[skipped:]]
        assert info.get(key).to_pylist() == [None if v in ("", ".") else v for v in first]
