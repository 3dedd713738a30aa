"""VCF: one object in, the variants, genotypes and calls tables out, in one pass.

Source: VCF 4.1 to 4.5 specifications (https://samtools.github.io/hts-specs/). Objects are text,
gzip or BGZF. What the tables mean is in docs/reference/tables.md; how the text becomes rows:

- every alternate allele is a row; a site without one (ALT is '.') is one row with alt NULL;
- counts come from the genotypes; where a line has none, ac and an are INFO/AC and INFO/AN;
- symbolic alleles, `*` and breakends stay as text;
- a file that breaks off, or a line that breaks the specification in what is read here, is
  refused: half a result is an error too; other deviations are counted, with the first line, or
  under `strict` refused as well (docs/explanation/vcf.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from lakeq import contigs
from lakeq.errors import BadSource
from lakeq.formats._ahead import ahead

if TYPE_CHECKING:
    from lakeq.catalog import Column, Dataset, Table
    from lakeq.formats import ReadContext, TableBatch
    from lakeq.formats._vcf_header import Header
    from lakeq.formats._vcf_lines import VcfText
    from lakeq.formats._vcf_normal import Normaliser
    from lakeq.formats._vcf_select import Selection
    from lakeq.storage import SourceObject

ROLES = ("variants", "genotypes", "calls", "entries")


def draft(name: str, sources: Sequence[SourceObject], facts: Mapping[str, str]) -> str:
    """The text of a catalog file for VCFs of the user's own, with the columns of their headers."""
    from lakeq.formats import _vcf_catalog

    return _vcf_catalog.draft(name, sources, facts)


def widen(dataset: Dataset, source: SourceObject) -> dict[str, list[tuple[Column, str]]]:
    """The columns, each with its line of YAML, that `source` needs and tables of `dataset` lack.

    Only tables with the option `fields: header` grow. Raises `BadSource` that names both
    definitions where the header of `source` contradicts a column.
    """
    from lakeq.formats import _vcf_catalog

    new = _vcf_catalog.widen(dataset, source)
    return {
        table: [(column, _vcf_catalog.line_of(column, "")) for column in columns]
        for table, columns in new.items()
    }


def sample_names(source: SourceObject) -> list[str]:
    """The samples that the header of `source` names, in its order.

    Reads the header only. Raises `BadSource` when there is none.
    """
    from lakeq.formats._tabix import ranged
    from lakeq.formats._vcf_lines import VcfText

    text = VcfText(ranged(source))
    text.close()
    return text.header.samples


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """Yield the batches of each wanted table of one VCF; partitions are contigs.

    Rows of variants and genotypes come in file order, those of calls last, sorted by sample, pos
    and alt_index within a contig. A table's role is its option `role`, or else its name; tables
    of other roles (samples) get no rows here. Memory is bounded by batch: calls wait in files of
    `context.temp_dir`. Raises `BadSource`, which names the line and the field.
    """
    from lakeq.formats._vcf_select import open_text

    wanted = {role: t for role in ROLES for t in tables.values() if _role(t) == role}
    if not wanted:
        return
    if context.options.strict:
        from lakeq.formats._vcf_strict import refuse_deviations

        refuse_deviations(source)
    assembly = next(iter(wanted.values())).assembly or context.dataset.assembly
    text = open_text(source, context, assembly)
    check_assembly(text.header, assembly, source.uri)
    if set(wanted) != {"entries"}:
        with closing(ahead(_read(text, wanted, assembly, context))) as batches:
            yield from batches
        if "entries" not in wanted:
            return
        text = open_text(source, context, assembly)
    from lakeq.formats._vcf_entries import entries

    yield from entries(text, wanted["entries"], assembly, context.notes)


def _read(
    text: VcfText | Selection, wanted: Mapping[str, Table], assembly: str, context: ReadContext
) -> Iterator[TableBatch]:
    from lakeq.formats._vcf_batch import Batches, Groups
    from lakeq.formats._vcf_call_rows import CallsTable
    from lakeq.formats._vcf_columns import from_header
    from lakeq.formats._vcf_lenient import Deviations
    from lakeq.formats._vcf_rows import BatchRows, FileFacts
    from lakeq.formats._vcf_sex import COLUMNS as SEX_COLUMNS
    from lakeq.formats._vcf_tables import TableBuilder, info_keys

    by_sex = any(column.name in SEX_COLUMNS for t in wanted.values() for column in t.columns)
    groups = Groups.of(text.header.samples, context.samples, by_sex=by_sex)
    sites = {role: t for role, t in wanted.items() if role in ("variants", "genotypes")}
    keys = info_keys(sites.values())
    facts = FileFacts(text.uri, text.header, groups, assembly, keys, context.notes)
    facts = replace(facts, by_header=any(from_header(table) for table in wanted.values()))
    _note_unread(text.header, keys, wanted, context)
    builders = [
        TableBuilder(
            t, context.dataset, genotypes=role == "genotypes", normaliser=_normaliser(t, context)
        )
        for role, t in sites.items()
    ]
    calls = CallsTable(wanted["calls"], facts, context.temp_dir) if "calls" in wanted else None
    deviations = Deviations(text.header, context.notes)
    deviations.check_header(text.header_text)
    parsed = ahead(iter(Batches(text, groups, calls.keys if calls else ())))
    try:
        for batch in parsed:
            rows = BatchRows(batch, facts)
            deviations.check(rows)
            for builder in builders:
                yield from builder.batches(rows)
            if calls:
                calls.add(rows)
        if calls:
            yield from calls.batches()
        deviations.report(ended=text.ended, last_line=text.line)
    finally:
        parsed.close()
        text.close()
        if calls:
            calls.close()


def _normaliser(table: Table, context: ReadContext) -> Normaliser | None:
    """What makes the columns norm_pos, norm_ref and norm_alt, where the table has them.

    The table's option `reference` names a FASTA with its .fai; without it alleles are only trimmed.
    """
    from lakeq.formats._fasta import Fasta
    from lakeq.formats._vcf_normal import COLUMNS, Normaliser

    if not any(column.name in COLUMNS for column in table.columns):
        return None
    uri = table.options.get("reference", "")
    return Normaliser(Fasta(uri, context.other) if uri else None)


def _role(table: Table) -> str:
    return table.options.get("role", table.name)


def _note_unread(
    header: Header, keys: Collection[str], wanted: Mapping[str, Table], context: ReadContext
) -> None:
    """Note the INFO fields that the header defines and no column of the catalog holds."""
    unread = sorted(set(header.info) - set(keys))
    if "variants" in wanted and unread:
        context.notes[f"INFO fields not in the catalog: {', '.join(unread)}"] = len(unread)


def proven_assembly(header: Header) -> str:
    """The assembly that a header proves, or ""."""
    if header.lifted_to:
        return contigs.assembly_of({}, header.lifted_to)
    return contigs.assembly_of(header.contig_lengths, header.reference)


def check_assembly(header: Header, assembly: str, uri: str) -> None:
    """Refuse a file whose header proves another assembly than the table's.

    A lifted-over file keeps the contig lines of where it came from; then only the name of its new
    reference counts.
    """
    proven = proven_assembly(header)
    if assembly and proven and proven != assembly:
        raise BadSource(
            f"the header is of assembly {proven}, the table of {assembly}",
            f"{uri}, header",
            f"ingest it into a dataset of {proven}; positions of two assemblies never match",
        )
