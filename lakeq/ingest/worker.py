"""The worker: receives messages, has their objects brought in, answers the queue.

One thread receives, several bring objects in, one keeps the leases. A message is answered when
everything that it tells of is settled; what can never succeed goes to the dead letters with its
reason, at once where no reading is needed to know, else after as many attempts as the queue gives
it. What may pass, such as throttling, is tried again in place, ever slower, under the same lease.
What a budget lacks goes back to the queue unread, and nothing more is received before it has room.
"""

from __future__ import annotations

import logging
import queue as queues
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lakeq.errors import AccessDenied, BudgetRefused, LakeqError, NotFound, UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.brake import Brake
from lakeq.ingest.core import LeaseLost
from lakeq.ingest.lease import INTERVAL_S, MAX_RUNTIME_S, VISIBILITY_S, Heart, Lease
from lakeq.ingest.messages import Event, Refusal, parse
from lakeq.ingest.outcome import Outcome
from lakeq.ingest.queue import WAIT_S, Message, Queue
from lakeq.ingest.tally import Tally

_log = logging.getLogger(__name__)
_IDLE_S = 0.2
_BUDGET_S = 5.0  # between two looks at a budget that lacks something


class Bring(Protocol):
    """What brings objects in: see `lakeq.ingest.core.Ingester`."""

    def __call__(
        self,
        events: Sequence[Event],
        deadline: float = ...,
        check: Callable[[], None] | None = ...,
    ) -> list[Outcome]:
        """What became of each event."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker goes about it; times in seconds.

    `jobs` messages are worked on at a time. `max_receives` 0 takes that of the queue's redrive
    policy, else 5. `drain` ends the worker when the queue is empty.
    """

    jobs: int = 4
    wait_s: int = WAIT_S
    visibility_s: float = VISIBILITY_S
    interval_s: float = INTERVAL_S
    max_runtime_s: float = MAX_RUNTIME_S
    retry_s: float = 10.0
    grace_s: float = 25.0
    max_receives: int = 0
    drain: bool = False


@dataclass
class _Task:
    message: Message
    lease: Lease
    found: list[Event | Refusal] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


class Worker:
    """One worker on one queue; `run` returns when it was stopped, or the queue is drained."""

    def __init__(
        self,
        queue: Queue,
        allowed: AllowList,
        bring: Bring,
        tally: Tally,
        pace: Pace | None = None,
        *,
        brake: Brake | None = None,
        dead_letters: Queue | None = None,
        lacking: Callable[[], str] = lambda: "",
    ) -> None:
        self.queue = queue
        self.tally = tally
        self.brake = brake or Brake()
        self._allowed = allowed
        self._bring = bring
        self._pace = pace or Pace()
        self._dead_letters = dead_letters
        self._lacking = lacking  # why a budget lets nothing be read
        self._broke = ""
        self._stop = threading.Event()
        self._stopped = 0.0
        self._tasks: queues.SimpleQueue[_Task | None] = queues.SimpleQueue()
        self._active: dict[str, _Task] = {}
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(self._pace.jobs)

    def stop(self) -> None:
        """Receive nothing more; what is being worked on may end, for a while."""
        self._stopped = self._stopped or time.monotonic()
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def run(self) -> None:
        """Work until stopped; raises what no waiting mends, such as a queue that is not there."""
        self._persist(self._ask_queue)
        heart = self._heart = Heart(min(1.0, self._pace.interval_s / 4))
        threads = [
            threading.Thread(target=self._work, name=f"ingest-{number}", daemon=True)
            for number in range(self._pace.jobs)
        ]
        for thread in threads:
            thread.start()
        try:
            self._receive(heart)
        finally:
            self.stop()
            self._finish(heart, threads)

    def _ask_queue(self) -> None:
        """What the queue says of its dead letters; `NotFound` when there is no such queue."""
        if self._dead_letters is None:
            self._dead_letters = self.queue.dead_letters

    # Receiving

    def _receive(self, heart: Heart) -> None:
        while not self._stop.is_set():
            if wait := self.brake.left_s():
                self._stop.wait(min(wait, 1.0))
                continue
            if self._broke and self._waits_for_budget():
                continue
            room = self._room()
            if not room or self._broke:
                self._free(room)
                continue
            try:
                got = self.queue.receive(room, self._pace.visibility_s, self._pace.wait_s)
            except LakeqError as error:
                self._free(room)
                if isinstance(error, NotFound | AccessDenied | UsageError):
                    raise
                self._throttled(error)
                continue
            self._free(room - len(got))
            for message in got:
                self._take(message, heart)
            if not got and self._pace.drain and self._is_drained():
                return
            if not got and not self._pace.wait_s:  # without a long poll, ask at times
                self._stop.wait(_IDLE_S)

    def _waits_for_budget(self) -> bool:
        """Whether a budget still lacks what it lacked; one that drains a queue ends by it."""
        reason = self._lacking()
        if not reason:
            _log.warning("the budget has room again")
            self._broke = ""
            return False
        if self._pace.drain:
            hint = "the messages are in the queue as before; see: lakeq budget"
            raise BudgetRefused(reason, self.queue.url, hint)
        self._stop.wait(_BUDGET_S)
        return True

    def _room(self) -> int:
        """How many more messages may be worked on, at most 10; waits a moment for the first."""
        if not self._idle.acquire(timeout=_IDLE_S):
            return 0
        count = 1
        while count < min(10, self._pace.jobs) and self._idle.acquire(blocking=False):
            count += 1
        return count

    def _free(self, count: int) -> None:
        if count > 0:
            self._idle.release(count)

    def _take(self, message: Message, heart: Heart) -> None:
        pace = self._pace
        lease = Lease(
            lambda seconds: self.queue.hide(message, seconds),
            f"message {message.identifier}",
            pace.visibility_s,
            pace.interval_s,
            pace.max_runtime_s,
        )
        task = _Task(message, lease)
        if self._stop.is_set():  # what an open poll still brought
            self._give_back(task)
            self._free(1)
            return
        with self._lock:
            self._active[message.receipt] = task
        heart.add(lease)
        self._tasks.put(task)

    def _is_drained(self) -> bool:
        with self._lock:
            if self._active or self._broke:
                return False
        try:
            return not any(self.queue.depth().values())
        except LakeqError as error:
            self._throttled(error)
            return False

    def _throttled(self, error: LakeqError | str) -> None:
        wait = self.brake.throttled()
        self.tally.note("throttled")
        _log.warning("waiting %.1f s: %s", wait, error)

    # Working

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._handle(task)
            except Exception:  # noqa: BLE001  # one bad message must not end the worker
                _log.exception("message %s", task.message.identifier)
            finally:
                self._heart.drop(task.lease)
                with self._lock:
                    self._active.pop(task.message.receipt, None)
                self._idle.release()

    def _handle(self, task: _Task) -> None:
        started = time.perf_counter()
        task.found = parse(task.message.body, self._allowed.adapters)
        task.outcomes = [self._outright(found) for found in task.found]
        events = [found for found in task.found if isinstance(found, Event)]
        self.tally.heard([event.topic for event in events])
        try:
            self._bring_in(task)
            if self._is_open(task):
                task.lease.check()
        except LeaseLost as error:
            self.tally.note("leases lost")
            _log.warning("message %s: %s", task.message.identifier, error.what)
            return
        answer = self._answer(task)
        happened = [_happened(found, task.message) for found in task.found]
        if answer != "again":
            self.tally.settled(task.outcomes, happened)
        else:
            self.tally.note("again")
        _log.info(
            "%s",
            answer,
            extra={
                "told": {
                    "id": task.message.identifier,
                    "receives": task.message.receives,
                    "objects": [f.uri if isinstance(f, Event) else "" for f in task.found][:10],
                    "outcomes": [outcome.status for outcome in task.outcomes][:10],
                    "reason": next((o.reason for o in task.outcomes if not o.settled), ""),
                    "seconds": round(time.perf_counter() - started, 3),
                }
            },
        )

    def _outright(self, found: Event | Refusal) -> Outcome:
        """What needs no look at the object; `failed` for what is still to be brought in."""
        if isinstance(found, Refusal):
            return Outcome("refused", found.reason)
        verdict = self._allowed.judge(found)
        if verdict.action == "take":
            return Outcome("failed", "not begun")
        if verdict.action == "refuse":
            self.tally.note(f"refused: {verdict.cause}")
        return Outcome("refused" if verdict.action == "refuse" else "skipped", verdict.reason)

    def _bring_in(self, task: _Task) -> None:
        """Bring in what is open, and what is throttled again, ever slower, under the lease."""
        while numbers := self._left(task):
            events = [task.found[number] for number in numbers]
            done = self._brought([e for e in events if isinstance(e, Event)], task.lease)
            for number, outcome in zip(numbers, done, strict=True):
                task.outcomes[number] = outcome
            slow = next((outcome for outcome in done if outcome.throttled), None)
            if slow is None:
                if any(outcome.settled for outcome in done):
                    self.brake.succeeded()
                return
            self._throttled(slow.reason)
            while (wait := self.brake.left_s()) and not self._stop.is_set():
                self._stop.wait(min(wait, 1.0))
                task.lease.check()
            if self._stop.is_set():
                return

    def _left(self, task: _Task) -> list[int]:
        return [
            number
            for number, outcome in enumerate(task.outcomes)
            if outcome.status == "failed" and (outcome.throttled or outcome.reason == "not begun")
        ]

    def _brought(self, events: Sequence[Event], lease: Lease) -> list[Outcome]:
        try:
            return self._bring(events, float("inf"), lease.check)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # a bug meets one message, not the worker
            _log.exception("a bug in lakeq")
            return [Outcome("poison", f"a bug in lakeq: {type(error).__name__}: {error}")] * len(
                events
            )

    # Answering

    @staticmethod
    def _is_open(task: _Task) -> bool:
        return not all(outcome.settled for outcome in task.outcomes)

    def _answer(self, task: _Task) -> str:
        """Answer the queue: "done", "buried" or "again"."""
        open_ = [outcome for outcome in task.outcomes if not outcome.settled]
        try:
            if not open_:
                self._persist(lambda: self.queue.delete(task.message))
                return "done"
            if self._is_hopeless(task, open_):
                self._bury(task, open_[0].reason)
                return "buried"
            self._again(task)
        except LakeqError as error:  # it comes again by itself, and is known then
            _log.warning("message %s was not answered: %s", task.message.identifier, error)
        return "again"

    def _is_last(self, task: _Task) -> bool:
        """Whether the queue itself would move the message to its dead letters after this."""
        most = self._pace.max_receives or self.queue.max_receives or 5
        return task.message.receives >= most

    def _is_hopeless(self, task: _Task, open_: Sequence[Outcome]) -> bool:
        never = {"refused", "poison"} if self._is_last(task) else {"refused"}
        return self._dead_letters is not None and all(o.status in never for o in open_)

    def _bury(self, task: _Task, reason: str) -> None:
        dead = self._dead_letters
        assert dead is not None
        self._persist(lambda: dead.send(task.message.body, reason))
        self._persist(lambda: self.queue.delete(task.message))
        self.tally.note("dead letters")

    def _again(self, task: _Task) -> None:
        if short := next((o.reason for o in task.outcomes if o.unaffordable), ""):
            self._keep(task, short)
            return
        if self._stop.is_set():
            self._give_back(task)
            return
        delay = self._pace.retry_s * 2 ** min(6, task.message.receives - 1)
        self.queue.hide(task.message, int(min(delay, 900)))

    def _keep(self, task: _Task, reason: str) -> None:
        """Leave to the queue what a budget lacks; many such receives must not be its death."""
        if not self._broke:
            _log.warning("nothing more is received until the budget has room: %s", reason)
        self._broke = reason
        self.tally.note("over budget")
        if self._is_last(task):  # a message of its own, which was never received
            self._persist(lambda: self.queue.send(task.message.body))
            self._persist(lambda: self.queue.delete(task.message))
        else:
            self._give_back(task)

    def _persist(self, call: Callable[[], None]) -> None:
        """Make a call of the queue, again after throttling; the last failure is raised."""
        for attempt in range(4):
            try:
                call()
            except LakeqError as error:
                if attempt == 3 or not error.exit_code == 6:
                    raise
                self._throttled(error)
                self._stop.wait(min(5.0, self.brake.left_s()))
            else:
                return

    def _give_back(self, task: _Task) -> None:
        task.lease.end()
        try:
            self.queue.hide(task.message, 0)
        except LakeqError as error:  # it comes again when its lease is over
            _log.warning("message %s was not given back: %s", task.message.identifier, error)

    # Ending

    def _finish(self, heart: Heart, threads: Sequence[threading.Thread]) -> None:
        """Let what is being worked on end, for a while; give the rest back."""
        until = self._stopped + self._pace.grace_s
        self._return_waiting()
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            late = list(self._active.values())
        for task in late:
            self._give_back(task)
        heart.close()
        self.tally.flush(now=True)

    def _return_waiting(self) -> None:
        """Give back the messages that no thread has begun."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except queues.Empty:
                return
            if task is not None:
                self._give_back(task)
                with self._lock:
                    self._active.pop(task.message.receipt, None)


def _happened(found: Event | Refusal, message: Message) -> datetime | None:
    """When an event happened, by the clock of whoever told it."""
    told = found.event_time if isinstance(found, Event) else None
    return told or message.sent
