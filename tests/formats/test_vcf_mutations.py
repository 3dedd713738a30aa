"""Hostile bytes: a damaged VCF, BCF, index or reference is read or refused, never anything else."""

from __future__ import annotations

import gzip
import os
import random
import re
import struct
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from lakeq.catalog import Dataset
from lakeq.errors import BadSource, LakeqError
from lakeq.formats import ReadContext, _tabix, vcf
from lakeq.formats._bcf import RECORD_LIMIT_BYTES
from lakeq.formats._vcf_lines import VcfText
from lakeq.formats._vcf_strict import deviations
from lakeq.storage import SourceObject
from tests.support import bcftools
from tests.support.vcf import memory, text
from tests.support.vcf_fields import own_dataset, own_tables

SEED = 23
FEW = 150  # of each kind here; 100,000 in the soak tests
MANY = int(os.environ.get("LAKEQ_SOAK_MUTATIONS", "100000"))
SPECIAL = b"\t\n\r:|/.,;=#09-%<>[]\x00\xff\x7f\x80"
HEADER = [
    "##contig=<ID=1,length=1000>",
    '##INFO=<ID=AC,Number=A,Type=Integer,Description="">',
    '##INFO=<ID=AF,Number=A,Type=Float,Description="">',
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="">',
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="Format: Allele|SYMBOL">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
    '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="">',
    '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="">',
    '##FORMAT=<ID=FT,Number=1,Type=String,Description="">',
]
LINES = [
    f"1 {pos} rs{pos} A C,G 9.5 PASS AC=1,2;AF=0.1,0.2;DB;CSQ=C|X,G| GT:AD:PL:FT"
    " 0|1:1,2,3:0,1,2,3,4,5:a 0:1,.,3:.:. ./.:.:.:b"
    for pos in range(1, 12)
]
GOOD = text(LINES, ["S1", "S2", "S3"], HEADER)


def mutated(data: bytes, chosen: random.Random) -> bytes:
    """The same bytes with one to four changed, dropped or doubled parts."""
    changed = bytearray(data)
    for _ in range(chosen.randint(1, 4)):
        if not changed:
            break
        at, size = chosen.randrange(len(changed)), chosen.randint(1, 40)
        kind = chosen.randrange(5)
        if kind == 0:
            changed[at] = chosen.randrange(256)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = changed[at : at + size]
        elif kind == 3:
            changed[at] = chosen.choice(SPECIAL)
        else:
            changed[at : at + 4] = struct.pack("<I", chosen.choice([0, 1, 2**31 - 1, 2**32 - 1]))
    return bytes(changed)


def binary() -> bytes:
    """GOOD as uncompressed BCF: bcftools view -Ou, its BGZF blocks taken off."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "a.vcf", Path(folder) / "a.bcf"
        source.write_bytes(GOOD)
        bcftools.run("view", "--output-type", "b", "--output", made, source)
        return gzip.decompress(made.read_bytes())


def index() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "a.vcf", Path(folder) / "a.vcf.gz"
        source.write_bytes(GOOD)
        bcftools.run("view", "--output-type", "z", "--output", made, source)
        bcftools.run("index", made)
        return gzip.decompress(Path(f"{made}.csi").read_bytes())


@lru_cache(maxsize=8)
def tables_of(header: bytes) -> Dataset:
    """The dataset of one's own for a header; most mutations leave the header as it is."""
    with tempfile.TemporaryDirectory() as folder:
        return own_dataset([memory(header)], Path(folder))


def read(source: SourceObject) -> None:
    """Every table of one file, rows and columns checked by Arrow, none kept."""
    dataset = tables_of(VcfText(source).header_text)
    with tempfile.TemporaryDirectory() as folder:
        for batch in vcf.read(source, dataset.tables, ReadContext(dataset, Path(folder) / "work")):
            batch.rows.validate(full=True)


def judged(source: SourceObject) -> None:
    for _ in deviations(source):
        pass


def chunks(source: SourceObject) -> None:
    found = _tabix.read_index(source)
    for number in range(len(found.contigs) + 1):
        found.chunks(number, 0, 1 << 29)


KINDS: dict[str, tuple[Callable[[], bytes], Callable[[SourceObject], None]]] = {
    "vcf": (lambda: GOOD, read),
    "strict": (lambda: GOOD, judged),
    "bcf": (binary, read),
    "index": (index, chunks),
}


def attack(kind: str, count: int) -> int:
    """Read `count` mutations of one kind; how many of them were refused."""
    make, use = KINDS[kind]
    data, chosen, refused = make(), random.Random(SEED), 0
    for _ in range(count):
        try:
            use(memory(mutated(data, chosen)))
        except BadSource as error:
            assert error.where
            refused += 1
        except LakeqError as error:  # a header may name columns that no catalog takes
            assert error.what
            refused += 1
    return refused


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_read_or_refused(kind: str) -> None:
    assert attack(kind, FEW) < FEW or kind == "index"


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutations_are_read_or_refused(kind: str) -> None:
    attack(kind, MANY)


@pytest.mark.parametrize("size", [2**31 - 1, 2**32 - 1, RECORD_LIMIT_BYTES + 1])
@pytest.mark.parametrize("place", [0, 4])
def test_a_record_of_absurd_size_is_refused_before_it_is_held(size: int, place: int) -> None:
    data = bytearray(binary())
    start = 9 + int.from_bytes(data[5:9], "little") + place
    data[start : start + 4] = struct.pack("<I", size)
    with pytest.raises(BadSource, match="record 1 claims"):
        read(memory(bytes(data), "a.bcf"))


def test_a_header_of_absurd_size_is_refused() -> None:
    data = bytearray(binary())
    data[5:9] = struct.pack("<I", 2**31)
    with pytest.raises(BadSource, match="a header that claims"):
        read(memory(bytes(data), "a.bcf"))


def test_bcf_2_1_is_read_as_2_2_is() -> None:
    """Version 2.1 numbers definitions by their order, without IDX."""
    new = binary()
    size = int.from_bytes(new[5:9], "little")
    header = re.sub(rb",IDX=\d+", b"", new[9 : 9 + size])
    old = b"BCF\x02\x01" + struct.pack("<I", len(header)) + header + new[9 + size :]
    names = ("variants", "genotypes", "calls", "entries")
    found = own_tables(memory(old, "a.bcf"), names)
    assert found == own_tables(memory(new, "a.bcf"), names)
    assert found["entries"].num_rows == 66


def test_bcf_cut_anywhere_is_refused_with_its_record() -> None:
    data = binary()
    for cut in (4, 60, len(data) - 1, len(data) - 60):
        with pytest.raises(BadSource, match="the data ends inside"):
            read(memory(data[:cut], "a.bcf"))
