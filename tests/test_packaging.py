"""What is shipped: the wheel holds the package, its catalogs and its queries, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.data import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("lakeq-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "suffix"), [("catalogs", ".yaml"), ("sql", ".sql")])
def test_the_wheel_holds_every_catalog_and_query(
    wheel: zipfile.ZipFile, folder: str, suffix: str
) -> None:
    files = sorted((ROOT / folder).glob(f"*{suffix}"))
    assert files
    for file in files:
        assert wheel.read(f"lakeq/_data/{folder}/{file.name}") == file.read_bytes()


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_no_other_package(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "lakeq").rglob("*.py")}
    assert modules <= names
    assert "lakeq/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"lakeq", f"lakeq-{VERSION}.dist-info"}
    shipped = {Path(name).suffix for name in names if name.startswith("lakeq/")}
    assert shipped == {".csv", ".json", ".py", ".sql", ".typed", ".yaml"}


@pytest.mark.slow
def test_the_wheel_names_its_command_and_licence(wheel: zipfile.ZipFile) -> None:
    entries = wheel.read(f"lakeq-{VERSION}.dist-info/entry_points.txt").decode()
    assert "[console_scripts]\nlakeq = lakeq.cli:main" in entries
    assert "[xarray.backends]\nlakeq = lakeq.xarray_engine:LakeqBackend" in entries
    assert f"lakeq-{VERSION}.dist-info/licenses/LICENSE" in wheel.namelist()


def test_every_requirement_of_the_project_is_locked_with_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+) .*\n    --hash=sha256:", lock, re.MULTILINE))
    groups = [item for group in PROJECT["dependency-groups"].values() for item in group]
    wanted = PROJECT["project"]["dependencies"] + [item for item in groups if isinstance(item, str)]
    names = {re.split(r"[\[<>=~! ]", item)[0].lower() for item in wanted}
    assert names <= set(locked)


def test_the_lock_file_names_no_place_to_download_from() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
