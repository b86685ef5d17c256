"""What a decision costs the server and the process, what a session weighs, and how a mass expiry is survived."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

from redis.asyncio import Redis

from ropeline.bench.measure import percentiles
from ropeline.bench.site import NAMESPACE
from ropeline.gate.line import Line, SettingsCopy
from ropeline.lua.keys import TenantKeys
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.scripts import LineScripts
from ropeline.lua.visits import Visit

__all__ = ["measure_decisions", "measure_mass_expiry", "measure_server", "measure_weight"]

_BATCH = 64
_SETTINGS = LineSettings(quota=0, join_limit=0)


async def _tenant(client: Redis, name: str, settings: LineSettings = _SETTINGS) -> LineScripts:
    scripts = LineScripts(client, NAMESPACE, name)
    await scripts.configure(expected=0, version=1, settings="{}", numbers=settings)
    await scripts.visit([Visit(os.urandom(16))])
    return scripts


async def _fill(client: Redis, scripts: LineScripts, count: int, *, ended: int = 0) -> list[bytes]:
    """Put `count` waiting visitors in line, `ended` of them past their end; returns the ids of the others."""
    keys = TenantKeys(NAMESPACE, scripts.tenant)
    status = await scripts.status()
    if status is None:
        raise RuntimeError("the benchmark's tenant is gone")
    place, clock = status.head.now - 10**9, status.head.clock
    present = []
    for start in range(0, count, 1000):
        ids = [os.urandom(16) for _ in range(min(1000, count - start))]
        places = {id_: place + start + index for index, id_ in enumerate(ids)}
        ends: dict[bytes, int] = {}
        for index, id_ in enumerate(ids):
            # Spread over the line, as visitors who vanish are.
            is_ended = ended > 0 and (start + index) * ended % count < ended
            ends[id_] = clock - 1 if is_ended else clock + 160_000
            if not is_ended:
                present.append(id_)
        async with client.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.sessions, places)
            pipe.zadd(keys.pool, ends)
            await pipe.execute()
    return present


def _poll(id_: bytes, epoch: int, end: int) -> Visit:
    return Visit(os.urandom(16), ticketed=True, state=1, id=id_, place=1, end=end, epoch=epoch)


async def measure_server(
    client: Redis, told: Callable[[str], None], *, calls: int, sizes: Mapping[str, int]
) -> dict[str, float]:
    """Server CPU microseconds for one decision, in batches of 64 polls, by the name and length of each line."""
    figures = {}
    for text, size in sizes.items():
        scripts = await _tenant(client, f"line-{text}")
        ids = await _fill(client, scripts, size)
        status = await scripts.status()
        epoch, end = (status.head.epoch, status.head.clock) if status is not None else (0, 0)
        samples = []
        for _ in range(5):
            batches = [
                [_poll(id_, epoch, end) for id_ in random.choices(ids, k=_BATCH)]  # noqa: S311
                for _ in range(calls // 5)
            ]
            before = await _script_us(client)
            for batch in batches:
                await scripts.visit(batch)
            samples.append((await _script_us(client) - before) / (len(batches) * _BATCH))
        figures[text] = round(statistics.median(samples), 2)
        told(f"decisions in a line of {text}")
        await client.delete(*TenantKeys(NAMESPACE, scripts.tenant).line())
    return figures


async def _script_us(client: Redis) -> float:
    stats: dict[str, dict[str, float]] = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0.0) for name in ("evalsha", "eval"))


async def measure_weight(client: Redis, *, size: int) -> float:
    """Bytes of the server's memory for one waiting session, at `size` of them."""
    scripts = await _tenant(client, "weight")
    before = (await client.info("memory"))["used_memory"]
    await _fill(client, scripts, size)
    after = (await client.info("memory"))["used_memory"]
    await client.delete(*TenantKeys(NAMESPACE, scripts.tenant).line())
    return round(float(after - before) / size, 1)


async def measure_mass_expiry(client: Redis, *, size: int) -> dict[str, float]:
    """Milliseconds of a call while a tenth of `size` sessions has ended at once, until all of them are removed."""
    scripts = await _tenant(client, "mass-expiry")
    ids = await _fill(client, scripts, size, ended=size // 10)
    status = await scripts.status()
    epoch, end = (status.head.epoch, status.head.clock) if status is not None else (0, 0)
    calls: list[float] = []
    is_more = True
    while is_more:
        batch = [_poll(id_, epoch, end) for id_ in random.choices(ids, k=_BATCH)]  # noqa: S311
        began = time.perf_counter()
        await scripts.visit(batch)
        calls.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        reply = await scripts.tick()
        calls.append((time.perf_counter() - began) * 1000)
        is_more = reply is not None and reply[1]
    await client.delete(*TenantKeys(NAMESPACE, scripts.tenant).line())
    return percentiles(calls)


async def measure_decisions(client: Redis, *, rounds: int, count: int) -> dict[str, float]:
    """Decisions a second at 500 concurrent visits: a call each, and in batches as the gate sends them."""
    scripts = await _tenant(client, "decisions")
    ids = await _fill(client, scripts, 10_000)
    status = await scripts.status()
    epoch, end = (status.head.epoch, status.head.clock) if status is not None else (0, 0)
    line = Line(scripts, SettingsCopy(1, 0, "{}", _SETTINGS), deadline=60)
    visits = [_poll(id_, epoch, end) for id_ in ids]

    async def one_by_one(visit: Visit) -> None:
        await scripts.visit([visit])

    async def batched(visit: Visit) -> None:
        await line.visit(visit)

    async def rate(decide: Callable[[Visit], Awaitable[None]]) -> float:
        share = count // 500

        async def repeat(number: int) -> None:
            for turn in range(share):
                await decide(visits[(number * share + turn) % len(visits)])

        began = time.perf_counter()
        await asyncio.gather(*(repeat(number) for number in range(500)))
        seconds = time.perf_counter() - began
        return share * 500 / seconds

    figures: dict[str, list[float]] = {"one_by_one": [], "batched": []}
    for _ in range(rounds):
        figures["one_by_one"].append(await rate(one_by_one))
        figures["batched"].append(await rate(batched))
    await line.close()
    await client.delete(*TenantKeys(NAMESPACE, scripts.tenant).line())
    return {name: round(statistics.median(values)) for name, values in figures.items()}
