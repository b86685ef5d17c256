"""Gives a job its locks: held in the job's name, so that its next delivery takes over at once from one that is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ropeline.jobs.locks.locks import HOLD_TTL

if TYPE_CHECKING:
    from datetime import timedelta

    from ropeline.jobs.locks.hold import Hold
    from ropeline.jobs.locks.locks import Locks

__all__ = ["JobLocks"]


class JobLocks:
    """The locks of jobs that run in one place. `locks`: those of the event loop that it is called in. `lease`: of the jobs."""

    def __init__(self, locks: Callable[[], Locks], lease: timedelta | float = HOLD_TTL) -> None:
        self._locks = locks
        self._lease = lease

    def hold(
        self, name: str, *, job: str, fence: int, task: str, wait: timedelta | float = 0.0, purpose: str = ""
    ) -> Hold:
        """Hold a lock for this delivery (`fence`) of a job; see `Locks.hold`. Raises RuntimeError in a thread without an event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("a job's lock belongs to the event loop: hold it in an async handler") from None
        return self._locks().hold(
            name, ttl=self._lease, wait=wait, owner=task, purpose=purpose, holder=job, holder_fence=fence
        )
