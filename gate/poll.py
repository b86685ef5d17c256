"""Says when a waiting visitor is to ask again."""

import math
from collections.abc import Callable
from random import random

from ropeline.gate.settings import TenantSettings

_JITTER = 0.3


class PollPolicy:
    """The poll policy of one tenant; every answer is in seconds. `rng`: a number from 0 to below 1, replaced by tests.

    Each answer is lengthened by up to three tenths at random, or those who came together would ask together for ever.
    """

    __slots__ = ("_ceiling", "_confirm", "_divisor", "_floor", "_rng")

    def __init__(self, settings: TenantSettings, rng: Callable[[], float] = random) -> None:
        self._floor = settings.poll.floor
        self._ceiling = settings.poll.ceiling
        self._divisor = settings.poll.divisor
        # A place that nobody confirms in time is lost, so at the latest after a quarter of that time.
        self._confirm = min(1.0, settings.confirm_within / 12)
        self._rng = rng

    def waiting(self, wait: float | None, position: int) -> float:
        """For a visitor in line. `wait`: estimated seconds; None, not known, counts as one second for each one ahead."""
        expected = float(position - 1) if wait is None else wait
        interval = min(max(expected / self._divisor, self._floor), self._ceiling)
        return interval * (1 + _JITTER * self._rng())

    def unconfirmed(self) -> float:
        """For a client whose place counts only once it has come back: one to three seconds."""
        return self._confirm * (1 + 2 * self._rng())

    def prequeue(self, until_start: float) -> float:
        """For a visitor before the start of an event, which is that many seconds away.

        Who would ask after the start anyhow asks within a third of the ceiling from it: soon, and not all at once.
        """
        spread = self._ceiling / 3 * self._rng()
        return min(self.idle(), max(self._floor, until_start) + spread)

    def idle(self) -> float:
        """While asking sooner changes nothing: the tenant is paused or recovering, the store is gone, the tab is hidden."""
        return self._ceiling * (1 + _JITTER * self._rng())


def retry_after(interval: float) -> int:
    """The Retry-After header for an interval: whole seconds, never sooner."""
    return max(1, math.ceil(interval))
