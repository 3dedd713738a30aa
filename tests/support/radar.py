"""Radar volumes for tests: every real file, our reading of it, and Py-ART's."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq import catalog, config, formats, types
from lakeq.formats import _nexrad_volume, nexrad_level2
from lakeq.storage import local_source
from tests.support.data import real_files

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._nexrad_volume import Sweep, Volume

VOLUMES = [*real_files("nexrad/volumes/*"), *real_files("nexrad/trimmed/*")]
CHUNKED = sorted({path.parent for path in real_files("nexrad/chunks/*/*/*")})
SOURCES = [*VOLUMES, *CHUNKED]
MOMENTS = {
    "REF": "dbzh",
    "VEL": "vradh",
    "SW": "wradh",
    "ZDR": "zdr",
    "PHI": "phidp",
    "RHO": "rhohv",
    "CFP": "ccorh",
}


def source_id(path: Path) -> str:
    """The id of a test that runs once per volume."""
    return path.name if path.is_file() else f"{path.parent.name}-{path.name}"


def chunks(folder: Path) -> list[bytes]:
    """The chunk objects of one volume in order of their numbers."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@cache
def object_bytes(path: Path) -> bytes:
    """The bytes of the archive object: of a chunked volume, its chunks one after the other."""
    return path.read_bytes() if path.is_file() else b"".join(chunks(path))


def object_name(path: Path) -> str:
    """A name as the archive has it, which says site and time."""
    named = {
        "example_nexrad_archive_msg1.bz2": "KLOT20030101_000921.bz2",
        "KCRP20170826_044114.bin": "KCRP20170826_044114_V06",
        "KFWS20190609_222523.bin": "KFWS20190609_222523_V06",
        "KMKX20200115_150035.bin": "KMKX20200115_150035_V06",
    }
    if path.is_file():
        return named.get(path.name, path.name)
    first = min(path.iterdir()).name
    return f"{path.parent.name}{first[:8]}_{first[9:15]}_V06"


def unpacked(path: Path) -> bytes:
    """The object without what is around the whole of it."""
    data = object_bytes(path)
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    return bz2.decompress(data) if data.startswith(b"BZh") else data


def read(path: Path) -> tuple[Volume, list[Sweep]]:
    """Our reading of a real volume, all of it."""
    volume = _nexrad_volume.read_bytes(object_bytes(path), object_name(path))
    return volume, list(volume.sweeps)


@dataclass(frozen=True)
class Tables:
    """The tables of one volume, and the notes of its reading."""

    rows: dict[str, pa.Table]
    notes: dict[str, int]

    def __getitem__(self, table: str) -> pa.Table:
        return self.rows[table]


def dataset() -> catalog.Dataset:
    """The catalog's dataset nexrad."""
    return catalog.check(config.data_dir("catalogs") / "nexrad.yaml")


def tables(
    data: bytes, name: str, folder: Path, wanted: tuple[str, ...] = nexrad_level2.ROLES
) -> Tables:
    """The wanted tables of an object of these bytes and this name."""
    import pyarrow as pa

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    radar = dataset()
    context = formats.ReadContext(radar, folder)
    batches: dict[str, list[pa.RecordBatch]] = {}
    chosen = {name: radar.tables[name] for name in wanted}
    for batch in nexrad_level2.read(local_source(path), chosen, context):
        batches.setdefault(batch.table, []).append(batch.rows)
    made = {}
    for table, parts in batches.items():  # batches of one table may be narrow in different ways
        schema = types.arrow_schema(radar.tables[table])
        made[table] = pa.concat_tables([pa.Table.from_batches([p]).cast(schema) for p in parts])
    return Tables(made, context.notes)


def pyart_file(path: Path) -> Any:
    """Py-ART's low-level reading (`pyart.io.nexrad_level2.NEXRADLevel2File`) of a real volume."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        os.environ["PYART_QUIET"] = "1"
        from pyart.io.nexrad_level2 import NEXRADLevel2File

        return NEXRADLevel2File(io.BytesIO(unpacked(path)))


def ldm_record(messages: bytes, *, last: bool = False) -> bytes:
    """Messages as an LDM record: control word and bzip2."""
    packed = bz2.compress(messages)
    return struct.pack(">i", -len(packed) if last else len(packed)) + packed


def three_times(folder: Path) -> str:
    """Two sweeps of TORD as chunks of three volumes in `folder`; returns the pattern of all."""
    folder = folder / "TORD" / "185"
    folder.mkdir(parents=True)
    for minute in (18, 28, 38):
        for chunk in real_files("nexrad/chunks/TORD/185/*")[:7]:
            copy = chunk.name.replace("-225858-", f"-22{minute}58-")
            (folder / copy).write_bytes(chunk.read_bytes())
    return str(folder / "*")


def codes_of(sweep: Sweep, moment: str, width: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The codes of a moment of a sweep, a row a ray; 1 where a ray has none, as Py-ART has it."""
    rows = np.ones((len(sweep.rays), width), np.uint16)
    first = 0
    for run in sweep.runs:
        if moment in run.codes:
            codes = run.codes[moment]
            rows[first : first + len(codes), : codes.shape[1]] = codes
        first += len(run.rays)
    return rows
