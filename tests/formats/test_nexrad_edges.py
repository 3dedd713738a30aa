"""Volumes that are cut, damaged, hostile, or packed in every way there is."""

from __future__ import annotations

import bz2
import gzip
import random
import shutil
import struct
import subprocess
import time
import tracemalloc
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.errors import BadSource
from lakeq.formats import _nexrad_names, _nexrad_volume
from lakeq.formats._nexrad_container import Limits
from lakeq.formats._nexrad_messages import RAY
from tests.support import radar
from tests.support.data import real_file
from tests.support.radar import ldm_record

MESSAGE_1 = "nexrad/volumes/KABR20050101_000745.gz"
MESSAGE_31 = "nexrad/volumes/KDMX20250101_225441_V06"
MESSAGE_31_BARE = "nexrad/volumes/KTLX20100501_000444_V03.gz"
TDWR = "nexrad/chunks/TORD/185"


def rays_of(data: bytes, name: str = "KDMX20250101_225441_V06") -> np.ndarray:
    """All rays of a volume, as bytes, so that NaN equals NaN."""
    return opaque(list(_nexrad_volume.read_bytes(data, name).sweeps))


def opaque(sweeps: list[_nexrad_volume.Sweep]) -> np.ndarray:
    rays = [sweep.rays for sweep in sweeps] or [np.zeros(0, RAY)]
    return np.concatenate(rays).view(f"V{RAY.itemsize}")


def frame(kind: int, body: bytes = b"", halfwords: int = 1208) -> bytes:
    head = struct.pack(">12xHBBHHIHH", halfwords, 0, kind, 1, 20000, 0, 1, 1)
    return (head + body).ljust(2432, b"\0")


HEADER = struct.pack(">12sII4s", b"AR2V0006.001", 20000, 1000, b"KTLX")


# Packing


def test_what_is_around_an_object_does_not_matter() -> None:
    plain = gzip.decompress(real_file(MESSAGE_1).read_bytes())
    expected = rays_of(plain, "KABR20050101_000745")
    two = gzip.compress(plain[:5000]) + gzip.compress(plain[5000:])
    for packed in (plain, gzip.compress(plain), bz2.compress(plain), two):
        assert (rays_of(packed, "KABR20050101_000745") == expected).all()


def lzw(data: bytes, bits: int = 16) -> bytes:
    """The data as compress(1) packs it; checked with gzip, which unpacks .Z."""
    codes: dict[bytes, int] = {bytes([value]): value for value in range(256)}
    out, number, filled, width, count, free = bytearray(), 0, 0, 9, 0, 257

    def flush(new_width: int) -> None:
        nonlocal number, filled, count, width
        while count % 8:
            filled += width
            count += 1
        out.extend(number.to_bytes((filled + 7) // 8, "little"))
        number = filled = count = 0
        width = new_width

    def put(code: int) -> None:
        nonlocal number, filled, count
        number |= code << filled
        filled += width
        count += 1
        if count == 8:
            out.extend(number.to_bytes(width, "little"))
            number = filled = count = 0

    text = b""
    for value in data:
        longer = text + bytes([value])
        if longer in codes:
            text = longer
            continue
        put(codes[text])
        if free < 1 << bits:
            codes[longer] = free
            free += 1
            if free > (1 << width) and width < bits:
                flush(width + 1)
        text = bytes([value])
    put(codes[text])
    out.extend(number.to_bytes((filled + 7) // 8, "little"))
    return b"\x1f\x9d" + bytes([0x80 | bits]) + bytes(out)


@pytest.mark.skipif(not shutil.which("gzip"), reason="gzip unpacks .Z and judges ours")
def test_compress_z_is_read_as_gzip_reads_it(tmp_path: Path) -> None:
    plain = gzip.decompress(real_file(MESSAGE_1).read_bytes())[: 2432 * 700 + 24]
    for bits in (12, 16):
        packed = tmp_path / f"KABR20050101_000745_{bits}.Z"
        packed.write_bytes(lzw(plain, bits))
        told = subprocess.run(["gzip", "-dc", str(packed)], capture_output=True, check=True)
        assert told.stdout == plain
        assert (rays_of(packed.read_bytes(), packed.name) == rays_of(plain, packed.name)).all()


def test_records_with_negative_control_words_and_padding_are_read() -> None:
    data = real_file(MESSAGE_31).read_bytes()
    records, at = [], 24
    while at < len(data):
        size = abs(struct.unpack_from(">i", data, at)[0])
        records.append(struct.pack(">i", -size) + data[at + 4 : at + 4 + size])
        at += 4 + size
    changed = data[:24] + b"".join(records) + bytes(100)
    assert (rays_of(changed) == rays_of(data)).all()


def test_unknown_messages_and_blocks_are_skipped() -> None:
    data = real_file(MESSAGE_31).read_bytes()
    strange = ldm_record(frame(202) + frame(33) + frame(0) + frame(29))
    (first,) = struct.unpack_from(">i", data, 24)
    end = 28 + first
    changed = data[:end] + strange + data[end:]
    volume = _nexrad_volume.read_bytes(changed, "KDMX20250101_225441_V06")
    assert (opaque(list(volume.sweeps)) == rays_of(data)).all()
    assert volume.facts.messages[202] == volume.facts.messages[33] == 1


def test_a_chunk_alone_gives_its_rays_with_the_numbers_of_the_volume() -> None:
    folder = real_file(f"{TDWR}/20260811-225858-001-S").parent
    parts = [_nexrad_volume.read_chunk(data, "chunk") for data in radar.chunks(folder)]
    assert [header is not None for header, _, _ in parts] == [True] + [False] * 48
    assert parts[0][1].vcp is not None
    assert parts[0][2] == []
    alone = opaque([s for _, _, sweeps in parts for s in sweeps])
    assert (alone == rays_of(radar.object_bytes(folder), "TORD20260811_225858")).all()
    numbers = [s.number for _, _, sweeps in parts for s in sweeps]
    assert sorted(set(numbers)) == list(range(16))


def test_chunks_without_the_first_take_site_and_time_from_their_key(tmp_path: Path) -> None:
    folder = real_file(f"{TDWR}/20260811-225858-001-S").parent
    data = b"".join(radar.chunks(folder)[1:4] + radar.chunks(folder)[5:])
    tables = radar.tables(data, "TORD/185/20260811-225858", tmp_path, ("volumes", "sweeps"))
    (volume,) = tables["volumes"].to_pylist()
    assert (volume["site"], str(volume["volume_time"])) == ("TORD", "2026-08-11 22:58:58+00:00")
    assert not volume["complete"]
    assert volume["sweeps_missing"] == [2]


# Cut short


@pytest.mark.parametrize("relative", [MESSAGE_1, MESSAGE_31, MESSAGE_31_BARE])
def test_a_volume_cut_anywhere_gives_the_rays_before_the_cut(relative: str, tmp_path: Path) -> None:
    path = real_file(relative)
    data = path.read_bytes()
    whole = rays_of(data, path.name)
    before = 0
    for share in (0.02, 0.3, 0.5, 0.77, 0.999):
        cut = data[: int(len(data) * share)]
        rays = rays_of(cut, path.name)
        assert (rays == whole[: len(rays)]).all()
        assert len(rays) > before or share < 0.1
        before = len(rays)
        tables = radar.tables(cut, path.name, tmp_path, ("volumes", "sweeps"))
        (volume,) = tables["volumes"].to_pylist()
        assert not volume["complete"]
        assert volume["sweeps_missing"] or not len(rays)


def test_a_missing_interior_sweep_is_named_and_leaves_a_gap_in_the_numbers(tmp_path: Path) -> None:
    folder = real_file(f"{TDWR}/20260811-225858-001-S").parent
    chunks = radar.chunks(folder)
    data = b"".join(chunks[:7] + chunks[10:])
    tables = radar.tables(data, "TORD20260811_225858_V08", tmp_path, ("volumes", "sweeps"))
    (volume,) = tables["volumes"].to_pylist()
    numbers = tables["sweeps"]["sweep_number"].to_pylist()
    assert not volume["complete"]
    for missing in volume["sweeps_missing"]:
        assert missing - 1 not in numbers or not tables["sweeps"]["complete"][missing - 1].as_py()
    assert volume["sweeps_missing"]


def test_sidecars_give_nothing(tmp_path: Path) -> None:
    tables = radar.tables(b"anything", "KTLX20130520_201643_V06_MDM", tmp_path)
    assert tables.rows == {}
    assert tables.notes == {"objects left out: sidecars (_MDM)": 1}


# Damaged and hostile


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty object"),
        (b"not a radar volume at all, but text", "not a Level II volume"),
        (b"AR2V0006.", "ends inside its volume header"),
        (HEADER, "holds no message"),
        (HEADER + struct.pack(">i", 9) + b"BZh9xxxxx" + b"BZh", "does not inflate"),
        (HEADER + ldm_record(frame(31, b"\0" * 80, 60)), "a ray"),
        (HEADER + ldm_record(frame(5)) + b"\0\0\0\x10junk-not-bzip2!", "not bzip2"),
        (HEADER + ldm_record(frame(5)[:200]), "runs past the end"),
    ],
    ids=["empty", "text", "header", "nothing", "bzip2", "ray", "record", "message"],
)  # fmt: skip
def test_garbage_is_a_bad_source_that_says_where(data: bytes, message: str) -> None:
    with pytest.raises(BadSource, match=message) as caught:
        rays_of(data)
    assert "KDMX20250101_225441_V06" in caught.value.where


def bombs() -> dict[str, tuple[bytes, str]]:
    big = bz2.compress(bytes(66 << 20))
    record = struct.pack(">i", len(big)) + big
    return {
        "record": (HEADER + record, "record_limit_bytes"),
        "claim": (HEADER + struct.pack(">i", 2**31 - 1) + b"BZh9", "record_limit_bytes"),
        "members": (gzip.compress(b"") * 100_000, "hold nothing"),
    }


@pytest.mark.parametrize("kind", ["record", "claim", "members"])
def test_bombs_are_refused_with_the_bound_and_how_to_raise_it(kind: str) -> None:
    data, message = bombs()[kind]
    with pytest.raises(BadSource) as caught:
        rays_of(data)
    assert message in str(caught.value)


def test_a_bomb_takes_no_more_memory_than_its_bound() -> None:
    """Of 256 MiB of zeros in 200 bytes: no more than the 64 MiB that a record may have, twice."""
    packed = bz2.compress(bytes(256 << 20))
    record = HEADER + struct.pack(">i", len(packed)) + packed
    tracemalloc.start()
    try:
        with pytest.raises(BadSource, match="record_limit_bytes"):
            list(_nexrad_volume.read_bytes(record, "x", threads=1).sweeps)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 160 << 20


def one_ray(gates: int, blocks: int = 1) -> bytes:
    """A record of one ray of message 31 whose one moment has so many gates."""
    head = struct.pack(
        ">4sIHHfBBHBBBBfBBH", b"KDMX", 0, 20000, 1, 0.0, 0, 0, 0, 1, 3, 1, 0, 0.5, 0, 0, blocks
    )
    pointers = struct.pack(">I", len(head) + 4 * blocks) + bytes(4 * (blocks - 1))
    moment = struct.pack(
        ">4sIHhhhhBBff", b"DREF", 0, gates, 2125, 250, 0, 0, 0, 8, 2.0, 66.0
    ) + bytes(gates)
    body = head + pointers + moment
    body += bytes(len(body) % 2)
    return HEADER + ldm_record(frame(31, body, (len(body) + 16) // 2))


@pytest.mark.parametrize(
    ("data", "option", "limits"),
    [
        (one_ray(2001), "moment_limit_gates", Limits(gates=2001)),
        (one_ray(10, blocks=33), "ray_limit_blocks", Limits(blocks=33)),
        (one_ray(10), "sweep_limit_rays", None),
    ],
    ids=["gates", "blocks", "rays"],
)
def test_every_bound_of_a_ray_names_the_option_that_raises_it(
    data: bytes, option: str, limits: Limits | None
) -> None:
    tight = Limits(rays=0) if limits is None else Limits()
    with pytest.raises(BadSource) as caught:
        list(_nexrad_volume.read_bytes(data, "x", tight).sweeps)
    assert f"raise the table's option {option}" in str(caught.value)
    assert Limits.of({option: "2001"}) != Limits()
    (sweep,) = _nexrad_volume.read_bytes(data, "x", limits).sweeps
    assert len(sweep.rays) == 1


def test_a_bound_can_be_raised(tmp_path: Path) -> None:
    data = real_file(MESSAGE_31).read_bytes()
    with pytest.raises(BadSource, match="more than 1,000,000"):
        list(_nexrad_volume.read_bytes(data, "x", Limits(1_000_000)).sweeps)
    with pytest.raises(BadSource, match="volume_limit_bytes"):
        list(_nexrad_volume.read_bytes(data, "x", Limits(2_000_000, 3_000_000)).sweeps)
    assert list(_nexrad_volume.read_bytes(data, "x", Limits(2_000_000)).sweeps)


def test_a_compress_bomb_is_refused_before_its_table_is_full() -> None:
    with pytest.raises(BadSource, match="bomb"):
        rays_of(repeating())


def repeating() -> bytes:
    """A header, then codes that each stand for one zero more than the code before."""
    codes = [*HEADER, 0, *(256 + number for number in range(25, 65280))]
    width, number, count, out = 9, 0, 0, bytearray()
    for place, code in enumerate(codes):
        number |= code << (width * count)
        count += 1
        grows = 257 + place >= 1 << width and width < 16
        if count == 8 or grows:
            out += number.to_bytes(width, "little")
            number = count = 0
        width += grows
    return b"\x1f\x9d\x90" + bytes(out)


def mutated(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(len(changed))
        kind = generator.random()
        if kind < 0.6:
            changed[at] = generator.randrange(256)
        elif kind < 0.8:
            del changed[at : at + generator.randint(1, 64)]
        else:
            changed[at:at] = generator.randbytes(generator.randint(1, 64))
    return bytes(changed)


def unpacked_messages() -> list[bytes]:
    """Bare messages, where no checksum stands between a wrong byte and the parser."""
    one = gzip.decompress(real_file(MESSAGE_1).read_bytes())
    data = real_file(MESSAGE_31).read_bytes()
    records, at = [], 24
    while at < len(data) and len(records) < 3:
        size = abs(struct.unpack_from(">i", data, at)[0])
        records.append(bz2.decompress(data[at + 4 : at + 4 + size]))
        at += 4 + size
    many = data[:24] + records[0][-2432 * 6 :] + records[1][: 9000 * 12]
    return [one[:24] + one[24 + 2432 * 130 : 24 + 2432 * 170], many]


def mutate(count: int, seed: int) -> None:
    generator = random.Random(seed)
    bases = unpacked_messages()
    for number in range(count):
        data = mutated(bases[number % len(bases)], generator)
        started = time.process_time()
        try:
            volume = _nexrad_volume.read_bytes(data, "KDMX20250101_225441", threads=1)
            for sweep in volume.sweeps:
                for run in sweep.runs:
                    assert all(len(codes) == len(run.rays) for codes in run.codes.values())
                    assert sum(int(codes.max(initial=0)) for codes in run.codes.values()) >= 0
        except BadSource:
            pass
        assert time.process_time() - started < 5


def test_wrong_bytes_are_read_or_refused_and_nothing_else() -> None:
    mutate(2000, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_wrong_bytes_are_read_or_refused_and_nothing_else(seed: int) -> None:
    mutate(46_000, seed)


def test_wrong_bytes_never_break_the_tables(tmp_path: Path) -> None:
    generator = random.Random(3)
    for base in unpacked_messages():
        for _ in range(20):
            with suppress(BadSource):
                radar.tables(mutated(base, generator), "KDMX20250101_225441_V06", tmp_path)


# Names


@given(
    st.from_regex(r"[KPT][A-Z]{3}", fullmatch=True),
    st.datetimes(min_value=datetime(1991, 1, 1)),  # noqa: DTZ001  # keys have no zone
    st.sampled_from(["", ".gz", ".Z", "_V03.gz", "_V06", "_V08", "_V06.bz2"]),
)
def test_names_of_the_archive_say_site_and_time(site: str, moment: datetime, suffix: str) -> None:
    text = f"{moment:%Y%m%d_%H%M%S}"
    key = f"s3://unidata-nexrad-level2/2013/05/20/{site}/{site}{text}{suffix}"
    name = _nexrad_names.named(key)
    assert name is not None
    assert (name.site, f"{name.time:%Y%m%d_%H%M%S}") == (site, text)
    assert _nexrad_names.is_volume(key)
    assert not _nexrad_names.is_volume(key + "_MDM")


def test_keys_of_chunks_say_volume_number_and_kind() -> None:
    name = _nexrad_names.named("s3://unidata-nexrad-level2-chunks/KLOT/940/20210625-075154-082-E")
    assert name is not None
    assert (name.site, name.volume, name.chunk, name.kind) == ("KLOT", 940, 82, "E")


def test_a_volume_that_nothing_names_is_refused_with_a_way_out(tmp_path: Path) -> None:
    data = real_file("nexrad/trimmed/example_nexrad_archive_msg1.bz2").read_bytes()
    with pytest.raises(BadSource, match="which radar") as caught:
        radar.tables(data, "example.bz2", tmp_path)
    assert "SITEYYYYMMDD_HHMMSS" in caught.value.hint
