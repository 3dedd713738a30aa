"""What the RDA says of itself and of its pattern: messages 2 and 5.

Source: ICD 2620002 (RDA/RPG), tables IV (message 2) and XI (message 5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_CUTS = 64  # of a VCP; the ICD allows 32
_ANGLE_5 = 360 / 65536
_AZIMUTH_RATE = 22.5 / 16384  # degrees a second, of message 5


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut that a VCP declares in message 5."""

    fixed_angle: float
    channel_config: int
    waveform_type: int
    super_resolution: int
    prf_number: int
    prf_pulses: int
    azimuth_rate: float
    doppler_prf_number: int
    doppler_prf_pulses: int
    supplemental: int


@dataclass(frozen=True, slots=True)
class Vcp:
    """Message 5: the volume coverage pattern."""

    pattern_type: int
    number: int
    doppler_resolution: float | None
    pulse_width: str | None
    sequencing: int
    supplemental: int
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Message 2: how the RDA was set."""

    rda_build: int
    operational_mode: int
    super_res_status: int
    scan_flags: int | None


_RESOLUTION: dict[int, float] = {2: 0.5, 4: 1.0}
_PULSE: dict[int, str] = {2: "short", 4: "long"}
_VCP = struct.Struct(">HHHHHBB4xHH2x")
_CUT = struct.Struct(">HBBBBHH12xHHHH")  # of 46 bytes; sectors 2 and 3 follow


def vcp_of(data: bytes) -> Vcp | None:
    """Message 5; None when it declares no cuts, or more than a VCP can have (maintenance)."""
    _, pattern, number, count, _, resolution, pulse, sequencing, extra = _VCP.unpack_from(data)
    if not 0 < count <= MAX_CUTS or _VCP.size + 46 * count > len(data):
        return None
    cuts = tuple(_cut(data, _VCP.size + 46 * number) for number in range(count))
    return Vcp(
        pattern, number, _RESOLUTION.get(resolution), _PULSE.get(pulse), sequencing, extra, cuts
    )


def _cut(data: bytes, at: int) -> Cut:
    angle, channel, waveform, control, prf, pulses, rate, _, prf_1, pulses_1, extra = (
        _CUT.unpack_from(data, at)
    )
    degrees = angle * _ANGLE_5
    return Cut(
        fixed_angle=degrees - 360 if degrees > 180 else degrees,
        channel_config=channel,
        waveform_type=waveform,
        super_resolution=control,
        prf_number=prf,
        prf_pulses=pulses,
        azimuth_rate=rate * _AZIMUTH_RATE,
        doppler_prf_number=prf_1,
        doppler_prf_pulses=pulses_1,
        supplemental=extra,
    )


def status_of(data: bytes) -> Status | None:
    """Message 2."""
    words = struct.unpack_from(">14H", data)
    return Status(words[9], words[10], words[11], words[13])
