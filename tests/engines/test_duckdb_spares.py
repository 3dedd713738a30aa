"""Databases made ahead: each serves one query, those of other settings go, a fork has its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lakeq.config import Settings
from lakeq.engines import _duckdb_spares
from lakeq.engines._duckdb_spares import QUERIES, SPARES, Database, Spares
from lakeq.engines.duckdb import Engine, _made


def make(settings: Settings = Settings(lake=Path("unused"))) -> Database:  # noqa: B008
    return _made(settings.temp_dir, settings.memory_limit, settings.threads)


def asked(spares: Spares, times: int, key: object = "a") -> list[int]:
    """Take and drop databases in turn; their identities."""
    seen = []
    for _ in range(times):
        found = spares.take(key, make)
        seen.append(id(found.connection))
        found.connection.execute("CREATE TABLE mine AS SELECT 1")
        spares.drop(found)
    return seen


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_command_makes_none_ahead() -> None:
    spares = Spares()
    asked(spares, QUERIES - 1)
    assert not spares._ready


def test_what_is_made_ahead_was_used_by_nobody() -> None:
    spares = Spares()
    asked(spares, QUERIES + SPARES)
    wait(lambda: len(spares._ready) == SPARES)
    found = spares.take("a", make)
    tables = found.connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
    assert tables == (0,)
    found.connection.close()
    spares.clear()


def test_databases_of_other_settings_are_let_go() -> None:
    spares = Spares()
    asked(spares, QUERIES)
    wait(lambda: bool(spares._ready))
    limited = Settings(lake=Path("unused"), memory_limit="1GB")
    found = spares.take("b", lambda: make(limited))
    said = found.connection.execute("SELECT current_setting('memory_limit')").fetchone()
    assert said == ("953.6 MiB",)
    assert not spares._ready
    found.connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_takes_none_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Spares()
    monkeypatch.setattr(_duckdb_spares, "spares", before)
    asked(before, QUERIES)
    wait(lambda: bool(before._ready))
    child = os.fork()
    if not child:
        os._exit(0 if _duckdb_spares.spares is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    before.clear()


def test_a_closed_engine_leaves_no_folder_behind(tmp_path: Path) -> None:
    settings = Settings(lake=tmp_path / "lake", temp_dir=tmp_path)
    for _ in range(QUERIES + 2):
        engine = Engine(settings)
        engine.serialize("select 1")
        engine.close()
    assert list(tmp_path.iterdir()) == []
