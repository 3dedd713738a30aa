"""Dead letters: looked at, and put back into their queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from lakeq.errors import NotFound, StorageUnavailable
from lakeq.ingest.brake import Brake
from lakeq.ingest.messages import Event, parse
from lakeq.ingest.queue import Message, Queue

LOOK_S = 30.0  # that a letter is hidden from others while it is looked at
MAX_LOOKED = 10_000
UNKNOWN = "not known: the queue moved it after its last attempt"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: why it is one, what it tells of, and the message itself."""

    message: Message
    reason: str
    objects: tuple[str, ...]


def letter(message: Message) -> Letter:
    """What a message among the dead letters is."""
    found = parse(message.body)
    objects = tuple(told.uri for told in found if isinstance(told, Event) and told.key)
    return Letter(message, message.reason or UNKNOWN, objects)


def letters(dead: Queue, most: int = MAX_LOOKED) -> Iterator[Letter]:
    """The dead letters; each is hidden from others for half a minute, and given back at the end."""
    held: list[Message] = []
    try:
        while len(held) < most:
            got = dead.receive(min(10, most - len(held)), LOOK_S, wait_s=0)
            if not got:
                return
            held += got
            yield from map(letter, got)
    finally:
        for message in held:
            dead.hide(message, 0)


def found(dead: Queue, identifier: str) -> Letter:
    """The letter whose id begins with `identifier`; `NotFound` when there is none."""
    for one in letters(dead):
        if one.message.identifier.startswith(identifier):
            return one
    raise NotFound(f"no dead letter {identifier!r}", dead.url, "see: lakeq ingest dlq ls")


def retry(
    dead: Queue,
    queue: Queue,
    *,
    identifiers: tuple[str, ...] = (),
    most: int = MAX_LOOKED,
    per_second: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    brake: Brake | None = None,
) -> int:
    """Put letters back into their queue, at most so many a second; returns how many.

    Each is sent before it is deleted: killed between, it is there twice, and the second is a
    duplicate. All of them, or those whose ids begin with one of `identifiers`.
    """
    pace = brake or Brake()
    count = 0
    left: list[Message] = []
    try:
        while count < most:
            got = dead.receive(min(10, most - count), LOOK_S, wait_s=0)
            if not got:
                break
            wanted = [m for m in got if _is_among(m, identifiers)]
            left += [m for m in got if m not in wanted]
            for message in islice(wanted, most - count):
                _patiently(partial(queue.send, message.body), pace, sleep)
                _patiently(partial(dead.delete, message), pace, sleep)
                count += 1
                sleep(1 / per_second)
    finally:
        for message in left:
            dead.hide(message, 0)
    return count


def _is_among(message: Message, identifiers: tuple[str, ...]) -> bool:
    return not identifiers or any(message.identifier.startswith(i) for i in identifiers)


def _patiently(call: Callable[[], None], brake: Brake, sleep: Callable[[float], None]) -> None:
    for attempt in range(8):
        try:
            call()
        except StorageUnavailable:
            if attempt == 7:
                raise
            sleep(brake.throttled())
        else:
            return
