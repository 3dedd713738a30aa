"""Which radar volume is meant: a site and a time, exact to the second or the nearest one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    from lakeq.query import Result

NAMED_TIMES = 4  # volume times that an error names
SECOND = timedelta(seconds=1)
_STAMP = re.compile(r"(\d{8})[_-](\d{6})")

VOLUMES = "SELECT * FROM nexrad.volumes WHERE site = $site AND date BETWEEN $first AND $last"
DAYS = "SELECT DISTINCT date FROM nexrad.volumes WHERE site = $site"
SITES = "SELECT DISTINCT site FROM nexrad.volumes"

Row = Mapping[str, Any]


class Ask(Protocol):
    """What runs a query: `Lake.sql`."""

    def __call__(self, query: str, params: Mapping[str, object] | None = None) -> Result:
        """Run one SELECT with its parameters."""
        ...


def volume(
    ask: Ask, rows: Sequence[Row], site: str, time: datetime, tolerance: timedelta | None
) -> Row:
    """The volume of `rows`, all of one site, that starts at `time`.

    A `time` of whole seconds names the volume that starts within that second, or whose object has
    that time in its name, which can be seconds off what the volume itself says. With a `tolerance`
    it is the volume that starts nearest to `time`, no farther from it than that; of two equally
    near the earlier. Raises `NotFound`, which names the nearest volume times, or the days or the
    sites that there are.
    """
    near = sorted(rows, key=lambda row: (abs(row["volume_time"] - time), row["volume_time"]))
    if tolerance is None:
        found = [row for row in near if _starts(row["volume_time"], time)]
        found = found or [row for row in near if _named(str(row["object"])) == time]
    else:
        found = [row for row in near if abs(row["volume_time"] - time) <= tolerance]
    if found:
        return found[0]
    what = f"no volume of {site} starts at {written(time)}"
    if tolerance is not None:
        what = f"no volume of {site} starts within {tolerance} of {written(time)}"
    raise NotFound(what, "the table of volumes", _nearest(near) or _elsewhere(ask, site, time))


def _starts(start: datetime, time: datetime) -> bool:
    """Whether a volume that starts at `start` is the one of `time`, to the second or finer."""
    if time.microsecond == 0:
        return time <= start < time + SECOND
    return abs(start - time) < timedelta(milliseconds=1)


def _named(name: str) -> datetime | None:
    """The time in the name of an object, such as KLBB20160601_150025_V06."""
    match = _STAMP.search(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1] + match[2], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _nearest(near: Sequence[Row]) -> str:
    if not near:
        return ""
    times = sorted(row["volume_time"] for row in near[:NAMED_TIMES])
    named = ", ".join(map(written, times))
    return f"the nearest start at {named}; or take the nearest: tolerance=, --within"


def _elsewhere(ask: Ask, site: str, time: datetime) -> str:
    """What there is when the days around `time` have nothing: the site's days, or the sites."""
    days = [day for (day,) in ask(DAYS, {"site": site}).rows() if isinstance(day, date)]
    if days:
        near = sorted(days, key=lambda day: (abs(day - time.date()), day))
        return f"days of {site} in the lake: {', '.join(map(str, sorted(near[:NAMED_TIMES])))}"
    sites = sorted(str(name) for (name,) in ask(SITES).rows())
    return f"sites in the lake: {', '.join(sites)}" if sites else "the lake has no volume yet"


def candidates(ask: Ask, site: str, time: datetime, tolerance: timedelta | None) -> Result:
    """The volumes of `site` on the days that can hold the one meant, and on those beside them."""
    far = timedelta(days=1) if tolerance is None else max(tolerance, timedelta(days=1))
    return ask(VOLUMES, {"site": site, "first": _day(time, -far), "last": _day(time, far)})


def _day(time: datetime, away: timedelta) -> date:
    try:
        return (time + away).date()
    except OverflowError:
        return time.date()


def moment_of(time: object) -> datetime:
    """`time` as a time of UTC: text of ISO 8601, a datetime, or one of numpy or pandas.

    Without an offset it is UTC already. Raises `UsageError` for what is no time.
    """
    given = str(time) if type(time).__module__ == "numpy" else time
    try:
        given = datetime.fromisoformat(given.strip()[:26]) if isinstance(given, str) else given
    except ValueError:
        given = None
    if not isinstance(given, datetime):
        raise UsageError(f"not a time: {time!r}", "time", "write it so: 2019-07-15T12:00:37")
    aware = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    return datetime.fromtimestamp(aware.timestamp(), UTC)  # pandas' own class counts nanoseconds


def written(time: datetime) -> str:
    """`time` as errors and titles write it: UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
