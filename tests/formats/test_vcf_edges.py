from __future__ import annotations

import gzip
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from lakeq import catalog
from lakeq.errors import BadSource, UsageError
from lakeq.formats import ReadContext, Sample, vcf
from lakeq.formats import _vcf_batch as batch_limits
from lakeq.formats import _vcf_lines as limits
from tests.support.vcf import memory, tables, text, variants

ABC = ("A1", "B2", "C3")


def columns(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_multi_allelic_row_is_split() -> None:
    rows = variants(memory(text(["1 5 . A C,G,<DEL> . PASS AC=1,2,3 GT 0|1 1|2 2|2"], ABC)))
    assert columns(rows, "alt", "alt_index", "ac", "an", "info_ac", "n_het", "n_hom_alt") == [
        ("C", 1, 2, 6, 1, 2, 0),
        ("G", 2, 3, 6, 2, 1, 1),
        ("<DEL>", 3, 0, 6, 3, 0, 0),
    ]


def test_special_alleles_stay_text() -> None:
    alts = ["*", "<NON_REF>", "<DEL:ME:ALU>", "G]17:198982]", "]13:123456]T", "N[<ctg>:1["]
    rows = variants(memory(text([f"1 5 . A {alt} . . ." for alt in alts])))
    assert [row["alt"] for row in rows] == alts


def test_site_without_alternate_allele_is_one_row() -> None:
    made = tables(memory(text(["1 5 . A . . . . GT 0/0 ./. 0/."], ABC)))
    [row] = made["variants"]
    assert (row["alt"], row["alt_index"], row["ac"], row["af"], row["n_het"]) == (None,) * 5
    assert (row["an"], row["n_missing"], row["n_half_missing"]) == (3, 1, 1)
    assert made["genotypes"][0]["missing"] == [1]
    assert columns(made["calls"], "sample", "alt", "allele_numbers") == [
        ("B2", None, [None, None]),
        ("C3", None, [0, None]),
    ]


def test_half_missing_calls_count_what_is_called() -> None:
    made = tables(memory(text(["1 5 . A C . . . GT .|1 0|. ./."], ABC)))
    [row] = made["variants"]
    assert (row["ac"], row["an"], row["n_half_missing"], row["n_missing"]) == (1, 2, 2, 1)
    assert (row["n_het"], row["n_hom_alt"], row["n_hemi"]) == (0, 0, 0)
    [lists] = made["genotypes"]
    assert (lists["half_missing"], lists["missing"], lists["het"]) == ([0], [2], [])
    assert columns(
        made["calls"], "sample", "alt_index", "alt_copies", "allele_numbers", "phased"
    ) == [
        ("A1", 1, 1, [None, 1], True),
        ("B2", None, 0, [0, None], True),
        ("C3", None, 0, [None, None], False),
    ]


def test_haploid_and_diploid_calls_mix() -> None:
    lines = [
        "X 5 . A C . . . GT 0|1 1 0",
        "X 6 . A C . . . GT 1|1 . 1",
        "X 7 . A C . . . GT 0|0 0 1",
    ]
    made = tables(memory(text(lines, ABC)))
    assert columns(made["variants"], "ac", "an", "n_het", "n_hom_alt", "n_hemi", "n_missing") == [
        (2, 4, 1, 0, 1, 0),
        (3, 3, 0, 1, 1, 1),
        (1, 4, 0, 0, 1, 0),
    ]
    assert columns(made["genotypes"], "het", "het_phase", "hom_alt", "hemi", "missing") == [
        ([0], [2], [], [1], []),
        ([], [], [0], [2], [1]),
        ([], [], [], [2], []),
    ]
    phased = {(row["sample"], row["pos"]): row["phased"] for row in made["calls"]}
    assert phased == {
        ("A1", 5): True, ("A1", 6): True, ("B2", 5): None, ("B2", 6): None,
        ("C3", 6): None, ("C3", 7): None,
    }  # fmt: skip


def test_triploid_calls() -> None:
    line = "1 5 . A C,G . . . GT 0/1/2 2|2|2 1/./."
    made = tables(memory(text([line], ABC)))
    assert columns(made["variants"], "ac", "an", "n_het", "n_hom_alt", "n_half_missing") == [
        (2, 7, 1, 0, 1),
        (4, 7, 1, 1, 1),
    ]
    assert columns(
        made["calls"], "sample", "alt_index", "alt_copies", "allele_numbers", "phased"
    ) == [
        ("A1", 1, 1, [0, 1, 2], False),
        ("A1", 2, 1, [0, 1, 2], False),
        ("B2", 2, 3, [2, 2, 2], True),
        ("C3", 1, 1, [1, None, None], False),
    ]


def test_allele_numbers_of_several_digits() -> None:
    alts = ",".join("A" * n for n in range(2, 14))
    made = tables(memory(text([f"1 5 . A {alts} . . . GT 0|12 10|1 0/0"], ABC)))
    assert [row["ac"] for row in made["variants"]] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert columns(made["calls"], "sample", "alt_index", "allele_numbers") == [
        ("A1", 12, [0, 12]),
        ("B2", 1, [10, 1]),
        ("B2", 10, [10, 1]),
    ]


def test_leading_phase_of_vcf_4_4() -> None:
    made = tables(memory(text(["1 5 . A C . . . GT |0|1 /0|1 /1"], ABC)))
    assert columns(made["calls"], "sample", "allele_numbers", "phased") == [
        ("A1", [0, 1], True),
        ("B2", [0, 1], False),
        ("C3", [1], None),
    ]


def test_gt_need_not_be_first_nor_there() -> None:
    lines = ["1 5 . A C . . . DP:GT 7:0/1 8:1/1 9", "1 6 . A C . . AC=3;AN=6 DP 1 2 3"]
    made = tables(memory(text(lines, ABC)))
    assert columns(made["variants"], "ac", "an", "n_het", "n_missing") == [
        (3, 4, 1, 1),
        (3, 6, None, None),
    ]
    assert [row["pos"] for row in made["genotypes"]] == [5]
    assert columns(made["calls"], "sample", "dp") == [("A1", 7), ("B2", 8), ("C3", 9)]


def test_format_fields_of_calls() -> None:
    header = [
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="d">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="a">',
    ]
    lines = [
        "1 5 . A C . . . GT:AD:DP 0/1:3,4:7 0/0:9,0:9 1/1:.,5",
        "1 6 . A C . . . GT 0/1 0/0 1/1",
        "1 7 . A C . . . GT:DP:GQ 0/1:1:2 ./.:.:. 0/1:.:3",
    ]
    made = tables(memory(text(lines, ABC, header)))
    assert columns(made["calls"], "sample", "pos", "ad", "dp", "gq") == [
        ("A1", 5, [3, 4], 7, None),
        ("A1", 6, None, None, None),
        ("A1", 7, None, 1, 2),
        ("B2", 7, None, None, None),
        ("C3", 5, [None, 5], None, None),
        ("C3", 6, None, None, None),
        ("C3", 7, None, None, 3),
    ]


def test_calls_are_sorted_by_sample_name_then_position() -> None:
    lines = ["1 9 . A C . . . GT 0/1 0/1 1/1", "1 5 . A C . . . GT 0/1 0/0 0/1"]
    made = tables(memory(text(lines, ("zoe", "Ann", "bob"))))
    assert columns(made["calls"], "sample", "pos") == [
        ("Ann", 9), ("bob", 5), ("bob", 9), ("zoe", 5), ("zoe", 9),
    ]  # fmt: skip


def test_calls_of_lines_at_one_position_are_sorted_by_alt_index() -> None:
    lines = ["1 5 . A C,G . . . GT 2/2", "1 5 . AT A . . . GT 0/1", "1 5 . A T . . . GT ./."]
    made = tables(memory(text(lines, ("S",))))
    assert columns(made["calls"], "alt_index", "alt") == [(1, "A"), (2, "G"), (None, None)]


def test_sample_numbers_order_the_lists() -> None:
    samples = {n: Sample(n, k) for n, k in zip(ABC, (30, 10, 20), strict=True)}
    made = tables(memory(text(["1 5 . A C . . . GT 0|1 1|0 0/1"], ABC)), samples=samples)
    assert columns(made["genotypes"], "het", "het_phase") == [([10, 20, 30], [1, 0, 2])]


def test_sample_without_number_is_refused() -> None:
    with pytest.raises(UsageError, match="'C3' has no number"):
        tables(memory(text([], ABC)), samples={n: Sample(n, 0) for n in ABC[:2]})


def test_populations_are_counted_from_the_panel() -> None:
    samples = {
        "A1": Sample("A1", 0, "GBR", "EUR"),
        "B2": Sample("B2", 1, "FIN", "EUR"),
        "C3": Sample("C3", 2),
    }
    lines = ["1 5 . A C . . . GT 0|1 1|1 1|1", "1 6 . A C . . . GT ./. 0|1 0|0"]
    rows = variants(memory(text(lines, ABC)), samples=samples)
    assert columns(rows, "ac_eur", "an_eur", "ac_gbr", "an_gbr", "af_fin", "an_yri", "af_yri") == [
        (3, 4, 1, 2, 1.0, 0, None),
        (1, 2, 0, 0, 0.5, 0, None),
    ]


def test_population_counts_are_null_without_a_panel() -> None:
    [row] = variants(memory(text(["1 5 . A C . . . GT 0|1 1|1 1|1"], ABC)))
    assert (row["ac_eur"], row["an_eur"], row["af_gbr"]) == (None, None, None)


def test_file_without_genotypes_takes_ac_and_an_from_info() -> None:
    made = tables(memory(text(["1 5 . A C,G . . AC=1,3;AN=8", "1 6 . A C . . ."])))
    assert columns(made["variants"], "ac", "an", "af", "n_het") == [
        (1, 8, 0.125, None),
        (3, 8, 0.375, None),
        (None, None, None, None),
    ]
    assert made["genotypes"] == []
    assert made["calls"] == []


def test_fixed_fields() -> None:
    lines = [
        "chr1 5 rs7;rs8 AC A 29.5 q10;s50 END=9",
        "1 6 COSM1;rs12 A C . PASS .",
        "1 7 . A C inf . .",
    ]
    notes: dict[str, int] = {}
    rows = variants(memory(text(lines)), notes=notes)
    assert columns(rows, "contig", "source_contig", "id", "rs", "qual", "filter", "end_pos") == [
        ("1", "chr1", "rs7;rs8", 7, 29.5, "q10;s50", 9),
        ("1", None, "COSM1;rs12", 12, None, "PASS", 6),
        ("1", None, None, None, None, None, 7),
    ]
    assert notes["QUAL is NaN or infinite: NULL"] == 1


def test_info_fields_are_typed() -> None:
    header = [
        '##INFO=<ID=AF,Number=A,Type=Float,Description="f">',
        '##INFO=<ID=MULTI_ALLELIC,Number=0,Type=Flag,Description="m">',
        '##INFO=<ID=CIPOS,Number=2,Type=Integer,Description="c">',
        '##INFO=<ID=XX,Number=1,Type=Integer,Description="x">',
    ]
    lines = [
        "1 5 . A C,G . . AF=0.1,2e-3;MULTI_ALLELIC;CIPOS=-5,.;VT=SNP,INDEL;AA=A|||",
        "1 6 . A C . . AF=.;XX=3;AFX=1;DP=12",
        "1 7 . A C . . AF=nan",
    ]
    notes: dict[str, int] = {}
    rows = variants(memory(text(lines, header=header)), notes=notes)
    names = ("info_af", "info_multi_allelic", "info_cipos", "info_vt", "info_aa", "info_dp")
    assert columns(rows, *names) == [
        (0.1, True, [-5, None], ["SNP", "INDEL"], "A|||", None),
        (2e-3, True, [-5, None], ["SNP", "INDEL"], "A|||", None),
        (None, False, None, None, None, 12),
        (None, False, None, None, None, None),
    ]
    assert notes == {
        "INFO fields not in the catalog: XX": 1,
        "INFO/AF is NaN or infinite: NULL": 1,
    }


def test_contigs_may_come_in_any_order_and_again() -> None:
    lines = [f"{c} {p} . A C . . . GT 0/1" for c, p in (("B", 1), ("chr2", 3), ("B", 2), ("A", 1))]
    made = tables(memory(text(lines, ("S",))))
    assert columns(made["variants"], "contig", "pos") == [("B", 1), ("2", 3), ("B", 2), ("A", 1)]
    assert columns(made["calls"], "contig", "pos") == [("B", 1), ("B", 2), ("2", 3), ("A", 1)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_line_ends(end: str, final: bool, pack: Any) -> None:
    for samples, tail in ((ABC, " GT 0|1 0/0 1|1"), ((), "")):
        lines = [f"1 {pos} . A C . . AC=1{tail}" for pos in (5, 6, 7)]
        data = text(lines, samples, end=end)
        rows = variants(memory(pack(data if final else data.removesuffix(end.encode()))))
        assert columns(rows, "pos", "ac", "info_ac") == [
            (p, 3 if tail else 1, 1) for p in (5, 6, 7)
        ]


def test_several_gzip_members_are_one_file() -> None:
    data = text([f"1 {pos} . A C . . ." for pos in range(1000)])
    packed = b"".join(gzip.compress(data[i : i + 777]) for i in range(0, len(data), 777))
    assert [row["pos"] for row in variants(memory(packed))] == list(range(1000))


def test_lines_across_bgzf_blocks(tmp_path: Path) -> None:
    samples = [f"S{i}" for i in range(3000)]
    calls = " ".join(["0|0"] * 2999 + ["0|1"])
    path = tmp_path / "a.vcf"
    path.write_bytes(text([f"1 {pos} . A C . . . GT {calls}" for pos in range(50)], samples))
    subprocess.run(["bgzip", str(path)], check=True)
    made = tables(tmp_path / "a.vcf.gz")
    assert columns(made["variants"], "pos", "ac", "an") == [(pos, 1, 6000) for pos in range(50)]
    assert {row["sample"] for row in made["calls"]} == {"S2999"}


def test_batches_are_cut_where_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        f"{1 + i // 40} {i + 1} . A C . . AC={i} GT:DP 0|1:{i} ./.:. 0/1/1:3" for i in range(99)
    ]
    whole = tables(memory(text(lines, ABC)))
    for name, size in (("LINES", 7), ("TEXT_BYTES", 64), ("EVENTS", 8), ("EVENT_TEXT_BYTES", 8),
                       ("WIDE_CALLS", 1)):  # fmt: skip
        monkeypatch.setattr(batch_limits, name, size)
        cut = tables(memory(text(lines, ABC)))
        assert cut == whole


@pytest.mark.parametrize(
    ("line", "what", "where"),
    [
        ("1 5 . A C . . . GT 0|0 0|0", "11 columns where the header has 12", "line 3"),
        ("1 5 . A C . . . GT 0|0 0|0 0|0 0|0", "13 columns where the header has 12", "line 3"),
        ("1 5 . A C", "5 columns where the header has 12", "line 3"),
        ("1 5x . A C . . . GT 0|0 0|0 0|0", "'5x' is no position", "line 3, POS"),
        ("1 -5 . A C . . . GT 0|0 0|0 0|0", "'-5' is no position", "line 3, POS"),
        (" 5 . A C . . . GT 0|0 0|0 0|0", "'' is no contig name", "line 3, CHROM"),
        ("1 5 . A C,,G . . . GT 0|0 0|0 0|0", "'C,,G' lists an empty", "line 3, ALT"),
        ("1 5 . A C x . . GT 0|0 0|0 0|0", "'x' is no double", "line 3, QUAL"),
        ("1 5 . A C . . AC=a GT 0|0 0|0 0|0", "'a' is no int32", "line 3, INFO/AC"),
        ("1 5 . A C . . AN=3000000000 GT 0|0 0|0 0|0", "'3000000000' is no int32", "INFO/AN"),
        ("1 5 . A C . . . GT 0|0 0-1 0|0", "'0-1' is no genotype", "line 3, sample B2"),
        ("1 5 . A C . . . GT 0|0 0|2 0|0", "'0|2' names an allele", "line 3, sample B2"),
        (
            "1 5 . A C . . . GT:DP 0|1:x 0|0:1 0|0:1",
            "'x' is no int32",
            "line 3, sample A1, FORMAT/DP",
        ),
    ],
)
def test_bad_line_is_named(line: str, what: str, where: str) -> None:
    with pytest.raises(BadSource) as caught:
        tables(memory(text([line], ABC)))
    assert what in caught.value.what
    assert where in caught.value.where
    assert caught.value.hint


def test_bad_line_after_good_ones_is_named() -> None:
    good = [f"1 {pos} . A C . . . GT 0|0 0|1 0|0" for pos in range(500)]
    with pytest.raises(BadSource, match="line 503, sample C3"):
        tables(memory(text([*good, "1 999 . A C . . . GT 0|0 0|1 0|3"], ABC)))


def test_wrong_number_of_values_is_named() -> None:
    header = ['##INFO=<ID=AF,Number=A,Type=Float,Description="f">']
    with pytest.raises(BadSource, match=r"'0.1' has 1 values where 2 belong\n.*line 4, INFO/AF"):
        variants(memory(text(["1 5 . A C,G . . AF=0.1"], header=header)))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"1\t5\t.\tA\tC\t.\t.\t.\n", "no VCF header"),
        (b"##fileformat=VCFv4.2\n1\t5\t.\tA\tC\t.\t.\t.\n", "no #CHROM line"),
        (b"##fileformat=VCFv4.2\n", "no #CHROM line"),
        (b"##fileformat=VCFv3.3\n#CHROM\tPOS\n", "not a VCF of version 4"),
        (b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\n", "names the columns"),
        (text([], ("A", "B", "A")), "names sample 'A' twice"),
        (b"\x7fELF\x02\x01\x01\0\0", "binary"),
        (b"BCF\x02\x02", "the data ends inside the header"),
        (b"BZh91AY", "the bzip2 data ends inside a stream"),
        (gzip.compress(gzip.compress(b"a", mtime=0), mtime=0), "compressed twice"),
        (text(["1 5 . A C . ? ."]).replace(b"?", b"\xff"), "not UTF-8"),
        (text(["1 5 . A C . . AA=?"]).replace(b"?", b"\xff"), "not UTF-8"),
        (text(["1 5 . A C . . . GT:DP 0|1:?"], ("S",)).replace(b"?", b"\xff"), "not UTF-8"),
    ],
)
def test_other_files_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(BadSource) as caught:
        tables(memory(data))
    assert what in caught.value.what
    assert "memory.vcf" in caught.value.where
    assert caught.value.hint


def test_bytes_of_no_column_may_be_anything() -> None:
    data = text(["1 5 . A C . . NAME=?;DP=3"]).replace(b"?", b"caf\xe9")
    assert columns(variants(memory(data)), "pos", "info_dp") == [(5, 3)]


def test_reader_that_is_left_early_leaves_no_files(tmp_path: Path) -> None:
    known = catalog.load().dataset("thousand_genomes")
    lines = [f"{c} 5 . A C . . . GT 0|1 0/0 1|1" for c in (1, 2)]
    context = ReadContext(known, tmp_path / "spill")
    batches = vcf.read(memory(text(lines, ABC)), dict(known.tables), context)
    next(batches)
    assert list(context.temp_dir.iterdir())
    batches.close()  # type: ignore[attr-defined]  # it is a generator
    assert not list(context.temp_dir.iterdir())


def test_sample_names_are_those_of_the_header() -> None:
    assert vcf.sample_names(memory(gzip.compress(text([], ABC)))) == list(ABC)
    assert vcf.sample_names(memory(text([]))) == []


@pytest.mark.parametrize(
    ("header", "proven"),
    [
        (["##contig=<ID=chr1,length=248956422>"], "GRCh38"),
        (["##reference=GRCh38.fa"], "GRCh38"),
        (
            ["##contig=<ID=1,length=249250621>", "##new_reference_genome=x/hg38.fa"],
            "GRCh38",  # CrossMap keeps the contig lines of the old assembly
        ),
    ],
)
def test_header_of_another_assembly_is_refused(header: list[str], proven: str) -> None:
    with pytest.raises(BadSource, match=f"the header is of assembly {proven}, the table of GRCh37"):
        variants(memory(text(["1 5 . A C . . ."], header=header)))


BOMB = """
import resource, sys
from lakeq.errors import BadSource
from tests.support.vcf import memory, text, variants
import gzip
variants(memory(text(["1 5 . A C . . ."])))
bomb = gzip.compress(text(["1 5 . A C . . ."])) + 300 * gzip.compress(b"A" * (1 << 20))
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    variants(memory(bomb))
except BadSource as error:
    assert "a line of more than 64 MiB" in error.what and "after line 3" in error.where, error
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(after.ru_maxrss - before.ru_maxrss >> 10, after.ru_utime - before.ru_utime)
"""


def test_long_line_is_refused_soon_and_in_bounded_memory() -> None:
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True)
    mebibytes, seconds = done.stdout.split()
    assert int(mebibytes) <= 128
    assert float(seconds) <= 2


def test_long_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADER_LIMIT_BYTES", 4 << 20)
    bomb = gzip.compress(b"##fileformat=VCFv4.2\n" + b"#" * (100 << 20), 1)
    with pytest.raises(BadSource, match="a header of more than 4 MiB"):
        variants(memory(bomb))


def test_too_many_definitions_are_refused() -> None:
    header = [f'##INFO=<ID=K{i},Number=1,Type=Integer,Description="">' for i in range(5000)]
    with pytest.raises(BadSource, match="more than 4,096 INFO definitions"):
        variants(memory(text([], header=header)))


def test_damaged_gzip_is_refused() -> None:
    packed = bytearray(gzip.compress(text([f"1 {p} . A C . . ." for p in range(5000)])))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(BadSource):
        variants(memory(bytes(packed)))


def test_stored_gzip_with_wrong_checksum_is_refused() -> None:
    body = zlib.compressobj(0, zlib.DEFLATED, 31)
    packed = bytearray(body.compress(text(["1 5 . A C . . ."])) + body.flush())
    packed[-6] ^= 1
    with pytest.raises(BadSource, match="does not inflate"):
        variants(memory(bytes(packed)))
