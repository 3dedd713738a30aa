"""Small VCFs in memory, and their tables as rows."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from lakeq import catalog
from lakeq.formats import ReadContext, Sample, vcf
from lakeq.storage import SourceObject, local_source
from lakeq.types import arrow_schema

Rows = list[dict[str, Any]]
TABLES = ("variants", "genotypes", "calls")


@dataclass(frozen=True)
class Memory:
    """An object that lies in memory."""

    data: bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)

    def read_range(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def memory(data: bytes, uri: str = "memory.vcf") -> SourceObject:
    return SourceObject(uri, len(data), "1", Memory(data))


def text(
    lines: Iterable[str], samples: Sequence[str] = (), header: Iterable[str] = (), end: str = "\n"
) -> bytes:
    """A VCF of `lines`, whose fields are separated by single blanks."""
    fixed = "#CHROM POS ID REF ALT QUAL FILTER INFO" + (" FORMAT" if samples else "")
    columns = " ".join([fixed, *samples])
    body = [columns, *lines]
    return end.join(
        ["##fileformat=VCFv4.2", *header, *(line.replace(" ", "\t") for line in body), ""]
    ).encode()


def arrow(
    source: SourceObject | Path,
    dataset: str = "thousand_genomes",
    names: Sequence[str] = TABLES,
    samples: Mapping[str, Sample] | None = None,
    notes: dict[str, int] | None = None,
) -> dict[str, pa.Table]:
    """Each table, its rows in the order they come."""
    opened = local_source(source) if isinstance(source, Path) else source
    chosen = catalog.load().dataset(dataset)
    batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        context = ReadContext(chosen, Path(folder), samples or {})
        for batch in vcf.read(opened, {name: chosen.tables[name] for name in names}, context):
            assert batch.rows.num_rows > 0
            assert batch.rows["contig"].unique().to_pylist() == list(batch.partition)
            batch.rows.validate(full=True)
            batches[batch.table].append(batch.rows)
        assert not list(Path(folder).iterdir()), "the reader leaves files behind"
    if notes is not None:
        notes.update(context.notes)
    return {
        name: _table(parts, arrow_schema(chosen.tables[name])) for name, parts in batches.items()
    }


def tables(source: SourceObject | Path, **chosen: Any) -> dict[str, Rows]:
    """The rows of each table, in the order they come, as dictionaries."""
    return {name: table.to_pylist() for name, table in arrow(source, **chosen).items()}


def variants(source: SourceObject | Path, **chosen: Any) -> Rows:
    """The rows of variants alone."""
    return tables(source, names=("variants",), **chosen)["variants"]


def panel(path: Path, names: Iterable[str]) -> dict[str, Sample]:
    """Samples numbered as they come, with what the panel file says."""
    told = {}
    for line in path.read_text().splitlines()[1:]:
        name, population, above, sex = line.split("\t")[:4]
        told[name] = (population, above, sex.strip())
    return {name: Sample(name, i, *told.get(name, ())) for i, name in enumerate(names)}


def _table(parts: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The batches as one table; dictionaries of strings become strings."""
    if not parts:
        return schema.empty_table()
    assert [f.name for f in parts[0].schema] == schema.names
    return pa.Table.from_batches(parts).cast(schema)
