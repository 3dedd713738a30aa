"""BCF 2.1 and 2.2 as the text of the same VCF, record by record, in bounded memory.

Source: VCF 4.3 specification, section 6 (BCF). The binary is turned into the lines that
`bcftools view` would print, floats with as many digits as they have, so that one reader reads
both. Every size is held against the bytes that are there before anything is made of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats._vcf_header import (
    CONTIGS_LIMIT,
    FIELDS_LIMIT,
    parse_header,
    structured,
)

MAGIC = b"BCF\x02"
HEADER_LIMIT_BYTES = 64 << 20
RECORD_LIMIT_BYTES = 64 << 20  # of either half of a record, as of a VCF line
TEXT_BYTES = 1 << 18  # lines handed out at once
IDX_LIMIT = 1 << 20

_SIZES = {0: 0, 1: 1, 2: 2, 3: 4, 5: 4, 7: 1}
_CODES = {1: "b", 2: "h", 3: "i", 5: "I", 7: "s"}
_MISSING = {1: -128, 2: -32768, 3: -(2**31), 5: 0x7F800001}
_END = {1: -127, 2: -32767, 3: -(2**31) + 1, 5: 0x7F800002}
_DTYPES: dict[int, Any] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 3: np.dtype("<i4")}
_FIXED = struct.Struct("<iiifII")
_HINT = "the object is damaged: fetch it again, or check it with bcftools view"


def is_bcf(head: bytes) -> bool:
    """Whether inflated bytes begin a BCF file of version 2."""
    return head.startswith(MAGIC)


def text_of(first: bytes, pieces: Iterator[bytes], uri: str) -> Iterator[bytes]:
    """Yield the VCF text of the BCF whose inflated bytes are `first`, then `pieces`.

    Raises `BadSource`, which names the record and its first byte, for whatever is not BCF.
    """
    stream = _Stream(first, pieces, uri)
    head = stream.take(9, "the header")
    if head[4] not in (1, 2):
        raise BadSource(f"BCF of version 2.{head[4]}", f"{uri}, byte 4", "2.1 and 2.2 are read")
    size = int.from_bytes(head[5:9], "little")
    if size > HEADER_LIMIT_BYTES:
        what = f"a header that claims {size:,} bytes, more than {HEADER_LIMIT_BYTES:,}"
        raise BadSource(what, f"{uri}, byte 5", _HINT)
    text = stream.take(size, "the header").split(b"\0", 1)[0].rstrip(b"\n")
    yield text + b"\n"
    yield from _lines(_Decoder(text, uri), stream, uri)


def lines_of(header: bytes, pieces: Iterator[bytes], uri: str) -> Iterator[bytes]:
    """Yield the text lines of the whole records in `pieces`, by the dictionaries of `header`."""
    return _lines(_Decoder(header, uri), _Stream(b"", pieces, uri), uri)


def _lines(decoder: _Decoder, stream: _Stream, uri: str) -> Iterator[bytes]:
    lines: list[bytes] = []
    held = record = 0
    while True:
        where = stream.at
        sizes = stream.take(8, "a record", may_end=True)
        if not sizes:
            break
        record += 1
        shared, individual = struct.unpack("<II", sizes)
        if max(shared, individual) > RECORD_LIMIT_BYTES or shared < 24:
            what = f"record {record} claims {shared:,} and {individual:,} bytes"
            raise BadSource(what, f"{uri}, inflated byte {where}", _HINT)
        data = stream.take(shared + individual, f"record {record}")
        try:
            line = decoder.line(data, shared)
        except _Bad as error:
            place = f"{uri}, record {record}, inflated byte {where}, {error.field}"
            raise BadSource(error.what, place, _HINT) from error
        lines.append(line)
        held += len(line)
        if held > TEXT_BYTES:
            yield b"".join(lines)
            lines, held = [], 0
    if lines:
        yield b"".join(lines)


class _Bad(Exception):
    """What is wrong inside one record."""

    def __init__(self, what: str, field: str) -> None:
        super().__init__(what)
        self.what, self.field = what, field


class _Stream:
    """Bytes in front-to-back order."""

    def __init__(self, first: bytes, pieces: Iterator[bytes], uri: str) -> None:
        self._held, self._pieces, self._uri = bytearray(first), pieces, uri
        self.at = 0
        self._from = 0

    def take(self, size: int, what: str, *, may_end: bool = False) -> bytes:
        """The next `size` bytes; none at a clean end where that may be."""
        while len(self._held) - self._from < size:
            piece = next(self._pieces, b"")
            if not piece:
                if may_end and len(self._held) == self._from:
                    return b""
                raise BadSource(
                    f"the data ends inside {what}", f"{self._uri}, inflated byte {self.at}", _HINT
                )
            if self._from > 1 << 20:
                del self._held[: self._from]
                self._from = 0
            self._held += piece
        start = self._from
        self._from += size
        self.at += size
        return bytes(self._held[start : self._from])


class _Decoder:
    """Turns records into lines, by the dictionaries of one header."""

    def __init__(self, header: bytes, uri: str) -> None:
        self.samples = len(parse_header(header, uri).samples)
        self.contigs: dict[int, bytes] = {}
        self.strings: dict[int, bytes] = {0: b"PASS"}
        self.flags: set[bytes] = set()
        self._floats: dict[int, bytes] = {}
        known = {b"PASS": 0}
        for raw in header.decode("utf-8").split("\n"):
            key, _, value = raw[2:].partition("=")
            if key not in ("contig", "INFO", "FORMAT", "FILTER"):
                continue
            fields = structured(value)
            name, index = fields.get("ID", "").encode(), fields.get("IDX", "")
            if key == "INFO" and fields.get("Type") == "Flag":
                self.flags.add(name)
            if key == "contig":
                self.contigs[_index(index, len(self.contigs), CONTIGS_LIMIT)] = name
            elif name not in known:
                known[name] = _index(index, len(self.strings), 3 * FIELDS_LIMIT + IDX_LIMIT)
                self.strings[known[name]] = name

    def line(self, data: bytes, shared: int) -> bytes:
        """The text line of one record."""
        chrom, pos, _, _, alleles_info, format_samples = _FIXED.unpack_from(data)
        alleles, infos = alleles_info >> 16, alleles_info & 0xFFFF
        formats, samples = format_samples >> 24, format_samples & 0xFFFFFF
        if samples != self.samples:
            raise _Bad(f"{samples} samples where the header has {self.samples}", "samples")
        contig = self.contigs.get(chrom)
        if contig is None:
            raise _Bad(f"contig {chrom} of {len(self.contigs)}", "CHROM")
        reader = _Reader(data, 24, shared)
        id_ = reader.string("ID")
        if alleles < 1 or alleles > shared:
            raise _Bad(f"{alleles} alleles", "REF")
        texts = [reader.string("REF" if i == 0 else "ALT") for i in range(alleles)]
        parts = [
            contig,
            b"%d" % (pos + 1),
            id_ or b".",
            texts[0],
            b",".join(texts[1:]) or b".",
            self._float(int.from_bytes(data[12:16], "little")),
            self._filters(reader),
            self._info(reader, infos),
        ]
        if self.samples:
            parts += self._samples(_Reader(data, shared, len(data)), formats)
        line = b"\t".join(parts)
        if b"\n" in line or line.count(b"\t") != len(parts) - 1:
            raise _Bad("a tab or a line end inside a value", "text")
        return line + b"\n"

    def _filters(self, reader: _Reader) -> bytes:
        kind, values = reader.typed("FILTER")
        if kind == 0 or not values:
            return b"."
        return b";".join(self._name(value, "FILTER") for value in values)

    def _name(self, index: Any, field: str) -> bytes:
        name = self.strings.get(index)
        if name is None:
            raise _Bad(f"string {index!r} that the header does not have", field)
        return name

    def _info(self, reader: _Reader, count: int) -> bytes:
        items = []
        for _ in range(count):
            name = self._name(reader.integer("INFO"), "INFO")
            kind, values = reader.typed("INFO")
            if name in self.flags:
                items.append(name)
            elif kind == 0:
                items.append(name + b"=.")
            else:
                items.append(name + b"=" + self._values(kind, values))
        return b";".join(items) or b"."

    def _values(self, kind: int, values: Any) -> bytes:
        if kind == 7:
            return bytes(values).split(b"\0", 1)[0] or b"."
        end, missing = _END[kind], _MISSING[kind]
        texts = []
        for value in values:
            if value == end:
                break
            if value == missing:
                texts.append(b".")
            elif kind == 5:
                texts.append(self._float(value))
            else:
                texts.append(b"%d" % value)
        return b",".join(texts) or b"."

    def _float(self, bits: int) -> bytes:
        text = self._floats.get(bits)
        if text is None:
            if bits in (_MISSING[5], _END[5]):
                text = b"."
            else:
                value = np.uint32(bits).view(np.float32)
                text = np.format_float_positional(value, trim="-").encode()
                if len(text) > 12 and np.isfinite(value):
                    text = np.format_float_scientific(value, trim="-").encode()
            if len(self._floats) > 1 << 20:
                self._floats.clear()
            self._floats[bits] = text
        return text

    def _samples(self, reader: _Reader, formats: int) -> list[bytes]:
        if not formats:
            return [b".", *([b"."] * self.samples)]
        names, columns = [], []
        for _ in range(formats):
            name = self._name(reader.integer("FORMAT"), "FORMAT")
            kind, length = reader.descriptor("FORMAT")
            size = _SIZES[kind] * length
            data = reader.raw(size * self.samples, f"FORMAT/{name.decode()}")
            names.append(name)
            if name == b"GT" and kind in _DTYPES:
                columns.append(_genotypes(data, kind, length, self.samples))
            elif kind in (0, 7):
                columns.append(
                    [
                        data[i : i + size].split(b"\0", 1)[0] or b"."
                        for i in range(0, size * self.samples, size)
                    ]
                    if size
                    else [b"."] * self.samples
                )
            else:
                values = struct.unpack(f"<{length * self.samples}{_CODES[kind]}", data)
                columns.append(
                    [
                        self._values(kind, values[i : i + length])
                        for i in range(0, length * self.samples, length)
                    ]
                    if length
                    else [b"."] * self.samples
                )
        return [b":".join(names), *map(b":".join, zip(*columns, strict=True))]


def _genotypes(data: bytes, kind: int, length: int, samples: int) -> list[bytes]:
    """The GT text of every sample: (allele + 1) << 1 | phased; ends of shorter calls are marked."""
    codes = np.ndarray((samples, length), _DTYPES[kind], data)
    unique, index = np.unique(codes, axis=0, return_inverse=True)
    texts = []
    for call in unique.tolist():
        parts: list[bytes] = []
        for code in call:
            if code == _END[kind]:
                break
            if code < 0:
                raise _Bad(f"{code} is no allele", "FORMAT/GT")
            if parts:
                parts.append(b"|" if code & 1 else b"/")
            allele = (code >> 1) - 1
            parts.append(b"%d" % allele if allele >= 0 else b".")
        texts.append(b"".join(parts) or b".")
    return [texts[i] for i in index.ravel().tolist()]


def _index(text: str, default: int, limit: int) -> int:
    """The place of a dictionary entry: its IDX, or the next one."""
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > limit:
        raise BadSource(f"IDX={text[:20]} in the header", "the BCF header", _HINT)
    return int(text)


class _Reader:
    """Typed values of one half of a record, held to its end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def raw(self, size: int, field: str) -> bytes:
        """The next `size` bytes."""
        if size > self._end - self._at:
            raise _Bad(f"{size:,} bytes where {self._end - self._at:,} are left", field)
        start = self._at
        self._at += size
        return self._data[start : self._at]

    def descriptor(self, field: str) -> tuple[int, int]:
        """The type and length of the next value."""
        byte = self.raw(1, field)[0]
        kind, length = byte & 15, byte >> 4
        if kind not in _SIZES:
            raise _Bad(f"a value of type {kind}", field)
        if length == 15:
            length = self.integer(field)
            if length < 0:
                raise _Bad(f"a value of length {length}", field)
        return kind, length

    def integer(self, field: str) -> int:
        """One typed integer."""
        byte = self.raw(1, field)[0]
        kind = byte & 15
        if byte >> 4 != 1 or kind not in _DTYPES:
            raise _Bad("a value that is not one integer", field)
        return int.from_bytes(self.raw(_SIZES[kind], field), "little", signed=True)

    def typed(self, field: str) -> tuple[int, Any]:
        """The next value: its type, and its elements (bytes of a string, bits of floats)."""
        kind, length = self.descriptor(field)
        data = self.raw(_SIZES[kind] * length, field)
        if kind in (0, 7):
            return kind, data
        return kind, struct.unpack(f"<{length}{_CODES[kind]}", data)

    def string(self, field: str) -> bytes:
        """The next value, a string."""
        kind, data = self.typed(field)
        if kind not in (0, 7):
            raise _Bad(f"a value of type {kind} where text belongs", field)
        return bytes(data).rstrip(b"\0")
