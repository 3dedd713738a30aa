"""Making the next item in a thread while the one before is used: both cores, one object.

It pays where items are made by code that releases the GIL: kernels, inflating, pyarrow.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST_THREADS = 8
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


def spread(
    items: Generator[T, None, None], work: Callable[[T], R], threads: int | None = None
) -> Generator[R, None, None]:
    """`work(item)` for each item, in order, made by threads (one a core) while others are used.

    As many results wait as there are threads. The error of an item, or of `items`, is raised here
    in its place. Close the generator when it is not read to the end.
    """
    threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "lakeq-spread") as pool, closing(items):
        try:
            ended: BaseException | None = None
            while True:
                try:
                    pending.append(pool.submit(work, next(items)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  # raised below, behind what came before
                    ended = error
                    break
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if ended is not None:
                raise ended
        finally:
            for future in pending:
                future.cancel()
