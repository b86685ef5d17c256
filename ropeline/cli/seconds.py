"""Reads seconds from a command line."""

from __future__ import annotations

from ropeline.jobs.durations import LONGEST, to_ms
from ropeline.lua.errors import ConfigurationError

__all__ = ["milliseconds"]


def milliseconds(field: str, text: str, *, least: int = 0) -> int:
    """The milliseconds of a number of seconds, at least `least` ms; raises ConfigurationError."""
    try:
        return to_ms(field, float(text), least=least)
    except (ValueError, ConfigurationError):
        raise ConfigurationError(field, text, f"seconds, from {least / 1000:g} to {LONGEST // 1000:,}") from None
