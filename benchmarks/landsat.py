"""Pixels of Landsat scenes: lakeq's virtual tables beside other readers of the same files.

    python benchmarks/landsat.py SCENE_FOLDER --series FOLDER --s3 --materialize [--rounds 5]

Scenes are those of make_landsat_scene.py: a folder a scene with MTL.json and STAC item. Tasks, each
a whole question from open files to the number: the NDVI mean of a box of 900 x 1,100 pixels; that
of the full scene; 100 points; 100 points on every date of a series, three bands, the median; zonal
means of NDVI over 50 polygons with the clear flag of the quality band. Each contender answers in a
process of its own, once unmeasured and then in rounds; figures are medians, RSS the peak. With --s3
the box and the points are asked again of an S3 server (rclone) behind a proxy that holds every
request back for 30 ms. Indexing and --materialize are timed in processes of their own. At the end
each aim stands beside what was measured. Contenders that are not installed are named and left out;
sedonadb's zones are means of one band without the quality band.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

DELAY_S = 0.03
BUCKET = "scenes"
TOP, LEFT, HEIGHT, WIDTH = 2816, 2816, 1100, 900
MUL, ADD = 0.0000275, -0.2
RED, NIR, GREEN = "SR_B4", "SR_B5", "SR_B3"
Work = Callable[[], Any]


class Place:
    """Where the scenes of a run lie: on disk, or on the endpoint."""

    def __init__(self, scene: Path, series: Path | None, endpoint: str, lake: str = "") -> None:
        self.local, self.endpoint, self.lake = scene, endpoint, lake
        self.series = sorted(p for p in series.iterdir() if p.is_dir()) if series else [scene]

    def file(self, name: str, scene: Path | None = None) -> str:
        """The image of a band, as GDAL opens it."""
        folder = scene or self.local
        path = folder / f"{folder.name}_{name}.TIF"
        return f"/vsis3/{BUCKET}/{folder.name}/{path.name}" if self.endpoint else str(path)

    def mtl(self, scene: Path) -> str:
        """The metadata of a scene."""
        name = f"{scene.name}_MTL.json"
        return f"s3://{BUCKET}/{scene.name}/{name}" if self.endpoint else str(scene / name)


def places(scene: Path, count: int) -> list[tuple[int, float, float]]:
    """Points within the middle of a scene, in its reference system."""
    import rasterio

    with rasterio.open(scene / f"{scene.name}_{RED}.TIF") as file:
        t, w, h = file.transform, file.width, file.height
    rng = np.random.default_rng(7)
    xs = t.c + t.a * rng.uniform(0.3, 0.7, count) * w
    ys = t.f + t.e * rng.uniform(0.3, 0.7, count) * h
    return [(n, float(x), float(y)) for n, (x, y) in enumerate(zip(xs, ys, strict=True))]


def polygons(scene: Path) -> list[list[tuple[float, float]]]:
    """50 polygons of 12 corners and some 60 pixels across."""
    found = []
    for n, x, y in places(scene, 50):
        rng = np.random.default_rng(n)
        radius = 900 * rng.uniform(0.6, 1.2, 12)
        corners = [
            (x + r * math.cos(k * math.tau / 12), y + r * math.sin(k * math.tau / 12))
            for k, r in enumerate(radius.tolist())
        ]
        found.append([*corners, corners[0]])
    return found


# lakeq


def connected(place: Place, kind: str = "") -> Any:
    """A lake of the scene, or of another `kind`: dates of a series share its product."""
    import lakeq

    settings: dict[str, Any] = {}
    if place.endpoint:
        settings = {"s3_endpoint_url": place.endpoint, "s3_anon": False}
    return lakeq.connect(f"{place.lake}{kind}", **settings)


def lakeq_work(task: str, place: Place) -> Work:
    lake = connected(place, "-series" if task == "series" else "")
    query, values = lakeq_query(task, place)

    def ask() -> Any:
        result = lake.sql(query, values)
        rows = result.rows()
        report = result.report
        ask.read = report.bytes_scanned  # type: ignore[attr-defined]  # facts of this run
        ask.requests = report.s3_requests  # type: ignore[attr-defined]  # facts of this run
        return rows

    return ask


def index_work(place: Place) -> dict[str, Any]:
    """Index the scene in a session that has indexed before; the series, where there is one."""
    connected(place, "-warm").ingest("landsat", [place.mtl(place.local)])
    lake = connected(place)
    wall, cpu = time.perf_counter(), time.process_time()
    lake.ingest("landsat", [place.mtl(place.local)])
    took = time.perf_counter() - wall, time.process_time() - cpu
    if place.series != [place.local]:
        connected(place, "-series").ingest("landsat", [place.mtl(each) for each in place.series])
    return {"wall": took[0], "cpu": took[1], "mb": _peak_mb()}


def materialize_work(place: Place) -> dict[str, Any]:
    """Write the scene's pixels to a lake, and how that compares with its images."""
    lake = connected(place)
    wall, cpu = time.perf_counter(), time.process_time()
    lake.ingest("landsat", [place.mtl(place.local)], materialize=["pixels"])
    took = time.perf_counter() - wall, time.process_time() - cpu
    files = Path(place.lake).rglob("pixels/data/**/*.parquet")
    written = sum(file.stat().st_size for file in files) / 1e6
    images = lake.sql("select sum(byte_length) from landsat.tiles where level = 0").rows()[0][0]
    return {"wall": took[0], "cpu": took[1], "mb": _peak_mb(), "written": written,
            "images": int(images) / 1e6}  # fmt: skip


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def lakeq_query(task: str, place: Place) -> tuple[str, dict[str, object]]:
    # As of reflectances, 2.75e-5 * stored - 0.2 each: the scale cancels, the offset does not.
    ndvi = (
        f"(nir08::double - red::double) / (nir08::double + red::double + {2 * ADD / MUL}::double)"
    )
    valid = "product_id = $product and red > 0 and nir08 > 0"
    given: dict[str, object] = {"product": place.local.name}
    if task == "box":
        return (
            f"select avg({ndvi}) from landsat.pixels where {valid} "
            f"and line between {TOP} and {TOP + HEIGHT - 1} "
            f"and sample between {LEFT} and {LEFT + WIDTH - 1}"
        ), given
    if task == "full":
        return f"select avg({ndvi}) from landsat.pixels where {valid}", given
    if task in ("points", "series"):
        near = "v.x > p.px - 15 and v.x <= p.px + 15 and v.y >= p.py - 15 and v.y < p.py + 15"
        scene = place.series[0] if task == "series" else place.local
        values = ", ".join(map(str, places(scene, 100)))
        columns = "v.red" if task == "points" else "median(v.red), median(v.nir08), median(v.green)"
        some = " and product_id = $product" if task == "points" else ""
        group = " group by p.id" if task == "series" else ""
        return (
            f"with p(id, px, py) as (values {values}) select p.id, {columns} from p "
            f"join landsat.pixels v on {near}{some}{group} order by p.id"
        ), given if some else {}
    # As @zonal_statistics_on_map: lines of pixels are cut where they cross edges.
    rings = [[list(map(list, ring))] for ring in polygons(place.local)]
    return (
        "with grid as (select max(y_origin) as y_0, max(y_step) as d from landsat.tiles "
        "where product_id = $product and band = 'red' and level = 0), shapes as (select "
        "generate_subscripts(z, 1) as id, unnest(z) as rings "
        "from (select from_json($zones, '[[[[\"DOUBLE\"]]]]') as z)), "
        "rings as (select id, unnest(rings) as ring from shapes), "
        "corners as (select id, ring, unnest(range(1, len(ring))) as k from rings), edges as "
        "(select id, ring[k][1] ax, ring[k][2] ay, ring[k + 1][1] bx, ring[k + 1][2] b_y "
        "from corners), lines as (select *, unnest(range(cast(floor((greatest(ay, b_y) - y_0) / d "
        "- 0.5) as bigint), cast(ceil((least(ay, b_y) - y_0) / d - 0.5) as bigint) + 1)) as line "
        "from edges, grid), places as (select *, y_0 + d * (line + 0.5) as y from lines), "
        "cuts as (select id, line, list_sort(list((bx - ax) * (y - ay) / (b_y - ay) + ax)) as cut "
        "from places where (ay > y) <> (b_y > y) group by id, line), spans as (select id, line, "
        "cut[k] as west, cut[k + 1] as east "
        "from (select *, unnest(range(1, len(cut), 2)) as k from cuts)) "
        f"select id, avg({ndvi}), count(*) from spans join landsat.pixels v on v.line = spans.line "
        f"and v.x >= west and v.x < east where {valid} and v.qa_pixel & 63 = 0 "
        "group by id order by id"
    ), {**given, "zones": json.dumps(rings)}


# Peers


def _ndvi(red: Any, nir: Any) -> float:
    ok = (red > 0) & (nir > 0)
    r, n = red[ok] * MUL + ADD, nir[ok] * MUL + ADD
    return float(((n - r) / (n + r)).mean())


def rasterio_work(task: str, place: Place) -> Work:
    import rasterio
    from rasterio.windows import Window

    points = places(place.series[0] if task == "series" else place.local, 100)

    def ask() -> Any:
        with rasterio.Env(GDAL_NUM_THREADS="2", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            if task in ("box", "full"):
                window = Window(LEFT, TOP, WIDTH, HEIGHT) if task == "box" else None
                bands = []
                for name in (RED, NIR):
                    with rasterio.open(place.file(name), num_threads=2) as file:
                        bands.append(file.read(1, window=window))
                return _ndvi(*bands)
            if task == "points":
                with rasterio.open(place.file(RED)) as file:
                    return [int(v[0]) for v in file.sample([(x, y) for _, x, y in points])]
            if task == "series":
                found = []
                for name in (RED, NIR, GREEN):
                    dates = []
                    for scene in place.series:
                        with rasterio.open(place.file(name, scene)) as file:
                            where = [(x, y) for _, x, y in points]
                            dates.append([v[0] for v in file.sample(where)])
                    found.append(np.median(dates, axis=0))
                return found
            return zones(place)

    return ask


def zones(place: Place) -> Any:
    """Rasterio reads each polygon's window; exactextract weighs its pixels."""
    import rasterio
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource
    from rasterio.windows import from_bounds

    found = []
    with (
        rasterio.open(place.file(RED)) as red,
        rasterio.open(place.file(NIR)) as nir,
        rasterio.open(place.file("QA_PIXEL")) as qa,
    ):
        for ring in polygons(place.local):
            xs, ys = [x for x, _ in ring], [y for _, y in ring]
            window = from_bounds(
                min(xs) - 30, min(ys) - 30, max(xs) + 30, max(ys) + 30, red.transform
            )
            window = window.round_offsets().round_lengths()
            r, n, q = (file.read(1, window=window) for file in (red, nir, qa))
            a, b = r * MUL + ADD, n * MUL + ADD
            values = np.where((q & 63) == 0, (b - a) / (b + a), np.nan)
            t = red.window_transform(window)
            h, w = values.shape
            source = NumPyRasterSource(values, t.c, t.f - 30 * h, t.c + 30 * w, t.f, nodata=np.nan)
            feature = {"type": "Feature", "properties": {},
                       "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip
            found += exact_extract(source, [feature], ["mean", "count"])
    return found


def rio_tiler_work(task: str, place: Place) -> Work:
    from rio_tiler.io import Reader

    points = places(place.local, 100)

    def ask() -> Any:
        with Reader(place.file(RED)) as red, Reader(place.file(NIR)) as nir:
            if task == "points":
                crs = red.dataset.crs
                return [int(red.point(x, y, coord_crs=crs).data[0]) for _, x, y in points]
            from rasterio.windows import Window

            window = Window(LEFT, TOP, WIDTH, HEIGHT)
            return _ndvi(*(each.read(window=window).data[0] for each in (red, nir)))

    return ask


def _item(place: Place) -> Any:
    import pystac

    item = pystac.Item.from_file(str(place.local / f"{place.local.name}_stac.json"))
    for asset in item.assets.values():
        name = asset.href.rpartition("/")[2]
        if name.upper().endswith(".TIF"):
            asset.href = place.file(name.removeprefix(f"{place.local.name}_")[:-4])
    return item


def _assets(item: Any) -> list[str]:
    return [
        next(key for key, asset in item.assets.items() if asset.href.endswith(f"_{name}.TIF"))
        for name in (RED, NIR)
    ]


def _bounds(place: Place) -> tuple[float, float, float, float]:
    import rasterio

    with rasterio.open(place.local / f"{place.local.name}_{RED}.TIF") as file:
        x, y = file.transform * (LEFT, TOP)
    return x, y - 30 * HEIGHT, x + 30 * WIDTH, y


def odc_work(task: str, place: Place) -> Work:
    import odc.stac

    item = _item(place)
    names = _assets(item)
    x0, y0, x1, y1 = _bounds(place)

    def ask() -> Any:
        box = {"x": (x0, x1), "y": (y0, y1)} if task == "box" else {}
        crs = f"EPSG:{item.properties.get('proj:epsg') or item.properties['proj:code'][5:]}"
        found = odc.stac.load([item], bands=names, crs=crs, resolution=30, pool=2, **box)
        return _ndvi(*(found[name].values for name in names))

    return ask


def stackstac_work(task: str, place: Place) -> Work:
    import stackstac

    item = _item(place)
    names = _assets(item)
    code = int(item.properties.get("proj:epsg") or item.properties["proj:code"][5:])
    bounds = _bounds(place) if task == "box" else None

    def ask() -> Any:
        found = stackstac.stack(
            [item], assets=names, bounds=bounds, epsg=code, resolution=30, rescale=False,
            dtype="uint16", fill_value=np.uint16(0),
        )  # fmt: skip
        return _ndvi(*found.compute(scheduler="threads", num_workers=2).values[0])

    return ask


def async_geotiff_work(task: str, place: Place) -> Work:
    from async_geotiff import GeoTIFF, Window
    from obstore.store import LocalStore, S3Store

    name = place.local.name
    store: Any = LocalStore(str(place.local.parent))
    if place.endpoint:
        store = S3Store(
            BUCKET, endpoint=place.endpoint, access_key_id="key", secret_access_key="secret",
            region="us-east-1", virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )  # fmt: skip
    points = places(place.local, 100)

    async def read(band: str) -> Any:
        file = await GeoTIFF.open(f"{name}/{name}_{band}.TIF", store=store)
        if task == "full":
            return (await file.read()).data[0]
        if task == "points":
            back = ~file.transform
            found = [tuple(int(v) for v in back * (x, y)) for _, x, y in points]
            wins = [Window(col_off=c, row_off=r, width=1, height=1) for c, r in found]
            got = await asyncio.gather(*(file.read(window=win) for win in wins))
            return [int(each.data[0, 0, 0]) for each in got]
        box = Window(col_off=LEFT, row_off=TOP, width=WIDTH, height=HEIGHT)
        return (await file.read(window=box)).data[0]

    async def answer() -> Any:
        if task == "points":
            return await read(RED)
        return _ndvi(*await asyncio.gather(read(RED), read(NIR)))

    return lambda: asyncio.run(answer())


def xarray_sql_work(task: str, place: Place) -> Work:
    import rioxarray
    import xarray as xr
    import xarray_sql as xql

    del task
    names = {"red": RED, "nir": NIR}
    ndvi = "(nir - red) * 2.75e-5 / ((nir + red) * 2.75e-5 - 0.4)"
    wide = "select cast(red as double) as red, cast(nir as double) as nir from scene"
    query = f"select avg({ndvi}) from ({wide}) as s where red > 0 and nir > 0"

    def ask() -> Any:
        bands = {
            name: rioxarray.open_rasterio(place.file(file), chunks={"y": 512}).isel(band=0)
            for name, file in names.items()
        }
        scene = xr.Dataset(bands).drop_vars(["band", "spatial_ref"])
        context = xql.Context()
        context.from_dataset("scene", scene, chunks={"y": 512, "x": scene.sizes["x"]})
        return context.sql(query).to_pandas().iloc[0, 0]

    return ask


def sedonadb_work(task: str, place: Place) -> Work:
    import pyarrow as pa
    import sedonadb

    del task
    rings = [", ".join(f"{x} {y}" for x, y in ring) for ring in polygons(place.local)]
    rows = ", ".join(f"({n}, 'POLYGON(({ring}))')" for n, ring in enumerate(rings))
    raster = f"RS_FromPath('{place.file(RED)}')"

    def ask() -> Any:
        shape = "ST_SetSRID(ST_GeomFromText(wkt), 32610)"
        query = (
            f"select id, RS_ZonalStats({raster}, {shape}, 1, 'mean') as mean "
            f"from (values {rows}) as t(id, wkt) order by id"
        )
        return pa.table(sedonadb.connect().sql(query)).to_pylist()

    return ask


CONTENDERS: dict[str, tuple[Callable[[str, Place], Work], tuple[str, ...]]] = {
    "lakeq": (lakeq_work, ("box", "full", "points", "series", "zones")),
    "rasterio": (rasterio_work, ("box", "full", "points", "series", "zones")),
    "rio-tiler": (rio_tiler_work, ("box", "points")),
    "odc-stac": (odc_work, ("box", "full")),
    "stackstac": (stackstac_work, ("box", "full")),
    "async-geotiff": (async_geotiff_work, ("box", "full", "points")),
    "xarray-sql": (xarray_sql_work, ("full",)),
    "sedonadb": (sedonadb_work, ("zones",)),
}


def measure(name: str, task: str, place: Place, rounds: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    work = CONTENDERS[name][0](task, place)
    answer = work()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    peak = _peak_mb()
    return {
        "wall": statistics.median(walls), "best": min(walls), "cpu": statistics.median(cpus),
        "mb": peak, "answer": str(answer)[:60], "read": getattr(work, "read", 0) / 1e6,
        "requests": getattr(work, "requests", 0),
    }  # fmt: skip


@contextmanager
def endpoint(folder: Path) -> Iterator[str]:
    """Rclone serving a folder of buckets as S3, every request held back on its way.

    Rclone 1.7 answers ranges with status 200, which GDAL takes for the whole file; the proxy says
    206 in its place.
    """
    rclone = shutil.which("rclone") or str(Path(sys.executable).with_name("rclone"))
    port, front = _free(), _free()
    server = subprocess.Popen(
        [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--auth-key",
         "key,secret", "--copy-links", "-q"]
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    threading.Thread(target=_serve, args=(loop, front, port), daemon=True).start()
    time.sleep(2)
    try:
        yield f"http://127.0.0.1:{front}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        server.terminate()
        server.wait()


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _serve(loop: asyncio.AbstractEventLoop, front: int, port: int) -> None:
    async def pipe(source: Any, sink: Any, delay: float) -> None:
        try:
            while data := await source.read(1 << 18):
                if delay:  # a GET is one piece
                    await asyncio.sleep(delay)
                elif b"\r\nContent-Range:" in data:  # rclone says 200, which GDAL takes for all
                    data = data.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 206 Partial Content", 1)
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()

    async def connected(reader: Any, writer: Any) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            pipe(reader, back_writer, DELAY_S), pipe(back_reader, writer, 0), return_exceptions=True
        )

    asyncio.set_event_loop(loop)
    loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", front))
    loop.run_forever()


def run_one(
    name: str, task: str, arguments: argparse.Namespace, where: str, lake: str
) -> dict[str, Any]:
    line = [sys.executable, __file__, str(arguments.scene), "--rounds", str(arguments.rounds),
            "--one", name, task, where, lake]  # fmt: skip
    if arguments.series:
        line += ["--series", str(arguments.series)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=_env(where))
    if done.returncode:
        return {"error": done.stderr.strip().rpartition("\n")[2][:100]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _env(where: str) -> dict[str, str]:
    if not where:
        return dict(os.environ)
    return {**os.environ, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_S3_ENDPOINT": where.removeprefix("http://"), "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_DEFAULT_REGION": "us-east-1",
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "CPL_VSIL_CURL_NON_CACHED": f"/vsis3/{BUCKET}"}  # fmt: skip  # each round asks anew


Found = dict[tuple[str, str, str], dict[str, Any]]  # by place, task and contender


def table(
    arguments: argparse.Namespace, where: str, tasks: tuple[str, ...], lake: str, found: Found
) -> None:
    print("| task | who | s | best s | CPU s | RSS MB | read MB | requests | answer |")
    print("|---|---|--:|--:|--:|--:|--:|--:|---|")
    for task in tasks:
        for name, (_, known) in CONTENDERS.items():
            if task not in known or (arguments.only and name not in arguments.only):
                continue
            f = run_one(name, task, arguments, where, lake)
            if "error" in f:
                print(f"| {task} | {name} | failed: {f['error']} |", flush=True)
                continue
            found["S3" if where else "disk", task, name] = f
            read = f"{f['read']:.1f}" if f["read"] else ""
            print(
                f"| {task} | {name} | {f['wall']:.3f} | {f['best']:.3f} | {f['cpu']:.3f} | "
                f"{f['mb']:.0f} | {read} | {f['requests'] or ''} | {f['answer']} |", flush=True
            )  # fmt: skip


def indexed(arguments: argparse.Namespace, where: str, lake: str, found: Found) -> None:
    """Make the lake that the queries read, and tell what indexing took."""
    f = found["S3" if where else "disk", "index", "lakeq"] = run_one(
        "index", "", arguments, where, lake
    )
    if "error" in f:
        raise SystemExit(f["error"])
    print(f"\nindex of one more scene: {f['wall']:.3f} s, {f['cpu']:.3f} CPU s\n", flush=True)


def aims(found: Found) -> Iterator[tuple[str, float, str, float]]:
    """What was measured and what it is to be: title, value, unit, most."""
    for place, task in (("disk", "box"), ("disk", "full"), ("disk", "points"), ("disk", "series"),
                        ("disk", "zones"), ("S3", "box"), ("S3", "points")):  # fmt: skip
        mine = found.get((place, task, "lakeq"))
        if mine is None:
            continue
        for (where, what, who), other in found.items():
            peer = who != "lakeq" and (place == "S3" or who == "rasterio")
            if (where, what) == (place, task) and peer:
                yield f"{task}, {place}: best round, beside {who}", mine["best"], "s", other["best"]
        if task == "box":
            yield f"box, {place}: read", mine["read"], "MB", 5.4
    full = found.get(("disk", "full", "lakeq"))
    if full:
        yield "full scene: best round", full["best"], "s", 0.8
        yield "full scene: RSS", full["mb"], "MB", 300
    yield "index of a scene", found["disk", "index", "lakeq"]["wall"], "s", 0.25
    written = found.get(("disk", "materialize", "lakeq"))
    if written:
        yield "materialized pixels", written["wall"], "s", 5
        yield "materialized pixels: RSS", written["mb"], "MB", 250
        yield "materialized pixels: size beside images", written["written"], "MB", written["images"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--tasks", nargs="*", default=["box", "full", "points", "series", "zones"])
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--materialize", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, task, where, lake = arguments.one
        place = Place(arguments.scene, arguments.series, where, lake)
        others = {"index": index_work, "materialize": materialize_work}
        found_one = (
            others[name](place) if name in others
            else measure(name, task, place, arguments.rounds)
        )  # fmt: skip
        print(json.dumps(found_one))
        return
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="lakeq-bench-") as folder:
        lake = f"{folder}/lake"
        indexed(arguments, "", lake, found)
        table(arguments, "", tuple(arguments.tasks), lake, found)
        if arguments.materialize:
            f = run_one("materialize", "", arguments, "", f"{folder}/written")
            found["disk", "materialize", "lakeq"] = f
            print(f"\nmaterialize: {f}", flush=True)
        if arguments.s3:
            bucket = Path(folder) / "served" / BUCKET
            bucket.mkdir(parents=True)
            (bucket / arguments.scene.name).symlink_to(arguments.scene.resolve())
            with endpoint(bucket.parent) as where:
                print(f"\nS3, {DELAY_S * 1000:.0f} ms a request:")
                one = argparse.Namespace(**{**vars(arguments), "series": None})
                indexed(one, where, f"{folder}/remote", found)
                table(one, where, ("box", "points"), f"{folder}/remote", found)
    print("\n| aim | measured | at most | |\n|---|--:|--:|---|")
    for title, value, unit, most in aims(found):
        kept = "holds" if value <= most else "missed"
        print(f"| {title} | {value:.3g} {unit} | {most:.3g} {unit} | {kept} |")


if __name__ == "__main__":
    main()
