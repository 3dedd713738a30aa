"""Columns that a further object brings to a dataset whose columns are those of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lakeq import formats

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.convert.select import Selection
    from lakeq.storage import Storage


def widened(
    dataset: Dataset,
    storage: Storage,
    objects: Sequence[str | Path] | Selection,
    *,
    keep: bool,
) -> Dataset:
    """`dataset` with the columns that `objects` need and it lacks; with `keep` its file too.

    Only a table with the option `fields` grows. Raises what the format raises for an object whose
    fields contradict the columns.
    """
    growing = [table for table in dataset.tables.values() if "fields" in table.options]
    if not growing or not isinstance(objects, Sequence):
        return dataset
    widen = getattr(formats.get(growing[0].format), "widen", None)
    if widen is None:
        return dataset
    for source in storage.expand(objects, tuple(dataset.tables.values())):
        new = widen(dataset, source)
        if new and keep:
            from lakeq.catalog import write as catalog_write

            catalog_write.add_columns(Path(dataset.origin), new)
        tables = {
            name: replace(t, columns=(*t.columns, *(column for column, _ in new.get(name, ()))))
            for name, t in dataset.tables.items()
        }
        dataset = replace(dataset, tables=tables)
    return dataset
