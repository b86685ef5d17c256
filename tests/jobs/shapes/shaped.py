"""An application on each broker in turn, and a worker for it: what tests of chains and groups share."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from ropeline.jobs.app import Jobs
from ropeline.jobs.background import end
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.worker import Worker, WorkerSettings

__all__ = ["beside", "new_app", "working"]

SETTINGS = WorkerSettings(queues={"default": 1, "mail": 1}, concurrency=8)
_stages = itertools.count(1)


def new_app(url: str, *, codec: str = "json") -> Jobs:
    """An application with a stage of its own."""
    return Jobs(url, stage=f"shapes-{os.getpid()}-{next(_stages)}", queues=["mail", "elsewhere"], codec=codec)


def beside(app: Jobs, *, codec: str) -> Jobs:
    """Another application on the same stage."""
    broker = app.broker()
    if not isinstance(broker, RedisBroker):
        return Jobs(broker=broker, stage=app.stage, queues=["mail"], codec=codec)
    settings = broker.settings
    return Jobs(broker=lambda: RedisBroker(settings, stage=app.stage), stage=app.stage, queues=["mail"], codec=codec)


@asynccontextmanager
async def working(app: Jobs, *queues: str, lease: float = 30) -> AsyncIterator[Worker]:
    """A worker that works while the context lasts, on these queues or on two."""
    settings = replace(SETTINGS, queues=dict.fromkeys(queues, 1)) if queues else SETTINGS
    worker = Worker.of_app(app, replace(settings, lease=lease))
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await task
    finally:
        await end([task])
