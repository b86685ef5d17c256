"""Measures how a tenant's site answers the requests that this process lets through, for the closed loop.

Counted are HTTP requests of admitted visitors, from when the site gets them until it begins its answer: how long the answer
then is, or how slow the visitor's connection, is not the site's affair. WebSockets and event streams
(`text/event-stream`) are not counted. A call fails when its status is 500 or more, or when there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from ropeline.gate.closed_loop import ClosedLoop
from ropeline.lua.measured import Measured

__all__ = ["Meter"]

_NEAR: Final = 0.75
_FAILED_FROM: Final = 500
# ASGI has header names in lower case.
_TYPE: Final = b"content-type"
_STREAM: Final = b"text/event-stream"


class Meter:
    """Counts of one process for one version of a tenant's settings. `monotonic`: seconds, replaced by tests."""

    __slots__ = ("_calls", "_failed", "_near", "_near_from", "_rules", "_slow", "_slow_from", "now")

    def __init__(self, rules: ClosedLoop, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self.now = monotonic
        self._rules = rules
        self._slow_from = rules.latency
        self._near_from = rules.latency * _NEAR
        self._calls = self._near = self._slow = self._failed = 0

    def answered(self, status: int, headers: Iterable[tuple[bytes, bytes]], begun: float) -> None:
        """The site begins its answer to a request that it got at `begun`, with this status and these headers."""
        if status >= _FAILED_FROM:
            self.failed()
            return
        took = self.now() - begun
        for name, value in headers:
            if name == _TYPE and value.startswith(_STREAM):
                return
        self._calls += 1
        if took > self._near_from:
            self._near += 1
            if took > self._slow_from:
                self._slow += 1

    def failed(self) -> None:
        """The site gave no answer, or one that says that it failed."""
        self._calls += 1
        self._failed += 1

    def take(self, *, version: int, quota: int) -> Measured:
        """What was counted since this was asked last. `version`, `quota`: as in Measured."""
        rules = self._rules
        measured = Measured(
            version,
            quota,
            self._calls,
            self._near,
            self._slow,
            self._failed,
            interval=round(rules.interval * 1000),
            slow_share=(100 - rules.percentile) / 100,
            failed_share=rules.error_share / 100,
            step=rules.step,
            factor=rules.factor,
        )
        self._calls = self._near = self._slow = self._failed = 0
        return measured
