"""Says when a cron line means: the next instant after one, the latest before one, across time zones and changes of clocks.

A line names wall times of its zone, or a distance (`@every 5m`). An instant is a UTC time in ms.

- Each wall time that the line names is one instant. One that occurs twice when clocks go back is its first occurrence.
- One that is skipped when clocks go forward is the instant at which they do; several of them are that one instant.
- A distance knows no clocks: its instants are the multiples of the distance since 1970-01-01 UTC, on every machine.

So `*/5 * * * *` rests for the second pass of a repeated hour; `@every 5m`, or the zone UTC (the default), does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["LATEST_INSTANT", "Schedule", "instants_between", "parse_cron"]

LATEST_INSTANT: Final = 221_845_392_000_000
"""The end of the year 8999: no line means anything later."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_LINE: Final = 200
_MILLISECOND: Final = timedelta(milliseconds=1)
_SECOND: Final = timedelta(seconds=1)
_LONGEST_DISTANCE: Final = 366 * 86_400_000
_DISTANCE: Final = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_UNITS: Final = (86_400_000, 3_600_000, 60_000, 1000)
_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MORE: Final = "*, a range (1-5), a step (*/5, 1-30/2) or a list of these (1,5)"
_FIELDS: Final = {
    "minute": f"a number from 0 to 59, {_MORE}",
    "hour": f"a number from 0 to 23, {_MORE}",
    "day-of-month": f"a number from 1 to 31, L (the last day), LW (the last weekday), {_MORE}",
    "month": f"a number from 1 to 12, JAN to DEC, {_MORE}",
    "day-of-week": f"a number from 0 (Sunday) to 7 (Sunday too), SUN to SAT, MON#2 (the second), 5L (the last), {_MORE}",
}
_NAMED: Final = {
    **{name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])},
    **{
        name: number
        for number, name in enumerate(
            ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
        )
    },
}
_STEPPED_RANGE: Final = re.compile(r"(\w+)-(\w+)/0*[1-9]\d*(?=$|[ ,])", re.ASCII)
# These differ from machine to machine, and schedulers on two of them would not agree.
_LOCAL_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})


class Schedule(Protocol):
    """When something is to happen: what `parse_cron` returns. The same line and zone mean the same on every machine."""

    def next_after(self, instant: int) -> int | None:
        """The first instant later than `instant`; None when there is none before the year 9000."""

    def latest_at(self, instant: int) -> int | None:
        """The last instant that is not later than `instant`; None when there is none since 1970."""


def parse_cron(line: str, zone: str = "UTC", *, field: str = "cron") -> Schedule:
    """What a cron line means: five fields, `@hourly` to `@yearly`, or `@every` and a distance (`90s`, `5m`, `1h30m`, `2d`).

    Fields as in Debian's cron: when both days are restricted (neither begins with a star) one of them has to match. `zone`:
    a name of the IANA data, which this machine must have. `field`: what the line is called in an error.

    Raises:
        ConfigurationError: names the field, its value and what would be right; also for a day that never comes.

    """
    tz = read_zone(zone, f"{field} zone")
    if len(line) > _LONGEST_LINE or not line.isascii() or not line.isprintable():
        raise ConfigurationError(field, line, f"at most {_LONGEST_LINE} printable ASCII characters, like '0 4 * * MON'")
    text = " ".join(line.split())
    if text.startswith("@every"):
        return _Distance(_read_distance(text.removeprefix("@every").strip(), field))
    if text.startswith("@"):
        if text.lower() not in _MACROS:
            raise ConfigurationError(field, line, f"@every with a distance, or one of {', '.join(_MACROS)}")
        text = _MACROS[text.lower()]
    _check_fields(text, field)
    # cronsim takes 5-5/10 for 5/10, which has no end.
    text = _STEPPED_RANGE.sub(lambda term: term[1] if _number(term[1]) == _number(term[2]) else term[0], text)
    return _WallTimes(text, tz)


def read_zone(zone: str, field: str = "zone") -> tzinfo:
    """The time zone of this name; raises ConfigurationError for one that this machine does not know."""
    if zone == "UTC":
        return UTC
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if zone not in _LOCAL_ZONES:
            return ZoneInfo(zone)
    raise ConfigurationError(field, zone, "UTC or an IANA name that this machine has data for, like Europe/Berlin")


def instants_between(schedule: Schedule, after: int, until: int, most: int) -> list[int]:
    """The latest instants, at most `most`, that are later than `after` and not later than `until`; the earliest first."""
    found: list[int] = []
    instant = schedule.latest_at(until)
    while instant is not None and instant > after and len(found) < most:
        found.append(instant)
        instant = schedule.latest_at(instant - 1)
    return found[::-1]


@dataclass(frozen=True, slots=True)
class _Distance:
    """Every multiple of `every` ms since 1970."""

    every: int

    def next_after(self, instant: int) -> int | None:
        found = (max(instant, -1) // self.every + 1) * self.every
        return found if found <= LATEST_INSTANT else None

    def latest_at(self, instant: int) -> int | None:
        return instant // self.every * self.every if instant >= 0 else None


@dataclass(frozen=True, slots=True)
class _WallTimes:
    """The instants of the wall times that a line of five fields names in a zone.

    Going up in wall times never goes down in instants: that is why the first that is late enough is the one. The wall
    times are walked without a zone, where each of them exists once.
    """

    text: str
    zone: tzinfo

    def next_after(self, instant: int) -> int | None:
        instant = max(instant, -1)
        if instant >= LATEST_INSTANT:
            return None
        # In a second pass the walk starts among wall times whose instants were in the first one; the walk leaves them behind.
        for wall in _walk(self.text, self._local(instant).replace(tzinfo=None)):
            found = self._instant_of(wall)
            if found > instant:
                return found if found <= LATEST_INSTANT else None
        return None

    def latest_at(self, instant: int) -> int | None:
        if instant < 0:
            return None
        local = self._local(min(instant, LATEST_INSTANT))
        # In a second pass, all that the first one reached lies behind, up to where the clocks would be without the change.
        start = local.replace(tzinfo=None) + (_offset(local.replace(fold=0)) - _offset(local))
        for wall in _walk(self.text, start.replace(microsecond=0) + _SECOND, reverse=True):
            found = self._instant_of(wall)
            if found <= instant:
                return found if found >= 0 else None
        return None

    def _local(self, instant: int) -> datetime:
        return (_EPOCH + timedelta(milliseconds=instant)).astimezone(self.zone)

    def _instant_of(self, wall: datetime) -> int:
        found = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        if found.astimezone(self.zone).replace(tzinfo=None) != wall:
            found = self._clocks_change_at(wall)
        return (found - _EPOCH) // _MILLISECOND

    def _clocks_change_at(self, wall: datetime) -> datetime:
        """The instant at which the clocks jump over `wall`: the first at which they show something later."""
        missing = wall.replace(tzinfo=self.zone)
        before, after = (missing.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
        while after - before > _SECOND:
            middle = before + (after - before) // _SECOND // 2 * _SECOND
            if middle.astimezone(self.zone).replace(tzinfo=None) > wall:
                after = middle
            else:
                before = middle
        return after


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)


def _walk(text: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """The wall times of a line after `start`, or before it, until none follows for fifty years."""
    try:
        yield from _cronsim()(text, start, reverse)
    except OverflowError:  # the calendar ends
        return


def _cronsim() -> type[CronSim]:
    try:
        from cronsim import CronSim
    except ImportError:
        raise ConfigurationError("cron", "no cronsim", "the package: run pip install 'ropeline[cron]'") from None
    return CronSim


@lru_cache(maxsize=1024)
def _check_fields(text: str, field: str) -> None:
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ConfigurationError(field, text, f"five fields ({', '.join(_FIELDS)}), got {len(parts)}")
    for index, (name, expected) in enumerate(_FIELDS.items()):
        alone = ["*"] * len(_FIELDS)
        alone[index] = parts[index]
        if not _is_read(" ".join(alone)):
            raise ConfigurationError(f"{field} {name}", parts[index], f"{expected}; in {text!r}")
    if not _is_read(text) or next(_walk(text, datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 - a wall time
        raise ConfigurationError(
            f"{field} day-of-month", parts[2], f"a day that comes in the months {parts[3]} ({text!r})"
        )


def _is_read(text: str) -> bool:
    read = _cronsim()
    from cronsim import CronSimError

    try:
        read(text, datetime(2000, 1, 1))  # noqa: DTZ001 - a wall time
    except CronSimError:
        return False
    return True


def _number(text: str) -> int:
    return _NAMED[text] if (text := text.upper()) in _NAMED else int(text)


def _read_distance(text: str, field: str) -> int:
    matched = _DISTANCE.fullmatch(text)
    groups = matched.groups() if matched else ()
    distance = sum(int(number or 0) * unit for number, unit in zip(groups, _UNITS, strict=False))
    if not 0 < distance <= _LONGEST_DISTANCE:
        raise ConfigurationError(f"{field} @every", text, "1s to 366d, as in 90s, 5m, 1h30m, 2d")
    return distance
