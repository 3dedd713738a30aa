"""FORMAT fields read straight from the cells are what `TypedField` reads through Arrow."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Generator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeq.errors import BadSource
from lakeq.formats import _vcf_cell_columns as columns_of
from lakeq.formats import _vcf_cells as cells_of
from lakeq.formats._ahead import ahead, spread
from lakeq.formats._vcf_cell_columns import Cells
from lakeq.formats._vcf_typed import TypedField
from tests.support.vcf import memory, text
from tests.support.vcf_fields import own_tables

ODD = [
    "", ".", "0", "-0", "5", "-3", "+7", "6.0", "60.", "6.5", ".5", "-.5e1", "1e5", "1E-05", "1e",
    "e5", "-", "+", "--1", "1-", "x", "0x1A", "nan", "inf", "-inf", " 5", "5 ", "..", "1.2.3",
    "a|b", "2147483647", "2147483648", "-2147483648", "-2147483649", "99999999999999999999",
    "PASS", "\r", "1e308", "1e309", "1e-400", "0.1", "123456789012345678", "3.000000000000004e-5",
    "1e22", "1e23", "9007199254740993", "1797693134862315e293", "0.30000000000000004",
]  # fmt: skip
PLAIN = ["1", "22", "333", "0.5", "7e-3"]
TYPES = [pa.int32(), pa.int64(), pa.float64(), pa.string()]
NUMBERS = ["1", "A", "R", "G", ".", "2", "0"]


@st.composite
def files(draw: st.DrawFn) -> tuple[list[int], int, list[str]]:
    """How many alternate alleles each line has, how many samples, and the field of each call."""
    alts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    samples = draw(st.integers(1, 3))
    count = st.sampled_from([1, 1, 2, 3, 4, 6, 10])
    part = st.sampled_from(PLAIN) | st.sampled_from(ODD)
    field = count.flatmap(lambda n: st.lists(part, min_size=n, max_size=n)).map(",".join)
    calls = draw(st.lists(field, min_size=len(alts) * samples, max_size=len(alts) * samples))
    return alts, samples, calls


def cells(alts: list[int], samples: int, calls: list[str], end: str = "\n") -> Cells:
    """The field K of lines whose FORMAT is GT:K:Z, found by the walk over their text."""
    lines = []
    for number, n in enumerate(alts):
        own = calls[number * samples : (number + 1) * samples]
        alt = ",".join("C" * (k + 2) for k in range(n)) or "."
        fixed = ["1", str(number + 1), ".", "A", alt, ".", ".", ".", "GT:K:Z"]
        lines.append("\t".join([*fixed, *(f"0/1:{text}:z" for text in own)]) + end)
    text = "".join(lines).encode()
    data = np.frombuffer(bytearray(text + bytes(128)), np.uint8)
    start = np.full((1, len(alts) * samples), -1, np.int32)
    found = cells_of.walk(
        data, len(text), 0, samples, np.frombuffer(bytearray(b"K"), np.uint8),
        np.array([1], np.int32), np.empty(len(text) + 1, np.int16),
        np.empty((len(alts), cells_of.FIXED_STARTS), np.int64), np.empty(len(alts), np.int64),
        start, np.zeros(4, np.int64),
    )  # fmt: skip
    assert found == len(alts)
    return Cells(data, start, np.array(alts, np.int32), samples)


def check(made: Cells, field: TypedField) -> None:
    expected, bad = field.read(made.spans(0).take(made.call), made.alleles)
    values, wrong = columns_of.read(made, 0, field)
    values.validate(full=True)
    marked = np.zeros(made.rows, bool) if wrong is None else wrong.astype(bool)
    assert marked.tolist() == bad.tolist()
    assert exact(values) == exact(expected)


def exact(values: pa.Array) -> str:
    """Every bit of every value, as text."""
    return repr([hex_of(value) for value in values.to_pylist()])


def hex_of(value: object) -> object:
    if isinstance(value, list):
        return [hex_of(part) for part in value]
    return value.hex() if isinstance(value, float) else value


@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from(NUMBERS), st.sampled_from(TYPES), st.booleans(), st.booleans())
def test_fields_of_cells_are_those_of_the_typed_reader(
    made: tuple[list[int], int, list[str]], number: str, type_: pa.DataType, whole: bool, crlf: bool
) -> None:
    alts, samples, calls = made
    one = number in ("1", "A") and not whole
    found = cells(alts, samples, calls, "\r\n" if crlf else "\n")
    check(found, TypedField(number, type_ if one else pa.list_(type_), False, whole))


@pytest.mark.parametrize("number", ["1", "A", "."])
def test_a_column_that_is_no_list_takes_the_own_value(number: str) -> None:
    made = cells([2, 1, 0], 2, ["1,2", "7", ".", "3", "4", "5,6"])
    check(made, TypedField(number, pa.int32(), False))


def test_numbers_round_as_those_of_python_do() -> None:
    """Beside float(), which rounds correctly."""
    chosen = random.Random(5)
    texts = [
        f"{chosen.randrange(10 ** chosen.randint(1, 20))}.{chosen.randrange(10**6)}"
        f"e{chosen.randint(-330, 285)}"
        for _ in range(20_000)
    ]
    texts += [repr(struct.unpack("d", chosen.randbytes(8))[0]) for _ in range(20_000)]
    texts += [
        f"{chosen.randrange(10 ** chosen.randint(1, 16))}e{chosen.randint(-23, 23)}"
        for _ in range(20_000)
    ]
    texts = [text for text in texts if text not in ("nan", "inf", "-inf")]
    made = cells([1], len(texts), texts)
    values, wrong = columns_of.read(made, 0, TypedField("1", pa.float64(), False))
    wanted = [float(text) for text in texts]
    assert wrong is None
    assert [value.hex() for value in values.to_pylist()] == [value.hex() for value in wanted]


def test_lists_of_many_elements_find_room() -> None:
    long = ",".join(map(str, range(5000)))
    made = cells([1, 2], 2, [long, "1", long, long])
    check(made, TypedField(".", pa.list_(pa.int32()), False))
    check(made, TypedField(".", pa.list_(pa.string()), False))


def test_results_of_threads_come_in_order_with_the_error_in_its_place() -> None:
    def items() -> Generator[int, None, None]:
        yield from range(20)
        raise ValueError("the end")

    made = spread(items(), lambda n: n * n, 3)
    assert [next(made) for _ in range(20)] == [n * n for n in range(20)]
    with pytest.raises(ValueError, match="the end"):
        next(made)


def test_lenient_counts_what_is_wrong_with_samples_by_kind_and_first_line() -> None:
    header = [
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="">',
    ]
    lines = [
        "1 1 . A C . . . GT:DP 0/1:7 0/0:8",
        "1 2 . A C . . . GT:DP 0/1:7 0/0:x",
        "1 3 . A C . . . DP:GT 1:0/1 2:0/0",
        "1 4 . A C . . . GT:DP 0/1:7:3 0/0:8:4",
        "1 5 . A C . . . GT:DP:DP 0/1:y:1 0/0:z:2",
    ]
    notes: dict[str, int] = {}
    made = own_tables(memory(text(lines, ["S1", "S2"], header)), ("entries",), notes)
    deviates = "deviates from the specification: "
    assert notes == {
        f"{deviates}GT not the first FORMAT key, first in line 7": 1,
        f"{deviates}a sample with more fields than FORMAT, first in line 8": 2,
        f"{deviates}a repeated FORMAT key, first in line 9": 1,
        "FORMAT/DP does not fit its definition: NULL, kept in format_rest, first in line 6": 3,
    }
    rest = made["entries"]["format_rest"].to_pylist()
    assert rest == [None, None, None, "DP=x", None, None, None, None, "DP=y;DP=1", "DP=z;DP=2"]


def test_a_format_that_is_not_utf8_is_refused_with_its_line() -> None:
    """A mutation found it: no other column was looked at."""
    line = text(["1 1 . A C . . . GT:D\xff 0/1:7"], ["S1"]).replace("\xff".encode(), b"\xff")
    with pytest.raises(BadSource, match="not UTF-8"):
        own_tables(memory(line), ("entries",))


def test_results_that_are_left_early_leave_no_threads() -> None:
    before = threading.active_count()
    made = spread(ahead(iter(range(1000))), lambda n: n, 2)
    assert next(made) == 0
    made.close()
    assert threading.active_count() == before
