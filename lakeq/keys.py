"""How the keys of an archive are made: a template that selects objects by site and time.

    s3://bucket/{date:%Y/%m/%d}/{site}/{site}{time:%Y%m%d_%H%M%S}{suffix}

`{name}` stands for any text without a slash, the same wherever the name comes again;
`{name:%Y...}` for a part of the object's time in UTC. What is asked for fills the template from
the left as far as it goes, so only the folders that can hold a wanted object are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import product

from lakeq.errors import UsageError

DIRECTIVES: Mapping[str, tuple[str, str]] = {  # what each matches, and its unit
    "%Y": (r"\d{4}", "day"),
    "%m": (r"\d{2}", "day"),
    "%d": (r"\d{2}", "day"),
    "%j": (r"\d{3}", "day"),
    "%H": (r"\d{2}", "hour"),
    "%M": (r"\d{2}", "second"),
    "%S": (r"\d{2}", "second"),
}
MAX_PREFIXES = 200_000  # 1,000 sites for half a year; more is a slip of the pen
_OPTIONS = {"--site": {"site"}, "--path-row": {"path", "row"}}  # of the command, and their fields
_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)(?::([^{}]*))?\}")
_DAY = timedelta(days=1)
_STEPS = {"day": _DAY, "hour": timedelta(hours=1)}

Moment = str | date | datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects are asked for: values of fields, and times from `start` until before `end`."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(
        cls,
        values: Mapping[str, Sequence[str]],
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Wanted:
        """From what a user gives: a date or a time, UTC unless it says otherwise.

        A date as `end` includes that day; a time is excluded itself. Without an `end` a date as
        `start` means up to now.
        """
        first = None if start is None else moment(start, "--from")
        last = None if end is None else moment(end, "--to", whole_day=True)
        if first and last and last <= first:
            what = f"nothing lies from {first.isoformat()} until before {last.isoformat()}"
            raise UsageError(what, "--from and --to", "a time given as --to is excluded itself")
        return cls({name: tuple(given) for name, given in values.items() if given}, first, last)

    def includes(self, found: Mapping[str, str], time: datetime | None) -> bool:
        """Whether an object with these fields and of this time is asked for."""
        if any(found.get(name) not in given for name, given in self.values.items()):
            return False
        if time is None:
            return True
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


def moment(value: Moment, where: str, *, whole_day: bool = False) -> datetime:
    """The instant that a date or time means; with `whole_day` a date means the end of its day."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            value = _time(str(value), where)
    if not isinstance(value, datetime):
        midnight = datetime(value.year, value.month, value.day, tzinfo=UTC)
        return midnight + _DAY if whole_day else midnight
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _time(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        hint = "write 2019-07-15 or 2019-07-15T12:00Z"
        raise UsageError(f"neither a date nor a time: {text!r}", where, hint) from error


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    format: str  # empty for a field of text

    @property
    def unit(self) -> str:
        """The finest unit of time in it; empty for text."""
        units = [DIRECTIVES[d][1] for d in re.findall(r"%.", self.format)]
        return next((u for u in ("second", "hour", "day") if u in units), "")


class KeyTemplate:
    """The template of an archive's keys."""

    def __init__(self, text: str) -> None:
        """Raises `ValueError` that says what is wrong with `text`."""
        self.text = text
        self._parts = list(_parts(text))
        self._pattern = re.compile("".join(_patterns(self._parts)), re.DOTALL)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields of text."""
        found = (part.name for part in self._parts if isinstance(part, _Field) and not part.format)
        return tuple(dict.fromkeys(found))

    @property
    def timed(self) -> bool:
        """Whether keys tell a time."""
        return any(isinstance(part, _Field) and part.format for part in self._parts)

    def match(self, uri: str) -> tuple[dict[str, str], datetime | None] | None:
        """The fields and the time that the name of an object tells, or None when it has another."""
        found = self._pattern.fullmatch(uri)
        if found is None:
            return None
        groups = found.groupdict()
        texts = {name: value for name, value in groups.items() if not name.startswith("t_")}
        time = self._time_of(groups)
        return None if self.timed and time is None else (texts, time)

    def _time_of(self, groups: Mapping[str, str]) -> datetime | None:
        told: dict[str, str] = {}
        for name, value in groups.items():
            if name.startswith("t_"):
                told[f"%{name[-1]}"] = value  # the last one counts, it is the most exact
        if "%j" in told:
            told = {key: value for key, value in told.items() if key not in ("%m", "%d")}
        try:
            time = datetime.strptime(" ".join(told.values()), " ".join(told))  # noqa: DTZ007  # UTC next
        except ValueError:
            return None
        return time.replace(tzinfo=UTC) if "%Y" in told else None

    def prefixes(self, wanted: Wanted) -> Iterator[str]:
        """The folders to list, in order: as few and as deep as the template allows.

        Raises `UsageError` when nothing narrows the archive down.
        """
        start, stop = self._head(wanted)
        depth = sum(isinstance(part, _Field) for part in self._parts[:stop])
        if not depth:
            options = [o for o, names in _OPTIONS.items() if names <= set(self.fields)]
            options += ["--from"] if self.timed else []
            what = "nothing narrows down which objects of the archive are meant"
            raise UsageError(what, self.text, f"say {' or '.join(options)}")
        seen = set()
        for values in start:
            if (prefix := self._filled(values, stop)) not in seen:
                seen.add(prefix)
                yield prefix

    def _head(self, wanted: Wanted) -> tuple[Iterable[tuple[datetime | None, dict[str, str]]], int]:
        """Times and values to fill in, and the part of the template where filling ends."""
        stop = 0
        names: list[str] = []
        step = None
        for part in self._parts:
            if isinstance(part, _Field):
                if part.format and (part.unit == "second" or wanted.start is None):
                    break
                if not part.format and part.name not in wanted.values:
                    break
                step = step if step == "hour" else part.unit or step
                names += [part.name] if not part.format else []
            stop += 1
        names = list(dict.fromkeys(names))
        times = _times(wanted, step) if step else [None]
        count = len(times)
        for name in names:
            count *= len(wanted.values[name])
        if count > MAX_PREFIXES:
            what = f"{count:,} folders would have to be listed"
            raise UsageError(what, self.text, "ask for fewer sites or a shorter time")
        choices = product(*(wanted.values[name] for name in names))
        filled = [dict(zip(names, choice, strict=True)) for choice in choices]
        return ((time, values) for time in times for values in filled), stop

    def _filled(self, values: tuple[datetime | None, dict[str, str]], stop: int) -> str:
        time, texts = values
        filled = "".join(
            part
            if isinstance(part, str)
            else time.strftime(part.format)
            if part.format and time is not None
            else texts[part.name]
            for part in self._parts[:stop]
        )
        return filled[: filled.rindex("/") + 1]


def _times(wanted: Wanted, step: str) -> list[datetime | None]:
    assert wanted.start is not None
    end = wanted.end or datetime.now(UTC) + _DAY
    at = wanted.start.replace(minute=0, second=0, microsecond=0)
    at = at if step == "hour" else at.replace(hour=0)
    count = max(0, -((at - end) // _STEPS[step]))
    if count > MAX_PREFIXES:
        what = f"{count:,} folders would have to be listed"
        raise UsageError(what, "--from and --to", "ask for a shorter time")
    return [at + number * _STEPS[step] for number in range(count)]


def _parts(text: str) -> Iterator[str | _Field]:
    bucket, slash, _ = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not slash or "{" in bucket or not bucket:
        raise ValueError("a template begins with s3://BUCKET/")
    at = 0
    for found in _FIELD.finditer(text):
        yield from _plain(text[at : found.start()])
        name, format_ = found[1], found[2]
        rest = re.sub("|".join(DIRECTIVES), "", format_ or "")
        if "%" in rest or (format_ is not None and rest == format_):
            known = ", ".join(DIRECTIVES)
            raise ValueError(f"{found[0]}: a time is written with {known}")
        yield _Field(name, format_ or "")
        at = found.end()
    yield from _plain(text[at:])


def _plain(text: str) -> Iterator[str]:
    if "{" in text or "}" in text:
        raise ValueError(f"{text!r}: a field is {{name}} or {{name:%Y/%m/%d}}")
    if text:
        yield text


def _patterns(parts: Iterable[str | _Field]) -> Iterator[str]:
    known: set[str] = set()
    number = 0
    for part in parts:
        if isinstance(part, str):
            yield re.escape(part)
        elif part.format:
            for piece in re.split(r"(%.)", part.format):
                number += 1
                yield (
                    f"(?P<t_{number}_{piece[1]}>{DIRECTIVES[piece][0]})"
                    if (piece in DIRECTIVES)
                    else re.escape(piece)
                )
        elif part.name in known:
            yield f"(?P={part.name})"
        else:
            known.add(part.name)
            yield f"(?P<{part.name}>[^/]*)"
