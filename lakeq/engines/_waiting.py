"""Waiting for an engine so that ^C is heard: its client waits where no signal is looked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1
_STARTING, _START_S = 20, 0.005  # how often, and for how long, a starting thread is waited for


def _nothing() -> None:
    """There is nothing to look at."""


def _began(worker: threading.Thread) -> bool:
    """Whether a thread runs or ran; ^C may come while it is being started."""
    for _ in range(_STARTING):
        if worker.ident is not None:
            return True
        time.sleep(_START_S)
    return False


def waited(
    call: Callable[[], T],
    stop: Callable[[threading.Event], None],
    look: Callable[[], None] = _nothing,
) -> T:
    """The result of `call`, which a thread of its own waits for; raises what it raises.

    Ten times a second `look` is called, which may raise to end the wait. On ^C, or when it does,
    `stop` is given what is set when `call` has ended: it makes it end, as far as that can be done.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []
    # Python before 3.13 takes a thread for ended when ^C comes while it is joined.
    ended = threading.Event()

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            failure.append(error)
        finally:
            ended.set()

    worker = threading.Thread(target=work, daemon=True)
    try:
        worker.start()
        while not ended.wait(_LOOK_S):
            look()
    except BaseException:
        if _began(worker):
            stop(ended)
        raise
    if failure:
        raise failure[0]
    return outcome[0]
