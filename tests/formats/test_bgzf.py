from __future__ import annotations

import gzip
import random
import struct
import subprocess
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.errors import BadSource
from lakeq.formats import _bgzf
from tests.support.vcf import memory


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(7).randbytes(50_000) * 6


@pytest.fixture(scope="module")
def packed(content: bytes) -> bytes:
    return subprocess.run(["bgzip", "-c"], input=content, capture_output=True, check=True).stdout


def inflated(data: bytes) -> bytes:
    return b"".join(_bgzf.pieces(memory(data)))


def refused(data: bytes) -> BadSource:
    with pytest.raises(BadSource) as caught:
        inflated(data)
    return caught.value


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["text", "gzip"])
def test_text_and_gzip_come_back(content: bytes, pack: Callable[[bytes], bytes]) -> None:
    assert inflated(pack(content)) == content


def test_bgzf_comes_back(content: bytes, packed: bytes) -> None:
    assert inflated(packed) == content


def test_bgzf_files_one_behind_the_other_are_one_file(content: bytes, packed: bytes) -> None:
    assert inflated(packed + packed) == content + content


def test_progress_is_told_the_raw_bytes(packed: bytes) -> None:
    told: list[int] = []
    list(_bgzf.pieces(memory(packed), told.append))
    assert told == sorted(told)
    assert told[-1] == len(packed)


@pytest.mark.parametrize("cut", [1, 5, 17, 28, 29, 1000, 70_000])
def test_bgzf_cut_short_is_refused(packed: bytes, cut: int) -> None:
    error = refused(packed[:-cut])
    assert "ends inside a BGZF block" in error.what or "end-of-file block" in error.what
    assert "byte" in error.where


def test_bgzf_without_its_end_block_is_refused(packed: bytes) -> None:
    assert "end-of-file block is missing" in refused(packed[:-28]).what


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 100])
def test_gzip_cut_short_is_refused(content: bytes, cut: int) -> None:
    assert "ends inside" in refused(gzip.compress(content)[:-cut]).what


def test_bytes_behind_gzip_are_refused(content: bytes) -> None:
    assert "not gzip follow" in refused(gzip.compress(content) + b"tail").what


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (0, b"\0", "no BGZF block starts here"),
        (12, b"XX", "does not say its size"),
        (16, b"\x05\0", "does not say its size"),
        (40, b"\xff\xff\xff\xff", ""),
        (-8, b"\0\0\0\0", "fails its CRC32"),
        (-4, b"\x01\0\0\0", "does not hold the 1 bytes"),
        (-4, b"\xff\xff\xff\x7f", "more than 65536"),
    ],
)
def test_damaged_block_is_named(packed: bytes, at: int, value: bytes, what: str) -> None:
    first = struct.unpack_from("<H", packed, 16)[0] + 1
    second = struct.unpack_from("<H", packed, first + 16)[0] + 1
    place = first + at if at >= 0 else first + second + at
    damaged = packed[:place] + value + packed[place + len(value) :]
    error = refused(damaged)
    assert what in error.what
    assert f"byte {first}" in error.where


def test_empty_blocks_without_end_are_refused_at_once() -> None:
    start = time.process_time()
    assert "hold nothing" in refused(_bgzf.EOF_BLOCK * 75_000).what
    assert "hold nothing" in refused(gzip.compress(b"") * 100_000).what
    assert time.process_time() - start < 0.4


def test_block_that_inflates_to_more_than_it_says_stops_early() -> None:
    body = gzip.compress(bytes(64 << 20))[10:-8]
    header = struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, 25 + len(body))
    assert "does not hold" in refused(header + body + struct.pack("<II", 0, 65536)).what


@given(st.binary(max_size=300), st.integers(0, 3))
def test_any_bytes_behind_a_magic_are_text_or_refused(tail: bytes, kind: int) -> None:
    heads = (b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00" + bytes(6), _bgzf.EOF_BLOCK[:16])
    try:
        inflated(heads[kind] + tail)
    except BadSource as error:
        assert error.hint
