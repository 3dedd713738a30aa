"""Byte ranges laid over row groups."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from lakeq.planner import Usage, usage
from lakeq.snapshot import DataFile, Footer, Leaf, TableSnapshot

# Three row groups of two columns; between the second and the third lie 10 bytes of something else.
FOOTER = Footer(
    (Leaf("a", "a"), Leaf("b", "b.list.element")),
    [5, 5, 2],
    [4, 24, 54, 74, 114, 124],
    [20, 30, 20, 30, 10, 20],
)
SPANS = [(4, 54), (54, 104), (114, 144)]


def table(name: str, *paths: str) -> TableSnapshot:
    files = tuple(DataFile(path, 200, 12, FOOTER) for path in paths)
    return TableSnapshot(name, 1, datetime(2026, 1, 1, tzinfo=UTC), (), files)


def test_nothing_read_is_nothing_used() -> None:
    assert usage([table("d.t", "x", "y")], []) == Usage(400, 0, 2, 0, 6)


def test_a_footer_is_a_file_but_no_row_group() -> None:
    assert usage([table("d.t", "x", "y")], [("x", 144, 56)]) == Usage(400, 1, 2, 0, 6)


def test_a_file_of_two_tables_counts_once() -> None:
    used = usage([table("d.t", "x"), table("d.u", "x", "y")], [("x", 4, 1), ("x", 5, 1)])
    assert used == Usage(400, 1, 2, 1, 6)


def test_other_paths_do_not_count() -> None:
    assert usage([table("d.t", "x")], [("/var/spill", 0, 1000)]) == Usage(200, 0, 1, 0, 3)


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(1, 60)), max_size=6))
def test_a_row_group_counts_when_one_of_its_bytes_was_read(ranges: list[tuple[int, int]]) -> None:
    read = {byte for start, length in ranges for byte in range(start, start + length)}
    expected = sum(not read.isdisjoint(range(*span)) for span in SPANS)
    used = usage([table("d.t", "x")], [("x", *each) for each in ranges])
    assert used.row_groups_read == expected
