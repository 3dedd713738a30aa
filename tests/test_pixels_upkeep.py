"""Upkeep of pixels: reruns of virtual queries; verify, repair and compaction of written ones."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import lakeq
from lakeq.errors import LakeqError
from tests.support.scenes import make_scene

SUM = "select count(*), sum(red), sum(qa_pixel), min(x), max(y) from landsat.pixels where red > 0"


def test_a_virtual_query_is_run_again_on_its_snapshot(tmp_path: Path) -> None:
    days = (date(2023, 7, 14), date(2023, 7, 30))
    first, second = (
        make_scene(tmp_path, seed=n, day=day, size=(90, 80), bands=("red", "qa_pixel"))
        for n, day in enumerate(days)
    )
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [first.mtl])
    before = lake.sql(SUM).rows()
    number = lake.history()[0].id
    assert lake.rerun(number).same
    lake.ingest("landsat", [second.mtl])
    assert lake.sql(SUM).rows() != before
    assert lake.rerun(number).same  # the index of then names the tiles of then


def test_a_virtual_query_whose_image_was_replaced_is_not_said_to_be_the_same(
    tmp_path: Path,
) -> None:
    scene = make_scene(tmp_path, size=(90, 80), bands=("red", "qa_pixel"))
    lake = lakeq.connect(tmp_path / "lake")
    lake.ingest("landsat", [scene.mtl])
    lake.sql(SUM).rows()
    other = make_scene(tmp_path / "other", seed=9, size=(90, 80), bands=("red", "qa_pixel"))
    scene.file("red").write_bytes(other.file("red").read_bytes() + b"\0")
    with pytest.raises(LakeqError, match="not the one that was indexed"):
        lake.rerun()


def test_written_pixels_are_verified_repaired_and_compacted(tmp_path: Path) -> None:
    days = (date(2023, 7, 14), date(2023, 7, 30))
    scenes = [
        make_scene(tmp_path, seed=n, day=day, size=(90, 80), bands=("red", "qa_pixel"))
        for n, day in enumerate(days)
    ]
    lake = lakeq.connect(tmp_path / "lake")
    for scene in scenes:
        lake.ingest("landsat", [scene.mtl], materialize=["pixels"])
    wanted = lake.sql(SUM).rows()
    assert lake.verify("landsat").sound
    lake.maintain("landsat.pixels")
    rows = lake.table("landsat.pixels").rows
    assert rows == 2 * 90 * 80
    assert lake.verify("landsat").sound
    snapshot = lake.table("landsat.pixels").snapshot
    assert snapshot is not None
    path = Path(snapshot.files[0].path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    assert not lake.verify("landsat.pixels").sound
    assert lake.verify("landsat.pixels", repair=True).sound
    assert lake.table("landsat.pixels").rows == rows
    assert lake.sql(SUM).rows() == wanted
