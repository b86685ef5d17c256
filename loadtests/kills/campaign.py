"""Kills workers, the server and replies while jobs go in, and counts afterwards what became of each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from loadtests.kills.app import LEDGER_VARIABLE
from ropeline.bench.fault_proxy import FaultProxy
from ropeline.jobs.app import Jobs
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.errors import OutcomeUnknown
from ropeline.jobs.fsck import check_queue
from ropeline.jobs.records import EnqueueResult, JobState, NewJob
from ropeline.lua.errors import StoreError
from ropeline.server import EmbeddedServer, free_port

__all__ = ["Kills", "Plan", "Report"]

_QUEUE = "default"
_LEASE = 1.0
_WORKERS = 3
_BATCH = 20
# After its server was another one, a queue reaps nothing for ten seconds.
_CALM_EVERY = 10
_CALM_SECONDS = 14.0
_LONGEST_END = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is killed. `seconds`: between two kills, on average."""

    workers: int
    servers: int
    replies: int
    seed: int = 0
    seconds: float = 0.35


@dataclass
class Report:
    """What was done, and what is wrong, empty for nothing."""

    acknowledged: int = 0
    unknown: int = 0
    runs: int = 0
    twice: int = 0
    dead: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Kills:
    """One campaign. `folder`: for the server's data and the ledger; `told` hears of the progress."""

    def __init__(self, plan: Plan, folder: Path, told: Callable[[str], object]) -> None:
        self.plan, self.told = plan, told
        self.random = random.Random(plan.seed)
        self.report = Report()
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._data, self._port = folder / "data", free_port()
        self._server: EmbeddedServer | None = None
        self._workers: list[asyncio.subprocess.Process] = []
        self._acknowledged: set[bytes] = set()
        self._logs = (folder / "workers.log").open("ab")

    async def run(self) -> Report:
        """Kill, let everything end, and count."""
        self._start_server()
        async with FaultProxy(self._port) as proxy:
            producer = asyncio.create_task(self._produce(proxy.url))
            for _ in range(_WORKERS):
                self._workers.append(await self._start_worker(proxy.url))
            try:
                await self._kill_all(proxy)
                producer.cancel()
                await asyncio.gather(producer, return_exceptions=True)
                await self._wait_for_end()
                await self._count()
            finally:
                producer.cancel()
                for worker in self._workers:
                    await _end(worker, signal.SIGKILL)
                self._kill_server()
                self._logs.close()
        return self.report

    # What is killed

    async def _kill_all(self, proxy: FaultProxy) -> None:
        plan = self.plan
        deeds = ["worker"] * plan.workers + ["server"] * plan.servers + ["reply"] * plan.replies
        self.random.shuffle(deeds)
        servers_since = 0
        for number, deed in enumerate(deeds):
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * plan.seconds)
            self.told(f"{number + 1} of {len(deeds)} kills, {len(self._acknowledged)} jobs acknowledged")
            if deed == "worker":
                which = self.random.randrange(len(self._workers))
                await _end(self._workers[which], signal.SIGKILL)
                self._workers[which] = await self._start_worker(proxy.url)
            elif deed == "server":
                self._kill_server()
                await asyncio.sleep(self.random.uniform(0, 0.3))
                self._start_server()
                servers_since += 1
            else:
                proxy.lose_reply(b"EVALSHA")
            self.report.killed[deed] += 1
            if servers_since == _CALM_EVERY:
                servers_since = 0
                await asyncio.sleep(_CALM_SECONDS)

    def _start_server(self) -> None:
        self._server = EmbeddedServer(self._data, port=self._port).start()
        with Redis(port=self._port) as client:
            client.config_set("appendfsync", "always")

    def _kill_server(self) -> None:
        if self._server is not None:
            os.kill(self._server.pid, signal.SIGKILL)
            self._server.stop()
            self._server = None

    async def _start_worker(self, url: str) -> asyncio.subprocess.Process:
        environment = {**os.environ, "REDIS_URL": url, LEDGER_VARIABLE: str(self.ledger)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ropeline",
            "worker",
            "loadtests.kills.app:app",
            "--lease",
            str(_LEASE),
            "-c",
            "10",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._logs,
            stderr=self._logs,
        )

    # What goes in

    async def _produce(self, url: str) -> None:
        from loadtests.kills.app import counted

        app = Jobs(url, stage="kills", namespace="kills")
        number = 0
        async with app:
            while True:
                batch = []
                for _ in range(self.random.randint(1, _BATCH)):
                    draft = counted.build(number)
                    delay = self.random.choice([0, 0, 0, self.random.randint(1, 500)])
                    batch.append(draft.job._replace(delay=delay))
                    number += 1
                await self._enqueue(app, batch)
                await asyncio.sleep(0.03)

    async def _enqueue(self, app: Jobs, batch: list[NewJob]) -> None:
        """Until it was acknowledged, by the same ids: known already is as good as taken in."""
        while True:
            try:
                answers = await app.broker().enqueue(_QUEUE, batch)
            except StoreError as error:
                self.report.unknown += isinstance(error, OutcomeUnknown)
                await asyncio.sleep(0.05)
                continue
            # One that was taken in by a call without a reply may have run meanwhile, and be taken in once more: it runs twice.
            bad = [answer for answer in answers if answer.result is EnqueueResult.CONFLICT]
            if bad:
                self.report.wrong.append(f"{len(bad)} jobs without a unique key conflicted")
            self._acknowledged.update(job.id for job in batch)
            self.report.acknowledged = len(self._acknowledged)
            return

    # What became of it

    async def _wait_for_end(self) -> None:
        ends, seen = time.monotonic() + _LONGEST_END, "the store did not answer"
        async with self._looking() as broker:
            while time.monotonic() < ends:
                with contextlib.suppress(StoreError):
                    depths = await broker.depths(_QUEUE)
                    self.told(
                        f"{depths.pending} pending, {depths.active} active, {depths.retry + depths.scheduled} later"
                    )
                    if depths.pending + depths.active + depths.retry + depths.scheduled == 0:
                        return
                await asyncio.sleep(0.25)
        self.report.wrong.append(f"the queue was not empty after {_LONGEST_END:g} s: {seen}")

    async def _count(self) -> None:
        runs = Counter(bytes.fromhex(line) for line in self.ledger.read_text().split())
        report = self.report
        report.runs, report.twice = runs.total(), sum(count > 1 for count in runs.values())
        async with self._looking() as broker:
            found = await check_queue(broker, _QUEUE, repair=False)
            page = await broker.jobs_in(_QUEUE, JobState.DEAD, limit=1000)
            dead = {job.id: job.reason for job in page.jobs}
        report.dead = len(dead)
        report.wrong += [f"{finding.what}: {finding.id.hex()}" for finding in found[:20]]
        lost = self._acknowledged - runs.keys() - dead.keys()
        report.wrong += [f"acknowledged, and neither run nor dead: {job.hex()}" for job in list(lost)[:20]]
        report.wrong += [f"dead for {reason}: {job.hex()}" for job, reason in dead.items() if reason != "poison"][:20]

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncIterator[RedisBroker]:
        broker = RedisBroker(f"redis://127.0.0.1:{self._port}/0", namespace="kills", stage="kills")
        try:
            yield broker
        finally:
            await broker.close()


async def _end(process: asyncio.subprocess.Process, signal_: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal_)
    await process.wait()
