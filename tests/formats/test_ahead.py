"""Items made in a thread of their own: order, errors, buffers, and the end of the thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lakeq.formats._ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "lakeq-ahead"]


def test_items_come_in_order() -> None:
    assert list(ahead(iter(range(1000)))) == list(range(1000))
    assert list(ahead(iter(()))) == []
    assert not threads()


def test_an_error_is_raised_in_its_place() -> None:
    def made() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    items = ahead(made())
    assert next(items) == 1
    with pytest.raises(ValueError, match="the second"):
        next(items)
    assert not threads()


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_an_item_stays_valid_while_its_buffer_is_not_its_turn(slots: int) -> None:
    buffers = [[-1] for _ in range(slots)]

    def made() -> Iterator[tuple[int, list[int]]]:
        for number in range(200):
            buffers[number % slots][0] = number
            yield number, buffers[number % slots]

    for number, buffer in ahead(made(), slots):
        assert buffer == [number]


def test_closing_ends_the_thread_and_what_it_reads() -> None:
    closed = []

    def made() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(made())
    assert next(items) == 1
    items.close()
    assert not threads()
    assert closed == ["lakeq-ahead"]
