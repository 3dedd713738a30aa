"""The code blocks of a page of documentation, and what it takes to run them one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.data import ROOT

# A fence with its language, after an optional remark that says why it is not run.
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"```(?P<language>bash|python)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page: where it starts, its language and its code."""

    page: Path
    line: int
    language: str
    code: str


def pages() -> list[Path]:
    """The pages of the documentation that have `bash` or `python` blocks to run."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if any(blocks(page))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are to run, in their order."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        if not found["reason"]:
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, line, found["language"], found["code"])


def run(block: Block, folder: Path) -> str:
    """What a block prints on standard output, run in `folder` as a reader would."""
    command = {
        "bash": ["bash", "-euo", "pipefail", "-c", block.code],
        "python": [sys.executable, "-c", block.code],
    }[block.language]
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        where = f"{block.page.relative_to(ROOT)}:{block.line}"
        raise AssertionError(f"{where}\n{block.code}\n{done.stdout}{done.stderr}")
    return done.stdout
