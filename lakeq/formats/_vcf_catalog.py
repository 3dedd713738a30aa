"""A catalog for VCFs of the user's own, written from their headers, and widened by later ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lakeq.catalog import Column, Table
from lakeq.errors import BadSource
from lakeq.formats._vcf_columns import HEADER, OPTION, from_header, missing

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.formats._vcf_header import Header
    from lakeq.storage import SourceObject

_SITE = (
    Column("contig", "string", "contig in canonical spelling: 1 to 22, X, Y, MT; others as given"),
    Column("pos", "int64", "1-based position of the first base of ref", "bp"),
    Column("ref", "string", "reference allele"),
    Column("alt", "string", "alternate allele, as the file writes it; NULL where there is none"),
    Column("alt_index", "int32", "place of alt in the ALT column of its line, from 1"),
)
_COUNTS = (
    Column("ac", "int32", "copies of alt among the called alleles; else INFO/AC", "alleles"),
    Column("an", "int32", "called alleles, counted from the genotypes; else INFO/AN", "alleles"),
    Column("af", "float64", "ac / an", "fraction"),
)
_KINDS = (
    Column("n_het", "int32", "calls with alt and another allele", "calls"),
    Column("n_hom_alt", "int32", "calls of two or more alleles, all alt", "calls"),
    Column("n_hemi", "int32", "calls of one allele that is alt", "calls"),
    Column("n_missing", "int32", "calls without a called allele", "calls"),
    Column("n_half_missing", "int32", "calls with some alleles missing and some called", "calls"),
)
_NORMAL = (
    Column("norm_pos", "int64", "pos of the normalised alleles; NULL without alt", "bp"),
    Column("norm_ref", "string", "ref without bases that alt shares, left-aligned by a reference"),
    Column("norm_alt", "string", "alt without bases that ref shares, left-aligned by a reference"),
)
_REST_OF_SITE = (
    Column("id", "string", "identifiers, separated by semicolons"),
    Column("qual", "float64", "quality of the call; NULL for NaN and infinities", "phred"),
    Column("filter", "string", "PASS, or the filters that failed"),
    Column(
        "end_pos", "int64", "last base: INFO/END where given, else pos + length of ref - 1", "bp"
    ),
    Column("source_contig", "string", "the file's spelling, where it is another than contig"),
)
_INFO_REST = Column(
    "info_rest", "string", "INFO items that no other column holds, as the file writes them"
)
_GENOTYPES = (
    Column("ploidy", "int32", "alleles of every call with a called one; NULL where they differ"),
    Column("n_half_missing", "int32", "calls with some alleles missing and some called", "calls"),
    Column("het", "list<int32>", "samples with alt and another allele, by number"),
    Column("het_phase", "list<int32>", "beside het: haplotype that has alt, 0 where unphased"),
    Column("hom_alt", "list<int32>", "samples whose alleles are all alt, two or more"),
    Column("hemi", "list<int32>", "samples whose only allele is alt"),
    Column("half_missing", "list<int32>", "samples with alt and a missing allele"),
    Column("missing", "list<int32>", "samples without a called allele"),
)
_SAMPLE = Column("sample", "string", "name of the sample")
_CALL = (
    Column("alt_copies", "int32", "copies of alt in the call", "alleles"),
    Column("allele_numbers", "list<int32>", "alleles of the call: 0 is ref, NULL a missing one"),
    Column("phased", "bool", "all alleles are in haplotype order; NULL for a call of one allele"),
)
_GT = Column("gt", "string", "the call as the file writes it; NULL where the line has no GT")
_FORMAT_REST = Column(
    "format_rest", "string", "FORMAT fields that no other column holds, as KEY=value"
)
_SAMPLES = (
    _SAMPLE,
    Column("number", "int32", "number of the sample in genotypes: dense, from 0, never changed"),
    Column("population", "string", "code of the population in the panel"),
    Column("super_population", "string", "code of the super-population in the panel"),
    Column("sex", "string", "male or female, as the panel says"),
    Column("objects", "list<string>", "objects that hold calls of the sample"),
)
_DOCS = {
    "variants": "One row per alternate allele, in file order.",
    "genotypes": "One row per alternate allele of lines with genotypes: who carries it.",
    "calls": "One row per call and allele carried that is not homozygous reference, by sample.",
    "entries": "One row per alternate allele and sample, reference calls too, in file order.",
    "samples": "One row per sample.",
}


def draft(name: str, sources: Sequence[SourceObject], facts: Mapping[str, str]) -> str:
    """The text of a catalog file for the dataset `name`, of the tables that `sources` fill.

    `facts` are title, license, citation, homepage and assembly, where the user gives them;
    `normalise` asks for normalised alleles, `reference` for left-aligned ones. Raises `BadSource`
    where two files define one field differently.
    """
    headers = [(source.uri, _header(source)) for source in sources]
    tables = _tables(name, any(header.samples for _, header in headers))
    if facts.get("normalise") or facts.get("reference"):
        tables["variants"] = _normalised(tables["variants"], facts.get("reference", ""))
    for uri, header in headers:
        tables = {key: replace(t, columns=widened(t, header, uri)) for key, t in tables.items()}
    assembly = facts.get("assembly") or _assembly(headers)
    return "\n".join(_yaml(name, tables, facts, assembly, [uri for uri, _ in headers])) + "\n"


def widen(dataset: Dataset, source: SourceObject) -> dict[str, tuple[Column, ...]]:
    """The columns that tables of `dataset` lack for the fields of `source`, by table.

    Only of tables whose columns are the header's. Raises `BadSource` that names both definitions
    where the header contradicts a column.
    """
    tables = [table for table in dataset.tables.values() if from_header(table)]
    if not tables:
        return {}
    header = _header(source)
    new = {t.name: widened(t, header, source.uri)[len(t.columns) :] for t in tables}
    return {name: columns for name, columns in new.items() if columns}


def widened(table: Table, header: Header, uri: str) -> tuple[Column, ...]:
    """The columns of `table`, then those that the fields of `header` need."""
    kind = {"variants": "INFO", "entries": "FORMAT"}.get(table.options.get("role", table.name))
    if kind is None or not from_header(table):
        return table.columns
    return (*table.columns, *missing(table, header, uri, kind=kind))


def _header(source: SourceObject) -> Header:
    from lakeq.formats._vcf_lines import VcfText

    text = VcfText(source)
    text.close()
    return text.header


def _assembly(headers: Sequence[tuple[str, Header]]) -> str:
    from lakeq.formats.vcf import proven_assembly

    found = {proven_assembly(header): uri for uri, header in headers}
    found.pop("", None)
    if len(found) > 1:
        what = f"the files are of several assemblies: {', '.join(found)}"
        raise BadSource(what, " and ".join(found.values()), "make a dataset of each")
    return next(iter(found), "")


def _tables(name: str, genotypes: bool) -> dict[str, Table]:
    counts = (*_COUNTS, *(_KINDS if genotypes else ()))
    columns = {"variants": (*_SITE, *counts, *_REST_OF_SITE, _INFO_REST)}
    if genotypes:
        columns["genotypes"] = (*_SITE, *_GENOTYPES)
        columns["calls"] = (_SAMPLE, *_SITE, *_CALL)
        columns["entries"] = (*_SITE, _SAMPLE, *_CALL, _GT, _FORMAT_REST)
        columns["samples"] = _SAMPLES
    return {key: _table(name, key, columns[key]) for key in columns}


def _normalised(table: Table, reference: str) -> Table:
    """`table` with the columns of normalised alleles behind those of the site."""
    columns = (*table.columns[: len(_SITE)], *_NORMAL, *table.columns[len(_SITE) :])
    options = {**table.options, **({"reference": reference} if reference else {})}
    return replace(table, columns=columns, options=options)


def _table(dataset: str, name: str, columns: tuple[Column, ...]) -> Table:
    sort = {"calls": ("sample", "pos", "alt_index"), "samples": ("number",)}
    return Table(
        dataset,
        name,
        _DOCS[name],
        "vcf",
        columns,
        partition_by=() if name == "samples" else ("contig",),
        sort_by=sort.get(name, ()),
        options={OPTION: HEADER} if name in ("variants", "entries") else {},
    )


def _yaml(
    name: str, tables: Mapping[str, Table], facts: Mapping[str, str], assembly: str, uris: list[str]
) -> Iterator[str]:
    yield "# Written by lakeq catalog new from the headers of:"
    yield from (f"#   {uri}" for uri in uris[:20])
    yield f"dataset: {name}"
    yield f"title: {_quoted(facts.get('title') or name)}"
    yield f"doc: {_quoted(facts.get('doc') or 'VCF files of our own.')}"
    yield f"license: {_quoted(facts.get('license') or 'internal')}"
    yield f"citation: {_quoted(facts.get('citation') or 'none yet')}"
    yield f"homepage: {_quoted(facts.get('homepage') or 'https://example.org')}"
    if assembly:
        yield f"assembly: {_quoted(assembly)}"
    yield ""
    yield "tables:"
    for key, table in tables.items():
        yield f"  {key}:"
        yield f"    doc: {_quoted(table.doc)}"
        yield "    format: vcf"
        for part, names in (("partition_by", table.partition_by), ("sort_by", table.sort_by)):
            if names:
                yield f"    {part}: [{', '.join(names)}]"
        if table.options:
            options = ", ".join(f"{key}: {_quoted(v)}" for key, v in table.options.items())
            yield f"    options: {{{options}}}"
        yield "    columns:"
        yield from (line_of(column, "      ") for column in table.columns)


def line_of(column: Column, indent: str) -> str:
    """A column as a line of a catalog file."""
    unit = f", unit: {column.unit}" if column.unit else ""
    source = f", source: {_quoted(column.source)}" if column.source else ""
    what = f"type: {_quoted(column.type)}{unit}{source}, doc: {_quoted(column.doc)}"
    return f"{indent}{column.name}: {{{what}}}"


def _quoted(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return json.dumps(clean, ensure_ascii=False)
