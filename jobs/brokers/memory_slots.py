"""The slots and tokens of one limit key in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ropeline.jobs.records import (
    Limit,
)

__all__ = ["MemorySlots"]

_FULL: Final = 65_535


@dataclass(slots=True)
class MemorySlots:
    """What is known of a limit key.

    `given`: how many of its jobs are pending or active; each has a slot. `held`: rank and id of those that have none, in the
    order in which they get one. `tag`: its last job's. `tokens`: those of wall ms `at`, by the terms of who asked then.
    """

    at: int
    given: int = 0
    held: list[tuple[float, bytes]] = field(default_factory=list)
    tag: float = 0
    tokens: float = _FULL

    def refill(self, now: int, limit: Limit) -> None:
        if limit.rate:
            passed = max(0, now - self.at)
            self.tokens = min(limit.rate, self.tokens + passed * limit.rate / limit.period)
            self.at = now

    def has_room(self, now: int, limit: Limit) -> bool:
        """Whether a job with these terms may have a slot."""
        self.refill(now, limit)
        return (not limit.most or self.given < limit.most) and (not limit.rate or self.tokens >= 1)

    def give(self, limit: Limit) -> None:
        self.given += 1
        self.tokens -= 1 if limit.rate else 0
