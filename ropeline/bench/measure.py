"""How benchmarks measure: CPU time of this process, in rounds that take turns, and medians."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

__all__ = ["CONCURRENCY", "Case", "alternate", "cpu_us", "percentiles"]

CONCURRENCY = 64
"""How many requests are under way at once."""

Case = Callable[[], Awaitable[object]]
"""One unit of work: what is measured is what one of them costs."""


async def cpu_us(case: Case, count: int, concurrency: int = CONCURRENCY) -> float:
    """CPU microseconds of this process for one call of `case`, with `concurrency` of them under way at any time."""
    share = count // concurrency

    async def repeat() -> None:
        for _ in range(share):
            await case()

    began = time.process_time()
    await asyncio.gather(*(repeat() for _ in range(concurrency)))
    return (time.process_time() - began) * 1e6 / (share * concurrency)


async def alternate(
    cases: Mapping[str, Case], *, rounds: int, count: int, after_round: Callable[[str], Awaitable[None]]
) -> dict[str, list[float]]:
    """Each case's CPU microseconds, once a round, the order turning with the rounds; `after_round` hears of the progress."""
    names = list(cases)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        await cpu_us(cases[name], CONCURRENCY * 4)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            figures[name].append(await cpu_us(cases[name], count))
        await after_round(f"round {turn + 1} of {rounds}")
    return figures


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99 and the largest."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[int(len(ordered) * 0.99)], 3),
        "max": round(ordered[-1], 3),
    }
