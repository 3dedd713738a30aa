"""Machine code of kernels as files: kept, loaded and called without the compiler.

Source: System V ABI, x86-64 supplement, sections 4.4 (relocation) and 3.2 (calls), and numba's
calling convention (numba.core.callconv.CPUCallConv): a function takes a pointer to its result, a
pointer for an exception, then its arguments flattened, and returns a status. An array is seven
words when it has one dimension: two owners (none here), elements, bytes of an element, the data,
its length and its stride. Code that needs anything but itself and libc's memory functions is not
loaded here.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import struct
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Types = tuple[Any, ...]
Native = Callable[[list[Any]], Any]

_MAGIC = b"lakeq kernel 1\n"
_HEAD = struct.Struct(
    "<16s32sII2sH"
)  # magic, stamp, crc32, bytes of the entry's name, result, words
_ELF = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_SYMTAB, _RELA, _NOBITS, _ALLOCATED = 2, 4, 8, 2
_UNDEFINED, _ABSOLUTE, _COMMON = 0, 0xFFF1, 0xFFF2
_R_64, _R_PC32, _R_PLT32, _R_PC64 = 1, 2, 4, 24
# What code may call. numba frees an array through the last one when its owner's count falls to
# zero; the arrays given here have no owner, so it is never reached.
_LIBC = {
    b"memcpy": "memcpy",
    b"memmove": "memmove",
    b"memset": "memset",
    b"NRT_MemInfo_call_dtor": "abort",
}
_OK = (0, -2)  # -2: returned None


class Code(NamedTuple):
    """An object file, the name of its function, what it returns, and its number of words."""

    data: bytes
    entry: str
    result: str
    words: int


class Packed:
    """A named tuple of arrays, flattened once."""

    __slots__ = ("arguments", "flat", "types")

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.flat, self.types = flattened(arguments)


def flattened(arguments: tuple[Any, ...]) -> tuple[list[Any], Types]:
    """The words of a call, and what types they are of."""
    flat: list[Any] = []
    types: list[Any] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            data = argument.__array_interface__["data"][0]
            flat += (0, 0, argument.size, argument.itemsize, data)
            flat += argument.shape
            flat += argument.strides
            layout = argument.ndim if argument.flags.c_contiguous else -argument.ndim
            types += (argument.dtype.char, layout)
        elif isinstance(argument, Packed):
            flat += argument.flat
            types.append(argument.types)
        elif isinstance(argument, tuple):
            inner, inner_types = flattened(argument)
            flat += inner
            types.append(inner_types)
        else:
            flat.append(int(argument))
            types.append("word")
    return flat, tuple(types)


def width(types: Types) -> int:
    """How many words arguments of `types` make."""
    words = 0
    for kind in types:
        if isinstance(kind, tuple):
            words += width(kind)
        elif isinstance(kind, int):
            words += 5 + 2 * abs(kind)
        else:
            words += kind == "word"
    return words


def supported() -> bool:
    """Whether machine code can be loaded here: on Linux on x86-64."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 1 << 32


def processor() -> str:
    """What the code may be compiled for: the model and abilities of the processor."""
    try:
        with Path("/proc/cpuinfo").open("rb") as file:
            first = file.read(1 << 14).split(b"\n\n")[0]
    except OSError:
        return ""
    wanted = (b"vendor_id", b"cpu family", b"model", b"flags")
    return "; ".join(
        line.decode("ascii", "replace") for line in first.splitlines() if line.startswith(wanted)
    )


def file_name(function: Callable[..., Any], types: Types) -> str:
    """The name of the file that keeps `function` compiled for `types`."""
    digest = hashlib.sha256(repr(types).encode()).hexdigest()[:12]
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{digest}.kernel"


def writable(folder: Path) -> Path | None:
    """`folder`, made where it is missing, when this user alone decides what is in it; else None."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.stat()
    except OSError:
        return None
    trusted = facts.st_uid in (os.getuid(), 0) and not facts.st_mode & 0o002
    return folder if trusted and os.access(folder, os.W_OK) else None


def store(path: Path, stamp: str, code: Code) -> None:
    """Keep `code`; a folder that is full or gone is no error, the next process compiles again."""
    body = code.entry.encode() + code.data
    digest = hashlib.sha256(stamp.encode()).digest()
    head = _HEAD.pack(
        _MAGIC, digest, zlib.crc32(body), len(code.entry), code.result.encode(), code.words
    )
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with contextlib.suppress(OSError):
        draft.write_bytes(head + body)
        draft.replace(path)


def load(path: Path, stamp: str) -> Native | None:
    """The kept code at `path`; None when there is none, or none for this stamp."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _HEAD.size:
        return None
    magic, digest, crc, name, result, words = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic.rstrip(b"\0") != _MAGIC or digest != hashlib.sha256(stamp.encode()).digest():
        return None
    if zlib.crc32(body) != crc:
        return None
    return loaded(Code(body[name:], body[:name].decode(), result.rstrip(b"\0").decode(), words))


def loaded(code: Code) -> Native | None:
    """A function that takes the words of a call; None when the code needs what is not here."""
    address = _Image(code.data).address(code.entry.encode())
    if address is None:
        return None
    words = [ctypes.c_int64] * code.words
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *words)(address)

    def call(flat: list[Any]) -> int | None:
        result, exception = ctypes.c_int64(), ctypes.c_void_p()
        status = function(ctypes.addressof(result), ctypes.addressof(exception), *flat)
        if status not in _OK:
            raise RuntimeError(f"kernel {code.entry[:80]} ended with status {status}")
        return result.value if code.result else None

    return call


_images: list[Any] = []  # memory that holds code, for as long as the process runs


class _Image:
    """One relocatable ELF object, laid out in memory that can be executed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        header = _ELF.unpack_from(data)
        table, count = header[6], header[12]
        self._sections = [_SECTION.unpack_from(data, table + 64 * i) for i in range(count)]
        names = self._sections[header[13]]
        self._names = [_text(data, names[4] + section[0]) for section in self._sections]

    def address(self, entry: bytes) -> int | None:
        """Where the function `entry` stands once the object is in memory; None if it cannot be."""
        at, size = self._places()
        symbols, size = self._symbols(size)
        memory = mmap.mmap(-1, max(size, 1))
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for index, place in at.items():
            kind, start, length = (self._sections[index][i] for i in (1, 4, 5))
            if kind != _NOBITS:
                memory[place : place + length] = self._data[start : start + length]
        values = [self._value(symbol, at, base) for symbol in symbols]
        for section in self._sections:
            relocates = section[1] == _RELA and section[7] in at
            if relocates and not self._relocate(section, memory, base, at[section[7]], values):
                return None
        found = next((v for s, v in zip(symbols, values, strict=True) if s[0] == entry), None)
        if found is None or not _executable(base, len(memory)):
            return None
        _images.append(memory)
        return found

    def _places(self) -> tuple[dict[int, int], int]:
        """Where each section that is needed at run time goes, and where they end."""
        at, end = {}, 0
        for index, section in enumerate(self._sections):
            if section[2] & _ALLOCATED and self._names[index] != b".eh_frame":
                align = max(section[8], 16)
                at[index] = -(-end // align) * align
                end = at[index] + section[5]
        return at, end

    def _symbols(self, end: int) -> tuple[list[tuple[bytes, int, int]], int]:
        """Name, section and offset of each symbol; common ones get a place behind `end`."""
        symbols = []
        for section in self._sections:
            if section[1] != _SYMTAB:
                continue
            strings = self._sections[section[6]][4]
            for start in range(section[4], section[4] + section[5], _SYMBOL.size):
                name, _, _, index, value, size = _SYMBOL.unpack_from(self._data, start)
                if index == _COMMON:
                    end = -(-end // 16) * 16
                    value, end = end, end + size
                symbols.append((_text(self._data, strings + name), index, value))
        return symbols, end

    @staticmethod
    def _value(symbol: tuple[bytes, int, int], at: dict[int, int], base: int) -> int | None:
        name, index, value = symbol
        if index == _COMMON:
            return base + value
        if index == _ABSOLUTE:
            return value
        if index == _UNDEFINED:
            return _libc(name) if name in _LIBC else None
        return base + at[index] + value if index in at else None

    def _relocate(
        self, section: Any, memory: mmap.mmap, base: int, place: int, values: list[int | None]
    ) -> bool:
        """Write the addresses that one section refers to; False for a kind that is not known."""
        for start in range(section[4], section[4] + section[5], _RELOCATION.size):
            offset, info, addend = _RELOCATION.unpack_from(self._data, start)
            value, kind = values[info >> 32], info & 0xFFFFFFFF
            if value is None:
                return False
            to, here = place + offset, base + place + offset
            if kind == _R_64:
                struct.pack_into("<Q", memory, to, (value + addend) & (1 << 64) - 1)
            elif kind == _R_PC64:
                struct.pack_into("<q", memory, to, value + addend - here)
            elif kind in (_R_PC32, _R_PLT32) and -(1 << 31) <= value + addend - here < 1 << 31:
                struct.pack_into("<i", memory, to, value + addend - here)
            else:
                return False
        return True


def _text(data: bytes, start: int) -> bytes:
    return data[start : data.index(b"\0", start)]


@cache
def _libc(name: bytes) -> int | None:
    function = getattr(ctypes.CDLL(None), _LIBC[name])
    return ctypes.cast(function, ctypes.c_void_p).value


def _executable(base: int, size: int) -> bool:
    """Make memory executable and read-only; False where the system forbids that."""
    libc = ctypes.CDLL(None, use_errno=True)
    whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return not libc.mprotect(
        ctypes.c_void_p(base), ctypes.c_size_t(whole), mmap.PROT_READ | mmap.PROT_EXEC
    )
