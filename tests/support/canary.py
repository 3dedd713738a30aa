"""The canary: credentials that must never be seen, and who watches for them.

Every test that signs requests signs with them, every logger is at level DEBUG in every test, and a
record that holds any of them fails the test in which it was made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

KEY_ID = "AKIACANARY7LAKEQTEST"  # of the length and shape of a real one
SECRET = "canary/Secret+0123456789abcdefghijklmnop"
TOKEN = "canary-session-token-IQoJb3JpZ2luX2VjEXAMPLE"
ALL = (KEY_ID, SECRET, TOKEN)
# These write every instruction that they look at, and know no credentials.
QUIET = ("numba", "matplotlib", "PIL", "hypothesis")


def seen_in(text: str) -> list[str]:
    """Which of the canary's parts `text` holds."""
    return [part for part in ALL if part in text]


def seen_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files below `folder` that hold a part of it."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            for part in ALL:
                if part.encode() in data:
                    yield path, part


class Watch(logging.Handler):
    """Looks at every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.hits: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if found := seen_in(text):
            self.hits.append(f"{record.name}: {found} in {text[:300]}")

    def take(self) -> list[str]:
        """What was found since the last time."""
        hits, self.hits = self.hits, []
        return hits


def watch() -> Watch:
    """Set every logger to DEBUG and look at what they write."""
    handler = Watch()
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler


def variables() -> dict[str, str]:
    """The canary as environment variables."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return dict(zip(names, ALL, strict=True))


def files(folder: Path) -> dict[str, str]:
    """The canary as profile `canary` of AWS's two files, and the variables that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "[canary]",
        f"aws_access_key_id = {KEY_ID}",
        f"aws_secret_access_key = {SECRET}",
        f"aws_session_token = {TOKEN}",
    ]
    (folder / "credentials").write_text("\n".join(lines) + os.linesep)
    (folder / "config").write_text("[profile canary]\nregion = us-east-1\n")
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "LAKEQ_S3_PROFILE": "canary",
    }
