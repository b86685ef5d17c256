"""What the server itself says of how long it was held up by one kind of call after another."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from redis.asyncio import Redis

__all__ = ["LIMIT_US", "ServerTimes", "Timing"]

LIMIT_US = 2000
"""Longest time, p99, for which one call may hold up everybody else's."""
_SCRIPTS = ("evalsha", "eval")
_SETUP = frozenset({"config|resetstat", "slowlog|reset", "config", "slowlog"})


class Timing(NamedTuple):
    """Times of one kind of call, us. `p50`, `p99`, `longest`: the server's, of the script alone, to 1 %, by the clock on the wall.

    `slow`: calls that took the server longer than LIMIT_US. `cpu`: what a call cost the server's main thread on average, reading and
    answering included; beside other programs it is the one to trust. `trip_p50`, `trip_p99`: awaited by the caller, with everything that
    it asks for. `other`: the command that held the server up longest (p99), be it called by the script or after it, and its time.
    """

    name: str
    calls: int
    p50: float
    p99: float
    longest: float
    slow: int
    cpu: float
    trip_p50: float
    trip_p99: float
    other: str
    other_p99: float

    @property
    def is_short(self) -> bool:
        """Whether nobody else was held up for longer than the limit, p99."""
        return self.p99 <= LIMIT_US and self.other_p99 <= LIMIT_US


class ServerTimes:
    """Measures calls one after the other. `client`: of the server, which must have nothing else to do."""

    def __init__(self, client: Redis, told: Callable[[str], object] = lambda _: None) -> None:
        self._client = client
        self._told = told
        self.timings: list[Timing] = []

    async def start(self) -> None:
        """Have the server note what is needed."""
        await self._client.config_set("latency-tracking", "yes")
        await self._client.config_set("latency-tracking-info-percentiles", "50 99 100")
        await self._client.config_set("slowlog-log-slower-than", LIMIT_US)
        await self._client.config_set("slowlog-max-len", 100_000)

    async def measure(self, name: str, turns: int, call: Callable[[int], Awaitable[Any]]) -> Timing:
        """Await `call(0)` unmeasured, so that its script is known, and the other turns one after the other."""
        self._told(name)
        await call(0)
        # The histograms of a command begin anew, and nothing but this kind of call is in them.
        await self._client.config_resetstat()
        await self._client.slowlog_reset()
        trips, used = [], await self._used()
        for turn in range(1, turns):
            began = time.perf_counter()
            await call(turn)
            trips.append((time.perf_counter() - began) * 1e6)
        used = await self._used() - used
        found = await self._client.info("latencystats")
        slow = int(await self._client.slowlog_len())
        scripts, others = _read(found)
        trips.sort()
        timing = Timing(
            name,
            turns - 1,
            *scripts,
            slow,
            round(used / max(turns - 1, 1), 1),
            _at(trips, 0.5),
            _at(trips, 0.99),
            *max(others, key=lambda other: other[1]),
        )
        self.timings.append(timing)
        return timing

    async def _used(self) -> float:
        """CPU time of the server's main thread, us."""
        found = await self._client.info("cpu")
        return float(found["used_cpu_user_main_thread"] + found["used_cpu_sys_main_thread"]) * 1e6


def _read(found: dict[str, Any]) -> tuple[tuple[float, float, float], list[tuple[str, float]]]:
    """p50, p99 and the longest of the scripts, and p99 of each other command."""
    scripts, others = (0.0, 0.0, 0.0), [("", 0.0)]
    for key, percentiles in found.items():
        command = key.removeprefix("latency_percentiles_usec_")
        if command in _SCRIPTS:
            each = (float(percentiles["p50"]), float(percentiles["p99"]), float(percentiles["p100"]))
            scripts = max(scripts, each, key=lambda one: one[1])
        elif command not in _SETUP:
            others.append((command, float(percentiles["p99"])))
    return scripts, others


def _at(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
