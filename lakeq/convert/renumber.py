"""The table of samples again, from the headers of the objects that were ingested.

Numbers of samples stand in the genotypes of every object, so a table that is only likely to be the
same will not do: what is made again is taken if it is the lost file to the byte, by its checksum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations
from typing import TYPE_CHECKING

from lakeq import convert, formats, types
from lakeq.convert.samples import Known, Panels, Roster

if TYPE_CHECKING:
    from lakeq.catalog import Dataset, Table
    from lakeq.lake import IcebergLake
    from lakeq.storage import Storage

ORDERS = 120  # of ingests that are tried: all of up to five objects


@dataclass(frozen=True, slots=True)
class _Header:
    """The samples of one object, and the panel that it was ingested with."""

    uri: str
    names: tuple[str, ...]
    panel: str | None


def restore(
    lake: IcebergLake,
    storage: Storage,
    dataset: Dataset,
    table: Table,
    lost: Mapping[str, Sequence[str]],
) -> bool:
    """Put the lost files of the dataset's samples back; `lost` has what each held, by path.

    False when no order of the objects gives them. Raises what storage and format raise for an
    object or a panel that cannot be read.
    """
    headers = list(_headers(lake, storage, dataset))
    return all(_restored(lake, storage, dataset, table, *one, headers) for one in lost.items())


def _headers(lake: IcebergLake, storage: Storage, dataset: Dataset) -> Iterator[_Header]:
    tables = tuple(dataset.tables.values())
    readers = (formats.get(table.format) for table in tables if table.format)
    reader = next((found for found in readers if hasattr(found, "sample_names")), None)
    if reader is None:
        return
    for uri, way in sorted(lake.ways(dataset.name).items()):
        options, panel = convert.decoded_way(way)
        names = reader.sample_names(storage.source(uri, tables))
        kept = options.samples
        yield _Header(uri, tuple(n for n in names if kept is None or n in kept), panel)


def _restored(
    lake: IcebergLake,
    storage: Storage,
    dataset: Dataset,
    table: Table,
    path: str,
    sources: Sequence[str],
    headers: Sequence[_Header],
) -> bool:
    with lake.session() as session:
        for order in islice(permutations(headers), ORDERS):
            roster = _roster(storage, dataset, order)
            for source in sources:
                writer = lake.writer(table, session).open(source, (), 0)
                writer.write(roster.rows(types.arrow_schema(table)))
                if lake.restore(path, writer.close()):
                    return True
    return False


def _roster(storage: Storage, dataset: Dataset, headers: Sequence[_Header]) -> Roster:
    known = Known({}, {}, 0)
    roster = Roster(known)
    for header in headers:
        source = storage.source(header.uri, tuple(dataset.tables.values()))
        panel = Panels.of(dataset, storage, header.panel).for_object(source, header.names, known)
        enrolled = roster.enroll(header.names, panel, header.uri)
        known = replace(known, samples={**known.samples, **enrolled})
    return roster
