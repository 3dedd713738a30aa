"""The command line of parts of files, of strictness, and of catalogs of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.vcf import text

LINES = ["1 5 . A C . PASS . GT 0/1 1/1", "1 9 . A G . PASS . GT 0/1 0/0"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.vcf"
    path.write_bytes(text(LINES, ["S1", "S2"], ["##contig=<ID=1>"]))
    return path


def test_parts_of_a_file_are_ingested(command: Command, file: Path, tmp_path: Path) -> None:
    lake = ("--lake", str(tmp_path / "lake"))
    given = ("--region", "1:6-100", "--region", "us-east-1", "--samples", "S2", "--no-panel")
    done = command("ingest", "thousand_genomes", str(file), *given, *lake)
    assert done.code == 0, done.err
    assert "no index beside the object" in done.err
    query = "select pos, an from thousand_genomes.variants"
    assert command("sql", query, *lake, "--format", "csv").text == "pos,an\n9,2\n"


def test_strict_refuses_what_lenient_counts(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "b.vcf"
    path.write_bytes(text(["1 9 . A C . PASS .", "1 5 . A C . PASS ."]))
    given = ("ingest", "thousand_genomes", str(path), "--no-panel", "--lake", str(tmp_path / "l"))
    strict = command(*given, "--strict")
    assert strict.code == 7
    assert "positions that go down" in strict.err
    assert "line 4, POS" in strict.err
    assert "positions that go down, first in line 4" in command(*given).err


def test_a_catalog_is_written_and_checks(command: Command, file: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "catalogs")
    done = command("catalog", "new", "mine", str(file), "--folder", folder, "--normalise")
    assert done.code == 0, done.err
    checked = command("catalog", "check", f"{folder}/mine.yaml")
    assert "mine, 5 tables" in checked.text
