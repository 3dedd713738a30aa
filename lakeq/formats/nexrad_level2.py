"""NEXRAD Level II: one volume in, its volumes, sweeps, rays, gates and grid rows out.

Sources: ICD 2620010 (Archive II/User, the file), ICD 2620002 (RDA/RPG, the messages).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lakeq.errors import BadSource

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.formats import ReadContext, TableBatch
    from lakeq.storage import SourceObject

SIDECAR = "_MDM"  # objects of metadata only, which stand beside volumes


def is_volume(key: str) -> bool:
    """Whether an object of the archive bucket is a volume by its name: all but sidecars."""
    return not key.endswith(SIDECAR)


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """Yield the batches of each wanted table of one volume."""
    del tables, context  # nothing is made of them yet
    if is_volume(source.uri):
        raise BadSource("volumes are not read yet", source.uri)
    return iter(())
