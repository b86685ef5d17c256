"""For tests of applications: keeps their jobs in memory, on a clock that the test moves on, and runs what is due.

```
with InMemory() as in_memory:
    in_memory(app)
    handle = await confirm.enqueue(17)
    runs = await run_jobs(app)
    in_memory.clock.advance(timedelta(hours=1))
```

With pytest, the fixtures `ropeline_jobs` and `ropeline_clock` are there by themselves. See docs/jobs.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.connections import Connections
from ropeline.jobs.cron.scheduler import Scheduler
from ropeline.jobs.errors import Control, JobError
from ropeline.jobs.locks.job_locks import JobLocks
from ropeline.jobs.worker.burst import Burst
from ropeline.jobs.worker.traced import TracedHandlers
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ropeline.jobs.app import Jobs
    from ropeline.jobs.tracer import RunSpan, RunTracer

__all__ = ["FakeClock", "InMemory", "JobRun", "run_jobs", "run_jobs_sync"]

_MOST: Final = 10_000


class JobRun(NamedTuple):
    """One run of a job, as it ended.

    `id`: of the job, 32 hexadecimal digits. `attempt`: 1 for the first run. `outcome`: completed, retried, snoozed, released, dead,
    parked, cancelled or split. `error`: what made it fail, None: nothing that was raised. `reason`: why it is dead or is tried again.
    """

    task: str
    queue: str
    id: str
    attempt: int
    outcome: str
    error: BaseException | None = None
    reason: str = ""


class InMemory:
    """Keeps the jobs of applications in memory, wherever they are imported, until its `with` block ends.

    Applications of one stage and namespace see each other's jobs, as in a store. `clock`: None, one that stands at the present
    time until it is moved on; deadlines count by it as well.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock: Final = clock or FakeClock(time.time_ns() // 1_000_000)
        self._brokers: dict[tuple[str, str], MemoryBroker] = {}
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.close()

    def __call__(self, app: Jobs) -> Jobs:
        """Keep the jobs of this application from now on, and define its cron jobs, as a worker that starts does; the application."""
        stage = (app.namespace, app.stage)
        if stage not in self._brokers:
            self._brokers[stage] = MemoryBroker(clock=self.clock)
        self._ending.enter_context(_kept_by(app, self._brokers[stage], self.clock))
        if app.cron_jobs:
            # There may be an event loop in this thread already.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, app.define_cron_jobs()).result()
        return app


async def run_jobs(app: Jobs, *, check: bool = True, most: int = _MOST) -> list[JobRun]:
    """Run every job that is due, and what follows from them, until nothing is left to do at this moment of the clock; each run.

    Jobs of all queues are run by the same rules as by a worker, up to 32 at once: async handlers in the running event loop, sync
    ones in threads. What is scheduled for later, or waits for its next attempt, is due when the clock has been moved on; so are
    the ticks of cron jobs. Time limits of handlers count real time.

    `check`: raise what the first handler raised that did not raise Retry, Snooze, Discard or Cancelled. `most`: runs.

    Raises:
        ConfigurationError: the jobs of the application are not in memory; a test must not take them from a store.
        RuntimeError: there were more than `most` runs.
        JobError: with `check`, a job could not be run at all; its text says why.

    """
    broker: object = app.broker()
    if not isinstance(broker, MemoryBroker):
        raise ConfigurationError(
            "app", app, "an application whose jobs are in memory: ropeline_jobs(app), InMemory or memory://"
        )
    await app.define_cron_jobs()
    runs: list[JobRun] = []
    handlers = TracedHandlers(_Recorder(runs, app.tracing), app.tasks, locks=JobLocks(lambda: app.locks))
    scheduler = Scheduler(app.cron_store(), refresh=0, tracer=app.tracing)
    await Burst(broker, handlers, tasks=app.tasks, scheduler=scheduler, most=most).run()
    if check:
        _raise_first(runs)
    return runs


def run_jobs_sync(app: Jobs, *, check: bool = True, most: int = _MOST) -> list[JobRun]:
    """As `run_jobs`, in a test that is no coroutine; raises RuntimeError in a thread in which an event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Not asyncio.run: it would take away the event loop that the thread may have.
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(run_jobs(app, check=check, most=most))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
    raise RuntimeError("an event loop runs in this thread, and the call would block it: use await run_jobs(app)")


@contextmanager
def _kept_by(app: Jobs, broker: MemoryBroker, clock: FakeClock) -> Iterator[None]:
    former = app.connections, app.clock
    app.connections = Connections("memory://", namespace=app.namespace, stage=app.stage, broker=broker)
    app.clock = lambda: clock.now * 1_000_000
    try:
        yield
    finally:
        app.close_sync()
        app.connections, app.clock = former


def _raise_first(runs: list[JobRun]) -> None:
    wrong = [run for run in runs if run.outcome in {"retried", "dead"} and not isinstance(run.error, Control)]
    if not wrong:
        return
    first, others = wrong[0], f", and so did {len(wrong) - 1} more runs" if wrong[1:] else ""
    what = f"job {first.id} of {first.task}, attempt {first.attempt}"
    if first.error is None:
        raise JobError(f"{what}, could not be run: {first.reason}{others}")
    first.error.add_note(f"{what}, raised this{others}; run_jobs(app, check=False) leaves it at that")
    raise first.error


class _Recorder:
    """Notes each run, and lets the application's own tracer do its work. See ropeline.jobs.tracer.RunTracer."""

    def __init__(self, runs: list[JobRun], inner: RunTracer | None) -> None:
        self._runs = runs
        self._inner = inner

    def running(self, *, queue: str, task: str, id: bytes, attempt: int, carrier: Mapping[str, str]) -> _RecordedSpan:
        span = None
        if self._inner is not None:
            span = self._inner.running(queue=queue, task=task, id=id, attempt=attempt, carrier=carrier)
        return _RecordedSpan(self._runs, JobRun(task, queue, id.hex(), attempt, ""), carrier, span)


class _RecordedSpan:
    """See ropeline.jobs.tracer.RunSpan."""

    def __init__(self, runs: list[JobRun], run: JobRun, carrier: Mapping[str, str], inner: RunSpan | None) -> None:
        self._runs = runs
        self._run = run
        self._carrier = carrier
        self._inner = inner

    @property
    def carrier(self) -> Mapping[str, str]:
        return self._carrier if self._inner is None else self._inner.carrier

    def enter(self) -> None:
        if self._inner is not None:
            self._inner.enter()

    def end(self, outcome: str, *, reason: str = "", text: str = "", error: BaseException | None = None) -> None:
        why = text if error is not None else ": ".join(filter(None, (reason, text)))
        self._runs.append(self._run._replace(outcome=outcome, error=error, reason=why))
        if self._inner is not None:
            self._inner.end(outcome, reason=reason, text=text, error=error)
