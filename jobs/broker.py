"""The protocol between the engine and what keeps its jobs; brokers differ in where they keep them, not in what they promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ropeline.jobs.records import (
    Depths,
    Enqueued,
    Finish,
    JobState,
    JobView,
    NewJob,
    Outgoing,
    Page,
    PartOutcome,
    Progress,
    QueueSettings,
    Renewal,
    StepReply,
)

if TYPE_CHECKING:
    from ropeline.jobs.cron.cron_jobs import CronStore
    from ropeline.jobs.locks.locks import Locks

__all__ = [
    "LARGEST_ENQUEUE",
    "LARGEST_HAND_OUT",
    "LARGEST_HAND_OVER",
    "LARGEST_RENEWAL",
    "LARGEST_SPLIT",
    "LARGEST_STEP",
    "Broker",
    "KeepsCronJobs",
    "KeepsLocks",
]

LARGEST_ENQUEUE = 100
"""Most jobs in one enqueue call."""
LARGEST_STEP = 64
"""Most finishes, and most claims, in one step."""
LARGEST_RENEWAL = 200
"""Most leases in one renewal."""
LARGEST_HAND_OVER = 50
"""Most jobs in one entry of an outbox."""
LARGEST_SPLIT = 1000
"""Most parts of one job."""
LARGEST_HAND_OUT = 20
"""Most entries of an outbox in one call."""


class Broker(Protocol):
    """Keeps the jobs of one stage. Every method raises StoreError when the store does not do its work.

    Nothing is ever sent twice by a broker itself. A lane that had no reply repeats its step with the same number, and
    gets the reply that it missed. A job's life and all times are decided by the store's clock.

    `keeps_places`: a pending job has a place that does not depend on when it was written: after those of its priority that
    may run for longer, or where its age or the share of its key puts it. Without, the jobs of a priority go in the order in
    which they were written, and ageing and a limit that asks for a share are refused (ConfigurationError).
    """

    keeps_places: bool

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Take in 1 to 100 jobs, in this order, all or (StoreError) none; an answer for each.

        Raises OutcomeUnknown when no reply came. QueueFull when the queue's byte budget, or the store, has no room.
        """

    async def step(
        self,
        queue: str,
        *,
        worker: bytes,
        lane: int,
        call: int,
        finishes: Sequence[Finish] = (),
        claim: int = 0,
        suspects: bool = True,
        lease: int = 30_000,
        hard: int = 330_000,
        max_lost: int = 3,
    ) -> StepReply:
        """Finish 0 to 64 runs, claim 0 to 64 jobs, and tend the queue a little: due jobs, expired leases, old entries.

        `worker`: 16 bytes, a process. `lane`, `call`: the call's number in this lane, one more each time; a call with the
        number of the lane's last one is answered as that was, and changes nothing. `suspects`: whether a job that has lost
        a lease may be among the claimed, one at most. Jobs with a limit count as two of 64. `lease`, `hard`: ms; past `hard` a lease is not renewed. `max_lost`:
        leases that a job may lose before it is a dead letter (`poison`).
        """

    async def step_when_woken(
        self,
        queue: str,
        seconds: float,
        *,
        woken: Callable[[], object],
        worker: bytes,
        lane: int,
        call: int,
        claim: int,
        suspects: bool = True,
        lease: int = 30_000,
        hard: int = 330_000,
        max_lost: int = 3,
    ) -> StepReply:
        """As `wait` for this queue and then `step`, in one trip where the store can do that.

        `woken` is called when the waiting is over, before the step's reply is there: its lease began at that time or later.
        Given up or failed, it is repeated as a `step` with the same number.
        """

    async def renew(self, queue: str, *, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> list[Renewal]:
        """Prolong 1 to 200 leases, (id, fence) each, to `lease` ms from now."""

    async def wait(self, queues: Sequence[str], seconds: float) -> None:
        """Return when one of the queues may have something to claim, after `seconds` at the latest."""

    async def depths(self, queue: str) -> Depths:
        """How many jobs are in which state."""

    async def queues(self) -> list[str]:
        """Every queue that has ever had a job, sorted."""

    async def find(self, queue: str, id: bytes) -> JobView | None:
        """One job, or None when the queue does not have it."""

    async def jobs_in(self, queue: str, state: JobState, *, cursor: str = "", limit: int = 100) -> Page:
        """Jobs in a state, the oldest first, at most `limit` (1 to 1,000) at a time."""

    async def cancel(self, queue: str, id: bytes) -> JobState | None:
        """End a job for good: a waiting one at once, an active one by a flag that its worker is told of.

        The state that it is in now (ACTIVE while the worker is being told; COMPLETED or DEAD when it was too late), None
        when the queue does not have it.
        """

    async def requeue(self, queue: str, ids: Sequence[bytes]) -> list[Enqueued | None]:
        """Make 1 to 100 dead, parked, cancelled, scheduled or retrying jobs pending, with attempts and lost set to 0.

        CONFLICT when another job holds the unique key meanwhile; None for an id that is in no such state.
        """

    async def purge(self, queue: str, state: JobState, *, limit: int = 1000, ids: Sequence[bytes] = ()) -> int:
        """Remove at most `limit` (1 to 1,000) jobs that are DEAD, COMPLETED, CANCELLED, PARKED, SCHEDULED or RETRY; how many it were.

        `ids`: 1 to 100, instead of the oldest: those of them that are in this state.
        """

    async def unpark(self, queue: str, task: bytes) -> int:
        """Make at most 100 parked jobs of this task type pending; how many it were."""

    async def pause(self, queue: str, *, reason: str, resume_after: int = 0, task: bytes = b"") -> None:
        """Claim nothing from this queue until it is resumed, or for `resume_after` ms; with a `task`, no jobs of this type.

        Jobs of a paused task are held from when it would be their turn. At most 100 tasks: ConfigurationError.
        """

    async def resume(self, queue: str, *, task: bytes = b"") -> None:
        """Claim again. Jobs of a task that was paused are released some at a step, at their old places."""

    async def configure(self, queue: str, changes: Mapping[str, int]) -> QueueSettings:
        """Change settings by their names, the others stay; no changes only read. All settings as they are now."""

    async def mark(self, key: bytes, keep: int) -> None:
        """Remember 16 bytes for `keep` ms."""

    async def is_marked(self, key: bytes) -> bool:
        """Whether they are remembered."""

    async def hand_out(self, queue: str, *, limit: int = LARGEST_HAND_OUT) -> list[Outgoing]:
        """At most 20 entries of the outbox that are to be delivered; after 30 s, and ever later, they come again unless settled."""

    async def take_over(self, queue: str, entries: Sequence[Outgoing]) -> int:
        """Carry out 1 to 20 entries of other queues' outboxes in this queue, each once however often it comes.

        How many jobs were taken in. An entry is known until `forget_settled`, and for 7 days if nobody calls that.
        """

    async def settle(self, queue: str, names: Sequence[bytes]) -> int:
        """Remove 1 to 20 entries from the outbox that have arrived; how many of them were there."""

    async def forget_settled(self, queue: str, names: Sequence[bytes]) -> None:
        """Tell the queue that 1 to 20 entries for it were settled: it remembers them for a minute more, for calls that are late."""

    async def stop(self, queue: str, id: bytes) -> JobState | None:
        """Cancel a job that has not begun; ask one that runs, or the parts of one that waits for them, to end with what they have.

        The state that it is in now, None when the queue does not have it.
        """

    async def progress(self, queue: str, id: bytes) -> Progress | None:
        """How far the parts of a job are, None when it was not split or is not there any more."""

    async def outcomes(self, queue: str, id: bytes) -> tuple[PartOutcome, ...] | None:
        """How each part of a job ended so far, None when it was not split or is not there any more."""

    async def is_outgoing(self, queue: str, id: bytes) -> bool:
        """Whether the queue's outbox has the entry that hands over this job."""

    async def close(self) -> None:
        """Give up the connections."""


@runtime_checkable
class KeepsCronJobs(Protocol):
    """A broker that keeps the cron jobs of its stage as well; one that does not is a broker all the same."""

    def cron_store(self) -> CronStore:
        """Where they are; it ends with the broker."""


@runtime_checkable
class KeepsLocks(Protocol):
    """A broker that keeps the locks of its stage as well."""

    def locks(self) -> Locks:
        """The locks, the same object each time; they end with the broker."""
