"""Every other command: listings, ingest, catalog, config, doctor, help and its examples."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cli import COMMANDS, SUMMARIES, cli
from lakeq.cli.ingest import Bar
from lakeq.cli.output import TEXT_FORMATS
from tests.cli.conftest import Command
from tests.support import landsat
from tests.support.data import ROOT
from tests.support.workers import recorded_unit


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name), command


ALL = dict(commands())


def examples(command: click.Command) -> list[str]:
    """The lines of the block of examples in a command's help."""
    block = (command.help or "").partition("\b\n")[2]
    return [line.strip() for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_a_sentence_options_with_meaning_and_three_examples(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert len(examples(command)) >= 3
    assert all("lakeq" in line for line in examples(command))
    assert all(o.help for o in command.params if isinstance(o, click.Option) and not o.hidden)


@pytest.fixture
def reader(
    tmp_path: Path, cohort_lake: Lake, made_cohort: MadeCohort, request: pytest.FixtureRequest
) -> Path:
    """A folder with the files that the examples name, and a lake of its own."""
    folder = tmp_path / "reader"
    line = request.node.callspec.params["line"]
    if "plot landsat" in line or "plot ndvi" in line:
        landsat.make_lake(folder / "scenes", folder / "lake")
    else:
        lake = request.getfixturevalue("radar_lake") if "lakeq plot" in line else cohort_lake
        shutil.copytree(lake.settings.lake, folder / "lake")
    (folder / "catalogs").symlink_to(ROOT / "catalogs")
    (folder / "mycatalogs").mkdir()
    (folder / "mycatalogs" / "rice.yaml").write_text(RICE)
    shutil.copy(made_cohort.clinvar, folder / "clinvar.vcf.gz")
    shutil.copy(made_cohort.vcf, folder / "cohort.vcf.gz")
    shutil.copy(made_cohort.panel, folder / "cohort.panel")
    if "run-part" in line:
        volumes = request.getfixturevalue("made_volumes")
        text = recorded_unit(lakeq.connect(folder / "lake"), volumes[0])
        (folder / "unit.json").write_text(text)
        (folder / "unit.json.gz").write_bytes(gzip.compress(text.encode()))
    for place in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (folder / place).mkdir(parents=True)
    return folder


RICE = """dataset: rice
title: Rice
doc: Rice genomes.
license: open
citation: none
homepage: https://example.org
tables:
  variants:
    doc: One row per alternate allele.
    format: vcf
    columns:
      contig: {type: string, doc: contig}
      pos: {type: int64, unit: bp, doc: position}
"""
ELSEWHERE = ("s3://", "nexrad --site", "landsat --path-row", "-url", "$QUEUE", "ingest backfill",
             "athena doctor")  # fmt: skip
RUNNABLE = [
    pytest.param(line, id=line)
    for command in ALL.values()
    for line in examples(command)
    if not any(
        word in line for word in ELSEWHERE
    )  # no network; tests/ingest and tests/engines run the others
]


@pytest.mark.slow
@pytest.mark.parametrize("line", RUNNABLE)
def test_the_examples_of_the_help_run(line: str, reader: Path) -> None:
    script = f'lakeq() {{ "{sys.executable}" -m lakeq.cli "$@"; }}\n{line}\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=reader,
        env={**os.environ, "LAKEQ_LAKE": "lake", "PYTHONPATH": str(ROOT), "HOME": str(reader)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Groups and errors


def test_help_names_every_command(command: Command) -> None:
    done = command("--help")
    assert done.code == 0
    assert all(re.search(rf"^  {name} ", done.text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["bogus"], ["describe"], ["--bogus"], ["ingest", "clinvar"]])
def test_a_usage_error_has_code_2(command: Command, arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert done.err


def test_version_is_told(command: Command) -> None:
    assert re.fullmatch(r"lakeq \S.*\n", command("--version").text)


def test_options_of_the_group_hold_for_the_command_and_the_commands_own_win(
    command: Command, tmp_path: Path
) -> None:
    shown = command("--lake", "/a", "--region", "r", "config", "show", "--lake", "/b")
    assert re.search(r"^lake +/b$", shown.text, re.MULTILINE)
    assert re.search(r"^s3.region +r$", shown.text, re.MULTILINE)


def test_a_bug_is_told_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Lake) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Lake, "tables", broken)
    done = command("tables")
    assert done.code == 1
    assert "RuntimeError: boom" in done.err
    assert "LAKEQ_DEBUG" in done.err


# Listings


@pytest.fixture
def lake(cohort_lake: Lake) -> str:
    return str(cohort_lake.settings.lake)


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize(
    "arguments", [["tables"], ["queries"], ["snapshots", "clinvar.grch37"], ["doctor"]]
)
def test_listings_come_in_every_text_format(
    command: Command, lake: str, kind: str, arguments: list[str]
) -> None:
    done = command(*arguments, "--lake", lake, "--format", kind)
    assert done.code == 0, done.err
    assert done.text


def test_tables_tell_what_is_there(command: Command, lake: str) -> None:
    rows = json.loads(command("tables", "--lake", lake, "--format", "json").text)
    found = {row["table"]: row for row in rows}
    assert found["thousand_genomes.samples"]["rows"] == 120
    assert found["clinvar.grch38"]["rows"] is None
    assert found["clinvar.grch38"]["assembly"] == "GRCh38"


def test_describe_tells_units_size_source_and_licence(command: Command, lake: str) -> None:
    text = command("describe", "thousand_genomes.variants", "--lake", lake).text
    for words in ("GRCh37", "rows:", "bytes:", "contig=22", "licence:", "citation:", "s3://"):
        assert words in text
    assert re.search(r"^pos +int64 +bp +1-based", text, re.MULTILINE)


def test_describe_breaks_long_types(
    command: Command, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = command("describe", "landsat.scenes", "--lake", lake).text.splitlines()
    assert max(map(len, lines[lines.index("") :])) <= 100
    (first,) = (line for line in lines if line.startswith("assets "))
    assert "list<struct<name: string," in first
    assert any("float64>>" in line for line in lines)


def test_describe_is_one_object_in_json(command: Command, lake: str) -> None:
    facts = json.loads(
        command("describe", "clinvar.grch37", "--lake", lake, "--format", "json").text
    )
    assert facts["table"] == "clinvar.grch37"
    assert facts["rows"] > 0
    assert {"column": "pos", "type": "int64", "unit": "bp"}.items() <= facts["columns"][1].items()


def test_an_unknown_table_answers_with_the_nearest(command: Command, lake: str) -> None:
    for name in ("describe", "snapshots"):
        done = command(name, "clinvar.grch337", "--lake", lake)
        assert done.code == 5
        assert "did you mean clinvar.grch37?" in done.err


def test_queries_shows_the_text_of_one(command: Command) -> None:
    text = command("queries", "sample_clinvar").text
    assert text == (ROOT / "sql" / "sample_clinvar.sql").read_text()
    assert command("queries", "sample_clinvr").code == 5


# Ingest


def test_ingest_tells_rows_on_stdout_and_one_report_on_stderr(
    command: Command, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    arguments = ["ingest", "clinvar", str(made_cohort.clinvar), "--lake", str(tmp_path / "lake")]
    done = command(*arguments, "--report", "json")
    assert done.code == 0, done.err
    facts = json.loads(done.err)
    assert facts["objects"][0]["bytes"] == made_cohort.clinvar.stat().st_size
    assert facts["rows"]["clinvar.grch37"] > 0
    assert "clinvar.grch37" in done.text
    again = command(*arguments)
    assert "true" in again.text  # replaces
    assert "wrote" in again.err


def test_a_dry_run_changes_nothing(
    command: Command, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    done = command("ingest", "clinvar", str(made_cohort.clinvar), "--dry-run", "--lake", str(lake))
    assert done.code == 0, done.err
    assert "nothing was changed" in done.err
    assert command("tables", "--lake", str(lake), "--format", "csv").text.count(",,,") >= 10


@pytest.mark.parametrize(("dataset", "code"), [("clinva", 5), ("clinvar.grch3", 5), ("clinvar", 5)])
def test_ingest_of_an_unknown_dataset_table_or_object_is_not_found(
    command: Command, tmp_path: Path, dataset: str, code: int
) -> None:
    done = command("ingest", dataset, str(tmp_path / "no.vcf"), "--lake", str(tmp_path / "lake"))
    assert done.code == code
    assert "Traceback" not in done.err


def test_ingest_of_rubbish_is_bad_data(command: Command, tmp_path: Path) -> None:
    bad = tmp_path / "bad.vcf"
    bad.write_bytes(b"\x00\x01rubbish\n" * 10)
    done = command("ingest", "clinvar.grch37", str(bad), "--lake", str(tmp_path / "lake"))
    assert done.code == 7
    assert "bad.vcf" in done.err


def test_two_answers_about_the_panel_are_a_usage_error(command: Command) -> None:
    done = command("ingest", "thousand_genomes", "x.vcf", "--panel", "p", "--no-panel")
    assert done.code == 2


def test_no_bar_is_shown_for_short_work_or_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bar(visible=True) as bar:
        bar("a.vcf.gz", 1, 10)
    monkeypatch.setattr("lakeq.cli.ingest.PATIENCE_S", 0.0)
    with Bar(visible=False) as bar:
        bar("a.vcf.gz", 1, 10)
    assert capsys.readouterr().err == ""


def test_the_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import lakeq.cli.ingest as i; i.PATIENCE_S = 0.0\n"
        "with i.Bar(visible=True) as bar: bar('s3://b/[red]x\\x1b[2J.vcf.gz', 5, 10)\n"
    )
    monkeypatch.setenv("TERM", "xterm")
    shown = on_terminal([sys.executable, "-c", code])
    assert "[red]x\\x1b[2J.vcf.gz" in shown


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import lakeq.cli.ingest as i; i.PATIENCE_S = 0.0\n"
        "with i.Bar(visible=True) as bar: bar('x.vcf.gz', 5, 10)\n"
    )
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[3[0-9]", on_terminal([sys.executable, "-c", code]))


def on_terminal(arguments: list[str]) -> str:
    """What a command writes to a terminal."""
    main, secondary = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    process = subprocess.Popen(
        arguments, stdin=secondary, stdout=secondary, stderr=secondary, env=env
    )
    os.close(secondary)
    parts = []
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(main)
    process.wait(60)
    return b"".join(parts).decode()


def test_a_terminal_gets_a_table_of_a_thousand_rows(lake: str) -> None:
    arguments = ["sql", "select range as i, repeat('x', 99) as s from range(1500)", "--lake", lake]
    shown = on_terminal([sys.executable, "-m", "lakeq.cli", *arguments])
    lines = shown.splitlines()
    assert lines[0].split() == ["i", "s"]
    assert "…" in lines[2]
    assert "there are more: --max-rows" in shown
    assert len([line for line in lines if line.rstrip().endswith("…")]) == 1000


def test_binary_formats_are_not_for_a_terminal(lake: str) -> None:
    arguments = ["sql", "select 1", "--format", "arrow", "--lake", lake]
    assert "not for a terminal" in on_terminal([sys.executable, "-m", "lakeq.cli", *arguments])


# Catalog, config, doctor, completion


def test_catalog_check_tells_every_problem(command: Command, tmp_path: Path) -> None:
    good = tmp_path / "rice.yaml"
    good.write_text(RICE)
    assert command("catalog", "check", str(good)).code == 0
    good.write_text(RICE.replace("license", "licence").replace("int64", "int46"))
    done = command("catalog", "check", str(good))
    assert done.code == 7
    assert "licence" in done.err
    assert "int46" in done.err
    assert command("catalog", "check", str(tmp_path / "no.yaml")).code == 5


def test_config_show_tells_origins(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lakeq.toml").write_text('memory_limit = "1GB"\n')
    monkeypatch.setenv("LAKEQ_THREADS", "3")
    text = command("config", "show", "--origin", "--anon").text
    assert re.search(r"^threads +3 +LAKEQ_THREADS$", text, re.MULTILINE)
    assert re.search(r"^memory_limit +1GB +\S*lakeq.toml$", text, re.MULTILINE)
    assert re.search(r"^s3.anon +true +--anon$", text, re.MULTILINE)


def test_doctor_finds_a_missing_file(
    command: Command, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    assert command("doctor", "--lake", str(lake)).code == 0
    command("ingest", "clinvar", str(made_cohort.clinvar), "--lake", str(lake))
    assert command("doctor", "--lake", str(lake)).code == 0
    next(lake.rglob("*.parquet")).unlink()
    done = command("doctor", "--lake", str(lake))
    assert done.code == 1
    assert "missing: " in done.text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(command: Command, shell: str) -> None:
    assert "_LAKEQ_COMPLETE" in command("completion", shell).text


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_list_of_commands_shows_how_their_help_begins(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = click.Command(name, help=SUMMARIES[name])
    assert command.get_short_help_str(66) == known.get_short_help_str(66)


def test_help_imports_no_command() -> None:
    code = "import sys; from lakeq.cli import run; run(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = done.stdout.splitlines()[-1]
    heavy = ("lakeq.cli.sql", "lakeq.catalog", "numpy", "rich", "yaml", "sqlite3")
    assert not [name for name in heavy if f"'{name}'" in modules]
