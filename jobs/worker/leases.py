"""Keeps the leases of the jobs that a worker holds, from a thread of its own: a blocked event loop does not lose them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ropeline.jobs.broker import LARGEST_RENEWAL
from ropeline.jobs.records import Renewal
from ropeline.jobs.worker.run import safe_seconds
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ropeline.jobs.broker import Broker
    from ropeline.jobs.worker.run import Run

__all__ = ["Leases"]

_log = logging.getLogger("ropeline.jobs.worker.leases")

# A lease is renewed at a quarter of its life, looked at in twelfths: at a third at the latest.
_AGE_PART: Final = 4
_LOOK_PART: Final = 12
_LONGEST_LOOK: Final = 2.5
_LONGEST_RETRY: Final = 1.0


class Leases:
    """Renews what is held until it is let go, lost or past its hard end. `lease`: ms, of each renewal.

    `connect` gives the broker of the thread, which closes it unless it is `shared`, that of the worker itself. `on_change` is told, in the thread, of a run
    that was lost (Renewal.LOST; also when no renewal came through in time) and of one that was cancelled (CANCEL).
    """

    def __init__(
        self,
        connect: Callable[[], Broker],
        shared: Broker,
        on_change: Callable[[Run, Renewal], object],
        *,
        worker: bytes,
        lease: int,
    ) -> None:
        self._connect = connect
        self._shared = shared
        self._on_change = on_change
        self._worker = worker
        self._lease = lease
        self._safe = safe_seconds(lease)
        self._age = lease / 1000 / _AGE_PART
        self._look = min(lease / 1000 / _LOOK_PART, _LONGEST_LOOK)
        # Changed by the worker's thread and copied by the other one; each is one step for the interpreter.
        self._held: dict[Run, None] = {}
        self._is_failing = False
        self.last_look = time.monotonic()
        """When the leases were looked at last, monotonic seconds."""

    def hold(self, runs: Iterable[Run]) -> None:
        """Keep these from now on; their claim counts as the first renewal."""
        for run in runs:
            self._held[run] = None

    def let_go(self, *runs: Run) -> None:
        """Renew them no more; one that is not held is no mistake."""
        for run in runs:
            self._held.pop(run, None)

    @property
    def held(self) -> list[Run]:
        """What is held now, the oldest first."""
        return list(self._held)

    @asynccontextmanager
    async def kept_by_thread(self) -> AsyncIterator[None]:
        """Renew from a thread while the context lasts."""
        stop = threading.Event()
        ready: asyncio.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = asyncio.Future()
        loop = asyncio.get_running_loop()

        async def main() -> None:
            ending = asyncio.Event()
            broker = self._connect()
            loop.call_soon_threadsafe(ready.set_result, (asyncio.get_running_loop(), ending))
            try:
                await self._renew_until(broker, ending)
            finally:
                if broker is not self._shared:
                    await broker.close()

        def run() -> None:
            try:
                asyncio.run(main())
            except Exception:  # noqa: BLE001 - the worker's health tells it too: `last_look` does not move any more
                _log.exception("the thread that renews leases has broken off")
            finally:
                stop.set()

        thread = threading.Thread(target=run, name="ropeline-leases", daemon=True)
        thread.start()
        other, ending = await ready
        try:
            yield
        finally:
            if not stop.is_set():
                other.call_soon_threadsafe(ending.set)
            await asyncio.to_thread(thread.join, 5.0)

    async def _renew_until(self, broker: Broker, ending: asyncio.Event) -> None:
        while not ending.is_set():
            is_well = await self._renew_aged(broker)
            self._give_up_unsafe()
            self.last_look = time.monotonic()
            try:
                async with asyncio.timeout(self._pause(is_well=is_well)):
                    await ending.wait()
            except TimeoutError:
                continue

    def _pause(self, *, is_well: bool) -> float:
        pause = self._look if is_well else min(self._look, _LONGEST_RETRY)
        ends = [run.safe_until for run in list(self._held)]
        # Just after the end, not just before it.
        return max(min([pause, *(end - time.monotonic() + 0.001 for end in ends)]), 0.001)

    async def _renew_aged(self, broker: Broker) -> bool:
        """Renew everything whose last renewal is too long ago; False when the store did not do so."""
        now = time.monotonic()
        aged = [run for run in list(self._held) if now - run.renewed >= self._age and now < run.hard_end]
        is_well = True
        aged.sort(key=attrgetter("queue"))
        for queue, runs in groupby(aged, key=attrgetter("queue")):
            waiting = list(runs)
            for start in range(0, len(waiting), LARGEST_RENEWAL):
                is_well &= await self._renew(broker, queue, waiting[start : start + LARGEST_RENEWAL])
        return is_well

    async def _renew(self, broker: Broker, queue: str, runs: list[Run]) -> bool:
        sent = time.monotonic()
        try:
            answers = await broker.renew(
                queue, worker=self._worker, held=[(run.id, run.fence) for run in runs], lease=self._lease
            )
        except StoreError as error:
            if not self._is_failing:
                _log.warning("queue %s: %d leases could not be renewed: %s", queue, len(runs), error)
            self._is_failing = True
            return False
        self._is_failing = False
        for run, answer in zip(runs, answers, strict=True):
            self._heed(run, answer, sent)
        return True

    def _heed(self, run: Run, answer: Renewal, sent: float) -> None:
        if answer is Renewal.LOST:
            self._lose(run)
        elif answer is Renewal.OVERDUE:
            run.hard_end = sent
        else:
            run.renewed = sent
            run.safe_until = sent + self._safe
            if answer is Renewal.STOP:
                run.is_stopped = True
            if answer is Renewal.CANCEL and not run.is_cancelled and not run.is_ended:
                run.is_cancelled = True
                self._on_change(run, answer)

    def _give_up_unsafe(self) -> None:
        now = time.monotonic()
        for run in list(self._held):
            if now > run.safe_until:
                self._lose(run)

    def _lose(self, run: Run) -> None:
        self.let_go(run)
        # A run whose finish is on its way is not held any more by the time that this is answered.
        if not run.is_ended:
            run.was_told_lost = True
            self._on_change(run, Renewal.LOST)
