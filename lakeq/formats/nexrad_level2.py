"""NEXRAD Level II: one volume in, its volumes, sweeps, rays, gates and grid rows out.

Sources: ICD 2620010 (Archive II/User: the file) and ICD 2620002 (RDA/RPG: the messages). What
the tables mean is in docs/reference/tables.md and docs/explanation/radar.md. An object that is
cut short gives every ray that it has whole, and says so in `complete` and `sweeps_missing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakeq.formats import Outline
from lakeq.formats._nexrad_names import Name, is_volume, named

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import Identity as Identified
    from lakeq.formats import ReadContext, TableBatch
    from lakeq.formats._nexrad_container import Limits
    from lakeq.formats._nexrad_grid import Grid
    from lakeq.formats._nexrad_rows import Batches, Identity
    from lakeq.formats._nexrad_summary import SweepFacts
    from lakeq.formats._nexrad_volume import Sweep, Volume
    from lakeq.storage import SourceObject

ROLES = ("volumes", "sweeps", "rays", "gates", "grid")
HEADS_AT_ONCE = 16
HEAD_BYTES = 16 << 10  # of an object whose volumes row alone is wanted

OUTLINE = Outline("volumes", version="etag", whole="rays")
SUMMARIES = frozenset({"volumes", "sweeps", "grid"})  # tables of which a chunk has no rows

__all__ = [
    "OUTLINE",
    "SUMMARIES",
    "Name",
    "at_once",
    "combine",
    "identity",
    "is_volume",
    "named",
    "read",
]


def identity(uri: str) -> Identified | None:
    """The volume that an object is or is a chunk of, by site and second of its start.

    The archive's volume outranks its chunks. None for objects that are not named so.
    """
    from lakeq.formats import Identity as Identified

    name = named(uri)
    if name is None or not is_volume(uri):
        return None
    key = f"{name.site} {name.time:%Y-%m-%dT%H:%M:%S}"
    if name.chunk is None:
        return Identified(key, rank=1)
    return Identified(key, part=f"{name.chunk:03d}")


def at_once(tables: Mapping[str, Table]) -> int:
    """Of heads alone many may be read at the same time; a whole volume keeps two cores busy."""
    roles = {table.options.get("role", table.name) for table in tables.values()}
    return HEADS_AT_ONCE if roles == {"volumes"} else 2


def combine(
    tables: Mapping[str, Table], parts: Sequence[Mapping[str, pa.Table]]
) -> Iterator[TableBatch]:
    """The rows of a volume in the making, of the chunks that have come."""
    from lakeq.formats import _nexrad_chunks

    yield from _nexrad_chunks.combine(tables, parts)


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """Yield the batches of each wanted table of one volume, in order of time.

    Partitions are site and date. A table's role is its option `role`, or else its name. When only
    volumes are wanted, the first 16 KiB are read and no more. Objects named as sidecars (_MDM)
    give nothing. Memory holds one sweep and a few records. Raises `BadSource`, which names the
    record and the byte.
    """
    wanted = {table.options.get("role", table.name): table for table in tables.values()}
    wanted = {role: table for role, table in wanted.items() if role in ROLES}
    if not is_volume(source.uri):
        context.notes["objects left out: sidecars (_MDM)"] = 1
        return
    name = named(source.uri)
    if wanted and name is not None and name.chunk is not None:
        from lakeq.formats import _nexrad_chunks

        yield from _nexrad_chunks.read(source, wanted, context)
    elif set(wanted) == {"volumes"}:
        yield from _Reading(source, wanted, context).head()
    elif wanted:
        yield from _Reading(source, wanted, context).whole()


class _Reading:
    """One volume on its way into its tables."""

    def __init__(
        self, source: SourceObject, wanted: Mapping[str, Table], context: ReadContext
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._context = context
        self._sweeps: list[SweepFacts] = []
        self._batches: dict[str, Batches] = {}
        self._identity: Identity | None = None
        self._location_source: str | None = None
        self._grid: Grid | None = None

    def _limits(self) -> Limits:
        from lakeq.formats._nexrad_container import Limits

        return Limits.of_tables(self._wanted.values())

    def head(self) -> Iterator[TableBatch]:
        """The volumes row that the first bytes tell."""
        from lakeq.formats._nexrad_volume import read_bytes

        size = min(self._source.size_bytes, HEAD_BYTES)
        data = self._source.read_range(0, size) if size else b""
        self._context.progress(size)
        whole = size == self._source.size_bytes
        volume = read_bytes(data, self._source.uri, self._limits(), threads=1, head=not whole)
        for sweep in volume.sweeps:
            self._summarize(sweep, volume)
        self._name(volume)
        yield self._volume(volume, self._sweeps if whole else None)

    def whole(self) -> Iterator[TableBatch]:
        """The rows of all wanted tables."""
        from lakeq.formats._nexrad_volume import read_stream

        with self._source.open() as stream:
            volume = read_stream(self._source.uri, stream, self._limits(), self._context.progress)
            for sweep in volume.sweeps:
                self._name(volume)
                facts = self._summarize(sweep, volume)
                yield from self._rays(sweep)
                yield from self._gates(sweep, facts)
        self._name(volume)
        yield from self._last(volume)
        for block, count in volume.facts.unknown_blocks.items():
            self._context.notes[f"rays with a block {block}, which is not read"] = count

    def _summarize(self, sweep: Sweep, volume: Volume) -> SweepFacts:
        from lakeq.formats._nexrad_summary import SweepFacts

        facts = SweepFacts.of(sweep, self._sweeps, volume.facts)
        self._sweeps.append(facts)
        return facts

    def _name(self, volume: Volume) -> None:
        """Find out whose volume it is, once the messages before its first ray were read."""
        if self._identity is not None:
            return
        from lakeq.formats._nexrad_grid import Grid
        from lakeq.formats._nexrad_rows import Batches
        from lakeq.formats._nexrad_summary import identity_of, misnamed

        uri = self._source.uri
        self._identity, self._location_source = identity_of(uri, volume.header, volume.facts)
        if misnamed(uri, self._identity):
            self._context.notes["volumes whose name tells another radar or time than they hold"] = 1
        self._batches = {r: Batches(t, self._identity) for r, t in self._wanted.items()}
        if self._identity.place is None:
            self._context.notes["volumes whose radar's place is unknown"] = 1
        elif "grid" in self._wanted:
            self._grid = Grid(self._identity.place)

    def _rays(self, sweep: Sweep) -> Iterator[TableBatch]:
        if "rays" in self._wanted:
            from lakeq.formats import _nexrad_rays

            columns = _nexrad_rays.columns(sweep)
            yield self._batches["rays"].batch(columns, len(columns["time"]))

    def _gates(self, sweep: Sweep, facts: SweepFacts) -> Iterator[TableBatch]:
        if "gates" not in self._wanted and self._grid is None:
            return
        from lakeq.formats import _nexrad_gates
        from lakeq.formats._nexrad_messages import NAMES

        assert self._identity is not None
        wanted = NAMES if "gates" in self._wanted else ("dbzh",)
        for gates in _nexrad_gates.gates_of(sweep, self._identity.place, wanted):
            if "gates" in self._wanted:
                columns = _nexrad_gates.columns(gates, sweep.number)
                yield self._batches["gates"].batch(columns, len(gates.ray))
            if self._grid is not None and not facts.dbzh_repeats:
                self._grid.add(gates)
        if self._grid is not None:
            self._grid.end_sweep(facts.angle)

    def _last(self, volume: Volume) -> Iterator[TableBatch]:
        from lakeq.formats._nexrad_summary import sweep_row

        if self._grid is not None:
            columns, rows = self._grid.columns()
            yield self._batches["grid"].batch(columns, rows)
        if "sweeps" in self._wanted and self._sweeps:
            yield self._listed("sweeps", [sweep_row(s, volume.facts) for s in self._sweeps])
        if "volumes" in self._wanted:
            yield self._volume(volume, self._sweeps)

    def _volume(self, volume: Volume, sweeps: list[SweepFacts] | None) -> TableBatch:
        from lakeq.formats._nexrad_summary import volume_row

        assert self._identity is not None
        row = volume_row(self._source, volume, self._identity, self._location_source, sweeps)
        return self._listed("volumes", [row])

    def _listed(self, role: str, rows: list[dict[str, Any]]) -> TableBatch:
        return self._batches[role].listed(rows)
