"""Objects of a dataset's archive, chosen by what their keys tell: site, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.keys import KeyTemplate, Wanted

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
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


def selected(dataset: Dataset, storage: Storage, selection: Selection) -> Iterator[SourceObject]:
    """Objects whose keys tell what is asked for; only their folders are listed, in turn.

    Raises `UsageError` and `UnknownName` before anything is listed, `NotFound` when there is none.
    """
    template = _template(dataset, selection)
    folders = {
        (number, prefix): wanted
        for number, wanted in enumerate((selection.wanted, *selection.others))
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


def _template(dataset: Dataset, selection: Selection) -> KeyTemplate:
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
