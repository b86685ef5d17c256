"""Remembers which admitted visitors the store has confirmed lately, so that they pass without asking it again.

What this costs is bounded: a session that ends early (revoked, left, flushed elsewhere) passes in this process until the
change has been heard of, and `recheck` at the longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["RecentVisits"]

_MOST: Final = 200_000


class RecentVisits:
    """Who passes until when. `recheck`: seconds, 0 remembers nobody. `monotonic`: replaced by tests."""

    __slots__ = ("_ends", "_monotonic", "_recheck")

    def __init__(self, recheck: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._recheck = recheck
        self._monotonic = monotonic
        self._ends: dict[bytes, float] = {}

    def remember(self, id: bytes, left: float) -> None:
        """The store has just confirmed this visit, whose hold has `left` seconds to go.

        They are counted in this process's time from here on, of which the tenant clock never shows more.
        """
        if self._recheck == 0:
            return
        if len(self._ends) >= _MOST:
            for oldest in list(self._ends)[: _MOST // 2]:
                del self._ends[oldest]
        self._ends[id] = self._monotonic() + min(self._recheck, left)

    def passes(self, id: bytes) -> bool:
        """Whether the visit passes without asking the store."""
        return self._ends.get(id, 0.0) > self._monotonic()

    def forget(self, id: bytes) -> None:
        """The visit has ended, or the store has to be asked again."""
        self._ends.pop(id, None)
