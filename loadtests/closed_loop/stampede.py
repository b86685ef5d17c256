"""Sends the stampede to a site behind two gate processes, and watches what the closed loop makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from loadtests.closed_loop.site import HOST, PLAN_VARIABLE, TENANT, SitePlan, prepare, read_log
from ropeline.cli.loopback_http import HttpPool, Reply
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.errors import StoreError
from ropeline.lua.results import Step
from ropeline.server import free_port
from ropeline.server_process import start_watchdog

__all__ = ["Plan", "Report", "Sample", "run"]

_ROOT = Path(__file__).resolve().parents[2]
_PREFIX = "/.well-known/waiting-room/"
_OPENS_WITHIN = 30.0
_TRANSIENT = (OSError, asyncio.IncompleteReadError)
_PASSED = ("admitted", "bypass", "failing-open")
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the stampede is.

    `quota`: what an operator set who thinks too well of the site. `carries`, `seconds`: of the site, see SitePlan. `pages`: that
    a visitor looks at, with up to twice `think` seconds in between. `most_seconds`: when the run is given up.
    """

    visitors: int
    quota: int
    carries: int
    seconds: float
    pages: int
    think: float
    loop: Mapping[str, Any]
    most_seconds: float
    gates: int = 2
    seed: int = 0

    @property
    def target(self) -> float:
        """Seconds that 95 of 100 requests may take."""
        return float(self.loop["latency"])


@dataclass(frozen=True, slots=True)
class Sample:
    """How the line stood, once a second. `at`: s since the start."""

    at: float
    quota: int
    active: int
    waiting: int


@dataclass
class Report:
    """What was seen. `windows`: of each interval the time at its end (s) and the p95 of the site (s)."""

    seconds: float = 0.0
    let_in: int = 0
    gone: int = 0
    failed: int = 0
    requests: int = 0
    windows: list[tuple[float, float]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    steps: list[tuple[float, Step]] = field(default_factory=list)

    def share_within(self, target: float) -> float:
        """How much of the time the p95 was within the target, 0 to 1; 0 when nothing was measured."""
        return sum(p95 <= target for _, p95 in self.windows) / len(self.windows) if self.windows else 0.0


async def run(plan: Plan, folder: Path, redis_url: str, told: Callable[[str], object]) -> Report:
    """One stampede on an empty store. `told` hears of the progress."""
    report = Report()
    prepare(folder, plan.gates)
    client: Redis = Redis.from_url(redis_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        ports = [await stack.enter_async_context(_gate(plan, folder, redis_url, slot)) for slot in range(plan.gates)]
        pools = [
            await stack.enter_async_context(HttpPool("127.0.0.1", port, HOST, connections=plan.visitors))
            for port in ports
        ]
        began, began_at = time.monotonic(), time.time()
        watch = asyncio.create_task(_watch(TenantStore(client, "gate"), report, began, told))
        try:
            async with asyncio.timeout(plan.most_seconds):
                crowd = random.Random(plan.seed)
                await asyncio.gather(
                    *(_Visitor(plan, pools, random.Random(crowd.random()), report).come() for _ in range(plan.visitors))
                )
        except TimeoutError:
            told("the time is up\n")
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        report.seconds = time.monotonic() - began
        steps = await TenantStore(client, "gate").steps(TENANT, 1000)
    report.steps = [(step.at / 1000 - began_at, step) for step in reversed(steps)]
    log = [(when - began, took) for when, took in read_log(folder)]
    report.requests = len(log)
    report.windows = windows(log, float(plan.loop["interval"]))
    return report


def windows(log: Sequence[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """The p95 of each `length` seconds in which twenty requests or more were answered."""
    taken: dict[int, list[float]] = {}
    for when, took in log:
        taken.setdefault(int(when // length), []).append(took)
    return [((index + 1) * length, percentile(took)) for index, took in sorted(taken.items()) if len(took) >= 20]


def percentile(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


class _Visitor:
    """Comes with everybody else, waits as it is told to, looks at some pages, and leaves."""

    def __init__(self, plan: Plan, pools: Sequence[HttpPool], chance: random.Random, report: Report) -> None:
        self._plan, self._pools, self._chance, self._report = plan, pools, chance, report
        self._cookie = ""

    async def come(self) -> None:
        while not _is_let_in(await self._send("GET", "/")):
            await self._wait()
        self._report.let_in += 1
        for _ in range(self._plan.pages - 1):
            await asyncio.sleep(self._chance.uniform(0, 2 * self._plan.think))
            if not _is_let_in(await self._send("GET", "/")):
                self._report.failed += 1
        await self._send("POST", f"{_PREFIX}leave?tenant={TENANT}")
        self._report.gone += 1

    async def _wait(self) -> None:
        while True:
            reply = await self._send("GET", f"{_PREFIX}status?tenant={TENANT}")
            room = json.loads(reply.body)["waitingRoom"] if reply.body else {}
            if not room.get("inWaitingRoom", True):
                return
            await asyncio.sleep(float(room.get("refreshIntervalSeconds") or _POLL_SECONDS))

    async def _send(self, method: str, target: str) -> Reply:
        headers = {"Accept": "application/json"}
        if self._cookie:
            headers["Cookie"] = self._cookie
        try:
            reply = await self._chance.choice(self._pools).request(method, target, headers)
        except _TRANSIENT:
            self._report.failed += 1
            await asyncio.sleep(_POLL_SECONDS)
            return await self._send(method, target)
        given = reply.headers.get("set-cookie", "").partition(";")[0]
        if "wr_" in given.partition("=")[0]:
            self._cookie = given
        return reply


def _is_let_in(reply: Reply) -> bool:
    return reply.headers.get("waiting-room", "").startswith(_PASSED)


async def _watch(store: TenantStore, report: Report, began: float, told: Callable[[str], object]) -> None:
    """Note once a second how the line stands."""
    while True:
        with contextlib.suppress(StoreError):
            status = await store.status(TENANT)
            head, at = status.head, time.monotonic() - began
            report.samples.append(Sample(round(at, 2), status.quota, head.active, head.waiting))
            told(f"{at:.0f} s: {report.gone} gone, {head.active} in of {status.quota}, {head.waiting} waiting")
        await asyncio.sleep(1)


@asynccontextmanager
async def _gate(plan: Plan, folder: Path, redis_url: str, slot: int) -> AsyncIterator[int]:
    """One gate process with the site, on a port of its own."""
    settings = {
        "total_active_users": plan.quota,
        "join_limit_per_ip": 0,
        "poll": {"floor": _POLL_SECONDS, "ceiling": 2},
        "claim_within": 6,
        "closed_loop": {"enabled": True, **plan.loop},
    }
    site = SitePlan(redis_url, str(folder), slot, plan.gates, plan.carries, plan.seconds, settings)
    port = free_port()
    command = ["-m", "uvicorn", "--factory", "loadtests.closed_loop.site:create", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--log-level",
        "warning",
        "--no-access-log",
        cwd=_ROOT,
        env={**os.environ, PLAN_VARIABLE: site.text()},
    )
    watchdog = start_watchdog(process.pid)
    try:
        await _until_open(port)
        yield port
    finally:
        # Before the process is reaped, or the watchdog might meet its id on somebody else.
        watchdog.kill()
        watchdog.communicate()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(_OPENS_WITHIN):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)
