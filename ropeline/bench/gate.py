"""`ropeline bench gate`: everything that the gate costs, in one run on one server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis

from ropeline.bench.decisions import measure_decisions, measure_mass_expiry, measure_server, measure_weight
from ropeline.bench.requests import measure_added, measure_rps
from ropeline.bench.site import NAMESPACE, forget
from ropeline.bench.survey import measure_survey

__all__ = ["bench_gate", "table"]


SIZES: Final = {"1e3": 1_000, "1e5": 100_000, "1e6": 1_000_000}
"""Lengths of the line at which a decision is measured."""


async def bench_gate(
    redis_url: str, told: Callable[[str], None], *, quick: bool = False, sizes: Mapping[str, int] = SIZES
) -> dict[str, Any]:
    """All figures, medians of rounds that take turns; with `quick` fewer of them. What it writes, under a namespace of its own, it removes."""
    rounds, count = (3, 3_200) if quick else (15, 12_800)
    ping, added = await measure_added(redis_url, rounds=rounds, count=count, told=told)
    rps = await measure_rps(redis_url, rounds=1 if quick else 5, seconds=0.5 if quick else 2.0, told=told)
    client: Redis = Redis.from_pool(BlockingConnectionPool.from_url(redis_url, max_connections=100, timeout=None))
    try:
        # Before the server has been filled and emptied: what it gives back late would be counted.
        weight = await measure_weight(client, size=min(100_000, max(sizes.values())))
        return {
            "awaited_ping_us": ping,
            "added_us": added,
            "rps": rps,
            "decision_server_us": await measure_server(client, told, calls=100 if quick else 1_000, sizes=sizes),
            "bytes_per_waiting_session": weight,
            "survey": await measure_survey(client, tenants=100 if quick else 1_000, rounds=1 if quick else 7),
            "mass_expiry_call_ms": await measure_mass_expiry(client, size=max(sizes.values())),
            "decisions_per_s": await measure_decisions(
                client, rounds=1 if quick else 7, count=5_000 if quick else 20_000
            ),
        }
    finally:
        await forget(client, NAMESPACE)
        await client.aclose()


def table(figures: dict[str, Any]) -> str:
    """The figures as text, each beside its baseline."""
    ping, rps, server = figures["awaited_ping_us"], figures["rps"], figures["decision_server_us"]
    decisions, expiry = figures["decisions_per_s"], figures["mass_expiry_call_ms"]
    survey = figures["survey"]
    lines = [f"one awaited PING costs {ping:.1f} us of this process; beside it the gate adds"]
    for case, added in figures["added_us"].items():
        share = rps[case] / rps["bare"]
        lines.append(
            f"  {case:17} {added:6.1f} us  {added / ping:5.2f} of it   {rps[case]:6,.0f}/s  {share:4.2f} of bare"
        )
    lines += [
        f"  bare              {'':25} {rps['bare']:6,.0f}/s",
        f"a decision costs the server {', '.join(f'{us:.1f} us at {size}' for size, us in server.items())}",
        (
            f"the status of {survey['tenants']:,} tenants costs the server {survey['server_ms']:.1f} ms: one costs "
            f"{survey['status_us'] / survey['decision_alone_us']:.2f} of a decision alone, {survey['decision_alone_us']:.1f} us"
        ),
        f"a waiting session weighs {figures['bytes_per_waiting_session']:.0f} bytes",
        f"a call during a mass expiry takes {expiry['p50']:.2f} ms, p99 {expiry['p99']:.2f}, at most {expiry['max']:.2f}",
        (
            f"decisions a second: {decisions['one_by_one']:,} one by one, {decisions['batched']:,} in batches, "
            f"{decisions['batched'] / decisions['one_by_one']:.1f} times"
        ),
    ]
    return "\n".join(lines)
