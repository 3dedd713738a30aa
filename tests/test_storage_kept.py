"""Clients kept between queries: one for the same settings and surroundings, another for others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lakeq.config import S3Settings
from lakeq.storage import kept


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_kept", kept._Kept())


def test_the_same_settings_share_one_way() -> None:
    assert kept.buckets(S3Settings(region="us-west-2")) is kept.buckets(
        S3Settings(region="us-west-2")
    )
    assert kept.buckets(S3Settings()) is not kept.buckets(S3Settings(anon=True))


def test_other_credentials_are_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.buckets(S3Settings())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    changed = kept.buckets(S3Settings())
    assert changed is not before
    file = tmp_path / "credentials"
    file.write_text("[default]\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    first = kept.buckets(S3Settings())
    os.utime(file, ns=(1, 1))
    assert kept.buckets(S3Settings()) is not first


def test_no_more_than_a_few_are_kept() -> None:
    first = kept.buckets(S3Settings(region="r0"))
    for number in range(1, kept.MOST + 1):
        kept.buckets(S3Settings(region=f"r{number}"))
    assert kept.buckets(S3Settings(region="r0")) is not first
