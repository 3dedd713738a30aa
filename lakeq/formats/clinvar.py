"""ClinVar: one release in, one row per alternate allele out, in a table per assembly.

Every layout gives the columns of catalogs/clinvar.yaml: the VCF before 2017 (integer codes), the
VCF since 2017, BRCA Exchange's VCF, variant_summary.txt, the full TSV of 2016 and the web export.
What a layout is like stands in `_clinvar_vcf` and `_clinvar_tsv`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from lakeq import types
from lakeq.errors import BadSource
from lakeq.formats import TableBatch, _clinvar_tsv, _clinvar_vcf
from lakeq.formats._clinvar_sort import SortedRows, with_keys
from lakeq.formats._clinvar_vcf import note
from lakeq.formats._text_blocks import Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import ReadContext
    from lakeq.formats._clinvar_columns import Columns
    from lakeq.storage import SourceObject


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """Yield the alleles of a release, sorted, for each wanted table whose assembly it has.

    A release of one assembly gives batches to one table only; to that one at least one, which
    may be empty. Order: significance_rank, contig (1 to 22, X, Y, MT, others by name, none), pos,
    ref, alt; NULLs last. `context.notes` counts rows and assertions that have no place in a
    table, and says when the assembly was told by the file's name. Raises `BadSource` with object,
    line and field for what is not ClinVar, and for an assembly that no wanted table has or that
    nothing tells.
    """
    stream = iter(blocks(source, context.progress))
    first = next(stream)
    is_vcf = first.data.startswith((b"##", b"#CHROM"))
    parts = (_vcf if is_vcf else _tsv)(source, first, stream, tables, context)
    sorters: dict[str, SortedRows] = {}
    for name, rows in parts:
        if name not in sorters:
            schema = with_keys(types.arrow_schema(tables[name]))
            sorters[name] = SortedRows(schema, context.temp_dir / f"{name}.arrow")
        if rows:
            sorters[name].add(_batch(rows, sorters[name].schema))
    for name, sorter in sorters.items():
        yield from _told(name, sorter, tables[name])


def _told(name: str, sorter: SortedRows, table: Table) -> Iterator[TableBatch]:
    import pyarrow as pa

    names = [column.name for column in table.columns]
    empty = True
    for rows in sorter.batches():
        empty = False
        for partition, part in _parted(rows, table.partition_by):
            yield TableBatch(name, partition, part.select(names))
    if empty and not table.partition_by:
        schema = types.arrow_schema(table)
        yield TableBatch(name, (), pa.RecordBatch.from_pylist([], schema))


def _parted(
    rows: pa.RecordBatch, names: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pa.RecordBatch]]:
    """The rows of each combination of values of the columns `names`; "" stands for NULL."""
    import pyarrow.compute as pc

    if not names:
        yield (), rows
        return
    for value in pc.unique(rows[names[0]]):
        its = pc.equal(rows[names[0]], value) if value.is_valid else pc.is_null(rows[names[0]])
        text = str(value.as_py()) if value.is_valid else ""
        for rest, part in _parted(rows.filter(its), names[1:]):
            yield (text, *rest), part


def _vcf(
    source: SourceObject,
    first: Block,
    stream: Iterable[Block],
    tables: Mapping[str, Table],
    context: ReadContext,
) -> Iterator[tuple[str, Columns]]:
    head = _clinvar_vcf.header(first)
    if not head.layout:
        raise BadSource(
            "the VCF has none of ClinVar's INFO fields (CLNSIG, ClinicalSignificance)",
            source.uri,
            "is it of another dataset?",
        )
    left_out = [key for key in head.info if key not in _clinvar_vcf.USED[head.layout]]
    note(context.notes, f"INFO fields not in the catalog: {', '.join(left_out)}", len(left_out))
    if head.spaced:
        note(context.notes, "header line parted by spaces instead of tabs", 1)
    name = _table_of(head.assembly, source.uri, tables, context)
    rest = Block(first.uri, first.line + head.lines, first.data[head.size :])
    yield name, {}
    done = 0
    for block in chain([rest], stream):
        if block.data.strip():
            assembly = tables[name].assembly
            rows, count = _clinvar_vcf.read_block(block, head, assembly, done, context.notes)
            done += count
            yield name, rows


def _tsv(
    source: SourceObject,
    first: Block,
    stream: Iterable[Block],
    tables: Mapping[str, Table],
    context: ReadContext,
) -> Iterator[tuple[str, Columns]]:
    names, size = _clinvar_tsv.header(first)
    layout = _clinvar_tsv.layout(names, f"{source.uri}, line 1")
    by_assembly = {table.assembly: name for name, table in tables.items()}
    if _clinvar_tsv.ASSEMBLY not in layout.required:
        name = _table_of("", source.uri, tables, context)
        by_assembly = {tables[name].assembly: name}
    rest = Block(first.uri, first.line + 1, first.data[size:])
    done, spoken = 0, False
    for block in chain([rest], stream):
        if not block.data.strip():
            continue
        rows = _clinvar_tsv.read_block(block, names, layout, list(by_assembly), done)
        done += rows.count
        note(context.notes, "lines that are not UTF-8, read as Latin-1", rows.foreign)
        for assembly, count in rows.others.items():
            note(context.notes, f"rows of assembly {assembly or '(none)'}, left out", count)
        for assembly, made in rows.made.items():
            spoken = True
            yield by_assembly[assembly], _counted(made, context)
    if not spoken:
        what = f"no row is of assembly {' or '.join(by_assembly)}"
        raise BadSource(what, source.uri, "is it the right object?")


def _counted(rows: Columns, context: ReadContext) -> Columns:
    import pyarrow.compute as pc

    lacking = pc.sum(pc.is_null(rows["ref"])).as_py() if "ref" in rows else len(rows["pos"])
    note(context.notes, "rows without alleles", lacking or 0)
    return rows


def _table_of(assembly: str, uri: str, tables: Mapping[str, Table], context: ReadContext) -> str:
    """The table that an object goes to whose header proves `assembly` ("" for none)."""
    by_assembly = {table.assembly: name for name, table in tables.items()}
    if assembly and assembly not in by_assembly:
        wanted = ", ".join(f"{t.qualified} ({t.assembly})" for t in tables.values())
        what = f"the header says assembly {assembly}, the table wanted is {wanted}"
        raise BadSource(what, uri, "name the table of the object's own assembly")
    if assembly:
        return by_assembly[assembly]
    if len(tables) == 1:
        return next(iter(tables))
    for name, table in tables.items():
        if any(fnmatchcase(uri, pattern) for pattern in table.objects):
            return name
    named = {
        a for a in by_assembly if re.search(re.escape(a), uri.rpartition("/")[2], re.IGNORECASE)
    }
    if len(named) == 1:
        told = named.pop()
        note(context.notes, f"assembly {told} taken from the file's name", 1)
        return by_assembly[told]
    choices = " or ".join(table.qualified for table in tables.values())
    raise BadSource("nothing says which genome assembly this is", uri, f"name the table: {choices}")


def _batch(rows: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of exactly the columns of `schema`; what a layout lacks is NULL."""
    import pyarrow as pa

    size = len(rows["contig"])
    arrays = [
        rows[field.name].cast(field.type) if field.name in rows else pa.nulls(size, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
