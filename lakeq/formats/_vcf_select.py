"""Parts of a VCF: the records of some regions, through its index where it has one; some samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakeq import contigs
from lakeq.errors import AccessDenied, NotFound, UsageError
from lakeq.formats import _tabix
from lakeq.formats._bcf import lines_of
from lakeq.formats._vcf_lines import PAD_BYTES, VcfText
from lakeq.formats._vcf_select_kernels import keep_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeq.formats import ReadContext
    from lakeq.formats._vcf_header import Header
    from lakeq.storage import SourceObject

END = 1 << 40  # of a region without one
_REGION = re.compile(r"(.+?)(?::([0-9,]+)(-)?([0-9,]+)?)?\Z")


@dataclass(frozen=True, slots=True)
class Region:
    """Positions `start` to `stop` of one contig, from 1, both included."""

    contig: str
    start: int
    stop: int


def parse_region(text: str) -> Region:
    """The region of `22:16,050,000-17,000,000`, `22:5`, `22:5-` or `22`; `UsageError` otherwise."""
    match = _REGION.match(text.strip())
    if match is None or not match[1]:
        raise UsageError(f"{text!r} is no region", "--region", "write 22:16,050,000-17,000,000")
    if match[2] is None:
        return Region(match[1], 1, END)
    start = int(match[2].replace(",", "") or 0)
    stop = int(match[4].replace(",", "")) if match[4] else (END if match[3] else start)
    if stop < start:
        raise UsageError(f"region {text!r} ends before it begins", "--region", "swap its ends")
    return Region(match[1], start, stop)


def open_text(source: SourceObject, context: ReadContext, assembly: str) -> VcfText | Selection:
    """The text of `source`, or of the regions and samples that the options ask for."""
    options = context.options
    if not options.regions and options.samples is None:
        return VcfText(source, context.progress)
    regions = [parse_region(text) for text in options.regions]
    if not regions:
        return Selection(VcfText(source, context.progress), regions, assembly, options.samples)
    index = _index(source, context)
    if index is None:
        note = "no index beside the object: all of it was read for the regions"
        context.notes[note] = context.notes.get(note, 0) + 1
        return Selection(VcfText(source, context.progress), regions, assembly, options.samples)
    text = VcfText(_tabix.ranged(source))
    text.close()
    wanted = _chunks(index, text.header, regions, assembly)
    pieces = _records(source, text, wanted, context.progress)
    part = VcfText.of(source.uri, pieces)
    return Selection(part, regions, assembly, options.samples)


def chosen_samples(names: Sequence[str], wanted: Sequence[str] | None, uri: str) -> list[str]:
    """The samples of `names` that are wanted, in their order; `NotFound` for one that is not."""
    if wanted is None:
        return list(names)
    missing = next((name for name in wanted if name not in set(names)), None)
    if missing is not None:
        raise NotFound(f"no sample {missing!r}", uri, "see its names: bcftools query -l FILE")
    return [name for name in names if name in set(wanted)]


class Selection:
    """A `VcfText` of which only some records and samples are handed on.

    Without an index records that are left out become empty lines, so that the numbers of lines
    stay those of the file.
    """

    def __init__(
        self,
        text: VcfText,
        regions: Sequence[Region],
        assembly: str,
        samples: Sequence[str] | None,
    ) -> None:
        self._text, self._regions = text, regions
        self.uri, self.header_text = text.uri, text.header_text
        self.line = text.line
        full = text.header
        self.header: Header = copy(full)
        self.header.samples = chosen_samples(full.samples, samples, text.uri)
        if full.samples and not self.header.samples:
            self.header.columns = 8
        elif full.samples:
            self.header.columns = 9 + len(self.header.samples)
        kept = set(self.header.samples)
        self._samples = np.array([name in kept for name in full.samples], bool)
        self._spelled = _spellings(full, regions, assembly)

    @property
    def ended(self) -> bool:
        """Whether the last line ends in a newline."""
        return self._text.ended

    def close(self) -> None:
        """Let go of the object."""
        self._text.close()

    def chunks(self) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
        """As `VcfText.chunks`."""
        names = [name.encode() for name, _ in self._spelled]
        packed = np.frombuffer(bytearray(b"".join(names) or b"."), np.uint8)
        ends = np.cumsum([len(name) for name in names], dtype=np.int32)
        starts = np.array([region.start for _, region in self._spelled], np.int64)
        stops = np.array([region.stop for _, region in self._spelled], np.int64)
        for chunk, size in self._text.chunks():
            out = np.empty(size + PAD_BYTES, np.uint8)
            kept = keep_lines(
                chunk, size, packed, ends, starts, stops, bool(self._regions), self._samples, out
            )
            yield out, kept


def _spellings(
    header: Header, regions: Sequence[Region], assembly: str
) -> list[tuple[str, Region]]:
    """Each region under every name that its contig may have in the file."""
    found = []
    for region in regions:
        names = {region.contig}
        for name, length in header.contigs.items():
            if contigs.canonical(name, assembly, length) == contigs.canonical(
                region.contig, assembly
            ):
                names.add(name)
        for prefix in ("chr", "Chr", "CHR"):
            names.add(prefix + region.contig)
            names.add(region.contig.removeprefix(prefix))
        if region.contig in ("MT", "M", "chrM"):
            names |= {"MT", "M", "chrM", "chrMT"}
        found += [(name, region) for name in sorted(names) if name]
    return found


def _index(source: SourceObject, context: ReadContext) -> _tabix.Index | None:
    """The index beside the object, if there is one."""
    for suffix in (".tbi", ".csi"):
        try:
            found = context.other(source.uri + suffix)
        except (NotFound, AccessDenied):
            continue
        return _tabix.read_index(found)
    return None


def _chunks(
    index: _tabix.Index, header: Header, regions: Sequence[Region], assembly: str
) -> list[_tabix.Chunk]:
    names = index.names or list(header.contigs)
    wanted = []
    for name, region in _spellings(header, regions, assembly):
        if name in names:
            wanted += index.chunks(names.index(name), region.start - 1, region.stop)
    return _tabix.merged(wanted)


def _records(
    source: SourceObject,
    text: VcfText,
    chunks: Sequence[_tabix.Chunk],
    progress: Callable[[int], None],
) -> Iterator[bytes]:
    """The header as text, then the text of the records in `chunks`."""
    yield text.header_text + b"\n"
    for chunk in chunks:
        data = _tabix.inflated(source, chunk)
        yield from lines_of(text.header_text, data, source.uri) if text.binary else data
        progress(chunk.stop >> 16)
