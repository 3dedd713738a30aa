"""Normalised alleles against bcftools norm."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.errors import BadSource, NotFound
from lakeq.formats import ReadContext, vcf
from lakeq.formats._vcf_normal import left_aligned, parsimonious
from lakeq.storage import SourceObject, local_source
from tests.support import bcftools
from tests.support.vcf_fields import own_dataset

SEED = 7
BASES = st.text("ACGT", min_size=1, max_size=8)


def reference(folder: Path) -> tuple[Path, str]:
    """A sequence full of short repeats, in which alleles move far, in lines of 60 bases."""
    chosen = random.Random(SEED)
    units = ["".join(chosen.choices("ACGT", k=chosen.randint(1, 4))) for _ in range(400)]
    bases = "".join(unit * chosen.randint(1, 40) for unit in units)
    path = folder / "ref.fa"
    lines = [bases[i : i + 60] for i in range(0, len(bases), 60)]
    path.write_text(">chr1 made\n" + "\n".join(lines) + "\n")
    start = len(">chr1 made\n")
    (folder / "ref.fa.fai").write_text(f"chr1\t{len(bases)}\t{start}\t60\t61\n")
    return path, bases


def variants(bases: str, count: int) -> list[str]:
    """Lines with insertions, deletions and padded alleles, some of several alternates."""
    chosen = random.Random(SEED)
    lines = []
    for number in range(count):
        pos = chosen.randint(1, len(bases) - 60)
        ref = bases[pos - 1 : pos - 1 + chosen.randint(1, 30)]
        alts = {edited(ref, chosen) for _ in range(chosen.randint(1, 3))} - {ref, ""}
        if alts:
            lines.append((pos, f"chr1\t{pos}\tv{number}\t{ref}\t{','.join(sorted(alts))}\t.\t.\t."))
    return [line for _, line in sorted(lines)]


def edited(ref: str, chosen: random.Random) -> str:
    at, size = chosen.randint(0, len(ref)), chosen.randint(0, 6)
    unit = ref[at : at + size] * chosen.randint(0, 3)
    return ref[:at] + unit + ref[at + size :] or ref[:1]


def opened(uri: str) -> SourceObject:
    path = Path(uri.removeprefix("file://"))
    if not path.exists():
        raise NotFound("not there", uri)
    return local_source(path)


def normalised(path: Path, folder: Path, fasta: str) -> list[tuple[object, ...]]:
    source = local_source(path)
    dataset = own_dataset([source], folder, normalise="yes", reference=fasta)
    context = ReadContext(dataset, folder / "work", other=opened)
    wanted = {"variants": dataset.tables["variants"]}
    names = ("id", "alt_index", "norm_pos", "norm_ref", "norm_alt", "pos", "ref", "alt")
    rows = [row for batch in vcf.read(source, wanted, context) for row in batch.rows.to_pylist()]
    return [tuple(row[name] for name in names) for row in rows]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    fasta, bases = reference(tmp_path)
    path = tmp_path / "a.vcf"
    header = f"##fileformat=VCFv4.2\n##contig=<ID=chr1,length={len(bases)}>\n"
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(header + columns + "\n".join(variants(bases, 3000)) + "\n")
    return path, fasta


def test_left_aligned_alleles_equal_bcftools_norm(made: tuple[Path, Path], tmp_path: Path) -> None:
    path, fasta = made
    found = normalised(path, tmp_path, str(fasta))
    split = bcftools.run("norm", "--fasta-ref", fasta, "--multiallelics", "-any", path)
    expected = sorted(
        (id_, int(pos), ref, alt)
        for line in split.splitlines()
        if not line.startswith("#")
        for _, pos, id_, ref, alt, *_ in [line.split("\t")]
    )
    assert sorted((id_, pos, ref, alt) for id_, _, pos, ref, alt, *_ in found) == expected
    assert sum(row[2] != row[5] for row in found) > 1000
    lines = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
    originals = [(int(f[1]), f[3], alt) for f in lines for alt in f[4].split(",")]
    assert [row[5:] for row in found] == originals


def test_without_a_reference_alleles_are_only_trimmed(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    for *_, pos, ref, alt, original, whole_ref, whole_alt in normalised(made[0], tmp_path, ""):
        assert (pos, ref, alt) == parsimonious(original, whole_ref, whole_alt)


def test_a_reference_of_another_assembly_is_refused(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    path, fasta = made
    fasta.write_text(fasta.read_text().replace("A", "C", 5000))
    with pytest.raises(BadSource, match="the reference has"):
        normalised(path, tmp_path, str(fasta))


@given(BASES, BASES, st.text("ACGT", max_size=8), st.text("ACGT", max_size=8))
def test_trimming_keeps_the_change(ref: str, alt: str, before: str, after: str) -> None:
    pos, short_ref, short_alt = parsimonious(10, before + ref + after, before + alt + after)
    whole_ref, whole_alt = before + ref + after, before + alt + after
    start = pos - 10
    rest = len(whole_ref) - start - len(short_ref)
    assert whole_ref[:start] + short_alt + whole_ref[len(whole_ref) - rest :] == whole_alt
    assert min(len(short_ref), len(short_alt)) >= 1


@given(st.text("ACGT", min_size=3, max_size=60), st.data())
def test_left_alignment_keeps_the_haplotype_and_is_stable(bases: str, data: st.DataObject) -> None:
    pos = data.draw(st.integers(1, len(bases)))
    ref = bases[pos - 1 : pos - 1 + data.draw(st.integers(1, 6))]
    alt = data.draw(BASES)

    def before(start: int, stop: int) -> str:
        return bases[start - 1 : stop]

    def changed(at: int, old: str, new: str) -> str:
        assert bases[at - 1 : at - 1 + len(old)] == old
        return bases[: at - 1] + new + bases[at - 1 + len(old) :]

    normal = left_aligned(pos, ref, alt, before)
    assert changed(*normal) == changed(pos, ref, alt)
    assert left_aligned(*normal, before) == normal
