"""Laws: whatever the genotype matrix, counts are its sums and the tables rebuild it."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from lakeq.errors import BadSource
from lakeq.formats import Sample
from tests.support.vcf import Rows, memory, tables, text

Call = tuple[tuple[int | None, ...], str]
Matrix = list[list[Call]]
ALTS = ("C", "G", "<DEL>")


def allele(alts: int) -> st.SearchStrategy[int | None]:
    return st.one_of(st.just(0), st.none(), st.integers(0, alts))


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    """Sites by samples; mostly of one layout, so that the fast path meets exceptions."""
    samples = draw(st.integers(1, 70))
    usual = draw(st.sampled_from([(0, 0), (0,)]))
    separator = draw(st.sampled_from("|/"))
    sites = []
    for _ in range(draw(st.integers(1, 6))):
        row: list[Call] = [(usual, separator)] * samples
        odd = st.tuples(
            st.lists(allele(len(ALTS)), min_size=1, max_size=3).map(tuple), st.sampled_from("|/")
        )
        for sample, call in draw(st.dictionaries(st.integers(0, samples - 1), odd)).items():
            row[sample] = call
        sites.append(row)
    return sites


def written(call: Call) -> str:
    alleles, separator = call
    return separator.join("." if a is None else str(a) for a in alleles)


def read(matrix: Matrix, alts: int = len(ALTS), field: str = "GT") -> dict[str, Rows]:
    names = [f"S{i:02}" for i in range(len(matrix[0]))]
    tail = ":7" if field != "GT" else ""
    lines = [
        f"1 {pos} . A {','.join(ALTS[:alts])} . . . {field} "
        + " ".join(written(c) + tail for c in row)
        for pos, row in enumerate(matrix, start=1)
    ]
    populations = ("GBR", "EUR"), ("FIN", "EUR"), ("YRI", "AFR"), (None, None)
    samples = {n: Sample(n, i, *populations[i % 4]) for i, n in enumerate(names)}
    return tables(memory(text(lines, names)), samples=samples)


@given(matrices(), st.sampled_from(["GT", "GT:DP"]))
@example([[((0, 0), "|")] * 33 + [((0, 1), "|")], [((0, 0), "|")] * 34], "GT")
def test_counts_are_the_sums_of_the_matrix(matrix: Matrix, field: str) -> None:
    rows = iter(read(matrix, field=field)["variants"])
    for row in matrix:
        called = Counter(a for alleles, _ in row for a in alleles if a is not None)
        europe = [alleles for i, (alleles, _) in enumerate(row) if i % 4 in (0, 1)]
        for alt in range(1, len(ALTS) + 1):
            found = next(rows)
            assert found["ac"] == called[alt]
            assert found["an"] == called.total()
            assert found["ac_eur"] == sum(alleles.count(alt) for alleles in europe)
            assert found["an_eur"] == sum(a is not None for alleles in europe for a in alleles)
            whole = [set(c) for c, _ in row if len(c) > 1 and None not in c]
            assert found["n_het"] == sum(alt in c and len(c) > 1 for c in whole)
            assert found["n_hom_alt"] == sum(c == {alt} for c in whole)
            assert found["n_hemi"] == sum(c == (alt,) for c, _ in row)
            assert found["n_missing"] == sum(set(c) == {None} for c, _ in row)
            assert found["n_half_missing"] == sum(None in c and set(c) != {None} for c, _ in row)


@given(matrices(), st.sampled_from(["GT", "GT:DP"]))
def test_calls_rebuild_the_matrix(matrix: Matrix, field: str) -> None:
    calls = read(matrix, field=field)["calls"]
    found = {
        (r["pos"], int(r["sample"][1:])): (tuple(r["allele_numbers"]), r["phased"]) for r in calls
    }
    expected = {
        (pos, i): (alleles, None if len(alleles) == 1 else separator == "|")
        for pos, row in enumerate(matrix, start=1)
        for i, (alleles, separator) in enumerate(row)
        if set(alleles) != {0}
    }
    assert found == expected
    carried = Counter((r["pos"], r["sample"], r["alt_index"]) for r in calls)
    assert set(carried.values()) <= {1}
    order = [(r["sample"], r["pos"], r["alt_index"] or 99) for r in calls]
    assert order == sorted(order)


@given(matrices())
def test_genotypes_list_exactly_the_carriers(matrix: Matrix) -> None:
    rows = iter(read(matrix)["genotypes"])
    for row in matrix:
        for alt in range(1, len(ALTS) + 1):
            found = next(rows)
            kinds: dict[str, list[int]] = {
                k: [] for k in ("het", "het_phase", "hom_alt", "hemi", "half_missing", "missing")
            }
            for i, (alleles, separator) in enumerate(row):
                if set(alleles) == {None}:
                    kinds["missing"].append(i)
                elif alt not in alleles:
                    continue
                elif len(alleles) == 1:
                    kinds["hemi"].append(i)
                elif None in alleles:
                    kinds["half_missing"].append(i)
                elif set(alleles) == {alt}:
                    kinds["hom_alt"].append(i)
                else:
                    kinds["het"].append(i)
                    first = alleles.index(alt) + 1
                    kinds["het_phase"].append(first if separator == "|" else 0)
            assert {k: found[k] for k in kinds} == kinds


@given(matrices(), st.sampled_from(["GT", "GT:DP"]))
def test_ploidy_is_that_of_all_calls_with_a_called_allele(matrix: Matrix, field: str) -> None:
    found = [(r["ploidy"], r["n_half_missing"]) for r in read(matrix, field=field)["genotypes"]]
    expected = []
    for row in matrix:
        called = [alleles for alleles, _ in row if set(alleles) != {None}]
        ploidies = {len(alleles) for alleles in called}
        half = sum(None in alleles for alleles in called)
        expected += [(ploidies.pop() if len(ploidies) == 1 else None, half)] * len(ALTS)
    assert found == expected


def test_mutated_files_are_read_or_refused() -> None:
    names = [f"S{i}" for i in range(9)]
    lines = [
        f"1 {p} rs{p} A C,G 9.5 PASS AC=1,2;AN=4;END=9;VT=SNP GT:DP:AD "
        + "0|1:7:1,2,3 " * 8
        + "./.:.:."
        for p in range(20)
    ] + [f"X {p} . A C . . AC=1 GT " + "0|0 " * 8 + "1" for p in range(20)]
    good = text(lines, names, ['##INFO=<ID=AC,Number=A,Type=Integer,Description="">'])
    generator = random.Random(11)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(data))
            kind = generator.randrange(4)
            if kind == 0:
                data[at] = generator.randrange(256)
            elif kind == 1:
                del data[at : at + generator.randint(1, 40)]
            elif kind == 2:
                data[at:at] = data[at : at + generator.randint(1, 40)]
            else:
                data[at] = generator.choice(b"\t\n\r:|/.,;=#09-")
        try:
            tables(memory(bytes(data)))
        except BadSource as error:
            assert error.where
            refused += 1
    assert 500 < refused < 2000
