"""One process's worker: lanes that claim, a runner that runs, leases that are kept, and an end in good order."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ropeline.jobs.background import end, in_background
from ropeline.jobs.broker import LARGEST_HAND_OUT, KeepsCronJobs
from ropeline.jobs.cron.scheduling import Scheduling
from ropeline.jobs.locks.job_locks import JobLocks
from ropeline.jobs.records import Renewal
from ropeline.jobs.shapes.courier import carry
from ropeline.jobs.worker.lane import Lane, LaneTerms
from ropeline.jobs.worker.leases import Leases
from ropeline.jobs.worker.metrics import WorkerMetrics
from ropeline.jobs.worker.runner import Runner
from ropeline.jobs.worker.shares import Shares
from ropeline.jobs.worker.traced import handlers_of
from ropeline.lua.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from typing import Self

    from ropeline.jobs.app import Jobs
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.cron.scheduler import ScheduleCounts
    from ropeline.jobs.records import Depths, StepReply
    from ropeline.jobs.worker.handlers import UnknownPolicy
    from ropeline.jobs.worker.run import Run
    from ropeline.jobs.worker.runner import Handlers

__all__ = ["LARGEST_CONCURRENCY", "Worker", "WorkerSettings"]

_log = logging.getLogger("ropeline.jobs.worker")

LARGEST_CONCURRENCY: Final = 10_000
"""Most slots of one process."""

_LANES: Final = 2
# The store's own end of all renewals is for the case that a worker's fails; jobs may have a longer timeout than their task.
_STORE_RENEWS: Final = 86_400.0
_LONGEST_RUN: Final = 14 * 86_400
_LONGEST_WAIT: Final = 2.0
_TENDED_EVERY: Final = 10.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_AT_ONCE: Final = 0.002
_FRUITLESS: Final = 3
# What is left for handlers that clean up after a cancellation, and for the last words to the store.
_CLEAN_UP: Final = 5.0
_LAST_WORDS: Final = 5.0
_HURRIED: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works; times in seconds.

    Raises:
        ConfigurationError: a field is out of range.

    """

    queues: dict[str, int] = field(default_factory=dict)
    """Weight of each queue, 1 to 1,000; with `strict` their order counts instead. Empty: those of the application's tasks."""
    strict: bool = False
    concurrency: int = 32
    """Slots: most jobs that run at once, 1 to 10,000; also the most threads for sync handlers."""
    drain_timeout: float = 30.0
    """How long running jobs may go on once the worker is told to end; 0 hands them back at once."""
    lease: float = 30.0
    """How long the store leaves a job to a worker that says nothing, 0.1 s to an hour; renewed at a third of it."""
    longest_run: float = 330.0
    """The longest timeout with its grace of any task: a job that has not begun after this long is renewed no more."""
    max_lost: int = 3
    """Leases that a job may lose before it is a dead letter, 1 to 100."""

    def __post_init__(self) -> None:
        _check("concurrency", self.concurrency, 1, LARGEST_CONCURRENCY)
        _check("drain_timeout", self.drain_timeout, 0, 86_400)
        _check("lease", self.lease, 0.1, 3600)
        _check("longest_run", self.longest_run, 0.001, _LONGEST_RUN)
        _check("max_lost", self.max_lost, 1, 100)
        if self.queues:
            Shares(self.queues)


class Worker:
    """Runs the jobs of some queues until it is told to end. One for each process; its methods belong to its event loop.

    `broker`: for the event loop; the caller closes it. `connect`: makes one more for the thread that keeps the leases.
    `handlers`: reads deliveries. `tasks`: the types that they know, of which parked jobs are made pending. `scheduling`: of cron
    jobs, None: none.
    """

    def __init__(
        self,
        broker: Broker,
        handlers: Handlers,
        settings: WorkerSettings,
        *,
        connect: Callable[[], Broker],
        tasks: Iterable[str] = (),
        scheduling: Scheduling | None = None,
    ) -> None:
        self.id: Final = os.urandom(16)
        self.settings: Final = settings
        self.metrics: Final = WorkerMetrics(slots=settings.concurrency)
        self.broker: Final = broker
        self.state = "starting"
        """starting, running, quiet, draining or ended."""
        self._handlers = handlers
        self._scheduling = scheduling
        self._tasks = [task.encode() for task in tasks]
        lease = round(settings.lease * 1000)
        self._leases = Leases(connect, broker, self._tell_from_thread, worker=self.id, lease=lease)
        self._shares = Shares(settings.queues, strict=settings.strict)
        self._terms = LaneTerms(
            broker,
            self._shares,
            self._leases,
            self.metrics,
            worker=self.id,
            lease=lease,
            hard=round(max(settings.longest_run, _STORE_RENEWS) * 1000),
            longest_run=settings.longest_run,
            max_lost=settings.max_lost,
            begin=self._begin,
            on_reply=self._heed_reply,
        )
        counts = _slots_of_lanes(settings.concurrency)
        self._lanes = [Lane(number, slots, self._terms) for number, slots in enumerate(counts)]
        self._watches = {queue: _Watch(queue) for queue in settings.queues}
        self._watched_at = 0.0
        self._tending_calls: dict[str, int] = {}
        self._outboxes: dict[str, None] = {}
        self._has_outgoing = asyncio.Event()
        self._draining = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: Runner | None = None
        self._fault: BaseException | None = None

    @classmethod
    def of_app(
        cls,
        app: Jobs,
        settings: WorkerSettings | None = None,
        *,
        unknown: UnknownPolicy = "park",
        schedules: bool = True,
    ) -> Self:
        """A worker for the tasks of an application, in the running event loop.

        Of the settings, the longest run and the most leases that a job may lose are always those of the tasks. `unknown`:
        what becomes of a job whose task type is not among them. `schedules`: it defines the application's cron jobs, and
        enqueues the ticks of those of its queues.
        """
        options = [task.options for task in app.tasks.values()]
        settings = settings or WorkerSettings()
        if not settings.queues:
            names = sorted({app.queue, *(each.queue for each in options)})
            settings = replace(settings, queues=dict.fromkeys(names, 1))
        if options:
            settings = replace(
                settings,
                longest_run=max(each.timeout + each.grace for each in options) / 1000,
                max_lost=max(each.max_lost for each in options),
            )
        locks = JobLocks(lambda: app.locks, settings.lease)
        handlers = handlers_of(app.tasks, unknown=unknown, locks=locks, tracer=app.tracing)
        broker, scheduling = app.broker(), None
        # A broker that keeps no cron jobs is refused only where there are some.
        if schedules and (app.cron_jobs or isinstance(broker, KeepsCronJobs)):
            crons, queues = list(app.cron_jobs.values()), list(settings.queues)
            scheduling = Scheduling(app.cron_store(), crons, queues=queues, tracer=app.tracing)
        return cls(broker, handlers, settings, connect=app.connect, tasks=app.tasks, scheduling=scheduling)

    # What others see

    @property
    def running(self) -> list[Run]:
        """The runs whose handlers have begun, are suspended or in a thread, and have not ended."""
        return [] if self._runner is None else self._runner.running

    @property
    def schedule_counts(self) -> ScheduleCounts | None:
        """What its scheduler has seen, None when it has none."""
        return None if self._scheduling is None else self._scheduling.counts

    @property
    def is_draining(self) -> bool:
        """Whether it was told to end."""
        return self._draining.is_set()

    @property
    def failure(self) -> StoreError | None:
        """Why the store did not answer the last call, None when it did."""
        failures = [*(lane.failure for lane in self._lanes), *(watch.failure for watch in self._watches.values())]
        return next(filter(None, failures), None)

    def loop_age(self) -> float:
        """Seconds since the claim loop went round: how long the longest call under way, or wait for work, has lasted."""
        now = time.monotonic()
        begun = [lane.stepping_since for lane in self._lanes]
        begun += [watch.since for watch in self._watches.values()]
        begun.append(self._leases.last_look)
        return now - min(filter(None, begun))

    async def depths(self) -> dict[str, Depths]:
        """How many jobs each of this worker's queues has in each state; raises StoreError."""
        return {queue: await self.broker.depths(queue) for queue in self.settings.queues}

    # What it is told

    def quiet(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._terms.may_claim = False
        for lane in self._lanes:
            lane.rouse()
        if self.state == "running":
            self.state = "quiet"

    def drain(self) -> None:
        """End: claim nothing more, hand back what has not begun, and let what runs finish; the second time, at once."""
        if self._draining.is_set():
            self._hurrying.set()
        self.quiet()
        if self._runner is not None:
            self._runner.hand_back()
        self._draining.set()

    async def run(self) -> None:
        """Work until `drain`, and return when everything has ended or was handed back.

        A part that breaks off, by a fault of ours, ends the worker as `drain` does, and is raised then.
        """
        self._loop = asyncio.get_running_loop()
        self._runner = Runner(self._handlers, self.metrics, threads=self.settings.concurrency)
        try:
            async with self._leases.kept_by_thread():
                lanes = [asyncio.create_task(lane.work(), name=f"ropeline-lane-{lane.number}") for lane in self._lanes]
                schedulings = [] if self._scheduling is None else [self._scheduling.run()]
                watches = map(self._watch, self._watches.values())
                async with in_background(*watches, self._tend_all(), self._carry_all(), *schedulings) as others:
                    if not self._draining.is_set():
                        self.state = "running" if self._terms.may_claim else "quiet"
                    await self._wait_for_end(lanes, others)
                    self.state = "draining"
                await self._drain(self._runner, lanes)
            if self._fault is not None:
                raise self._fault
        finally:
            self.state = "ended"

    async def _wait_for_end(self, lanes: list[asyncio.Task[None]], others: list[asyncio.Task[None]]) -> None:
        draining = asyncio.create_task(self._draining.wait())
        done, _ = await asyncio.wait([draining, *lanes, *others], return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        for task in done:
            # None of them ends by itself: one that did has met a fault of ours.
            if task is not draining and (failure := task.exception()) is not None:
                _log.error("the worker ends, a part of it broke off", exc_info=failure)
                self._fault = failure

    # The end

    async def _drain(self, runner: Runner, lanes: list[asyncio.Task[None]]) -> None:
        self._terms.may_claim = False
        runner.hand_back()
        for lane in self._lanes:
            lane.close()
        if not await self._all_ended(lanes, self.settings.drain_timeout, hurried=0):
            left = len(runner.running)
            _log.warning("%d jobs still run and are handed back", left)
            runner.release_all()
            await self._all_ended(lanes, _CLEAN_UP, hurried=_HURRIED)
            runner.give_up_all()
            await self._all_ended(lanes, _LAST_WORDS, hurried=_HURRIED)
        await end(lanes)
        await runner.close()

    async def _all_ended(self, lanes: list[asyncio.Task[None]], seconds: float, *, hurried: float) -> bool:
        """Whether all lanes end within `seconds`; from a second signal on, within `hurried`."""
        hurrying = asyncio.create_task(self._hurrying.wait())
        everything = asyncio.create_task(asyncio.wait(lanes))
        await asyncio.wait([everything, hurrying], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done() and hurried and not everything.done():
            await asyncio.wait([everything], timeout=min(hurried, seconds))
        await end([hurrying, everything])
        return all(lane.done() for lane in lanes)

    # Claims

    def _begin(self, lane: Lane, runs: list[Run]) -> None:
        if self._runner is not None:
            self._runner.begin(lane, runs)

    def _heed_reply(self, lane: Lane, queue: str, asked: int, reply: StepReply) -> None:
        watch = self._watches[queue]
        watch.stepped = time.monotonic()
        self._note_outgoing(queue, reply)
        if self._shares.is_filled(queue):
            self._nudge_one(but=lane)
            return
        wait = (reply.next_due - reply.now) / 1000 if reply.next_due else _LONGEST_WAIT
        seconds = min(max(wait, 0.0), _LONGEST_WAIT)
        is_fruitless = asked > 0 and not reply.claimed
        if self._lane_watches(queue, seconds, is_fruitless=is_fruitless):
            return
        watch.begin(seconds, is_fruitless=is_fruitless)

    def _lane_watches(self, queue: str, seconds: float, *, is_fruitless: bool) -> bool:
        """Whether an idle lane waits for work of the only queue: it claims what comes without another trip to the store."""
        if len(self._watches) > 1 or not self._terms.may_claim:
            return False
        if any(lane.is_watching for lane in self._lanes):
            return True
        now = time.monotonic()
        is_hasty = is_fruitless and now - self._watched_at < _AT_ONCE
        idle = next((lane for lane in self._lanes if lane.is_idle), None)
        # A sign of work for nothing is the watch's affair, which grows patient.
        if idle is None or is_hasty:
            return False
        self._watched_at = now
        idle.watch(queue, seconds)
        return True

    def _nudge_one(self, but: Lane | None = None) -> None:
        """Have one lane look for work, if one has room and nothing to do."""
        for lane in self._lanes:
            if lane is not but and lane.is_waiting:
                lane.nudge()
                return

    async def _watch(self, watch: _Watch) -> None:
        """Wait for work in a queue that is believed to be empty, one wait at a time."""
        pause = _FIRST_PAUSE
        while True:
            await watch.is_empty.wait()
            watch.is_empty.clear()
            watch.since = time.monotonic()
            try:
                await self.broker.wait([watch.queue], watch.seconds)
            except StoreError as error:
                watch.failure = error
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                watch.failure = None
                pause = _FIRST_PAUSE
            if (seconds := watch.back_off()) > 0:
                await asyncio.sleep(seconds)
            watch.since = 0.0
            self._shares.fill(watch.queue)
            self._nudge_one()

    # Care for all queues

    async def _tend_all(self) -> None:
        """See to it that no queue stands still: also those that have no worker, and ours while every slot is taken."""
        while True:
            try:
                await self._free_parked()
                for queue in await self.broker.queues():
                    watch = self._watches.get(queue)
                    if watch is None or time.monotonic() - watch.stepped > _TENDED_EVERY:
                        await self._tend(queue)
            except StoreError as error:
                _log.debug("queues could not be tended: %s", error)
            # Workers that were started together do not all come at the same time.
            await asyncio.sleep(_TENDED_EVERY * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    async def _tend(self, queue: str) -> None:
        call = self._tending_calls[queue] = self._tending_calls.get(queue, 0) + 1
        terms = self._terms
        reply = await self.broker.step(
            queue,
            worker=self.id,
            lane=len(self._lanes),
            call=call,
            lease=terms.lease,
            hard=terms.hard,
            max_lost=terms.max_lost,
        )
        self._note_outgoing(queue, reply)

    def _note_outgoing(self, queue: str, reply: StepReply) -> None:
        if reply.outgoing:
            self._outboxes[queue] = None
            self._has_outgoing.set()

    async def _carry_all(self) -> None:
        """Deliver what the outboxes of the queues hold that steps have found something in."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            while self._outboxes:
                queue = next(iter(self._outboxes))
                del self._outboxes[queue]
                try:
                    while await carry(self.broker, queue) == LARGEST_HAND_OUT:
                        pass
                except StoreError as error:
                    # What was not settled comes again.
                    _log.warning("queue %s: what it hands over could not be delivered: %s", queue, error)

    async def _free_parked(self) -> None:
        """Make pending what was parked for want of a task that this worker has."""
        for queue, depths in (await self.depths()).items():
            if depths.parked:
                for task in self._tasks:
                    while await self.broker.unpark(queue, task) and self._terms.may_claim:
                        pass

    # Leases

    def _tell_from_thread(self, run: Run, renewal: Renewal) -> None:
        if self._loop is not None and self._runner is not None:
            # The loop is closed when the worker has ended before this was told.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._runner.heed, run, renewal)


class _Watch:
    """What is known of a queue that is believed to be empty."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.is_empty = asyncio.Event()
        self.seconds = _LONGEST_WAIT
        self.since = 0.0
        """When the wait under way began, monotonic seconds; 0 none."""
        self.stepped = 0.0
        """When a step of this queue was answered last."""
        self.failure: StoreError | None = None
        self._in_vain = 0

    def begin(self, seconds: float, *, is_fruitless: bool) -> None:
        """The queue was found empty: wait for `seconds` at most."""
        self.seconds = seconds
        if not is_fruitless:
            self._in_vain = 0
        self.is_empty.set()

    def back_off(self) -> float:
        """How long to wait although there was a sign of work: several signs in a row, each at once and for nothing."""
        if time.monotonic() - self.since > _AT_ONCE:
            self._in_vain = 0
            return 0.0
        self._in_vain += 1
        return 0.0 if self._in_vain <= _FRUITLESS else min(0.01 * 2 ** (self._in_vain - _FRUITLESS), 0.5)


def _slots_of_lanes(concurrency: int) -> list[int]:
    lanes = min(_LANES, concurrency)
    return [concurrency // lanes + (number < concurrency % lanes) for number in range(lanes)]


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(name, value, f"a number from {low:g} to {high:g}")
