"""Templates of keys: what they match, and which folders they leave to list."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import catalog
from lakeq.errors import UsageError
from lakeq.keys import KeyTemplate, Wanted

NEXRAD = catalog.load().dataset("nexrad").keys
ARCHIVE = KeyTemplate(NEXRAD["archive"])
CHUNKS = KeyTemplate(NEXRAD["chunks"])
GOES = KeyTemplate("s3://noaa-goes16/{product}/{time:%Y/%j/%H}/{name}")
BUCKET = "s3://unidata-nexrad-level2/"


def prefixes(template: KeyTemplate, wanted: Wanted) -> list[str]:
    return list(template.prefixes(wanted))


@pytest.mark.parametrize("suffix", ["_V06", "_V06.gz", "_V03.gz", ".gz", ""])
def test_a_key_tells_site_and_time(suffix: str) -> None:
    found = ARCHIVE.match(f"{BUCKET}2019/07/15/KTLX/KTLX20190715_120037{suffix}")
    assert found is not None
    assert found[0] == {"site": "KTLX", "suffix": suffix}
    assert found[1] == datetime(2019, 7, 15, 12, 0, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "key",
    [
        "2019/07/15/KTLX/KOUN20190715_120037_V06",  # another site in the folder
        "2019/07/15/KTLX/KTLX20190715_996037_V06",  # no such hour
        "2019/07/15/KTLX/KTLX20190715_1200",
        "2019/07/15/KTLX/x/KTLX20190715_120037_V06",
    ],
)
def test_other_keys_do_not_match(key: str) -> None:
    assert ARCHIVE.match(BUCKET + key) is None


def test_chunks_and_days_of_the_year_are_told() -> None:
    bucket = "s3://unidata-nexrad-level2-chunks/"
    chunk = CHUNKS.match(f"{bucket}KDFX/602/20190510-143508-028-I")
    assert chunk is not None
    assert chunk[0] == {"site": "KDFX", "volume": "602", "number": "028", "kind": "I"}
    assert chunk[1] == datetime(2019, 5, 10, 14, 35, 8, tzinfo=UTC)
    scene = GOES.match("s3://noaa-goes16/ABI-L1b-RadC/2024/060/23/OR_x.nc")
    assert scene is not None
    assert scene[1] == datetime(2024, 2, 29, 23, tzinfo=UTC)


def test_only_the_folders_of_the_sites_and_days_are_listed() -> None:
    wanted = Wanted.of({"site": ("KTLX", "KOUN")}, "2019-07-31", date(2019, 8, 1))
    assert prefixes(ARCHIVE, wanted) == [
        f"{BUCKET}{day}/{site}/"
        for day in ("2019/07/31", "2019/08/01")
        for site in ("KTLX", "KOUN")
    ]


def test_a_time_is_excluded_itself_and_a_day_is_included() -> None:
    midnight = Wanted.of({"site": ("KTLX",)}, "2019-07-15T22:00", "2019-07-16T00:00")
    assert prefixes(ARCHIVE, midnight) == [f"{BUCKET}2019/07/15/KTLX/"]
    assert not midnight.includes({"site": "KTLX"}, datetime(2019, 7, 16, tzinfo=UTC))
    assert midnight.includes({"site": "KTLX"}, datetime(2019, 7, 15, 22, tzinfo=UTC))
    offset = Wanted.of({}, "2019-07-15T23:00-05:00", "2019-07-16")
    assert offset.start == datetime(2019, 7, 16, 4, tzinfo=UTC)
    assert offset.end == datetime(2019, 7, 17, tzinfo=UTC)


def test_without_a_site_days_are_listed_and_without_days_sites() -> None:
    assert prefixes(ARCHIVE, Wanted.of({}, "2019-07-15", "2019-07-15")) == [f"{BUCKET}2019/07/15/"]
    chunks = prefixes(CHUNKS, Wanted.of({"site": ("KLOT",)}, "2021-06-25"))
    assert chunks == ["s3://unidata-nexrad-level2-chunks/KLOT/"]


def test_hours_are_listed_where_keys_have_hours() -> None:
    wanted = Wanted.of({"product": ("P",)}, "2023-12-31T23:30", "2024-01-01T01:00")
    assert prefixes(GOES, wanted) == [
        "s3://noaa-goes16/P/2023/365/23/",
        "s3://noaa-goes16/P/2024/001/00/",
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted.of({"site": ("KTLX",)}), "nothing narrows down"),
        (Wanted.of({"site": ("KTLX",)}, end="2019-07-15"), "nothing narrows down"),
        (Wanted.of({"site": ["KTLX"] * 1000}, "1991-06-05", "2026-01-01"), "folders would have"),
    ],
)
def test_what_would_list_the_whole_archive_is_refused(wanted: Wanted, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prefixes(ARCHIVE, wanted)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2019-07-15", "2019-07-14", "nothing lies from"),
        ("2019-07-15T12:00", "2019-07-15T12:00", "nothing lies from"),
        ("yesterday", None, "neither a date nor a time"),
    ],
)
def test_times_that_mean_nothing_are_refused(start: str, end: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Wanted.of({}, start, end)


@pytest.mark.parametrize(
    "text",
    [
        "bucket/{site}",
        "s3://{site}/x",
        "s3://b/{site",
        "s3://b/{Site}",
        "s3://b/{time:%Y%Q}",
        "s3://b/{time:}",
        "s3://b/{time:abc}",
    ],
)
def test_a_wrong_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"template|field|time"):
        KeyTemplate(text)


FIRST = datetime(1991, 6, 1, tzinfo=UTC)
TIMES = st.integers(0, 40 * 365 * 86_400).map(lambda seconds: FIRST + timedelta(seconds=seconds))


@given(TIMES, st.timedeltas(timedelta(0), timedelta(days=3)), TIMES)
def test_every_wanted_object_lies_in_a_listed_folder(
    start: datetime, length: timedelta, other: datetime
) -> None:
    wanted = Wanted.of({"site": ("KTLX",)}, start, start + length + timedelta(seconds=1))
    folders = prefixes(ARCHIVE, wanted)
    for time in (start, start + length, other):
        second = time.replace(microsecond=0)
        key = f"{BUCKET}{second:%Y/%m/%d}/KTLX/KTLX{second:%Y%m%d_%H%M%S}_V06"
        found = ARCHIVE.match(key)
        assert found is not None
        if wanted.includes(*found):
            assert any(key.startswith(folder) for folder in folders)
