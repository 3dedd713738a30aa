"""What the scan kernel of the VCF reader is given and gives back: its arrays and its states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TAB, NEWLINE, RETURN, COLON, COMMA, DOT, ZERO, HASH = 9, 10, 13, 58, 44, 46, 48, 35
BAR, SLASH = 124, 47

GROUP = 64  # bytes compared at once
PAD_BYTES = 128  # what must be readable behind the last line
PLOIDY_LIMIT = 1024
WIDE_ALLELE = (1 << 14) - 2  # larger allele numbers make a call wide

# Places in the state.
CURSOR, LINE, ROWS, TEXT, EVENTS, WIDE, WIDE_ALLELES, EVENT_TEXT, HIGH = range(9)
ERROR_AT, ERROR_SAMPLE, TEMPLATE_BYTES, TEMPLATE_STRIDE, TEMPLATE_HAPLOID, STATE_SIZE = (
    9, 10, 11, 12, 13, 16
)  # fmt: skip

# What `scan` returns.
DONE, FULL, BAD_COLUMNS, BAD_CHROM, BAD_POS, BAD_ALT, BAD_GT, BAD_ALLELE, BAD_PLOIDY = range(9)

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]


class Lines(NamedTuple):
    """Columns of what a batch of lines says outside the genotypes; one element per line.

    `text` holds CHROM to INFO of every line; `start[i, k]` is where column k of line i begins in
    it and `start[i, 8]` is one past the end of INFO, plus one. `alts` is 0 where ALT is '.'.
    `called` tells if the line has GT; `fields[i, k]` is the place of wanted FORMAT key k (0 is
    GT) or -1; `an` counts called alleles per group of samples; `ploidy` is that of all calls with a
    called allele, 0 where they differ.
    """

    text: U8
    start: I32
    pos: I64
    number: I64
    alts: I32
    called: U8
    new_contig: U8
    fields: npt.NDArray[np.int16]
    an: I32
    ploidy: I32
    first_event: I64


class Events(NamedTuple):
    """Calls that are not all reference, by line, then sample; `text` holds sample fields."""

    sample: I32
    call: U32
    text: U8
    text_end: I64
    wide_end: I64
    wide_phased: U8
    wide_allele: I32


class Cohort(NamedTuple):
    """What does not change within a file: its columns, the group of each sample, wanted keys."""

    columns: int
    samples: int
    group: I32
    keys: U8
    key_end: I32


class Template(NamedTuple):
    """A line of reference calls: its bytes, the sample of each byte, where samples begin.

    `alleles` is room for those of one call.
    """

    text: U8
    sample: I32
    start: I32
    an: I32
    alleles: I32


def state() -> I64:
    """A state before the first line of a file."""
    return np.zeros(STATE_SIZE, np.int64)
