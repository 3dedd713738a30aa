"""Compiles the loops of the formats with numba and keeps the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# The 64-bit integer of kernels; to a reader of types it is an int.
i64 = cast("Callable[[Any], int]", np.int64)

_njit: Any = numba.njit  # its annotations lack options that it has
_OPTIONS = {"nogil": True, "error_model": "numpy"}
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile `function` on its first call, without the GIL, once per machine.

    numba keeps the code beside the module, or under the user's cache folder when the package is
    read-only; where neither can be written the code is compiled again in every process. A change
    of any private module of this package makes it compile anew.
    """
    return cast("F", _compiled(function, _OPTIONS))


def part(function: F) -> F:
    """A function that only kernels call: compiled without what Python would need to call it."""
    return cast("F", _compiled(function, _OPTIONS | _INNER))


def _compiled(function: F, options: dict[str, Any]) -> Any:
    try:
        compiled = _njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder to keep code in
        return _njit(**options)(function)
    # numba stamps cached code with the time and size of the function's own file only, and would
    # run stale code after a change in a module that the function calls or takes constants from.
    stored = compiled._cache._cache_file  # noqa: SLF001  # there is no public way
    stored._source_stamp = (stored._source_stamp, _sources())  # noqa: SLF001  # likewise
    return compiled


@cache
def _sources() -> tuple[tuple[str, float, int], ...]:
    """Name, time and size of every module that compiled code may be made of."""
    files = sorted(Path(__file__).parent.glob("_*.py"))
    stats = ((file.name, file.stat()) for file in files)
    return tuple((name, stat.st_mtime, stat.st_size) for name, stat in stats)
