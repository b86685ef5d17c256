"""The dashboard and the alerts against a real Prometheus that has scraped a real worker: every expression is executed."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from ropeline.jobs import Discard, Jobs, Retry
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.health import Health, serve_health
from ropeline.server import free_port
from ropeline.server_process import start_watchdog
from tests.contracts.checkout import ROOT
from tests.servers import Server
from tests.support import wait_until
from tests.system import find_program

CONFIG = ROOT / "infra" / "prometheus" / "prometheus.yml"
RULES = ROOT / "infra" / "prometheus" / "jobs.rules.yml"
DASHBOARD = ROOT / "infra" / "grafana" / "jobs.json"
# What the jobs of the test give cause to.
FIRING = {"RopelineDeadLetters", "RopelineFailures", "RopelineParkedJobs"}

pytestmark = pytest.mark.requires_system("prometheus")


def drawn() -> dict[str, str]:
    """The expressions of the dashboard, with its variables set to everything, by panel."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        .replace("$queue", ".*")
        .replace("$__rate_interval", "1m")
        for panel in panels
        for target in panel["targets"]
    }


class Prometheus:
    """One that runs, and what it answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    async def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask(f"query?{urlencode({'query': expression})}"))["result"]
        return found

    async def alerts(self) -> dict[str, str]:
        """The expression of each alert, as the server has read it."""
        groups = (await self._ask("rules"))["groups"]
        return {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}

    async def _ask(self, path: str) -> Any:
        def ask() -> Any:
            with urlopen(self._url + path, timeout=10) as answer:
                return json.load(answer)

        answer = await asyncio.to_thread(ask)
        assert answer["status"] == "success", path
        return answer["data"]

    async def has_seen_enough(self) -> bool:
        try:
            return bool(await self.query('sum(delta(ropeline_jobs_finished_total{outcome="dead"}[5m])) > 100'))
        except OSError:
            return False


@asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes a port of this machine five times a second, with our alerts."""
    config = CONFIG.read_text(encoding="utf-8")
    for shipped, ours in [("15s", "200ms"), ("- jobs.rules.yml", f"- {RULES}"), (":9464", f":{target}")]:
        assert shipped in config
        config = config.replace(shipped, ours)
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(config, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is started once, and at once
            [find_program("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    watchdog = start_watchdog(process.pid)
    try:
        yield Prometheus(port)
    finally:
        watchdog.kill()
        watchdog.communicate()
        process.kill()
        process.wait()


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
    async with app, serve_health(Health(worker), "127.0.0.1", 0) as port, prometheus(tmp_path, port) as server:
        giving = asyncio.create_task(give_work(app))
        await asyncio.sleep(0)
        running = asyncio.create_task(worker.run())
        try:
            await wait_until(server.has_seen_enough, timeout=30)
            empty = [name for name, expression in drawn().items() if not await server.query(expression)]
            assert empty == []
            alerts = await server.alerts()
            assert len(alerts) == 9
            firing = {name for name, expression in alerts.items() if await server.query(expression)}
            assert firing == FIRING
        finally:
            giving.cancel()
            worker.drain()
            await asyncio.gather(running, giving, return_exceptions=True)
