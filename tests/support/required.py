"""What a test needs from the machine: where it is missing, CI fails and a laptop skips."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI", "").lower() == "true"


def missing(what: str) -> NoReturn:
    """Skip the running test because `what` is not here; in CI, where it has to be, fail it."""
    if IN_CI:
        pytest.fail(f"{what}; CI requires it", pytrace=False)
    pytest.skip(what)
