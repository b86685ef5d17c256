"""Runs what is due now, and returns when nothing is left to do: the worker of tests.

Handlers are run by the same runner as in a worker, on the same calls of the broker. What is missing is what takes real time:
waiting for work, and the thread that keeps leases.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ropeline.jobs.broker import LARGEST_HAND_OUT, LARGEST_STEP
from ropeline.jobs.records import Renewal
from ropeline.jobs.shapes.courier import carry
from ropeline.jobs.worker.metrics import WorkerMetrics
from ropeline.jobs.worker.run import Run
from ropeline.jobs.worker.runner import Runner

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.cron.scheduler import Scheduler
    from ropeline.jobs.records import Finish
    from ropeline.jobs.worker.runner import Handlers

__all__ = ["Burst"]

_SLOTS: Final = 32
# A clock that a test moves on while a handler runs must not take its job away: an hour, in ms.
_LEASE: Final = 3_600_000
_HARD: Final = 14 * 86_400_000
# How soon a job is begun, or cancelled, while the handler of another one waits for that.
_LOOK: Final = 0.02


class Burst:
    """Runs every job of a broker that is due, up to 32 at once, and what follows from them.

    `tasks`: the types that the handlers know, of which parked jobs are made pending. `scheduler`: fires the ticks that are due.
    `most`: runs after which there is no end to be expected.
    """

    def __init__(
        self, broker: Broker, handlers: Handlers, *, tasks: Iterable[str], scheduler: Scheduler, most: int
    ) -> None:
        self._broker = broker
        self._tasks = [task.encode() for task in tasks]
        self._scheduler = scheduler
        self._most = most
        self._runner = Runner(handlers, WorkerMetrics(slots=_SLOTS), threads=_SLOTS)
        self._worker = os.urandom(16)
        self._calls: dict[str, int] = {}
        self._finishes: dict[str, list[Finish]] = {}
        self._running: set[Run] = set()
        self._changed = asyncio.Event()
        self._begun = 0

    async def run(self) -> None:
        """Go on until nothing is due and no handler runs; raises RuntimeError after `most` runs."""
        try:
            await self._free_parked()
            while True:
                self._changed.clear()
                if await self._look() or self._finishes:
                    continue
                if not self._running:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._changed.wait()
                await self._renew()
        finally:
            await self._runner.close()

    # What the runner tells: see ropeline.jobs.worker.runner.Taker

    def finish(self, run: Run, finish: Finish) -> None:
        """The run has ended."""
        run.is_ended = True
        self._finishes.setdefault(run.queue, []).append(finish)
        self._changed.set()

    def give_up(self, run: Run, finish: Finish) -> None:
        """The run has ended, although its handler goes on; nobody waits for that."""
        run.is_given_up = True
        self.finish(run, finish)
        self._running.discard(run)

    def free_slot(self, run: Run) -> None:
        """The handler has ended."""
        self._running.discard(run)
        self._changed.set()

    async def _look(self) -> bool:
        """Tell what has ended and begin what is due; whether there was anything."""
        fired = self._scheduler.counts.enqueued
        await self._scheduler.turn()
        is_busy = self._scheduler.counts.enqueued > fired
        for queue in await self._broker.queues():
            is_busy |= await self._step(queue)
        return is_busy

    async def _step(self, queue: str) -> bool:
        waiting = self._finishes.pop(queue, [])
        finishes, later = waiting[:LARGEST_STEP], waiting[LARGEST_STEP:]
        if later:
            self._finishes[queue] = later
        call = self._calls[queue] = self._calls.get(queue, 0) + 1
        claim = max(0, _SLOTS - len(self._running))
        reply = await self._broker.step(
            queue, worker=self._worker, lane=0, call=call, finishes=finishes, claim=claim, lease=_LEASE, hard=_HARD
        )
        now = time.monotonic()
        runs = [Run(queue, claimed, now, now + _LEASE / 1000, now + _HARD / 1000) for claimed in reply.claimed]
        self._begin(runs)
        while reply.outgoing and await carry(self._broker, queue) == LARGEST_HAND_OUT:
            pass
        return bool(waiting or runs or reply.outgoing)

    def _begin(self, runs: list[Run]) -> None:
        self._begun += len(runs)
        if self._begun > self._most:
            raise RuntimeError(
                f"{self._most:,} jobs were run, and more are due: does a job enqueue itself without end?"
            )
        self._running.update(runs)
        self._runner.begin(self, runs)

    async def _free_parked(self) -> None:
        """Make pending what was parked for want of a task that is known here; what is parked from now on stays so."""
        for queue in await self._broker.queues():
            if (await self._broker.depths(queue)).parked:
                for task in self._tasks:
                    while await self._broker.unpark(queue, task):
                        pass

    async def _renew(self) -> None:
        """Ask what became of the jobs whose handlers run: somebody may have cancelled or stopped one."""
        for run in list(self._running):
            if run.is_ended:
                continue
            held = [(run.id, run.fence)]
            (answer,) = await self._broker.renew(run.queue, worker=self._worker, held=held, lease=_LEASE)
            if answer is Renewal.STOP:
                run.is_stopped = True
            elif answer is Renewal.CANCEL and not run.is_cancelled:
                run.is_cancelled = True
                self._runner.heed(run, answer)
            elif answer is Renewal.LOST and not run.was_told_lost:
                run.was_told_lost = True
                self._runner.heed(run, answer)
