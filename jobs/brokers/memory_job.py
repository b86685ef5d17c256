"""A job in memory, and what a store would keep of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ropeline.jobs.brokers.memory_split import MemorySplit
from ropeline.jobs.records import (
    JobState,
    Limit,
    NewJob,
    Part,
)

__all__ = ["MemoryJob", "stored_size"]


# Of what is known of a job besides its body: all but its unique key, reason and error.
_PACKED_META: Final = 61
_HEAD: Final = 2
_LIMIT: Final = 26
_PART: Final = 27
# Pending jobs that have lost a lease: a set of their own, and one state with the others to the outside.
_SUSPECTS: Final = "suspects"


@dataclass(slots=True)
class MemoryJob:
    """One job and all that is known of it.

    `place`: the set it is in: a JobState, or `suspects`. `score`: its rank in there: wall ms of when it may run (scheduled,
    retry), of its end (dead, cancelled), of when it was parked, of when it is forgotten (completed); `rank` (pending, suspects,
    held); the lease's end by the queue clock (active). `rank`: its priority, then `ready` or, with a limit, its tag: the
    virtual time at which its key has had its share. `has_slot`: of the limit's key. `held_task`: it is held back until this task is
    resumed.
    """

    id: bytes
    body: bytes
    priority: int
    unique: bytes
    until_start: bool
    limit: Limit | None = None
    part: Part | None = None
    place: str = ""
    score: float = 0
    rank: float = 0
    ready: int = 0
    at: int = 0
    attempts: int = 0
    lost: int = 0
    fence: int = 0
    worker: bytes = b""
    hard_end: int = 0
    is_cancelling: bool = False
    is_stopping: bool = False
    has_slot: bool = False
    split: MemorySplit | None = None
    is_joined: bool = False
    held_task: bytes = b""
    error: bytes = b""
    reason: bytes = b""
    result: bytes = b""

    @property
    def state(self) -> JobState:
        return JobState.PENDING if self.place == _SUSPECTS else JobState(self.place)

    @property
    def size(self) -> int:
        """Bytes of its body as a store keeps it."""
        return stored_size(self)

    @property
    def dead_size(self) -> int:
        """Bytes that a store keeps of it as a dead letter."""
        unique = 0 if self.until_start else len(self.unique)
        return self.size + _PACKED_META + unique + len(self.reason) + len(self.error)


def stored_size(job: MemoryJob | NewJob) -> int:
    """Bytes of a job's body as a store keeps it, with what is said of it there."""
    part = 0 if job.part is None else _PART + len(job.part.queue)
    return _HEAD + len(job.unique) + (0 if job.limit is None else _LIMIT) + part + len(job.body)
