"""Runs a worker on handlers that tests give it by name: the body of a job is the name of its handler."""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ropeline.jobs.background import end
from ropeline.jobs.broker import Broker
from ropeline.jobs.records import Finish, FinishKind, NewJob
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.run import Run

Handler = Callable[[Run], Any]

_ids = itertools.count(1)


def new_jobs(body: str, many: int = 1) -> list[NewJob]:
    """Jobs with ids that no other test uses."""
    return [NewJob(next(_ids).to_bytes(16), body.encode()) for _ in range(many)]


async def enqueue(broker: Broker, queue: str, body: str, many: int = 1) -> list[bytes]:
    """Enqueue any number of jobs, and return their ids."""
    jobs = new_jobs(body, many)
    for start in range(0, many, 100):
        await broker.enqueue(queue, jobs[start : start + 100])
    return [job.id for job in jobs]


@dataclass
class NamedHandler:
    """A delivery that was read: see ropeline.jobs.worker.runner.Prepared."""

    run: Run
    handler: Handler
    timeout: float
    grace: float
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_async = inspect.iscoroutinefunction(self.handler)

    def enter(self) -> None:
        return

    def call(self) -> Any:
        return self.handler(self.run)

    def completed(self, value: Any) -> Finish:
        result = b"" if value is None else repr(value).encode()
        return Finish(FinishKind.COMPLETED, self.run.id, self.run.fence, result=result, keep=60_000 if result else 0)

    def failed(self, error: BaseException) -> Finish:
        detail = f"{type(error).__name__}: {error}".encode()
        return Finish(FinishKind.DEAD, self.run.id, self.run.fence, error=detail, detail=b"attempts")

    def timed_out(self) -> Finish:
        return Finish(FinishKind.DEAD, self.run.id, self.run.fence, error=b"timeout", detail=b"timeout")

    def cancelled(self) -> Finish:
        return Finish(FinishKind.CANCELLED, self.run.id, self.run.fence)

    def released(self) -> Finish:
        return Finish(FinishKind.RELEASE, self.run.id, self.run.fence)


class NamedHandlers:
    """See ropeline.jobs.worker.runner.Handlers. `timeout`, `grace`: seconds, of all of them."""

    def __init__(self, *, timeout: float = 60.0, grace: float = 30.0, **handlers: Handler) -> None:
        self.handlers = handlers
        self.timeout = timeout
        self.grace = grace

    def prepare(self, run: Run) -> NamedHandler | Finish:
        run.task = run.claimed.body.decode()
        return NamedHandler(run, self.handlers[run.task], self.timeout, self.grace)


@asynccontextmanager
async def working(
    broker: Broker, handlers: NamedHandlers, settings: WorkerSettings | None = None
) -> AsyncIterator[Worker]:
    """A worker that works while the context lasts, and drains at its end."""
    worker = Worker(broker, handlers, settings or WorkerSettings(queues={"default": 1}), connect=lambda: broker)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await task
    finally:
        await end([task])
