"""Make a cohort in the files of the real archives: a phase 3 VCF, its panel, a ClinVar release.

    python examples/make_cohort.py cohort

The layouts are those of ALL.chr22.*.genotypes.vcf.gz and integrated_call_samples_v3.20130502.ALL.panel
of the 1000 Genomes Project and of ClinVar's VCF since 2017, all GRCh37. The people and alleles are
made: drawn from a seed, the same on every machine. The allele frequencies of the 26 populations
drift apart as those of the real ones do (Balding and Nichols 1995), most alleles are rare, some
records have several alternate alleles, some are deletions, insertions or copy numbers.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The 26 populations with their sizes in phase 3, under their super-population; 2,504 people.
POPULATIONS = {
    "EUR": {"GBR": 91, "FIN": 99, "IBS": 107, "CEU": 99, "TSI": 107},
    "EAS": {"CHS": 105, "CDX": 93, "KHV": 99, "CHB": 103, "JPT": 104},
    "AMR": {"PUR": 104, "CLM": 94, "PEL": 85, "MXL": 64},
    "SAS": {"PJL": 96, "BEB": 86, "STU": 102, "ITU": 102, "GIH": 103},
    "AFR": {"ACB": 96, "GWD": 113, "ESN": 99, "MSL": 85, "YRI": 108, "LWK": 99, "ASW": 61},
}
# Genes of chromosome 22 with their places in GRCh37 and the conditions ClinVar has for them.
GENES = (
    ("CHEK2", 11200, 29_083_731, 29_137_822, "Familial_cancer_of_breast"),
    ("NF2", 4771, 29_999_545, 30_094_589, "Neurofibromatosis,_type_2"),
    ("CYP2D6", 1565, 42_522_501, 42_526_908, "Tramadol_response"),
    ("ARSA", 410, 51_061_182, 51_066_607, "Metachromatic_leukodystrophy"),
    ("SHANK3", 85358, 51_112_843, 51_171_726, "Phelan-McDermid_syndrome"),
)
CHROMOSOME_LENGTH = 51_304_566
RARE, COMMON = 0.005, 0.05  # below: may be pathogenic; above: benign
BLOCK_BYTES = 65_280  # of text in one BGZF block, as bgzip cuts it
RECORDS_AT_ONCE = 500

FIXED_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
COHORT_HEADER = """\
##fileformat=VCFv4.1
##FILTER=<ID=PASS,Description="All filters passed">
##fileDate=20150218
##reference=ftp://ftp.1000genomes.ebi.ac.uk//vol1/ftp/technical/reference/phase2_reference_assembly_sequence/hs37d5.fa.gz
##source=made_by_lakeq_examples_make_cohort
##contig=<ID=22,assembly=b37,length=51304566>
##ALT=<ID=CN0,Description="Copy number allele: 0 copies">
##ALT=<ID=CN2,Description="Copy number allele: 2 copies">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##INFO=<ID=AC,Number=A,Type=Integer,Description="Total number of alternate alleles in called genotypes">
##INFO=<ID=AF,Number=A,Type=Float,Description="Estimated allele frequency in the range (0,1)">
##INFO=<ID=AN,Number=1,Type=Integer,Description="Total number of alleles in called genotypes">
##INFO=<ID=NS,Number=1,Type=Integer,Description="Number of samples with data">
##INFO=<ID=DP,Number=1,Type=Integer,Description="Total read depth">
##INFO=<ID=END,Number=1,Type=Integer,Description="End coordinate of this variant">
##INFO=<ID=SVTYPE,Number=1,Type=String,Description="Type of structural variant">
##INFO=<ID=EAS_AF,Number=A,Type=Float,Description="Allele frequency in the EAS populations">
##INFO=<ID=AMR_AF,Number=A,Type=Float,Description="Allele frequency in the AMR populations">
##INFO=<ID=AFR_AF,Number=A,Type=Float,Description="Allele frequency in the AFR populations">
##INFO=<ID=EUR_AF,Number=A,Type=Float,Description="Allele frequency in the EUR populations">
##INFO=<ID=SAS_AF,Number=A,Type=Float,Description="Allele frequency in the SAS populations">
##INFO=<ID=AA,Number=1,Type=String,Description="Ancestral Allele">
##INFO=<ID=VT,Number=.,Type=String,Description="indicates what type of variant the line represents">
##INFO=<ID=MULTI_ALLELIC,Number=0,Type=Flag,Description="indicates whether a site is multi-allelic">
"""
CLINVAR_HEADER = """\
##fileformat=VCFv4.1
##fileDate=2026-01-05
##source=ClinVar, made by lakeq examples/make_cohort.py
##reference=GRCh37
##ID=<Description="ClinVar Variation ID">
##INFO=<ID=ALLELEID,Number=1,Type=Integer,Description="the ClinVar Allele ID">
##INFO=<ID=CLNDISDB,Number=.,Type=String,Description="Tag-value pairs of disease database name and identifier, e.g. OMIM:NNNNNN">
##INFO=<ID=CLNDN,Number=.,Type=String,Description="ClinVar's preferred disease name for the concept specified by disease identifiers in CLNDISDB">
##INFO=<ID=CLNHGVS,Number=.,Type=String,Description="Top-level (primary assembly, alt, or patch) HGVS expression.">
##INFO=<ID=CLNREVSTAT,Number=.,Type=String,Description="ClinVar review status for the Variation ID">
##INFO=<ID=CLNSIG,Number=.,Type=String,Description="Clinical significance for this single variant; multiple values are separated by a vertical bar">
##INFO=<ID=CLNSIGCONF,Number=.,Type=String,Description="Conflicting clinical significance for this single variant; multiple values are separated by a vertical bar">
##INFO=<ID=CLNVC,Number=1,Type=String,Description="Variant type">
##INFO=<ID=CLNVCSO,Number=1,Type=String,Description="Sequence Ontology id for variant type">
##INFO=<ID=GENEINFO,Number=1,Type=String,Description="Gene(s) for the variant reported as gene symbol:gene id. The gene symbol and id are delimited by a colon (:) and each pair is delimited by a vertical bar (|)">
##INFO=<ID=MC,Number=.,Type=String,Description="comma separated list of molecular consequence in the form of Sequence Ontology ID|molecular_consequence">
##INFO=<ID=ORIGIN,Number=.,Type=String,Description="Allele origin">
##INFO=<ID=RS,Number=.,Type=String,Description="dbSNP ID (i.e. rs number)">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO
"""


@dataclass(frozen=True, slots=True)
class MadeCohort:
    """The three files; `vcf` and `panel` stand side by side under the archive's own names."""

    vcf: Path
    panel: Path
    clinvar: Path


@dataclass(frozen=True, slots=True)
class Site:
    """One record of the cohort before its genotypes; `end` is 0 but for copy numbers."""

    pos: int
    rs: int
    ref: str
    alts: tuple[str, ...]
    kind: str
    end: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the panel."""

    name: str
    population: str
    super_population: str
    sex: str


def make(
    folder: Path, *, samples: int = 2504, variants: int = 4000, seed: int = 20130502
) -> MadeCohort:
    """Write the three files into `folder`; the same arguments give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    made = MadeCohort(
        folder / "ALL.chr22.phase3_made.20130502.genotypes.vcf.gz",
        folder / "integrated_call_samples_v3.20130502.ALL.panel",
        folder / "clinvar_20260105.vcf.gz",
    )
    random = np.random.default_rng(seed)
    cohort = people(samples)
    sites = make_sites(random, variants)
    frequencies, first_carries = write_cohort(made.vcf, random, cohort, sites)
    write_panel(made.panel, cohort)
    write_clinvar(made.clinvar, random, sites, frequencies, first_carries)
    return made


def people(samples: int) -> list[Person]:
    """`samples` people spread evenly over the 26 populations; the first is HG00096, as in phase 3."""
    codes = [(p, s) for s, sizes in POPULATIONS.items() for p, n in sizes.items() for _ in range(n)]
    if not 1 <= samples <= len(codes):
        raise SystemExit(f"--samples {samples}: between 1 and {len(codes)}")
    chosen = np.linspace(0, len(codes) - 1, samples).astype(int)
    return [
        Person(f"HG{96 + i:05d}", codes[k][0], codes[k][1], "female" if i % 2 else "male")
        for i, k in enumerate(chosen.tolist())
    ]


def make_sites(random: np.random.Generator, variants: int) -> list[Site]:
    """Sites in order of position, half of them in the five genes; about 1.5 % multi-allelic."""
    in_genes = [random.integers(g[2], g[3], variants // 2 // len(GENES)) for g in GENES]
    positions = np.unique(np.concatenate(in_genes))
    while len(positions) < variants:  # the other half, and what unique took away
        more = random.integers(16_050_000, CHROMOSOME_LENGTH - 10_000, variants - len(positions))
        positions = np.unique(np.concatenate([positions, more]))
    rs = random.choice(np.arange(1_000_000_000, 1_900_000_000, 1000), variants, replace=False)
    return [
        make_site(random, pos, int(number))
        for pos, number in zip(positions.tolist(), rs, strict=True)
    ]


def make_site(random: np.random.Generator, pos: int, rs: int) -> Site:
    """One site: mostly a SNP, else an indel, a copy number or several alleles."""
    ref, *others = (str(base) for base in random.permutation(list("ACGT")))
    inserted = "".join(random.choice(list("ACGT"), random.integers(1, 8)))
    draw = random.random()
    if draw < 0.015:
        return Site(pos, rs, ref, tuple(others[: random.integers(2, 4)]), "SNP")
    if draw < 0.035:
        return Site(pos, rs, ref, (ref + inserted,), "INDEL")
    if draw < 0.055:
        return Site(pos, rs, ref + inserted, (ref,), "INDEL")
    if draw < 0.060:
        return Site(pos, rs, ref, ("<CN0>", "<CN2>"), "SV", pos + int(random.integers(500, 9000)))
    return Site(pos, rs, ref, (others[0],), "SNP")


def write_cohort(
    path: Path, random: np.random.Generator, cohort: Sequence[Person], sites: Sequence[Site]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Write the VCF; returns for each site the alleles' frequencies and whether person 0 has them."""
    header = COHORT_HEADER + "\t".join([*FIXED_COLUMNS, *(p.name for p in cohort)]) + "\n"
    supers = np.repeat([p.super_population for p in cohort], 2)
    groups = {code: supers == code for code in ("EAS", "AMR", "AFR", "EUR", "SAS")}
    frequencies: list[np.ndarray] = []
    first_carries: list[np.ndarray] = []

    def pieces() -> Iterator[bytes]:
        yield header.encode()
        for start in range(0, len(sites), RECORDS_AT_ONCE):
            block = sites[start : start + RECORDS_AT_ONCE]
            haplotypes = make_haplotypes(random, cohort, block)
            text = genotype_text(haplotypes)
            for site, alleles, line in zip(block, haplotypes, text, strict=True):
                counts = np.bincount(alleles, minlength=len(site.alts) + 1)[1:]
                frequencies.append(counts / alleles.size)
                first_carries.append(np.isin(np.arange(1, len(site.alts) + 1), alleles[:2]))
                info = info_text(random, groups, site, alleles, counts)
                fixed = f"22\t{site.pos}\trs{site.rs}\t{site.ref}\t{','.join(site.alts)}\t100\tPASS"
                yield f"{fixed}\t{info}\tGT\t".encode() + line.tobytes()

    write_bgzf(path, pieces())
    return frequencies, first_carries


def make_haplotypes(
    random: np.random.Generator, cohort: Sequence[Person], sites: Sequence[Site]
) -> np.ndarray:
    """The allele numbers of a block: one row a site, two columns a person."""
    supers, super_index = np.unique([p.super_population for p in cohort], return_inverse=True)
    _, first, index = np.unique(
        [p.population for p in cohort], return_index=True, return_inverse=True
    )
    ancestral = np.exp(random.uniform(np.log(2e-4), np.log(0.6), (len(sites), 1)))
    by_super = drift(random, np.repeat(ancestral, len(supers), axis=1), 0.1)
    by_population = drift(random, by_super[:, super_index[first]], 0.01)
    chance = np.repeat(by_population[:, index], 2, axis=1)
    draw = random.random(chance.shape, dtype=np.float32)
    alleles = (draw < chance).astype(np.uint8)
    for row, site in enumerate(sites):
        for number in range(2, len(site.alts) + 1):  # each further allele takes a third of the last
            alleles[row][draw[row] < chance[row] / 3 ** (number - 1)] = number
        if not alleles[row].any():  # a site stands in a call set because someone carries it
            alleles[row, random.integers(alleles.shape[1])] = 1
    return alleles


def drift(random: np.random.Generator, frequency: np.ndarray, fst: float) -> np.ndarray:
    """Frequencies after drift of size `fst` (Balding and Nichols 1995)."""
    scale = (1 - fst) / fst
    frequency = frequency.clip(1e-6, 1 - 1e-6)
    return random.beta(frequency * scale, (1 - frequency) * scale)


def genotype_text(haplotypes: np.ndarray) -> np.ndarray:
    """The genotype columns as bytes, 4 a person: `0|1` and a tab, or the line's end."""
    rows, columns = haplotypes.shape
    text = np.empty((rows, columns // 2, 4), np.uint8)
    text[:, :, 0] = haplotypes[:, 0::2] + ord("0")
    text[:, :, 1] = ord("|")
    text[:, :, 2] = haplotypes[:, 1::2] + ord("0")
    text[:, :, 3] = ord("\t")
    text[:, -1, 3] = ord("\n")
    return text.reshape(rows, -1)


def info_text(
    random: np.random.Generator,
    groups: Mapping[str, np.ndarray],
    site: Site,
    alleles: np.ndarray,
    counts: np.ndarray,
) -> str:
    """The INFO column in the order and with the rounding of phase 3."""
    numbers = range(1, len(site.alts) + 1)
    parts = [
        f"AC={','.join(map(str, counts.tolist()))}",
        f"AF={','.join(f'{c / alleles.size:.6g}' for c in counts.tolist())}",
        f"AN={alleles.size}",
        *([f"END={site.end}"] if site.end else []),
        f"NS={alleles.size // 2}",
        *(["SVTYPE=CNV"] if site.end else []),
        f"DP={int(random.normal(18_000, 3_000))}",
    ]
    for code, group in groups.items():
        own = alleles[group]
        shares = [np.count_nonzero(own == n) / own.size if own.size else 0.0 for n in numbers]
        parts.append(f"{code}_AF={','.join(f'{round(s, 4):g}' for s in shares)}")
    parts += [f"AA={site.ref[0]}|||", f"VT={site.kind}"]
    return ";".join(parts + (["MULTI_ALLELIC"] if len(site.alts) > 1 else []))


def write_panel(path: Path, cohort: Iterable[Person]) -> None:
    """Write the panel as the archive has it, with the two stray tabs of its first line."""
    rows = [f"{p.name}\t{p.population}\t{p.super_population}\t{p.sex}\n" for p in cohort]
    path.write_text("sample\tpop\tsuper_pop\tgender\t\t\n" + "".join(rows))


def write_clinvar(
    path: Path,
    random: np.random.Generator,
    sites: Sequence[Site],
    frequencies: Sequence[np.ndarray],
    first_carries: Sequence[np.ndarray],
) -> None:
    """Write a release that has a fifth of the cohort's alleles in genes, and as many not in it.

    Common alleles are benign; rare ones may be anything, and every third rare one that the first
    person carries is pathogenic, so that a query for one person finds some.
    """
    rows: list[tuple[int, str, str, int, str, str]] = []
    for site, shares, carried in zip(sites, frequencies, first_carries, strict=True):
        gene = next((g for g in GENES if g[2] <= site.pos <= g[3]), None)
        if gene is None or site.end:
            continue
        for alt, share, has in zip(site.alts, shares.tolist(), carried.tolist(), strict=True):
            known = has and share < COMMON and len(rows) % 3 == 0 and gene[0] != "CYP2D6"
            if known or random.random() < 0.2:
                word = "Pathogenic" if known else significance(random, gene[0], share)
                rows.append((site.pos, site.ref, alt, site.rs, word, gene[0]))
    taken = {row[0] for row in rows}
    for _ in range(len(rows)):
        gene = GENES[random.integers(len(GENES))]
        pos = int(random.integers(gene[2], gene[3]))
        if pos not in taken:
            ref, alt = (str(b) for b in random.permutation(list("ACGT"))[:2])
            rows.append((pos, ref, alt, 0, significance(random, gene[0], 0.0), gene[0]))
            taken.add(pos)
    numbers = random.permutation(np.arange(10_000, 10_000 + len(rows))).tolist()
    lines = [clinvar_line(n, *row) for n, row in zip(numbers, sorted(rows), strict=True)]
    write_bgzf(path, [CLINVAR_HEADER.encode(), "".join(lines).encode()])


def significance(random: np.random.Generator, gene: str, share: float) -> str:
    """What ClinVar could say of an allele that this share of the chromosomes carries."""
    if gene == "CYP2D6":
        return "drug_response"
    if share > COMMON:
        return "Benign"
    words = ["Uncertain_significance", "Likely_benign", "Benign/Likely_benign"]
    weights = [0.5, 0.2, 0.1, 0.1, 0.05, 0.05]
    rare = ["Pathogenic", "Likely_pathogenic", "Conflicting_classifications_of_pathogenicity"]
    if share > RARE:
        return str(random.choice(words))
    return str(random.choice(words + rare, p=weights))


def clinvar_line(
    number: int, pos: int, ref: str, alt: str, rs: int, word: str, gene_name: str
) -> str:
    """One record of the release."""
    gene = next(g for g in GENES if g[0] == gene_name)
    snp = len(ref) == len(alt) == 1
    kind = ("single_nucleotide_variant", "SO:0001483") if snp else ("Indel", "SO:1000032")
    conflict = word.startswith("Conflicting")
    info = [
        f"ALLELEID={number + 15_000}",
        f"CLNDISDB=MedGen:CN{gene[1]:06d}",
        f"CLNDN={gene[4]}",
        f"CLNHGVS=NC_000022.10:g.{pos}{ref}>{alt}",
        f"CLNREVSTAT=criteria_provided,_{'conflicting_classifications' if conflict else 'single_submitter'}",
        f"CLNSIG={word}",
        *(["CLNSIGCONF=Likely_pathogenic(1)|Uncertain_significance(1)"] if conflict else []),
        f"CLNVC={kind[0]}",
        f"CLNVCSO={kind[1]}",
        f"GENEINFO={gene[0]}:{gene[1]}",
        "MC=SO:0001583|missense_variant",
        "ORIGIN=1",
        *([f"RS={rs}"] if rs else []),
    ]
    return f"22\t{pos}\t{number}\t{ref}\t{alt}\t.\t.\t{';'.join(info)}\n"


def write_bgzf(path: Path, pieces: Iterable[bytes]) -> None:
    """Write `pieces` as blocked gzip (SAM specification, section 4.1), ended by the empty block."""
    with path.open("wb") as file:
        waiting = bytearray()
        for piece in pieces:
            waiting += piece
            while len(waiting) >= BLOCK_BYTES:
                file.write(bgzf_block(bytes(waiting[:BLOCK_BYTES])))
                del waiting[:BLOCK_BYTES]
        if waiting:
            file.write(bgzf_block(bytes(waiting)))
        file.write(bgzf_block(b""))


def bgzf_block(text: bytes) -> bytes:
    """One block: a gzip member whose extra field BC holds its own size less 1."""
    packer = zlib.compressobj(3, zlib.DEFLATED, -15)
    body = packer.compress(text) + packer.flush()
    size = len(body) + 25  # header 18 and trailer 8, less 1
    header = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", size)
    return header + body + struct.pack("<II", zlib.crc32(text), len(text))


def main() -> None:
    """Write the files where the command line says and name them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=2504)
    parser.add_argument("--variants", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20130502)
    args = parser.parse_args()
    made = make(args.folder, samples=args.samples, variants=args.variants, seed=args.seed)
    for path in (made.vcf, made.panel, made.clinvar):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
