"""Compiles the loops of the formats with numba and keeps the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
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
    of the module makes it compile anew, a change of another module that it calls does not: so the
    functions that a kernel calls stand in its own module.
    """
    return cast("F", _compiled(function, _OPTIONS))


def part(function: F) -> F:
    """A function that only kernels call: compiled without what Python would need to call it."""
    return cast("F", _compiled(function, _OPTIONS | _INNER))


def _compiled(function: F, options: dict[str, Any]) -> Any:
    try:
        return _njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder to keep code in
        return _njit(**options)(function)
