"""Writing to catalog files of the user's own: new ones, and columns that later files bring."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq.errors import BadCatalog, UsageError

if TYPE_CHECKING:
    from lakeq.catalog import Column


def write_new(path: Path, text: str) -> None:
    """Write a catalog file that is not there yet, and check it; `UsageError` if it is there."""
    from lakeq import catalog

    if path.exists():
        hint = "a later file is simply ingested: its further fields become columns"
        raise UsageError("the catalog is there already", str(path), hint)
    _replace(path, text)
    try:
        catalog.check(path)
    except BadCatalog:
        path.unlink()
        raise


def add_columns(path: Path, columns: Mapping[str, Sequence[tuple[Column, str]]]) -> None:
    """Add columns, each with its line of YAML, at the end of tables of a catalog file.

    The rest of the file, comments too, stays as it is. The file is checked before it replaces the
    old one: `BadCatalog` otherwise, and nothing has changed.
    """
    from lakeq import catalog

    lines = path.read_text("utf-8").splitlines()
    places = _ends("\n".join(lines) + "\n", path)
    for table, new in sorted(columns.items(), key=lambda item: -places[item[0]][0]):
        at, indent = places[table]
        lines[at:at] = [" " * indent + line for _, line in new]
    text = "\n".join(lines) + "\n"
    folder = path.with_name(f".{path.stem}.{os.getpid()}.d")  # the file's name must be its own
    folder.mkdir()
    try:
        (folder / path.name).write_text(text, "utf-8")
        catalog.check(folder / path.name)
        (folder / path.name).replace(path)
    finally:
        (folder / path.name).unlink(missing_ok=True)
        folder.rmdir()


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the catalog: {error.strerror}", str(path)) from error


def _ends(text: str, path: Path) -> dict[str, tuple[int, int]]:
    """Behind which line the columns of each table end, and how far they are indented."""
    import yaml

    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    lines = text.split("\n")
    found = {}
    for name, table in _entries(_entry(root, "tables")):
        columns = _entry(table, "columns")
        if columns is None or columns.flow_style:
            what = f"table {name}: columns not in lines of their own"
            raise BadCatalog(
                what, str(path), "write one column a line, so that columns can be added"
            )
        end = columns.end_mark.line
        while end > 0 and not lines[end - 1].strip():
            end -= 1
        found[name] = (end, columns.start_mark.column)
    return found


def _entries(node: Any) -> list[tuple[str, Any]]:
    return [(key.value, value) for key, value in node.value] if node is not None else []


def _entry(node: Any, name: str) -> Any:
    return next((value for key, value in _entries(node) if key == name), None)
