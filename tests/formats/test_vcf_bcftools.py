"""Every field of every real file equals what bcftools prints."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pytest

from lakeq.errors import BadSource
from lakeq.formats import ReadContext, vcf
from lakeq.formats._vcf_header import Header
from lakeq.storage import local_source
from tests.support import bcftools
from tests.support.data import name, real_file, real_files
from tests.support.vcf_fields import (
    MISFIT,
    decoded,
    expected,
    header_of,
    own_dataset,
    own_tables,
    same,
    samples,
    sites,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table

FOLDERS = ("thousand_genomes", "clinvar", "giab", "gnomad_exac", "callers", "callers/edge")
BLANKS = "brca_exchange.ClinVar.GRCh38.vcf"  # blanks instead of tabs: bcftools reads it neither
KINDS = (".vcf", ".vcf.gz", ".bcf", ".bgz")
FILES = [
    path
    for folder in FOLDERS
    for path in real_files(f"genomics/{folder}/*")
    if path.name.endswith(KINDS) and path.name != BLANKS
]
COHORT = 100  # samples; larger cohorts are read in the soak tests
RECORDS = 1500  # of each file are compared here, all of them in the soak tests

every = pytest.mark.parametrize("path", FILES, ids=name)


def difference(path: Path, where: str, found: Any, wanted: Any) -> str:
    return f"{path.name}, {where}: lakeq has {found!r}, bcftools {wanted!r}"


def alternates(alt: str) -> list[str | None]:
    return [None] if alt == "." else list(alt.split(","))


def kept_otherwise(kept: str | None, want: Any) -> bool:
    """Whether the rest keeps a value that does not fit, or that bcftools itself has changed.

    It cuts 37.5 in an integer field to 37, and prints NaN and infinities its own way.
    """
    if kept is None:
        return False
    return want is MISFIT or bool(re.search(r"\d\.\d|nan|inf", kept, re.IGNORECASE))


@every
def test_every_field_equals_bcftools(path: Path) -> None:
    first = difference_in(path, RECORDS)
    assert first is None, first


@pytest.mark.soak
@every
def test_every_field_of_every_record_equals_bcftools(path: Path) -> None:
    first = difference_in(path, None)
    assert first is None, first


def difference_in(path: Path, records: int | None) -> str | None:
    """The first difference in the fields of one file."""
    source = local_source(path)
    header = header_of(source)
    cohort = len(header.samples) > COHORT
    tables = own_tables(source, ("variants",) if cohort else ("variants", "entries"))
    found = next(different_sites(path, header, tables["variants"], records), None)
    if found is None and cohort and records is None:
        return different_cohort(path, header)
    if found is None and "entries" in tables:
        found = next(different_entries(path, header, tables["entries"], records), None)
    return found


def different_sites(  # noqa: C901  # one walk over everything that a record says
    path: Path, header: Header, rows: pa.Table, records: int | None
) -> Any:
    keys = list(header.info)
    known = sites(path, keys, records)
    total, rows = rows.num_rows, rows.slice(0, sum(len(alternates(r[4])) for r in known))
    columns = columns_of(rows, "INFO", keys)
    fixed = {c: rows[c].to_pylist() for c in rows.column_names if not c.startswith("info_")}
    rest = rows["info_rest"].to_pylist()
    escaped = header.version >= "4.3"
    row = 0
    for record in known:
        chrom, pos, id_, ref, alt, qual, filter_, info = record[:8]
        alts = alternates(alt)
        for place, allele in enumerate(alts, 1):
            where = f"{chrom}:{pos} {ref}>{allele}"
            if row == rows.num_rows:
                yield difference(path, where, "no row", "a record")
                return
            found = (
                fixed["source_contig"][row] or fixed["contig"][row],
                fixed["pos"][row], fixed["id"][row] or ".", fixed["ref"][row] or ".",
                fixed["alt"][row],
                fixed["filter"][row] or ".",
            )  # fmt: skip
            wanted = (chrom, int(pos), id_, ref, allele, filter_)
            if found != wanted:
                yield difference(path, where, found, wanted)
            number = None if qual.strip("-") in (".", "nan", "inf") else float(qual)
            if not same(fixed["qual"][row], number):
                yield difference(path, f"{where}, QUAL", fixed["qual"][row], qual)
            kept = dict(item.partition("=")[::2] for item in (rest[row] or "").split(";"))
            n = 0 if alt == "." else len(alts)
            for key, text in zip(keys, record[8:], strict=True):
                value = columns[key][row]
                want = expected(text, header.info[key], n, place if n else 0, escaped=escaped)
                if header.info[key].type == "Flag":
                    value = value or None
                ok = value is None and kept_otherwise(kept.get(key), want)
                ok = ok or same(value, want)
                if not ok:
                    yield difference(path, f"{where}, INFO/{key}", value, text)
            for item in info.split(";"):
                key, _, text = item.partition("=")
                if key not in header.info and item != "." and kept.get(key) != text:
                    yield difference(path, f"{where}, INFO/{key}", kept.get(key), text)
            row += 1
    if records is None and row != total:
        yield difference(path, "the end", total, row)


def columns_of(rows: pa.Table, kind: str, keys: list[str]) -> dict[str, list[Any]]:
    """The values of the column of each key; columns stand in the order of the header."""
    prefix = "info_" if kind == "INFO" else ""
    if kind == "INFO":
        names = [c for c in rows.column_names if c.startswith(prefix) and c != "info_rest"]
    else:
        start = rows.column_names.index("format_rest") + 1
        names = [c for c in rows.column_names[start:] if not c.endswith("_all")]
    return {key: rows[c].to_pylist() for key, c in zip(keys, names, strict=True)}


def different_cohort(path: Path, header: Header) -> str | None:
    """The first difference in the entries of a cohort, a thousand records at a time.

    Fields are compared as text: [%KEY] of bcftools against the list of the first alternate allele.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        source = local_source(path)
        dataset = own_dataset([source], folder)
        wanted = {"entries": dataset.tables["entries"]}
        keys = [key for key in header.format if key != "GT"]
        names = dict(zip(keys, field_columns(wanted["entries"]), strict=True))
        lines = bcftools.lines(path, "[%ALT\t%GT\t" + "".join(f"%{key}\t" for key in keys) + "\n]")
        for batch in vcf.read(source, wanted, ReadContext(dataset, folder)):
            first = pc.less_equal(pc.fill_null(batch.rows["alt_index"], 1), 1)
            rows = batch.rows.filter(first)
            alts = rows["alt"].to_pylist()
            columns = [rows["gt"].to_pylist(), *(rows[names[key]].to_pylist() for key in keys)]
            for row, alt in enumerate(alts):
                known, genotype, *texts = next(lines).split("\t")[:-1]
                if (columns[0][row] or ".") != genotype:
                    return difference(path, f"row {row}, GT", columns[0][row], genotype)
                n = 0 if known == "." else known.count(",") + 1
                for key, text, column in zip(keys, texts, columns[1:], strict=True):
                    definition = header.format[key]
                    want = expected(text, definition, n, 1 if alt else 0, escaped=False)
                    if want is not MISFIT and not same(column[row], want):
                        return difference(path, f"row {row}, {key}", column[row], text)
    return None


def field_columns(table: Table) -> list[str]:
    """The columns of FORMAT fields in the header's order, without those that hold all values."""
    return [c.name for c in table.columns if c.source and not c.source.endswith("/all")]


def different_entries(path: Path, header: Header, rows: pa.Table, records: int | None) -> Any:
    keys = [key for key in header.format if key != "GT"]
    fixed = sites(path, [], records)
    count = len(header.samples) * sum(len(alternates(site[4])) for site in fixed)
    total, rows = rows.num_rows, rows.slice(0, count)
    columns = columns_of(rows, "FORMAT", keys)
    gt, rest, sample = (rows[c].to_pylist() for c in ("gt", "format_rest", "sample"))
    escaped = header.version >= "4.3"
    asked = ["GT", *keys] if "GT" in header.format else keys
    row = 0
    for site, record in zip(fixed, samples(path, asked, records), strict=True):
        alts = alternates(site[4])
        n = 0 if site[4] == "." else len(alts)
        for place in range(1, len(alts) + 1):
            for s, who in enumerate(header.samples):
                texts = dict(zip(asked, record[s * len(asked) :], strict=False))
                where = f"{site[0]}:{site[1]}, sample {who}"
                if sample[row] != who:
                    yield difference(path, where, sample[row], who)
                if "GT" in texts and (gt[row] or ".") != texts["GT"]:
                    yield difference(path, f"{where}, GT", gt[row], texts["GT"])
                kept = dict(item.partition("=")[::2] for item in (rest[row] or "").split(";"))
                for key in keys:
                    definition, value = header.format[key], columns[key][row]
                    want = expected(texts[key], definition, n, place if n else 0, escaped=escaped)
                    ok = value is None and kept_otherwise(kept.get(key), want)
                    ok = ok or same(value, want)
                    if not ok:
                        yield difference(path, f"{where}, FORMAT/{key}", value, texts[key])
                row += 1
    if records is None and row != total:
        yield difference(path, "the end", total, row)


def test_columns_separated_by_blanks_are_refused() -> None:
    source = local_source(real_file(f"genomics/clinvar/{BLANKS}"))
    with pytest.raises(BadSource, match="separated by tabs"):
        own_tables(source)


def test_percent_encoding_of_the_expected_values() -> None:
    assert decoded("a%3Ab%2c%41%25") == "a:b,%41%"
