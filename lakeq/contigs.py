"""Names of human chromosomes, and which genome assembly a header speaks of.

Lengths and accessions are those of the NCBI assembly reports of GRCh37.p13
(GCF_000001405.25), GRCh38.p14 (GCF_000001405.40), NCBI36 (GCF_000001405.12) and
T2T-CHM13v2.0 (GCF_009914755.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CHROMOSOMES = (*(str(number) for number in range(1, 23)), "X", "Y", "MT")
HG19_CHRM_LENGTH = 16571  # UCSC's hg19 took NC_001807; the rCRS of GRCh37 and GRCh38 has 16,569

_LENGTHS = {
    "NCBI36": (
        247249719, 242951149, 199501827, 191273063, 180857866, 170899992, 158821424, 146274826,
        140273252, 135374737, 134452384, 132349534, 114142980, 106368585, 100338915, 88827254,
        78774742, 76117153, 63811651, 62435964, 46944323, 49691432, 154913754, 57772954,
    ),
    "GRCh37": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022,
        141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753,
        81195210, 78077248, 59128983, 63025520, 48129895, 51304566, 155270560, 59373566,
    ),
    "GRCh38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636,
        138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345,
        83257441, 80373285, 58617616, 64444167, 46709983, 50818468, 156040895, 57227415,
    ),
    "T2T-CHM13v2.0": (
        248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331,
        150617247, 134758134, 135127769, 133324548, 113566686, 101161492, 99753195, 96330374,
        84276897, 80542538, 61707364, 66210255, 45090682, 51324926, 154259566, 62460029,
    ),
}  # fmt: skip

# Versions of NC_000001 to NC_000024 in GRCh37; GRCh38 raised each by one.
_GRCH37_VERSIONS = (
    10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9,
)  # fmt: skip

_REFERENCES = {
    "GRCh38": r"GRCh38|hg38|hs38|b38\b|GCA_000001405\.1[5-9]|GCF_000001405\.(2[6-9]|[34])",
    "GRCh37": r"GRCh37|hg19|hs37|b37|g1k_v37|GCF_000001405\.(1[3-9]|2[0-5])",
    "NCBI36": r"NCBI36|hg18|b36\b|GCF_000001405\.12",
    "T2T-CHM13v2.0": r"T2T|CHM13|\bhs1\b",
}

_NAMES = {
    spelling: name
    for name in CHROMOSOMES
    for spelling in (name, *(prefix + name for prefix in ("chr", "Chr", "CHR")))
} | dict.fromkeys(("M", "chrM", "ChrM", "CHRM", "NC_012920.1"), "MT")


def _accessions(assembly: str) -> dict[str, str]:
    newer = int(assembly == "GRCh38")
    return {
        f"NC_{number:06d}.{version + newer}": name
        for number, (version, name) in enumerate(
            zip(_GRCH37_VERSIONS, CHROMOSOMES[:24], strict=True), start=1
        )
    }


_CANONICAL = {assembly: _NAMES | _accessions(assembly) for assembly in ("GRCh37", "GRCh38")}


def canonical(name: str, assembly: str, length: int | None = None) -> str:
    """The one spelling (1 to 22, X, Y, MT) of a chromosome of GRCh37 or GRCh38.

    Known spellings are 1, chr1, M, MT, chrM and the NC_ accession of this assembly's version.
    Every other name (patches, decoys, viruses), and every name of another assembly, comes back
    unchanged. `length` is what the header says of the contig, if anything: a mitochondrion of
    16,571 bases is not the rCRS, its positions are others, so its name stays.
    """
    known = _CANONICAL.get(assembly)
    if known is None:
        return name
    found = known.get(name, name)
    return name if found == "MT" and length == HG19_CHRM_LENGTH else found


def assembly_of(contig_lengths: Mapping[str, int], reference: str) -> str:
    """The human assembly that a header proves, or "" when it cannot tell.

    Lengths of chromosomes decide; only where they say nothing does the text of `##reference`
    (or the like) speak. Lengths or texts that point at two assemblies prove none.
    """
    by_length = {a for name, length in contig_lengths.items() for a in _by_length(name, length)}
    if by_length:
        return by_length.pop() if len(by_length) == 1 else ""
    named = [
        assembly
        for assembly, pattern in _REFERENCES.items()
        if re.search(pattern, reference, re.IGNORECASE)
    ]
    return named[0] if len(named) == 1 else ""


def _by_length(name: str, length: int) -> list[str]:
    chromosome = _NAMES.get(name)
    if chromosome is None or chromosome == "MT":
        return []
    index = CHROMOSOMES.index(chromosome)
    return [assembly for assembly, lengths in _LENGTHS.items() if lengths[index] == length]


def rank(name: str) -> int:
    """The place of a canonical name in karyotype order (1 is 0, MT is 24); others come after."""
    return CHROMOSOMES.index(name) if name in CHROMOSOMES else len(CHROMOSOMES)
