"""Keeps the cron jobs of a MemoryBroker in this process, by the rules of the scripts that the Redis store runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from ropeline.jobs.cron.cron_jobs import CronJob, Missed
from ropeline.jobs.errors import CronChanged
from ropeline.jobs.payloads.envelope import NO_TRACE
from ropeline.jobs.records import Enqueued, NewJob
from ropeline.lua.cron_scripts import CronState, Fired, FireResult, StoredCron
from ropeline.lua.errors import ConfigurationError

__all__ = ["MemoryCronStore"]

_MOST_CRON_JOBS: Final = 1000


@dataclass(slots=True)
class _Queue:
    """The cron jobs of one queue. `changes`: also the last version that was given. `ticks`: the last of each, wall ms."""

    changes: int = 0
    stored: dict[str, StoredCron] = field(default_factory=dict)
    ticks: dict[str, int] = field(default_factory=dict)


class MemoryCronStore:
    """The cron jobs of one broker; see CronStore.

    `clock`: wall ms. `lock`: the broker's; `enqueue` takes a job into a queue and is called while it is held.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int],
        lock: AbstractContextManager[object],
        enqueue: Callable[[str, NewJob], Enqueued],
    ) -> None:
        self._clock = clock
        self._lock = lock
        self._enqueue = enqueue
        self._queues: dict[str, _Queue] = {}
        self._watchers: list[Callable[[], None]] = []

    async def define(self, cron: CronJob, *, expected: int = -1) -> int:
        """Write a definition, unless it is there already; see CronStore."""
        packed = cron.pack()
        with self._lock:
            queue = self._queues.setdefault(cron.queue, _Queue())
            stored = queue.stored.get(cron.name)
            version = stored.version if stored else 0
            if stored and stored.schedule == cron.when and stored.definition == packed:
                return version
            if expected >= 0 and expected != version:
                raise CronChanged(cron.name, expected, version)
            if stored is None and len(queue.stored) >= _MOST_CRON_JOBS:
                raise ConfigurationError("cron name", cron.name, f"at most 1,000 cron jobs in queue {cron.queue}")
            queue.changes += 1
            queue.stored[cron.name] = StoredCron(cron.name, queue.changes, cron.when, packed)
            if stored is None or stored.schedule != cron.when:
                queue.ticks[cron.name] = max(queue.ticks.get(cron.name, 0), self._clock())
            version = queue.changes
        self.tell_watchers()
        return version

    async def remove(self, queue: str, name: str, *, expected: int = -1) -> bool:
        """End a cron job; see CronStore."""
        with self._lock:
            kept = self._queues.get(queue, _Queue())
            stored = kept.stored.get(name)
            if stored is None or (expected >= 0 and expected != stored.version):
                return False
            del kept.stored[name]
            kept.ticks.pop(name, None)
            kept.changes += 1
        self.tell_watchers()
        return True

    async def queues(self) -> Sequence[str]:
        """Every queue that may have cron jobs."""
        with self._lock:
            return list(self._queues)

    async def read(self, queue: str, *, known: int = -1) -> CronState:
        """The cron jobs of a queue; see CronStore."""
        with self._lock:
            kept = self._queues.get(queue, _Queue())
            stored = None if kept.changes == known else list(kept.stored.values())
            return CronState(self._clock(), kept.changes, dict(kept.ticks), stored)

    async def fire(self, cron: CronJob, version: int, tick: int, trace: Mapping[str, str] = NO_TRACE) -> Fired:
        """Enqueue the job of a tick and record the tick; see CronStore."""
        job = cron.job_of(tick, trace)
        late = cron.late if cron.missed is Missed.SKIP else 0
        with self._lock:
            now, queue = self._clock(), self._queues.get(cron.queue, _Queue())
            stored, last = queue.stored.get(cron.name), queue.ticks.get(cron.name, 0)
            if stored is None or stored.version != version:
                return Fired(FireResult.CHANGED, now, last, last)
            if tick > now:
                return Fired(FireResult.EARLY, now, last, last)
            if tick <= last:
                return Fired(FireResult.PAST, now, last, last)
            result = FireResult.LATE
            if not late or now - tick <= late:
                result = FireResult(self._enqueue(cron.queue, job).result)
            queue.ticks[cron.name] = tick
            return Fired(result, now, tick, last)

    @contextmanager
    def watched(self, on_change: Callable[[], None]) -> Iterator[None]:
        """Have `on_change` called when definitions changed, or a test moved the clock; see CronStore."""
        with self._lock:
            self._watchers.append(on_change)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.remove(on_change)

    def tell_watchers(self) -> None:
        """What was read may be out of date."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()
