"""The `variants` and `genotypes` tables of a VCF: one Arrow column per catalog column.

A column with a source is an INFO field; every other is one that the format defines, listed in
`_COMMON`, `_VARIANTS` and `_GENOTYPES`, or a count within a population (`ac_eur`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.errors import BadCatalog
from lakeq.formats import TableBatch, _arrow
from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats import _vcf_typed_kernels as kernels
from lakeq.formats._vcf_columns import from_header, parts
from lakeq.formats._vcf_fields import FieldReader, as_utf8, missing_blanked, strings
from lakeq.formats._vcf_normal import COLUMNS, Normaliser
from lakeq.formats._vcf_rows import BatchRows
from lakeq.formats._vcf_sex import COLUMNS as SEX_COLUMNS
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_typed import TypedField, read_flag

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from lakeq.catalog import Column, Dataset, Table

Build = Callable[[BatchRows], Any]
COUNT_PREFIXES = ("ac_", "an_", "af_")
INFO = "INFO/"
REST = "info_rest"  # the column of INFO items that no other column holds
OWN_INFO_KEYS = ("END", "AC", "AN")  # what end_pos, and ac and an without genotypes, are made of


def info_keys(tables: Collection[Table]) -> tuple[str, ...]:
    """The INFO keys that the columns of `tables` are made of, each once."""
    named = [c.source.removeprefix(INFO) for t in tables for c in t.columns if _is_info(c)]
    return tuple(dict.fromkeys([*named, *OWN_INFO_KEYS]))


def _is_info(column: Column) -> bool:
    return column.source.startswith(INFO)


class TableBuilder:
    """Builds the batches of one table from batches of rows."""

    def __init__(
        self,
        table: Table,
        dataset: Dataset,
        *,
        genotypes: bool,
        normaliser: Normaliser | None = None,
    ) -> None:
        """`genotypes`: only rows whose line has genotypes, as the genotypes table wants."""
        from lakeq.types import arrow_schema

        self._table = table
        self._genotypes = genotypes
        self._schema = arrow_schema(table)
        known = {**_COMMON, **(_GENOTYPES if genotypes else _VARIANTS)}
        if normaliser is not None:
            known |= {name: partial(normaliser.column, name) for name in COLUMNS}
        codes = {p.code.lower() for p in dataset.populations}
        self._builders = [_builder(table, c, known, codes) for c in table.columns]
        self._from_header = from_header(table)
        self._rest = [i for i, c in enumerate(table.columns) if c.name == REST and not c.source]
        self._keys = [c.source.removeprefix(INFO) for c in table.columns if _is_info(c)]

    def batches(self, rows: BatchRows) -> Iterator[TableBatch]:
        """The table's rows of one batch, one `TableBatch` for each run of a contig."""
        import pyarrow as pa

        keep = rows.called[rows.line] if self._genotypes else None
        if keep is not None and not keep.any():
            return
        info = _typed_info if self._from_header else _info
        arrays = [
            _arrow.as_type(build(rows), field.type) if build else info(rows, column, field.type)
            for build, column, field in zip(
                self._builders, self._table.columns, self._schema, strict=True
            )
        ]
        for place in self._rest:  # known only when all other columns are
            arrays[place] = _info_rest(rows, self._keys)
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


def _typed_info(rows: BatchRows, column: Column, type_: pa.DataType) -> pa.Array:
    """A column that the header's definition types; what does not fit is left to the rest."""
    import pyarrow as pa

    key = column.source.removeprefix(INFO)
    spans = rows.info[key]
    defined = rows.facts.header.info.get(key)
    if type_ == pa.bool_():
        values, bad = read_flag(spans, known=defined is not None)
    elif not np.any(spans.size >= 0):
        return pa.nulls(rows.count, type_)
    else:
        spans = rows.utf8(spans, column.source)
        version = rows.facts.header.version
        names = parts(defined) if defined else ()
        reader = TypedField(rows.facts.number(key), type_, version >= "4.3", parts=names)
        values, bad = reader.read(spans, rows.alleles)
    if bad.any():
        rows.mark_unfit(key, bad)
        note = f"{column.source} does not fit its definition: NULL, kept in {REST}"
        rows.facts.notes[note] = rows.facts.notes.get(note, 0) + int(bad.sum())
    return values


def _info_rest(rows: BatchRows, keys: Collection[str]) -> pa.Array:
    """The INFO items of each row that no column holds, as the file writes them; NULL for none."""
    packed = "".join(keys).encode() or b"."
    ends = np.cumsum([len(key.encode()) for key in keys], dtype=np.int32)
    text = rows.field(7)
    bad = rows.unfit[[rows.facts.info_keys.index(key) for key in keys]]
    offsets = np.empty(rows.batch.rows + 1, np.int32)
    out = np.empty(int(np.maximum(text.size, 0).sum()) + 1, np.uint8)
    known, seen = np.frombuffer(bytearray(packed), np.uint8), np.empty(len(ends), bool)
    kernels.rest_of_info(*text, known, ends, bad, seen, offsets, out)
    rest = Spans(out, offsets[:-1].astype(np.int64), np.diff(offsets))
    rest.size[rest.size == 0] = spans_of.ABSENT
    rest, _ = as_utf8(rest)
    return strings(rest.take(rows.line))


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
    return strings(missing_blanked(rows.row_field(3)))


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
    end = rows.batch.lines.pos[rows.line] + np.maximum(rows.row_field(3).size - 1, 0)
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


def _by_sex(column: str) -> Build:
    def build(rows: BatchRows) -> pa.Array:
        ac, an, known = rows.by_sex
        allele = known & (rows.alleles.alt_index > 0)
        if column == "af_by_sex":
            return _ratio(ac, an, allele)
        return _arrow.numbers(*((an, known) if column == "an_by_sex" else (ac, allele)))

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


def _nothing(rows: BatchRows) -> pa.Array:
    """The place of a column that is made last."""
    import pyarrow as pa

    return pa.nulls(rows.count, pa.string())


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
    **{name: _by_sex(name) for name in SEX_COLUMNS},
    REST: _nothing,
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
