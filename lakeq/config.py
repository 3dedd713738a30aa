"""Settings and where each came from: flags > LAKEQ_* > ./lakeq.toml > user config > default.

The user config is $XDG_CONFIG_HOME/lakeq/config.toml. Both files have the same keys: those of
`KEYS`, with those of `s3` and `limits` in tables of that name. Environment names are the key in
capitals with `_` for the dot: LAKEQ_LAKE, LAKEQ_S3_REGION. Only the user's own settings name an
endpoint or credentials profile; a catalog never does. Budgets, tags and prices add up over the
files: a project's budget never takes away the user's own, and a tag or price that stands twice is
the nearer one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lakeq import _config_values as _values
from lakeq._config_values import READERS, Value
from lakeq.errors import NotFound, UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakeq.budget import Budget

PACKAGE = Path(__file__).parent
VERSION = "0.1.0"  # as in pyproject.toml; to ask the installation takes 30 ms
PROJECT_FILE = "lakeq.toml"
DEFAULT = "default"
MAX_USD = "1"  # of one query, unless the user says otherwise: 200 GB on Athena
MAX_SECONDS = "3600"  # likewise, from its start to its last row
DIGEST_ROWS = 10_000  # 2 ms (measured); a larger result is recorded by its number of rows only
TABLES = ("tags", "prices")  # TOML tables that are one setting each
ADD_UP = (*TABLES, "budget")  # settings whose layers add up
GLUE = _values.GLUE
KEYS = tuple(READERS)


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How S3 is reached. Empty text and `None` mean: as the catalog or the AWS SDK decides."""

    profile: str = ""
    region: str = ""
    endpoint_url: str = ""
    anon: bool | None = None  # True never signs, False always signs
    requester_pays: bool | None = None


@dataclass(frozen=True, slots=True)
class SparkSettings:
    """Where Spark runs: `remote` is `sc://host:port`, "" a pysail of lakeq's own on this machine.

    `s3_scheme` is how that Spark names objects on S3: `s3` for Sail and EMR, `s3a` for Hadoop's.
    """

    remote: str = ""
    s3_scheme: str = ""


@dataclass(frozen=True, slots=True)
class AthenaSettings:
    """How Athena is asked: workgroup, where results go, Glue's database prefix.

    `output` is s3://bucket/prefix ("" is the workgroup's own), `catalog` the data catalog,
    `reuse_minutes` how old a result may be that Athena gives again for nothing (0: never),
    `unload_bytes` from how many expected bytes on a result comes by UNLOAD (None: never).
    """

    workgroup: str = ""
    output: str = ""
    catalog: str = ""
    region: str = ""
    endpoint_url: str = ""
    reuse_minutes: int = 0
    unload_bytes: int | None = 100_000_000


@dataclass(frozen=True, slots=True)
class GlueSettings:
    """How AWS Glue is asked: databases are named `prefix` + dataset; "" is as the SDK decides."""

    prefix: str = ""
    region: str = ""
    endpoint_url: str = ""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What one job of a batch system gets, for `lakeq ingest --executor htcondor` and `slurm`.

    `queue` is Slurm's partition or HTCondor's accounting group, `walltime` HH:MM:SS, `folder` where
    a job keeps what is not kept, `host` the address that jobs reach this machine at ("" leaves each
    to the system), `count` how many jobs, `wait_s` how long the first of them may stand in the
    queue.
    """

    queue: str = ""
    cores: int = 1
    memory: str = "4GB"
    disk: str = "10GB"
    walltime: str = ""
    folder: str = ""
    host: str = ""
    count: int = 2
    wait_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one query may take; `None` is no limit.

    Dollars are those that Athena would ask for the bytes read.
    """

    max_usd: Decimal | None = None
    max_bytes: int | None = None
    max_seconds: float | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a user may set, resolved.

    `lake` is the folder of the Iceberg catalog; `warehouse` is where a new lake puts its data
    files ("" means inside the lake, else s3://bucket/prefix). With `catalog` "glue" the lake was
    named as s3://bucket/prefix: that is the `warehouse`, and `lake` is the folder where this
    machine keeps what it knows of it. `catalogs` are folders of the
    user's own catalog files; `memory_limit` is a size such as `4GB` ("" leaves it to the engine);
    `ledger` is the file that spending is recorded in (None: see `lakeq.ledger`); `user`, `project`
    and `tags` say who spends ("" is the user of the operating system); a result of at most
    `digest_rows` rows is recorded by its digest; `sns_topic` is told of budget alerts; `prices`
    stand in for those of the price book. `engine` is where queries run.
    `origins` maps each key of `KEYS` to the flag, variable, file or "default" that set it.
    """

    lake: Path
    warehouse: str = ""
    catalog: str = ""
    catalogs: tuple[Path, ...] = ()
    memory_limit: str = ""
    threads: int | None = None
    temp_dir: Path | None = None
    ledger: Path | None = None
    user: str = ""
    project: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    budget: tuple[Budget, ...] = ()
    sns_topic: str = ""
    digest_rows: int = DIGEST_ROWS
    prices: Mapping[str, str] = field(default_factory=dict)
    s3: S3Settings = field(default_factory=S3Settings)
    limits: Limits = field(default_factory=Limits)
    engine: str = "duckdb"
    spark: SparkSettings = field(default_factory=SparkSettings)
    athena: AthenaSettings = field(default_factory=AthenaSettings)
    glue: GlueSettings = field(default_factory=GlueSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The lake as it was named: a folder, or s3://bucket/prefix of one that Glue names."""
        return self.warehouse if self.catalog == GLUE else str(self.lake)


def load(
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """The settings in force.

    `overrides` come from flags or `lakeq.connect(...)`: keys as in `KEYS`, `s3_region` for
    `s3.region`; `None` means not given. `environ` and `folder` stand in for the process's own
    environment and working directory. Raises `UnknownName` for a key that does not exist and
    `UsageError` for a value of the wrong kind or a file that is not TOML; both name the place.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    values: dict[str, list[Value]] = {}
    for layer in (
        _defaults(environ, folder),
        _from_file(_home(environ, "XDG_CONFIG_HOME", ".config") / "lakeq" / "config.toml"),
        _from_file(folder / PROJECT_FILE),
        _from_environment(environ, folder),
        _from_overrides(overrides or {}, folder),
    ):
        _lay_over(values, layer)
    return _settings(values, environ)


def _lay_over(values: dict[str, list[Value]], layer: Mapping[str, Value]) -> None:
    """Put a nearer layer on top: most settings are the nearest one, some add up."""
    for key, value in layer.items():
        values[key] = [*values.get(key, ()), value] if key in ADD_UP else [value]


def _settings(values: Mapping[str, list[Value]], environ: Mapping[str, str]) -> Settings:
    parsed = {key: _parsed(key, given) for key, given in values.items()}
    origins = {key: _origins(values.get(key, ())) for key in KEYS}
    parsed |= _place(parsed, origins, environ)
    plain = {key: value for key, value in parsed.items() if "." not in key}
    # each reader returns its field's type
    s3 = S3Settings(**_section(parsed, "s3"))  # type: ignore[arg-type]
    limits = Limits(**_section(parsed, "limits"))  # type: ignore[arg-type]
    spark = SparkSettings(**_section(parsed, "spark"))  # type: ignore[arg-type]
    athena = AthenaSettings(**_section(parsed, "athena"))  # type: ignore[arg-type]
    glue = GlueSettings(**_section(parsed, "glue"))  # type: ignore[arg-type]
    jobs = JobSettings(**_section(parsed, "jobs"))  # type: ignore[arg-type]
    origins = {key: _origins(values.get(key, ())) for key in KEYS}
    return Settings(  # each reader returns its field's type
        **plain,  # type: ignore[arg-type]
        s3=s3,
        limits=limits,
        spark=spark,
        athena=athena,
        glue=glue,
        jobs=jobs,
        origins=origins,
    )


def _place(
    parsed: Mapping[str, object], origins: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, object]:
    """A lake that Glue names has a folder of its own on this machine, for what is known of it."""
    lake, where = parsed["lake"], origins["lake"]
    named = lake if isinstance(lake, str) else ""
    if not parsed.get("catalog"):
        if named:
            hint = 'its tables are named by AWS Glue: catalog = "glue"; or keep the catalog in a'
            hint += " folder and the files on S3: --lake FOLDER, warehouse = s3://bucket/prefix"
            raise UsageError(f"a lake on S3 needs a catalog: {named}", where, hint)
        return {}
    bucket, _, prefix = named.removeprefix("s3://").partition("/")
    if not bucket or {".", "..", ""} & set(prefix.split("/")):
        what = f"a lake that Glue names lies on S3, not at {lake}"
        raise UsageError(what, where, "write --lake s3://bucket/prefix")
    if parsed.get("warehouse", "") not in ("", named):
        what = f"the files of {named} lie there, not in {parsed['warehouse']}"
        raise UsageError(what, origins["warehouse"], "leave the warehouse out")
    data = _home(environ, "XDG_DATA_HOME", ".local/share")
    return {"lake": data / "lakeq" / GLUE / bucket / prefix, "warehouse": named}


def published(settings: Settings, place: str) -> Settings:
    """The settings of the lake in Glue at `place`, s3://bucket/prefix, reached as this one is."""
    parsed: dict[str, object] = {"lake": place.rstrip("/"), "catalog": GLUE}
    if not place.startswith("s3://"):
        raise UsageError(f"not a place on S3: {place!r}", "publish", "write s3://bucket/prefix")
    found = _place(parsed, {"lake": "publish"}, os.environ)
    lake, warehouse = cast("Path", found["lake"]), str(found["warehouse"])
    return replace(settings, lake=lake, warehouse=warehouse, catalog=GLUE)


def with_limits(
    settings: Settings, limits: Mapping[str, object], engine: str | None = None
) -> Settings:
    """`settings` with the given `max_usd`, `max_bytes`, `max_seconds`, and engine, for one query.

    None is not given.
    """
    if engine is not None:
        settings = replace(settings, engine=engine)
    given = {name: value for name, value in limits.items() if value is not None}
    for name in given:
        if f"limits.{name}" not in READERS:
            names = [key.partition(".")[2] for key in KEYS if key.startswith("limits.")]
            raise UnknownName.among("limit", name, names, "the arguments")
    parsed = {
        name: READERS[f"limits.{name}"](Value(value, "the arguments", Path()), name)
        for name, value in given.items()
    }
    if not parsed:
        return settings
    # each reader returns its field's type
    return replace(settings, limits=replace(settings.limits, **parsed))  # type: ignore[arg-type]


def _section(parsed: Mapping[str, object], name: str) -> dict[str, object]:
    """The keys of one table of the configuration, without its name."""
    start = f"{name}."
    return {key.removeprefix(start): v for key, v in parsed.items() if key.startswith(start)}


def _parsed(key: str, given: Sequence[Value]) -> object:
    read = [READERS[key](value, key) for value in given]
    if key == "budget":
        return tuple(budget for budgets in read for budget in cast("tuple[object, ...]", budgets))
    if key in TABLES:
        return {k: v for table in read for k, v in cast("dict[str, str]", table).items()}
    return read[-1]


def _origins(given: Sequence[Value]) -> str:
    return ", ".join(value.origin for value in given) or DEFAULT


def _defaults(environ: Mapping[str, str], folder: Path) -> dict[str, Value]:
    lake = _home(environ, "XDG_DATA_HOME", ".local/share") / "lakeq" / "lake"
    return {
        "lake": Value(lake, DEFAULT, folder),
        "limits.max_usd": Value(MAX_USD, DEFAULT, folder),
        "limits.max_seconds": Value(MAX_SECONDS, DEFAULT, folder),
    }


def _home(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """An XDG base directory; a relative one is ignored, as the specification asks."""
    given = environ.get(variable, "")
    if given and Path(given).is_absolute():
        return Path(given)
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / below_home


def _from_file(path: Path) -> dict[str, Value]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration: {error}", str(path)) from error
    import tomllib

    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error}", str(path)) from error
    given: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, dict) and key not in TABLES:
            given.update({f"{key}.{part}": inner for part, inner in value.items()})
        else:
            given[key] = value
    return {_known(k, str(path)): Value(v, str(path), path.parent) for k, v in given.items()}


def _known(key: str, where: str) -> str:
    if key not in READERS:
        raise UnknownName.among("setting", key, KEYS, where)
    return key


def _from_environment(environ: Mapping[str, str], folder: Path) -> dict[str, Value]:
    names = {"LAKEQ_" + key.upper().replace(".", "_"): key for key in KEYS}
    return {
        key: Value(environ[name], name, folder) for name, key in names.items() if environ.get(name)
    }


def _from_overrides(overrides: Mapping[str, object], folder: Path) -> dict[str, Value]:
    by_argument = {key.replace(".", "_").removeprefix("limits_"): key for key in KEYS}
    values = {}
    for name, given in overrides.items():
        key = _known(by_argument.get(name, name), "the arguments")
        if given is not None:
            flag = "--" + key.rpartition(".")[2].replace("_", "-")
            values[key] = Value(given, flag, folder)
    return values


def data_dir(name: str) -> Path:
    """The folder of packaged data `name` ("catalogs" or "sql"): in the wheel, else the checkout.

    Raises `NotFound` when the installation lacks it.
    """
    for folder in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise NotFound(f"lakeq's own {name} are missing", str(PACKAGE), "install lakeq again")


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where lakeq keeps what it records for lakes that it may not write: $XDG_STATE_HOME/lakeq."""
    return _home(os.environ if environ is None else environ, "XDG_STATE_HOME", ".local/state") / (
        "lakeq"
    )


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where lakeq may keep what it can make again: $XDG_CACHE_HOME/lakeq."""
    return _home(os.environ if environ is None else environ, "XDG_CACHE_HOME", ".cache") / "lakeq"
