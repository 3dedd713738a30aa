"""The columns that the INFO and FORMAT definitions of a VCF header ask for.

For tables with the option `fields: header`: a column for each definition, typed by its Number and
Type. Which definitions fit one column is decided here too, so that a later file may add columns
and may not change what one means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lakeq.catalog import Column
from lakeq.errors import BadSource

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.formats._vcf_header import FieldDefinition, Header

OPTION, HEADER = "fields", "header"
ANNOTATIONS = frozenset({"ANN", "CSQ", "vep", "VEP"})  # one struct per | separated annotation
WHOLE = "/all"  # of a source: all values of a Number=G field, not the row's own
NAME_LIMIT = 60
_TYPES = {"Integer": "int32", "Float": "float64"}
_WORDS = frozenset(  # names that SQL would not take without quotes
    re.findall(
        r"\w+",
        """
        all analyse analyze and any array as asc both case cast check collate column constraint
        create default desc distinct do else end except false fetch for foreign from grant group
        having in initially intersect into lateral leading limit not null offset on only or order
        placing primary qualify references returning select show some summarize symmetric table
        then to trailing true union unique using variadic when where window with
        """,
    )
)
_PARTS = re.compile(r"(?:[Ff]ormat: ?\W?|')([^'\"]*\|[^'\"]*)")


def from_header(table: Table) -> bool:
    """Whether the table's columns are those of the headers of its files."""
    return table.options.get(OPTION) == HEADER


def parts(definition: FieldDefinition) -> tuple[str, ...]:
    """The sub-fields of an annotation (ANN, CSQ) as its description lists them; () for none."""
    if definition.key not in ANNOTATIONS or definition.type != "String":
        return ()
    match = _PARTS.search(definition.description)
    if match is None:
        return ()
    names: list[str] = []
    for text in match[1].split("|"):
        name = _word(text)
        _unused(name if name[:1].isalpha() else f"part_{name}".rstrip("_"), names)
    return tuple(names)


def column_type(definition: FieldDefinition) -> str:
    """The type of the column that holds a field."""
    names = parts(definition)
    if names:
        return f"list<struct<{', '.join(f'{name}: string' for name in names)}>>"
    if definition.type == "Flag":
        return "bool"
    one = _TYPES.get(definition.type, "string")
    return one if definition.number in ("1", "A") else f"list<{one}>"


def info_columns(
    definitions: Iterable[FieldDefinition], taken: Collection[str]
) -> Iterator[Column]:
    """A column `info_KEY` for each INFO definition; `taken` are the names in use."""
    names = list(taken)
    for definition in definitions:
        yield _column(definition, f"INFO/{definition.key}", f"info_{_word(definition.key)}", names)


def format_columns(
    definitions: Iterable[FieldDefinition], taken: Collection[str]
) -> Iterator[Column]:
    """A column for each FORMAT definition but GT; two for Number=G, whose split loses pairs."""
    names = list(taken)
    for definition in definitions:
        if definition.key == "GT":
            continue
        name = _word(definition.key)
        column = _column(definition, f"FORMAT/{definition.key}", name, names)
        yield column
        if definition.number == "G":
            name = _unused(f"{column.name}_all", names)
            doc = (
                f"all values of {definition.key}, in the order of VCF section 1.6.2, where the line"
                " has several alternate alleles; NULL where it has one"
            )
            yield Column(name, column.type, doc, "", column.source + WHOLE)


def _column(definition: FieldDefinition, source: str, name: str, names: list[str]) -> Column:
    if name in _WORDS or not name[:1].isalpha():
        name = f"format_{name}"
    name = _unused(name[:NAME_LIMIT], names)
    split = {
        "A": "; the value of this alternate allele",
        "R": "; the values of ref and of this alternate allele",
        "G": "; the values of the genotypes of ref and this alternate allele",
    }.get(definition.number, "")
    text = " ".join(definition.description.split())[:300] or definition.key
    doc = f"{definition.key} (Number={definition.number}, Type={definition.type}): {text}{split}"
    return Column(name, column_type(definition), doc, "", source)


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")


def _unused(name: str, names: list[str]) -> str:
    """`name`, numbered if one of `names` is it; added to them."""
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name}_{number}"
    names.append(free)
    return free


def missing(table: Table, header: Header, uri: str, *, kind: str) -> list[Column]:
    """The columns that `table` lacks for the definitions of one file.

    Raises `BadSource` that names both definitions where the file's contradicts the table's column.
    """
    prefix = f"{kind}/"
    by_key = {
        column.source.removeprefix(prefix): column
        for column in table.columns
        if column.source.startswith(prefix)
    }
    definitions: Mapping[str, FieldDefinition] = header.info if kind == "INFO" else header.format
    new = []
    for key, definition in definitions.items():
        column = by_key.get(key)
        if column is None:
            new.append(definition)
        elif not _fits(definition, column):
            raise BadSource(
                f"{kind}/{key} is Number={definition.number}, Type={definition.type} in this file,"
                f" but column {column.name} of {table.qualified} is {column.type}:"
                f" {column.doc[:120]!r}",
                f"{uri}, line {definition.line}, {kind}/{key}",
                "ingest the file into a dataset of its own, or correct its header",
            )
    taken = [column.name for column in table.columns]
    make = info_columns if kind == "INFO" else format_columns
    return list(make(new, taken))


def _fits(definition: FieldDefinition, column: Column) -> bool:
    """Whether a file's field can go into a column: of the same type, or both annotations."""
    wanted = column_type(definition)
    if wanted.startswith("list<struct") and column.type.startswith("list<struct"):
        return True
    return wanted == column.type
