"""`ropeline bench jobs`: what the job engine moves, beside awaited commands of the same client in the same run."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis

from ropeline.bench.slow_link import slow_link
from ropeline.jobs.app import Jobs
from ropeline.jobs.brokers.named import STORE_BROKERS, broker_named
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.handlers import TaskHandlers

__all__ = ["bench_jobs", "jobs_table"]

_STAGE: Final = "bench"
_QUEUE: Final = "default"
_NAMESPACE: Final = "ropeline-bench"
_CONCURRENCIES: Final = (10, 100, 256)
_SLOW_MS: Final = 2.0
_SPACED: Final = 0.02
_SLOW_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured."""

    rounds: int
    jobs: int
    awaited: int
    spaced: int
    slow_jobs: int
    weighed: int


_FULL: Final = _Size(rounds=7, jobs=20_000, awaited=3_000, spaced=150, slow_jobs=10_000, weighed=50_000)
_QUICK: Final = _Size(rounds=2, jobs=2_000, awaited=500, spaced=20, slow_jobs=1_000, weighed=2_000)


@dataclass
class _Bench:
    """The application that is measured, and what was noted so far."""

    url: str
    client: Redis
    size: _Size
    kind: str
    app: Jobs
    rates: dict[str, list[float]] = field(default_factory=dict)
    done: int = 0
    expected: int = 0
    all_done: asyncio.Event = field(default_factory=asyncio.Event)
    begun: dict[int, float] = field(default_factory=dict)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, name: str, value: float) -> None:
        self.rates.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.rates[name])

    def expect(self, jobs: int) -> None:
        self.done, self.expected = 0, jobs
        self.all_done.clear()


async def bench_jobs(
    url: str, told: Callable[[str], object], *, quick: bool = False, broker: str = "redis"
) -> dict[str, Any]:
    """All figures, medians of rounds that take turns. What it writes, under a namespace of its own, it removes.

    `broker`: `redis` or `streams`; `both`: one after the other in each round, and the figures of each under its name.

    Leases, fencing, metrics and the memory of lost replies are on, as in any worker. Handlers do nothing.
    """
    size = _QUICK if quick else _FULL
    client: Redis = Redis.from_url(url)
    kinds = list(STORE_BROKERS) if broker == "both" else [broker]
    benches = [_Bench(url, client, size, kind, _application(url, kind)) for kind in kinds]
    try:
        await _forget(client)
        figures = await _measure(benches, told)
    finally:
        for bench in benches:
            await bench.app.close()
        await _forget(client)
        await client.aclose()
    return figures if broker == "both" else figures[broker]


def _application(url: str, kind: str) -> Jobs:
    stage = f"{_STAGE}-{kind}"
    make = broker_named("broker", kind)
    return Jobs(broker=lambda: make(url, namespace=_NAMESPACE, stage=stage), stage=stage, queue=_QUEUE)


async def _measure(benches: list[_Bench], told: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    size, weights, found = benches[0].size, [], {}
    for bench in benches:
        _define_tasks(bench)
        weights.append(await _weigh(bench))
    for turn in range(size.rounds):
        told(f"round {turn + 1} of {size.rounds}")
        # Neither has always the server that the other one has warmed, or filled.
        for bench in benches if turn % 2 == 0 else reversed(benches):
            await _measure_round(bench, turn)
    told("latency")
    for bench, weight in zip(benches, weights, strict=True):
        spaced, latency = await _measure_latency(bench, bench.app.tasks["timed"])
        found[bench.kind] = {
            "awaited_lpush_per_s": round(bench.median("lpush")),
            "awaited_call_spaced_ms": round(spaced, 3),
            "drain_per_s": {str(number): round(bench.median(f"drain {number}")) for number in _CONCURRENCIES},
            "enqueue_per_s": round(bench.median("enqueue")),
            "enqueue_many_per_s": round(bench.median("enqueue_many")),
            "round_trips_per_job": round(bench.median("round trips"), 4),
            "server_us_per_job": {
                "enqueue_many": round(bench.median("server enqueue"), 1),
                "drain": round(bench.median("server drain"), 1),
            },
            "latency_ms": latency,
            "bytes_per_pending_job": round(weight, 1),
            "drain_per_s_with_2_ms": round(bench.median("slow drain")),
        }
    return found


def _define_tasks(bench: _Bench) -> None:
    @bench.app.task(name="nothing")
    async def nothing(number: int) -> None:  # noqa: ARG001 - a job of ordinary arguments
        bench.done += 1
        if bench.done == bench.expected:
            bench.all_done.set()

    @bench.app.task(name="timed")
    async def timed(number: int) -> None:
        bench.begun[number] = time.perf_counter()
        bench.has_begun.set()


async def _measure_round(bench: _Bench, turn: int) -> None:
    nothing = bench.app.tasks["nothing"]
    await _measure_awaited(bench)
    await _measure_enqueue(bench, nothing)
    for concurrency in _CONCURRENCIES:
        await _measure_drain(bench, nothing, f"drain {concurrency}", concurrency)
    if turn < _SLOW_ROUNDS:
        await _measure_slow_drain(bench, nothing)


async def _forget(client: Redis) -> None:
    keys = [key async for key in client.scan_iter(match=f"{_NAMESPACE}:*", count=1000)]
    if keys:
        await client.unlink(*keys)
    # What is freed in the background would be taken for memory that the next jobs do not need.
    for _ in range(1000):
        if not (await client.info("memory"))["lazyfree_pending_objects"]:
            break
        await asyncio.sleep(0.01)


async def _weigh(bench: _Bench) -> float:
    """Bytes of the server's memory for a pending job with 100 bytes of payload and no options."""

    @bench.app.task(name="weighed")
    async def weighed(payload: str) -> None: ...

    count = bench.size.weighed
    # What the server and its client allocate once is none of the jobs'.
    await bench.app.enqueue_many(weighed.build("x" * 96) for _ in range(100))
    before = (await bench.client.info("memory"))["used_memory"]
    for _ in range(count // 1000):
        await bench.app.enqueue_many(weighed.build("x" * 96) for _ in range(1000))
    after = (await bench.client.info("memory"))["used_memory"]
    await _forget(bench.client)
    return float(after - before) / count


async def _measure_awaited(bench: _Bench) -> None:
    count, key = bench.size.awaited, f"{_NAMESPACE}:list"
    began = time.perf_counter()
    for _ in range(count):
        await bench.client.lpush(key, b"x" * 100)
    bench.note("lpush", count / (time.perf_counter() - began))
    await bench.client.unlink(key)


async def _measure_enqueue(bench: _Bench, task: Any) -> None:
    count = bench.size.awaited
    began = time.perf_counter()
    for number in range(count):
        await task.enqueue(number)
    bench.note("enqueue", count / (time.perf_counter() - began))
    many = bench.size.jobs - count
    used = await _server_us(bench)
    began = time.perf_counter()
    await bench.app.enqueue_many(task.build(number) for number in range(many))
    bench.note("enqueue_many", many / (time.perf_counter() - began))
    bench.note("server enqueue", (await _server_us(bench) - used) / many)


async def _server_us(bench: _Bench) -> float:
    """Microseconds of processor time that the server has used."""
    used = await bench.client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"]) * 1_000_000


async def _fill(bench: _Bench, task: Any, count: int) -> None:
    depths = await bench.app.broker().depths(_QUEUE)
    await bench.app.enqueue_many(task.build(number) for number in range(count - depths.pending))


async def _measure_drain(bench: _Bench, task: Any, name: str, concurrency: int) -> None:
    count = bench.size.jobs
    await _fill(bench, task, count)
    reads = (await bench.client.info("stats"))["total_reads_processed"]
    used = await _server_us(bench)
    bench.note(name, await _drain(bench, bench.app, count, concurrency))
    if concurrency == 100:
        bench.note("server drain", (await _server_us(bench) - used) / count)
        reads = (await bench.client.info("stats"))["total_reads_processed"] - reads
        bench.note("round trips", reads / count)


async def _measure_slow_drain(bench: _Bench, task: Any) -> None:
    await _fill(bench, task, bench.size.slow_jobs)
    port = urlsplit(bench.url).port or 6379
    async with slow_link(port, _SLOW_MS) as url:
        app = _application(url, bench.kind)
        try:
            bench.note("slow drain", await _drain(bench, app, bench.size.slow_jobs, 100))
        finally:
            await app.close()


async def _drain(bench: _Bench, app: Jobs, count: int, concurrency: int) -> float:
    """Jobs a second of one worker, from its first claim to the end of the last handler."""
    bench.expect(count)
    worker = _worker(bench, app, concurrency)
    began = time.perf_counter()
    running = asyncio.create_task(worker.run())
    await _first(bench.all_done.wait(), running)
    seconds = time.perf_counter() - began
    worker.drain()
    await running
    return count / seconds


async def _measure_latency(bench: _Bench, task: Any) -> tuple[float, dict[str, float]]:
    """p50 of one awaited call, and from enqueue to the start of the handler, both at 50 a second and in turn."""
    calls, waits = [], []
    worker = _worker(bench, bench.app, 10)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.2)
    for number in range(bench.size.spaced):
        began = time.perf_counter()
        await bench.client.lpush(f"{_NAMESPACE}:list", b"x" * 100)
        calls.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(_SPACED)
        bench.has_begun.clear()
        began = time.perf_counter()
        await task.enqueue(number)
        await bench.has_begun.wait()
        await asyncio.sleep(_SPACED)
        waits.append((bench.begun[number] - began) * 1000)
    worker.drain()
    await running
    ordered = sorted(waits)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return statistics.median(calls), {"p50": round(statistics.median(waits), 3), "p99": round(p99, 3)}


def _worker(bench: _Bench, link: Jobs, concurrency: int) -> Worker:
    """A worker that runs the tasks over the connections of `link`."""
    settings = WorkerSettings(queues={_QUEUE: 1}, concurrency=concurrency)
    tasks = bench.app.tasks
    return Worker(link.broker(), TaskHandlers(tasks), settings, connect=link.connect, tasks=tasks)


async def _first(wanted: Awaitable[object], running: asyncio.Task[None]) -> None:
    """Wait for the work, or for a worker that broke off."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        await running
        raise RuntimeError("the worker ended before its work")


def jobs_table(figures: dict[str, Any]) -> str:
    """The figures as text, each beside its baseline; of both brokers one after the other."""
    if "awaited_lpush_per_s" not in figures:
        return "\n\n".join(f"{kind}\n{jobs_table(found)}" for kind, found in figures.items())
    lpush, spaced = figures["awaited_lpush_per_s"], figures["awaited_call_spaced_ms"]
    latency = figures["latency_ms"]
    lines = [f"one awaited LPUSH after another: {lpush:,} a second; beside it"]
    rows = [
        ("enqueue one by one", figures["enqueue_per_s"]),
        ("enqueue many", figures["enqueue_many_per_s"]),
        *((f"drain with {number} at once", rate) for number, rate in figures["drain_per_s"].items()),
        ("the same, 2 ms away, 100", figures["drain_per_s_with_2_ms"]),
    ]
    lines += [f"  {name:26} {rate:8,} a second  {rate / lpush:5.2f} of it" for name, rate in rows]
    server = figures["server_us_per_job"]
    lines += [
        f"processor time of the server: {server['enqueue_many']} us a job to enqueue many, {server['drain']} us to drain with 100",
        f"round trips a job while draining: {figures['round_trips_per_job']}",
        (
            f"one awaited call, 50 a second: {spaced:.2f} ms; from enqueue to the handler {latency['p50']:.2f} ms, "
            f"{latency['p50'] / spaced:.2f} of it, p99 {latency['p99']:.2f} ms"
        ),
        f"a pending job with 100 bytes of payload weighs {figures['bytes_per_pending_job']:.0f} bytes",
    ]
    return "\n".join(lines)
