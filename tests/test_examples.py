"""Every script in examples/ runs as it stands and prints what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data import ROOT, name

SCRIPTS = sorted((ROOT / "examples").rglob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    arguments = (
        [str(tmp_path / "made")]
        if script.name in ("demo.py", "make_cohort.py", "make_volume.py")
        else []
    )
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
