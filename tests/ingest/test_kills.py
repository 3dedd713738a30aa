"""Workers killed with SIGKILL: every row once, nothing stuck, nothing left over."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.aws import Aws
from tests.support.ingest import Chain, expected
from tests.support.killing import POINTS, STEPS, Nursery, deaths, nursery


@pytest.fixture(scope="module")
def nests() -> Iterator[list[Nursery]]:
    """For three workers at a time."""
    with ExitStack() as stack:
        yield [stack.enter_context(nursery()) for _ in range(3)]


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


def told_again(chain: Chain, *, if_none: bool = False) -> None:
    """What a killed worker held is there again, as after its lease: nobody waits for it here.

    `if_none`: only when the queue has nothing else to give.
    """
    from moto.sqs.models import sqs_backends

    for backend in sqs_backends["123456789012"].values():
        queue = backend.queues.get(chain.url.rpartition("/")[2])
        messages = list(queue.messages) if queue else []
        if not (if_none and any(message.visible for message in messages)):
            for message in messages:
                message.visible_at = 0


@contextmanager
def short_leases(chain: Chain) -> Iterator[None]:
    """All leases end as soon as the queue has nothing else to give, those of the living too.

    What moto still handed out to a worker that was killed while it asked is nobody's.
    """
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.5):
            told_again(chain, if_none=True)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


HARDEST = ("between convert and commit", "after commit before delete")  # the others are soak


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "point", [p if p in HARDEST else pytest.param(p, marks=pytest.mark.soak) for p in POINTS]
)
def test_s03_killed_at_a_step(chain: Chain, nests: list[Nursery], point: str, seeds: int) -> None:
    """After each kill at most what one crash leaves lies about, and at the end nothing."""
    count, nest = 0, nests[0]
    for seed in range(seeds):
        dice = random.Random(seed)
        fresh = dice.randint(1, 3)
        for number in range(count, count + fresh):
            chain.put(key(number))
        count += fresh
        calls = dice.randint(1, fresh)
        nest.start(chain, point=POINTS[point], calls=calls, visibility=30, jobs=1)
        assert not nest.ended()
        assert len(list((chain.lake.folder / "tmp").glob("*.journal"))) <= 1
        assert len(chain.unnamed()) <= 1
        told_again(chain)
        chain.work()
        check(chain, count)
    assert deaths(chain.folder) == {POINTS[point]: seeds}


def killed_at_random(
    chain: Chain,
    nests: Sequence[Nursery],
    *,
    objects: int,
    copies: int,
    chance: float,
    seed: int,
) -> Counter[str]:
    """Two workers, and on a third nest a backfill on the same keys, killed until all is done.

    Each step of each of them kills it by that chance. Returns the kills by step.
    """
    dice = random.Random(seed)
    for number in range(objects):
        chain.put(key(number))
    bodies = [b for b in chain.aws.bodies(chain.url) if "s3:TestEvent" not in b] * copies
    dice.shuffle(bodies)
    for body in bodies:
        chain.queue().send(body)
    lock = threading.Lock()

    def run(nest: Nursery, prefix: str) -> None:
        ended = False
        while not ended or (not prefix and chain.depth()):
            with lock:
                seed_ = dice.randrange(1 << 30)
            nest.start(chain, chance=chance, seed=seed_, prefix=prefix, visibility=30, jobs=3)
            ended = nest.ended()
            if not ended:
                with lock:
                    told_again(chain)

    with short_leases(chain), ThreadPoolExecutor(len(nests)) as pool:
        for _ in pool.map(run, nests, ["", "", "KTLX"][: len(nests)]):
            pass
    return deaths(chain.folder)


@pytest.mark.slow
def test_s04_two_workers_killed_at_random(chain: Chain, nests: list[Nursery]) -> None:
    kills = killed_at_random(chain, nests[:2], objects=12, copies=3, chance=0.02, seed=4)
    assert kills.total() >= 2
    check(chain, 12)


@pytest.mark.soak
def test_s04_a_thousand_kills_of_two_workers_and_a_backfill(
    chain: Chain, nests: list[Nursery], tmp_path: Path
) -> None:
    """Three messages of each object, and every step kills by 5 %, in one lake after the other."""
    kills: Counter[str] = Counter()
    for seed in itertools.count():
        own = Chain.made(chain.aws, tmp_path / f"{seed}", receives=1000)
        own.folder.mkdir()
        kills += killed_at_random(own, nests, objects=100, copies=3, chance=0.05, seed=seed)
        check(own, 100)
        print(f"{seed + 1} lakes, {kills.total()} kills: {dict(kills)}", flush=True)
        if kills.total() >= 1000:
            break
    assert kills.keys() == set(STEPS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_s04_two_thousand_objects(chain: Chain, nests: list[Nursery], seed: int) -> None:
    """A hundred in each of twenty lakes, three messages of each; every step kills by 5 %."""
    kills = killed_at_random(chain, nests[:2], objects=100, copies=3, chance=0.05, seed=seed)
    check(chain, 100)
    print(f"lake {seed}: {kills.total()} kills: {dict(kills)}", flush=True)
