"""Every field of a VCF as bcftools prints it, beside the tables that lakeq makes of the header."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakeq import catalog
from lakeq.catalog import Dataset
from lakeq.formats import ReadContext, ReadOptions, vcf
from lakeq.formats._vcf_columns import parts
from lakeq.formats._vcf_header import FieldDefinition, Header
from lakeq.formats._vcf_lines import VcfText
from lakeq.storage import SourceObject
from lakeq.types import arrow_schema
from tests.support import bcftools

ESCAPES = {
    "3A": ":",
    "3B": ";",
    "3D": "=",
    "25": "%",
    "2C": ",",
    "0D": "\r",
    "0A": "\n",
    "09": "\t",
}


def own_dataset(sources: Sequence[SourceObject], folder: Path, **facts: str) -> Dataset:
    """The dataset that `lakeq catalog new own` writes for `sources`."""
    path = folder / "own.yaml"
    path.write_text(vcf.draft("own", sources, facts), "utf-8")
    return catalog.check(path)


def own_tables(
    source: SourceObject,
    names: Sequence[str] = ("variants", "entries"),
    notes: dict[str, int] | None = None,
    options: ReadOptions | None = None,
) -> dict[str, pa.Table]:
    """The tables of one file, with the columns of its header."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        dataset = own_dataset([source], folder)
        chosen = {name: dataset.tables[name] for name in names if name in dataset.tables}
        batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in chosen}
        context = ReadContext(dataset, folder / "work", options=options or ReadOptions())
        for batch in vcf.read(source, chosen, context):
            assert batch.rows["contig"].unique().to_pylist() == list(batch.partition)
            batches[batch.table].append(batch.rows)
        if notes is not None:
            notes.update(context.notes)
        return {name: plain(parts, arrow_schema(chosen[name])) for name, parts in batches.items()}


def plain(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The rows of some batches; texts may come as dictionaries."""
    if not batches:
        return schema.empty_table()
    return pa.concat_tables([pa.Table.from_batches([batch]).cast(schema) for batch in batches])


def header_of(source: SourceObject) -> Header:
    text = VcfText(source)
    text.close()
    return text.header


Expected = Any


def _absent(part: str, escaped: bool) -> str | None:
    return None if part in ("", ".") else decoded(part) if escaped else part


MISFIT = object()  # a value that does not fit its definition: NULL, and kept in the rest


def expected(
    text: str, definition: FieldDefinition, alts: int, allele: int, *, escaped: bool
) -> Expected:
    """What the row of `allele` (0 for none) holds of a field that bcftools prints as `text`."""
    if text in (".", ""):
        return None
    if definition.type == "Flag":
        return True
    values = text.split(",")
    if definition.key in ("ANN", "CSQ", "vep"):
        read = [[_absent(part, escaped) for part in value.split("|")] for value in values]
        return MISFIT if any(len(part) > len(parts(definition)) for part in read) else read
    own = split(values, definition.number, alts, allele)
    if own is None:
        return MISFIT
    read_values = [scalar(value, definition.type, escaped=escaped) for value in own]
    if MISFIT in read_values:
        return MISFIT
    return read_values[0] if definition.number in ("1", "A") else read_values


def split(values: list[str], number: str, alts: int, allele: int) -> list[str] | None:
    """The values that belong to one alternate allele; None where there are too few or too many."""
    if number == "G":
        return genotypes(values, alts, allele) or None
    counts = {"A": max(alts, 1), "R": alts + 1}
    wanted = int(number) if number.isdigit() else counts.get(number)
    if wanted is not None and len(values) != wanted:
        return None
    if number == "A":
        return [values[max(allele - 1, 0)]]
    if number == "R":
        return [values[0], *([values[allele]] if allele else [])]
    return values


def genotypes(values: list[str], alts: int, allele: int) -> list[str]:
    """The values of the genotypes of ref and one alternate allele, in order."""
    for ploidy in (2, 1, 3, 4):
        pairs = list(ordered(alts, ploidy))
        if len(pairs) == len(values):
            return [v for v, g in zip(values, pairs, strict=True) if set(g) <= {0, allele}]
    return []


def ordered(alts: int, ploidy: int) -> Iterator[tuple[int, ...]]:
    """The genotypes of one ploidy in the order of VCF section 1.6.2."""
    if ploidy == 0:
        yield ()
        return
    for last in range(alts + 1):
        for before in ordered(last, ploidy - 1):
            yield (*before, last)


def scalar(text: str, type_: str, *, escaped: bool) -> Any:
    if text in (".", ""):
        return None
    if type_ == "Integer":
        return int(text)
    if type_ == "Float":
        value = float(text)
        return value if math.isfinite(value) else MISFIT
    return decoded(text) if escaped else text


def decoded(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join(ESCAPES.get(part[:2].upper(), "%" + part[:2]) + part[2:] for part in rest)


def same(found: Any, wanted: Any) -> bool:
    """Whether a value is what bcftools printed, whose floats have six digits of 32-bit ones."""
    if isinstance(found, dict):
        return same(list(found.values())[: len(wanted)], wanted)
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) >= len(wanted)
            and not any(found[len(wanted) :])
            and all(same(a, b) for a, b in zip(found, wanted, strict=False))
        )
    if isinstance(wanted, float) and isinstance(found, float):
        narrow = struct.unpack("f", struct.pack("f", found))[0]
        return math.isclose(narrow, wanted, rel_tol=5.1e-6, abs_tol=1e-44)
    return bool(found == wanted) and (found is None) == (wanted is None)


def sites(path: Path, keys: Sequence[str], records: int | None = None) -> list[list[str]]:
    """CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO and then each INFO key of every record."""
    fixed = "%CHROM\t%POS\t%ID\t%REF\t%ALT\t%QUAL\t%FILTER\t%INFO"
    return bcftools.query(path, fixed + "".join(f"\t%INFO/{key}" for key in keys), first=records)


def samples(path: Path, keys: Sequence[str], records: int | None = None) -> list[list[str]]:
    """For every record each FORMAT key of each sample, sample by sample."""
    return bcftools.query(path, "[" + "".join(f"%{key}\t" for key in keys) + "]", first=records)
