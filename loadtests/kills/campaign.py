"""Kills workers, the server and replies while jobs go in, and counts afterwards what became of each of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from loadtests.kills.app import LEDGER_VARIABLE, QUEUES
from loadtests.kills.units import UNIT, Left, Unit, make_unit, what_is_wrong
from ropeline.bench.fault_proxy import FaultProxy
from ropeline.jobs.app import Jobs
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.errors import OutcomeUnknown
from ropeline.jobs.fsck import check_queue
from ropeline.jobs.payloads.codec import codec_numbered
from ropeline.jobs.payloads.envelope import unpack
from ropeline.jobs.records import EnqueueResult, JobState, JobView, NewJob
from ropeline.lua.errors import StoreError
from ropeline.server import EmbeddedServer, free_port

__all__ = ["Kills", "Plan", "Report"]

_HOME = QUEUES[0]
_LEASE = 1.0
_WORKERS = 3
_BATCH = 20
# After its server was another one, a queue reaps nothing for ten seconds.
_CALM_EVERY = 10
_CALM_SECONDS = 14.0
# An entry of an outbox whose courier was killed comes again after 30 s, one that was handed out n times after n times as long.
_LONGEST_END = 400.0


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
    """What was done, and what is wrong, empty for nothing. `units`: how many of each kind were acknowledged."""

    units: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    runs: int = 0
    twice: int = 0
    dead: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many enqueues were."""
        return self.units.total()


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
        self._acknowledged: list[Unit] = []
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
            "-q",
            ",".join(f"{name}=1" for name in QUEUES),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._logs,
            stderr=self._logs,
        )

    # What goes in

    async def _produce(self, url: str) -> None:
        number = 0
        async with Jobs(url, stage="kills", namespace="kills") as app:
            while True:
                units, batch = [], []
                for _ in range(self.random.randint(1, _BATCH)):
                    unit, draft = make_unit(number, self.random)
                    delay = self.random.choice([0, 0, 0, self.random.randint(1, 500)])
                    units.append(unit)
                    batch.append(draft.job._replace(delay=delay))
                    number += 1
                await self._enqueue(app, batch)
                self._acknowledged += units
                self.report.units.update(unit.kind for unit in units)
                await asyncio.sleep(0.03)

    async def _enqueue(self, app: Jobs, batch: list[NewJob]) -> None:
        """Until it was acknowledged, by the same ids: known already is as good as taken in."""
        while True:
            try:
                answers = await app.broker().enqueue(_HOME, batch)
            except StoreError as error:
                self.report.unknown += isinstance(error, OutcomeUnknown)
                await asyncio.sleep(0.05)
                continue
            # One that was taken in by a call without a reply may have run meanwhile, and be taken in once more: it runs twice.
            bad = [answer for answer in answers if answer.result is EnqueueResult.CONFLICT]
            if bad:
                self.report.wrong.append(f"{len(bad)} jobs without a unique key conflicted")
            return

    # What became of it

    async def _wait_for_end(self) -> None:
        ends, seen = time.monotonic() + _LONGEST_END, "the store did not answer"
        async with self._looking() as broker:
            while time.monotonic() < ends:
                with contextlib.suppress(StoreError):
                    depths = [await broker.depths(queue) for queue in QUEUES]
                    on_their_way = [name for queue in QUEUES async for name, _ in broker.outbox(queue)]
                    counts = {
                        "pending": sum(each.pending for each in depths),
                        "held": sum(each.held for each in depths),
                        "active": sum(each.active for each in depths),
                        "later": sum(each.retry + each.scheduled for each in depths),
                        "parked": sum(each.parked for each in depths),
                        "blocked": sum(each.blocked for each in depths),
                        "entries of the outbox": len(on_their_way),
                    }
                    seen = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
                    self.told(seen)
                    if not seen:
                        return
                await asyncio.sleep(0.25)
        self.report.wrong.append(f"the queues were not empty after {_LONGEST_END:g} s: {seen}")

    async def _count(self) -> None:
        report = self.report
        runs: dict[int, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for line in self.ledger.read_text().splitlines():
            number, place, given = line.split(" ")
            runs[int(number)][int(place)].append(json.loads(given))
        report.runs = sum(len(given) for places in runs.values() for given in places.values())
        report.twice = sum(len(given) > 1 for places in runs.values() for given in places.values())
        async with self._looking() as broker:
            for queue in QUEUES:
                found = await check_queue(broker, queue, repair=False)
                report.wrong += [f"{queue}: {finding.what}: {finding.id.hex()}" for finding in found[:20]]
            here, there = [{id_ async for id_ in broker.ids(queue)} for queue in QUEUES]
            report.wrong += [f"in both queues: {id_.hex()}" for id_ in list(here & there)[:20]]
            dead = await self._dead(broker)
            report.dead = sum(map(len, dead.values()))
            wrong = []
            for unit in self._acknowledged:
                kept = unit.kind in {"group", "split"}
                view = await broker.find(_HOME, unit.id) if kept else None
                left = Left(runs.get(unit.number, {}), dead[unit.number], view, _result(view))
                why = what_is_wrong(unit, left)
                if why:
                    wrong.append(f"{unit.kind} {unit.number} ({unit.id.hex()}, doomed {unit.doomed}): {why}")
        report.wrong += wrong[:20]
        if len(wrong) > 20:
            report.wrong.append(f"{len(wrong) - 20} more")

    async def _dead(self, broker: RedisBroker) -> dict[int, list[JobView]]:
        """The dead letters of each unit."""
        firsts = {unit.id: unit.number for unit in self._acknowledged}
        dead: dict[int, list[JobView]] = defaultdict(list)
        for queue in QUEUES:
            cursor = ""
            while True:
                page = await broker.jobs_in(queue, JobState.DEAD, cursor=cursor, limit=1000)
                for view in page.jobs:
                    # A plain job has no metadata, and a group none of its own.
                    number = firsts.get(view.id, unpack(view.body).metadata.get(UNIT))
                    if number is None:
                        self.report.wrong.append(f"a dead letter of nobody for {view.reason}: {view.id.hex()}")
                    else:
                        dead[int(number)].append(view)
                cursor = page.cursor
                if not cursor:
                    break
        return dead

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


def _result(view: JobView | None) -> Any:
    return codec_numbered(view.result[0]).decode(view.result[1:]) if view is not None and view.result else None
