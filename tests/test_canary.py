"""Credentials are never seen: not in logs, errors, tracebacks with variables, files or reprs.

The same watch is kept over the whole suite (tests/conftest.py); here everything is asked for that
may tell of them: queries, ingests, refusals and failures, in each way to give credentials.
"""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import redact
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.errors import LakeqError
from tests.support import canary
from tests.support.s3 import REGION, S3
from tests.support.web import Script, answer, serve

WAYS = ["environment", "profile"]


@pytest.fixture(params=WAYS)
def seeded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The canary, given in one of the ways, outside of what is searched."""
    if request.param == "environment":
        found = canary.variables()
    else:
        found = canary.files(tmp_path_factory.mktemp("aws"))
    for name, value in {**found, "AWS_DEFAULT_REGION": REGION, "LAKEQ_S3_ANON": "false"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler at level DEBUG writes, as a user's would."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def refusing() -> Iterator[Script]:
    """An endpoint that says no to whatever is asked, as S3 does to wrong credentials."""
    with serve() as script:
        codes = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"]
        script.answers += [answer(403, code) for code in codes * 20]
        yield script


def failures(lake: Lake, refusing: str) -> Iterator[LakeqError]:
    """Errors of every kind that has to do with storage."""
    gone = lakeq.connect(lake.settings.lake, s3_endpoint_url="http://127.0.0.1:9")
    wrong = lakeq.connect(lake.settings.lake, s3_endpoint_url=refusing)
    profile = lakeq.connect(lake.settings.lake, s3_profile="nobody")
    attempts = [
        lambda: lake.sql("select getenv('AWS_SECRET_ACCESS_KEY')"),
        lambda: lake.sql("select current_setting('s3_secret_access_key')"),
        lambda: lake.sql("select cast(ref as int) from clinvar.grch37").rows(),
        lambda: lake.sql("select nothing from clinvar.grch37"),
        lambda: wrong.sql("select sum(pos) from clinvar.grch37").rows(),
        lambda: wrong.ingest("clinvar.grch37", ["s3://bucket/clinvar.vcf.gz"]),
        lambda: gone.sql("select sum(pos) from clinvar.grch37").rows(),
        lambda: lake.ingest("clinvar.grch37", ["s3://no-such-bucket-here/clinvar.vcf.gz"]),
        lambda: profile.ingest("clinvar.grch37", ["s3://bucket/clinvar.vcf.gz"]),
        lambda: profile.sql("select sum(pos) from clinvar.grch37").rows(),
    ]
    for attempt in attempts:
        try:
            attempt()
        except LakeqError as error:
            yield error


def told(error: BaseException) -> str:
    """An error as a logger with variables, a notebook or pytest --showlocals would tell it."""
    parts = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    return "".join(parts) + repr(error) + str(error)


def around(text: str) -> list[str]:
    """Where a part of the canary stands in `text`, with what is around it."""
    places = [text.index(part) for part in canary.seen_in(text)]
    return [text[max(0, at - 700) : at + 60] for at in places]


@pytest.mark.usefixtures("seeded")
def test_credentials_are_never_seen(
    s3: S3,
    tmp_path: Path,
    made_cohort: MadeCohort,
    written: io.StringIO,
    refusing: Script,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = s3.bucket()
    raw = s3.put(bucket, f"raw/{made_cohort.clinvar.name}", made_cohort.clinvar)
    monkeypatch.setenv("LAKEQ_S3_ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("LAKEQ_LAKE", str(tmp_path / "lake"))
    lake = lakeq.connect(tmp_path / "lake", warehouse=f"s3://{bucket}/w")
    lake.ingest("clinvar.grch37", [raw])
    result = lake.sql("select count(*), sum(pos) from clinvar.grch37")
    shown = [
        repr(result),
        result._repr_html_(),
        repr(lake),
        repr(lake.settings),
        str(result.report),
    ]
    shown += [repr(lake.table("clinvar.grch37")), repr(lake.verify())]
    errors = [told(error) for error in failures(lake, refusing.url)]
    assert len(errors) >= 9
    commands = [["sql", "select * from clinvar.grch37", "-o", str(tmp_path / "out.parquet")],
                ["sql", "select getenv('AWS_SESSION_TOKEN')"], ["config", "show", "--origin"],
                ["doctor"], ["history"], ["cost", "report"], ["verify"]]  # fmt: skip
    for command in commands:
        with contextlib.suppress(SystemExit):
            run(command)
    printed = capsys.readouterr()
    log = written.getvalue()
    assert "botocore" in log  # at level DEBUG, and signing
    assert any(word in log for word in ("Credential=***/", "SignatureV4", "auth"))
    for text in (*shown, *errors, printed.out, printed.err, log):
        assert around(text) == []
    assert list(canary.seen_below(tmp_path)) == []


def test_what_looks_like_a_key_is_blotted_out_though_nobody_named_it() -> None:
    line = (
        "headers={'X-Amz-Security-Token': b'IQoJabc', 'A': 'Credential=ASIAIOSFODNN7EXAMPLE/2026'}"
    )
    assert redact.redacted(line) == (
        "headers={'X-Amz-Security-Token': b'***', 'A': 'Credential=***/2026'}"
    )
    assert redact.redacted("gene AKIRIN2, 20 alleles, AKIA") == "gene AKIRIN2, 20 alleles, AKIA"


def test_a_record_keeps_its_words_and_loses_its_secret() -> None:
    redact.remember("correct horse battery")
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)
    try:
        logger.warning("it is %r, %d times", "correct horse battery", 3)
        try:
            int("correct horse battery")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    assert "it is '***', 3 times" in text.getvalue()
    assert "with base 10: '***'" in text.getvalue()
    assert "correct horse" not in text.getvalue()
