"""What the job engine raises, and what a handler raises to say how its run ends.

RopelineError
├── JobError                 something about a job was refused; nothing was changed
│   ├── PayloadTooLarge      arguments that take more bytes than a job may
│   ├── Undecodable          bytes that no job of ours can have been
│   ├── UnknownTask          a task type that this program has not registered
│   ├── Conflict             another live job holds the unique key: `holder` is its id
│   ├── JobFailed            a job that was waited for is dead, or was cancelled
│   └── ResultGone           a job that was waited for has ended, and nothing of its result is kept
├── CronChanged              somebody else has changed the cron job meanwhile: `version` is there now
├── LockError                the lock `lock` is not the caller's
│   ├── LockTaken            somebody else holds it: `owner`, for `purpose`, until `until`
│   └── LockLost             it was held and is no more: its time ran out, or `by` took it away for `reason`
└── StoreError
    ├── PartlyEnqueued       some jobs of an enqueue_many were not taken in, or perhaps not: `outcomes` tells of each
    ├── QueueFull            the queue's byte budget, or the store, has no room; nothing was taken in
    └── OutcomeUnknown       no reply came: the jobs `ids` may have been taken in or not

Control                      raised by a handler, never a failure of the program
├── Retry                    run again later; counts as a failed attempt
├── Snooze                   run again later; does not count
├── Discard                  to the dead letters at once
└── Cancelled                the handler has heeded a cancel
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ropeline.lua.errors import RopelineError, StoreError

__all__ = [
    "Cancelled",
    "Conflict",
    "Control",
    "CronChanged",
    "Discard",
    "JobError",
    "JobFailed",
    "LockError",
    "LockLost",
    "LockTaken",
    "OutcomeUnknown",
    "PartlyEnqueued",
    "PayloadTooLarge",
    "QueueFull",
    "ResultGone",
    "Retry",
    "Snooze",
    "Undecodable",
    "UnknownTask",
]


class JobError(RopelineError):
    """Something about a job was refused; nothing was changed."""


class PayloadTooLarge(JobError):
    """The arguments take `size` bytes, more than the `limit` of a job's payload."""

    def __init__(self, task: str, size: int, limit: int) -> None:
        super().__init__(task, size, limit)
        self.task, self.size, self.limit = task, size, limit

    def __str__(self) -> str:
        return f"{self.task}: the arguments take {self.size:,} bytes, at most {self.limit:,} are allowed; store large data elsewhere and pass its name"


class Undecodable(JobError):
    """Bytes that cannot be read as a job, or as its arguments."""


class UnknownTask(JobError):
    """No task of this type is registered here."""

    def __init__(self, task: str, known: Sequence[str]) -> None:
        super().__init__(task, known)
        self.task, self.known = task, known

    def __str__(self) -> str:
        return f"task: got {self.task!r}, expected one of: {', '.join(sorted(self.known)) or '(none is registered)'}"


class Conflict(JobError):
    """Another live job, `holder` (16 bytes), holds the unique key."""

    def __init__(self, task: str, holder: bytes) -> None:
        super().__init__(task, holder)
        self.task, self.holder = task, holder

    def __str__(self) -> str:
        return f"{self.task}: job {self.holder.hex()} holds the unique key"


class JobFailed(JobError):
    """The job that was waited for ended without a result: `state` is dead or cancelled, `reason` says why."""

    def __init__(self, id: bytes, state: str, reason: str) -> None:
        super().__init__(id, state, reason)
        self.id, self.state, self.reason = id, state, reason

    def __str__(self) -> str:
        return f"job {self.id.hex()} is {self.state}: {self.reason}"


class CronChanged(RopelineError):
    """The cron job `name` is not of the version that the caller had read; nothing was changed. `version`: there now, 0 none."""

    def __init__(self, name: str, expected: int, version: int) -> None:
        super().__init__(name, expected, version)
        self.name, self.expected, self.version = name, expected, version

    def __str__(self) -> str:
        return f"cron job {self.name}: has version {self.version}, expected {self.expected}; read it again"


class LockError(RopelineError):
    """The lock `lock` is not the caller's."""

    lock: str


class LockTaken(LockError):
    """Somebody else holds the lock: `owner` and `purpose` as that one gave them, until `until` at the latest."""

    def __init__(self, lock: str, owner: str, purpose: str, until: datetime) -> None:
        super().__init__(lock, owner, purpose, until)
        self.lock, self.owner, self.purpose, self.until = lock, owner, purpose, until

    def __str__(self) -> str:
        holder = self.owner or "somebody without a name"
        purpose = f" ({self.purpose})" if self.purpose else ""
        return f"lock {self.lock}: held by {holder}{purpose} until {self.until.isoformat(timespec='seconds')}"


class LockLost(LockError):
    """The lock was held and is no more. `by`, `reason`: of whoever took it away; empty when its time ran out unrenewed."""

    def __init__(self, lock: str, by: str = "", reason: str = "") -> None:
        super().__init__(lock, by, reason)
        self.lock, self.by, self.reason = lock, by, reason

    def __str__(self) -> str:
        if not self.by:
            return f"lock {self.lock}: the hold has ended, or could not be renewed in time"
        return f"lock {self.lock}: taken away by {self.by}: {self.reason}"


class ResultGone(JobError):
    """The job has ended, or was removed, and its result is not kept: only a task with a `result_ttl` keeps one."""

    def __init__(self, id: bytes) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"job {self.id.hex()}: no result is kept; give the task a result_ttl, and ask before it is over"


class PartlyEnqueued(StoreError):
    """The store failed during an `enqueue_many`: `outcomes` has a `ropeline.jobs.many.Outcome` for each job, in their order.

    The cause is the first failure. A draft whose outcome has an error may be enqueued again: its id stays the same.
    """

    def __init__(self, outcomes: Sequence[Any]) -> None:
        super().__init__(outcomes)
        self.outcomes = tuple(outcomes)

    def __str__(self) -> str:
        failed = [outcome.error for outcome in self.outcomes if isinstance(outcome.error, StoreError)]
        return f"{len(failed)} of {len(self.outcomes)} jobs may not have been taken in: {failed[0] if failed else ''}"


class QueueFull(StoreError):
    """The queue has used up its bytes, or the store its memory; nothing was taken in."""

    def __init__(self, queue: str, why: str) -> None:
        super().__init__(queue, why)
        self.queue, self.why = queue, why

    def __str__(self) -> str:
        return f"queue {self.queue}: {self.why}"


class OutcomeUnknown(StoreError):
    """No reply came to an enqueue: the jobs may have been taken in or not. The same ids may be sent again without harm."""

    def __init__(self, queue: str, ids: Sequence[bytes]) -> None:
        super().__init__(queue, ids)
        self.queue, self.ids = queue, tuple(ids)

    def __str__(self) -> str:
        return f"queue {self.queue}: no reply; whether {len(self.ids)} jobs were taken in is not known"


class Control(Exception):
    """What a handler raises to say how its run ends."""


class Retry(Control):
    """Run again after `after` seconds (a timedelta or a number; None: by the task's back-off). Counts as a failed attempt."""

    def __init__(self, reason: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Snooze(Control):
    """Run again after `after` seconds (a timedelta or a number). The run does not count as an attempt."""

    def __init__(self, after: timedelta | float, reason: str = "") -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Discard(Control):
    """Put the job into the dead letters at once, for `reason`: another run would fail as well."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Cancelled(Control):
    """The handler has heeded a cancel and stopped."""
