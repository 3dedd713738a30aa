"""Objects chosen from an archive on S3 by site and time: what is listed, asked for and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lakeq import convert, formats
from lakeq.catalog import Dataset
from lakeq.config import S3Settings, Settings
from lakeq.convert import IngestReport, Selection
from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.keys import Moment, Wanted
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
from tests.lake_formats import FOLDER, lake_at
from tests.lake_formats.puzzle import dataset
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.s3 import S3

DAYS = ("2019/07/14", "2019/07/15", "2019/07/16")


@pytest.fixture(autouse=True)
def _puzzle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])


@pytest.fixture
def proxy(s3: S3) -> Iterator[CountingProxy]:
    with counting_proxy(s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def archive(s3: S3, aws_credentials: None) -> Dataset:
    """A bucket with an object per hour, site and day, and the dataset that knows its keys."""
    bucket = s3.bucket()
    for number, day in enumerate(DAYS):
        for site in ("kaa", "kbb"):
            for hour in (0, 12, 23):
                name = f"{site}/{day.replace('/', '')}_{hour:02}0000.whole"
                s3.put(bucket, f"{day}/{name}", f"{number * 100 + hour}".encode())
            s3.put(bucket, f"{day}/{site}/{day.replace('/', '')}_000000.skip", b"!fail")
    template = "{date:%Y/%m/%d}/{site}/{time:%Y%m%d_%H%M%S}.{kind}"
    objects = (f"s3://{bucket}/*",)
    more = {"objects": objects, "region": "us-east-1", "access": "signed"}
    tables = {name: replace(table, **more) for name, table in dataset().tables.items()}
    return replace(dataset(), tables=tables, keys={"archive": f"s3://{bucket}/{template}"})


def ingest(
    lake: IcebergLake,
    proxy: CountingProxy,
    archive: Dataset,
    *sites: str,
    start: Moment | None = None,
    end: Moment | None = None,
    keys: str = "",
    new_only: bool = False,
    dry_run: bool = False,
) -> IngestReport:
    storage = Storage(Settings(lake=lake.folder, s3=S3Settings(endpoint_url=proxy.url)))
    selection = Selection(Wanted.of({"site": sites}, start, end), keys, new_only)
    return convert.ingest(lake, storage, archive, selection, dry_run=dry_run)


def names(report: IngestReport) -> list[str]:
    return [item.uri.split("/", 3)[3] for item in report.objects]


def test_only_the_needed_folders_are_listed_and_only_wanted_objects_read(
    lake_dir: Path, proxy: CountingProxy, archive: Dataset
) -> None:
    bucket = archive.keys["archive"].split("/")[2]
    report = ingest(
        lake_at(lake_dir), proxy, archive, "kaa", start="2019-07-15T12:00", end="2019-07-16"
    )
    assert names(report) == [
        "2019/07/15/kaa/20190715_120000.whole",
        "2019/07/15/kaa/20190715_230000.whole",
        *(f"2019/07/16/kaa/20190716_{hour:02}0000.whole" for hour in (0, 12, 23)),
    ]
    assert proxy.listed() == [f"{bucket}/2019/07/15/kaa/", f"{bucket}/2019/07/16/kaa/"]
    assert len(proxy.requests) == 2 + 5  # no object is asked for before it is read
    assert report.notes == {"objects that the dataset skips by name": 1}
    lake = lake_at(lake_dir)
    assert sorted(lake.read_table("puzzle.pieces")["n"].to_pylist()) == [112, 123, 200, 212, 223]


def test_a_dry_run_lists_and_reads_nothing(
    lake_dir: Path, proxy: CountingProxy, archive: Dataset
) -> None:
    lake = lake_at(lake_dir)
    report = ingest(
        lake, proxy, archive, "kbb", "kaa", start="2019-07-14", end="2019-07-14", dry_run=True
    )
    assert len(report.objects) == 6
    assert {request.method for request in proxy.requests} == {"GET"}
    assert len(proxy.requests) == len(proxy.listed()) == 2
    assert not lake.folder.exists()


def test_nothing_found_says_where_was_looked(
    lake_dir: Path, proxy: CountingProxy, archive: Dataset
) -> None:
    lake = lake_at(lake_dir)
    with pytest.raises(NotFound, match="2019/07/15/kzz/"):
        ingest(lake, proxy, archive, "kzz", start="2019-07-15", end="2019-07-15")
    assert not lake.folder.exists()


def test_what_the_keys_do_not_tell_is_refused(
    lake_dir: Path, proxy: CountingProxy, archive: Dataset
) -> None:
    lake = lake_at(lake_dir)
    with pytest.raises(UsageError, match="nothing narrows down"):
        ingest(lake, proxy, archive, "kaa")
    with pytest.raises(UnknownName, match="archive"):
        ingest(lake, proxy, archive, "kaa", start="2019-07-15", keys="archives")
    with pytest.raises(UsageError, match="how its objects are named"):
        ingest(lake, proxy, replace(archive, keys={}), "kaa", start="2019-07-15")
    with pytest.raises(UnknownName, match="no field of the keys named 'site'"):
        ingest(lake, proxy, archive, "kaa", keys="s3://b/{station}/{name}")
    assert proxy.requests == []


def test_what_the_lake_has_already_is_left_out_when_only_new_objects_are_wanted(
    lake_dir: Path, proxy: CountingProxy, archive: Dataset
) -> None:
    lake = lake_at(lake_dir)
    ingest(lake, proxy, archive, "kaa", start="2019-07-15", end="2019-07-15T13:00")
    proxy.requests.clear()
    report = ingest(
        lake, proxy, archive, "kaa", start="2019-07-15", end="2019-07-15", new_only=True
    )
    assert names(report) == ["2019/07/15/kaa/20190715_230000.whole"]
    assert report.notes["objects that the lake has already"] == 2
    assert len(proxy.read(".whole")) == 1
    assert sorted(lake.read_table("puzzle.pieces")["n"].to_pylist()) == [100, 112, 123]
