"""Objects of a dataset's archive, chosen by what their keys tell: site, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.keys import KeyTemplate, Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from lakeq.catalog import Dataset
    from lakeq.keys import Moment
    from lakeq.storage import SourceObject, Storage


@dataclass(frozen=True, slots=True)
class Selection:
    """Objects of a dataset's archive by what their keys tell; `keys` names or is a template.

    `new_only` leaves out those that all tables in question have rows of already. `others` are
    further wishes: pairs of a path and a row, say, of which not each goes with each.
    """

    wanted: Wanted
    keys: str = ""
    new_only: bool = False
    others: tuple[Wanted, ...] = ()

    @property
    def wishes(self) -> tuple[Wanted, ...]:
        """All that is asked for."""
        return (self.wanted, *self.others)


def chosen(
    objects: Sequence[str | Path],
    places: Sequence[Mapping[str, Sequence[str]]],
    start: Moment | None,
    end: Moment | None,
    keys: str,
    *,
    new_only: bool,
) -> Sequence[str] | Selection:
    """The objects named, or what is asked of the archive."""
    if not (places or start or end or keys or new_only):
        if not objects:
            raise UsageError("no object is named", "the ingest", "name objects, or place and time")
        return [str(given) for given in objects]
    if objects:
        what = "objects are named, and chosen by place or time as well"
        raise UsageError(what, "the ingest", "do one or the other")
    wanted = [Wanted.of(place, start, end) for place in places or [{}]]
    return Selection(wanted[0], keys, new_only, tuple(wanted[1:]))


def places(
    site: str | Sequence[str], path_row: str | Sequence[str]
) -> list[Mapping[str, Sequence[str]]]:
    """Fields of keys: those of all sites, or of each path and row, as archives write them."""
    sites = (site,) if isinstance(site, str) and site else tuple(site)
    pairs = (path_row,) if isinstance(path_row, str) and path_row else tuple(path_row)
    if not pairs:
        return [{"site": sites}] if sites else []
    if sites:
        raise UsageError("both sites and paths and rows are named", "the places", "name one kind")
    found: list[Mapping[str, Sequence[str]]] = []
    for pair in pairs:
        path, slash, row = pair.partition("/")
        if not (slash and path.isdigit() and row.isdigit()):
            raise UsageError(f"no path and row: {pair!r}", "the places", "write 28/30 or 028/030")
        found.append({"path": [f"{int(path):03d}"], "row": [f"{int(row):03d}"]})
    return found


def selected(dataset: Dataset, storage: Storage, selection: Selection) -> Iterator[SourceObject]:
    """Objects whose keys tell what is asked for; only their folders are listed, in turn.

    Raises `UsageError` and `UnknownName` before anything is listed, `NotFound` when there is none.
    """
    template = template_of(dataset, selection)
    folders = {
        (number, prefix): wanted
        for number, wanted in enumerate(selection.wishes)
        for prefix in template.prefixes(wanted)
    }
    return _listed(dataset, storage, template, folders)


def _listed(
    dataset: Dataset,
    storage: Storage,
    template: KeyTemplate,
    folders: Mapping[tuple[int, str], Wanted],
) -> Iterator[SourceObject]:
    found: set[str] = set()
    for (_, prefix), wanted in folders.items():
        for source in storage.listed(prefix, tuple(dataset.tables.values())):
            told = template.match(source.uri)
            if told is not None and wanted.includes(*told) and source.uri not in found:
                found.add(source.uri)
                yield source
    if not found:
        prefixes = [prefix for _, prefix in folders]
        where = prefixes[0] if len(prefixes) == 1 else f"{prefixes[0]} to {prefixes[-1]}"
        hint = "check place and time; times are UTC"
        raise NotFound("no object of the archive is of that place and time", where, hint)


def template_of(dataset: Dataset, selection: Selection) -> KeyTemplate:
    """The template of keys that a selection means; raises `UsageError` and `UnknownName`."""
    text = selection.keys
    if "://" not in text:
        if not dataset.keys:
            what = f"{dataset.name} does not say how its objects are named"
            hint = "name objects, or add keys: to its catalog"
            raise UsageError(what, dataset.origin or "the catalog", hint)
        if text and text not in dataset.keys:
            raise UnknownName.among("template of keys", text, dataset.keys, dataset.name)
        text = dataset.keys[text] if text else next(iter(dataset.keys.values()))
    try:
        template = KeyTemplate(text)
    except ValueError as error:
        raise UsageError(str(error), text, "see keys: in the catalog schema") from error
    for name in selection.wanted.values:
        if name not in template.fields:
            raise UnknownName.among("field of the keys", name, template.fields, template.text)
    if not template.timed and (selection.wanted.start or selection.wanted.end):
        raise UsageError("the keys do not tell a time", template.text, "leave out --from and --to")
    return template
