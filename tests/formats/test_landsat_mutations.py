"""Damaged metadata: a row or one clear error, never anything else; places of scenes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lakeq import catalog
from lakeq.errors import BadSource
from lakeq.formats import ReadContext, _landsat_geometry, landsat
from lakeq.storage import SourceObject
from tests.support.data import name, real_files
from tests.support.landsat import HEADER, scenes

TABLES = {"scenes": catalog.load().table("landsat.scenes")}
FILES = [
    *real_files("landsat/c2/level-2/LC08_L2SP_005009*/*_MTL.*"),
    *real_files("landsat/precollection/metadata/LC80100202015018LGN00_MTL.*"),
    *real_files("landsat/c2/metadata/LT04*_stac.json"),
    *real_files("landsat/stac/*.json"),
]
MUTANTS = 30


class Memory:
    """The reader of an object that is held in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    def read_range(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def rows(data: bytes, uri: str, folder: Path) -> int:
    source = SourceObject(uri, len(data), "1", Memory(data))
    context = ReadContext(catalog.load().dataset("landsat"), folder)
    return sum(batch.rows.num_rows for batch in landsat.read(source, TABLES, context))


def mutated(data: bytes, chance: random.Random) -> bytes:
    kind, at = chance.randrange(5), chance.randrange(len(data))
    until = min(len(data), at + chance.choice([1, 2, 9, 200]))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[until:]
    if kind == 2:
        return data[:at] + bytes(chance.randrange(256) for _ in range(until - at)) + data[until:]
    if kind == 3:
        return data[:at] + data[at:until] * 2 + data[until:]
    word = chance.choice([b"9e999", b"nan", b"-1", b"99999999999999999999", b'""', b"null", b"{}"])
    return data[:at] + word + data[until:]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_damaged_metadata_are_a_row_or_one_error(tmp_path: Path, path: Path) -> None:
    chance = random.Random(path.name)
    data = path.read_bytes()
    assert rows(data, path.as_uri(), tmp_path) == 1
    refused = 0
    for _ in range(MUTANTS):
        try:
            assert rows(mutated(data, chance), path.as_uri(), tmp_path) <= 1
        except BadSource as error:
            assert error.where.startswith(path.as_uri())
            refused += 1
    assert refused > 0


def test_damaged_lists_are_rows_or_one_error(tmp_path: Path) -> None:
    chance = random.Random(3)
    data = (HEADER + "".join(scene.line for scene in scenes(30, 1))).encode()
    for number in range(MUTANTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            rows(mutated(data, chance), "file:///scene_list.csv", folder)
        except BadSource as error:
            assert error.where


@pytest.mark.parametrize(
    "path", real_files("landsat/**/*stac.json") + real_files("landsat/stac/LC08*.json"), ids=name
)
def test_scenes_lie_where_path_and_row_say(path: Path) -> None:
    item = json.loads(path.read_text())
    outline = shapely.geometry.shape(item["geometry"])
    if outline.bounds[2] - outline.bounds[0] > 180:
        pytest.skip("its outline is wrong at the source")
    told = item["properties"]
    place = [int(told[f"landsat:wrs_{key}"]) for key in ("type", "path", "row")]
    found = _landsat_geometry.of_path_row(*place)
    assert found is not None
    nominal = shapely.from_wkb(found.wkb)
    assert nominal.intersection(outline).area > 0.95 * outline.area
    assert nominal.area < 1.3 * outline.area


@given(st.integers(1, 233), st.integers(1, 248))
def test_every_path_and_row_has_a_valid_place(path: int, row: int) -> None:
    found = _landsat_geometry.of_path_row(2, path, row)
    assert found is not None
    outline = shapely.from_wkb(found.wkb)
    assert outline.is_valid
    west, south, east, north = found.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    bounds = outline.bounds
    assert (west, south) <= (bounds[0] + 1e-9, bounds[1] + 1e-9)
    assert (east, north) >= (bounds[2] - 1e-9, bounds[3] - 1e-9)
    assert 0 <= found.cell < 2592
    crosses = len(shapely.get_parts(outline)) > 1
    assert crosses == (found.west > found.east)


@given(
    st.floats(-180, 179.99), st.floats(-80, 80), st.floats(0.1, 8), st.floats(0.1, 4),
)  # fmt: skip
def test_a_ring_anywhere_is_split_into_what_it_encloses(
    lon: float, lat: float, wide: float, high: float
) -> None:
    corners = [(lon - wide, lat - high), (lon + wide, lat - high), (lon + wide, lat + high),
               (lon - wide, lat + high)]  # fmt: skip
    ring = [((x + 180) % 360 - 180, y) for x, y in corners]
    found = _landsat_geometry.of_ring(ring)
    outline = shapely.from_wkb(found.wkb)
    assert outline.is_valid
    assert outline.area == pytest.approx(4 * wide * high, rel=1e-6)
    assert outline.bounds[0] >= -180
    assert outline.bounds[2] <= 180
    assert (found.east - found.west) % 360 == pytest.approx(2 * wide, abs=1e-6)


def test_a_ring_around_a_pole_holds_the_pole() -> None:
    ring = [(lon, -80.0) for lon in range(-180, 180, 30)]
    found = _landsat_geometry.of_ring(ring)
    outline = shapely.from_wkb(found.wkb)
    assert outline.bounds == (-180, -90, 180, -80)
    assert (found.west, found.east) == (-180, 180)


def test_a_path_that_the_grid_has_not_is_no_place() -> None:
    assert _landsat_geometry.of_path_row(2, 234, 1) is None
    assert _landsat_geometry.of_path_row(1, 251, 248) is not None
    assert _landsat_geometry.of_path_row(3, 1, 1) is None
