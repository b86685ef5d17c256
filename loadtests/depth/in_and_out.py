"""Jobs in and out again, by a producer and a worker: nothing of them may stay in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.asyncio import Redis

from ropeline.jobs.app import Jobs
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.handlers import TaskHandlers

__all__ = ["Passage", "pass_through"]

_CONCURRENCY = 256
_CHUNK = 10_000
_MAY_GROW = 1024 * 1024
_SHARE = 0.02
_SETTLED = 20


class Passage(NamedTuple):
    """What was left of so many jobs. `bytes_before`, `bytes_after`: used memory of the server, beside one that was warmed up."""

    jobs: int
    ran: int
    keys_before: int
    keys_after: int
    bytes_before: int
    bytes_full: int
    bytes_after: int
    enqueued_per_s: float
    drained_per_s: float

    @property
    def is_clean(self) -> bool:
        """Whether all ran, and keys and memory are as before, to 2 % or 1 MiB."""
        grown = self.bytes_after - self.bytes_before
        is_small = grown <= max(_MAY_GROW, self.bytes_before * _SHARE)
        return self.ran == self.jobs and self.keys_before == self.keys_after and is_small


async def pass_through(
    url: str, client: Redis, jobs: int, *, warm_up: int, told: Callable[[str], object] = lambda _: None
) -> Passage:
    """Let `warm_up` jobs pass, and then `jobs`: all in first, then all out."""
    app = Jobs(url, stage="passage")
    ran = 0

    @app.task(name="pass")
    async def pass_(number: int) -> None:  # noqa: ARG001 - a job of ordinary arguments
        nonlocal ran
        ran += 1

    async def all_in(many: int) -> float:
        began = time.perf_counter()
        for first in range(0, many, _CHUNK):
            told(f"{first:,} of {many:,} in")
            await app.enqueue_many(pass_.build(number) for number in range(first, min(first + _CHUNK, many)))
        return many / (time.perf_counter() - began)

    async def all_out(many: int) -> float:
        settings = WorkerSettings(queues={app.queue: 1}, concurrency=_CONCURRENCY)
        worker = Worker(app.broker(), TaskHandlers(app.tasks), settings, connect=app.connect, tasks=app.tasks)
        began, goal = time.perf_counter(), ran + many
        running = asyncio.create_task(worker.run())
        while ran < goal and not running.done():
            told(f"{goal - ran:,} of {many:,} to go")
            await asyncio.sleep(0.1)
        rate = many / (time.perf_counter() - began)
        worker.drain()
        await running
        return rate

    await all_in(warm_up)
    await all_out(warm_up)
    before = await _left(client)
    ran = 0
    in_ = await all_in(jobs)
    full = await _left(client)
    out = await all_out(jobs)
    await app.close()
    after = await _left(client)
    return Passage(jobs, ran, before[0], after[0], before[1], full[1], after[1], round(in_), round(out))


async def _left(client: Redis) -> tuple[int, int]:
    """Keys, without the token that an idle worker may have left, and used memory, when what connections and freed objects hold was given back."""
    lowest: int | None = None
    for _ in range(_SETTLED):
        memory: dict[str, Any] = await client.info("memory")
        lowest = min(memory["used_memory"], lowest or memory["used_memory"])
        await asyncio.sleep(0.1)
    keys = [key async for key in client.scan_iter(count=1000) if not key.endswith(b":wake")]
    return len(set(keys)), lowest or 0
