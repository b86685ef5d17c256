"""What travels between the engine and its broker: jobs as they are enqueued, claimed, finished and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

from ropeline.jobs.payloads.codec import codec_numbered

__all__ = [
    "Claimed",
    "Depths",
    "EnqueueResult",
    "Enqueued",
    "Finish",
    "FinishKind",
    "FinishResult",
    "HandOver",
    "JobState",
    "JobView",
    "Limit",
    "NewJob",
    "Outgoing",
    "OutgoingKind",
    "Page",
    "Part",
    "PartOutcome",
    "PartState",
    "PausedTask",
    "Progress",
    "QueueSettings",
    "Renewal",
    "SplitOrder",
    "StepReply",
    "part_outcome",
]


class JobState(StrEnum):
    """Where a job is; it is in exactly one state."""

    SCHEDULED = "scheduled"
    """Waits for its time, and has not run yet."""
    PENDING = "pending"
    """May be claimed."""
    ACTIVE = "active"
    """A worker holds a lease on it."""
    RETRY = "retry"
    """Failed, and waits for its next attempt."""
    HELD = "held"
    """Its key, its rate or its task may not run now."""
    PARKED = "parked"
    """No worker that has claimed it knows its task type."""
    BLOCKED = "blocked"
    """Waits for its parts."""
    COMPLETED = "completed"
    DEAD = "dead"
    """A dead letter: attempts used up, discarded, poison or undecodable."""
    CANCELLED = "cancelled"


class Limit(NamedTuple):
    """What the jobs of one key may do, and their share beside other keys; of a job that asks for its slot, its own terms count.

    `key`: 16 bytes. `most`: 0 to 65,535, that may be pending or active at once, the others are held; 0 any number. `rate`:
    0 to 65,535, that may begin in `period` ms (1 to 2^32 - 1), 0 any number. `weight`: 1 to 100, the key's share of the
    claims among keys that have jobs.
    """

    key: bytes
    most: int = 0
    rate: int = 0
    period: int = 0
    weight: int = 1


class Part(NamedTuple):
    """What a job is a part of: the job `id` of `queue`, split by the run of the fence `round`. `number`: which part it is, from 0."""

    queue: str
    id: bytes
    round: int
    number: int


class PartState(IntEnum):
    """How a part ended."""

    COMPLETED = 0
    DEAD = 1
    CANCELLED = 2
    """It was cancelled or stopped, or had not begun when it was."""
    PURGED = 3


class PartOutcome(NamedTuple):
    """What a part has left. `state`: None, it has not ended yet. `result`: of a completed one. `error`: of another one, why."""

    number: int
    state: PartState | None
    result: bytes = b""
    error: str = ""

    @property
    def value(self) -> Any:
        """The result as plain data, None: there is none. Raises Undecodable."""
        return codec_numbered(self.result[0]).decode(self.result[1:]) if self.result else None


def part_outcome(number: int, state: PartState | None, data: bytes) -> PartOutcome:
    """The outcome of a part that has left `data`: its result, or why it did not complete."""
    if state is PartState.COMPLETED:
        return PartOutcome(number, state, data)
    return PartOutcome(number, state, b"", data.decode(errors="replace"))


class Progress(NamedTuple):
    """How far the parts of a job are: `done` have completed, `failed` have ended otherwise, out of `total`."""

    done: int
    failed: int
    total: int


class NewJob(NamedTuple):
    """A job on its way in.

    `id`: 16 bytes. `body`: what a worker needs (see `ropeline.jobs.payloads.envelope`); the broker never looks inside.
    `due`: wall ms before which it must not run, 0 none. `delay`: ms from the store's own now, 0 none; not both.
    `priority`: 0 to 9, the highest first; 5 is the default. `unique`: 16 bytes that no two live jobs of the queue share,
    empty for none. `unique_for`: ms after which the key is free whatever became of the job, 0: when the job has ended.
    `until_start`: the key is free when the job is first claimed. `limit`: of jobs of the same key.
    `part`: the job that it is a part of, which is told how it ended.
    """

    id: bytes
    body: bytes
    due: int = 0
    delay: int = 0
    priority: int = 5
    unique: bytes = b""
    unique_for: int = 0
    until_start: bool = False
    limit: Limit | None = None
    part: Part | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing besides `id` and `body`, as most do."""
        return self[2:] == _PLAIN_JOB


_PLAIN_JOB: Final = NewJob(b"", b"")[2:]


class EnqueueResult(IntEnum):
    """What became of one job of an enqueue call."""

    ENQUEUED = 0
    EXISTS = 1
    """The queue has a job with this id already, and nothing was changed."""
    CONFLICT = 2
    """Another live job holds the unique key; `holder` is its id."""


class Enqueued(NamedTuple):
    """The answer to one NewJob. `state`: SCHEDULED or PENDING, of the job that is there now."""

    result: EnqueueResult
    holder: bytes


class Claimed(NamedTuple):
    """A delivery: the job and the lease on it.

    `fence`: rises with every claim of the queue, and is shown with every later word about the job. `attempts`: runs that
    failed so far. `lost`: leases that expired since the last finish. `ready`: wall ms at which it became
    pending (with a limit: the last time), by the store's clock. `claimed`: wall ms of this claim. `is_part`: another job wants to
    know how it ends, and its result. `outcomes`: of its parts, when it was split and they have ended.
    """

    id: bytes
    body: bytes
    fence: int
    attempts: int
    lost: int
    ready: int
    claimed: int
    is_part: bool = False
    outcomes: tuple[PartOutcome, ...] | None = None


class HandOver(NamedTuple):
    """Jobs for a queue, 1 to 50, that are enqueued once a run has ended as it should; the first one's id names the entry."""

    queue: str
    jobs: tuple[NewJob, ...]


class OutgoingKind(IntEnum):
    """What an entry of an outbox brings."""

    JOBS = 1
    REPORT = 2
    """How a part of a job ended."""
    STOP = 3
    """Jobs that are to stop."""


class Outgoing(NamedTuple):
    """An entry of a queue's outbox: what it hands over to `queue`, maybe to itself. `content`: the broker's own affair.

    `name`: 17 bytes that no other entry of the stage has. `made`: wall ms. `tries`: how often it was handed out.
    """

    name: bytes
    kind: OutgoingKind
    queue: str
    content: object
    made: int
    tries: int


class SplitOrder(NamedTuple):
    """The parts that a job becomes: 0 to 1,000 jobs with a Part of its id and this run's fence, numbered from 0.

    `body`: the job's own once they have ended, when it is pending again. `fails`: a part that does not complete makes the job a
    dead letter at once, and stops the others.
    """

    parts: tuple[HandOver, ...]
    body: bytes
    fails: bool

    @property
    def total(self) -> int:
        return sum(len(jobs) for _, jobs in self.parts)


class FinishKind(IntEnum):
    """How a run ended."""

    COMPLETED = 0
    RETRY = 1
    """It failed: `delay` ms from now it may run again, with one attempt more."""
    SNOOZE = 2
    """As RETRY, but the run was none: attempts stay."""
    RELEASE = 3
    """Handed back unstarted, or by a worker that ends: pending again at its old place, attempts and lost unchanged."""
    DEAD = 4
    """A dead letter, with `error` as the reason; the failed run counts as an attempt."""
    PARK = 5
    """The worker does not know the task type `detail`."""
    CANCELLED = 6
    """It was cancelled while it ran, and stopped."""
    SPLIT = 7
    """It waits for its parts from now on, as `split` says."""


class Finish(NamedTuple):
    """One run's end, shown with the fence of its claim.

    `delay`: ms, of RETRY and SNOOZE. `error`: at most 1 KB of text, of RETRY and DEAD. `result`: kept with the job for
    `keep` ms after COMPLETED; keep 0 keeps nothing. `detail`: the task type, of PARK; a short reason word, of DEAD
    (`attempts`, `discarded`, `undecodable`, `unknown`, `deadline`, `poison`, `result`). `hand_over`: of COMPLETED, what is written into the
    outbox with it, unless the job was cancelled meanwhile.
    """

    kind: FinishKind
    id: bytes
    fence: int
    delay: int = 0
    error: bytes = b""
    result: bytes = b""
    keep: int = 0
    detail: bytes = b""
    hand_over: tuple[HandOver, ...] = ()
    split: SplitOrder | None = None


class FinishResult(IntEnum):
    """Whether a finish counted."""

    DONE = 0
    STALE = 1
    """The lease had gone to somebody else, or the job is not there any more; nothing was changed."""
    CANCELLED = 2
    """The job had been cancelled meanwhile and is now, whatever the finish said; COMPLETED wins over a cancel."""


class StepReply(NamedTuple):
    """What one step brought: an answer for each finish, and the deliveries.

    `now`: the store's wall ms. `more`: jobs that could have been claimed are left. `next_due`: wall ms of the earliest
    scheduled job, retry, or key with a rate that may begin another job; 0 none.
    `paused`: nothing is claimed until the queue is resumed. `outgoing`: how many entries of the outbox are to be delivered.
    """

    finished: list[FinishResult]
    claimed: list[Claimed]
    now: int
    more: bool
    next_due: int
    paused: bool
    outgoing: int = 0


class Renewal(IntEnum):
    """The answer to one renewal."""

    HELD = 0
    LOST = 1
    """The lease belongs to somebody else, or the job is gone."""
    CANCEL = 2
    """Still held; the job was cancelled and its handler is to stop."""
    OVERDUE = 3
    """Still held, but past its hard end: the lease is not renewed any more."""
    STOP = 4
    """Still held; the job is asked to end early, with what it has."""


class PausedTask(NamedTuple):
    """A task whose jobs are not claimed. `resumes_at`: wall ms, 0: not by itself."""

    task: str
    reason: str
    resumes_at: int


class QueueSettings(NamedTuple):
    """What the operators of a queue have set; ages and `period` in ms, 0 for no limit where nothing else is said."""

    most_bytes: int = 0
    """Bodies and results that the queue may hold; an enqueue beyond is refused (QueueFull), and nothing else."""
    rate: int = 0
    """Most jobs that begin in `period`, of all workers together; after a rest as many at once."""
    period: int = 0
    ageing: int = 0
    """A job that has been pending for some times this long goes before jobs of as many priorities more; 0 never."""
    dead_age: int = 90 * 86_400_000
    """How long dead letters are kept."""
    dead_count: int = 10_000
    """Most of them; the oldest go first."""
    dead_bytes: int = 0
    """Most bytes of them, with what is known of each."""
    cancelled_age: int = 86_400_000
    """How long cancelled jobs are kept."""
    completed_count: int = 0
    """Most completed jobs that are kept for their results, each for its own `result_ttl` at most."""
    parked_age: int = 7 * 86_400_000
    """After how long a parked job is a dead letter."""


class Depths(NamedTuple):
    """How many jobs a queue has in each state, and what else its operators ask first. Times: wall ms of the store."""

    scheduled: int
    pending: int
    active: int
    retry: int
    held: int
    parked: int
    blocked: int
    completed: int
    dead: int
    cancelled: int
    now: int
    oldest_pending: int
    """When the job that is pending for longest became so, 0 none; of jobs with a limit key, the next one of each priority counts."""
    next_due: int
    paused: bool
    pause_reason: str
    resumes_at: int
    """0: not by itself."""
    bytes: int
    """What the bodies and results of all jobs take."""
    dead_bytes: int
    """What dead letters take, with what is known of each."""
    paused_tasks: tuple[PausedTask, ...]
    """The tasks that are paused by themselves, by name."""
    counters: dict[str, int]
    """Sums since the queue began: enqueued, claimed, completed, failed, retried, dead, cancelled, lost, stale, snoozed, released,
    parked, expired, split."""


class JobView(NamedTuple):
    """One job as it stands. `body` as enqueued, empty when it is no longer kept; times in wall ms, 0 unknown."""

    id: bytes
    state: JobState
    body: bytes
    attempts: int
    lost: int
    priority: int
    at: int
    """When it may run (scheduled, retry), became pending, was claimed, or ended."""
    error: str
    reason: str
    result: bytes
    worker: str
    is_cancelling: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `cursor`: shown to get the next part, empty at the end."""

    jobs: list[JobView]
    cursor: str
