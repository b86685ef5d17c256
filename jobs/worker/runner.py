"""Runs handlers: async ones in the event loop, sync ones in threads, each within its time.

A handler begins at once, in a task that has no other work: one that never waits costs neither a task nor a timer. Only
when it is suspended does the task stay with it, and another task takes up what is left to begin.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from ropeline.jobs.errors import Control
from ropeline.jobs.records import Finish, FinishKind, Renewal
from ropeline.jobs.worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from contextvars import Context

    from ropeline.jobs.worker.metrics import WorkerMetrics
    from ropeline.jobs.worker.run import Run

__all__ = ["Handlers", "Prepared", "Runner", "Taker"]

_log = logging.getLogger("ropeline.jobs.worker.runner")

# Longest time for which handlers that never wait are begun without letting anything else in the loop have its turn.
_LONGEST_TURN: Final = 0.005
_LONGEST_GOODBYE: Final = 0.5
_NO_FAILURE: Final = (KeyboardInterrupt, GeneratorExit)


class Taker(Protocol):
    """Where a run came from, and what is told of its end: a lane."""

    def finish(self, run: Run, finish: Finish) -> None:
        """Tell the store."""

    def give_up(self, run: Run, finish: Finish) -> None:
        """Tell the store of a run whose handler goes on."""

    def free_slot(self, run: Run) -> None:
        """The handler has ended."""


class Prepared(Protocol):
    """A delivery that was read: what is to be called. `timeout`, `grace`: seconds."""

    is_async: bool
    timeout: float
    grace: float

    def enter(self) -> None:
        """Make this the current job, in the context that the handler runs in."""

    def call(self) -> Any:
        """Call the handler: its value, of an async one the coroutine."""

    def completed(self, value: Any) -> Finish:
        """The finish of a run that returned `value`."""

    def failed(self, error: BaseException) -> Finish:
        """The finish of a run that raised `error`."""

    def timed_out(self) -> Finish:
        """The finish of a run that took longer than its timeout."""

    def cancelled(self) -> Finish:
        """The finish of a run whose job was cancelled."""

    def released(self) -> Finish:
        """The finish of a run that hands its job back."""


class Handlers(Protocol):
    """Reads deliveries."""

    def prepare(self, run: Run) -> Prepared | Finish:
        """What is to be called for a delivery, or its finish when nothing can be. Never raises."""


class Runner:
    """The runs of one worker process. `threads`: most sync handlers at once. A handler that ignores its timeout keeps its slot."""

    def __init__(self, handlers: Handlers, metrics: WorkerMetrics, *, threads: int) -> None:
        self._handlers = handlers
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._threads = HandlerThreads(threads)
        self._ready: deque[tuple[Run, Taker]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._drivers: set[asyncio.Task[None]] = set()
        self._running: dict[Run, _Running] = {}
        """Those that are suspended, or in a thread."""
        self._woken = 0
        """Tasks that were told to look for something to begin, and have not had their turn yet."""
        self._is_closing = False

    @property
    def running(self) -> list[Run]:
        """The runs whose handlers have begun and not ended."""
        return list(self._running)

    @property
    def ready(self) -> int:
        """How many were claimed and have not begun."""
        return len(self._ready)

    def begin(self, taker: Taker, runs: Iterable[Run]) -> None:
        """Run these; each is told to the taker when it has ended."""
        self._ready.extend((run, taker) for run in runs)
        self._wake(1)

    def hand_back(self) -> None:
        """Give back, unstarted, everything that has not begun."""
        while self._ready:
            run, taker = self._ready.popleft()
            taker.finish(run, Finish(FinishKind.RELEASE, run.id, run.fence))
            taker.free_slot(run)

    def heed(self, run: Run, renewal: Renewal) -> None:
        """A run was cancelled, or its lease is lost: an async handler is cancelled, a sync one sees it in its context."""
        if renewal is Renewal.LOST and not run.is_ended:
            _log.warning("job %s (%s): its lease is lost", run.id.hex(), run.task or run.queue)
        running = self._running.get(run)
        if running is not None:
            running.interrupt()

    def release_all(self) -> None:
        """Take every job from its handler: async ones are cancelled, those in threads handed back at once."""
        for run, running in list(self._running.items()):
            run.is_released = True
            if run.driver is None:
                running.give_up(running.prepared.released)
            else:
                running.interrupt()

    def give_up_all(self) -> None:
        """Hand back what is still running: a handler that goes on although it was cancelled."""
        for running in list(self._running.values()):
            running.give_up(running.prepared.released)

    async def close(self) -> None:
        """End the tasks and let the threads end."""
        self._is_closing = True
        self._threads.close()
        # A handler that does not heed a cancellation would not let the process end.
        for driver in self._drivers:
            driver.cancel()
        if self._drivers:
            await asyncio.wait(self._drivers, timeout=_LONGEST_GOODBYE)

    def _wake(self, most: int) -> None:
        """Have `most` tasks, with those that were told already, look for something to begin."""
        while self._woken < most:
            self._woken += 1
            if self._idle:
                self._idle.pop().set_result(None)
            else:
                driver = self._loop.create_task(self._drive(), name="ropeline-handler")
                self._drivers.add(driver)
                driver.add_done_callback(self._drivers.discard)

    async def _drive(self) -> None:
        this = asyncio.current_task()
        self._woken -= 1
        turn_ends = time.monotonic() + _LONGEST_TURN
        # A task that was cancelled, by us or by its own handler, is not used again: what is left of that would meet another job.
        while this is not None and not this.cancelling() and not self._is_closing:
            if not self._ready:
                waiting = self._loop.create_future()
                self._idle.append(waiting)
                await waiting
                self._woken -= 1
                turn_ends = time.monotonic() + _LONGEST_TURN
                continue
            started = time.monotonic()
            if started > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _LONGEST_TURN
                continue
            run, taker = self._ready.popleft()
            run.started = started
            suspended = self._start(run, taker)
            if suspended is not None:
                await self._stay(run, taker, this, suspended)
                turn_ends = time.monotonic() + _LONGEST_TURN
        if self._ready and not self._is_closing:
            self._wake(1)

    def _start(self, run: Run, taker: Taker) -> _Suspended | None:
        """Run one handler until it waits or ends, or hand it to a thread; what is to be awaited, None: nothing."""
        if run.is_cancelled or run.was_told_lost or run.started > run.safe_until:
            kind = FinishKind.CANCELLED if run.is_cancelled else FinishKind.RELEASE
            taker.finish(run, Finish(kind, run.id, run.fence))
            taker.free_slot(run)
            return None
        prepared = self._handlers.prepare(run)
        if isinstance(prepared, Finish):
            taker.finish(run, prepared)
            taker.free_slot(run)
            return None
        run.hard_end = run.started + prepared.timeout + prepared.grace
        context = copy_context()
        if not prepared.is_async:
            self._start_thread(run, taker, prepared, context)
            return None
        try:
            coroutine: Coroutine[Any, Any, Any] = context.run(_call, prepared)
            waiting = context.run(coroutine.send, None)
        except StopIteration as stop:
            self._end(run, taker, prepared, stop.value, None)
            return None
        except _NO_FAILURE:
            raise
        except BaseException as error:  # noqa: BLE001 - a handler's failure, sys.exit() too, is the end of its run alone
            self._end(run, taker, prepared, None, error)
            return None
        return _Suspended(prepared, coroutine, context, waiting)

    async def _stay(self, run: Run, taker: Taker, driver: asyncio.Task[None], suspended: _Suspended) -> None:
        """Go on with a handler that waits for something."""
        prepared = suspended.prepared
        run.driver = driver
        run.coroutine = suspended.coroutine
        running = self._running[run] = _Running(run, taker, prepared, self._loop)
        self._metrics.used += 1
        if self._ready:
            # Where one handler waits the next one will: each of them needs a task.
            self._wake(len(self._ready))
        value, failure = None, None
        try:
            value = await suspended
        except _NO_FAILURE:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            failure = error
        run.driver = run.coroutine = None
        self._leave(run, running)
        self._end(run, taker, prepared, value, failure)

    def _start_thread(self, run: Run, taker: Taker, prepared: Prepared, context: Context) -> None:
        running = self._running[run] = _Running(run, taker, prepared, self._loop)
        self._metrics.used += 1

        def start(thread: int) -> None:
            run.thread = thread

        def end(value: Any, failure: BaseException | None) -> None:
            run.thread = 0
            self._leave(run, running)
            self._end(run, taker, prepared, value, failure)

        self._threads.start(context, lambda: _call(prepared), on_start=start, on_end=end)

    def _leave(self, run: Run, running: _Running) -> None:
        running.timer.cancel()
        del self._running[run]
        self._metrics.used -= 1

    def _end(self, run: Run, taker: Taker, prepared: Prepared, value: Any, failure: BaseException | None) -> None:
        if not run.is_ended:
            self._metrics.of_task(run.queue, run.task).run_seconds.observe(time.monotonic() - run.started)
            taker.finish(run, prepared.completed(value) if failure is None else _finish_failed(run, prepared, failure))
        taker.free_slot(run)


def _call(prepared: Prepared) -> Any:
    prepared.enter()
    return prepared.call()


def _finish_failed(run: Run, prepared: Prepared, failure: BaseException) -> Finish:
    """What is told of a run that raised: why it was interrupted counts for more than what the handler made of that."""
    if run.is_cancelled:
        return prepared.cancelled()
    if isinstance(failure, Control):
        return prepared.failed(failure)
    if run.was_told_lost or run.is_released:
        # Where only the store could not be reached, the lease may be ours still.
        return prepared.released()
    return prepared.timed_out() if run.is_timed_out else prepared.failed(failure)


class _Running:
    """A handler that has begun and not ended: its timer, and how it is interrupted."""

    __slots__ = ("prepared", "run", "taker", "timer")

    def __init__(self, run: Run, taker: Taker, prepared: Prepared, loop: asyncio.AbstractEventLoop) -> None:
        self.run = run
        self.taker = taker
        self.prepared = prepared
        self.timer = loop.call_later(prepared.timeout, self._time_out, loop)

    def interrupt(self) -> None:
        """Cancel an async handler; nothing can be done to a thread."""
        if self.run.driver is not None:
            self.run.driver.cancel()

    def give_up(self, finish: Callable[[], Finish]) -> None:
        """Tell the store how the run ended, whatever the handler still does; it keeps its slot."""
        if not self.run.is_ended:
            # A handler in a thread sees that what it does counts no more.
            self.run.was_told_lost = True
            self.taker.give_up(self.run, finish())

    def _time_out(self, loop: asyncio.AbstractEventLoop) -> None:
        self.run.is_timed_out = True
        self.timer = loop.call_later(self.prepared.grace, self._hard_end)
        self.interrupt()

    def _hard_end(self) -> None:
        if not self.run.is_ended:
            _log.warning("job %s (%s): its handler goes on past its hard end", self.run.id.hex(), self.run.task)
        self.give_up(self.prepared.timed_out)


class _Suspended:
    """A coroutine that has begun and waits for something: awaited, it goes on in its own context.

    Whatever it waits for is handed on to the task that awaits this, so that the coroutine sees that task as its own.
    """

    __slots__ = ("context", "coroutine", "prepared", "waiting")

    def __init__(
        self, prepared: Prepared, coroutine: Coroutine[Any, Any, Any], context: Context, waiting: object
    ) -> None:
        self.prepared = prepared
        self.coroutine = coroutine
        self.context = context
        self.waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        run: Callable[..., Any] = self.context.run
        send, throw = self.coroutine.send, self.coroutine.throw
        waiting = self.waiting
        while True:
            try:
                try:
                    sent = yield waiting
                except BaseException as error:  # noqa: BLE001 - a cancellation is thrown in here, and belongs to the handler
                    waiting = run(throw, error)
                else:
                    waiting = run(send, sent)
            except StopIteration as stop:
                return stop.value
