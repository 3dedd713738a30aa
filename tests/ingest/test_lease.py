"""Leases: kept while the work goes on, lost when they cannot be kept, by a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lakeq.ingest.brake import Brake
from lakeq.ingest.core import LeaseLost
from lakeq.ingest.lease import Lease
from tests.support.ingest import Chain, expected, statuses


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Service:
    """Keeps until when a message is hidden, as SQS does, and throttles when told to."""

    clock: Clock
    until: float
    throttled: bool = False
    calls: list[float] = field(default_factory=list)
    received: int = 1

    def extend(self, seconds: int) -> None:
        self.calls.append(self.clock.now)
        if self.throttled:
            raise RuntimeError("ThrottlingException")
        self.until = self.clock.now + seconds

    def tick(self) -> None:
        """A second passes; a message that is no longer hidden goes to another worker."""
        self.clock.now += 1
        self.received += self.clock.now == self.until + 1


def leased(visibility_s: float = 30, max_runtime_s: float = 1800) -> tuple[Clock, Service, Lease]:
    clock = Clock()
    service = Service(clock, clock.now + visibility_s)
    lease = Lease(service.extend, "m", visibility_s, visibility_s / 3, max_runtime_s, clock)
    return clock, service, lease


def worked(service: Service, lease: Lease, seconds: int) -> LeaseLost:
    """What ended work of so many seconds."""
    with pytest.raises(LeaseLost) as ended:  # noqa: PT012  # a clock that ticks
        for _ in range(seconds):
            service.tick()
            lease.beat()
            lease.check()
    return ended.value


def test_s06_ten_minutes_of_work_with_a_visibility_of_thirty_seconds() -> None:
    _, service, lease = leased()
    for _ in range(600):
        service.tick()
        lease.beat()
        lease.check()
    assert service.received == 1
    assert lease.extensions == len(service.calls) <= 600 / 10 + 1


def test_s06_the_hard_stop() -> None:
    clock, service, lease = leased(max_runtime_s=300)
    assert worked(service, lease, 600).what == "the work takes longer than the 300 s that it may"
    assert 1295 <= clock.now <= 1300
    assert service.until <= 1300  # the message comes again at once, not a while later
    lease.beat()
    assert len(service.calls) == lease.extensions <= 31


def test_s07_a_minute_of_throttling_within_the_lease() -> None:
    clock, service, lease = leased(visibility_s=120)
    while clock.now < 1300:
        service.throttled = 1041 <= clock.now < 1101
        service.tick()
        lease.beat()
        lease.check()
    assert service.received == 1


def test_s07_throttling_until_the_lease_is_over_ends_the_work() -> None:
    clock, service, lease = leased(visibility_s=30)
    service.throttled = True
    assert worked(service, lease, 60).what == "the lease was lost"
    assert clock.now < 1030  # before another can have the message
    service.throttled = False
    clock.now = 1031
    lease.beat()  # what is another's is not extended
    assert lease.extensions == 0


def test_s07_work_whose_lease_is_lost_commits_nothing(chain: Chain) -> None:
    event = chain.put("a")
    clock, _, lease = leased()
    ingester = chain.ingester()
    convert = ingester._converted
    ingester._converted = lambda *given: (convert(*given), setattr(clock, "now", 1031))[0]  # type: ignore[method-assign]  # a stand-in
    outcome = ingester([event], check=lease.check)[0]
    assert (outcome.status, chain.rows()) == ("failed", [])
    assert "lease" in outcome.reason
    assert chain.leftovers() == set()


def test_s05_the_first_of_two_wakes_after_the_second_committed(chain: Chain) -> None:
    event = chain.put("a")
    clock, _, lease = leased()
    first = chain.ingester()
    commit = first._commit_together

    def slept(ready: object) -> None:
        clock.now = 1100
        first.store.end([event.uri])  # a dead worker's claim, to the other
        assert statuses(chain.ingester()([event])) == ["committed"]
        commit(ready)  # type: ignore[arg-type]  # a stand-in

    first._commit_together = slept  # type: ignore[method-assign]  # a stand-in
    outcome = first([event], check=lease.check)[0]
    assert outcome.status == "failed"
    assert chain.rows() == expected({"a": (1, 3)})
    assert len(chain.lake.snapshots("marks.rows")) == 1
    assert chain.leftovers() == set()


def test_s12_waits_grow_with_full_jitter_and_all_threads_share_them() -> None:
    clock = Clock()
    brake = Brake(0.5, 60, clock)
    bounds = []
    for n in range(12):
        wait = brake.throttled()
        assert brake.throttled() == wait  # of the same storm: no longer wait
        bound = min(60, 0.5 * 2**n)
        assert 0 <= wait <= bound
        bounds.append(wait)
        clock.now += wait
    assert len(set(bounds)) == len(bounds)
    for _ in range(10):
        brake.succeeded()
    assert brake.left_s() == 0
    assert brake.throttled() <= 0.5
