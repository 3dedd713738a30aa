"""Batches of parsed lines: the scan kernel's outputs, filled chunk by chunk until they are full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq._jit import packed
from lakeq.errors import BadSource, UsageError
from lakeq.formats import _vcf_layout as layout
from lakeq.formats._ahead import SLOTS
from lakeq.formats._vcf_header import FIXED_COLUMNS
from lakeq.formats._vcf_sex import CODES

if TYPE_CHECKING:
    from lakeq.formats import Sample
    from lakeq.formats._vcf_lines import VcfText
    from lakeq.formats._vcf_select import Selection

LINES = 1 << 15
TEXT_BYTES = 16 << 20
EVENTS = 1 << 19
BUFFERS = SLOTS  # sets of arrays that are filled in turn
EVENT_TEXT_BYTES = 32 << 20
WIDE_CALLS = EVENTS  # address space only, until a call needs it
LIMIT_BYTES = 1 << 30  # what one batch array may grow to for the sake of one line


@dataclass(frozen=True, slots=True)
class Groups:
    """The samples of one file by what the panel says of them.

    Samples with the same (population, super-population) form a group, so that every count is a
    sum of groups; with `by_sex` their sex counts too. `of_sample` is the group of each sample in
    header order, `number` its number in the lake, `sex` its code, `columns` the groups of each
    population in lower case, `of_sex` those of each sex.
    """

    of_sample: npt.NDArray[np.int32]
    number: npt.NDArray[np.int32]
    columns: Mapping[str, list[int]]
    count: int
    sex: npt.NDArray[np.int8]
    of_sex: Mapping[int, list[int]]

    @classmethod
    def of(
        cls, names: Sequence[str], samples: Mapping[str, Sample], *, by_sex: bool = False
    ) -> Groups:
        """Group the samples `names`; without any known sample they are numbered as they come."""
        if samples and (unknown := [name for name in names if name not in samples]):
            raise UsageError(
                f"sample {unknown[0]!r} has no number in the lake",
                f"{len(unknown)} of {len(names)} samples",
                "give a Sample for every sample of the header",
            )
        known = [samples.get(name) for name in names]
        sexes = [CODES.get(s.sex or "", 0) if s and by_sex else 0 for s in known]
        codes = [(s.population, s.super_population) if s else (None, None) for s in known]
        keys = list(zip(codes, sexes, strict=True))
        index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        columns: dict[str, list[int]] = {}
        of_sex: dict[int, list[int]] = {}
        for (codes_, sex), i in index.items():
            of_sex.setdefault(sex, []).append(i)
            for code in dict.fromkeys(codes_):
                if code is not None:
                    columns.setdefault(code.lower(), []).append(i)
        return cls(
            np.array([index[key] for key in keys], np.int32),
            np.array([s.number if s else i for i, s in enumerate(known)], np.int32),
            columns,
            max(len(index), 1),
            np.array(sexes, np.int8),
            of_sex,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive lines of one file; views of arrays that a later batch writes over."""

    rows: int
    lines: layout.Lines
    events: layout.Events
    event_count: int
    wide_count: int
    ascii: bool


class Batches:
    """Reads the lines of `text` into batches; at most LINES lines, about EVENTS events each.

    A batch is valid until the BUFFERS-th after it is asked for.
    """

    def __init__(
        self, text: VcfText | Selection, groups: Groups, format_keys: Sequence[str]
    ) -> None:
        self.text, self.groups = text, groups
        samples = len(text.header.samples)
        keys = ["GT", *format_keys]
        packed = "".join(keys).encode()
        self._cohort = layout.Cohort(
            text.header.columns,
            samples,
            groups.of_sample,
            np.frombuffer(bytearray(packed), np.uint8),
            np.cumsum([len(key) for key in keys]).astype(np.int32),
        )
        self._template = layout.Template(
            np.empty(4 * samples + layout.GROUP, np.uint8),
            np.empty(4 * samples + layout.GROUP, np.int32),
            np.empty(samples + 1, np.int32),
            np.empty(groups.count, np.int32),
            np.empty(layout.PLOIDY_LIMIT, np.int32),
        )
        text_bytes = EVENT_TEXT_BYTES if format_keys else 1
        self._buffers = [
            (
                _new_lines(TEXT_BYTES, len(keys), groups.count),
                _new_events(max(EVENTS, 2 * samples + 2), text_bytes),
            )
            for _ in range(BUFFERS)
        ]
        self._state = layout.state()
        self._state[layout.LINE] = text.header.lines

    def __iter__(self) -> Iterator[Batch]:
        from lakeq.formats._vcf_scan import scan

        state = self._state
        arrays = self._packed()
        for chunk, size in self.text.chunks():
            state[layout.CURSOR] = 0
            while True:
                status = scan(chunk, size, state, *arrays)
                self.text.line = int(state[layout.LINE])
                if status == layout.DONE:
                    break
                if status != layout.FULL:
                    raise self._error(status, chunk, size)
                if state[layout.ROWS]:
                    yield self._batch()
                    self._buffers.append(self._buffers.pop(0))
                else:
                    self._grow()
                arrays = self._packed()
        if state[layout.ROWS]:
            yield self._batch()

    def _batch(self) -> Batch:
        state = self._state
        batch = Batch(
            int(state[layout.ROWS]),
            *self._buffers[0],
            int(state[layout.EVENTS]),
            int(state[layout.WIDE]),
            int(state[layout.HIGH]) < 128,
        )
        for place in (layout.ROWS, layout.TEXT, layout.EVENTS, layout.WIDE, layout.WIDE_ALLELES,
                      layout.EVENT_TEXT, layout.HIGH):  # fmt: skip
            state[place] = 0
        return batch

    def _packed(self) -> Sequence[Any]:
        return [packed(a) for a in (*self._buffers[0], self._cohort, self._template)]

    def _grow(self) -> None:
        """Double the arrays that may be too small for the line at the cursor."""
        lines, events = self._buffers[0]
        if lines.text.size >= LIMIT_BYTES:  # cannot be: a line is at most 64 MiB
            raise MemoryError("a VCF line outgrows its batch")
        larger = _new_lines(2 * lines.text.size, lines.fields.shape[1], self.groups.count)
        text = 2 * events.text.size if events.text.size > 1 else 1
        wide = 2 * events.wide_end.size
        self._buffers[0] = larger, _new_events(events.sample.size, text, wide)

    def _error(self, status: int, chunk: npt.NDArray[np.uint8], size: int) -> BadSource:
        start = int(self._state[layout.CURSOR])
        line = bytes(chunk[start:size]).split(b"\n", 1)[0].rstrip(b"\r")
        fields = line.split(b"\t")
        what, column, hint = _EXPLAIN[status]
        where = f"{self.text.uri}, line {int(self._state[layout.LINE])}"
        if status == layout.BAD_COLUMNS:
            expected = self.text.header.columns
            if len(fields) != expected:
                what = f"{len(fields)} columns where the header has {expected}"
            else:
                what = "a carriage return or tab inside the line"
            return BadSource(what, where, hint)
        if column < 0:
            sample = int(self._state[layout.ERROR_SAMPLE])
            name = self.text.header.samples[sample]
            where = f"{where}, sample {name}"
            return BadSource(what.format(_quote(fields[9 + sample])), where, hint)
        return BadSource(
            what.format(_quote(fields[column])), f"{where}, {FIXED_COLUMNS[column]}", hint
        )


def _quote(field: bytes) -> str:
    return repr(field[:60].decode("utf-8", "replace"))


_FIX = "correct the line, or leave it out with bcftools view"
_EXPLAIN = {
    layout.BAD_COLUMNS: ("", 0, "the line was cut short, or tabs were lost or added"),
    layout.BAD_CHROM: ("{} is no contig name", 0, _FIX),
    layout.BAD_POS: ("{} is no position: a whole number from 0", 1, _FIX),
    layout.BAD_ALT: ("{} lists an empty alternate allele", 4, _FIX),
    layout.BAD_GT: ("{} is no genotype", -1, _FIX),
    layout.BAD_ALLELE: ("{} names an allele that REF and ALT do not have", -1, _FIX),
    layout.BAD_PLOIDY: (f"{{}} has more than {layout.PLOIDY_LIMIT} alleles", -1, _FIX),
}


def _new_lines(text_bytes: int, keys: int, groups: int) -> layout.Lines:
    return layout.Lines(
        text=np.empty(text_bytes, np.uint8),
        start=np.empty((LINES, 9), np.int32),
        pos=np.empty(LINES, np.int64),
        number=np.empty(LINES, np.int64),
        alts=np.empty(LINES, np.int32),
        called=np.empty(LINES, np.uint8),
        new_contig=np.empty(LINES, np.uint8),
        fields=np.empty((LINES, keys), np.int16),
        an=np.empty((LINES, groups), np.int32),
        ploidy=np.empty(LINES, np.int32),
        first_event=np.zeros(LINES + 1, np.int64),
    )


def _new_events(size: int, text_bytes: int, wide: int = WIDE_CALLS) -> layout.Events:
    return layout.Events(
        sample=np.empty(size, np.int32),
        call=np.empty(size, np.uint32),
        text=np.empty(text_bytes, np.uint8),
        text_end=np.empty(size, np.int64),
        wide_end=np.empty(wide, np.int64),
        wide_phased=np.empty(wide, np.uint8),
        wide_allele=np.empty(4 * wide, np.int32),
    )
