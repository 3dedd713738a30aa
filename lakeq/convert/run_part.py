"""The work of a worker: one unit in, the list of its files out.

As a module, `python -m lakeq.convert.run_part`, it takes units line by line from standard input
and answers line by line. It ends with its standard input, also in the middle of a unit: then nobody
waits for the answer any more.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TextIO

from lakeq.convert import unit as _unit
from lakeq.convert.unit import Answer, Unit
from lakeq.errors import LakeqError, UsageError

if TYPE_CHECKING:
    from lakeq.config import S3Settings
    from lakeq.lake.parquet import NewFile
    from lakeq.lake.places import Written
    from lakeq.storage import SourceObject, Storage


def run(text: str, s3: S3Settings | None = None) -> str:
    """The answer to the unit `text`, both JSON; an error of lakeq's own is an answer too.

    `s3` stands in for what the unit says of reaching S3.
    """
    host = socket.gethostname()
    try:
        return work(_unit.decode(text), host, s3).encoded()
    except LakeqError as error:
        return _unit.encoded_error(error, host)


def work(unit: Unit, host: str = "", s3: S3Settings | None = None) -> Answer:
    """Read the unit's object and write its files.

    Raises what storage, format and lake raise, and `UsageError` when the lake cannot be seen.
    """
    from lakeq import formats
    from lakeq.config import Settings
    from lakeq.convert import parts
    from lakeq.convert.reading import Reading
    from lakeq.convert.things import Converted, Identities
    from lakeq.lake import parts as lake_parts
    from lakeq.storage import Storage
    from lakeq.storage.tally import Tally

    _check_lake(unit, host)
    s3 = unit.s3 if s3 is None else s3
    storage, made = Storage(Settings(Path(), s3=s3)), Tally()
    tables = {name: unit.dataset.tables[name] for name in unit.targets}
    reader = formats.get(next(iter(tables.values())).format)
    source = _source(unit, storage)
    item = Converted(source, Identities(reader).of(source.uri), tables)
    with TemporaryDirectory(prefix="lakeq-part-") as folder:
        scratch = Path(folder)
        reading = Reading(unit.dataset, storage, unit.options, scratch)
        notes = reading.read(
            item,
            unit.samples,
            lambda t: lake_parts.writer(t, unit.targets[t.name], unit.folder, scratch, s3, made),
            unit.number,
            lambda _read: None,
        )
    return Answer(
        files={name: tuple(map(_written, files)) for name, files in item.files.items()},
        aside=parts.packed(item.aside),
        notes=notes,
        raw=storage.tally.requests,
        made=made.requests,
        host=host,
    )


def _check_lake(unit: Unit, host: str) -> None:
    if unit.journal and not Path(unit.journal).exists():
        what = f"worker {host or 'here'} does not see the lake's folder"
        hint = (
            "put the lake on a file system that all workers share, or its files on S3: --warehouse"
        )
        raise UsageError(what, str(Path(unit.journal).parent), hint)


def _source(unit: Unit, storage: Storage) -> SourceObject:
    from lakeq.storage import changed

    given = unit.source
    tables = tuple(unit.dataset.tables.values())
    if given.version_id:
        found = storage.version(given.uri, tables, given.version_id)
        if found.version != given.version:
            raise changed(given.uri)
        return found
    return storage.pinned(given.uri, given.size_bytes, given.version, tables)


def _written(file: NewFile) -> Written:
    from lakeq.lake.places import Written

    assert file.checksum is not None
    return Written(file.path, file.rows, file.checksum)


def crashed() -> str:
    """The answer that tells of an error that lakeq did not raise on purpose."""
    return json.dumps({"crash": traceback.format_exc(limit=-3)})


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answer unit after unit until `lines` end."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in lines:
            waiting.put(line)
        os._exit(0)  # whoever waited is gone; a half-written file is swept by the next writer

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            answer = run(waiting.get())
        except Exception:  # noqa: BLE001  # told to the one who waits, who counts it as an attempt
            answer = crashed()
        answers.write(answer + "\n")
        answers.flush()


def main() -> None:
    """Serve on standard input and output; whatever else writes to the output goes to the error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
