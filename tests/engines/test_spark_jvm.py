"""The portable queries on Spark's own JVM: what Sail answers is what Spark answers.

Run by make soak; skipped where there is no Java or no whole Spark (tests/support/jvm_spark.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lakeq
from lakeq.api import Lake
from tests.engines.spark_suite import AgreesWithDuckDB
from tests.support.jvm_spark import jvm_server, why_not

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(why_not()), reason=why_not())]


class TestJvm(AgreesWithDuckDB):
    """The shared suite on a Spark Connect server of the JVM."""

    @pytest.fixture(scope="session")
    def spark(self, tables: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
        with jvm_server(tmp_path_factory.mktemp("spark")) as remote:
            yield lakeq.connect(tables.settings.lake, spark_remote=remote)
