"""The broker that keeps its jobs in this process: what tests run on.

The rules are those of `MemoryQueue`; here are a clock, a lock for threads, and waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from ropeline.jobs.broker import LARGEST_HAND_OUT
from ropeline.jobs.brokers.checks import (
    check_enqueue,
    check_id,
    check_ids,
    check_limit,
    check_milliseconds,
    check_names,
    check_purge,
    check_renewal,
    check_settings,
    check_step,
    check_task,
    too_many_tasks,
)
from ropeline.jobs.brokers.memory_cron import MemoryCronStore
from ropeline.jobs.brokers.memory_locks import MemoryLockKeeper
from ropeline.jobs.brokers.memory_queue import MemoryQueue
from ropeline.jobs.brokers.memory_split import MemorySplit
from ropeline.jobs.errors import QueueFull
from ropeline.jobs.locks.locks import Locks
from ropeline.jobs.records import (
    Depths,
    Enqueued,
    Finish,
    JobState,
    JobView,
    NewJob,
    Outgoing,
    OutgoingKind,
    Page,
    PartOutcome,
    Progress,
    QueueSettings,
    Renewal,
    StepReply,
)

__all__ = ["FakeClock", "MemoryBroker", "MemoryQueue"]


class FakeClock:
    """A wall clock that stands still until it is told to go on; whoever waits in a MemoryBroker looks again then.

    `now`: ms, by default in 2001.
    """

    def __init__(self, now: int = 1_000_000_000_000) -> None:
        self.now = now
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> int:
        return self.now

    def advance(self, by: int | timedelta) -> None:
        """Go on by milliseconds or a timedelta; a negative one sets the clock back."""
        self.now += by // timedelta(milliseconds=1) if isinstance(by, timedelta) else by
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every advance."""
        self._listeners.append(listener)


class MemoryBroker:
    """Keeps the jobs of one stage in this process, for as long as this object lives.

    `clock`: returns wall ms; by default the machine's own, or a FakeClock in tests. Safe to use from several threads and
    event loops at once. `close` ends all waiting and loses nothing.
    """

    keeps_places = True
    queue_type: type[MemoryQueue] = MemoryQueue

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or _wall_clock
        self._queues: dict[str, MemoryQueue] = {}
        self._lock = threading.RLock()
        self._waiters: list[_Waiter] = []
        self._marks: dict[bytes, int] = {}
        self._locks = Locks(MemoryLockKeeper(clock=self._clock, guard=self._lock))
        self._cron = MemoryCronStore(clock=self._clock, lock=self._lock, enqueue=self._enqueue_one)
        if isinstance(clock, FakeClock):
            clock.listen(self._wake)
            clock.listen(self._cron.tell_watchers)

    def queue(self, name: str) -> MemoryQueue:
        """The queue's state, for a test to look at."""
        with self._lock:
            return self._queues.setdefault(name, self.queue_type())

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        check_enqueue(jobs)
        await asyncio.sleep(0)
        with self._lock:
            self._refuse_beyond_budget(queue, jobs)
            answers = self.queue(queue).enqueue(self._clock(), jobs)
        self._wake(queue)
        return answers

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
        check_step(
            worker=worker,
            lane=lane,
            call=call,
            finishes=finishes,
            claim=claim,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )
        # A store's answer takes a turn of the loop: a worker that never waits for anything else must let others run.
        await asyncio.sleep(0)
        with self._lock:
            lost = self.queue(queue).counters["lost"]
            reply = self.queue(queue).step(
                self._clock(),
                worker=worker,
                lane=lane,
                call=call,
                finishes=finishes,
                claim=claim,
                suspects=suspects,
                lease=lease,
                hard=hard,
                max_lost=max_lost,
            )
            reaped = self.queue(queue).counters["lost"] > lost
        if reply.more or finishes or reaped:
            self._wake(queue)
        return reply._replace(finished=list(reply.finished), claimed=list(reply.claimed))

    async def renew(self, queue: str, *, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> list[Renewal]:
        check_renewal(worker=worker, held=held, lease=lease)
        await asyncio.sleep(0)
        with self._lock:
            return self.queue(queue).renew(self._clock(), worker=worker, held=held, lease=lease)

    async def wait(self, queues: Sequence[str], seconds: float) -> None:
        await asyncio.sleep(0)
        waiter = _Waiter(frozenset(queues), asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            limit = min([seconds, *(self._seconds_to_work(self.queue(name)) for name in queues)])
            if limit <= 0:
                return
            self._waiters.append(waiter)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(waiter.event.wait(), limit)
        finally:
            with self._lock:
                self._waiters.remove(waiter)

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
        await self.wait([queue], seconds)
        woken()
        return await self.step(
            queue,
            worker=worker,
            lane=lane,
            call=call,
            claim=claim,
            suspects=suspects,
            lease=lease,
            hard=hard,
            max_lost=max_lost,
        )

    async def depths(self, queue: str) -> Depths:
        with self._lock:
            return self.queue(queue).depths(self._clock())

    async def queues(self) -> list[str]:
        with self._lock:
            return sorted(name for name, queue in self._queues.items() if queue.counters["enqueued"])

    async def find(self, queue: str, id: bytes) -> JobView | None:
        check_id("id", id)
        with self._lock:
            return self.queue(queue).find(id)

    async def jobs_in(self, queue: str, state: JobState, *, cursor: str = "", limit: int = 100) -> Page:
        check_limit(limit)
        with self._lock:
            return self.queue(queue).jobs_in(JobState(state), cursor=cursor, limit=limit)

    async def cancel(self, queue: str, id: bytes) -> JobState | None:
        check_id("id", id)
        with self._lock:
            state = self.queue(queue).cancel(self._clock(), id)
        self._wake(queue)
        return state

    async def requeue(self, queue: str, ids: Sequence[bytes]) -> list[Enqueued | None]:
        check_ids(ids)
        with self._lock:
            answers = self.queue(queue).requeue(self._clock(), ids)
        self._wake(queue)
        return answers

    async def purge(self, queue: str, state: JobState, *, limit: int = 1000, ids: Sequence[bytes] = ()) -> int:
        check_purge(state, limit)
        if ids:
            check_ids(ids)
        with self._lock:
            return self.queue(queue).purge(self._clock(), state, limit, ids)

    async def unpark(self, queue: str, task: bytes) -> int:
        with self._lock:
            many = self.queue(queue).unpark(self._clock(), task)
        self._wake(queue)
        return many

    async def pause(self, queue: str, *, reason: str, resume_after: int = 0, task: bytes = b"") -> None:
        check_milliseconds("resume_after", resume_after)
        check_task(task)
        with self._lock:
            now, kept = self._clock(), self.queue(queue)
            if not task:
                kept.pause(now, reason=reason, resume_after=resume_after)
            elif not kept.pause_task(now, task, reason=reason, resume_after=resume_after):
                raise too_many_tasks(task)

    async def resume(self, queue: str, *, task: bytes = b"") -> None:
        check_task(task)
        with self._lock:
            if task:
                self.queue(queue).resume_task(task)
            else:
                self.queue(queue).resume()
        self._wake(queue)

    async def configure(self, queue: str, changes: Mapping[str, int]) -> QueueSettings:
        check_settings(changes)
        with self._lock:
            settings = self.queue(queue).configure(changes)
        self._wake(queue)
        return settings

    async def mark(self, key: bytes, keep: int) -> None:
        check_id("key", key)
        check_milliseconds("keep", keep, least=1)
        await asyncio.sleep(0)
        with self._lock:
            now = self._clock()
            self._marks = {kept: end for kept, end in self._marks.items() if end > now} | {key: now + keep}

    async def is_marked(self, key: bytes) -> bool:
        check_id("key", key)
        await asyncio.sleep(0)
        with self._lock:
            return self._marks.get(key, 0) > self._clock()

    def cron_store(self) -> MemoryCronStore:
        """The cron jobs of this broker."""
        return self._cron

    def locks(self) -> Locks:
        """The locks of this broker."""
        return self._locks

    async def hand_out(self, queue: str, *, limit: int = LARGEST_HAND_OUT) -> list[Outgoing]:
        await asyncio.sleep(0)
        with self._lock:
            return self.queue(queue).outbox.hand_out(self._clock(), limit)

    async def take_over(self, queue: str, entries: Sequence[Outgoing]) -> int:
        check_names([entry.name for entry in entries])
        await asyncio.sleep(0)
        with self._lock:
            taken = self.queue(queue).take_over(self._clock(), entries)
        self._wake(queue)
        return taken

    async def settle(self, queue: str, names: Sequence[bytes]) -> int:
        check_names(names)
        with self._lock:
            return self.queue(queue).outbox.settle(names)

    async def forget_settled(self, queue: str, names: Sequence[bytes]) -> None:
        check_names(names)
        with self._lock:
            self.queue(queue).seen_entries.shorten(self._clock(), names)

    async def stop(self, queue: str, id: bytes) -> JobState | None:
        check_id("id", id)
        with self._lock:
            return self.queue(queue).stop(self._clock(), id)

    async def progress(self, queue: str, id: bytes) -> Progress | None:
        split = self._split_of(queue, id)
        return None if split is None else split.progress()

    async def outcomes(self, queue: str, id: bytes) -> tuple[PartOutcome, ...] | None:
        split = self._split_of(queue, id)
        return None if split is None else split.outcomes()

    def _split_of(self, queue: str, id: bytes) -> MemorySplit | None:
        check_id("id", id)
        with self._lock:
            job = self.queue(queue).jobs.get(id)
            return None if job is None else job.split

    async def is_outgoing(self, queue: str, id: bytes) -> bool:
        check_id("id", id)
        with self._lock:
            return bytes((OutgoingKind.JOBS,)) + id in self.queue(queue).outbox.entries

    async def close(self) -> None:
        await self._locks.close()
        self._wake()

    def _enqueue_one(self, queue: str, job: NewJob) -> Enqueued:
        self._refuse_beyond_budget(queue, [job])
        (answer,) = self.queue(queue).enqueue(self._clock(), [job])
        self._wake(queue)
        return answer

    def _refuse_beyond_budget(self, queue: str, jobs: Sequence[NewJob]) -> None:
        if why := self.queue(queue).refusal(self._clock(), jobs):
            raise QueueFull(queue, why)

    def _seconds_to_work(self, queue: MemoryQueue) -> float:
        """For how long there is nothing to do if nobody calls; 0 or less when there is something."""
        now = self._clock()
        moment = queue.next_work(now)
        # Moving a clock of a test wakes those who wait.
        return inf if moment > now and isinstance(self._clock, FakeClock) else (moment - now) / 1000

    def _wake(self, queue: str | None = None) -> None:
        with self._lock:
            for waiter in self._waiters:
                if queue is None or queue in waiter.queues:
                    waiter.wake()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """Somebody who waits in some thread's event loop."""

    queues: frozenset[str]
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event

    def wake(self) -> None:
        # A loop that has been closed has nobody left who waits.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.event.set)


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000
