"""Writes moments and lengths of time for people, and moments for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["age", "iso_utc", "until_or_since"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The unit, its ms, and from how many of them on the next one is used.
_UNITS: Final = (("s", 1_000, 100), ("min", 60_000, 100), ("h", 3_600_000, 48))
_DAY: Final = 86_400_000


def age(milliseconds: int) -> str:
    """A length of time in one unit: `7 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size, most in _UNITS:
        if milliseconds < size * most:
            return f"{max(0, milliseconds) // size} {unit}"
    return f"{milliseconds // _DAY} d"


def until_or_since(moment: int, now: int) -> str:
    """How far a moment is from now, both wall ms: `in 7 s`, `7 s ago`."""
    return f"in {age(moment - now)}" if moment > now else f"{age(now - moment)} ago"


def iso_utc(moment: int) -> str:
    """A moment of wall ms as ISO 8601 in UTC, to the ms."""
    return (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
