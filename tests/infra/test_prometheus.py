"""The dashboard and the alerts of the job engine against a real Prometheus that has scraped a real worker: every expression is
executed.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from ropeline.jobs import Discard, Jobs, Retry
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.health import Health, serve_health
from tests.infra.prometheus import WORKERS, drawn, prometheus
from tests.servers import Server
from tests.support import wait_until

# What the jobs of the test give cause to.
FIRING = {"RopelineDeadLetters", "RopelineFailures", "RopelineParkedJobs"}

pytestmark = pytest.mark.requires_system("prometheus")


async def give_work(app: Jobs) -> None:
    """Until cancelled, jobs that complete, fail now and then, and end as dead letters; and one that nobody knows."""

    @app.task(name="fine")
    async def fine(number: int) -> None: ...

    @app.task(name="moody", max_attempts=3, backoff=0.05)
    async def moody(number: int) -> None:
        if number % 2:
            raise Retry

    @app.task(name="hopeless")
    async def hopeless(number: int) -> None:
        raise Discard(f"job {number} cannot be done")

    stranger = Jobs(broker=app.broker())

    @stranger.task(name="nobody:knows")
    async def unknown() -> None: ...

    await unknown.enqueue()
    for number in itertools.count():
        await app.enqueue_many([fine.build(number), moody.build(number), hopeless.build(number)])
        await asyncio.sleep(0.02)


async def test_every_expression_of_the_dashboard_draws_and_the_alerts_that_have_cause_see_it(
    valkey: Server, tmp_path: Path
) -> None:
    app = Jobs(valkey.url, stage="prometheus", namespace="infra-tests")
    worker = Worker.of_app(app, WorkerSettings(queues={"default": 1}, concurrency=8))
    running: asyncio.Task[None] | None = None
    async with (
        app,
        serve_health(Health(worker), "127.0.0.1", 0) as port,
        prometheus(tmp_path, {WORKERS: port}, ["jobs.rules.yml"]) as server,
    ):
        giving = asyncio.create_task(give_work(app))
        await asyncio.sleep(0)
        running = asyncio.create_task(worker.run())
        try:
            seen_enough = 'sum(delta(ropeline_jobs_finished_total{outcome="dead"}[5m])) > 100'
            await wait_until(lambda: server.has(seen_enough), timeout=30)
            expressions = drawn("jobs.json", "queue")
            empty = [name for name, expression in expressions.items() if not await server.query(expression)]
            assert empty == []
            alerts = await server.alerts()
            assert len(alerts) == 9
            firing = {name for name, expression in alerts.items() if await server.query(expression)}
            assert firing == FIRING
        finally:
            giving.cancel()
            worker.drain()
            await asyncio.gather(running, giving, return_exceptions=True)
