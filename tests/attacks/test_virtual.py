"""Pixels that lie outside the lake: neither SQL nor hostile metadata lead anywhere else.

What is opened and connected to is told by Python's own audit hook, what DuckDB opens by its log.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lakeq
from lakeq.api import Lake
from lakeq.arrays import places
from lakeq.cli import cli
from lakeq.errors import AccessDenied, BudgetRefused, LakeqError, UnknownName
from lakeq.query import prepare
from tests.attacks.conftest import Listener, opened
from tests.support.landsat import MadeScene
from tests.support.s3 import S3
from tests.support.scenes import Scene, make_scene

GOOD = MadeScene("LC08_L2SP_028030_20200114_20200824_02_T1", 300_015, 4_800_015, 70, 60, 10)
PIXELS = "select count(*), sum(red) from landsat.pixels"


@dataclass
class Watch:
    """What Python opened and connected to while it was watched."""

    active: bool = False
    paths: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    hosts: set[tuple[str, int]] = field(default_factory=set)

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and not isinstance(given[0], int):
            self.paths.append(str(given[0]))
            if isinstance(given[1], str) and set(given[1]) & set("wax+"):
                self.written.append(str(given[0]))
        elif event == "socket.connect" and isinstance(given[1], tuple):
            self.hosts.add((str(given[1][0]), int(given[1][1])))


WATCH = Watch()
sys.addaudithook(WATCH)


@contextmanager
def watched() -> Iterator[Watch]:
    WATCH.paths, WATCH.written, WATCH.hosts, WATCH.active = [], [], set(), True
    try:
        yield WATCH
    finally:
        WATCH.active = False


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"), size=(140, 130))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Lake:
    lake = lakeq.connect(tmp_path_factory.mktemp("lake"))
    lake.ingest("landsat", [scene.mtl])
    return lake


SQL = {
    "internal name": 'select * from landsat."pixels#1"',
    "internal name without schema": 'select * from "pixels#1"',
    "internal name beside a mention": 'select * from landsat.pixels, landsat."pixels#1"',
    "registered stream": 'select * from "lakeq_rows_landsat.pixels#1"',
    "registered stream in temp": 'select * from temp.main."lakeq_rows_landsat.pixels#1"',
    "stream beside a mention": 'from landsat.pixels a, "lakeq_rows_landsat.pixels#1" b',
    "stream in a subquery": 'select (select max(red) from "lakeq_rows_landsat.pixels#1") '
    "from landsat.pixels",
    "index by its inner name": "select object from tile_index",
    "index by its inner name beside a mention": "select object from landsat.pixels, tile_index",
    "catalog before it": "select * from memory.landsat.pixels",
    "quoted into one name": 'select * from "landsat.pixels"',
    "quote in a name": 'select * from landsat."pix""els"',
    "arrow_scan": "select * from arrow_scan(0, 0, 0)",
    "arrow_scan_dumb": "select * from arrow_scan_dumb(0, 0, 0)",
    "python_map_function": "select * from python_map_function(landsat.pixels)",
    "duckdb_views": "select sql from duckdb_views()",
    "query_table": "select * from query_table('landsat.pixels')",
    "query": "select * from query('from landsat.pixels')",
    "macro over a table function": "select ndvi((select content from read_text('/etc/passwd')), 1)",
    "macro defined": "create macro m(x) as x; select m(red) from landsat.pixels",
    "macro as a table": "select * from ndvi(1, 2)",
    "macro replaced": "create or replace macro ndvi(nir, red) as (select 1)",
    "view replaced": "create or replace view landsat.pixels as select 1",
    "COPY of pixels": "copy (from landsat.pixels) to 'out.parquet'",
    "pixels into a file": "from landsat.pixels; copy landsat.pixels to 'out.csv'",
    "explain analyze": "explain analyze select * from landsat.pixels",
    "shadowed by a schema": "with landsat as (select 1) select * from landsat.pixels#1",
    "lateral": "select * from landsat.pixels p, lateral (from read_blob(p.product_id))",
    "in a filter": "select 1 from landsat.pixels where red = (select size from glob('/etc/*'))",
    "in a pushed list": "from landsat.pixels where product_id in "
    "(select content from read_text('/etc/passwd'))",
}  # fmt: skip


@pytest.mark.parametrize("sql", SQL.values(), ids=SQL.keys())
def test_sql_at_the_insides_of_virtual_tables_is_refused(
    lake: Lake, sql: str, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with watched() as watch, pytest.raises(LakeqError) as caught:
        lake.sql(sql).rows()
    assert caught.value.where
    assert not watch.hosts
    assert not any(path.startswith("/etc/") for path in watch.paths)
    assert not [path for path in watch.paths if path.upper().endswith(".TIF")]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inner", ["lakeq_rows_landsat.pixels#1", "tile_index"])
def test_a_query_may_use_inner_names_for_its_own_rows(lake: Lake, inner: str) -> None:
    """They are not special: a CTE of that name is the query's own, and the pixels stay."""
    wanted = lake.sql(PIXELS).rows()
    found = lake.sql(
        f'with "{inner}" as (select 7 as red), v(x) as (values (1)) select (select red from '
        f'"{inner}"), x, (select count(*) from landsat.pixels) from v'
    )
    assert found.rows() == [(7, 1, wanted[0][0])]


def test_a_cte_of_its_name_hides_a_virtual_table(lake: Lake, scene: Scene) -> None:
    """As in DuckDB: the name without its schema is the CTE's; with it, it is the table."""
    with watched() as watch:
        found = lake.sql("with pixels as (select 7 as red) select red from pixels").rows()
    assert found == [(7,)]
    assert not [path for path in watch.paths if path.upper().endswith(".TIF")]
    both = "with pixels as (select 7 as red) select count(*) from landsat.pixels, pixels"
    assert lake.sql(both).rows() == lake.sql("select count(*) from landsat.pixels").rows()


def test_the_engine_opens_no_image_itself_and_lakeq_only_the_planned(
    lake: Lake, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ready = prepare(
        PIXELS, datasets=lake.catalog.datasets, lake=lake._iceberg, settings=lake.settings
    )
    engine: Any = ready.planner
    engine.connection.execute("CALL enable_logging('FileSystem')")
    assert ready.virtual is not None
    try:
        ready.virtual.offer(engine)
        with watched() as watch:
            running = engine.run(ready.sql, {}, ready.needed)
            while running.fetch(100):
                pass
        touched = {path.removeprefix("file://") for path in opened(engine)}
    finally:
        engine.close()
    read = {path for path in watch.paths if path.upper().endswith(".TIF")}
    assert read == {str(scene.file("red"))}
    indexes = {file.path for table in ready.virtual.held.values() for file in table.files}
    assert touched <= read | indexes
    assert not watch.hosts
    assert not watch.written


@pytest.mark.parametrize(
    "table", ["pixels", "pixels_pan", "surface_reflectance", "toa_reflectance"]
)
def test_a_limit_of_bytes_stops_before_any_pixel_is_read(
    two_levels: Lake, table: str, tmp_path: Path
) -> None:
    column = {"pixels": "red", "pixels_pan": "pan"}.get(table, "red")
    sql = f"select max({column}) from landsat.{table}"
    assert two_levels.plan(sql).high_bytes > 10_000
    with watched() as watch, pytest.raises(BudgetRefused):
        two_levels.sql(sql, max_bytes=10_000)
    assert not [path for path in watch.paths if path.upper().endswith(".TIF")]
    where = ["--lake", str(two_levels.settings.lake)]
    with watched() as watch:
        told = CliRunner().invoke(cli, ["sql", sql, "--max-bytes", "10kB", *where])
    assert isinstance(told.exception, BudgetRefused)
    assert told.exception.exit_code == 3
    assert not [path for path in watch.paths if path.upper().endswith(".TIF")]


@pytest.fixture(scope="module")
def two_levels(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("levels")
    lake = lakeq.connect(folder / "lake")
    for level in ("L2SP", "L1TP"):
        lake.ingest("landsat", [make_scene(folder, level=level, size=(140, 130)).mtl])
    return lake


HREFS = {
    "file outside": "file://{outside}/{name}",
    "file by capitals": "FILE://{outside}/{name}",
    "file with a host": "file://localhost{outside}/{name}",
    "dots": "file://{here}/../outside/{name}",
    "dots written in hexadecimal": "file://{here}/%2e%2e/outside/{name}",
    "slashes written in hexadecimal": "file://{here}/..%2Foutside%2F{name}",
    "a sibling whose name begins alike": "file://{here}-other/{name}",
    "the loopback": "http://{host}/{name}",
    "the loopback by name": "http://localhost:{port}/{name}",
    "the loopback, encrypted": "https://{host}/{name}",
    "the loopback behind a user": "https://usgs-landsat.s3.amazonaws.com@{host}/{name}",
    "the loopback behind a backslash": "https://landsatlook.usgs.gov\\@{host}/{name}",
    "metadata of the machine": "http://169.254.169.254/latest/meta-data/{name}",
    "another bucket": "s3://{other}/{name}",
    "a bucket by a name that begins alike": "s3://usgs-landsat.{other}/{name}",
    "a bucket behind a user": "s3://usgs-landsat@{other}/{name}",
    "another scheme": "gs://{other}/{name}",
    "a line break": "s3://usgs-\nlandsat/{name}",
}


@dataclass
class Hostile:
    """A folder in which metadata are put, an image outside of it, a listener and two buckets."""

    here: Path
    outside: Path
    listener: Listener
    s3: S3
    own: str
    other: str

    def item(self, href: str, how: str = "href") -> str:
        """A STAC item whose red band lies at `href`."""
        name = f"{GOOD.product}_SR_B4.TIF"
        words = {"outside": self.outside, "here": self.here, "name": name, "other": self.other,
                 "host": self.listener.host, "port": self.listener.port}  # fmt: skip
        place = href.format(**words)
        item = GOOD.item()
        for asset in item["assets"].values():
            if str(asset["href"]).endswith("_SR_B4.TIF"):
                asset["href"] = place if how == "href" else "https://landsatlook.usgs.gov/x.TIF"
                if how == "alternate":
                    asset["alternate"] = {"s3": {"href": place}}
        return json.dumps(item)


@pytest.fixture
def hostile(tmp_path: Path, listener: Listener, s3: S3, aws_credentials: None) -> Hostile:
    here, outside = tmp_path / "incoming", tmp_path / "outside"
    here.mkdir()
    GOOD.write(outside)
    shutil.copytree(outside, tmp_path / "incoming-other")
    own, other = s3.bucket(), s3.bucket()
    for path in outside.glob("*.TIF"):
        s3.put(other, path.name, path)
    return Hostile(here, outside, listener, s3, own, other)


def asked(lake: Lake, source: str, hostile: Hostile, at_s3: bool) -> None:
    """Ingest `source` and ask for its pixels in every way; nothing but it may be reached."""
    import botocore.client

    folder = hostile.here.parent
    buckets: set[str] = set()
    call = botocore.client.BaseClient._make_api_call

    def noted(client: Any, name: str, given: dict[str, Any]) -> Any:
        buckets.add(given.get("Bucket", ""))
        return call(client, name, given)

    before = len(hostile.listener.connections)
    with pytest.MonkeyPatch.context() as patch, watched() as watch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
        lake.ingest("landsat", [source])
        assert lake.sql("select count(*) from landsat.scenes").rows() == [(1,)]
        for table in ("pixels", "surface_reflectance"):
            assert lake.sql(f"select sum(red) from landsat.{table}").rows() == [(None,)]
        with pytest.raises(LakeqError) as refused:
            lake.open_scenes(GOOD.product, bands="red")
        drawn = CliRunner().invoke(
            cli, ["plot", "landsat", "--scene", GOOD.product, "--bands", "red", "-o",
                  str(folder / "x.png"), "--lake", str(lake.settings.lake)],
        )  # fmt: skip
    for error in (refused.value, drawn.exception):  # or there is no red band by such a name
        elsewhere = isinstance(error, AccessDenied) and "elsewhere" in error.what
        assert elsewhere or isinstance(error, UnknownName), error
        assert isinstance(error, LakeqError)
        assert error.where
    opened_ = {path for path in watch.paths if path.upper().endswith(".TIF")}
    assert not opened_
    assert not [path for path in watch.paths if "outside" in path.rpartition("/")[0]]
    moto = hostile.s3.endpoint_url.removeprefix("http://").partition(":")
    assert watch.hosts <= ({(moto[0], int(moto[2]))} if at_s3 else set())
    assert buckets <= {hostile.own, ""}
    assert len(hostile.listener.connections) == before


@pytest.mark.parametrize(
    ("href", "how"),
    [*((href, "href") for href in HREFS.values()),
     *((HREFS[name], "alternate") for name in ("file outside", "the loopback", "another bucket"))],
)  # fmt: skip
def test_an_item_on_disk_cannot_name_what_lies_elsewhere(
    hostile: Hostile, href: str, how: str, tmp_path: Path
) -> None:
    path = hostile.here / f"{GOOD.product}_stac.json"
    path.write_text(hostile.item(href, how))
    asked(lakeq.connect(tmp_path / "lake"), str(path), hostile, at_s3=False)


@pytest.mark.parametrize("href", HREFS.values(), ids=HREFS.keys())
def test_an_item_on_s3_cannot_name_what_lies_elsewhere(
    hostile: Hostile, href: str, tmp_path: Path
) -> None:
    key = f"in/{GOOD.product}_stac.json"
    uri = hostile.s3.put(hostile.own, key, hostile.item(href).encode())
    lake = lakeq.connect(tmp_path / "lake", s3_endpoint_url=hostile.s3.endpoint_url)
    asked(lake, uri, hostile, at_s3=True)


def test_of_two_places_the_one_beside_the_item_is_read(hostile: Hostile, tmp_path: Path) -> None:
    """Images beside the item are the product's, whatever it says of them."""
    GOOD.write(hostile.here)
    path = hostile.here / f"{GOOD.product}_stac.json"
    path.write_text(hostile.item("file://{outside}/{name}"))
    lake = lakeq.connect(tmp_path / "lake")
    with watched() as watch:
        lake.ingest("landsat", [path])
        ((total,),) = lake.sql("select sum(red) from landsat.pixels").rows()
        lake.open_scenes(GOOD.product, bands="red").load()
    assert int(str(total)) > 0
    read = {Path(path).parent for path in watch.paths if path.upper().endswith(".TIF")}
    assert read == {hostile.here}
    assert not watch.hosts


@pytest.mark.parametrize(
    "name", ["../outside/{id}_SR_B4.TIF", "{id}/../../outside/{id}_SR_B4.TIF", "{id}_/etc/x.TIF",
             "file:///etc/{id}_SR_B4.TIF", "{id}_SR_B4.TIF\u0000.TIF", "{id}_%2e%2e%2fx_SR_B4.TIF"],
)  # fmt: skip
def test_an_mtl_file_cannot_name_what_lies_elsewhere(
    scene: Scene, hostile: Hostile, name: str, tmp_path: Path
) -> None:
    folder = hostile.here / scene.product_id
    shutil.copytree(scene.folder, folder)
    (folder / scene.file("red").name).unlink()
    mtl = folder / scene.mtl.name
    given = json.loads(mtl.read_text())
    contents = given["LANDSAT_METADATA_FILE"]["PRODUCT_CONTENTS"]
    contents["FILE_NAME_BAND_4"] = name.format(id=scene.product_id)
    mtl.write_text(json.dumps(given))
    lake = lakeq.connect(tmp_path / "lake")
    with watched() as watch:
        lake.ingest("landsat", [mtl])
        assert lake.sql("select sum(red) from landsat.pixels").rows() == [(None,)]
        with pytest.raises(LakeqError):
            lake.open_scenes(scene.product_id, bands="red")
    images = [path for path in watch.paths if path.upper().endswith(".TIF")]
    assert {Path(path).parent for path in images} <= {folder}
    assert not watch.hosts


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("file:///a/b/x.TIF", "file:///a/b/i.json"),
        ("file:///a/b/c/x.TIF", "file:///a/b/i.json"),
        ("file:///a/b%20c/x.TIF", "file:///a/b%20c/i.json"),
        ("s3://one/x/y.TIF", "s3://one/z/i.json"),
        ("https://host/x/y.TIF", "https://HOST/z/i.json"),
        ("s3://usgs-landsat/x.TIF", "file:///a/b/i.json"),
        ("s3://usgs-landsat/x.TIF", "https://landsatlook.usgs.gov/i.json"),
    ],
)
def test_files_beside_their_metadata_and_of_the_catalog_are_opened(
    uri: str, source: str, lake: Lake
) -> None:
    tables = tuple(lake.catalog.dataset("landsat").tables.values())
    assert any(table.objects for table in tables)
    assert places.check(uri, source, tables) == uri
    if not uri.startswith("s3://usgs-landsat"):
        assert places.check(uri, source, ()) == uri


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("file:///a/x.TIF", "file:///a/b/i.json"),
        ("file:///a/bc/x.TIF", "file:///a/b/i.json"),
        ("file:///a/b/x.TIF", "s3://one/i.json"),
        ("file:///a/b/x.TIF", "https://host/a/b/i.json"),
        ("http://host/x.TIF", "https://host/i.json"),
        ("https://host:444/x.TIF", "https://host/i.json"),
        ("https://[host/x.TIF", "https://host/i.json"),
        ("s3://ONE/x.TIF", "s3://one/i.json"),
        ("s3:///x.TIF", "s3://one/i.json"),
        ("/a/b/x.TIF", "file:///a/b/i.json"),
        ("", "file:///a/b/i.json"),
        (None, "file:///a/b/i.json"),
        ("file:///a/b/x\u0000.TIF", "file:///a/b/i.json"),
        ("file:///a/b/x%00.TIF", "file:///a/b/i.json"),
    ],
)
def test_files_of_other_places_are_not_opened(uri: str | None, source: str) -> None:
    with pytest.raises(AccessDenied) as caught:
        places.check(uri, source, ())
    assert caught.value.where == source
