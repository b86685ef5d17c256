"""One delivery as its worker sees it, from the claim to the answer to its finish."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from ropeline.jobs.records import Claimed

__all__ = ["FENCE_MARGIN", "Run", "safe_seconds"]

FENCE_MARGIN: Final = 5.0
"""Seconds before the end of a lease at which its worker gives it up by itself: calls on their way, clocks that differ."""


def safe_seconds(lease: int) -> float:
    """How long after a call was sent the lease (ms) that it brought may be relied on; of a short lease, five sixths."""
    seconds = lease / 1000
    return seconds - min(FENCE_MARGIN, seconds / 6)


class Run:
    """A claimed job and what its worker knows of it. Times: seconds of this process's monotonic clock.

    `sent`: when the call that claimed it was sent first. `safe_until`: when the lease counts as lost unless it is renewed.
    `hard_end`: past it the lease is not renewed any more; moved when the run begins, whose timeout is known then.
    """

    __slots__ = (
        "claimed",
        "coroutine",
        "driver",
        "fence",
        "hard_end",
        "id",
        "is_cancelled",
        "is_ended",
        "is_given_up",
        "is_released",
        "is_stopped",
        "is_timed_out",
        "queue",
        "renewed",
        "safe_until",
        "started",
        "task",
        "thread",
        "was_told_lost",
    )

    def __init__(self, queue: str, claimed: Claimed, sent: float, safe_until: float, hard_end: float) -> None:
        self.queue = queue
        self.claimed = claimed
        self.id = claimed.id
        self.fence = claimed.fence
        self.renewed = sent
        self.safe_until = safe_until
        self.hard_end = hard_end
        self.task = ""
        """The task type, empty until the body was read."""
        self.started = 0.0
        self.driver: asyncio.Task[None] | None = None
        """What runs an async handler that is suspended."""
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread = 0
        """The thread that runs a sync handler, 0 none."""
        self.was_told_lost = False
        self.is_cancelled = False
        self.is_stopped = False
        """It was asked to end early."""
        self.is_timed_out = False
        self.is_released = False
        """The worker ends and has taken it from its handler, to hand it back."""
        self.is_given_up = False
        """Its finish was told although its handler goes on."""
        self.is_ended = False
        """Its finish is known, whether or not the store has it already; what the handler does now counts no more."""

    @property
    def is_lost(self) -> bool:
        """Whether the lease is somebody else's, or may be: it was not renewed in time."""
        return self.was_told_lost or time.monotonic() > self.safe_until
