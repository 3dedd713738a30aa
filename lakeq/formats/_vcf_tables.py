"""The `variants` and `genotypes` tables of a VCF: one Arrow column per catalog column.

A column with a source is an INFO field; every other is one that the format defines, listed in
`_COMMON`, `_VARIANTS` and `_GENOTYPES`, or a count within a population (`ac_eur`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.errors import BadCatalog
from lakeq.formats import TableBatch, _arrow
from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_fields import FieldReader, missing_blanked, strings
from lakeq.formats._vcf_rows import BatchRows

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from lakeq.catalog import Column, Dataset, Table

Build = Callable[[BatchRows], Any]
COUNT_PREFIXES = ("ac_", "an_", "af_")
INFO = "INFO/"
OWN_INFO_KEYS = ("END", "AC", "AN")  # what end_pos, and ac and an without genotypes, are made of


def info_keys(tables: Collection[Table]) -> tuple[str, ...]:
    """The INFO keys that the columns of `tables` are made of, each once."""
    named = [c.source.removeprefix(INFO) for t in tables for c in t.columns if _is_info(c)]
    return tuple(dict.fromkeys([*named, *OWN_INFO_KEYS]))


def _is_info(column: Column) -> bool:
    return column.source.startswith(INFO)


class TableBuilder:
    """Builds the batches of one table from batches of rows."""

    def __init__(self, table: Table, dataset: Dataset, *, genotypes: bool) -> None:
        """`genotypes`: only rows whose line has genotypes, as the genotypes table wants."""
        from lakeq.types import arrow_schema

        self._table = table
        self._genotypes = genotypes
        self._schema = arrow_schema(table)
        known = {**_COMMON, **(_GENOTYPES if genotypes else _VARIANTS)}
        codes = {p.code.lower() for p in dataset.populations}
        self._builders = [_builder(table, c, known, codes) for c in table.columns]

    def batches(self, rows: BatchRows) -> Iterator[TableBatch]:
        """The table's rows of one batch, one `TableBatch` for each run of a contig."""
        import pyarrow as pa

        keep = rows.called[rows.line] if self._genotypes else None
        if keep is not None and not keep.any():
            return
        arrays = [
            _arrow.as_type(build(rows), field.type) if build else _info(rows, column, field.type)
            for build, column, field in zip(
                self._builders, self._table.columns, self._schema, strict=True
            )
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        for segment in rows.segments:
            part = batch.slice(segment.first_row, segment.stop_row - segment.first_row)
            if keep is not None and not keep.all():
                part = part.filter(_arrow.numbers(keep[segment.first_row : segment.stop_row]))
            if part.num_rows:
                yield TableBatch(self._table.name, (segment.contig,), part)


def _builder(
    table: Table, column: Column, known: Mapping[str, Build], codes: Collection[str]
) -> Build | None:
    """What makes `column`; None for an INFO field."""
    if _is_info(column):
        return None
    if column.name in known and not column.source:
        return known[column.name]
    prefix, code = column.name[:3], column.name[3:]
    if prefix in COUNT_PREFIXES and code in codes and not column.source:
        return _population_count(prefix, code)
    raise BadCatalog(
        f"the vcf format has no column {column.name!r} of source {column.source!r}",
        table.qualified,
        "give it a source INFO/KEY, or choose from: " + ", ".join(sorted(known)),
    )


def _info(rows: BatchRows, column: Column, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa

    key = column.source.removeprefix(INFO)
    spans = rows.info[key]
    if type_ == pa.bool_():
        present = spans.size >= 0
        defined = key in rows.facts.header.info
        return _arrow.numbers(present, None if defined else present)
    if not np.any(spans.size >= 0):
        return pa.nulls(rows.count, type_)
    rows.check_utf8(spans, rows.where, column.source)
    reader = FieldReader(column.source, rows.facts.number(key), type_, rows.facts.notes)
    return reader.read(spans, rows.alleles, rows.where)


def _contig(rows: BatchRows) -> pa.Array:
    return _per_segment(rows, [s.contig for s in rows.segments])


def _source_contig(rows: BatchRows) -> pa.Array:
    return _per_segment(rows, [s.source if s.source != s.contig else None for s in rows.segments])


def _per_segment(rows: BatchRows, names: list[str | None] | list[str]) -> pa.Array:
    sizes = [s.stop_row - s.first_row for s in rows.segments]
    index = np.repeat(np.arange(len(names), dtype=np.int32), sizes)
    return _arrow.texts(names).take(_arrow.numbers(index))


def _pos(rows: BatchRows) -> pa.Array:
    return _arrow.numbers(rows.batch.lines.pos[rows.line])


def _ref(rows: BatchRows) -> pa.Array:
    return strings(rows.row_field(3))


def _alt(rows: BatchRows) -> pa.Array:
    return strings(rows.alt)


def _alt_index(rows: BatchRows) -> pa.Array:
    index = rows.alleles.alt_index
    return _arrow.numbers(index, index > 0)


def _id(rows: BatchRows) -> pa.Array:
    return strings(missing_blanked(rows.row_field(2)))


def _rs(rows: BatchRows) -> pa.Array:
    spans = rows.field(2)
    numbers = np.empty(len(spans.size), np.int64)
    spans_of.rs_numbers(*spans, numbers)
    own = numbers[rows.line]
    return _arrow.numbers(own, own >= 0)


def _qual(rows: BatchRows) -> pa.Array:
    import pyarrow as pa

    reader = FieldReader("QUAL", "1", pa.float64(), rows.facts.notes)
    return reader.read(rows.row_field(5), rows.alleles, rows.where)


def _filter(rows: BatchRows) -> pa.Array:
    return strings(missing_blanked(rows.row_field(6)))


def _end_pos(rows: BatchRows) -> pa.Array:
    end = rows.batch.lines.pos[rows.line] + rows.row_field(3).size - 1
    if np.any(rows.info["END"].size >= 0):
        stated, known = rows.info_integers("END", "1")
        end = np.where(known, stated, end)
    return _arrow.numbers(end)


def _ac(rows: BatchRows) -> pa.Array:
    return _arrow.numbers(*_ac_values(rows))


def _ac_values(rows: BatchRows) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Copies of each row's allele: from the genotypes, or else as INFO/AC states them."""
    called = rows.called[rows.line]
    values: npt.NDArray[Any] = rows.ac.sum(axis=0)
    known = called
    if not called.all():
        stated, there = rows.info_integers("AC", "A")
        values, known = np.where(called, values, stated), called | there
    return values, known & (rows.alleles.alt_index > 0)


def _an(rows: BatchRows) -> pa.Array:
    return _arrow.numbers(*_an_values(rows))


def _an_values(rows: BatchRows) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Called alleles of each row's site: from the genotypes, or else as INFO/AN states them."""
    called = rows.called[rows.line]
    values: npt.NDArray[Any] = rows.an.sum(axis=0)
    if called.all():
        return values, called
    stated, there = rows.info_integers("AN", "1")
    return np.where(called, values, stated), called | there


def _af(rows: BatchRows) -> pa.Array:
    (ac, ac_known), (an, an_known) = _ac_values(rows), _an_values(rows)
    return _ratio(ac, an, ac_known & an_known)


def _ratio(ac: npt.NDArray[Any], an: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> pa.Array:
    return _arrow.numbers(ac / np.maximum(an, 1), known & (an > 0))


def _population_count(prefix: str, code: str) -> Build:
    """The builder of ac_, an_ or af_ of the samples of one population or super-population.

    NULL when the panel knows no sample of the object: then nobody's population is known.
    """

    def build(rows: BatchRows) -> pa.Array:
        import pyarrow as pa

        columns = rows.facts.groups.columns
        if not columns:
            return pa.nulls(rows.count, pa.int32())
        called = rows.called[rows.line]
        known = called if prefix == "an_" else called & (rows.alleles.alt_index > 0)
        ac, an = rows.of_population(code)
        if prefix == "af_":
            return _ratio(ac, an, known)
        return _arrow.numbers(ac if prefix == "ac_" else an, known)

    return build


def _calls_of(kind: int) -> Build:
    def build(rows: BatchRows) -> pa.Array:
        site = kind == counts_of.MISSING
        known = rows.called[rows.line] & (site | (rows.alleles.alt_index > 0))
        return _arrow.numbers(rows.kind(kind), known)

    return build


def _half_missing_calls(rows: BatchRows) -> pa.Array:
    return _arrow.numbers(rows.half_missing_calls, rows.called[rows.line])


def _samples_of(kind: int) -> Build:
    def build(rows: BatchRows) -> pa.Array:
        lists = rows.lists(kind)
        array = _arrow.lists(lists.offsets, _arrow.numbers(lists.samples))
        if kind == counts_of.MISSING and rows.count > rows.batch.rows and len(lists.samples):
            array = array.take(_arrow.numbers(rows.first_row[:-1][rows.line]))
        return array

    return build


def _het_phase(rows: BatchRows) -> pa.Array:
    lists = rows.lists(counts_of.HET, haplotypes=True)
    return _arrow.lists(lists.offsets, _arrow.numbers(lists.haplotypes))


def _ploidy(rows: BatchRows) -> pa.Array:
    ploidy = rows.batch.lines.ploidy[rows.line]
    return _arrow.numbers(ploidy, (ploidy > 0) & (rows.an.sum(axis=0) > 0))


_COMMON: Mapping[str, Build] = {
    "contig": _contig,
    "pos": _pos,
    "ref": _ref,
    "alt": _alt,
    "alt_index": _alt_index,
}
_VARIANTS: Mapping[str, Build] = {
    "ac": _ac,
    "an": _an,
    "af": _af,
    "rs": _rs,
    "id": _id,
    "end_pos": _end_pos,
    "qual": _qual,
    "filter": _filter,
    "n_het": _calls_of(counts_of.HET),
    "n_hom_alt": _calls_of(counts_of.HOM_ALT),
    "n_hemi": _calls_of(counts_of.HEMI),
    "n_missing": _calls_of(counts_of.MISSING),
    "n_half_missing": _half_missing_calls,
    "source_contig": _source_contig,
}
_GENOTYPES: Mapping[str, Build] = {
    "ploidy": _ploidy,
    "n_half_missing": _half_missing_calls,
    "het": _samples_of(counts_of.HET),
    "het_phase": _het_phase,
    "hom_alt": _samples_of(counts_of.HOM_ALT),
    "hemi": _samples_of(counts_of.HEMI),
    "half_missing": _samples_of(counts_of.HALF_MISSING),
    "missing": _samples_of(counts_of.MISSING),
}
