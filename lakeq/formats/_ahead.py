"""Making the next item in a thread while the one before is used: both cores, one object.

It pays where items are made by code that releases the GIL: kernels, inflating, pyarrow.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
SLOTS = 2  # items alive at once: one in use, one being made


def ahead(made: Iterator[T], slots: int = SLOTS) -> Generator[T, None, None]:
    """The items of `made`, in order, each made while those before it are used.

    `made` is not resumed while `slots` items are alive, so one that writes into `slots` buffers in
    turn may. Its error is raised here, in its place. Close the generator when it is not read to
    the end: that ends the thread, and `made` with it.
    """
    maker = _Maker(made, slots)
    maker.thread.start()
    try:
        while (item := maker.items.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item[0]
            maker.free.release()
    finally:
        maker.stop()


class _Failure:
    """What ended the making."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Maker(Generic[T]):
    """The thread that makes items, and what it shares with their user."""

    def __init__(self, made: Iterator[T], slots: int) -> None:
        self.items: SimpleQueue[tuple[T] | _Failure | None] = SimpleQueue()
        self.free = threading.Semaphore(slots)
        self.thread = threading.Thread(target=self._run, name="lakeq-ahead", daemon=True)
        self._made = made
        self._stopped = False  # set by the user, read by the thread

    def _run(self) -> None:
        try:
            while True:
                self.free.acquire()
                if self._stopped:
                    break
                try:
                    item = next(self._made)
                except StopIteration:
                    break
                self.items.put((item,))
            close = getattr(self._made, "close", None)
            if close is not None:
                close()
            self.items.put(None)
        except BaseException as error:  # noqa: BLE001  # raised where the item would have been used
            self.items.put(_Failure(error))

    def stop(self) -> None:
        self._stopped = True
        self.free.release()
        self.thread.join()
