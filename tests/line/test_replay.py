"""64 clients at once, gate processes killed in the middle: every reply of the server is what the model says in its order.

A witness on the wire hears every reply, also those that nobody was left to read, so no outcome is unknown.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from loadtests.campaign.blocking import BlockingClient
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.keys import TenantKeys
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.results import Verdict
from ropeline.lua.scripts import LineScripts
from tests.line.comparison import assert_same_line
from tests.line.gate_worker import PATIENT
from tests.line.replay import LineCall, departures_of, line_call, line_calls, replay, settings_of
from tests.line.wire_tap import WireTap
from tests.servers import Server
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, CLIENTS = 4, 16
SECONDS = 60.0 if os.environ.get("ROPELINE_LARGE") == "1" else 6.0
SETTINGS = LineSettings(
    quota=12,
    waiting_ttl=700,
    session_ttl=500,
    session_max=1_500,
    confirm_within=400,
    claim_within=250,
    return_within=1_500,
    leave_hold=150,
    recovery_hold=500,
)


class Crowd:
    """The gate processes, each with its visitors' jar; a killed one is started again with the same visitors."""

    def __init__(self, port: int, tenant: str, jars: Path) -> None:
        self._start = [str(port), tenant]
        self._jars = jars
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self.kills = 0

    async def start(self, number: int, seconds: float) -> None:
        jar = str(self._jars / f"jar-{number}")
        command = [sys.executable, "-m", "tests.line.gate_worker", *self._start, jar, str(self.kills * 100 + number)]
        self._workers[number] = await asyncio.create_subprocess_exec(*command, str(CLIENTS), str(seconds), cwd=ROOT)

    async def kill(self, number: int) -> None:
        self._workers[number].kill()
        await self._workers[number].wait()
        self.kills += 1

    async def wait(self) -> None:
        """Return when all have ended, and well."""
        codes = [await worker.wait() for worker in self._workers.values()]
        assert codes == [0] * PROCESSES

    def end(self) -> None:
        for worker in self._workers.values():
            if worker.returncode is None:
                worker.kill()


class Operator:
    """Calls scripts in a transaction that also asks for their time, and keeps what it called; a client for LineScripts."""

    def __init__(self, port: int, tenant: str) -> None:
        url = f"redis://127.0.0.1:{port}/0"
        client = connect(RedisSettings(url, pool_wait=PATIENT, connect_timeout=PATIENT, call_timeout=PATIENT))
        if not isinstance(client, Redis):
            raise TypeError("expected a client for one server")
        self.calls: list[LineCall] = []
        self.scripts = LineScripts(self, "gate", tenant)
        self._client = client
        self._state = TenantKeys("gate", tenant).state

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        started = time.monotonic()
        async with self._client.pipeline(transaction=True) as together:
            together.execute_command(*args)
            together.hget(self._state, "last")
            reply, now = await together.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        self.calls.append(line_call(args, reply, started, time.monotonic(), int(now or 0)))
        return reply

    async def close(self) -> None:
        await self._client.aclose()


async def run_crowd(server: Server, tenant: str, jars: Path, seconds: float) -> list[LineCall]:
    """Let everybody loose for so long, and return every call in the order of the sequence numbers."""
    dice = random.Random(tenant)
    operator = Operator(server.port, tenant)
    scripts = operator.scripts
    async with WireTap(server.port) as tap:
        crowd = Crowd(tap.port, tenant, jars)
        try:
            await scripts.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
            for number in range(PROCESSES):
                await crowd.start(number, seconds)
            await wait_until(lambda: len(tap.history) > 200, timeout=60)
            loop = asyncio.get_running_loop()
            ends, version = loop.time() + seconds, 1
            while (left := ends - loop.time()) > 0:
                await asyncio.sleep(dice.random() * 0.2)
                numbers = replace(SETTINGS, quota=dice.choice([0, 2, 5, 12, 12, 25]))
                version += 1
                await scripts.configure(expected=version - 1, version=version, settings="{}", numbers=numbers)
                if dice.random() < 0.15:
                    number = dice.randrange(PROCESSES)
                    await crowd.kill(number)
                    await crowd.start(number, left)
            await crowd.wait()
            await tap.until_quiet()
        finally:
            crowd.end()
            await operator.close()
        assert crowd.kills > 0
        return sorted([*line_calls(tap.history), *operator.calls], key=lambda call: call.sequence)


async def test_a_concurrent_history_is_what_the_model_replies_call_by_call(
    valkey: Server, tenant_name: str, tmp_path: Path, blocking_client: BlockingClient
) -> None:
    calls = await run_crowd(valkey, tenant_name, tmp_path, SECONDS)
    assert [call.sequence for call in calls[1:]] == list(range(1, len(calls)))

    run = str(valkey.info("server")["run_id"])

    model = replay(calls, run)

    assert_same_line(blocking_client, TenantKeys("gate", tenant_name), model)
    check_order_of_time(calls)
    check_cap(calls)
    check_order_of_places(calls)
    check_nobody_is_thrown_back(calls)
    check_lies_are_noticed(calls, run)
    seen = [outcome[0] for call in calls for outcome in (call.outcomes if call.visits else [])]
    assert {0, 1, 2, 3} <= set(seen)


def check_order_of_time(calls: Sequence[LineCall]) -> None:
    """A call that was answered before another was sent has the lower sequence number."""
    earliest_end = float("inf")
    for call in reversed(calls):
        assert call.started <= earliest_end, f"call {call.sequence} was sent after a later one was answered"
        earliest_end = min(earliest_end, call.ended)


def check_cap(calls: Sequence[LineCall]) -> None:
    """At every sequence number active is at most the quota then in force, or it has only fallen since a cut."""
    quotas = quota_by_version(calls)
    active = 0
    for call in calls:
        if call.is_configure:
            continue
        version, now_active = call.reply[0], call.reply[6]
        assert now_active <= max(quotas[version], active), f"call {call.sequence}: {now_active} over {quotas[version]}"
        active = now_active


def quota_by_version(calls: Sequence[LineCall]) -> dict[int, int]:
    return {call.reply[1]: settings_of(call).quota for call in calls if call.is_configure and call.reply[0]}


def sightings(calls: Sequence[LineCall]) -> dict[bytes, list[tuple[int, int, Verdict, int, int]]]:
    """Of each id, in order: sequence number, clock, verdict, place, end."""
    seen: dict[bytes, list[tuple[int, int, Verdict, int, int]]] = defaultdict(list)
    for call in calls:
        if call.visits:
            for visit, (verdict, is_new, place, _, end, _) in zip(call.visits, call.outcomes, strict=True):
                who = visit.fresh if is_new else visit.id
                seen[who].append((call.sequence, call.clock, Verdict(verdict), place, end))
    return seen


def departures(calls: Sequence[LineCall]) -> dict[bytes, list[int]]:
    """When (sequence numbers) each id left or closed its tab."""
    left: dict[bytes, list[int]] = defaultdict(list)
    for call in calls:
        if call.name == "line/leave":
            for departure in departures_of(call):
                left[departure.id].append(call.sequence)
    return left


def check_order_of_places(calls: Sequence[LineCall]) -> None:
    """Nobody who stayed in line and present sees somebody with a higher place get in who was in line with it."""
    seen = sightings(calls)
    stays: list[tuple[int, int, int, int]] = []  # place, first and last sequence of an unbroken wait
    for visits in seen.values():
        for before, after in pairwise(visits):
            both_waiting = before[2] is Verdict.WAITING and after[2] is Verdict.WAITING
            # Longer than that, and it may have been called in vain meanwhile.
            is_unbroken = after[1] < min(before[4], before[1] + SETTINGS.claim_within)
            if both_waiting and is_unbroken and before[3] == after[3]:
                stays.append((before[3], before[0], after[0], after[1]))
    stays.sort()
    places = [stay[0] for stay in stays]
    for visits in seen.values():
        for before, after in pairwise(visits):
            if before[2] is Verdict.WAITING and after[2] is Verdict.ADMITTED:
                for place, first, last, _ in stays[: bisect_left(places, before[3])]:
                    assert not (first <= before[0] and after[0] <= last), f"place {before[3]} passed {place}"


def check_nobody_is_thrown_back(calls: Sequence[LineCall]) -> None:
    """Whoever was told to be admitted until some time is admitted at every visit before it, unless it left."""
    left = departures(calls)
    checked = 0
    for who, visits in sightings(calls).items():
        for before, after in pairwise(visits):
            has_left = any(before[0] < sequence < after[0] for sequence in left.get(who, []))
            if before[2] is Verdict.ADMITTED and after[1] < before[4] and not has_left:
                assert after[2] is Verdict.ADMITTED, f"call {after[0]}: thrown back"
                checked += 1
    assert checked > 0


def check_lies_are_noticed(calls: Sequence[LineCall], run: str) -> None:
    """The checks above would have seen it: a reply that differs, a call that is missing, an admission too many."""
    busiest = max((call for call in calls if not call.is_configure), key=lambda call: call.reply[6])
    index = calls.index(busiest)
    lied = [*busiest.reply]
    lied[6] += 26
    told = [*calls[:index], replace(busiest, reply=lied), *calls[index + 1 :]]
    with pytest.raises(AssertionError):
        check_cap(told)
    with pytest.raises(AssertionError):
        replay(told, run)
    with pytest.raises(AssertionError):
        replay([*calls[:index], *calls[index + 1 :]], run)
