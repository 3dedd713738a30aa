"""What every test stands on: an environment of its own, a lake, an S3 endpoint, a made cohort."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support import bcftools as _bcftools
from tests.support import canary
from tests.support.required import IN_CI
from tests.support.s3 import CREDENTIALS, REGION, S3, moto_server

if TYPE_CHECKING:
    from examples.make_cohort import MadeCohort
    from lakeq.api import Lake

settings.register_profile("lakeq", deadline=None, derandomize=IN_CI, print_blob=True)
settings.load_profile("lakeq")

WATCH = canary.watch()
_HOME = tempfile.TemporaryDirectory(prefix="lakeq-home-")


def pytest_configure() -> None:
    """Nothing of the machine's own settings reaches a test, nor do its credentials."""
    for key in list(os.environ):
        own = key.startswith(("AWS_", "LAKEQ_", "XDG_", "DUCKDB_", "PYICEBERG_"))
        if own and key != "LAKEQ_TEST_DATA":
            os.environ.pop(key)
    os.environ.update(
        HOME=_HOME.name,
        MPLCONFIGDIR=str(Path(_HOME.name) / "matplotlib"),  # its list of fonts takes seconds
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="127.0.0.1,localhost",
        no_proxy="127.0.0.1,localhost",
        COLUMNS="120",
        TZ="Asia/Kathmandu",  # 5:45 ahead: a local time where UTC is meant shows
    )
    time.tzset()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own config, data and cache folders."""
    for kind in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / "xdg" / kind.lower()))


@pytest.fixture(autouse=True)
def _no_credentials_in_logs() -> Iterator[None]:
    """Whatever a test does at level DEBUG of every logger, its credentials are not written."""
    yield
    assert WATCH.take() == []


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test without the mark `network` that connects to another machine fails."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test without the mark 'network' connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def _compiled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests of workers, so that not every process compiles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "compiled"))


@pytest.fixture
def lake_dir(tmp_path: Path) -> Path:
    """Where this test's lake lies; not there yet."""
    return tmp_path / "lake"


@pytest.fixture
def lake(lake_dir: Path) -> Lake:
    """An empty lake."""
    import lakeq

    return lakeq.connect(lake_dir)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 endpoint on the loopback, one for all tests; each takes its own `s3.bucket()`."""
    with moto_server() as server:
        yield server


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Credentials in the environment, for requests that are signed; no file may hold them."""
    for key, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(key, value)
    yield
    assert list(canary.seen_below(tmp_path)) == []


@pytest.fixture(scope="session")
def bcftools() -> str:
    """Where bcftools is; without it the test is skipped, or fails in CI."""
    return _bcftools.executable()


@pytest.fixture(scope="session")
def made_cohort(tmp_path_factory: pytest.TempPathFactory) -> MadeCohort:
    """A small cohort of 120 samples and 400 records, with its panel and a ClinVar-like file."""
    from examples.make_cohort import make

    return make(tmp_path_factory.mktemp("cohort"), samples=120, variants=400)


@pytest.fixture(scope="session")
def cohort_lake(tmp_path_factory: pytest.TempPathFactory, made_cohort: MadeCohort) -> Lake:
    """A lake that holds the made cohort; for tests that only read it."""
    from tests.support.lakes import cohort_lake

    return cohort_lake(tmp_path_factory.mktemp("cohort-lake") / "lake", made_cohort)


@pytest.fixture(scope="session")
def made_volumes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three radar volumes of a made storm, five minutes apart."""
    from examples.make_volume import make

    return make(tmp_path_factory.mktemp("volumes"))


@pytest.fixture(scope="session")
def radar_lake(tmp_path_factory: pytest.TempPathFactory, made_volumes: list[Path]) -> Lake:
    """A lake that holds the made volumes; for tests that only read it."""
    import lakeq

    lake = lakeq.connect(tmp_path_factory.mktemp("radar-lake") / "lake")
    lake.ingest("nexrad", made_volumes)
    return lake
