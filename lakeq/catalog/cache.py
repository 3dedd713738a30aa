"""Datasets that were parsed before, as JSON in the user's cache: reading YAML takes 60 ms.

A file of the cache holds size and checksums of the catalog it was made from, so an edited catalog
is not served stale. It is data only, and believed only when it belongs to this user, nobody else
can write it, and its shape is right; anything else counts as absent. A cache that cannot be
written costs time, never an error.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lakeq.catalog import Column, Dataset, Macro, Population, Table, Topic

FORMAT = 6  # raise when the shape below or the meaning of a catalog file changes
MAX_BYTES = 16 << 20
FOLDER = "catalogs"


def key(data: bytes) -> str:
    """What a cached dataset must have been made from: the catalog's bytes and this code."""
    package = Path(__file__).parents[1]
    code = [(package / name).stat() for name in ("catalog/schema.py", "types.py")]
    stamps = [f"{status.st_size}-{status.st_mtime_ns}" for status in code]
    sums = f"{len(data)}-{zlib.crc32(data):08x}{zlib.adler32(data):08x}"  # hashlib takes 3 ms
    return " ".join((str(FORMAT), *stamps, sums))


def load(cache: Path, path: Path, wanted: str) -> Dataset | None:
    """The dataset of the catalog file `path` if the cache holds it under the key `wanted`."""
    try:
        document = json.loads(_own_bytes(_file(cache, path)))
        return dataset_of(document["dataset"], str(path)) if document["key"] == wanted else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def store(cache: Path, path: Path, made_from: str, dataset: Dataset) -> None:
    """Keep `dataset`, replacing what the cache held for `path`; does nothing when it cannot."""
    target = _file(cache, path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"key": made_from, "dataset": plain(dataset)}, file)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True) if target.parent.is_dir() else None


def _file(cache: Path, path: Path) -> Path:
    place = zlib.crc32(os.fsencode(path.absolute()))
    return cache / FOLDER / f"{path.stem}-{place:08x}.json"


def _own_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(path)
        if status.st_size > MAX_BYTES:
            raise ValueError(path)
        return file.read()


def plain(dataset: Dataset) -> dict[str, Any]:
    """A dataset as JSON has it; `dataset_of` takes it back."""
    fields = {name: getattr(dataset, name) for name in _TEXTS}
    return fields | {
        "populations": [[p.code, p.name, p.super_population] for p in dataset.populations],
        "topics": [
            [t.arn, list(t.objects), _plain_lists(t.attributes), _plain_lists(t.body)]
            for t in dataset.topics
        ],
        "keys": dict(dataset.keys),
        "skip": list(dataset.skip),
        "macros": [[m.name, list(m.parameters), m.sql, m.doc] for m in dataset.macros.values()],
        "tables": [_plain_table(table) for table in dataset.tables.values()],
    }


def _plain_lists(values: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: list(value) for name, value in values.items()}


def _plain_table(table: Table) -> dict[str, Any]:
    fields = {name: getattr(table, name) for name in (*_TABLE_TEXTS, *_TABLE_LISTS)}
    columns = [[c.name, c.type, c.doc, c.unit, c.source] for c in table.columns]
    return fields | {"columns": columns, "options": dict(table.options)}


_TEXTS = ("name", "title", "doc", "license", "citation", "homepage", "assembly", "panel")
_TABLE_TEXTS = (
    *("dataset", "name", "doc", "format", "query"),
    *("assembly", "region", "access", "replace", "index"),
)
_TABLE_LISTS = ("objects", "partition_by", "sort_by")


def dataset_of(plain: dict[str, Any], origin: str = "") -> Dataset:
    """The dataset that `plain` made this of; `KeyError`, `TypeError`, `ValueError` if it did not.

    Its shape is checked, not its meaning: `lakeq.catalog.check` does that.
    """
    tables = [_table(table) for table in plain["tables"]]
    return Dataset(
        **{name: _text(plain[name]) for name in _TEXTS},
        tables={table.name: table for table in tables},
        populations=tuple(Population(*_texts(p)) for p in plain["populations"]),
        topics=tuple(_topic(*topic) for topic in plain["topics"]),
        keys={_text(name): _text(value) for name, value in plain["keys"].items()},
        skip=_texts(plain["skip"]),
        macros={
            _text(name): Macro(_text(name), _texts(parameters), _text(sql), _text(doc))
            for name, parameters, sql, doc in plain["macros"]
        },
        origin=origin,
    )


def _topic(arn: object, objects: object, attributes: object, body: object) -> Topic:
    return Topic(_text(arn), _texts(objects), _lists(attributes), _lists(body))


def _lists(values: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(values, dict):
        raise TypeError(values)
    return {_text(name): _texts(value) for name, value in values.items()}


def _table(plain: dict[str, Any]) -> Table:
    fields: dict[str, Any] = {name: _text(plain[name]) for name in _TABLE_TEXTS}
    fields |= {name: _texts(plain[name]) for name in _TABLE_LISTS}
    columns = tuple(Column(*_texts(column)) for column in plain["columns"])
    options = {_text(name): _text(value) for name, value in plain["options"].items()}
    return Table(**fields, columns=columns, options=options)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(type(value) is str for value in values):
        raise TypeError(values)
    return tuple(values)
