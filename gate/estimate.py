"""Foretells a wait as a range, from the admissions that were measured and nothing else."""

import math
from typing import NamedTuple

LEAST_SAMPLES = 3
LONGEST_SECONDS = 86_400


class WaitEstimate(NamedTuple):
    """Seconds between which the turn is expected; `low` is at most `high`, and `high` at least 1."""

    low: int
    high: int

    @property
    def middle(self) -> float:
        """The one number where only one can be used, seconds."""
        return (self.low + self.high) / 2


def estimate_wait(position: int, *, fast: float, slow: float, samples: int, closed: bool) -> WaitEstimate | None:
    """How long until `position` (people ahead + 1) is let in, or None: nothing is known that would not be a guess.

    `fast`, `slow`: admissions per second, averaged over a short and a long time; the range spans both, and the spread of
    that many chance events. `samples`: how many measurements they rest on. `closed`: nobody is admitted for now. A wait
    of more than a day is not foretold.
    """
    slower, faster = min(fast, slow), max(fast, slow)
    if closed or samples < LEAST_SAMPLES or position < 1 or slower <= 0:
        return None
    spread = math.sqrt(position)
    high = (
        math.ceil((position + spread) / slower) if slower * LONGEST_SECONDS > position + spread else LONGEST_SECONDS + 1
    )
    if high > LONGEST_SECONDS:
        return None
    return WaitEstimate(int((position - spread) / faster), max(1, high))
