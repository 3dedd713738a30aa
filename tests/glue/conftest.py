"""A lake that Glue names, on a moto which checks what AWS checks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.glue import strict_moto
from tests.support.s3 import S3, moto_server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """moto with the checks that stock moto lacks."""
    with strict_moto(), moto_server() as server:
        yield server


@pytest.fixture
def root(s3: S3) -> str:
    """Where a lake is to lie."""
    return f"s3://{s3.bucket()}/lake"


@pytest.fixture
def prefix(root: str) -> str:
    """How its databases' names begin: moto's Glue is one for all tests of a process."""
    return root.split("/")[2].replace("-", "_") + "_"
