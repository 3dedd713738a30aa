"""ClinVar as tab separated text: variant_summary, the full TSV of 2016, and the web export.

Sources: https://ftp.ncbi.nlm.nih.gov/pub/clinvar/README.txt for variant_summary.txt; the others
have no specification but their header line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lakeq.errors import BadSource
from lakeq.formats import _clinvar_columns as columns
from lakeq.formats import _clinvar_words as vocabulary
from lakeq.formats._text_blocks import Block, split_tabs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lakeq.formats._clinvar_columns import Columns

ASSEMBLY = "Assembly"  # the column that says it, in the layouts that have one

Texts = dict[str, "pa.Array"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file: the columns that tell it, those it may have, and how rows are built."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    build: Callable[[Texts, Block, str], Columns]

    def wanted(self, names: Sequence[str]) -> list[str]:
        """The columns to read of a file that has `names`."""
        return [name for name in (*self.required, *self.optional) if name in names]


def header(block: Block) -> tuple[tuple[str, ...], int]:
    """The column names of the first line, and its size in bytes with the line end.

    A separator at the end of the line (the web export has one) makes a column only where the
    rows have it too.
    """
    first, _, rest = block.data.partition(b"\n")
    names = first.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r")
    found = names.lstrip("#").split("\t")
    row = rest.partition(b"\n")[0].rstrip(b"\r")
    while row and len(found) > row.count(b"\t") + 1 and not found[-1]:
        found.pop()
    return tuple(found), len(first) + 1


def layout(names: Sequence[str], where: str) -> Layout:
    """The layout of a file with these columns; raises `BadSource` that tells what is missing."""
    for known in LAYOUTS:
        if set(known.required) <= set(names):
            return known
    wanted = "; ".join(f"{known.name}: {', '.join(known.required)}" for known in LAYOUTS)
    raise BadSource(
        f"no layout of ClinVar has the columns {' '.join(names)[:200]!r}",
        where,
        f"a VCF, or a TSV with these columns: {wanted}",
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a block: those of each wanted assembly, and how many others there are."""

    made: Mapping[str, Columns]
    others: Mapping[str, int]  # assembly -> rows
    count: int
    foreign: int  # lines that were read as Latin-1


def read_block(
    block: Block, names: Sequence[str], known: Layout, assemblies: Sequence[str], done: int
) -> Rows:
    """The rows of a block, in file order; `done` rows came before it.

    A layout without an assembly column gives all rows to the one assembly of `assemblies`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table, foreign = split_tabs(block, names, known.wanted(names))
    texts = {name: columns.flat(table[name]) for name in table.column_names}
    record = pa.array(range(done + 1, done + table.num_rows + 1), pa.int64())
    if ASSEMBLY not in known.required:
        rows = known.build(texts, block, assemblies[0]) | {"source_record": record}
        return Rows({assemblies[0]: rows}, {}, table.num_rows, foreign)
    counts = {c["values"]: c["counts"] for c in pc.value_counts(texts[ASSEMBLY]).to_pylist()}
    made = {}
    for assembly in assemblies:
        if counts.pop(assembly, 0):
            its = pc.equal(texts[ASSEMBLY], assembly)
            some = {name: array.filter(its) for name, array in texts.items()}
            rows = known.build(some, replace(block, rows=its), assembly)
            made[assembly] = rows | {"source_record": record.filter(its)}
    return Rows(made, counts, table.num_rows, foreign)


def _summary(texts: Texts, block: Block, assembly: str) -> Columns:
    """NCBI's variant_summary.txt; releases before 2018 lack the *VCF columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    starts, stops = (_place(texts[name], block, name) for name in ("Start", "Stop"))
    pos, ref, alt = _alleles(texts, block)
    placed = pc.is_valid(pos)
    ends = pc.add(pos, pc.subtract(pc.cast(pc.binary_length(ref), pa.int64()), 1))
    found = columns.significance(texts["ClinicalSignificance"], vocabulary.words)
    if "ClinSigSimple" in texts:
        told = pc.equal(texts["ClinSigSimple"], "1")
        found["is_pathogenic"] = pc.coalesce(found["is_pathogenic"], told)
    site = columns.contig_columns(columns.known(texts["Chromosome"], "na", "-"), assembly)
    return site | found | {
        "pos": pc.coalesce(pos, starts),
        "end_pos": pc.if_else(placed, ends, stops),
        "ref": ref,
        "alt": alt,
        "gene": _bars(columns.known(texts["GeneSymbol"], "-", "na")),
        "rs": columns.rs_numbers(texts["RS# (dbSNP)"]),
        "variation_id": columns.integers(_optional(texts, "VariationID")),
        "allele_id": columns.integers(texts["AlleleID"]),
        "review_status": columns.known(texts["ReviewStatus"], "-", "na"),
        "conditions": _bars(columns.known(_optional(texts, "PhenotypeList"), "-", "na")),
        "condition_ids": columns.known(texts["PhenotypeIDS"], "-", "na"),
        "variant_type": columns.known(texts["Type"], "-", "na"),
        "hgvs": columns.known(texts["Name"], "-", "na"),
        "accessions": _bars(columns.known(texts["RCVaccession"], "-", "na")),
        "origin": _bars(columns.known(texts["Origin"], "-", "na")),
    }  # fmt: skip


def _alleles(texts: Texts, block: Block) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Position and alleles as a VCF has them; NULL where the row has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    suffix = "VCF" if "PositionVCF" in texts else ""
    names = (f"ReferenceAllele{suffix}", f"AlternateAllele{suffix}")
    ref, alt = (columns.known(texts[name], "na", "-", ".") for name in names)
    both = pc.and_(_bases(ref), _bases(alt))
    pos = _place(texts["PositionVCF" if suffix else "Start"], block, "PositionVCF")
    nothing = pa.scalar(None, pa.string())
    return (
        pc.if_else(both, pos, pa.scalar(None, pa.int64())),
        pc.if_else(both, ref, nothing),
        pc.if_else(both, alt, nothing),
    )


def _bases(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.fill_null(pc.match_substring_regex(texts, "^[A-Za-z]+$"), False)


def _place(texts: pa.Array, block: Block, field: str) -> pa.Array:
    return columns.positions(columns.known(texts, "na", "-", "-1"), block, field)


def _optional(texts: Texts, name: str) -> pa.Array:
    import pyarrow as pa

    return texts[name] if name in texts else pa.nulls(len(next(iter(texts.values()))), pa.string())


def _bars(texts: pa.Array) -> pa.Array:
    """Parts that a semicolon or a bar joins, each once, joined with bars."""
    return columns.text_each(texts, lambda t: vocabulary.distinct(t.replace(";", "|")))


def _full(texts: Texts, block: Block, assembly: str) -> Columns:
    """The TSV made of the whole VCF of November 2016: codes of one allele per row."""
    pos = columns.positions(texts["pos"], block, "pos")
    import pyarrow as pa
    import pyarrow.compute as pc

    length = pc.cast(pc.binary_length(texts["ref"]), pa.int64())
    _check_codes(texts["clnsig"], block)
    site = columns.contig_columns(texts["chrom"], assembly)
    return site | columns.significance(texts["clnsig"], vocabulary.codes) | {
        "pos": pos,
        "end_pos": pc.add(pos, pc.subtract(length, 1)),
        "ref": columns.known(texts["ref"], "."),
        "alt": columns.known(texts["alt"], "."),
        "gene": columns.known(texts["gene"], ".", "NA"),
        "rs": columns.rs_numbers(texts["id"]),
        "conditions": columns.spaced(columns.known(texts["clndbn"], ".", "NA")),
    }  # fmt: skip


def _check_codes(texts: pa.Array, block: Block) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    good = pc.match_substring_regex(texts, r"^(([0-7]|255|\.)(\||$))*$")
    if not pc.all(good).as_py():
        row = pc.index(good, pa.scalar(value=False)).as_py()
        what = f"clnsig {texts[row].as_py()!r} has a code that does not exist"
        raise BadSource(what, block.where(row), f"codes are {', '.join(vocabulary.CODES)}")


def _export(texts: Texts, block: Block, assembly: str) -> Columns:
    """The web export: locations but no alleles; some rows have no location."""
    import pyarrow.compute as pc

    contig = columns.text_each(columns.known(texts["Chromosome"]), _one_contig)
    location = texts["Location"]
    first = pc.replace_substring_regex(location, r"^\s*([0-9]*).*$", r"\1")
    last = pc.replace_substring_regex(location, r"^.*?([0-9]*)\s*$", r"\1")
    odd = pc.match_substring_regex(location, r"^\s*([0-9]+(\s*-\s*[0-9]+)?)?\s*$")
    if not pc.all(odd).as_py():
        row = pc.index(odd, False).as_py()
        raise BadSource(f"Location {location[row].as_py()!r} is no range", block.where(row))
    return columns.contig_columns(contig, assembly) | columns.significance(
        texts["Clinical significance (Last reviewed)"], vocabulary.words
    ) | {
        "pos": columns.positions(columns.known(first), block, "Location"),
        "end_pos": columns.positions(columns.known(last), block, "Location"),
        "gene": columns.known(texts["Gene(s)"]),
        "variation_id": columns.integers(texts["VariationID"]),
        "allele_id": columns.integers(texts["AlleleID(s)"]),
        "review_status": columns.known(texts["Review status"]),
        "conditions": columns.known(texts["Condition(s)"]),
        "hgvs": columns.known(texts["Name"]),
    }  # fmt: skip


def _one_contig(text: str) -> str:
    """The contig of a row that names it once for each of several alleles; "" for different ones."""
    parts = set(vocabulary.distinct(text).split("|"))
    return parts.pop() if len(parts) == 1 else ""


LAYOUTS = (
    Layout(
        "variant_summary.txt",
        (
            "AlleleID", "Type", "Name", "GeneSymbol", "ClinicalSignificance", "RS# (dbSNP)",
            "RCVaccession", "PhenotypeIDS", "Origin", ASSEMBLY, "Chromosome", "Start", "Stop",
            "ReferenceAllele", "AlternateAllele", "ReviewStatus",
        ),
        (
            "ClinSigSimple", "PhenotypeList", "VariationID", "PositionVCF",
            "ReferenceAlleleVCF", "AlternateAlleleVCF",
        ),
        _summary,
    ),
    Layout("full TSV", ("chrom", "pos", "id", "ref", "alt", "gene", "clnsig", "clndbn"), (), _full),
    Layout(
        "web export",
        (
            "Name", "Gene(s)", "Condition(s)", "Clinical significance (Last reviewed)",
            "Review status", "Chromosome", "Location", ASSEMBLY, "VariationID", "AlleleID(s)",
        ),
        (),
        _export,
    ),
)  # fmt: skip
