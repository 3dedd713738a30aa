"""Panel files: which population each sample is of, and its sex.

Two layouts are known by their header line: that of phase 3 (`sample pop super_pop gender`, tabs)
and that of the 30x pedigree (`FamilyID SampleID FatherID MotherID Sex Population
Superpopulation`, spaces). Columns are found by name, so their order and others beside them do
not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakeq.errors import BadSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakeq.storage import SourceObject

MAX_BYTES = 256 << 20  # 5 million samples; the panel of 1000 Genomes has 56 kB

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sample": ("sample", "sampleid", "sample_id", "sample_name"),
    "population": ("pop", "population", "population_code"),
    "super_population": ("super_pop", "superpopulation", "super_population"),
    "sex": ("gender", "sex"),
}
_SEXES: Mapping[str, str | None] = {
    "male": "male",
    "m": "male",
    "1": "male",
    "female": "female",
    "f": "female",
    "2": "female",
    "": None,
    "0": None,
    "na": None,
    "unknown": None,
    "other": None,
}
_UNKNOWN = ("", ".", "-", "NA")


class Member(NamedTuple):
    """What a panel says of one sample; None where it says nothing."""

    population: str | None
    super_population: str | None
    sex: str | None


def read_panel(source: SourceObject | bytes | str, where: str = "the panel") -> dict[str, Member]:
    """The members of a panel by sample name, in file order.

    `where` names a panel given as bytes or text. Raises `BadSource` with the line for a header
    without the columns, a row that is too short, an unknown sex and a repeated sample.
    """
    if isinstance(source, str):
        text = source
    elif isinstance(source, bytes):
        text = _decode(source, where)
    else:
        where = source.uri
        with source.open() as stream:
            text = _decode(stream.read(MAX_BYTES + 1), where)
    return _members(text, where)


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_BYTES:
        raise BadSource(f"the panel is larger than {MAX_BYTES:,} bytes", where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "a panel is plain text, not compressed"
        raise BadSource("the panel is not UTF-8 text", f"{where}, line {line}", hint) from error


def _members(text: str, where: str) -> dict[str, Member]:
    lines = text.splitlines()
    if not lines:
        raise BadSource("the panel is empty", where)
    separator = "\t" if "\t" in lines[0] else None
    places = _places(lines[0].lstrip("#").split(separator), f"{where}, line 1")
    members: dict[str, Member] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        here = f"{where}, line {number}"
        sample, member = _member(line.split(separator), places, here)
        if sample in members:
            raise BadSource(f"sample {sample!r} stands twice in the panel", here)
        members[sample] = member
    if not members:
        raise BadSource("the panel names no sample", where)
    return members


def _places(header: list[str], here: str) -> dict[str, int]:
    names = [name.strip().lower().replace(" ", "_") for name in header]
    places = {
        column: names.index(spelling)
        for column, spellings in _COLUMNS.items()
        for spelling in spellings
        if spelling in names
    }
    for column in ("sample", "population"):
        if column not in places:
            raise BadSource(
                f"the panel's header has no column for the {column}: {' '.join(names)!r}",
                here,
                f"name it one of: {', '.join(_COLUMNS[column])}",
            )
    return places


def _member(values: list[str], places: dict[str, int], here: str) -> tuple[str, Member]:
    if len(values) <= max(places.values()):
        wanted = max(places.values()) + 1
        raise BadSource(f"the row has {len(values)} columns, not {wanted} or more", here)
    row = {column: values[place].strip() for column, place in places.items()}
    if not row["sample"]:
        raise BadSource("the row names no sample", here)
    return row["sample"], Member(
        _known(row["population"]),
        _known(row.get("super_population", "")),
        _sex(row.get("sex", ""), here),
    )


def _known(code: str) -> str | None:
    return None if code in _UNKNOWN else code


def _sex(text: str, here: str) -> str | None:
    if text.lower() not in _SEXES:
        raise BadSource(f"unknown sex {text!r}", here, "write male, female, 1 (male) or 2 (female)")
    return _SEXES[text.lower()]
