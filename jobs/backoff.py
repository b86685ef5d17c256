"""Says how long a failed job waits for its next attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from ropeline.jobs.durations import LONGEST, to_ms
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.context import JobContext

__all__ = ["Backoff", "Exponential", "Fixed", "check_backoff", "delay_ms"]

Backoff: TypeAlias = "Exponential | Fixed | Callable[[int, BaseException, JobContext], float | timedelta]"
"""How long to wait: a rule of ours, or a function of (attempt, error, job) that returns seconds or a timedelta.

`attempt` is the number of runs that have failed, 1 after the first one.
"""

_EXPECTED: Final = "Exponential(...), Fixed(...), seconds, or a function of (attempt, error, job) that returns seconds"
# 2 to the power of more does not fit a float; any cap is reached long before.
_MOST_DOUBLINGS: Final = 1000


@dataclass(frozen=True, slots=True)
class Exponential:
    """Waits a random time between 0 and `base` x 2^(attempt - 1), at most `cap`; seconds or timedeltas, 1 s and 1 h.

    The time is drawn from the whole range ("full jitter"): jobs that failed together do not come back together.
    """

    base: float | timedelta = 1.0
    cap: float | timedelta = 3600.0

    def __post_init__(self) -> None:
        base = to_ms("base", self.base, least=1)
        if to_ms("cap", self.cap, least=1) < base:
            raise ConfigurationError("cap", self.cap, f"at least base, {self.base}")

    def ceiling_ms(self, attempt: int) -> float:
        """The longest wait after this many failed attempts."""
        base, cap = to_ms("base", self.base), to_ms("cap", self.cap)
        return min(cap, math.ldexp(base, min(attempt - 1, _MOST_DOUBLINGS)))


@dataclass(frozen=True, slots=True)
class Fixed:
    """Waits the same time after each failed attempt; seconds or a timedelta."""

    delay: float | timedelta

    def __post_init__(self) -> None:
        to_ms("delay", self.delay)


def check_backoff(field: str, backoff: object) -> Backoff:
    """Return a back-off as it is to be kept, a number or timedelta as Fixed; raises ConfigurationError for `field`."""
    if isinstance(backoff, Exponential | Fixed):
        return backoff
    if isinstance(backoff, int | float | timedelta) and not isinstance(backoff, bool):
        to_ms(field, backoff)
        return Fixed(backoff)
    # A class would be called with the attempt and give back an instance of itself.
    if not callable(backoff) or isinstance(backoff, type):
        raise ConfigurationError(field, backoff, _EXPECTED)
    return backoff


def delay_ms(
    backoff: Backoff,
    attempt: int,
    error: BaseException,
    job: JobContext,
    *,
    random: Callable[[], float] = random.random,
) -> int:
    """Milliseconds until the next attempt, after `attempt` (1 or more) failed ones of which `error` ended the last.

    `random` returns a number from 0 to 1. Raises ConfigurationError when a function's answer is not a time of at least 0
    and at most ten years, and whatever the function raises.
    """
    if isinstance(backoff, Exponential):
        return round(random() * backoff.ceiling_ms(attempt))
    if isinstance(backoff, Fixed):
        return to_ms("delay", backoff.delay)
    return to_ms("backoff", backoff(attempt, error, job), most=LONGEST)
