"""What the tests of notifications share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aws import Aws
from tests.support.s3 import moto_server


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield Aws(server)
