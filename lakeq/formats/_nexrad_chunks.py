"""Chunks of the real-time bucket: the rows of one, and the tables of a volume in the making.

A chunk holds about 120 rays, packed by itself, so its rows of rays and gates are made at once,
whatever came before. What tells of the volume (volumes, sweeps, grid) is worked out anew from what
was kept aside of every chunk: what its messages say, its rays without their codes, and its gates
of reflectivity summed up by cell. `volume_time` of a volume in the making is to the second, as
the keys of chunks have it, because only the first chunk has the header.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq.formats import TableBatch
from lakeq.formats._arrow import numbers
from lakeq.formats._nexrad_container import Limits, VolumeHeader
from lakeq.formats._nexrad_grid import Cells, Grid, cells_of
from lakeq.formats._nexrad_messages import RAY, Facts, Run, Site
from lakeq.formats._nexrad_names import named
from lakeq.formats._nexrad_pattern import Cut, Status, Vcp
from lakeq.formats._nexrad_rows import Batches, Identity
from lakeq.formats._nexrad_summary import SweepFacts, identity_of, sweep_row, volume_row
from lakeq.formats._nexrad_volume import Assembler, Sweep, Volume, read_chunk
from lakeq.storage import SourceObject

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import ReadContext

FACTS = "_facts"
CELLS = "_cells"
Runs = list[tuple[Run, Cells | None]]


def read(
    source: SourceObject, wanted: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """The rows of `wanted`, by role, of one chunk, and what is kept aside of it."""
    with source.open() as stream:
        data = stream.read()
    limits = Limits.of_tables(wanted.values())
    header, facts, sweeps = read_chunk(data, source.uri, limits)
    context.progress(len(data))
    identity, _ = identity_of(source.uri, None, facts)
    batches = {role: Batches(table, identity) for role, table in wanted.items()}
    runs: Runs = []
    for sweep in sweeps:
        yield from _rows(sweep, identity, batches)
        runs += _runs(sweep, identity, "grid" in wanted)
    compression = "bzip2 records"
    kept = _Kept(source.uri, len(data), compression, header, facts, runs)
    yield from kept.batches()


def _rows(sweep: Sweep, identity: Identity, batches: Mapping[str, Batches]) -> Iterator[TableBatch]:
    """Rays and gates; their places in the sweep go by the number that the radar gave the rays."""
    from lakeq.formats import _nexrad_gates, _nexrad_rays

    first = int(sweep.rays["azimuth_number"][0]) - 1
    if "rays" in batches:
        columns = _nexrad_rays.columns(sweep)
        size = len(columns["time"])
        columns["ray_number"] = numbers(np.arange(first, first + size, dtype=np.int32))
        yield batches["rays"].batch(columns, size)
    if "gates" in batches:
        for gates in _nexrad_gates.gates_of(sweep, identity.place):
            placed = replace(gates, first_ray=gates.first_ray + first)
            columns = _nexrad_gates.columns(placed, sweep.number)
            yield batches["gates"].batch(columns, len(gates.ray))


def _runs(sweep: Sweep, identity: Identity, grid: bool) -> Runs:
    from lakeq.formats._nexrad_gates import gates_of

    found: Runs = []
    for run in sweep.runs:
        cells = None
        if grid and "dbzh" in run.codes:
            only = Run(run.rays, {"dbzh": run.codes["dbzh"]}, {"dbzh": run.codings["dbzh"]})
            alone = Sweep(sweep.number, sweep.elevation_number, (only,))
            parts = [cells_of(gates) for gates in gates_of(alone, identity.place)]
            cells = next((part for part in parts if part is not None), None)
        found.append((run, cells))
    return found


@dataclass(slots=True)
class _Kept:
    """What is kept aside of one chunk; the runs of its rays have no codes any more."""

    uri: str
    size_bytes: int
    compression: str
    header: VolumeHeader | None
    facts: Facts
    runs: Runs

    def batches(self) -> Iterator[TableBatch]:
        """As batches of made-up tables."""
        import pyarrow as pa

        told = {
            "uri": self.uri,
            "size_bytes": self.size_bytes,
            "compression": self.compression,
            "header": asdict(self.header) if self.header else None,
            "facts": _plain(self.facts),
            "runs": [_packed(run) for run, _ in self.runs],
        }
        rows = pa.record_batch({"told": pa.array([json.dumps(told)], pa.string())})
        yield TableBatch(FACTS, (), rows)
        for number, (_, cells) in enumerate(self.runs):
            if cells is not None:
                columns = {name: numbers(values) for name, values in cells.columns().items()}
                run = numbers(np.full(len(cells.south), number, np.int32))
                yield TableBatch(CELLS, (), pa.record_batch({**columns, "run": run}))

    @classmethod
    def of(cls, part: Mapping[str, pa.Table]) -> _Kept:
        """What `batches` gave, read again."""
        told = json.loads(part[FACTS]["told"][0].as_py())
        header = VolumeHeader(**told["header"]) if told["header"] else None
        cells = _cells(part.get(CELLS), len(told["runs"]))
        runs = [(_unpacked(run), cells[n]) for n, run in enumerate(told["runs"])]
        facts = _facts(told["facts"])
        return cls(told["uri"], told["size_bytes"], told["compression"], header, facts, runs)


def _packed(run: Run) -> dict[str, Any]:
    rays = base64.b64encode(np.ascontiguousarray(run.rays, RAY).tobytes()).decode("ascii")
    return {"rays": rays, "moments": list(run.codes)}


def _unpacked(run: Mapping[str, Any]) -> Run:
    rays = np.frombuffer(base64.b64decode(run["rays"]), RAY)
    nothing = np.zeros((len(rays), 0), np.uint8)
    return Run(rays, dict.fromkeys(run["moments"], nothing), {})


def _cells(table: pa.Table | None, runs: int) -> list[Cells | None]:
    if table is None:
        return [None] * runs
    run = table["run"].to_numpy()
    columns = {n: table[n].to_numpy() for n in table.column_names if n != "run"}
    bounds = np.searchsorted(run, np.arange(runs + 1))
    parts = [slice(bounds[n], bounds[n + 1]) for n in range(runs)]
    return [Cells(**{name: values[part] for name, values in columns.items()}) for part in parts]


def _plain(facts: Facts) -> dict[str, Any]:
    return {
        "site": asdict(facts.site) if facts.site else None,
        "vcp": asdict(facts.vcp) if facts.vcp else None,
        "status": asdict(facts.status) if facts.status else None,
        "vcp_number": facts.vcp_number,
        "messages": list(facts.messages.items()),
        "unknown_blocks": list(facts.unknown_blocks.items()),
    }


def _facts(told: Mapping[str, Any]) -> Facts:
    vcp = told["vcp"]
    if vcp is not None:
        vcp = Vcp(**{**vcp, "cuts": tuple(Cut(**cut) for cut in vcp["cuts"])})
    return Facts(
        site=Site(**told["site"]) if told["site"] else None,
        vcp=vcp,
        status=Status(**told["status"]) if told["status"] else None,
        vcp_number=told["vcp_number"],
        messages=Counter(dict(told["messages"])),
        unknown_blocks=Counter(dict(told["unknown_blocks"])),
    )


# The volume in the making


def combine(
    tables: Mapping[str, Table], parts: Sequence[Mapping[str, pa.Table]]
) -> Iterator[TableBatch]:
    """The rows of volumes, sweeps and grid, by role, of the chunks that have come, in order."""
    kept = [_Kept.of(part) for part in parts]
    facts = _merged([part.facts for part in kept])
    identity, location_source = identity_of(kept[0].uri, None, facts)
    runs = [run for part in kept for run in part.runs]
    sweeps = _sweeps(kept[0].uri, runs, Limits.of_tables(tables.values()))
    known: list[SweepFacts] = []
    for sweep, _ in sweeps:
        known.append(SweepFacts.of(sweep, known, facts))
    if "volumes" in tables:
        row = _volume(kept, facts, identity, location_source, known)
        yield Batches(tables["volumes"], identity).listed([row])
    if "sweeps" in tables and known:
        rows = [sweep_row(sweep, facts) for sweep in known]
        yield Batches(tables["sweeps"], identity).listed(rows)
    if "grid" in tables and identity.place is not None:
        grid = Grid(identity.place)
        for told, (_, cells) in zip(known, sweeps, strict=True):
            for part in cells if not told.dbzh_repeats else ():
                grid.add_cells(part)
            grid.end_sweep(told.angle)
        columns, size = grid.columns()
        yield Batches(tables["grid"], identity).batch(columns, size)


def _merged(parts: Sequence[Facts]) -> Facts:
    """What all chunks say: each fact of the first that says it."""
    return Facts(
        site=next((p.site for p in parts if p.site is not None), None),
        vcp=next((p.vcp for p in parts if p.vcp is not None), None),
        status=next((p.status for p in parts if p.status is not None), None),
        vcp_number=next((p.vcp_number for p in parts if p.vcp_number is not None), None),
        messages=sum((p.messages for p in parts), Counter()),
        unknown_blocks=sum((p.unknown_blocks for p in parts), Counter()),
    )


def _sweeps(uri: str, runs: Runs, limits: Limits) -> list[tuple[Sweep, list[Cells]]]:
    """The sweeps that the runs make, as in a whole volume, each with the cells of its runs."""
    assembler = Assembler(uri, limits)
    made = [sweep for run, _ in runs for sweep in assembler.add(run)]
    made += assembler.finish()
    waiting = iter(runs)
    found = []
    for sweep in made:
        own = [next(waiting)[1] for _ in sweep.runs]
        found.append((sweep, [cells for cells in own if cells is not None]))
    return found


def _volume(
    kept: Sequence[_Kept],
    facts: Facts,
    identity: Identity,
    location_source: str | None,
    sweeps: Sequence[SweepFacts],
) -> dict[str, Any]:
    header = next((part.header for part in kept if part.header is not None), None)
    first = kept[0].uri
    stem = first.rpartition("/")[2][: len("YYYYMMDD-HHMMSS")]
    size = sum(part.size_bytes for part in kept)
    volume = Volume(first, header, kept[0].compression, facts, iter(()))
    together = SourceObject(f"{first.rpartition('/')[0]}/{stem}", size, "", _NoReader())
    row = volume_row(together, volume, identity, location_source, sweeps)
    if row.get("complete") and not _unbroken(kept):
        row["complete"] = False
    return row | {"etag": None}


def _unbroken(kept: Sequence[_Kept]) -> bool:
    """Whether no chunk is missing between the first and the last one that came."""
    names = [named(part.uri) for part in kept]
    return [name.chunk for name in names if name] == list(range(1, len(kept) + 1))


class _NoReader:
    """Chunks together are no object that could be read."""

    def open(self) -> Any:
        raise AssertionError("a volume of chunks is read chunk by chunk")

    def read_range(self, offset: int, length: int) -> bytes:
        raise AssertionError("a volume of chunks is read chunk by chunk")
