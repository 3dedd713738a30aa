"""Kernels: compiled once, kept as machine code, called without numba, and never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from lakeq import _jit, _jit_notice, _native
from lakeq._jit import i64, kernel, packed, part

I64 = npt.NDArray[np.int64]


class Pair(NamedTuple):
    left: I64
    right: npt.NDArray[np.int32]


@part
def twice(number: int) -> int:
    return 2 * number


def dot(pair: Pair, grid: npt.NDArray[np.uint8], factor: int) -> int:
    total = i64(0)
    for i in range(pair.left.size):
        total += twice(pair.left[i]) * pair.right[i]
    for i in range(grid.shape[0]):
        for k in range(grid.shape[1]):
            total += grid[i, k] * factor
    return total


def fill(out: I64, value: int) -> None:
    for i in range(out.size):
        out[i] = value


def allocates(size: int) -> int:
    return np.ones(size, np.int64).sum()


@pytest.fixture(params=["native", "numba"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder for machine code, and every way to call it."""
    wanted = str(tmp_path) if request.param == "native" else "numba"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_jit.FOLDER_VARIABLE, wanted)
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        _jit._folder.cache_clear()
        yield tmp_path
    _jit._folder.cache_clear()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(_jit.FOLDER_VARIABLE, str(tmp_path))
    _jit._folder.cache_clear()
    yield tmp_path
    _jit._folder.cache_clear()


def test_a_kernel_computes_what_python_does(folder: Path) -> None:
    pair = Pair(np.arange(5), np.arange(5, dtype=np.int32) - 2)
    grid = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = int((2 * pair.left * pair.right).sum() - 3 * grid.sum(dtype=np.int64))
    compiled = kernel(dot)
    assert compiled(pair, grid, -3) == expected
    assert compiled(packed(pair), grid, -3) == expected


def test_a_kernel_writes_into_its_arrays(folder: Path) -> None:
    out = np.zeros(4, np.int64)
    assert kernel(fill)(out, 7) is None
    assert out.tolist() == [7, 7, 7, 7]


def test_a_kernel_that_allocates_runs_through_numba(folder: Path) -> None:
    assert kernel(allocates)(9) == 9
    assert not list(folder.glob("*.kernel"))


def test_kept_code_is_loaded_and_not_compiled_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(fill)(np.zeros(1, np.int64), 1)
    assert len(list(kept.glob("*.kernel"))) == 1
    monkeypatch.setattr(_jit, "_machine_code", None)
    out = np.zeros(2, np.int64)
    kernel(fill)(out, 3)
    assert out.tolist() == [3, 3]


@pytest.mark.parametrize("change", ["stamp", "byte", "cut", "empty"])
def test_code_that_is_stale_or_damaged_is_compiled_again(
    kept: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(fill)(np.zeros(1, np.int64), 1)
    (path,) = kept.glob("*.kernel")
    whole = path.read_bytes()
    if change == "stamp":
        monkeypatch.setattr(_jit, "_stamp", lambda _module: "another processor")
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes({"byte": flipped, "cut": whole[:200], "empty": b""}[change])
    assert _native.load(path, _jit._stamp(__file__)) is None
    out = np.zeros(2, np.int64)
    kernel(fill)(out, 3)
    assert out.tolist() == [3, 3]
    assert _native.load(path, _jit._stamp(__file__)) is not None


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    for mode in (0o777, 0o775):
        tmp_path.chmod(mode)
        assert _native.writable(tmp_path) is None
    tmp_path.chmod(0o755)
    assert _native.writable(tmp_path) == tmp_path


def test_it_is_told_once_that_kernels_are_compiled(kept: Path) -> None:
    told: list[int] = []
    _jit_notice.before_compiling.append(lambda: told.append(1))
    kernel(fill)(np.zeros(1, np.int64), 1)
    kernel(dot)(Pair(np.arange(1), np.zeros(1, np.int32)), np.zeros((1, 1), np.uint8), 1)
    assert told == [1]


def test_a_read_with_kept_code_does_not_import_numba(kept: Path) -> None:
    code = (
        "import sys, numpy as np; from lakeq.formats._vcf_calls import order_by_rank as kernel;"
        "kernel(np.zeros(2, np.int32), np.zeros(1, np.int32), np.zeros(2, np.int64),"
        "np.zeros(2, np.int32)); print('numba' in sys.modules)"
    )
    environment = {**os.environ, _jit.FOLDER_VARIABLE: str(kept)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert runs == ["True", "False"]
