"""The records of a Level II object, inflated within bounds: LDM bzip2, gzip, compress or bare.

Source: ICD 2620010, section 7 (Archive II file: volume header, then LDM records, each a control
word and a bzip2 stream; before 2016 bare messages). What is around the whole object is told by
its first bytes, never by its name. An object that ends early gives what it holds of its last
record, marked as cut; bytes that are not what they must be are `BadSource`.
"""

from __future__ import annotations

import bz2
import re
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

from lakeq.errors import BadSource
from lakeq.formats._nexrad_outer import Content

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lakeq.catalog import Table

HEADER = struct.Struct(">8sx3sII4s")  # volume header: version, dot, extension, day, ms, ICAO
RECORD_LIMIT_BYTES = 64 << 20  # a record of 120 rays inflates to 1.2 MB, metadata to 0.3 MB
VOLUME_LIMIT_BYTES = 1 << 30  # the largest volumes hold about 100 MB
SWEEP_LIMIT_RAYS = 800  # the ICD allows 720
MOMENT_LIMIT_GATES = 2000  # the ICD allows 1,840
RAY_LIMIT_BLOCKS = 32  # the ICD names 10
PIECE_BYTES = 4 << 20  # of messages that are not in records
THREADS = 2  # bz2 releases the interpreter while it inflates
_AHEAD = 2  # records being inflated beyond the one in use
_MAGIC = re.compile(rb"AR2V00\d\d\.|ARCHIVE2\.")
_BZIP2 = b"BZh"
DAMAGED = "the object is damaged or of another format: fetch it again"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before memory is taken; a table's options raise them.

    `record_limit_bytes`, `volume_limit_bytes`, and the limits of one sweep and one ray:
    `sweep_limit_rays`, `moment_limit_gates`, `ray_limit_blocks`.
    """

    record_bytes: int = RECORD_LIMIT_BYTES
    volume_bytes: int = VOLUME_LIMIT_BYTES
    rays: int = SWEEP_LIMIT_RAYS
    gates: int = MOMENT_LIMIT_GATES
    blocks: int = RAY_LIMIT_BLOCKS

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Limits:
        """The bounds that a table's options set."""
        return cls(
            int(options.get("record_limit_bytes", RECORD_LIMIT_BYTES)),
            int(options.get("volume_limit_bytes", VOLUME_LIMIT_BYTES)),
            int(options.get("sweep_limit_rays", SWEEP_LIMIT_RAYS)),
            int(options.get("moment_limit_gates", MOMENT_LIMIT_GATES)),
            int(options.get("ray_limit_blocks", RAY_LIMIT_BLOCKS)),
        )

    @classmethod
    def of_tables(cls, tables: Iterable[Table]) -> Limits:
        """The bounds that the options of these tables set."""
        options: dict[str, str] = {}
        for table in tables:
            options |= table.options
        return cls.of(options)


def over(what: str, option: str, where: str) -> BadSource:
    """The error for a bound that an object passes, with the option that raises it."""
    hint = f"no radar writes that; if you trust it, raise the table's option {option} in a catalog"
    return BadSource(what, where, hint)


@dataclass(frozen=True, slots=True)
class VolumeHeader:
    """The 24 bytes that a volume begins with; `day` 1 is 1970-01-01, `icao` may be empty."""

    version: str
    extension: str
    day: int
    milliseconds: int
    icao: str

    @classmethod
    def parse(cls, data: bytes) -> VolumeHeader:
        """The header in the first 24 bytes of `data`."""
        version, extension, day, ms, icao = HEADER.unpack_from(data)
        texts = [
            part.decode("ascii", "replace").strip("\0 ") for part in (version, extension, icao)
        ]
        return cls(texts[0], texts[1], day, ms, texts[2])


@dataclass(frozen=True, slots=True)
class Record:
    """Inflated messages: `number` from 0 and first byte of their record; cut when not `whole`.

    Of an object without records, pieces of at most `PIECE_BYTES` of messages, number -1.
    """

    data: bytes
    number: int
    byte: int
    whole: bool


@dataclass(slots=True)
class Records:
    """The header and the records of one object, in order; iterate once.

    `header` is None for a chunk that does not start a volume; `compression` says how the object
    is packed. Raises `BadSource` at once when it is no Level II object.
    """

    uri: str
    content: Content
    limits: Limits
    threads: int = THREADS
    header: VolumeHeader | None = None
    in_records: bool = False
    _head: bytes = b""
    _inflated: int = field(default=0, init=False)

    @classmethod
    def of(
        cls,
        uri: str,
        stream: BinaryIO,
        limits: Limits,
        progress: Callable[[int], None] = lambda _: None,
        threads: int = THREADS,
    ) -> Records:
        """The records behind `stream`, whose raw bytes read are told to `progress`."""
        content = Content(uri, stream, limits.volume_bytes, progress)
        records = cls(uri, content, limits, threads)
        records._begin()
        return records

    @property
    def compression(self) -> str:
        """How the object is packed, in the words of the catalog."""
        inner = ["bzip2 records"] if self.in_records else []
        outer = [self.content.outer] if self.content.outer else []
        return "+".join(inner + outer) or "none"

    def _begin(self) -> None:
        head = self.content.read(HEADER.size + 7)
        if _MAGIC.match(head):
            if len(head) < HEADER.size:
                raise BadSource("the object ends inside its volume header", self.uri, DAMAGED)
            self.header = VolumeHeader.parse(head)
            head = head[HEADER.size :]
        elif head[4:7] != _BZIP2:
            start = bytes(head[:12])
            what = f"not a Level II volume: it starts with {start!r}" if head else "an empty object"
            raise BadSource(what, f"{self.uri}, byte 0", DAMAGED)
        self._head = head
        self.in_records = head[4:7] == _BZIP2

    def __iter__(self) -> Iterator[Record]:
        return self._ldm() if self.in_records else self._bare()

    def _bare(self) -> Iterator[Record]:
        data = self._head
        byte = self.content.at - len(data)
        while True:
            data += self.content.read(PIECE_BYTES - len(data))
            if data:
                yield Record(data, -1, byte, whole=True)
            if len(data) < PIECE_BYTES:
                return
            byte += len(data)
            data = b""

    def _ldm(self) -> Iterator[Record]:
        if self.threads < 2:
            for packed in self._packed():
                yield self._count(self._inflate(*packed))
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.threads) as pool:
            ahead: deque[Future[Record]] = deque()
            try:
                for packed in self._packed():
                    ahead.append(pool.submit(self._inflate, *packed))
                    if len(ahead) > _AHEAD:
                        yield self._count(ahead.popleft().result())
                while ahead:
                    yield self._count(ahead.popleft().result())
            finally:
                for future in ahead:
                    future.cancel()

    def _packed(self) -> Iterator[tuple[bytes, int, int, bool]]:
        """Each record as it is: its bytes, its number, the byte of its control word, if whole."""
        head, number = self._head, 0
        while True:
            byte = self.content.at - len(head)
            head += self.content.read(7 - len(head))
            if len(head) < 7:
                if head.strip(b"\0"):
                    yield b"", number, byte, False
                return
            size = abs(cast("int", struct.unpack_from(">i", head)[0]))
            where = self._where(number, byte)
            if head[4:7] != _BZIP2:
                if not head.strip(b"\0") and not self.content.read(PIECE_BYTES).strip(b"\0"):
                    return  # padding
                raise BadSource("a record that is not bzip2", where, DAMAGED)
            if size > self.limits.record_bytes:
                what = f"a record claims {size:,} bytes, more than {self.limits.record_bytes:,}"
                raise over(what, "record_limit_bytes", where)
            data = head[4:] + self.content.read(max(0, size - 3))
            yield data[:size], number, byte, len(data) >= size
            head = data[size:]
            number += 1

    def _inflate(self, packed: bytes, number: int, byte: int, whole: bool) -> Record:
        inflater = bz2.BZ2Decompressor()
        limit = self.limits.record_bytes
        try:
            data = inflater.decompress(packed, limit + 1) if packed else b""
        except (OSError, ValueError) as error:
            where = self._where(number, byte)
            raise BadSource("a record does not inflate", where, DAMAGED) from error
        if len(data) > limit:
            what = f"a record inflates to more than {limit:,} bytes"
            raise over(what, "record_limit_bytes", self._where(number, byte))
        if whole and not inflater.eof:
            what = "the bzip2 data of a record ends before it should"
            raise BadSource(what, self._where(number, byte), DAMAGED)
        return Record(data, number, byte, whole=whole)

    def _count(self, record: Record) -> Record:
        self._inflated += len(record.data)
        if self._inflated > self.limits.volume_bytes:
            what = f"the volume inflates to more than {self.limits.volume_bytes:,} bytes"
            raise over(what, "volume_limit_bytes", self._where(record.number, record.byte))
        return record

    def _where(self, number: int, byte: int) -> str:
        inside = f" of its {self.content.outer} content" if self.content.outer else ""
        return f"{self.uri}, record {number}, byte {byte}{inside}"
