"""The real files beside the checkout: ../shared/data, or the folder that LAKEQ_TEST_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.required import IN_CI, missing

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("LAKEQ_TEST_DATA") or ROOT.parent / "shared" / "data")


def real_files(pattern: str) -> list[Path]:
    """The real files that match `pattern`, sorted; for `parametrize`, so empty means skipped.

    In CI a pattern without files is an error, not an empty list.
    """
    files = sorted(path for path in FOLDER.glob(pattern) if path.is_file())
    if IN_CI and not files:
        raise FileNotFoundError(f"no file matches {pattern} in {FOLDER}; CI requires the real data")
    return files


def real_file(relative: str) -> Path:
    """The one real file at `relative`; skips the running test where the data is not there."""
    path = FOLDER / relative
    if not path.is_file():
        missing(f"no real file {relative} in {FOLDER}")
    return path


def name(path: Path) -> str:
    """The id of a test that runs once per file."""
    return path.name
