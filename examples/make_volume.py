"""Make NEXRAD Level II volumes of a made storm, in the form of the archive: bzip2 records.

    python examples/make_volume.py volumes

A severe storm drifts to the east-northeast past KTLX: rain around three cores of hail, the
southernmost with a rotating updraft. The VCP is 212 with its lowest cut split in two, as the
radars scan: reflectivity and polarimetry with a low, velocity with a high pulse repetition rate.
Velocities beyond the Nyquist velocity are folded, and so is what lies beyond the unambiguous range
of the high rate. Layouts: ICD 2620010 (file) and 2620002 (messages 2, 5, 31).
"""

from __future__ import annotations

import argparse
import bz2
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SITE, LATITUDE, LONGITUDE, HEIGHT_M, TOWER_M = "KTLX", 35.3331, -97.2778, 370, 14
START = datetime(2019, 5, 20, 20, 0, 4, 123_000, UTC)
INTERVAL = timedelta(minutes=5)
VCP = 212
NYQUIST_M_S, FOLDED_FROM_M = 26.1, 90_000.0
FIRST_GATE_M, SPACING_M, GATES, RAYS = 2125, 250, 480, 360
SEGMENT_BYTES, SEGMENTS, RAYS_PER_RECORD = 2432, 134, 120
EARTH_RADIUS_M = 6_371_000.0 * 4 / 3
WIND_M_S = (14.0, 7.0)  # to the east, to the north
CORES = ((-30_000.0, 20_000.0, 46.0), (-12_000.0, -4_000.0, 54.0), (8_000.0, -32_000.0, 63.0))


@dataclass(frozen=True, slots=True)
class Coding:
    """How a moment is coded: code = value * scale + offset; 0 below threshold, 1 range folded."""

    scale: float
    offset: float
    bits: int = 8

    def codes(self, values: Floats, folded: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer]:
        """Codes of `values`, NaN being below threshold."""
        top = 2**self.bits - 1 if self.bits == 8 else 1023
        found = np.clip(np.round(np.nan_to_num(values) * self.scale + self.offset), 2, top)
        found = np.where(np.isnan(values), 0, np.where(folded, 1, found))
        return found.astype(">u2" if self.bits == 16 else "u1")


CODINGS: Mapping[str, Coding] = {
    "REF": Coding(2, 66),
    "VEL": Coding(2, 129),
    "SW ": Coding(2, 129),
    "ZDR": Coding(16, 128),
    "PHI": Coding(2.8361, 2, 16),
    "RHO": Coding(300, -60.5),
}
SURVEILLANCE, DOPPLER, BATCH = 1, 2, 4  # waveforms of message 5
POLARIMETRIC = ("REF", "ZDR", "PHI", "RHO")
CUTS: Sequence[tuple[float, int, tuple[str, ...]]] = (
    (0.483, SURVEILLANCE, POLARIMETRIC),
    (0.483, DOPPLER, ("REF", "VEL", "SW ")),
    (1.450, BATCH, ("REF", "VEL", "SW ", "ZDR", "PHI", "RHO")),
    (3.120, BATCH, ("REF", "VEL", "SW ", "ZDR", "PHI", "RHO")),
    (6.416, BATCH, ("REF", "VEL", "SW ", "ZDR", "PHI", "RHO")),
)


def make(folder: Path, *, volumes: int = 3, start: datetime = START) -> list[Path]:
    """Write `volumes` of the storm, five minutes apart, named as the archive names them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(volumes):
        time = start + number * INTERVAL
        path = folder / f"{SITE}{time:%Y%m%d_%H%M%S}_V06"
        path.write_bytes(volume(time, number * INTERVAL.total_seconds(), number + 1))
        paths.append(path)
    return paths


def volume(time: datetime, age_s: float, number: int, cuts: int = len(CUTS)) -> bytes:
    """The bytes of one volume that starts at `time`, the storm being `age_s` old.

    With fewer `cuts` than the VCP has the volume ends early, as if the radar had stopped.
    """
    header = b"AR2V0006." + b"%03d" % number + struct.pack(">II4s", *_date(time), SITE.encode())
    rays = [_message(31, ray, time) for cut in range(cuts) for ray in _rays(cut, time, age_s)]
    parts = [_metadata(time)]
    parts += [b"".join(rays[i : i + RAYS_PER_RECORD]) for i in range(0, len(rays), RAYS_PER_RECORD)]
    records = [bz2.compress(part) for part in parts]
    sizes = [len(record) for record in records[:-1]] + [-len(records[-1])]
    return header + b"".join(
        struct.pack(">i", size) + record for size, record in zip(sizes, records, strict=True)
    )


def _date(time: datetime) -> tuple[int, int]:
    """Days, of which 1970-01-01 is the first, and milliseconds of the day."""
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days + 1, (since.seconds * 1000) + since.microseconds // 1000


def _message(kind: int, body: bytes, time: datetime) -> bytes:
    """A message after 12 bytes of the channel terminal manager, which archives leave empty."""
    days, milliseconds = _date(time)
    half_words = (16 + len(body)) // 2
    return bytes(12) + struct.pack(
        ">HBBHHIHH", half_words, 8, kind, 0, days, milliseconds, 1, 1
    ) + body  # fmt: skip


def _metadata(time: datetime) -> bytes:
    """The first record: 134 segments, of which the last two hold messages 5 and 2."""
    messages = [_message(5, _pattern(), time), _message(2, _status(), time)]
    empty = bytes(SEGMENT_BYTES) * (SEGMENTS - len(messages))
    return empty + b"".join(message.ljust(SEGMENT_BYTES, b"\0") for message in messages)


def _pattern() -> bytes:
    """Message 5: the volume coverage pattern and its cuts."""
    cuts = b"".join(
        struct.pack(">HBBBBHH", round(angle * 65536 / 360) & ~7, 0, waveform, 0, 1, 28, 4000)
        + bytes(36)
        for angle, waveform, _ in CUTS
    )
    head = struct.pack(">HHHHHBB", (22 + len(cuts)) // 2, 2, VCP, len(CUTS), 1, 2, 2)
    return head + bytes(10) + cuts


def _status() -> bytes:
    """Message 2: operating, build 18.1, AVSET on."""
    words = [0] * 40
    words[0], words[1], words[7], words[9], words[10], words[11], words[13] = (
        16, 2, VCP, 1810, 4, 4, 2,
    )  # fmt: skip
    return struct.pack(">40H", *words)


def _rays(cut: int, start: datetime, age_s: float) -> Iterator[bytes]:
    """The bodies of message 31 of one cut."""
    angle, waveform, names = CUTS[cut]
    azimuths = (np.arange(RAYS) + 137.25) % 360
    fields = storm(azimuths, angle, age_s, doppler=waveform != SURVEILLANCE)
    folded = dict.fromkeys(("VEL", "SW "), fields["folded"] > 0)
    nothing = np.zeros((RAYS, GATES), bool)
    codes = {name: CODINGS[name].codes(fields[name], folded.get(name, nothing)) for name in names}
    for number, azimuth in enumerate(azimuths):
        time = start + timedelta(milliseconds=15_000 * cut + 40 * number)
        last = number == RAYS - 1
        first_status = 3 if cut == 0 else 5 if cut == len(CUTS) - 1 else 0
        last_status = 4 if cut == len(CUTS) - 1 else 2
        status = first_status if number == 0 else last_status if last else 1
        rows = {name: values[number] for name, values in codes.items()}
        place = (number + 1, float(azimuth), cut + 1, angle)
        yield _ray(time, place, status, waveform != SURVEILLANCE, rows)


def _ray(
    time: datetime,
    place: tuple[int, float, int, float],
    status: int,
    doppler: bool,
    rows: Mapping[str, npt.NDArray[np.integer]],
) -> bytes:
    azimuth_number, azimuth, elevation_number, elevation = place
    days, milliseconds = _date(time)
    blocks = [_volume_block(), struct.pack(">4sHhf", b"RELV", 12, -12, -44.6)]
    blocks.append(
        struct.pack(
            ">4sHhffhH", b"RRAD", 20, 1480 if doppler else 4660, -80.5, -80.7,
            round(100 * NYQUIST_M_S) if doppler else 894, 0,
        )
    )  # fmt: skip
    blocks += [_moment_block(name, codes) for name, codes in rows.items()]
    pointers, at = [], 72
    for block in blocks:
        pointers.append(at)
        at += len(block)
    head = struct.pack(
        ">4sIHHfBBHBBBBfBbH", SITE.encode(), milliseconds, days, azimuth_number, azimuth, 0, 0, at,
        2, status, elevation_number, 1, elevation, 0, 0, len(blocks),
    )  # fmt: skip
    return head + struct.pack(">10I", *pointers, *[0] * (10 - len(pointers))) + b"".join(blocks)


def _volume_block() -> bytes:
    return struct.pack(
        ">4sHBBffhHfffffHH", b"RVOL", 44, 1, 0, LATITUDE, LONGITUDE, HEIGHT_M, TOWER_M,
        -44.6, 750.0, 750.0, 0.1, 60.0, VCP, 0,
    )  # fmt: skip


def _moment_block(name: str, codes: npt.NDArray[np.integer]) -> bytes:
    coding = CODINGS[name]
    head = struct.pack(
        ">1s3sIHhhhhBBff", b"D", name.encode(), 0, len(codes), FIRST_GATE_M, SPACING_M, 100, 16,
        0, coding.bits, coding.scale, coding.offset,
    )  # fmt: skip
    return head + codes.tobytes()


def storm(azimuths: Floats, angle: float, age_s: float, *, doppler: bool) -> dict[str, Floats]:
    """The moments of one cut, rays by gates, NaN below threshold; `folded` is 1 where folded."""
    ranges = FIRST_GATE_M + SPACING_M * np.arange(GATES, dtype=np.float64)
    elevation, azimuth = np.radians(angle), np.radians(azimuths)[:, None]
    height = ranges * np.sin(elevation) + ranges**2 / (2 * EARTH_RADIUS_M)
    ground = ranges * np.cos(elevation)
    east = ground * np.sin(azimuth) - WIND_M_S[0] * age_s
    north = ground * np.cos(azimuth) - WIND_M_S[1] * age_s
    dbz = 30 * np.exp(-((east / 55_000) ** 2 + (north / 40_000) ** 2)) - height / 700
    for x, y, peak in CORES:
        near = np.exp(-(((east - x) / 6_000) ** 2 + ((north - y) / 5_000) ** 2))
        dbz = np.maximum(dbz, peak * near - np.maximum(height - 6_000, 0) / 400)
    dbz = np.where(dbz < 5, np.nan, dbz)
    hail = np.clip((dbz - 50) / 12, 0, 1)
    wind = (WIND_M_S[0] * np.sin(azimuth) + WIND_M_S[1] * np.cos(azimuth)) * np.cos(elevation)
    velocity = wind + _rotation(east, north, azimuth)
    velocity = (velocity + NYQUIST_M_S) % (2 * NYQUIST_M_S) - NYQUIST_M_S
    blank = np.where(np.isnan(dbz), np.nan, 0.0)
    return {
        "REF": dbz,
        "VEL": velocity + blank,
        "SW ": 1.5 + 4 * np.abs(_rotation(east, north, azimuth)) / 30 + blank,
        "ZDR": np.clip((dbz - 15) / 12, 0, 4) * (1 - hail),
        "PHI": 60 + np.nancumsum(np.maximum(dbz - 35, 0), axis=1) / 60 + blank,
        "RHO": 0.99 - 0.06 * hail,
        "folded": (ranges > FOLDED_FROM_M) * np.ones_like(dbz) * doppler,
    }


def _rotation(east: Floats, north: Floats, azimuth: Floats) -> Floats:
    """Radial velocity of a vortex beside the strongest core: 24 m/s at 800 m from its centre."""
    x, y = east - CORES[2][0] + 3_000, north - CORES[2][1]
    distance = np.hypot(x, y) + 1.0
    speed = 24 * np.where(distance < 800, distance / 800, (800 / distance) ** 1.5)
    return speed * (-y * np.sin(azimuth) + x * np.cos(azimuth)) / distance


def main() -> None:
    """Make volumes in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the volumes go")
    parser.add_argument("--volumes", type=int, default=3, help="how many, five minutes apart")
    given = parser.parse_args()
    for path in make(given.folder, volumes=given.volumes):
        print(path)


if __name__ == "__main__":
    main()
