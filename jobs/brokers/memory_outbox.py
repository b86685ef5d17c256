"""What queues in memory hand over to each other: the entries of one queue's outbox, and those of others that have arrived there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ropeline.jobs.records import HandOver, NewJob, Outgoing, OutgoingKind

__all__ = ["MemoryOutbox", "Seen", "jobs_of"]

_AGAIN: Final = 30_000
_SLOWEST: Final = 20
_REMEMBERED: Final = 7 * 86_400_000
_REMEMBERED_SETTLED: Final = 60_000


@dataclass(slots=True)
class _Entry:
    kind: OutgoingKind
    queue: str
    content: object
    made: int
    due: int
    tries: int = 0


class MemoryOutbox:
    """The outbox of one queue; `now` is wall ms."""

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}

    def post_all(self, now: int, hand_overs: Sequence[HandOver]) -> None:
        """Leave an entry for each of these."""
        for queue, jobs in hand_overs:
            self.post(now, OutgoingKind.JOBS, queue, jobs[0].id, jobs)

    def post(self, now: int, kind: OutgoingKind, queue: str, id: bytes, content: object) -> None:
        """Leave an entry that is named by its kind and a job."""
        self.entries[bytes((kind,)) + id] = _Entry(kind, queue, content, now, now)

    def due(self, now: int) -> int:
        """How many are to be delivered."""
        return sum(entry.due <= now for entry in self.entries.values())

    def hand_out(self, now: int, limit: int) -> list[Outgoing]:
        """The first ones that are to be delivered; they come again, ever later."""
        names = sorted((entry.due, name) for name, entry in self.entries.items() if entry.due <= now)[:limit]
        handed = []
        for _, name in names:
            entry = self.entries[name]
            entry.tries += 1
            entry.due = now + _AGAIN * min(entry.tries, _SLOWEST)
            handed.append(Outgoing(name, entry.kind, entry.queue, entry.content, entry.made, entry.tries))
        return handed

    def settle(self, names: Sequence[bytes]) -> int:
        """Remove entries; how many there were."""
        return sum(self.entries.pop(name, None) is not None for name in names)


class Seen:
    """The names of other queues' entries that have arrived in one queue."""

    def __init__(self) -> None:
        self.until: dict[bytes, int] = {}
        """Name -> wall ms until when it is remembered."""

    def is_new(self, now: int, entry: Outgoing) -> bool:
        """Whether an entry has not come before; from now on it has."""
        self.until = {name: end for name, end in self.until.items() if end > now}
        is_new = entry.name not in self.until
        self.until[entry.name] = now + _REMEMBERED
        return is_new

    def shorten(self, now: int, names: Sequence[bytes]) -> None:
        """Remember these for a minute more."""
        for name in names:
            if name in self.until:
                self.until[name] = now + _REMEMBERED_SETTLED


def jobs_of(entry: Outgoing) -> tuple[NewJob, ...]:
    """The jobs of an entry of kind JOBS."""
    if not isinstance(entry.content, tuple):
        raise TypeError("an entry of another broker")
    return entry.content
