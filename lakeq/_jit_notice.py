"""Who is told that kernels are compiled now: a light module for those who may never need one."""

from __future__ import annotations

from collections.abc import Callable

before_compiling: list[Callable[[], None]] = []


def tell_compiling() -> None:
    """Call `before_compiling`, once: some seconds of compilation begin."""
    while before_compiling:
        before_compiling.pop()()
