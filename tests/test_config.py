"""Settings: which of flag, environment, file and default wins, and what says so."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakeq
from lakeq import config
from lakeq.errors import LimitPassed, UnknownName, UsageError


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A project folder, and the file of the user's configuration."""
    (tmp_path / "project").mkdir()
    (tmp_path / "config" / "lakeq").mkdir(parents=True)
    return {
        "project": tmp_path / "project",
        "user": tmp_path / "config" / "lakeq" / "config.toml",
    }


def load(places: dict[str, Path], environ: dict[str, str] | None = None, **given: object):  # type: ignore[no-untyped-def]  # one fixed call
    base = {"HOME": "/home/me", "XDG_CONFIG_HOME": str(places["user"].parents[1])}
    return config.load(given, environ=base | (environ or {}), folder=places["project"])


def test_each_source_wins_over_the_one_below(places: dict[str, Path]) -> None:
    seen = [load(places).s3.region]
    places["user"].write_text('[s3]\nregion = "user"\n')
    seen.append(load(places).s3.region)
    (places["project"] / "lakeq.toml").write_text('[s3]\nregion = "project"\n')
    seen.append(load(places).s3.region)
    seen.append(load(places, {"LAKEQ_S3_REGION": "environment"}).s3.region)
    seen.append(load(places, {"LAKEQ_S3_REGION": "environment"}, s3_region="flag").s3.region)
    assert seen == ["", "user", "project", "environment", "flag"]


def test_origins_name_flag_variable_file_and_default(places: dict[str, Path]) -> None:
    places["user"].write_text('memory_limit = "4GB"\n')
    origins = load(places, {"LAKEQ_THREADS": "3"}, lake="here").origins
    assert origins["lake"] == "--lake"
    assert origins["threads"] == "LAKEQ_THREADS"
    assert origins["memory_limit"] == str(places["user"])
    assert origins["s3.anon"] == "default"
    assert set(origins) == set(config.KEYS)


def test_default_lake_follows_the_xdg_data_folder(places: dict[str, Path]) -> None:
    assert load(places).lake == Path("/home/me/.local/share/lakeq/lake")
    assert load(places, {"XDG_DATA_HOME": "/data"}).lake == Path("/data/lakeq/lake")
    assert load(places, {"XDG_DATA_HOME": "relative"}).lake.is_relative_to("/home/me")


def test_paths_of_a_file_start_at_its_folder(places: dict[str, Path]) -> None:
    places["user"].write_text('lake = "lake"\ncatalogs = ["mine", "/abs"]\n')
    settings = load(places)
    assert settings.lake == places["user"].parent / "lake"
    assert settings.catalogs == (places["user"].parent / "mine", Path("/abs"))


def test_paths_of_the_environment_start_at_the_working_folder(places: dict[str, Path]) -> None:
    settings = load(places, {"LAKEQ_CATALOGS": "a:b", "LAKEQ_TEMP_DIR": "tmp"})
    assert settings.catalogs == (places["project"] / "a", places["project"] / "b")
    assert settings.temp_dir == places["project"] / "tmp"


def test_a_flag_that_is_none_was_not_given(places: dict[str, Path]) -> None:
    assert load(places, {"LAKEQ_WAREHOUSE": "s3://b/p"}, warehouse=None).warehouse == "s3://b/p"


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("0", False), ("True", True), ("off", False)]
)
def test_switches_of_the_environment(text: str, value: bool, places: dict[str, Path]) -> None:
    assert load(places, {"LAKEQ_S3_ANON": text}).s3.anon is value


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LAKEQ_THREADS": "many"}, "threads = 'many': expected a whole number"),
        ({"LAKEQ_THREADS": "0"}, "expected a whole number from 1"),
        ({"LAKEQ_S3_ANON": "maybe"}, "expected true or false"),
    ],
)
def test_a_wrong_value_names_its_source(
    environ: dict[str, str], words: str, places: dict[str, Path]
) -> None:
    with pytest.raises(UsageError) as raised:
        load(places, environ)
    assert words in str(raised.value)
    assert next(iter(environ)) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lake = [1]", "expected text"),
        ("lake = ", "not TOML"),
        ("threads = true", "expected a whole number"),
        ("catalogs = 3", "expected a list of folders"),
        ("[s3]\nanon = 2", "expected true or false"),
    ],
)
def test_a_wrong_file_is_named(text: str, words: str, places: dict[str, Path]) -> None:
    places["user"].write_text(text)
    with pytest.raises(UsageError) as raised:
        load(places)
    assert words in str(raised.value)
    assert str(places["user"]) in str(raised.value)


def test_an_unknown_key_answers_with_the_nearest(places: dict[str, Path]) -> None:
    places["user"].write_text('[s3]\nregoin = "eu-west-1"\n')
    with pytest.raises(UnknownName, match=r"did you mean s3\.region"):
        load(places)
    places["user"].unlink()
    with pytest.raises(UnknownName, match="did you mean warehouse"):
        load(places, warehous="x")


def test_packaged_data_is_found() -> None:
    assert (config.data_dir("catalogs") / "thousand_genomes.yaml").is_file()


ENDLESS = "select count(*) from range(1000000000000000000) where hash(range) = 1"


def test_a_query_that_would_never_end_is_stopped_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAX_SECONDS", "0.3")
    lake = lakeq.connect(tmp_path / "lake")
    assert lake.settings.origins["limits.max_seconds"] == "default"
    with pytest.raises(LimitPassed, match=r"stopped after .* s; max_seconds is 0\.3"):
        lake.sql(ENDLESS).rows()


def test_a_limit_of_seconds_is_an_hour_another_or_none(tmp_path: Path) -> None:
    assert config.load(environ={}, folder=tmp_path).limits.max_seconds == 3600
    (tmp_path / "lakeq.toml").write_text("[limits]\nmax_seconds = 0.3\n")
    assert config.load(environ={}, folder=tmp_path).limits.max_seconds == 0.3
    none = {"LAKEQ_LIMITS_MAX_SECONDS": "none"}
    assert config.load(environ=none, folder=tmp_path).limits.max_seconds is None
