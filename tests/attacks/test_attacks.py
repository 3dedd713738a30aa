"""SQL from a stranger: nothing outside is read, nobody is called, nothing is written.

Each attack is run twice on each lake: as a user would, where the guard has to refuse it, and
straight in the engine, whose own fence has to hold without any guard.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from lakeq.engines.duckdb import Engine
from lakeq.errors import LakeqError
from lakeq.snapshot import TableSnapshot
from tests.attacks.attacks import ATTACKS, Attack, T
from tests.attacks.conftest import KEYS, OUTSIDE, Target, opened

GLOBAL_FRAME = pa.table({"x": [OUTSIDE]})
SECRETS = [KEYS["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_SESSION_TOKEN"]]
BOTH_LAKES = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@BOTH_LAKES
def test_an_attack_is_refused_and_says_where(attack: Attack, target: Target) -> None:
    frame_with_secret = GLOBAL_FRAME
    assert frame_with_secret.num_rows == 1
    with pytest.raises(LakeqError) as caught:
        target.lake.sql(target.sql(attack)).rows()
    assert caught.value.where
    told = str(caught.value)
    assert OUTSIDE not in told
    assert not any(secret in told for secret in KEYS.values())


@BOTH_LAKES
def test_the_engine_alone_gives_nothing_away(attack: Attack, target: Target) -> None:
    frame_with_secret = GLOBAL_FRAME
    assert frame_with_secret.num_rows == 1
    table = target.lake.table(T).snapshot
    assert table is not None
    engine = target.engine()
    try:
        told = " ".join(_told(engine, target.sql(attack), table))
        touched = opened(engine)
    finally:
        engine.close()
    assert OUTSIDE not in told.replace(target.sql(attack), "")
    assert not any(secret in told for secret in SECRETS)
    assert touched <= {file.path for file in table.files}


def _told(engine: Engine, sql: str, table: TableSnapshot) -> Iterator[str]:
    """Everything that comes back: rows, or the error."""
    try:
        running = engine.run(sql, {}, {T: table})
        while rows := running.fetch(100):
            yield str(rows)
    except LakeqError as error:
        yield str(error)
