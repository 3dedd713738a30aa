"""The page of exit codes says what the errors do."""

from __future__ import annotations

import re

from lakeq import errors
from lakeq.cli import BROKEN_PIPE, INTERRUPTED
from tests.support.data import ROOT


def test_the_page_of_exit_codes_names_each_error_at_its_code() -> None:
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| (.*?) ?\|$", text, re.MULTILINE)
    told = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    assert told == {
        c.__name__: c.exit_code
        for c in classes
        if issubclass(c, errors.LakeqError) and c is not errors.LakeqError
    }
    assert {str(INTERRUPTED), str(BROKEN_PIPE), "0"} <= {code for code, _ in rows}
