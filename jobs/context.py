"""What a handler is told about its own job: who it is, which run this is, and whether it should stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from datetime import timedelta

    from ropeline.jobs.locks.hold import Hold
    from ropeline.jobs.locks.job_locks import JobLocks
    from ropeline.jobs.records import PartOutcome

__all__ = ["JobContext", "RunFlags", "current_job", "enter", "running"]

_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class RunFlags(Protocol):
    """What a worker finds out about a run while it lasts, from any thread. `fence`: of its claim."""

    @property
    def fence(self) -> int: ...

    @property
    def is_lost(self) -> bool: ...

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def is_stopped(self) -> bool: ...


class JobContext:
    """The job that a handler runs for. A parameter of this type, anywhere in the signature, is filled by the worker.

    `id`: its id, 32 hexadecimal digits. `task`, `queue`: its type and where it was taken from. `attempt`: number of this run,
    1 for the first; runs that were lost or snoozed do not count. `max_attempts`: the number of the last one. `metadata`:
    what was said about it at enqueue. `flags`: where `lost`, `cancelled` and `stopped` are looked up, None: they stay
    false, as when a task is called as a function. `locks`: what gives locks to the job, None: nothing does. `outcomes`: how each
    part of it ended, of a job that was split.
    """

    __slots__ = ("_flags", "_locks", "attempt", "id", "max_attempts", "metadata", "outcomes", "queue", "task")

    def __init__(
        self,
        *,
        id: str,
        task: str,
        queue: str,
        attempt: int = 1,
        max_attempts: int = 1,
        metadata: Mapping[str, str] = _NO_METADATA,
        flags: RunFlags | None = None,
        locks: JobLocks | None = None,
        outcomes: tuple[PartOutcome, ...] = (),
    ) -> None:
        self.id = id
        self.task = task
        self.queue = queue
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.metadata = metadata
        self._flags = flags
        self._locks = locks
        self.outcomes = outcomes

    def __repr__(self) -> str:
        return f"<JobContext {self.task} {self.id} attempt {self.attempt} of {self.max_attempts}>"

    @property
    def attempts_left(self) -> int:
        """Runs that are left after this one, should it fail."""
        return max(0, self.max_attempts - self.attempt)

    @property
    def lost(self) -> bool:
        """Whether the lease is gone: another worker may run the job already, and what this run returns does not count.

        A handler in a thread looks at it before each effect; an async one is cancelled.
        """
        return self._flags is not None and self._flags.is_lost

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the job. A handler in a thread that looks at it raises `Cancelled` to stop."""
        return self._flags is not None and self._flags.is_cancelled

    @property
    def stopped(self) -> bool:
        """Whether the job is asked to end early: what the handler returns then is its result, however little it has done."""
        return self._flags is not None and self._flags.is_stopped

    def lock(self, name: str, *, wait: timedelta | float = 0.0, purpose: str = "") -> Hold:
        """Hold a lock of the stage while a block of an async handler runs: `async with job.lock("event-7") as lock:`.

        It outlives a worker that dies by the job's lease at most, and the same job, delivered again, takes it over at once. Show
        `lock.fence` to what it protects. `wait`: for how long to wait for another holder, seconds or a timedelta. `purpose`:
        shown to others, beside the task. LockTaken and LockLost are failures like any other: the job is tried again.

        Raises:
            LockTaken: another holder has it at the end of the wait.
            LockLost: on leaving; it was taken away, or could not be kept. The block was cancelled then.
            ConfigurationError: the name is none, or the broker keeps no locks.
            StoreError: the store does not do its work.
            RuntimeError: this context was made by hand, and nothing gives locks to it.

        """
        if self._locks is None:
            raise RuntimeError(
                "nothing gives locks to this job; in a program without a worker, use app.locks.hold(...)"
            )
        fence = 0 if self._flags is None else self._flags.fence
        return self._locks.hold(name, job=self.id, fence=fence, task=self.task, wait=wait, purpose=purpose)


_current: ContextVar[JobContext | None] = ContextVar("ropeline_job", default=None)


def current_job() -> JobContext | None:
    """The job that the caller runs for, also far down in the calls of its handler; None outside of a handler."""
    return _current.get()


def enter(job: JobContext) -> None:
    """Make `job` the current one of this task or thread, or of the `contextvars.Context` that this is called in, for good."""
    _current.set(job)


@contextmanager
def running(job: JobContext) -> Iterator[None]:
    """Make `job` the current one for the time of a `with` block, in this task or thread alone."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)
