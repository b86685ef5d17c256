"""Chooses the queue of the next claim: by weight, counted in jobs, or in strict order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["LARGEST_WEIGHT", "Shares", "read_queues"]

LARGEST_WEIGHT: Final = 1000
"""Highest weight of a queue; the lowest is 1."""


class Shares:
    """Divides a worker's claims among its queues. `weights`: 1 to 1,000 for each queue, in the order of `strict`.

    A queue of weight 6 gets twice the jobs of one of weight 3 while both have some. What a queue does not use goes to the
    others, and is not saved up for it. With `strict` a queue gets something only while all queues before it are empty.
    """

    def __init__(self, weights: Mapping[str, int], *, strict: bool = False) -> None:
        if not weights:
            raise ConfigurationError("queues", dict(weights), "at least one queue")
        for name, weight in weights.items():
            if not 1 <= weight <= LARGEST_WEIGHT:
                raise ConfigurationError(f"queues, {name}", weight, f"a weight from 1 to {LARGEST_WEIGHT}")
        self.queues: Final = tuple(weights)
        self.is_strict: Final = strict
        self._weights = dict(weights)
        # Jobs charged so far, each divided by its queue's weight: who is furthest behind is next.
        self._charged = dict.fromkeys(weights, 0.0)
        self._filled = set(weights)

    def choose(self) -> str | None:
        """The queue to claim from now, None when all are believed to be empty."""
        if len(self._filled) < 2:
            return next(iter(self._filled), None)
        if self.is_strict:
            return next(name for name in self.queues if name in self._filled)
        return min((name for name in self.queues if name in self._filled), key=self._charged.__getitem__)

    def charge(self, queue: str, jobs: int) -> None:
        """Count jobs that were asked for, so that a claim under way is not asked for twice; negative takes them back."""
        self._charged[queue] += jobs / self._weights[queue]

    def settle(self, queue: str, asked: int, got: int, *, is_left: bool) -> None:
        """Count what a claim brought instead of what it asked for. `is_left`: the queue may have more."""
        if got != asked:
            self.charge(queue, got - asked)
        if is_left:
            self.fill(queue)
        else:
            self._filled.discard(queue)

    def fill(self, queue: str) -> None:
        """The queue may have jobs again. It takes its place among those that had some all the time, without arrears."""
        if queue in self._filled:
            return
        if self._filled:
            self._charged[queue] = max(self._charged[queue], min(map(self._charged.__getitem__, self._filled)))
        self._filled.add(queue)

    def is_filled(self, queue: str) -> bool:
        """Whether the queue may have jobs, as far as is known."""
        return queue in self._filled


def read_queues(text: str, *, separator: str, field: str) -> dict[str, int]:
    """Read "critical=6,default=3,low" into weights; a queue without one weighs 1.

    `separator`: between a name and its weight. Raises ConfigurationError, naming `field`.
    """
    weights: dict[str, int] = {}
    for part in _parts(text):
        name, found, weight = part.partition(separator)
        if not name or name in weights:
            raise ConfigurationError(field, text, f"each queue once, such as critical{separator}6,default{separator}3")
        if found and not (weight.isascii() and weight.isdigit() and len(weight) < 6):
            raise ConfigurationError(field, part, f"NAME{separator}WEIGHT with a weight from 1 to {LARGEST_WEIGHT}")
        weights[name] = int(weight) if found else 1
        if not 1 <= weights[name] <= LARGEST_WEIGHT:
            raise ConfigurationError(field, part, f"NAME{separator}WEIGHT with a weight from 1 to {LARGEST_WEIGHT}")
    if not weights:
        raise ConfigurationError(field, text, "at least one queue")
    return weights


def _parts(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split(",") if part.strip())
