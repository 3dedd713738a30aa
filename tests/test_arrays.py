"""Radar volumes as xarray: equal to xradar's tree and to Py-ART's codes of the same file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeq import arrays
from lakeq.api import Lake
from lakeq.errors import NotFound, UnknownName, UsageError
from tests.support import radar_lakes as radar
from tests.support.data import real_files
from tests.support.s3 import S3

if TYPE_CHECKING:
    import xarray as xr

TABLES = ("volumes", "sweeps", "rays")
# What the default suite reads: a legacy volume, one whose moments have several ranges, one of
# 16 bits and seven moments, one cut off within a sweep, a TDWR. All others: make soak.
FEW = ["KABR20050101_000745.gz", "KTLX20100501_000444_V03.gz", "KDMX20250101_225441_V06",
       "KLOT/34", "TORD/185"]  # fmt: skip
OTHERS = ["KTLX19910605_162126.gz", "KLIX20050828_180149.gz", "KTLX20140101_000624_V06.gz",
          "KLBB20160601_150025_V06", "KTLX20190715_120037_V06", "KCRP20200101_000431_V06",
          "KCRP20220101_000413_V06", "KLOT20220317_000842_V06", "KCRP20170826_044114.bin",
          "KFWS20190609_222523.bin", "KMKX20200115_150035.bin", "example_nexrad_archive_msg1.bz2",
          "KLOT/940", "KLOT/901"]  # fmt: skip
REAL = [*FEW, *(pytest.param(name, marks=pytest.mark.soak) for name in OTHERS)]
XRADAR_FAILS = {"KTLX20190715_120037_V06": "IndexError: its VCP declares fewer cuts than it has"}
# A few rays of some sweeps, those beside a message of another type; Py-ART has them too.
XRADAR_LOSES_RAYS = {"TORD/185", "KLOT/901", "KLOT20220317_000842_V06",
                     "KCRP20200101_000431_V06", "KCRP20220101_000413_V06"}  # fmt: skip
# Message 1: xradar takes the signed range of the first gate for an unsigned number, has one spacing
# for moments of two, leaves WRADH out, and knows no coordinates of the radar.
LEGACY = {"KABR20050101_000745.gz", "KTLX19910605_162126.gz", "KLIX20050828_180149.gz",
          "example_nexrad_archive_msg1.bz2"}  # fmt: skip


class Real:
    """One real volume: its file, its lake, its site and its time."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = radar.real_volume(name, folder)
        self.lake = radar.lake_of(folder / "lake", [self.path], TABLES)
        ((self.site, self.time),) = self.lake.sql(
            "select site, volume_time from nexrad.volumes"
        ).rows()

    @cache  # noqa: B019  # as long as its module's fixture
    def tree(self, **options: Any) -> xr.DataTree:
        return self.lake.open_radar(str(self.site), self.time, **options)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each real volume, ingested when it is first asked for."""

    @cache
    def named(name: str) -> Real:
        return Real(name, tmp_path_factory.mktemp("volume"))

    return named


@pytest.mark.parametrize("name", REAL)
def test_the_tree_equals_that_of_xradar(volumes: Any, name: str) -> None:
    if name in XRADAR_FAILS:
        pytest.skip(f"xradar 0.12 fails: {XRADAR_FAILS[name]}")
    ours, theirs = volumes(name).tree(), radar.xradar_tree(volumes(name).path)
    assert set(theirs.children) <= set(ours.children)
    for key, node in theirs.children.items():
        expected, found = node.to_dataset(inherit=False), ours[key].to_dataset(inherit=False)
        assert set(found.data_vars) >= set(expected.data_vars)
        if name in XRADAR_LOSES_RAYS:
            kept = np.isin(found.azimuth, expected.azimuth)
            assert kept.sum() >= found.sizes["azimuth"] - 4
            found = found.isel(azimuth=kept)
        for variable in expected.variables:
            same_variable(found, expected, str(variable), legacy=name in LEGACY)


def same_variable(found: xr.Dataset, expected: xr.Dataset, variable: str, *, legacy: bool) -> None:
    """Name, dimensions, type, attributes and values; the exceptions say why."""
    ours, theirs = found[variable], expected[variable]
    spacings = {found[d].attrs["meters_between_gates"] for d in found.dims if d != "azimuth"}
    if variable == "range" and legacy and "DBZH" not in found:
        return  # starts at -375 m, not at 65161 m
    if variable == "sweep_fixed_angle" and legacy:
        return  # no message 5: of the first ray there, the median of all rays here
    assert ours.attrs == theirs.attrs
    assert ours.dtype == theirs.dtype
    width = ours.shape[-1] if ours.ndim == 2 or variable == "range" else None
    if len(spacings) > 1 and width is not None:
        theirs = theirs.isel(range=slice(0, width))  # theirs: all moments on the first one's axis
    else:
        assert ours.dims == theirs.dims
    if variable == "time":
        assert np.abs(ours.values - theirs.values).max() < np.timedelta64(1, "us")  # theirs: float
    else:
        np.testing.assert_array_equal(ours.values, theirs.values)


@pytest.mark.parametrize("name", REAL)
def test_codes_in_order_of_time_are_those_of_py_art(volumes: Any, name: str) -> None:
    tree = volumes(name).tree(order="time", values="codes")
    file = radar.pyart_file(volumes(name).path)
    names = {"REF": "DBZH", "VEL": "VRADH", "SW": "WRADH", "ZDR": "ZDR", "PHI": "PHIDP",
             "RHO": "RHOHV", "CFP": "CCORH"}  # fmt: skip
    assert len(tree.children) == file.nscans
    for scan, node in zip(range(file.nscans), tree.children.values(), strict=True):
        azimuths = file.get_azimuth_angles([scan]).astype(np.float32)
        np.testing.assert_array_equal(node["azimuth"].values.astype(np.float32), azimuths)
        for theirs, ours in names.items():
            if ours in node:
                compare_codes(node[ours], file, scan, theirs)


def compare_codes(codes: xr.DataArray, file: Any, scan: int, moment: str) -> None:
    """Codes and what scales them, ray by ray; beyond a ray's last gate ours are 0."""
    for number, record in enumerate(file.scan_msgs[scan]):
        part = file.radial_records[record].get(moment)
        expected = np.zeros(codes.shape[1], int)
        if part is not None and part["data"] is not None:
            expected[: len(part["data"])] = part["data"]
            assert codes.attrs["scale_factor"] == 1 / part["scale"]
            assert codes.attrs["add_offset"] == -part["offset"] / part["scale"]
        np.testing.assert_array_equal(codes.values[number], expected)


def test_order_of_time_is_that_of_xradar_too(volumes: Any) -> None:
    real = volumes("KDMX20250101_225441_V06")
    ours = real.tree(order="time")["sweep_1"].to_dataset(inherit=False)
    theirs = radar.xradar_tree(real.path, first_dim="time", sweep=1)["sweep_1"]
    for name in ("DBZH", "VRADH", "WRADH", "azimuth", "elevation", "range"):
        assert ours[name].dims == theirs[name].dims
        np.testing.assert_array_equal(ours[name].values, theirs[name].values)


def test_masked_values_are_nan_where_py_art_masks(volumes: Any) -> None:
    real = volumes("KDMX20250101_225441_V06")
    masked = real.tree(sweeps=(1,), moments=("VRADH",), order="time", values="masked")
    theirs = radar.pyart_file(real.path).get_data("VEL", 1192, [1], raw_data=False)
    ours = masked["sweep_1"]["VRADH"].values
    np.testing.assert_array_equal(np.isnan(ours), np.ma.getmaskarray(theirs))
    np.testing.assert_allclose(ours, theirs.filled(np.nan), rtol=0, atol=1e-6)


def test_clutter_power_is_masked_below_code_8(volumes: Any) -> None:
    real = volumes("KDMX20250101_225441_V06")
    choice: dict[str, Any] = {"sweeps": (0,), "moments": ("CCORH",)}
    codes = real.tree(**choice, values="codes")["sweep_0"]["CCORH"].values
    masked = real.tree(**choice, values="masked")["sweep_0"]["CCORH"].values
    np.testing.assert_array_equal(np.isnan(masked), codes < 8)


def test_moments_of_other_ranges_have_an_axis_of_their_own(volumes: Any) -> None:
    sweep = volumes("KTLX20100501_000444_V03.gz").tree()["sweep_6"]
    assert sweep["DBZH"].dims == ("azimuth", "range")
    assert sweep["VRADH"].dims == sweep["WRADH"].dims == ("azimuth", "range_VRADH")
    file = radar.pyart_file(volumes("KTLX20100501_000444_V03.gz").path)
    for moment, axis in (("REF", "range"), ("VEL", "range_VRADH")):
        expected = file.get_range(6, moment)
        np.testing.assert_array_equal(sweep[axis].values[: len(expected)], expected)


def test_a_volume_that_was_cut_off_has_the_rays_there_are(volumes: Any) -> None:
    tree = volumes("KLOT/34").tree()
    assert tree.attrs["complete"] == 0
    assert [tree[f"sweep_{n}"].sizes["azimuth"] for n in range(3)] == [720, 720, 360]
    assert [tree[f"sweep_{n}"].attrs["complete"] for n in range(3)] == [1, 1, 0]


def test_the_root_says_what_xradar_says_and_what_it_cost(volumes: Any) -> None:
    real = volumes("KDMX20250101_225441_V06")
    ours, theirs = real.tree(), radar.xradar_tree(real.path)
    unknown = {k: v for k, v in theirs.attrs.items() if v == "None" or k == "comment"}
    assert (theirs.attrs.items() - unknown.items()) <= ours.attrs.items()
    for name in ("latitude", "longitude", "altitude", "time_coverage_start", "time_coverage_end"):
        assert ours[name].item() == theirs[name].item()
    assert ours.attrs["lakeq_bytes_scanned"] > 100_000
    assert float(ours.attrs["lakeq_cost_usd"]) > 0


def test_sweeps_say_what_the_pattern_says_of_them(volumes: Any) -> None:
    real = volumes("KDMX20250101_225441_V06")
    for key, theirs in radar.xradar_tree(real.path).children.items():
        found = dict(real.tree()[key].attrs)
        expected = dict(theirs.attrs)
        # ICD 2620002, message 5: 3 is contiguous Doppler without ambiguity resolution, 4 is batch
        expected.pop("waveform_type")
        assert expected.items() <= found.items()


def test_only_what_is_asked_for_is_read(volumes: Any) -> None:
    lake, site, time = (
        getattr(volumes("KDMX20250101_225441_V06"), n) for n in ("lake", "site", "time")
    )
    whole = lake.open_radar(site, time)
    one = lake.open_radar(site, time, moments=["zdr"])
    assert set(one.children) < set(whole.children)
    assert not any("DBZH" in node or "VRADH" in node for node in one.children.values())
    assert one.attrs["lakeq_bytes_scanned"] < whole.attrs["lakeq_bytes_scanned"] / 3


def test_chunks_of_a_volume_open_while_it_is_not_whole(tmp_path: Path) -> None:
    chunks = [str(path) for path in sorted(real_files("nexrad/chunks/KLOT/34/*"))]
    lake = radar.lake_of(tmp_path, [Path(chunk) for chunk in chunks[::-1]], TABLES)
    tree = lake.open_radar("KLOT", "2020-10-19T05:48:06")
    whole = radar.xradar_tree(radar.real_volume("KLOT/34", tmp_path))
    assert tree.attrs["complete"] == 0
    for key, node in whole.children.items():
        np.testing.assert_array_equal(tree[key]["DBZH"].values, node["DBZH"].values)


# With made volumes


def test_a_time_is_text_a_datetime_or_numpys(radar_lake: Lake) -> None:
    second = datetime(2019, 5, 20, 20, 0, 4, tzinfo=UTC)
    for time in (
        "2019-05-20T20:00:04", "2019-05-20 20:00:04.123", "2019-05-20T22:00:04+02:00",
        second, np.datetime64("2019-05-20T20:00:04.123"),
    ):  # fmt: skip
        tree = radar_lake.open_radar("ktlx", time, sweeps=[0])
        assert tree.attrs["volume_time"] == "2019-05-20T20:00:04.123+00:00"


def test_the_time_in_the_objects_name_will_do(radar_lake: Lake) -> None:
    rows = radar_lake.sql("select * from nexrad.volumes").arrow().to_pylist()
    other = [{**row, "object": "KTLX20190520_195959_V06"} for row in rows[:1]]
    wanted = datetime(2019, 5, 20, 19, 59, 59, tzinfo=UTC)
    assert arrays._find.volume(radar_lake.sql, other, "KTLX", wanted, None) == other[0]


def test_the_nearest_volume_is_taken_within_the_tolerance(radar_lake: Lake) -> None:
    tree = radar_lake.open_radar(
        "KTLX", "2019-05-20T20:06", sweeps=[0], tolerance=timedelta(minutes=5)
    )
    assert tree.attrs["volume_time"].startswith("2019-05-20T20:05:04")
    with pytest.raises(NotFound, match="starts within 0:00:10"):
        radar_lake.open_radar("KTLX", "2019-05-20T20:06", tolerance=timedelta(seconds=10))


@pytest.mark.parametrize(
    ("site", "time", "message"),
    [
        ("KTLX", "2019-05-20T20:01", "20:00:04Z, 2019-05-20T20:05:04Z"),
        ("KTLX", "2010-01-01", "days of KTLX in the lake: 2019-05-20"),
        ("KOUN", "2019-05-20T20:00:04", "sites in the lake: KTLX"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    radar_lake: Lake, site: str, time: str, message: str
) -> None:
    with pytest.raises(NotFound) as caught:
        radar_lake.open_radar(site, time)
    assert message in str(caught.value)


def test_sweeps_and_moments_that_are_not_there_are_told(radar_lake: Lake) -> None:
    def opened(**options: Any) -> None:
        radar_lake.open_radar("KTLX", "2019-05-20T20:00:04", **options)

    with pytest.raises(NotFound, match="its sweeps: 0, 1, 2, 3, 4"):
        opened(sweeps=[9])
    with pytest.raises(NotFound, match="sweeps with VRADH: 1, 2, 3, 4"):
        opened(sweeps=[0], moments=["VRADH"])
    with pytest.raises(UnknownName, match="did you mean DBZH"):
        opened(moments=["DBZ"])
    with pytest.raises(UsageError, match="masked"):
        opened(values="raw")
    with pytest.raises(UsageError, match="not a time"):
        radar_lake.open_radar("KTLX", "yesterday")


@pytest.mark.filterwarnings("ignore::xarray.SerializationWarning")  # no NaN, no _FillValue
@pytest.mark.parametrize("values", ["scaled", "masked"])
def test_a_tree_can_be_written_and_read_again(
    radar_lake: Lake, tmp_path: Path, values: arrays.Values
) -> None:
    import xarray as xr

    tree = radar_lake.open_radar("KTLX", "2019-05-20T20:00:04", sweeps=[0, 1], values=values)
    tree.to_netcdf(tmp_path / "volume.nc", engine="h5netcdf")
    again = xr.open_datatree(tmp_path / "volume.nc", engine="h5netcdf")
    for key in tree.children:
        for name, variable in tree[key].data_vars.items():
            np.testing.assert_array_equal(again[key][name].values, variable.values)


def test_a_lake_on_s3_gives_the_same_tree_and_counts_its_requests(
    made_volumes: list[Path], radar_lake: Lake, tmp_path: Path, s3: S3, aws_credentials: None
) -> None:
    import lakeq

    lake = lakeq.connect(
        tmp_path / "lake", warehouse=f"s3://{s3.bucket()}/lake", s3_endpoint_url=s3.endpoint_url
    )
    lake.ingest("nexrad", made_volumes[:1], tables=TABLES)
    there = lake.open_radar("KTLX", "2019-05-20T20:00:04", sweeps=[1])
    here = radar_lake.open_radar("KTLX", "2019-05-20T20:00:04", sweeps=[1])
    assert there["sweep_1"].to_dataset().equals(here["sweep_1"].to_dataset())
    assert there.attrs["lakeq_bytes_scanned"] > 0


ADDRESS = "lakeq:nexrad/KTLX/2019-05-20T20:00:04"


def test_the_engine_opens_a_tree(radar_lake: Lake) -> None:
    import xarray as xr

    lake = radar_lake.settings.lake
    tree = xr.open_datatree(ADDRESS, lake=lake, moments=["VRADH"], sweeps=[1])
    assert list(tree.children) == ["sweep_1"]
    direct = radar_lake.open_radar("KTLX", "2019-05-20T20:00:04", sweeps=[1], moments=["VRADH"])
    assert tree["sweep_1"].to_dataset().equals(direct["sweep_1"].to_dataset())
    with pytest.raises(UsageError, match="not the address of a volume"):
        xr.open_datatree("lakeq:KTLX", engine="lakeq", lake=lake)


def test_the_engine_opens_a_sweep(radar_lake: Lake) -> None:
    import xarray as xr

    lake = radar_lake.settings.lake
    codes = xr.open_dataset(
        "lakeq://nexrad/KTLX/2019-05-20T20:00:04", engine="lakeq", group="sweep_2", lake=lake,
        mask_and_scale=False, drop_variables=["ZDR"],
    )  # fmt: skip
    assert codes["DBZH"].dtype == np.uint8
    assert "ZDR" not in codes
    assert float(codes["latitude"]) == pytest.approx(35.3331, abs=1e-4)
    with pytest.raises(NotFound, match="no group"):
        xr.open_dataset(ADDRESS, engine="lakeq", group="cut", lake=lake)
