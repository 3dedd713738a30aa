"""Units of work and answers as JSON: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import lakeq
from lakeq import catalog
from lakeq.api import Lake
from lakeq.cli import cli
from lakeq.config import S3Settings
from lakeq.convert.run_part import run
from lakeq.convert.unit import Answer, Pinned, Unit, decode, decode_answer, encoded_error
from lakeq.errors import BadLake, BadSource, LakeqError, StorageUnavailable, UsageError
from lakeq.formats import ReadOptions, Sample
from lakeq.lake.places import Place, Written
from lakeq.lake.pointers import Checksum
from lakeq.storage.tally import Requests
from tests.support.workers import data_files

GENOMES = catalog.load().dataset("thousand_genomes")
UNIT = Unit(
    Pinned("s3://bucket/a.vcf.gz", 17, "etag", "id"),
    3,
    GENOMES,
    {"variants": Place("s3://lake/thousand_genomes/variants", "{}")},
    {"HG1": Sample("HG1", 0, "GBR", "EUR", None)},
    ReadOptions(True, ("22:1-2",), ("HG1",)),
    "parts-0123456789abcdef/3-0",
    "",
    S3Settings(region="eu-west-1", anon=False),
)
ANSWER = Answer(
    {"v": (Written("s3://x", 4, Checksum(9, "0" * 64, 7, chunk_crc32s=(1, 2))),), "calls": ()},
    notes={"left out": 2},
    raw=Requests(1, 2, 3, 4),
    host="there",
)  # fmt: skip


def test_a_unit_and_an_answer_come_back_as_they_were() -> None:
    back = decode(UNIT.encoded())
    assert back.encoded() == UNIT.encoded()
    assert (back.source, back.samples, back.options, back.s3) == (
        UNIT.source,
        UNIT.samples,
        UNIT.options,
        UNIT.s3,
    )
    assert back.dataset.tables == GENOMES.tables
    assert decode_answer(ANSWER.encoded(), "here") == ANSWER


def test_an_error_comes_back_as_itself_and_names_another_machine() -> None:
    told = encoded_error(BadSource("no VCF", "a.vcf, line 1", "look"), "there")
    with pytest.raises(BadSource, match="no VCF") as caught:
        decode_answer(told, "here")
    assert (caught.value.where, caught.value.hint) == ("a.vcf, line 1, on worker there", "look")
    with pytest.raises(BadSource) as caught:
        decode_answer(told, "there")
    assert caught.value.where == "a.vcf, line 1"
    with pytest.raises(LakeqError):  # none of lakeq's classes is made by its name alone
        decode_answer(told.replace("BadSource", "Collection"), "here")


BROKEN: list[tuple[str, Any]] = [
    ("lakeq", "9.9"), ("lakeq", None), ("source", {}), ("source", "x"), ("number", -1),
    ("number", True), ("number", "1"), ("dataset", {}), ("dataset", []), ("targets", {}),
    ("targets", {"nothing": {"location": "s3://x", "schema": "{}"}}),
    ("targets", {"variants": {"location": "s3://x/../y", "schema": "{}"}}),
    ("targets", {"variants": {"location": "s3://x", "schema": "{}", "more": "x"}}),
    ("samples", [["a"]]), ("samples", {"a": 1}), ("options", None), ("folder", ""),
    ("folder", "../x"), ("folder", "parts-0123456789abcdef/../../x"), ("journal", 1),
    ("folder", "parts-0123456789abcdef/3-0\n"), ("s3", {"profile": 1}), ("s3", []),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_a_unit_with_a_wrong_value_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UsageError):
        decode(json.dumps(json.loads(UNIT.encoded()) | {key: value}))


@pytest.mark.parametrize("key", json.loads(UNIT.encoded()))
def test_a_unit_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="not a unit of work"):
        decode(json.dumps({k: v for k, v in json.loads(UNIT.encoded()).items() if k != key}))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        decode(text)
    with pytest.raises(StorageUnavailable):
        decode_answer(text, "")


def test_a_pickle_is_no_unit() -> None:
    import pickle

    answer = json.loads(run(pickle.dumps(UNIT.source, protocol=0).decode("latin-1")))
    assert answer["error"]["kind"] == "UsageError"


def test_run_part_does_one_unit_and_prints_its_files(
    lake: Lake, made_volumes: list[Path], tmp_path: Path
) -> None:
    class Command(ThreadPoolExecutor):
        """The command, for each unit; an array job would do the same."""

        def submit(self, call: object, text: str) -> Future[str]:  # type: ignore[override]  # a stand-in for one call
            def ran() -> str:
                command = [sys.executable, "-m", "lakeq.cli", "ingest", "run-part"]
                done = subprocess.run(
                    command, input=text, capture_output=True, text=True, check=False
                )
                codes.append(done.returncode)
                return done.stdout

            return super().submit(ran)

    codes: list[int] = []
    with Command(1) as executor:
        lake.ingest("nexrad.volumes", made_volumes[:1], executor=executor)
        bad = tmp_path / "KTLX20200101_000000_V06"
        bad.write_bytes(b"not a volume")
        with pytest.raises(BadSource):
            lake.ingest("nexrad.volumes", [bad], executor=executor)
    assert codes == [0, 7]
    assert lake.sql("select count(*) from nexrad.volumes").rows() == [(1,)]


def test_run_part_refuses_what_is_no_unit_by_exit_code() -> None:
    result = CliRunner().invoke(cli, ["ingest", "run-part"], input="{}")
    assert isinstance(result.exception, UsageError)
    assert json.loads(result.output)["error"]["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        (r"/parts-[0-9a-f]{16}/", "/elsewhere/"),
        (r'(?<=\.parquet",)[0-9]+', "1"),
        (r'(?<=",)[0-9]+(?=,\[)', "12345"),
    ],
    ids=["place", "rows", "checksum"],
)
def test_an_answer_that_is_not_what_was_written_changes_nothing(
    lake: Lake, made_volumes: list[Path], pattern: str, change: str
) -> None:
    class Lying(ThreadPoolExecutor):
        def submit(self, call: Any, text: str) -> Future[str]:  # type: ignore[override]  # a stand-in for one call
            return super().submit(lambda: re.sub(pattern, change, call(text)))

    with Lying(1) as executor, pytest.raises(BadLake):
        lake.ingest("nexrad.sweeps", made_volumes[:1], executor=executor)
    assert lakeq.connect(lake.settings.lake)._iceberg.tables() == []
    assert data_files(lake.settings.lake) == []
