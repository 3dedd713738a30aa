"""Rows that tell less than the lake knows already: they are not taken.

Some formats can tell what an object is from its first bytes: the 16 KiB that the volumes table of a
radar needs. Such an outline must not take the place of the row that a whole reading made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lakeq.catalog import SOURCE_COLUMN

if TYPE_CHECKING:
    from lakeq.convert.things import Identities, Things
    from lakeq.formats import Format, Outline
    from lakeq.lake import IcebergLake
    from lakeq.storage import SourceObject


def outline_of(reader: Format | None, tables: Collection[str]) -> Outline | None:
    """What the format says of outlines, where reading these tables alone makes one."""
    outline: Outline | None = getattr(reader, "OUTLINE", None)
    return outline if outline is not None and set(tables) == {outline.table} else None


def fuller(
    lake: IcebergLake,
    things: Things,
    identities: Identities,
    outline: Outline,
    sources: Sequence[SourceObject],
) -> dict[str, str]:
    """Objects of which an outline would tell less than the lake does, and what stays instead.

    That is the object's own row, unless the object is of another version by now, or the row of
    another object of the same thing.
    """
    told = {source.uri: identities.of(source.uri) for source in sources}
    keys = {uri: one.key for uri, one in told.items() if one is not None and not one.part}
    whole: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for path in sorted(things.paths(keys.values(), outline.table)):
        rows = lake.read_file(path).select([SOURCE_COLUMN, outline.version, outline.whole])
        for row in rows.to_pylist():
            key = identities.key(row[SOURCE_COLUMN])
            if key is not None and row[outline.whole] is not None:
                whole[key][row[SOURCE_COLUMN]] = row[outline.version]
    found = {}
    for source in sources:
        known = whole.get(keys.get(source.uri, ""), {})
        if source.uri in known:
            if known[source.uri] == source.version:
                found[source.uri] = source.uri
        elif known:
            found[source.uri] = next(iter(known))
    return found
