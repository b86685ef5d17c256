"""Carries finished runs to the store and brings jobs back, many in one call, one call at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ropeline.jobs.broker import LARGEST_STEP
from ropeline.jobs.records import Finish, FinishKind, FinishResult, StepReply
from ropeline.jobs.worker.run import Run, safe_seconds
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.worker.leases import Leases
    from ropeline.jobs.worker.metrics import WorkerMetrics
    from ropeline.jobs.worker.shares import Shares

__all__ = ["Lane", "LaneTerms", "Suspects"]

_log = logging.getLogger("ropeline.jobs.worker.lane")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_SAID_AGAIN_AFTER: Final = 60.0
# Bytes of results and errors: with the rest, a call stays below 1 MiB.
_LARGEST_CALL: Final = 768 * 1024
# Finishes and the jobs that they hand over, so that no call holds up the others for more than two milliseconds.
_MOST_WORK: Final = LARGEST_STEP * 3 // 2

_Ended: TypeAlias = tuple[Run, Finish]


class Suspects:
    """Sees to it that a process holds at most one job that has lost a lease: a crash counts for that one alone."""

    def __init__(self) -> None:
        self._holder: object = None

    def ask(self, lane: object) -> bool:
        """Whether this lane's next claim may bring one; it is the only one that may until `settle`."""
        if self._holder is not None:
            return False
        self._holder = lane
        return True

    def settle(self, lane: object, runs: Sequence[Run]) -> None:
        """The claim of a lane that was allowed one has brought these."""
        if self._holder is lane:
            self._holder = next((run for run in runs if run.claimed.lost), None)

    def let_go(self, run: Run) -> None:
        """The run has ended."""
        if self._holder is run:
            self._holder = None


class LaneTerms:
    """What the lanes of a worker share.

    `lease`: ms. `hard`: ms after a claim past which the store renews no lease. `longest_run`: seconds after which a run that
    has not begun is renewed no more. `max_lost`: leases that a job may lose.
    `begin` starts claimed runs. `on_reply` is told of each step's reply, with the number of jobs that were asked for.
    """

    def __init__(
        self,
        broker: Broker,
        shares: Shares,
        leases: Leases,
        metrics: WorkerMetrics,
        *,
        worker: bytes,
        lease: int,
        hard: int,
        longest_run: float,
        max_lost: int,
        begin: Callable[[Lane, list[Run]], object],
        on_reply: Callable[[Lane, str, int, StepReply], object],
    ) -> None:
        self.broker = broker
        self.shares = shares
        self.leases = leases
        self.metrics = metrics
        self.worker = worker
        self.lease = lease
        self.hard = hard
        self.longest_run = longest_run
        self.max_lost = max_lost
        self.begin = begin
        self.on_reply = on_reply
        self.suspects = Suspects()
        self.may_claim = True
        """False once the worker drains or is told to be quiet: finishes are still carried."""


class Lane:
    """One of a worker's lanes. `number` tells it from the others; `slots`: most runs at once.

    Its calls are numbered, for each queue by itself. A call without an answer is repeated as it was until there is one,
    so that a lost reply loses nothing; meanwhile the other lanes go on.
    """

    def __init__(self, number: int, slots: int, terms: LaneTerms) -> None:
        self.number = number
        self.slots = slots
        self.taken = 0
        """Slots in which a handler runs, or which a claim under way may fill."""
        self.stepping_since = 0.0
        """When the call under way was sent first, monotonic seconds; 0 none."""
        self.failure: StoreError | None = None
        """Why the call under way was not answered yet."""
        self._terms = terms
        self._safe = safe_seconds(terms.lease)
        self._finishes: dict[str, list[_Ended]] = {}
        self._calls: dict[str, int] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._watched: tuple[str, float] | None = None
        self._roused: asyncio.Future[None] | None = None
        self._given_up_calls: set[asyncio.Task[StepReply]] = set()
        self._sent = 0.0
        self._claimed_last = False
        self._is_closing = False
        self._given_up = 0
        self._said_at = -_SAID_AGAIN_AFTER

    @property
    def is_waiting(self) -> bool:
        """Whether it has room and nothing to do."""
        return self._waiting is not None and not self._waiting.done() and self.taken < self.slots

    @property
    def is_idle(self) -> bool:
        """Whether no handler of it runs, and it has nothing to tell the store."""
        return self.taken == 0 and not self._finishes

    @property
    def is_watching(self) -> bool:
        """Whether it waits for work at the store, or is about to."""
        return self._watched is not None or self._roused is not None

    def watch(self, queue: str, seconds: float) -> None:
        """Wait for work in an empty queue at the store, for `seconds`, and claim it there and then. Only while it is idle."""
        self._watched = (queue, seconds)
        self.nudge()

    def rouse(self) -> None:
        """End the waiting at the store."""
        self._watched = None
        if self._roused is not None and not self._roused.done():
            self._roused.set_result(None)

    def nudge(self) -> None:
        """There may be something to do again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def finish(self, run: Run, finish: Finish) -> None:
        """Carry the end of a run to the store with the next call."""
        run.is_ended = True
        waiting = self._finishes.get(run.queue)
        if waiting is None:
            self._finishes[run.queue] = [(run, finish)]
        else:
            waiting.append((run, finish))
        self.nudge()

    def give_up(self, run: Run, finish: Finish) -> None:
        """As `finish`, of a run whose handler goes on and keeps its slot; nobody waits for it when the lane ends."""
        run.is_given_up = True
        self._given_up += 1
        self.finish(run, finish)

    def free_slot(self, run: Run) -> None:
        """The handler has ended."""
        self.taken -= 1
        if run.is_given_up:
            self._given_up -= 1
        self.nudge()

    def close(self) -> None:
        """End `work` when every run has ended or was given up, and the store knows it."""
        self._is_closing = True
        self.nudge()

    async def work(self) -> None:
        """Step until `close`."""
        while True:
            queue, claim = self._choose()
            # Whoever has something else to do tells by its reply that somebody is to watch.
            watched, self._watched = self._watched, None
            if queue is not None:
                await self._step(queue, claim)
            elif self._is_closing and self.taken == self._given_up:
                return
            elif watched is not None and self.is_idle and self._terms.may_claim:
                await self._step(watched[0], min(self.slots, LARGEST_STEP), wait=watched[1])
            else:
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting
                self._waiting = None

    def _choose(self) -> tuple[str | None, int]:
        """The queue of the next call and how many jobs it asks for; (None, 0) when there is nothing to call for."""
        terms = self._terms
        free = min(self.slots - self.taken, LARGEST_STEP) if terms.may_claim else 0
        wanted = terms.shares.choose() if free else None
        # A queue whose turn to be claimed from does not come must still hear of its finished runs.
        others = next((queue for queue in self._finishes if queue != wanted), None)
        if others is not None and (wanted is None or self._claimed_last):
            self._claimed_last = False
            return others, 0 if wanted else free
        self._claimed_last = True
        return (wanted, free) if wanted is not None else (None, 0)

    async def _step(self, queue: str, claim: int, *, wait: float = 0.0) -> None:
        terms = self._terms
        ended = self._take_finishes(queue)
        for run, _ in ended:
            # Its handler has ended: it can bring nobody down any more, and the same call may bring another one.
            if run.claimed.lost:
                terms.suspects.let_go(run)
        # A call that waits may outlive this process at the store by seconds, and would lose a suspect's lease once more.
        may_suspect = claim > 0 and not wait and terms.suspects.ask(self)
        # Only queues of this worker are charged; the finish of a job carries the name of one of them.
        terms.shares.charge(queue, claim)
        self.taken += claim
        self._sent = self.stepping_since = time.monotonic()
        call = self._calls[queue] = self._calls.get(queue, 0) + 1
        reply = await self._rested(queue, call, claim, wait, may_suspect=may_suspect) if wait else None
        if reply is None:
            finishes = [finish for _, finish in ended]
            # A wait that was given up for the end is asked only what it has brought.
            asked = claim if terms.may_claim else 0
            reply = await self._answered(queue, call, finishes, asked, may_suspect=may_suspect)
        sent, self.stepping_since = self._sent, 0.0
        claimed = reply.claimed
        self.taken -= claim - len(claimed)
        if ended:
            self._settle_finishes(queue, ended, reply.finished)
        runs = [Run(queue, delivery, sent, sent + self._safe, sent + terms.longest_run) for delivery in claimed]
        if may_suspect:
            terms.suspects.settle(self, runs)
        terms.shares.settle(queue, claim, len(runs), is_left=reply.more and (bool(runs) or not claim))
        if runs:
            self._begin(queue, runs)
        if wait and not runs and terms.may_claim:
            await self._step(queue, claim)
        else:
            terms.on_reply(self, queue, claim, reply)

    def _take_finishes(self, queue: str) -> list[_Ended]:
        """What the next call of a queue carries: at most 64 finishes, and few enough of large ones and of those that hand over jobs."""
        waiting = self._finishes.pop(queue, [])
        many = size = work = 0
        for _, finish in waiting[:LARGEST_STEP]:
            size += len(finish.result) + len(finish.error)
            shaped = finish.hand_over if finish.split is None else finish.split.parts
            size += sum(len(job.body) for _, jobs in shaped for job in jobs)
            work += 1 + sum(len(jobs) for _, jobs in shaped)
            if many and (size > _LARGEST_CALL or work > _MOST_WORK):
                break
            many += 1
        if many < len(waiting):
            self._finishes[queue] = waiting[many:]
        return waiting[:many]

    async def _rested(
        self, queue: str, call: int, claim: int, seconds: float, *, may_suspect: bool
    ) -> StepReply | None:
        """The reply of a call that first waits for work; None: it was given up or failed, and is to be repeated without."""
        terms = self._terms
        resting = asyncio.create_task(
            terms.broker.step_when_woken(
                queue,
                seconds,
                woken=self._note_sent,
                worker=terms.worker,
                lane=self.number,
                call=call,
                claim=claim,
                suspects=may_suspect,
                lease=terms.lease,
                hard=terms.hard,
                max_lost=terms.max_lost,
            )
        )
        self._roused = asyncio.get_running_loop().create_future()
        try:
            either: list[asyncio.Future[Any]] = [resting, self._roused]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._roused = None
            if not resting.done():
                # It may take its time to heed that. Whatever it still does at the store, it does by the same number.
                resting.cancel()
                self._given_up_calls.add(resting)
                resting.add_done_callback(self._forget_call)
        if not resting.done():
            return None
        failure = resting.exception()
        if isinstance(failure, StoreError):
            self._tell(queue, failure)
            terms.metrics.step_failures += 1
            return None
        terms.metrics.round_trips += 1
        return resting.result()

    def _forget_call(self, call: asyncio.Task[StepReply]) -> None:
        self._given_up_calls.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            _log.debug("a call that was given up has failed: %s", error)

    def _note_sent(self) -> None:
        self._sent = time.monotonic()

    async def _answered(
        self, queue: str, call: int, finishes: list[Finish], claim: int, *, may_suspect: bool
    ) -> StepReply:
        terms = self._terms
        pause = _FIRST_PAUSE
        while True:
            try:
                reply = await terms.broker.step(
                    queue,
                    worker=terms.worker,
                    lane=self.number,
                    call=call,
                    finishes=finishes,
                    claim=claim,
                    suspects=may_suspect,
                    lease=terms.lease,
                    hard=terms.hard,
                    max_lost=terms.max_lost,
                )
            except StoreError as error:
                self._tell(queue, error)
            else:
                if self.failure is not None:
                    _log.info("queue %s: the store answers again", queue)
                    self.failure = None
                terms.metrics.round_trips += 1
                return reply
            terms.metrics.step_failures += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell(self, queue: str, error: StoreError) -> None:
        now = time.monotonic()
        if self.failure is None or now - self._said_at >= _SAID_AGAIN_AFTER:
            self._said_at = now
            _log.warning("queue %s: the store does not answer, the call is repeated: %s", queue, error)
        self.failure = error

    def _settle_finishes(self, queue: str, ended: list[_Ended], results: Sequence[FinishResult]) -> None:
        metrics = self._terms.metrics
        self._terms.leases.let_go(*[run for run, _ in ended])
        for (run, finish), result in zip(ended, results, strict=True):
            if result is FinishResult.STALE:
                metrics.stale[queue] = metrics.stale.get(queue, 0) + 1
                continue
            kind = FinishKind.CANCELLED if result is FinishResult.CANCELLED else finish.kind
            metrics.of_task(queue, run.task).finished[kind] += 1

    def _begin(self, queue: str, runs: list[Run]) -> None:
        terms = self._terms
        if not terms.may_claim:
            self.taken -= len(runs)
            for run in runs:
                self.finish(run, Finish(FinishKind.RELEASE, run.id, run.fence))
            return
        terms.leases.hold(runs)
        observe = terms.metrics.of_queue(queue).observe
        for run in runs:
            claimed = run.claimed
            observe((claimed.claimed - claimed.ready) / 1000)
        terms.begin(self, runs)
