"""Messages of the RDA: where they are in a record, and their rays as whole arrays.

Source: ICD 2620002 (RDA/RPG), tables II (header), III (message 1), XI (message 5), IV (message 2)
and XVII (message 31). Numbers are big-endian. A message has 12 bytes before its header that are
no longer used; all but message 31 stand in frames of 2,432 bytes. Rays that follow each other at
equal distance with equal blocks are one `Run`, whose codes are views into the record.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadSource
from lakeq.formats._nexrad_container import Limits, over
from lakeq.formats._nexrad_pattern import Status, Vcp, status_of, vcp_of

FRAME_BYTES = 2432
HEADER_BYTES = 28  # 12 unused, then 16: size in halfwords, channel, type, …
MOMENTS = {
    b"DREF": "dbzh",
    b"DVEL": "vradh",
    b"DSW ": "wradh",
    b"DSW\0": "wradh",
    b"DZDR": "zdr",
    b"DPHI": "phidp",
    b"DRHO": "rhohv",
    b"DCFP": "ccorh",
}
NAMES = tuple(dict.fromkeys(MOMENTS.values()))
DAY_MS = 86_400_000

RAY = np.dtype(
    [
        ("time_ms", np.int64),  # since 1970-01-01
        ("azimuth", np.float32),
        ("elevation", np.float32),
        ("elevation_number", np.int32),
        ("azimuth_number", np.int32),
        ("radial_status", np.int32),
        ("nyquist_velocity", np.float32),
        ("unambiguous_range", np.float32),
        ("azimuth_spacing", np.float32),
        ("cut_sector", np.int32),
        ("spot_blanking", np.int32),
        ("azimuth_indexing", np.float32),  # NaN in what follows: the message does not say
        ("noise_h_dbm", np.float32),
        ("noise_v_dbm", np.float32),
        ("calibration_h_db", np.float32),
        ("calibration_v_db", np.float32),
        ("calibration_db", np.float32),
        ("atmospheric_attenuation", np.float32),
    ]
)
_HEAD_31 = np.dtype(
    [
        ("icao", "S4"),
        ("ms", ">u4"),
        ("day", ">u2"),
        ("azimuth_number", ">u2"),
        ("azimuth", ">f4"),
        ("compressed", "u1"),
        ("spare", "u1"),
        ("length", ">u2"),
        ("spacing", "u1"),
        ("status", "u1"),
        ("elevation_number", "u1"),
        ("cut_sector", "u1"),
        ("elevation", ">f4"),
        ("spot_blanking", "u1"),
        ("indexing", "u1"),
        ("blocks", ">u2"),
    ]
)
_HEAD_1 = np.dtype(
    [
        ("ms", ">u4"),
        ("day", ">u2"),
        ("unambiguous", ">i2"),
        ("azimuth", ">u2"),
        ("azimuth_number", ">u2"),
        ("status", ">u2"),
        ("elevation", ">u2"),
        ("elevation_number", ">u2"),
        ("dbzh_first", ">i2"),
        ("doppler_first", ">i2"),
        ("dbzh_spacing", ">u2"),
        ("doppler_spacing", ">u2"),
        ("dbzh_gates", ">u2"),
        ("doppler_gates", ">u2"),
        ("cut_sector", ">u2"),
        ("calibration", ">f4"),
        ("dbzh_at", ">u2"),
        ("vradh_at", ">u2"),
        ("wradh_at", ">u2"),
        ("resolution", ">u2"),
        ("vcp", ">u2"),
        ("spare", "V14"),
        ("nyquist", ">i2"),
        ("attenuation", ">i2"),
        ("threshold", ">i2"),
        ("spot_blanking", ">u2"),
    ]
)
_LAYOUT_1 = slice(18, 30), slice(36, 44)  # bytes of the head that say where the codes are
_MOMENT = np.dtype(
    [
        ("name", "S4"),
        ("spare", ">u4"),
        ("gates", ">u2"),
        ("first", ">i2"),
        ("spacing", ">i2"),
        ("overlay", ">i2"),
        ("snr", ">i2"),
        ("flags", "u1"),
        ("bits", "u1"),
        ("scale", ">f4"),
        ("offset", ">f4"),
    ]
)
_VOL = struct.Struct(">4x2xBBffhHfffffHH")
_ELV = np.dtype([("name", "S4"), ("size", ">u2"), ("attenuation", ">i2"), ("calibration", ">f4")])
_RAD = np.dtype(
    [
        ("name", "S4"),
        ("size", ">u2"),
        ("unambiguous", ">i2"),
        ("noise_h", ">f4"),
        ("noise_v", ">f4"),
        ("nyquist", ">i2"),
        ("flags", ">u2"),
        ("calibration_h", ">f4"),  # since build 12 (size 28); before, not there
        ("calibration_v", ">f4"),
    ]
)
_ANGLE_1 = 180 / 32768  # degrees a code of message 1: exact in float32


@dataclass(frozen=True, slots=True)
class Coding:
    """What turns the codes of one moment into values and places: value = (code - offset) / scale.

    `control_flags` and `snr_threshold_db` are None in message 1, which does not have them.
    """

    scale: float
    offset: float
    range_m: int
    spacing_m: int
    bits: int
    control_flags: int | None
    snr_threshold_db: float | None
    overlay_threshold_db: float


@dataclass(frozen=True, slots=True)
class Run:
    """Rays in order of time that carry the same moments: `rays` has `RAY`, codes a row a ray."""

    rays: npt.NDArray[Any]
    codes: dict[str, npt.NDArray[Any]]
    codings: dict[str, Coding]

    def part(self, start: int, stop: int) -> Run:
        """The rays from `start` to before `stop`."""
        codes = {name: array[start:stop] for name, array in self.codes.items()}
        return Run(self.rays[start:stop], codes, self.codings)


@dataclass(frozen=True, slots=True)
class Site:
    """Constants of the radar in the VOL block of message 31."""

    icao: str
    latitude: float
    longitude: float
    site_height_m: int
    tower_height_m: int
    calibration_dbz0: float
    tx_power_h_kw: float
    tx_power_v_kw: float
    system_zdr_db: float
    initial_phidp: float
    vcp: int
    processing_status: int


@dataclass(slots=True)
class Facts:
    """What the messages say once for the volume; each the first that came."""

    site: Site | None = None
    vcp: Vcp | None = None
    status: Status | None = None
    vcp_number: int | None = None  # of message 1
    messages: Counter[int] = field(default_factory=Counter)
    unknown_blocks: Counter[str] = field(default_factory=Counter)


class Messages:
    """Reads records of messages one after the other; `facts` grows as they are read."""

    def __init__(self, uri: str, limits: Limits) -> None:
        self.facts = Facts()
        self._uri = uri
        self._limits = limits
        self._where = uri

    def runs(self, data: bytes, number: int, byte: int, *, whole: bool) -> tuple[list[Run], bytes]:
        """The rays of one record, in order, and the bytes of a message that it holds in part.

        Only a record that is not `whole` may end inside a message; else `BadSource`.
        """
        self._where = (
            f"{self._uri}, record {number}, byte {byte}"
            if number >= 0
            else (f"{self._uri}, byte {byte} of its messages")
        )
        found: dict[int, list[tuple[int, int]]] = {1: [], 31: []}
        end = self._walk(data, found)
        if whole and data[end:].strip(b"\0"):
            raise self._bad("a message runs past the end of its record", end)
        runs = list(self._runs_31(data, found[31])) if found[31] else []
        runs += list(self._runs_1(data, found[1])) if found[1] else []
        return runs, data[end:]

    def _walk(self, data: bytes, found: dict[int, list[tuple[int, int]]]) -> int:
        """Find the messages of `data` and their ends; stops at the first that is not whole."""
        header = struct.Struct(">HBB")
        count = self.facts.messages
        at, size = 0, len(data)
        while at + HEADER_BYTES <= size:
            halfwords, _, kind = header.unpack_from(data, at + 12)
            step = 2 * halfwords + 12 if kind == 31 or halfwords > 1210 else FRAME_BYTES
            if halfwords == 65535:  # the ICD's way to say a size that needs 32 bits
                step = HEADER_BYTES + int.from_bytes(data[at + 24 : at + 28], "big")
            if at + step > size:
                break
            count[kind] += 1
            if kind in found:
                found[kind].append((at, at + step))
            elif kind == 5 and self.facts.vcp is None:
                self.facts.vcp = vcp_of(data[at + HEADER_BYTES : at + step])
            elif kind == 2 and self.facts.status is None:
                self.facts.status = status_of(data[at + HEADER_BYTES : at + step])
            at += step
        return at

    def _bad(self, what: str, at: int) -> BadSource:
        hint = "the object is damaged: fetch it again"
        return BadSource(what, self._place(at), hint)

    def _place(self, at: int) -> str:
        return f"{self._where}, byte {at} inflated"

    # Message 31

    def _runs_31(self, data: bytes, found: list[tuple[int, int]]) -> Iterator[Run]:
        at, ends = np.array(found, np.int64).T
        raw = np.frombuffer(data, np.uint8)
        body = at + HEADER_BYTES
        self._check(ends - body >= _HEAD_31.itemsize + 4, at, "a ray is shorter than its header")
        head = _gather(raw, body, _HEAD_31)
        blocks = head["blocks"].astype(np.int64)
        if (too_many := int(blocks.max())) > (most := self._limits.blocks):
            what = f"a ray claims {too_many} blocks, more than {most}"
            raise over(what, "ray_limit_blocks", self._place(int(at[np.argmax(blocks)])))
        self._check(head["compressed"] == 0, at, "a ray that is compressed by itself")
        top = int(blocks.max())
        known = body + _HEAD_31.itemsize + 4 * blocks <= ends
        self._check(known, at, "a ray is shorter than its block pointers")
        pointers = np.zeros((len(at), top), np.int64)
        for number in range(top):
            has = blocks > number
            place = body[has] + _HEAD_31.itemsize + 4 * number
            pointers[has, number] = _gather(raw, place, np.dtype(">u4"))
        key = np.column_stack([ends - at, pointers])
        for first, last in _same(key, np.diff(at)):
            yield from self._alike_31(raw, at[first:last], head[first:last], key[first])

    def _alike_31(
        self, raw: npt.NDArray[Any], at: npt.NDArray[Any], head: npt.NDArray[Any], key: Any
    ) -> Iterator[Run]:
        """The runs of rays of one size whose blocks stand at the same places."""
        size, places = int(key[0]) - HEADER_BYTES, [int(p) for p in key[1:] if p]
        body = at + HEADER_BYTES
        fields: dict[str, Any] = {}
        moments: list[tuple[str, int, Any]] = []
        for place in places:
            if place + 4 > size:
                raise self._bad("a block starts behind the end of its ray", int(at[0]))
            names = _gather(raw, body + place, np.dtype("V4"))
            name = names[0].tobytes()
            if not bool((names == names[0]).all()):  # the same places, other blocks: ray by ray
                for number in range(len(at)):
                    one = slice(number, number + 1)
                    yield from self._alike_31(raw, at[one], head[one], key)
                return
            if name in MOMENTS:
                self._fits(place + _MOMENT.itemsize, size, at)
                moments.append((MOMENTS[name], place, _gather(raw, body + place, _MOMENT)))
            elif name == b"RVOL":
                self._site(raw, int(body[0]) + place, place, size, head, at)
            elif name == b"RELV":
                self._fits(place + _ELV.itemsize, size, at)
                fields["elv"] = _gather(raw, body + place, _ELV)
            elif name == b"RRAD":
                self._fits(place + 20, size, at)
                long = place + _RAD.itemsize <= size
                fields["rad"] = _gather(raw, body + place, _RAD if long else _short(_RAD, 20))
            else:
                text = name[1:].decode("ascii", "replace").strip("\0 ")
                self.facts.unknown_blocks[text] += len(at)
        if len({name for name, _, _ in moments}) < len(moments):
            raise self._bad("a moment stands twice in one ray", int(at[0]))
        rays = _rays_31(head, fields)
        yield from self._cut(raw, at, rays, moments, size)

    def _cut(
        self,
        raw: npt.NDArray[Any],
        at: npt.NDArray[Any],
        rays: npt.NDArray[Any],
        moments: list[tuple[str, int, Any]],
        size: int,
    ) -> Iterator[Run]:
        """Runs of rays whose moments are coded alike."""
        texts = [m.view("V28") if m.dtype.itemsize == 28 else m for _, _, m in moments]
        changed = np.zeros(max(0, len(at) - 1), bool)
        for text in texts:
            changed |= text[1:] != text[:-1]
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(at)]
        for first, last in pairwise(bounds):
            codes, codings = {}, {}
            for name, place, block in moments:
                one = block[first]
                coding = _coding(one)
                gates, bits = int(one["gates"]), coding.bits
                if bits not in (8, 16) or not coding.scale or not np.isfinite(coding.scale):
                    what = f"{name} has {bits} bits a code and scale {coding.scale}"
                    raise self._bad(what, int(at[first]))
                if gates > self._limits.gates:
                    what = f"{name} claims {gates} gates, more than {self._limits.gates}"
                    raise over(what, "moment_limit_gates", self._place(int(at[first])))
                self._fits(place + 28 + gates * bits // 8, size, at[first:])
                if gates:
                    where = at[first:last] + HEADER_BYTES + place + 28
                    codes[name] = _rows(raw, where, gates, bits)
                    codings[name] = coding
            yield Run(rays[first:last], codes, codings)

    def _site(
        self,
        raw: npt.NDArray[Any],
        start: int,
        place: int,
        size: int,
        head: npt.NDArray[Any],
        at: npt.NDArray[Any],
    ) -> None:
        self._fits(place + _VOL.size, size, at)
        if self.facts.site is None:
            values = _VOL.unpack_from(raw[start : start + _VOL.size].tobytes())[2:]
            icao = head["icao"][0].decode("ascii", "replace").strip("\0 ")
            self.facts.site = Site(icao, *values)

    def _fits(self, end: int, size: int, at: npt.NDArray[Any]) -> None:
        if end > size:
            raise self._bad("a block runs past the end of its ray", int(at[0]))

    def _check(self, good: npt.NDArray[np.bool_], at: npt.NDArray[Any], what: str) -> None:
        if not good.all():
            raise self._bad(what, int(at[np.argmin(good)]))

    # Message 1

    def _runs_1(self, data: bytes, found: list[tuple[int, int]]) -> Iterator[Run]:
        at, _ = np.array(found, np.int64).T
        raw = np.frombuffer(data, np.uint8)
        head = _gather(raw, at + HEADER_BYTES, _HEAD_1)
        if self.facts.vcp_number is None:
            self.facts.vcp_number = int(head["vcp"][0])
        plain = head.view(np.uint8).reshape(len(at), -1)
        key = np.column_stack([plain[:, part] for part in _LAYOUT_1])
        key = np.column_stack([key, plain[:, 64:66]])
        rays = _rays_1(head)
        for first, last in _same(key, np.diff(at)):
            one = head[first]
            codes, codings = {}, {}
            for name, kind in (("dbzh", "dbzh"), ("vradh", "doppler"), ("wradh", "doppler")):
                place, gates = int(one[f"{name}_at"]), int(one[f"{kind}_gates"])
                if not place or not gates:
                    continue
                if place + gates > FRAME_BYTES - HEADER_BYTES:
                    what = f"{name} claims {gates} gates behind the end of its message"
                    raise self._bad(what, int(at[first]))
                codes[name] = _rows(raw, at[first:last] + HEADER_BYTES + place, gates, 8)
                codings[name] = _coding_1(name, kind, one)
            yield Run(rays[first:last], codes, codings)


def _gather(raw: npt.NDArray[Any], at: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The structures of `dtype` that start at the bytes `at`."""
    rows = raw[at[:, None] + np.arange(dtype.itemsize)]
    return np.ascontiguousarray(rows).view(dtype)[:, 0]


def _short(dtype: np.dtype[Any], size: int) -> np.dtype[Any]:
    """The fields of `dtype` in its first `size` bytes."""
    names = [n for n in dtype.names or () if dtype.fields and dtype.fields[n][1] < size]
    return np.dtype([(name, dtype[name]) for name in names])


def _same(key: npt.NDArray[Any], steps: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Ranges of neighbours with equal keys that stand at equal distance."""
    size = len(key)
    if size == 1:
        yield 0, 1
        return
    changed = (key[1:] != key[:-1]).any(axis=1)
    first = 0
    while first < size:
        last = first + 1
        if last < size and not changed[first]:
            stops = np.flatnonzero(changed[first:] | (steps[first:] != steps[first]))
            last = first + int(stops[0]) + 1 if len(stops) else size
        yield first, last
        first = last


def _rows(raw: npt.NDArray[Any], at: npt.NDArray[Any], gates: int, bits: int) -> npt.NDArray[Any]:
    """A view of `gates` codes behind each of the bytes `at`, which stand at equal distance."""
    step = int(at[1] - at[0]) if len(at) > 1 else 0
    dtype = np.dtype(np.uint8 if bits == 8 else ">u2")
    shape, strides = (len(at), gates), (step, dtype.itemsize)
    return np.ndarray(shape, dtype, raw.data, int(at[0]), strides)


def _coding(block: Any) -> Coding:
    return Coding(
        scale=float(block["scale"]),
        offset=float(block["offset"]),
        range_m=int(block["first"]),
        spacing_m=int(block["spacing"]),
        bits=int(block["bits"]),
        control_flags=int(block["flags"]),
        snr_threshold_db=int(block["snr"]) / 8,
        overlay_threshold_db=int(block["overlay"]) / 10,
    )


def _coding_1(name: str, kind: str, head: Any) -> Coding:
    """Table III: (code - 2) / 2 - 32 dBZ; velocities in steps of 0.5 or 1 m/s around code 129."""
    whole = name == "vradh" and int(head["resolution"]) == 4
    return Coding(
        scale=1.0 if whole else 2.0,
        offset=66.0 if name == "dbzh" else 129.0,
        range_m=int(head[f"{kind}_first"]),
        spacing_m=int(head[f"{kind}_spacing"]),
        bits=8,
        control_flags=None,
        snr_threshold_db=None,
        overlay_threshold_db=int(head["threshold"]) / 10,
    )


def _rays_31(head: npt.NDArray[Any], fields: dict[str, Any]) -> npt.NDArray[Any]:
    rays = np.zeros(len(head), RAY)
    rays["time_ms"] = (head["day"].astype(np.int64) - 1) * DAY_MS + head["ms"]
    for name in ("azimuth", "elevation", "elevation_number", "azimuth_number", "cut_sector"):
        rays[name] = head[name]
    rays["radial_status"] = head["status"]
    rays["spot_blanking"] = head["spot_blanking"]
    rays["azimuth_spacing"] = np.where(head["spacing"] == 1, 0.5, 1)
    rays["azimuth_indexing"] = head["indexing"] * 0.01
    rad, elv = fields.get("rad"), fields.get("elv")
    for name in RAY.names[RAY.names.index("noise_h_dbm") :] if RAY.names else ():
        rays[name] = np.nan
    if rad is not None:
        rays["nyquist_velocity"] = rad["nyquist"] * 0.01
        rays["unambiguous_range"] = rad["unambiguous"] * 0.1
        rays["noise_h_dbm"], rays["noise_v_dbm"] = rad["noise_h"], rad["noise_v"]
        if "calibration_v" in (rad.dtype.names or ()):
            long = rad["size"] >= _RAD.itemsize
            rays["calibration_h_db"] = np.where(long, rad["calibration_h"], np.nan)
            rays["calibration_v_db"] = np.where(long, rad["calibration_v"], np.nan)
    else:
        rays["nyquist_velocity"] = rays["unambiguous_range"] = np.nan
    if elv is not None:
        rays["calibration_db"] = elv["calibration"]
        rays["atmospheric_attenuation"] = elv["attenuation"] * 0.001
    return rays


def _rays_1(head: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rays = np.zeros(len(head), RAY)
    rays["time_ms"] = (head["day"].astype(np.int64) - 1) * DAY_MS + head["ms"]
    for name in ("azimuth", "elevation"):
        rays[name] = head[name] * _ANGLE_1
    for name in ("elevation_number", "azimuth_number", "cut_sector", "spot_blanking"):
        rays[name] = head[name]
    rays["radial_status"] = head["status"]
    rays["azimuth_spacing"] = 1
    rays["nyquist_velocity"] = head["nyquist"] * 0.01
    rays["unambiguous_range"] = head["unambiguous"] * 0.1
    rays["calibration_db"] = head["calibration"]
    rays["atmospheric_attenuation"] = head["attenuation"] * 0.001
    for name in ("azimuth_indexing", "noise_h_dbm", "noise_v_dbm"):
        rays[name] = np.nan
    rays["calibration_h_db"] = rays["calibration_v_db"] = np.nan
    return rays
