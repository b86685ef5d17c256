"""Enqueues the jobs of cron jobs at their ticks. Any number of schedulers may run, without a leader, and each tick runs once.

Why once: a tick is an instant that follows from the definition alone, so that all schedulers name it by the same number. The
script that enqueues its job records it as the last tick of its cron job, in the same call and the same slot of the cluster:
either both happen, or neither does. It refuses a tick that is not later than the recorded one. So

- of schedulers that come with the same tick, however late one of them is, the first enqueues it and the others are refused;
- one that dies before the call has done nothing, and any other does it; one that dies after it has done all;
- one whose reply was lost asks again, and is refused;
- a store that falls back to an older copy forgets the record and the job together, and the tick comes again for that copy;
- the id of the job follows from name and tick, so that even a record that was lost alone enqueues no job that is still there.

Nor does a scheduler's clock matter: what is due is told from the time that the server gave with its last reply, and the
script refuses what is later than the server's own now. When that clock is set back behind the last tick, nothing runs until it
is there again; this is logged as an error and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ropeline.jobs.cron.cron_jobs import CronJob, CronStore, Missed
from ropeline.jobs.cron.lines import instants_between
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.envelope import task_of
from ropeline.lua.cron_scripts import FireResult
from ropeline.lua.errors import ConfigurationError, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from ropeline.jobs.cron.lines import Schedule
    from ropeline.jobs.tracer import Tracer
    from ropeline.lua.cron_scripts import CronState, Fired, StoredCron

__all__ = ["MOST_MISSED", "ScheduleCounts", "Scheduler"]

MOST_MISSED: Final = 100
"""Most missed ticks that run by Missed.ALL."""

_log = logging.getLogger("ropeline.jobs.cron")

_RETRY: Final = 1.0
_LONGEST_SPREAD: Final = 0.02
# A clock that is slewed may go back a little.
_FUTURE: Final = 1000
_MOST_COUNTED: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class ScheduleCounts:
    """What one scheduler has seen. Each but `in_future` only grows."""

    enqueued: int = 0
    """Ticks whose job this one enqueued."""
    existing: int = 0
    """Ticks whose job the queue had already."""
    held_back: int = 0
    """Ticks passed over since another job holds their unique key."""
    missed: int = 0
    """Ticks that were not run since nobody was there in time, by the policy of their cron job."""
    outrun: int = 0
    """Ticks that another scheduler had recorded when this one came."""
    future_alarms: int = 0
    """How often a last tick was found to lie in the future: the server's clock was set back."""
    in_future: int = 0
    """Cron jobs of which that is so now; none of their ticks run."""
    unreadable: int = 0
    """Definitions that this program cannot read, counted once for each version."""
    failures: int = 0
    """Calls that the store did not answer; each is repeated."""


@dataclass(slots=True)
class _Entry:
    """One cron job as this scheduler knows it. `next`: the first tick after the last one, None when none will come."""

    cron: CronJob
    version: int
    schedule: Schedule
    last: int = 0
    next: int | None = None
    is_in_future: bool = False

    def passed(self, last: int) -> None:
        if last != self.last or self.next is None:
            self.last, self.next = last, self.schedule.next_after(last)


@dataclass(slots=True)
class _Queue:
    """The cron jobs of one queue. `ahead`: ms that the server's wall clock is ahead of this process's monotonic one."""

    changes: int = -1
    ahead: float = 0.0
    read_at: float = -1e9
    entries: dict[str, _Entry] = field(default_factory=dict)


class Scheduler:
    """Fires the ticks of a stage's cron jobs, until it is stopped.

    `queues`: only those of these queues; None: of all that there are. `refresh`: seconds between two looks for changed
    definitions. `monotonic`: the clock by which it sleeps, seconds. `tracer`: of the jobs, None: nothing traces them.
    """

    def __init__(
        self,
        store: CronStore,
        *,
        queues: Sequence[str] | None = None,
        refresh: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        if not 0 <= refresh <= 3600:
            raise ConfigurationError("refresh", refresh, "seconds from 0 to 3600")
        self.counts = ScheduleCounts()
        self._store = store
        self._only = None if queues is None else list(queues)
        self._refresh = refresh
        self._monotonic = monotonic
        self._tracer = tracer
        self._queues: dict[str, _Queue] = {}
        self._looked_at = -1e9
        self._is_failing = False
        self._is_stopped = False
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Fire ticks until `stop` is called; failures of the store are logged, and tried again."""
        self._loop = asyncio.get_running_loop()
        with self._store.watched(self.look_again):
            while not self._is_stopped:
                if self._woken.is_set():
                    self._woken.clear()
                    self._forget_reads()
                delay = await self.turn()
                try:
                    # Spread a little: schedulers that come later see with one look what the first one did.
                    async with asyncio.timeout(delay + random.uniform(0, _LONGEST_SPREAD)):  # noqa: S311 - no secret
                        await self._woken.wait()
                except TimeoutError:
                    continue

    def stop(self) -> None:
        """Let `run` return after the turn that it is in."""
        self._is_stopped = True
        self._woken.set()

    def look_again(self) -> None:
        """Have `run` read the time and the definitions anew, at once. From any thread."""
        if self._loop is not None:
            # A loop that has been closed runs nothing any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._woken.set)

    def _forget_reads(self) -> None:
        self._looked_at = -1e9
        for queue in self._queues.values():
            queue.read_at = -1e9

    async def turn(self) -> float:
        """Fire what is due now; seconds until something is due again, or is to be looked at."""
        failed = self.counts.failures
        try:
            await self._look_for_queues()
        except StoreError as error:
            self._failed("queues", error)
        for name, queue in self._queues.items():
            # One that fails stops no other.
            try:
                await self._turn_of(name, queue)
            except StoreError as error:
                self._failed(name, error)
        if self.counts.failures > failed:
            return _RETRY
        if self._is_failing:
            _log.warning("the store answers again")
        self._is_failing = False
        return self._until_next()

    def _failed(self, what: str, error: StoreError) -> None:
        self.counts.failures += 1
        if not self._is_failing:
            _log.warning("%s: ticks wait for the store: %s", what, error)
        self._is_failing = True

    async def _look_for_queues(self) -> None:
        if self._monotonic() - self._looked_at < self._refresh:
            return
        names = self._only if self._only is not None else await self._store.queues()
        self._queues = {name: self._queues.get(name) or _Queue() for name in names}
        self._looked_at = self._monotonic()
        self._count_in_future()

    async def _turn_of(self, name: str, queue: _Queue) -> None:
        now = self._now(queue)
        is_due = any(entry.next is not None and entry.next <= now for entry in queue.entries.values())
        if not is_due and self._monotonic() - queue.read_at < self._refresh:
            return
        await self._read(name, queue)
        for entry in list(queue.entries.values()):
            if entry.next is not None and entry.next <= self._now(queue):
                try:
                    await self._fire(queue, entry)
                except StoreUnavailable:
                    raise
                except StoreError as error:
                    self._failed(f"{name}, cron job {entry.cron.name}", error)

    async def _read(self, name: str, queue: _Queue) -> None:
        state = await self._store.read(name, known=queue.changes)
        queue.read_at = self._monotonic()
        queue.ahead = state.now - queue.read_at * 1000
        if state.stored is not None:
            self._take_over(name, queue, state.stored)
        queue.changes = state.changes
        self._note_ticks(name, queue, state)

    def _take_over(self, name: str, queue: _Queue, stored: Sequence[StoredCron]) -> None:
        """Take the definitions as the store has them; one that cannot be read stops no other."""
        former, queue.entries = queue.entries, {}
        for row in stored:
            known = former.get(row.name)
            if known is not None and known.version == row.version:
                queue.entries[row.name] = known
                continue
            try:
                cron = CronJob.unpack(name, row.name, row.definition)
                queue.entries[row.name] = _Entry(cron, row.version, cron.schedule())
            except (Undecodable, ConfigurationError) as error:
                self.counts.unreadable += 1
                _log.error(
                    "queue %s, cron job %s: cannot be read here, and is left to others: %s", name, row.name, error
                )

    def _note_ticks(self, name: str, queue: _Queue, state: CronState) -> None:
        for entry in queue.entries.values():
            entry.passed(state.ticks.get(entry.cron.name, state.now))
            was, entry.is_in_future = entry.is_in_future, entry.last > state.now + _FUTURE
            if entry.is_in_future and not was:
                self.counts.future_alarms += 1
                _log.error(
                    "queue %s, cron job %s: its last tick, %s, is later than the server's time, %s; it rests until then",
                    name, entry.cron.name, _shown(entry.last), _shown(state.now),
                )  # fmt: skip
        self._count_in_future()

    def _count_in_future(self) -> None:
        entries = (entry for queue in self._queues.values() for entry in queue.entries.values())
        self.counts.in_future = sum(entry.is_in_future for entry in entries)

    async def _fire(self, queue: _Queue, entry: _Entry) -> None:
        cron = entry.cron
        most = MOST_MISSED if cron.missed is Missed.ALL else 1
        for tick in instants_between(entry.schedule, entry.last, int(self._now(queue)), most):
            answer = await self._fire_tick(entry, tick)
            queue.ahead = max(queue.ahead, answer.now - self._monotonic() * 1000)
            if answer.result is FireResult.CHANGED:
                queue.read_at = -1e9
                entry.next = None
                return
            entry.passed(answer.last)
            self._count(entry, answer, tick)
            if answer.result is FireResult.EARLY:
                # The server's clock went back since it was read.
                queue.read_at = -1e9
                return

    async def _fire_tick(self, entry: _Entry, tick: int) -> Fired:
        cron = entry.cron
        if self._tracer is None:
            return await self._store.fire(cron, entry.version, tick)
        job = cron.job_of(tick)
        with self._tracer.enqueuing(queue=cron.queue, task=task_of(job.body).decode(), id=job.id, is_tick=True) as span:
            answer = await self._store.fire(cron, entry.version, tick, span.carrier)
            span.note(answer.result.name.lower())
        return answer

    def _count(self, entry: _Entry, answer: Fired, tick: int) -> None:
        counts, result, name = self.counts, answer.result, f"queue {entry.cron.queue}, cron job {entry.cron.name}"
        if result is FireResult.PAST:
            counts.outrun += 1
            return
        if result is FireResult.EARLY:
            return
        if result is FireResult.ENQUEUED:
            counts.enqueued += 1
        elif result is FireResult.EXISTS:
            counts.existing += 1
        elif result is FireResult.CONFLICT:
            counts.held_back += 1
            _log.info("%s: the tick %s is passed over: another job holds the unique key", name, _shown(tick))
        missed = len(instants_between(entry.schedule, answer.before, tick - 1, _MOST_COUNTED))
        missed += result is FireResult.LATE
        if missed:
            counts.missed += missed
            _log.warning(
                "%s: %d ticks before %s were missed, and do not run (policy %s)",
                name, missed, _shown(tick + 1), entry.cron.missed,
            )  # fmt: skip

    def _now(self, queue: _Queue) -> float:
        """The server's wall ms, or a little less: what the reply took on its way is not counted."""
        return self._monotonic() * 1000 + queue.ahead

    def _until_next(self) -> float:
        now = self._monotonic()
        waits = [self._looked_at + self._refresh - now]
        for queue in self._queues.values():
            waits.append(queue.read_at + self._refresh - now)
            server_now = self._now(queue)
            waits += [(entry.next - server_now) / 1000 for entry in queue.entries.values() if entry.next is not None]
        return max(0.0, min(waits))


def _shown(instant: int) -> str:
    return (_EPOCH + timedelta(milliseconds=instant)).isoformat(timespec="seconds")
