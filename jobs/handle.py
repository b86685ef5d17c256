"""A job from the outside: how it stands, waiting for its end, its result, and cancelling it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ropeline.jobs.durations import to_ms
from ropeline.jobs.errors import JobFailed, ResultGone
from ropeline.jobs.records import JobState

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.records import JobView, PartOutcome, Progress

__all__ = ["ENDED", "JobHandle", "pauses"]

ENDED: Final = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED})
"""The states that a job leaves only when somebody requeues it."""

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_GROWTH: Final = 1.5

R = TypeVar("R")


class JobHandle(Generic[R]):
    """One job of a queue. Every method asks the store, in the event loop that it is awaited in, and raises StoreError.

    `id`: 32 hexadecimal digits. `is_new`: whether the call that returned this handle took the job in; False: it was there
    already, by its id or as the holder of the unique key, or was looked up.
    """

    __slots__ = ("_broker", "_id", "_read", "is_new", "queue")

    def __init__(
        self, queue: str, id: bytes, *, broker: Callable[[], Broker], read: Callable[[bytes], R], is_new: bool = False
    ) -> None:
        self.queue = queue
        self.is_new = is_new
        self._id = id
        self._broker = broker
        self._read = read

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} in {self.queue}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and (self._id, self.queue) == (other._id, other.queue)

    def __hash__(self) -> int:
        return hash((self._id, self.queue))

    @property
    def id(self) -> str:
        return self._id.hex()

    async def status(self) -> JobState | None:
        """Where the job is now; None: the queue does not have it. A job without `result_ttl` is forgotten when it completes."""
        view = await self._find()
        return None if view is None else view.state

    async def wait(self, timeout: float | None = None) -> JobState | None:  # noqa: ASYNC109 - its own pauses keep to it
        """Wait until the job has ended, and return COMPLETED, DEAD or CANCELLED; None: the queue does not have it any more.

        The store is asked at once, after 20 ms, and then after pauses that grow by half up to 500 ms. `timeout`: seconds,
        None for ever; raises TimeoutError when they are over.
        """
        view = await self._wait(timeout)
        return None if view is None else view.state

    async def result(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - as above
        """Wait as `wait` does, and return what the handler returned.

        Raises:
            JobFailed: the job is dead or was cancelled.
            ResultGone: the queue does not have the job, or not its result; see `result_ttl`.
            TimeoutError: it has not ended within `timeout` seconds.
            Undecodable: the result does not fit what this version of the task returns.

        """
        view = await self._wait(timeout)
        if view is None:
            raise ResultGone(self._id)
        if view.state is not JobState.COMPLETED:
            raise JobFailed(
                self._id, view.state, ": ".join(filter(None, (view.reason, view.error))) or "no reason is known"
            )
        if not view.result:
            raise ResultGone(self._id)
        return self._read(view.result)

    async def cancel(self) -> JobState | None:
        """End the job for good: at once while it waits, and by telling its worker while it runs.

        The state that it is in then: CANCELLED; ACTIVE while its worker is being told; COMPLETED or DEAD when it was too
        late. None: the queue does not have it.
        """
        return await self._broker().cancel(self.queue, self._id)

    async def stop(self) -> JobState | None:
        """Ask the job to end early: its `JobContext.stopped` says so, and its parts' does.

        A job or part that has not begun is cancelled; one that fails instead of ending well is not tried again. A job that waits
        for its parts goes on with what there is. The state that it is in then, None: the queue does not have it.
        """
        return await self._broker().stop(self.queue, self._id)

    async def progress(self) -> Progress | None:
        """How many of the job's parts have completed and failed, out of how many; None: it was not split, or is forgotten."""
        return await self._broker().progress(self.queue, self._id)

    async def outcomes(self) -> tuple[PartOutcome, ...] | None:
        """How each of the job's parts ended so far; None: it was not split, or is forgotten."""
        return await self._broker().outcomes(self.queue, self._id)

    async def _find(self) -> JobView | None:
        return await self._broker().find(self.queue, self._id)

    async def _wait(self, timeout: float | None) -> JobView | None:  # noqa: ASYNC109 - as above
        end = None if timeout is None else time.monotonic() + to_ms("timeout", timeout) / 1000
        for pause in pauses():
            view = await self._find()
            if view is None or view.state in ENDED:
                return view
            left = pause if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {self.id} is {view.state} and has not ended within {timeout} s")
            await asyncio.sleep(min(pause, left))
        raise AssertionError  # the pauses never end


def pauses() -> Iterator[float]:
    """Seconds between two looks at the same job, for ever."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)
