"""Turns the times that users write into milliseconds: seconds, timedeltas, and moments with a time zone."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["LONGEST", "moment_ms", "to_ms"]

LONGEST: Final = 3_652 * 86_400_000
"""Ten years in milliseconds: more is a mistake."""

# A broker has 42 bits for a time, which end in 2109.
_LATEST: Final = 4_102_444_800_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_NONE: Final = timedelta(0)
_TEN_YEARS: Final = timedelta(milliseconds=LONGEST)


def to_ms(field: str, value: object, *, least: int = 0, most: int = LONGEST) -> int:
    """The whole milliseconds of seconds or a timedelta, rounded up; raises ConfigurationError outside of `least` to `most` (ms)."""
    if isinstance(value, timedelta):
        ms = -(-value // _MS) if _NONE <= value <= _TEN_YEARS else -1
    # Compared before anything is computed: NaN is not above 0, and a huge number does not fit a float.
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST:
        # Rounded first, so that 0.1 s is 100 ms and not 101; ten years in ms are exact to less than a thousandth.
        ms = math.ceil(round(value * 1000, 3))
    else:
        ms = -1
    if not least <= ms <= most:
        raise ConfigurationError(
            field, value, f"seconds or a timedelta, from {least / 1000:g} to {most / 1000:,.10g} s"
        )
    return ms


def moment_ms(field: str, value: datetime) -> int:
    """The wall ms of a moment, rounded up and at least 1; raises ConfigurationError without a time zone, and after 2099."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ConfigurationError(field, value, "a datetime with a time zone, such as datetime.now(UTC)")
    ms = -((_EPOCH - value) // _MS)
    if ms > _LATEST:
        raise ConfigurationError(field, value, "a moment before the year 2100")
    return max(1, ms)
