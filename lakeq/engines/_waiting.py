"""Waiting for an engine so that ^C is heard: its client waits where no signal is looked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1


def _nothing() -> None:
    """There is nothing to look at."""


def waited(
    call: Callable[[], T],
    stop: Callable[[threading.Thread], None],
    look: Callable[[], None] = _nothing,
) -> T:
    """The result of `call`, which a thread of its own waits for; raises what it raises.

    Ten times a second `look` is called, which may raise to end the wait. On ^C, or when it does,
    `stop` is told the thread: it makes `call` return, as far as that can be done.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            failure.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_LOOK_S)
            look()
    except BaseException:
        stop(worker)
        raise
    if failure:
        raise failure[0]
    return outcome[0]
