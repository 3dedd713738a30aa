"""Workers killed with SIGKILL: every row once, nothing stuck, nothing left over."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.aws import Aws
from tests.support.ingest import Chain, expected
from tests.support.killing import POINTS, Nursery, nursery


@pytest.fixture(scope="module")
def nest() -> Iterator[Nursery]:
    with nursery() as found:
        yield found


@pytest.fixture
def chain(chain: Chain, aws: Aws) -> Chain:
    """One whose queue gives a message a thousand attempts: each kill takes one."""
    return Chain.made(aws, chain.folder, receives=1000)


def key(number: int) -> str:
    """A key as the archive of marks has them."""
    return f"KTLX/20260328-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}"


def check(chain: Chain, count: int) -> None:
    """Every object is there once, no message is left, and no file that nothing names."""
    assert chain.rows() == expected({key(n): (1, 3) for n in range(count)})
    assert chain.depth() == 0
    assert chain.depth(chain.dead_url) == 0
    assert chain.leftovers() == set()
    assert not list((chain.lake.folder / "tmp").iterdir())


def told_again(chain: Chain) -> None:
    """What a killed worker held is there again, as after its lease: nobody waits for it here."""
    from moto.sqs.models import sqs_backends

    for backend in sqs_backends["123456789012"].values():
        for queue in backend.queues.values():
            for message in queue.messages:
                message.visible_at = 0


HARDEST = ("between convert and commit", "after commit before delete")  # the others are soak


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [p if p in HARDEST else pytest.param(p, marks=pytest.mark.soak) for p in POINTS]
)
def test_s03_killed_at_a_step(chain: Chain, nest: Nursery, point: str) -> None:
    count, kills = 4, 0
    for number in range(count):
        chain.put(key(number))
    for calls in (1, 2):
        nest.start(chain, point=POINTS[point], calls=calls, visibility=30)
        kills += not nest.ended()
        orphans = chain.lake
        assert len(list((orphans.folder / "tmp").glob("*.journal"))) <= 2 * kills
        told_again(chain)
    assert kills
    chain.work()
    check(chain, count)


def killed_at_random(
    chain: Chain, *, objects: int, copies: int, chance: float, kills: int, backfill: bool, seed: int
) -> int:
    """Two workers, and a backfill on the same keys, killed again and again until all is done.

    Returns the number of kills; the last worker is let live.
    """
    dice = random.Random(seed)
    for number in range(objects):
        chain.put(key(number))
    bodies = [b for b in chain.aws.bodies(chain.url) if "s3:TestEvent" not in b]
    done = [0]

    def sent() -> None:
        shuffled = bodies * copies
        dice.shuffle(shuffled)
        for body in shuffled:
            chain.queue().send(body)

    sent()
    lock = threading.Lock()

    def run(prefix: str) -> None:
        with nursery() as own:
            while done[0] < kills:
                with lock:
                    seed_ = dice.randrange(1 << 30)
                own.start(chain, chance=chance, seed=seed_, prefix=prefix, visibility=30)
                ended = own.ended()
                with lock:
                    done[0] += not ended
                    told_again(chain)
                    if ended and done[0] < kills and not chain.depth():
                        sent()  # all is done: the same once more

    with ExitStack() as stack:
        threads = [
            threading.Thread(target=run, args=(prefix,))
            for prefix in (["", "", "KTLX"] if backfill else ["", ""])
        ]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
    chain.work(jobs=8)
    return done[0]


@pytest.mark.slow
def test_s04_two_workers_killed_at_random(chain: Chain) -> None:
    kills = killed_at_random(
        chain, objects=20, copies=2, chance=0.03, kills=4, backfill=False, seed=4
    )
    assert kills >= 4
    check(chain, 20)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_s04_fifty_kills_of_two_workers_and_a_backfill(chain: Chain, seed: int) -> None:
    """Twenty times fifty: a thousand."""
    kills = killed_at_random(
        chain, objects=60, copies=2, chance=0.02, kills=50, backfill=True, seed=seed
    )
    assert kills >= 50
    check(chain, 60)
