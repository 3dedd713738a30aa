"""Arrow arrays of Python values equal those that pyarrow makes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.formats._arrow_values import array_of

STRUCT = pa.struct([("name", pa.string()), ("size", pa.int64()), ("scale", pa.float64())])
PART = st.fixed_dictionaries(
    {
        "name": st.none() | st.text(),
        "size": st.none() | st.integers(-(2**63), 2**63 - 1),
        "scale": st.none() | st.floats(allow_nan=False),
    }
)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  # made UTC below
KINDS: list[tuple[pa.DataType, Any]] = [
    (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text()),
    (pa.binary(), st.binary()),
    (pa.date32(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    (pa.timestamp("us", tz="UTC"), TIMES.map(lambda at: at.replace(tzinfo=UTC))),
    (STRUCT, PART),
    (pa.list_(STRUCT), st.lists(st.none() | PART, max_size=4)),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[str(kind)[:20] for kind, _ in KINDS])
@given(data=st.data())
def test_values_come_back(kind: pa.DataType, values: Any, data: st.DataObject) -> None:
    given_ = data.draw(st.lists(st.none() | values, max_size=20))
    made = array_of(given_, kind)
    made.validate(full=True)
    assert made.equals(pa.array(given_, kind))


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, pyarrow as pa; from lakeq.formats._arrow_values import array_of; "
        "array_of(['a', None], pa.string()); array_of([1], pa.int32()); "
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
