"""What may stand for each setting: its text or TOML value read into the type of its field.

A value of the wrong kind is a `UsageError` that names the key, what was given, where, and what
was expected.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from lakeq import budget as _budget
from lakeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GLUE = "glue"  # the catalog that is not a file in the lake's folder

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it was given, where it was given, and the folder that relative paths start at."""

    given: object
    origin: str
    folder: Path


def _bad(value: Value, key: str, wanted: str) -> UsageError:
    return UsageError(f"{key} = {value.given!r}: expected {wanted}", value.origin)


def _text(value: Value, key: str) -> str:
    if not isinstance(value.given, str | Path):
        raise _bad(value, key, "text")
    return str(value.given)


def _line(value: Value, key: str) -> str:
    """Text that becomes a line of a job's script."""
    text = _text(value, key)
    if not text.isprintable():
        raise _bad(value, key, "one line of text")
    return text


def _walltime(value: Value, key: str) -> str:
    text = _line(value, key)
    if text and not all(part.isascii() and part.isdigit() for part in text.split(":")):
        raise _bad(value, key, "HH:MM:SS")
    return text


def _job_count(value: Value, key: str) -> int:
    return _count(value, key) or 1


def _path(value: Value, key: str) -> Path:
    text = _text(value, key)
    if not text:
        raise _bad(value, key, "a path")
    return value.folder / Path(text).expanduser()


def _path_or_none(value: Value, key: str) -> Path | None:
    return None if value.given == "" else _path(value, key)


def _lake(value: Value, key: str) -> Path | str:
    text = _text(value, key)
    return text.rstrip("/") if text.startswith("s3://") else _path(value, key)


def _catalog(value: Value, key: str) -> str:
    if value.given not in ("", GLUE):
        raise _bad(value, key, '"glue", or nothing for the file in the lake')
    return str(value.given)


def _paths(value: Value, key: str) -> tuple[Path, ...]:
    given = value.given
    if isinstance(given, str):
        given = [part for part in given.split(os.pathsep) if part]
    elif isinstance(given, Path):
        given = [given]
    if not isinstance(given, list | tuple):
        raise _bad(value, key, "a list of folders")
    return tuple(_path(Value(part, value.origin, value.folder), key) for part in given)


def _count(value: Value, key: str) -> int | None:
    given = value.given
    if given == "":
        return None
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise _bad(value, key, "a whole number from 1")
    return given


def _whole(value: Value, key: str) -> int:
    if value.given in (0, "0"):
        return 0
    return _count(value, key) or 0


def _tags(value: Value, _key: str) -> dict[str, str]:
    return _budget.tags_of(value.given, value.origin)


def _budgets(value: Value, key: str) -> tuple[_budget.Budget, ...]:
    if not isinstance(value.given, list | tuple):
        raise _bad(value, key, "[[budget]] tables")
    return tuple(_budget.of(given, value.origin) for given in value.given)


def _price_list(value: Value, key: str) -> dict[str, str]:
    """Prices as text; `lakeq.cost` knows their names."""
    given = value.given
    if not isinstance(given, dict):
        raise _bad(value, key, "a table of prices")
    for name, price in given.items():
        if name not in ("region", "date", "source"):
            _budget.amount(price, f"prices.{name}", value.origin)
    return {str(name): str(price) for name, price in given.items()}


def _switch(value: Value, key: str) -> bool | None:
    given = value.given
    if isinstance(given, bool):
        return given
    word = given.lower() if isinstance(given, str) else None
    if word == "":
        return None
    if word not in _TRUE + _FALSE:
        raise _bad(value, key, "true or false")
    return word in _TRUE


def _number(value: Value, key: str, wanted: str) -> Decimal | None:
    """A number above 0; "" and "none" are no limit."""
    given = value.given
    if isinstance(given, str) and given.lower() in ("", "none"):
        return None
    try:
        number = Decimal(str(given))
    except InvalidOperation:
        raise _bad(value, key, wanted) from None
    if isinstance(given, bool) or not number.is_finite() or number < 0:
        raise _bad(value, key, wanted)
    return number


def _dollars(value: Value, key: str) -> Decimal | None:
    text = value.given.lstrip("$") if isinstance(value.given, str) else value.given
    return _number(Value(text, value.origin, value.folder), key, 'dollars, such as 0.05 or "none"')


def _seconds(value: Value, key: str) -> float | None:
    number = _number(value, key, 'seconds, such as 60 or "none"')
    return None if number is None else float(number)


def _wait(value: Value, key: str) -> float:
    return _seconds(value, key) or 0.0


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


def _bytes(value: Value, key: str) -> int | None:
    text = str(value.given).strip()
    digits = text.rstrip("BIKMGTbikmgt ")
    unit = text[len(digits) :].strip().upper()
    if text.lower() in ("", "none"):
        return None
    if unit not in _UNITS:
        raise _bad(value, key, "bytes, such as 500MB or 2GiB")
    number = _number(Value(digits, value.origin, value.folder), key, "bytes, such as 500MB")
    return None if number is None else int(number * _UNITS[unit])


READERS: Mapping[str, Callable[[Value, str], object]] = {
    "lake": _lake,
    "warehouse": _text,
    "catalog": _catalog,
    "catalogs": _paths,
    "memory_limit": _text,
    "threads": _count,
    "temp_dir": _path_or_none,
    "ledger": _path_or_none,
    "user": _text,
    "project": _text,
    "tags": _tags,
    "budget": _budgets,
    "sns_topic": _text,
    "digest_rows": _whole,
    "prices": _price_list,
    "s3.profile": _text,
    "s3.region": _text,
    "s3.endpoint_url": _text,
    "s3.anon": _switch,
    "s3.requester_pays": _switch,
    "limits.max_usd": _dollars,
    "limits.max_bytes": _bytes,
    "limits.max_seconds": _seconds,
    "engine": _text,
    "spark.remote": _text,
    "spark.s3_scheme": _text,
    "athena.workgroup": _text,
    "athena.output": _text,
    "athena.catalog": _text,
    "athena.region": _text,
    "athena.endpoint_url": _text,
    "athena.reuse_minutes": _whole,
    "athena.unload_bytes": _bytes,
    "glue.prefix": _text,
    "glue.region": _text,
    "glue.endpoint_url": _text,
    "jobs.queue": _line,
    "jobs.cores": _job_count,
    "jobs.memory": _line,
    "jobs.disk": _line,
    "jobs.walltime": _walltime,
    "jobs.folder": _line,
    "jobs.host": _line,
    "jobs.count": _job_count,
    "jobs.wait_s": _wait,
}
