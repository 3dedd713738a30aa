"""Compiles the inner loops with numba and keeps the machine code on disk.

Importing numba and looking up its cached code takes half a second of CPU, more than reading most
objects. So the machine code of each kernel is kept as a file of its own, and a later process loads
that file and calls it without numba (`_native`). A kernel that needs numba's runtime, and any
where nothing can be kept, is called by numba as usual.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np

from lakeq import _native
from lakeq._jit_notice import tell_compiling

_loading = threading.RLock()  # one kernel at a time, whichever thread calls it first
F = TypeVar("F", bound=Callable[..., Any])

# The 64-bit integer of kernels; to a reader of types it is an int.
i64 = cast("Callable[[Any], int]", np.int64)

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
FOLDER_VARIABLE = "LAKEQ_KERNELS"  # a folder for machine code; "numba": always call through numba


def kernel(function: F) -> F:
    """Compile `function` on its first call, without the GIL, once per machine.

    The code is kept in the package, or under the user's cache folder when the package is
    read-only; where neither can be written it is compiled again in every process. A change of any
    private module of its format makes it compile anew. Arguments are contiguous arrays, whole
    numbers, and named tuples of them; the result is a whole number or None. A kernel that
    allocates works, but only through numba.
    """
    return cast("F", _Kernel(function))


def part(function: F) -> F:
    """A function that only kernels call: compiled into each of them."""
    return cast("F", _Part(function))


def packed(arguments: tuple[Any, ...]) -> Any:
    """A named tuple of arrays in the form that kernels take it: worth it for many calls."""
    return _native.Packed(arguments)


class _Part:
    """A function to be compiled; numba sees it when a kernel is."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        """Call it as plain Python."""
        return self.function(*arguments)


class _Kernel(_Part):
    """A function that is compiled for the types of its arguments when it is called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._compiled: dict[Any, Callable[[list[Any], tuple[Any, ...]], Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        flat, types = _native.flattened(arguments)
        compiled = self._compiled.get(types)
        if compiled is None:
            with _loading:
                compiled = self._compiled.get(types) or self._load(types, arguments)
                self._compiled[types] = compiled
        return compiled(flat, arguments)

    def _load(
        self, types: _native.Types, arguments: tuple[Any, ...]
    ) -> Callable[[list[Any], tuple[Any, ...]], Any]:
        """The native code for these types, kept or just compiled; numba's where there is none."""
        folder = _folder()
        path = folder and folder / _native.file_name(self.function, types)
        stamp = _stamp(self.function.__code__.co_filename)
        entry = path and _native.load(path, stamp)
        if not entry:
            tell_compiling()
            code = _machine_code(self.function, types, arguments) if path else None
            entry = code and _native.loaded(code)
            if entry and path and code:
                _native.store(path, stamp, code)
        if entry:
            native = entry
            return lambda flat, _arguments: native(flat)
        return _through_numba(self.function)


def _through_numba(function: Callable[..., Any]) -> Callable[[list[Any], tuple[Any, ...]], Any]:
    dispatcher = _jitted(function)

    def call(_flat: list[Any], arguments: tuple[Any, ...]) -> Any:
        return dispatcher(*map(_plain, arguments))

    return call


def _plain(argument: Any) -> Any:
    return argument.arguments if isinstance(argument, _native.Packed) else argument


def _machine_code(
    function: Callable[..., Any], types: _native.Types, arguments: tuple[Any, ...]
) -> _native.Code | None:
    """Compile `function` for arguments like these; None where the result cannot stand alone."""
    import numba

    signature = tuple(_numba_type(numba, _plain(argument)) for argument in arguments)
    dispatcher = _njit(**_OPTIONS, **_INNER)(_with_parts(function))
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]
    result = {"int64": "i", "none": ""}.get(str(compiled.signature.return_type))
    data = compiled.library.serialize_using_object_code()[2][0]
    if result is None or not _calls(compiled.library) <= _native.CALLABLE:
        return None
    return _native.Code(data, compiled.fndesc.llvm_func_name, result, _native.width(types))


def _calls(library: Any) -> set[str]:
    """The functions outside of it that compiled code may call."""
    module = library._final_module  # noqa: SLF001  # there is no public way
    names = {f.name for f in module.functions if f.is_declaration}
    return {name for name in names if not name.startswith("llvm.")}


def _numba_type(numba: Any, argument: Any) -> Any:
    """The type of one argument; arrays that cannot be written to are taken as those that can."""
    if isinstance(argument, np.ndarray):
        layout = "C" if argument.flags.c_contiguous else "A"
        return numba.types.Array(numba.from_dtype(argument.dtype), argument.ndim, layout)
    if isinstance(argument, tuple):
        parts = [_numba_type(numba, part) for part in argument]
        return numba.types.NamedTuple(parts, type(argument))
    return numba.types.int64


@cache
def _jitted(function: Callable[..., Any]) -> Any:
    """`function` for numba to call, its code kept by numba where that has a folder to keep it."""
    copy = _with_parts(function)
    try:
        compiled = _njit(cache=True, **_OPTIONS)(copy)
    except RuntimeError:  # there is none
        return _njit(**_OPTIONS)(copy)
    # numba stamps cached code with the time and size of the function's own file only, and would
    # run stale code after a change in a module that the function calls or takes constants from.
    stamp = _stamp(function.__code__.co_filename)
    stored = compiled._cache._cache_file  # noqa: SLF001  # there is no public way
    stored._source_stamp = (stored._source_stamp, stamp)  # noqa: SLF001  # likewise
    return compiled


@cache
def _inner(function: Callable[..., Any]) -> Any:
    """A part for numba."""
    return _njit(**_OPTIONS, **_INNER)(_with_parts(function))


def _with_parts(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the parts that it calls as numba knows them."""
    names = {
        name: _inner(value.function) if isinstance(value, _Part) else value
        for name, value in function.__globals__.items()
        if name in function.__code__.co_names
    }
    names["__name__"] = function.__module__
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _njit(**options: Any) -> Any:
    import numba

    return numba.njit(**options)


@cache
def _folder() -> Path | None:
    """Where machine code is kept, or None."""
    wanted = os.environ.get(FOLDER_VARIABLE, "")
    if wanted == "numba":
        return None
    if wanted:
        return _native.writable(Path(wanted))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    own = Path(__file__).parent / "__pycache__"
    return _native.writable(own) or _native.writable(Path(base).expanduser() / "lakeq" / "kernels")


@cache
def _stamp(module: str) -> str:
    """What code of `module` depends on: what it may be made of, the compiler, the processor.

    A format's kernels call parts of the formats' other private modules; those of any other module
    only its own.
    """
    from importlib.util import find_spec

    file, here = Path(module), Path(__file__)
    formats = here.parent / "formats"
    sources = sorted(formats.glob("_*.py")) if file.parent == formats else [file]
    stats = [(path.name, path.stat()) for path in (here, *sources)]
    found = find_spec("numba")
    packages = Path(found.origin).parent.parent if found and found.origin else Path()
    versions = sorted(p.name for p in packages.glob("numba-*")) + sorted(
        p.name for p in packages.glob("llvmlite-*")
    )
    return repr(([(n, s.st_mtime_ns, s.st_size) for n, s in stats], versions, _native.processor()))
