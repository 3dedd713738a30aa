"""TIFF: every real file and every way of writing one equals rasterio; damage is one clear error."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine

from lakeq.errors import BadSource
from lakeq.formats import _tiff_header, _tiff_tiles
from lakeq.storage import local_source
from tests.support.data import name, real_files

TIFFS = [path for path in real_files("landsat/**/*") if path.suffix.lower() in (".tif", ".ovr")]
PLACE = Affine(30, 0, 500_000, 0, -30, -250_000)  # a southern scene with a northern zone


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)


@pytest.mark.parametrize("path", TIFFS, ids=name)
def test_real_files_equal_rasterio(path: Path) -> None:
    source = local_source(path)
    images = _tiff_header.read(source)
    with rasterio.open(path) as peer:
        assert np.array_equal(_tiff_tiles.read(source, images[0]), peer.read())
        assert peer.transform.is_identity == (images[0].transform is None)
        assert images[0].transform in (None, tuple(peer.transform)[:6])
        assert images[0].epsg == (peer.crs.to_epsg() if peer.crs else None)
        assert images[0].nodata == peer.nodata
        assert (images[0].block_height, images[0].block_width) == peer.block_shapes[0]


@pytest.mark.parametrize("path", [p for p in TIFFS if p.suffix == ".ovr"][:3], ids=name)
def test_overviews_beside_equal_rasterio(path: Path) -> None:
    main = _tiff_header.read(local_source(path.with_suffix("")))[0]
    levels = _tiff_header.companions(local_source(path), main)
    with rasterio.open(path.with_suffix("")) as peer:
        assert len(levels) == len(peer.overviews(1))
    for image in levels:
        with rasterio.open(path.with_suffix(""), overview_level=image.level - 1) as peer:
            assert np.array_equal(_tiff_tiles.read(local_source(path), image), peer.read())
            assert image.transform == pytest.approx(tuple(peer.transform)[:6], rel=1e-12)


def made(path: Path, dtype: str, bands: int = 1, **options: object) -> np.ndarray:
    """A file of 200 x 333 pixels written by GDAL, and what is in it."""
    rng = np.random.default_rng(5)
    high = 250 if dtype in ("uint8", "int8") else 30_000
    values = rng.integers(-high if dtype[0] in "if" else 0, high, (bands, 200, 333)) // 3
    profile = {"driver": "GTiff", "width": 333, "height": 200, "count": bands, "dtype": dtype,
               "crs": "EPSG:32720", "transform": PLACE, **options}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.clip(values, -128 if dtype == "int8" else None, None).astype(dtype))
    with rasterio.open(path) as file:
        found: np.ndarray = file.read()
    return found


TILES = {"tiled": True, "blockxsize": 64, "blockysize": 32}
WAYS = [
    pytest.param(dtype, bands, {"compress": compress, "predictor": predictor, **layout, **more},
                 id=f"{dtype}-{bands}-{compress}-{predictor}-{number}")
    for number, (layout, more) in enumerate([
        (TILES, {}),
        (TILES, {"ENDIANNESS": "BIG", "BIGTIFF": "YES"}),
        ({"blockysize": 7}, {"ENDIANNESS": "BIG"}),
        ({"blockysize": 16}, {"BIGTIFF": "YES", "INTERLEAVE": "BAND"}),
    ])
    for dtype in ("uint8", "int16", "uint16", "int32", "float32")
    for bands in (1, 3)
    for compress in ("NONE", "DEFLATE", "LZW", "ZSTD")
    for predictor in ((1,) if compress == "NONE" else (1, 2) if dtype != "float32" else (1, 3))
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "bands", "options"), WAYS)
def test_every_way_of_writing_equals_rasterio(
    tmp_path: Path, dtype: str, bands: int, options: dict[str, object]
) -> None:
    path = tmp_path / "a.tif"
    values = made(path, dtype, bands, **options)
    image = _tiff_header.read(local_source(path))[0]
    assert np.array_equal(_tiff_tiles.read(local_source(path), image), values)
    assert image.transform == tuple(PLACE)[:6]
    assert image.epsg == 32720
    window = (slice(10, 100), slice(60, 130))
    part = _tiff_tiles.read(local_source(path), image, window)
    assert np.array_equal(part, values[:, 10:100, 60:130])


@pytest.mark.parametrize("point", ["Area", "Point"])
@pytest.mark.parametrize("place", [
    PLACE, Affine(30, 0, 6_378_137.1, 0, -17.3, 1 / 3), Affine(1, 0.2, 5, -0.3, -1.1, 7),
])  # fmt: skip
def test_geotransforms_equal_rasterio_to_the_bit(tmp_path: Path, point: str, place: Affine) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 5, "height": 4, "count": 1, "dtype": "uint8",
               "crs": "EPSG:32633", "transform": place}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(AREA_OR_POINT=point)
        file.write(np.zeros((1, 4, 5), np.uint8))
    image = _tiff_header.read(local_source(path))[0]
    with rasterio.open(path) as peer:
        assert image.transform == tuple(peer.transform)[:6]
    assert image.point == (point == "Point")


@pytest.mark.parametrize("nodata", [None, 0, -9999, float("nan")])
def test_blocks_that_are_not_there_are_nodata(tmp_path: Path, nodata: float | None) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 300, "height": 200, "count": 1, "dtype": "float32",
               "nodata": nodata, "SPARSE_OK": True, **TILES}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((1, 32, 64), np.float32), window=((32, 64), (64, 128)))
    image = _tiff_header.read(local_source(path))[0]
    assert (image.lengths == 0).sum() == image.across * image.down - 1
    with rasterio.open(path) as peer:
        read = _tiff_tiles.read(local_source(path), image)
        assert np.array_equal(read, peer.read(), equal_nan=True)
        assert image.nodata is peer.nodata or repr(image.nodata) == repr(peer.nodata)


def test_internal_masks_and_overviews_equal_rasterio(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = made(path, "uint16", compress="DEFLATE", predictor=2, **TILES)
    mask = np.where(values[0] % 7, 255, 0).astype(np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
        file.build_overviews([2, 4], Resampling.nearest)
    images = _tiff_header.read(local_source(path))
    kinds = [(image.kind, image.level) for image in images]
    assert {("image", 0), ("mask", 0), ("overview", 1), ("overview", 2), ("mask", 1)} <= set(kinds)
    inside = images[kinds.index(("mask", 0))]
    assert np.array_equal(_tiff_tiles.read(local_source(path), inside)[0] * 255, mask)
    for level in (1, 2):
        with rasterio.open(path, overview_level=level - 1) as peer:
            image = images[kinds.index(("overview", level))]
            assert np.array_equal(_tiff_tiles.read(local_source(path), image), peer.read())
            assert image.transform == pytest.approx(tuple(peer.transform)[:6], rel=1e-12)


# Damage. Where a value stands is found by walking the directory here, not by the reader's own code.


def field(data: bytes, tag: int) -> int:
    """Where the entry of `tag` stands in the first directory of a classic little-endian file."""
    at = struct.unpack_from("<I", data, 4)[0]
    for number in range(struct.unpack_from("<H", data, at)[0]):
        start = at + 2 + 12 * number
        if struct.unpack_from("<H", data, start)[0] == tag:
            return int(start)
    raise LookupError(tag)


def read_all(path: Path) -> None:
    source = local_source(path)
    for image in _tiff_header.read(source):
        _tiff_tiles.read(source, image)


def refusal(path: Path, data: bytes) -> BadSource:
    path.write_bytes(data)
    with pytest.raises(BadSource) as raised:
        read_all(path)
    assert path.name in raised.value.where
    return raised.value


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    made(tmp_path / "sound.tif", "uint16", compress="DEFLATE", predictor=2, **TILES)
    return (tmp_path / "sound.tif").read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 9, 300, 4000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, sound: bytes, kept: int) -> None:
    refusal(tmp_path / "cut.tif", sound[:kept])


def test_a_web_page_is_refused(tmp_path: Path) -> None:
    error = refusal(
        tmp_path / "page.TIF", b"<!DOCTYPE html><html><body>403 Forbidden</body></html>"
    )
    assert "no TIFF: it begins with b'<!DOCTYP'" in error.what
    assert "error page" in error.hint


def test_directories_in_a_ring_are_refused(tmp_path: Path, sound: bytes) -> None:
    at = struct.unpack_from("<I", sound, 4)[0]
    end = at + 2 + 12 * struct.unpack_from("<H", sound, at)[0]
    ring = sound[:end] + struct.pack("<I", at) + sound[end + 4 :]
    error = refusal(tmp_path / "ring.tif", ring)
    assert "ring" in error.what
    assert f"byte {at}" in error.where


@pytest.mark.parametrize(("tag", "value", "said"), [
    (256, 1 << 30, "pixels"), (257, 1 << 31, "pixels"), (322, 1 << 20, "blocks"),
    (322, 0, "blocks of"), (259, 7, "JPEG"), (317, 9, "predictor 9"), (258, 13, "13 bits"),
])  # fmt: skip
def test_impossible_fields_are_refused_before_anything_is_allocated(
    tmp_path: Path, sound: bytes, tag: int, value: int, said: str
) -> None:
    data = bytearray(sound)
    struct.pack_into("<HHII", data, field(sound, tag), tag, 4, 1, value)
    assert said in refusal(tmp_path / "a.tif", bytes(data)).what


def test_offsets_beyond_the_end_name_the_block(tmp_path: Path, sound: bytes) -> None:
    data = bytearray(sound)
    at = struct.unpack_from("<I", data, field(sound, 324) + 8)[0]
    struct.pack_into("<I", data, at + 4 * 3, len(sound) - 5)
    error = refusal(tmp_path / "a.tif", bytes(data))
    assert "block 3 ends at byte" in error.what


@pytest.mark.parametrize("compress", ["DEFLATE", "LZW", "ZSTD"])
def test_a_block_that_inflates_to_more_than_its_size_is_refused(
    tmp_path: Path, compress: str
) -> None:
    """Blocks of 64 x 32 pixels, of which the directory then says that they are 16 lines high."""
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 64, "height": 32, "count": 1, "dtype": "uint16",
               "compress": compress, "photometric": "MINISBLACK", **TILES}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.arange(2048, dtype=np.uint16).reshape(1, 32, 64))
    data = bytearray(path.read_bytes())
    struct.pack_into("<HHII", data, field(bytes(data), 257), 257, 4, 1, 16)
    struct.pack_into("<HHII", data, field(bytes(data), 323), 323, 4, 1, 16)
    error = refusal(path, bytes(data))
    assert "more than" in error.what
    assert "block 0" in error.where


@pytest.mark.parametrize("compress", ["DEFLATE", "LZW", "ZSTD"])
def test_a_damaged_block_is_refused_with_its_byte(tmp_path: Path, compress: str) -> None:
    path = tmp_path / "a.tif"
    made(path, "uint16", compress=compress, **TILES)
    data = bytearray(path.read_bytes())
    image = _tiff_header.read(local_source(path))[0]
    offset = int(image.offsets[4])
    data[offset : offset + 40] = bytes(range(250, 210, -1))
    assert f"byte {offset}" in refusal(path, bytes(data)).where


def test_random_damage_gives_an_error_or_pixels_but_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 60, "height": 40, "count": 1, "dtype": "uint16",
               "compress": "LZW", "predictor": 2, "tiled": True, "blockxsize": 16,
               "blockysize": 16}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.arange(2400, dtype=np.uint16).reshape(1, 40, 60))
    whole = path.read_bytes()
    rng = np.random.default_rng(11)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        path.write_bytes(data)
        source = local_source(path)
        try:
            for image in _tiff_header.read(source):
                _tiff_tiles.read(source, image, (slice(0, 64), slice(0, 64)))
        except BadSource as error:
            assert path.name in error.where


class _Counting:
    """A source that counts its range requests."""

    def __init__(self, path: Path) -> None:
        self.source = local_source(path)
        self.uri, self.size_bytes = self.source.uri, self.source.size_bytes
        self.requests: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        self.requests.append((offset, length))
        return self.source.read_range(offset, length)


def test_directories_of_a_scene_take_two_requests_at_the_most(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "COG", "width": 7601, "height": 7751, "count": 1, "dtype": "uint8",
               "compress": "DEFLATE", "blocksize": 256}  # fmt: skip
    with rasterio.open(path, "w", **profile):
        pass
    counting = _Counting(path)
    images = _tiff_header.read(counting)  # type: ignore[arg-type]  # it has what is used
    assert images[0].lengths.size == 30 * 31
    assert len(counting.requests) <= 2
    assert sum(length for _, length in counting.requests) <= 48 << 10


def test_a_window_reads_its_blocks_in_few_requests(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = made(path, "uint16", compress="DEFLATE", predictor=2, **TILES)
    image = _tiff_header.read(local_source(path))[0]
    counting = _Counting(path)
    window = (slice(70, 90), slice(100, 110))
    part = _tiff_tiles.read(counting, image, window)  # type: ignore[arg-type]  # likewise
    assert np.array_equal(part, values[:, 70:90, 100:110])
    assert counting.requests == [(int(image.offsets[2 * image.across + 1]),
                                  int(image.lengths[2 * image.across + 1]))]  # fmt: skip
