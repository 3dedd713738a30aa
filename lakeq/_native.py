"""Machine code of kernels as files: kept, loaded through LLVM and called without numba.

numba's import and first dispatch cost half a second of CPU; LLVM's binding alone 0.06 s. Source:
numba's calling convention (numba.core.callconv.CPUCallConv): a function takes a pointer to its
result, a pointer for an exception, then its arguments flattened, and returns a status. An array is
seven words when it has one dimension: two owners (none here), elements, bytes of an element, the
data, its length and its stride. Code that needs anything but itself and the memory functions of
the C library is not kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Types = tuple[Any, ...]
Native = Callable[[list[Any]], Any]

_MAGIC = b"lakeq kernel 1\n"
# magic, stamp, crc32, bytes of the entry's name, result, words
_HEAD = struct.Struct("<16s32sII2sH")
# numba frees an array through this when its owner's count falls to zero; the arrays given here have
# no owner, so it is never reached.
_FREES = "NRT_MemInfo_call_dtor"
CALLABLE = frozenset({"memcpy", "memmove", "memset", _FREES})
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


@cache
def processor() -> str:
    """What the code may be compiled for: the model and abilities of the processor."""
    from llvmlite import binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {features}"


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
    trusted = facts.st_uid in (os.getuid(), 0) and not facts.st_mode & 0o022
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
    """A function that takes the words of a call; None when the code has no such function."""
    from llvmlite import binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.data))
    engine.finalize_object()
    address = engine.get_function_address(code.entry)
    if not address:
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


@cache
def _engine() -> Any:
    """What holds the loaded code, for as long as the process runs."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if llvm.address_of_symbol(_FREES) is None:  # numba brings the real one when it is here
        abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
        llvm.add_symbol(_FREES, abort)
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(codemodel="jitdefault", jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
