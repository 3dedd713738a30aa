"""What the tests of notifications share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakeq import formats
from tests.lake_formats import FOLDER
from tests.support.aws import Aws
from tests.support.ingest import Chain
from tests.support.s3 import moto_process, moto_server


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield Aws(server)


@pytest.fixture(scope="session")
def aws_process() -> Iterator[Aws]:
    """moto in a process of its own: the other core works for it."""
    with moto_process() as server:
        yield Aws(server)


@pytest.fixture
def chain(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_credentials: None
) -> Chain:
    """A bucket, a topic, a queue with dead letters and a lake, for the format `marks`."""
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    return Chain.made(aws, tmp_path)
