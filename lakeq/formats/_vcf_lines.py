"""The text of one VCF as its header and chunks of whole lines, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadSource
from lakeq.formats._bcf import is_bcf, text_of
from lakeq.formats._bgzf import pieces
from lakeq.formats._vcf_header import Header, parse_header

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

CHUNK_BYTES = 2 << 20  # lines this close together stay in a core's own cache
HEADER_LIMIT_BYTES = 64 << 20
LINE_LIMIT_BYTES = 64 << 20
PAD_BYTES = 128  # readable bytes behind the last line, for kernels that look ahead
LIMIT_HINT = "no VCF needs more; if this one does, raise {} in lakeq.formats._vcf_lines"

_OTHERS = {
    b"BAM\x01": ("a BAM file, not a VCF", "call variants first"),
    b"CRAM": ("a CRAM file, not a VCF", "call variants first"),
    b"TBI\x01": ("a tabix index, not a VCF", "name the .vcf.gz beside it"),
    b"CSI\x01": ("a CSI index, not a VCF", "name the .vcf.gz beside it"),
    b"\xfd7zXZ": ("compressed with xz", "decompress it, then compress it with bgzip"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "decompress it, then compress it with bgzip"),
    b"\x1f\x9d": ("compressed with compress", "decompress it, then compress it with bgzip"),
    b"\x1f\x8b": ("compressed twice", "decompress it once"),
    b"PK\x03\x04": ("a zip archive, not a VCF", "unpack it and name the VCF inside"),
    b"PAR1": ("a Parquet file, not a VCF", "name the raw VCF"),
}


class VcfText:
    """A VCF being read once from front to back: `header` first, then `chunks()`.

    `line` is the number of lines handed out so far; the reader of the chunks keeps it.
    Raises `BadSource` for what is no VCF, has no header, or passes a limit above.
    """

    def __init__(
        self, source: SourceObject, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self._begin(source.uri, pieces(source, progress))

    @classmethod
    def of(cls, uri: str, text: Iterator[bytes]) -> VcfText:
        """A VCF whose inflated text is at hand already."""
        made = cls.__new__(cls)
        made._begin(uri, text)  # noqa: SLF001  # the other constructor
        return made

    def _begin(self, uri: str, text: Iterator[bytes]) -> None:
        self.uri = uri
        self.binary = False  # whether it is BCF, turned into text
        self.ended = True  # whether the last line ends in a newline; known after the last chunk
        self.header_text = b""
        self._pieces = text
        self._rest = b""
        self.header: Header = self._read_header()
        self.line = self.header.lines

    def close(self) -> None:
        """Let go of the object; needed only when the chunks are not read to the end."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()

    def _read_header(self) -> Header:
        first = next(self._pieces, b"")
        if is_bcf(first):
            self.binary = True
            self._pieces = text_of(first, self._pieces, self.uri)
            first = next(self._pieces)
        text = bytearray(first)
        _refuse_others(bytes(text[:4096]), self.uri)
        cursor = lines = 0
        while True:
            end = text.find(b"\n", cursor)
            if end < 0:
                piece = next(self._pieces, b"")
                if len(text) > HEADER_LIMIT_BYTES:
                    raise self._too_long("a header", HEADER_LIMIT_BYTES, "HEADER_LIMIT_BYTES")
                if piece:
                    text += piece
                    continue
                end = len(text)  # a header alone may end without a newline
                self.ended = False
            if text[cursor : cursor + 2] != b"##":
                self._check_columns(bytes(text[cursor : min(end, cursor + 80)]), lines + 1)
                self._rest = bytes(text[end + 1 :])
                self.header_text = bytes(text[:end])
                return parse_header(self.header_text, self.uri)
            cursor, lines = end + 1, lines + 1

    def _check_columns(self, line: bytes, number: int) -> None:
        if not line.startswith(b"#CHROM"):
            raise BadSource(
                f"no #CHROM line before {line.decode('utf-8', 'replace')!r}",
                f"{self.uri}, line {number}, #CHROM",
                "a VCF has ## lines, one #CHROM line, then the records; was the header cut off?",
            )

    def chunks(self) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
        """Yield (buffer, size): buffer[:size] is whole lines, each ending in a newline.

        The buffer is written over when the next chunk is asked for.
        """
        held = bytearray(CHUNK_BYTES + PAD_BYTES)
        size = 0
        for piece in self._all_pieces():
            if size + len(piece) > len(held) - PAD_BYTES:
                end = held.rfind(b"\n", 0, size) + 1
                if end:
                    yield np.frombuffer(held, np.uint8), end
                    memoryview(held)[: size - end] = held[end:size]
                    size -= end
                held = self._with_room(held, size, len(piece))
            memoryview(held)[size : size + len(piece)] = piece  # held[...] = would copy twice
            size += len(piece)
        if size:
            if held[size - 1] != 10:
                self.ended = False
                held[size] = 10
                size += 1
            yield np.frombuffer(held, np.uint8), size

    def _all_pieces(self) -> Iterator[bytes]:
        if self._rest:
            yield self._rest
        self._rest = b""
        yield from self._pieces

    def _with_room(self, held: bytearray, size: int, more: int) -> bytearray:
        """`held`, or a larger copy of its first `size` bytes, with room for `more` bytes."""
        if size + more <= len(held) - PAD_BYTES:
            return held
        if size + more > LINE_LIMIT_BYTES + (2 << 20):
            raise self._too_long("a line", LINE_LIMIT_BYTES, "LINE_LIMIT_BYTES")
        doubled = min(2 * len(held), LINE_LIMIT_BYTES + (3 << 20))
        larger = bytearray(max(doubled, size + more + PAD_BYTES))
        larger[:size] = held[:size]
        return larger

    def _too_long(self, what: str, limit: int, name: str) -> BadSource:
        where = f"{self.uri}, after line {self.line}" if what == "a line" else self.uri
        return BadSource(f"{what} of more than {limit >> 20} MiB", where, LIMIT_HINT.format(name))


def _refuse_others(head: bytes, uri: str) -> None:
    """Refuse what the first bytes show to be no VCF."""
    for magic, (what, hint) in _OTHERS.items():
        if head.startswith(magic):
            raise BadSource(f"this is {what}", f"{uri}, byte 0", hint)
    if not head:
        raise BadSource("the object is empty", f"{uri}, byte 0", "fetch or upload it again")
    if b"\0" in head:
        raise BadSource(
            f"a binary file, not a VCF: it begins {head[:8].hex(' ')}",
            f"{uri}, byte {head.index(0)}",
            "lakeq reads VCF as text, gzip or BGZF",
        )
    if not head.startswith(b"#") and not head.startswith(b"\xef\xbb\xbf##"):
        first = head.splitlines()[0][:80].decode("utf-8", "replace")
        raise BadSource(
            f"no VCF header: the first line is {first!r}",
            f"{uri}, line 1, fileformat",
            "the first line must read ##fileformat=VCFv4.x; was the header cut off?",
        )
