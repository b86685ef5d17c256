"""The settings of a queue as users write them, in seconds, and as a broker keeps them, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ropeline.jobs.durations import to_ms
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.options import Seconds
    from ropeline.jobs.records import QueueSettings

__all__ = ["NAMES", "settings_changes", "shown_settings"]

_TIMES: Final = {
    "per": "period", "ageing": "ageing", "dead_age": "dead_age", "cancelled_age": "cancelled_age", "parked_age": "parked_age",
}  # fmt: skip
_COUNTS: Final = ("most_bytes", "rate", "dead_count", "dead_bytes", "completed_count")
_LARGEST: Final = (1 << 53) - 1
NAMES: Final = (
    "most_bytes", "rate", "per", "ageing", "dead_age", "dead_count", "dead_bytes", "cancelled_age", "completed_count", "parked_age",
)  # fmt: skip
"""Every setting, as users call it."""


def settings_changes(changes: Mapping[str, Seconds]) -> dict[str, int]:
    """What a broker is to change. Times in seconds or timedeltas; counts, and bytes, as whole numbers; 0 for no limit.

    Raises ConfigurationError, which names the setting, the value and what would be right.
    """
    made: dict[str, int] = {}
    for name, value in changes.items():
        if name in _TIMES:
            made[_TIMES[name]] = to_ms(name, value, least=1 if name.endswith("_age") else 0)
        elif name not in _COUNTS:
            raise ConfigurationError("setting", name, f"one of: {', '.join(NAMES)}")
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise ConfigurationError(name, value, "a whole number of 0 or more; 0 is no limit")
        else:
            made[name] = value
    if made.get("rate") and not made.get("period"):
        raise ConfigurationError("per", changes.get("per", 0), "the seconds in which `rate` jobs may begin; give both")
    return made


def shown_settings(settings: QueueSettings) -> dict[str, int | float]:
    """Every setting under the name that users give it; times in seconds."""
    kept = settings._asdict()
    shown = {name: kept[_TIMES[name]] / 1000 if name in _TIMES else kept[name] for name in NAMES}
    return {name: int(value) if value == int(value) else value for name, value in shown.items()}
