"""Pictures: gates stand where Py-ART places them, in the colours that belong to their values."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakeq import moments, ppi
from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.ppi import Sweep

RAYS, GATES, SPACING_M, ELEVATION = 360, 120, 1000.0, 5.0


def sweep(name: str = "DBZH", **changes: Any) -> Sweep:
    """A sweep of rays a degree wide whose values differ from gate to gate."""
    rng = np.random.default_rng(8)
    values = rng.uniform(-25, 79, (RAYS, GATES))
    parts: dict[str, Any] = {
        "moment": moments.MOMENTS[name],
        "values": values,
        "folded": np.zeros(values.shape, bool),
        "azimuth": (np.arange(RAYS) + 100.5) % 360,
        "elevation": np.full(RAYS, ELEVATION),
        "range_m": 2000 + SPACING_M * np.arange(GATES),
        "title": "KTLX",
        "nyquist_m_s": np.nan,
    }
    return Sweep(**{**parts, **changes})


def pixels(drawn: Any) -> Any:
    """Colours of the field, rows from south to north, and how many km it reaches."""
    (image,) = drawn.axes[0].images
    return np.asarray(image.get_array()), image.get_extent()[1]


def colour_at(drawn: Any, x_m: float, y_m: float) -> Any:
    field, reach = pixels(drawn)
    per_km = field.shape[0] / (2 * reach)
    return field[int((y_m / 1000 + reach) * per_km), int((x_m / 1000 + reach) * per_km)]


def test_gates_stand_where_py_art_places_them() -> None:
    from pyart.core import antenna_to_cartesian

    given = sweep()
    drawn = ppi.figure(given)
    colours, norm, _ = ppi._scale(given)
    x, y, _ = antenna_to_cartesian(
        given.range_m[None, :] / 1000, given.azimuth[:, None], given.elevation[:, None]
    )
    chosen = [(ray, gate) for ray in range(0, RAYS, 7) for gate in range(40, GATES - 1, 13)]
    assert len(chosen) > 200
    for ray, gate in chosen:
        expected = colours(norm(given.values[ray, gate]))
        assert np.allclose(colour_at(drawn, x[ray, gate], y[ray, gate]), expected), (ray, gate)


def test_reflectivity_has_the_colours_of_the_weather_service() -> None:
    given = sweep()
    colours, norm, ticks = ppi._scale(given)
    assert ticks is not None
    shown = {
        dbz: tuple(round(255 * part) for part in colours(norm(dbz))[:3]) for dbz in (5, 22, 57)
    }
    assert shown == {5: (4, 233, 231), 22: (2, 253, 2), 57: (212, 0, 0)}


def test_velocity_is_symmetric_to_the_nyquist_velocity_green_towards_and_red_away() -> None:
    given = sweep("VRADH", nyquist_m_s=27.4)
    colours, norm, _ = ppi._scale(given)
    assert (norm.vmin, norm.vmax) == (-28, 28)
    towards, still, away = (colours(norm(v)) for v in (-20, 0, 20))
    assert towards[1] > towards[0]
    assert away[0] > away[1]
    assert still[0] == pytest.approx(still[1], abs=0.03)


def test_below_threshold_stays_blank_and_range_folded_is_purple() -> None:
    values = np.full((RAYS, GATES), np.nan)
    folded = np.zeros(values.shape, bool)
    folded[:180] = True
    drawn = ppi.figure(sweep("VRADH", values=values, folded=folded, azimuth=np.arange(360) + 0.5))
    assert np.allclose(colour_at(drawn, 50_000, 0)[:3], (0x77 / 255, 0, 0x7D / 255))
    assert colour_at(drawn, -50_000, 0)[3] == 0
    (legend,) = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert legend == "range folded"


def test_a_gap_between_rays_stays_blank() -> None:
    kept = np.r_[0:80, 100:360]
    whole = sweep(azimuth=np.arange(360) + 0.5)
    cut = sweep(values=whole.values[kept], folded=whole.folded[kept],
                azimuth=whole.azimuth[kept], elevation=whole.elevation[kept])  # fmt: skip
    assert colour_at(ppi.figure(cut), 50_000, 0)[3] == 0
    assert colour_at(ppi.figure(whole), 50_000, 0)[3] == 1


def test_the_picture_has_rings_a_bar_with_its_unit_and_a_title() -> None:
    drawn = ppi.figure(sweep(title="KTLX 2019"), range_km=100)
    field, bar = drawn.axes
    assert field.get_aspect() == 1
    assert field.get_title(loc="left") == "KTLX 2019"
    assert [text.get_text() for text in field.texts] == ["25 km", "50 km", "75 km"]
    assert bar.get_ylabel() == "DBZH: Equivalent reflectivity factor H (dBZ)"


@pytest.mark.parametrize("name", moments.MOMENTS)
def test_every_moment_can_be_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppi, "PIXELS", 200)
    path = tmp_path / "ppi.png"
    ppi.save(sweep(name), path, dpi=40)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_empty_sweep_is_a_picture_too(tmp_path: Path) -> None:
    nothing = np.full((RAYS, GATES), np.nan)
    ppi.save(sweep("VRADH", values=nothing), tmp_path / "ppi.svg")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppi, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'lakeq\[plot\]'"):
        ppi.figure(sweep())
    assert util.find_spec("matplotlib")


def test_a_wrong_name_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.pdf, \.png, \.svg"):
        ppi.save(sweep(), tmp_path / "ppi.tiff")
    with pytest.raises(NotFound, match="no such folder"):
        ppi.save(sweep(), tmp_path / "nowhere" / "ppi.png")
    with pytest.raises(UnknownName, match="did you mean RHOHV"):
        moments.get("rhohw", "the moments")
