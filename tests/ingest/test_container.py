"""The recipe of the image, as far as it can be held to account without a container engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.data import ROOT

FOLDER = ROOT / "docs" / "how-to" / "container"
STEPS = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text()).splitlines()


def steps(word: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in STEPS if line.startswith(f"{word} ")]


def requirements(path: Path) -> dict[str, str]:
    """Each pinned package with its lines."""
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*?\])?==(\S+)((?: .*)?(?:\n    .*)*)",
                       path.read_text(), re.MULTILINE)  # fmt: skip
    return {name: f"{version} {rest}" for name, version, rest in found}


def test_the_base_is_pinned_and_what_runs_is_not_root() -> None:
    (base,) = [step for step in steps("ARG") if step.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert {step.split()[0] for step in steps("FROM")} == {"${PYTHON}"}
    assert steps("USER")[-1] == "10001:10001"
    assert "ADD" not in {line.split(" ")[0] for line in STEPS}
    assert not any("curl" in line or "http" in line for line in STEPS if line[:1] != "#")


def test_every_package_is_pinned_by_hash() -> None:
    (install,) = [step for step in steps("RUN") if "--requirement" in step]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    locked = requirements(FOLDER / "requirements.lock")
    assert {"awslambdaric", "boto3", "cryptography", "duckdb", "pyiceberg"} <= locked.keys()
    assert all("--hash=sha256:" in rest for rest in locked.values())


def test_the_image_has_the_versions_that_were_tested() -> None:
    tested = requirements(ROOT / "requirements.lock")
    own = requirements(FOLDER / "requirements.lock")
    differing = {n for n in own if own[n].split()[0] != tested[n].split()[0]}
    assert differing == set()


@pytest.mark.parametrize("step", steps("COPY"))
def test_what_is_copied_is_there(step: str) -> None:
    *sources, _ = [word for word in step.split() if not word.startswith("--")]
    if "--from" not in step:
        assert all((ROOT / source).exists() for source in sources)
