"""One unit of work for a worker and the worker's answer, both as JSON.

A unit names one version of one raw object, what its tables look like and where their files go; the
answer lists the files. Neither holds code, a pickle or a credential. What comes in is checked key
by key, since it may have crossed a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from lakeq import errors
from lakeq.catalog import Dataset
from lakeq.catalog.cache import dataset_of, plain
from lakeq.config import VERSION, S3Settings
from lakeq.errors import LakeqError, StorageUnavailable, UsageError
from lakeq.formats import ReadOptions, Sample
from lakeq.lake.places import Place, Written
from lakeq.lake.pointers import Checksum
from lakeq.storage.tally import Requests

T = TypeVar("T")
NO_REQUESTS = Requests()
MAX_BYTES = 256 << 20  # of one unit or answer; 5 million samples take 200 MB
_FOLDER = re.compile(r"parts-[0-9a-f]{16}/[0-9]{1,9}-[0-9]{1,9}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_BIG = 1 << 63


@dataclass(frozen=True, slots=True)
class Pinned:
    """One version of a raw object, as `lakeq.storage.SourceObject` has it."""

    uri: str
    size_bytes: int
    version: str
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a worker is to do: read `source` and write the files of the tables in `targets`.

    `number` orders its files among those of the batch; `folder` is where below each table's data
    they go. `journal` is a file of the lake that is there as long as somebody waits for the answer,
    empty where the lake's files are on S3. `s3` says how S3 is reached; credentials are the
    worker's own.
    """

    source: Pinned
    number: int
    dataset: Dataset
    targets: Mapping[str, Place]
    samples: Mapping[str, Sample]
    options: ReadOptions
    folder: str
    journal: str
    s3: S3Settings

    def encoded(self) -> str:
        """The unit as JSON."""
        return json.dumps(
            {
                "lakeq": VERSION,
                "source": asdict(self.source),
                "number": self.number,
                "dataset": plain(self.dataset),
                "targets": {name: asdict(target) for name, target in self.targets.items()},
                "samples": [
                    [s.name, s.number, s.population, s.super_population, s.sex]
                    for s in self.samples.values()
                ],
                "options": asdict(self.options),
                "folder": self.folder,
                "journal": self.journal,
                "s3": asdict(self.s3),
            },
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker did: its files by table, in order, and what it tells beside.

    `aside` is what is kept of a part (`lakeq.convert.parts.packed`), `raw` and `made` are the
    requests to the objects' buckets and to the warehouse's, `host` is the worker's machine.
    """

    files: Mapping[str, tuple[Written, ...]]
    aside: str = "{}"
    notes: Mapping[str, int] = field(default_factory=dict)
    raw: Requests = NO_REQUESTS
    made: Requests = NO_REQUESTS
    host: str = ""

    def encoded(self) -> str:
        """The answer as JSON."""
        files = {
            name: [[f.path, f.rows, *f.checksum[:3], list(f.checksum.chunk_crc32s)] for f in found]
            for name, found in self.files.items()
        }
        return json.dumps(
            {
                "files": files,
                "aside": self.aside,
                "notes": dict(self.notes),
                "raw": list(self.raw),
                "made": list(self.made),
                "host": self.host,
            },
            separators=(",", ":"),
        )


def encoded_error(error: LakeqError, host: str) -> str:
    """The answer of a worker that met an error of lakeq's own."""
    kind = type(error).__name__
    told = {"kind": kind, "what": error.what, "where": error.where, "hint": error.hint}
    return json.dumps({"error": told, "host": host})


def decode(text: str) -> Unit:
    """The unit that `text` is; `UsageError` for anything else, which says what is wrong."""
    return _checked(text, _unit, "a unit of work", "run-part takes what lakeq ingest sends")


def decode_answer(text: str, here: str) -> Answer:
    """The answer that `text` is; raises the error that the worker met, with its machine's name.

    `here` is this machine's. Anything else is `StorageUnavailable`: trying again can help.
    """
    answer = _checked(text, _answer_or_error, "a worker's answer", "is it this version of lakeq?")
    if isinstance(answer, Answer):
        return answer
    kind, told, host = answer
    found = getattr(errors, kind, LakeqError)
    known = isinstance(found, type) and issubclass(found, LakeqError)
    what, where, hint = told
    if host != here:
        where = f"{where}, on worker {host}" if where else f"worker {host}"
    error = LakeqError(what, where, hint)
    raise (found(what, where, hint) if known else error)


def _checked(text: str, read: Callable[[Any], T], what: str, hint: str) -> T:
    if len(text) > MAX_BYTES:
        raise UsageError(f"{what} of more than {MAX_BYTES >> 20} MiB", hint=hint)
    try:
        return read(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"[:200]
        kind = UsageError if read is _unit else StorageUnavailable
        raise kind(f"not {what}: {problem}", hint=hint) from error


def _unit(given: Any) -> Unit:
    if _text(given["lakeq"]) != VERSION:
        what = f"the unit is of lakeq {given['lakeq']}, and this worker has {VERSION}"
        raise UsageError(what, "the worker", "install the same version on all machines")
    dataset = dataset_of(given["dataset"])
    targets = {_text(k): Place(**_texts_of(t)) for k, t in given["targets"].items()}
    for name, target in targets.items():
        if name not in dataset.tables or ".." in target.location.split("/"):
            raise ValueError(f"target {name!r}")
    if not targets or len({dataset.tables[name].format for name in targets}) != 1:
        raise ValueError("tables of one format are wanted")
    folder, source = _text(given["folder"]), given["source"]
    if not _FOLDER.match(folder):
        raise ValueError(f"folder {folder!r}")
    return Unit(
        source=Pinned(
            _text(source["uri"]),
            _count(source["size_bytes"]),
            _text(source["version"]),
            _text(source["version_id"]),
        ),
        number=_count(given["number"]),
        dataset=dataset,
        targets=targets,
        samples={s.name: s for s in map(_sample, given["samples"])},
        options=_options(given["options"]),
        folder=folder,
        journal=_text(given["journal"]),
        s3=_s3(given["s3"]),
    )


def _sample(given: Any) -> Sample:
    name, number, *known = given
    population, super_population, sex = (None if k is None else _text(k) for k in known)
    return Sample(_text(name), _count(number), population, super_population, sex)


def _options(given: Any) -> ReadOptions:
    samples = given["samples"]
    return ReadOptions(
        _switch(given["strict"]),
        tuple(map(_text, given["regions"])),
        None if samples is None else tuple(map(_text, samples)),
    )


def _s3(given: Any) -> S3Settings:
    texts = {name: _text(given[name]) for name in ("profile", "region", "endpoint_url")}
    anon, pays = (
        None if given[name] is None else _switch(given[name]) for name in ("anon", "requester_pays")
    )
    return S3Settings(**texts, anon=anon, requester_pays=pays)


def _answer_or_error(given: Any) -> Answer | tuple[str, tuple[str, str, str], str]:
    host = _text(given["host"])
    if "error" in given:
        kind, *told = (_text(given["error"][k]) for k in ("kind", "what", "where", "hint"))
        return kind, (told[0], told[1], told[2]), host
    return Answer(
        files={_text(k): tuple(map(_written, found)) for k, found in given["files"].items()},
        aside=_text(given["aside"]),
        notes={_text(k): _count(n) for k, n in given["notes"].items()},
        raw=Requests(*map(_count, given["raw"])),
        made=Requests(*map(_count, given["made"])),
        host=host,
    )


def _written(given: Any) -> Written:
    path, rows, size, sha256, footer_crc32, chunks = given
    if not _SHA256.match(_text(sha256)):
        raise ValueError(f"checksum of {path!r}")
    checksum = Checksum(
        _count(size), sha256, _count(footer_crc32), chunk_crc32s=tuple(map(_count, chunks))
    )
    return Written(_text(path), _count(rows), checksum)


def _texts_of(given: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in given.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text wanted, not {value!r:.60}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _BIG:
        raise TypeError(f"a number wanted, not {value!r:.60}")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false wanted, not {value!r:.60}")
    return value
