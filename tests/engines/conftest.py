"""One lake for all tests that hold engines against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from tests.engines.tables import make


@pytest.fixture(scope="session")
def tables(
    tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort, made_volumes: list[Path]
) -> Lake:
    """A lake that tests only read."""
    return make(tmp_path_factory.mktemp("engines"), made_cohort, made_volumes)
