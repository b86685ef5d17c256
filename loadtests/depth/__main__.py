"""The measurement as a command: `python -m loadtests.depth --pending 1000000 --held 200000 --each 20000`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from redis.asyncio import Redis

from loadtests.depth.filling import QUEUE, Depth, Filled
from loadtests.depth.in_and_out import Passage, pass_through
from loadtests.depth.operator_calls import call_as_operators
from loadtests.depth.server_times import LIMIT_US, ServerTimes, Timing
from loadtests.depth.worker_calls import call_as_workers
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.server import EmbeddedServer


def main() -> int:
    """Measure and report; 1 when a script held the server up for too long, or something was left."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.depth", description=__doc__)
    parser.add_argument(
        "--pending", type=int, default=20_000, help="jobs pending, and jobs in and out (default: 20000)"
    )
    parser.add_argument("--held", type=int, default=5_000, help="jobs held under one key (default: 5000)")
    parser.add_argument("--each", type=int, default=2_000, help="jobs in every other set (default: 2000)")
    parser.add_argument("--turns", type=int, default=40, help="calls of each kind (default: 40)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{progress}")

    began = time.monotonic()
    with EmbeddedServer() as server:
        depth = Depth(options.pending, options.held, options.each)
        passage, depths, timings = asyncio.run(measure(server.url, depth, options.turns, tell))
    seconds = round(time.monotonic() - began, 1)
    tell("")
    slow = [timing for timing in timings if not timing.is_short]
    if options.json:
        report = {
            "passage": {**passage._asdict(), "is_clean": passage.is_clean},
            "depths": depths,
            "timings": [timing._asdict() for timing in timings],
            "seconds": seconds,
        }
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        sys.stdout.write(_table(passage, depths, timings, seconds))
    return 0 if passage.is_clean and not slow else 1


async def measure(
    url: str, depth: Depth, turns: int, told: Any = lambda _: None
) -> tuple[Passage, dict[str, int], list[Timing]]:
    """Jobs in and out, then a queue of this depth and every script `turns` times."""
    client: Redis = Redis.from_url(url)
    try:
        passage = await pass_through(url, client, depth.pending, warm_up=max(depth.pending // 10, 1000), told=told)
        broker = RedisBroker(url, stage="depth")
        try:
            filled = Filled(broker, depth, told)
            await filled.fill()
            found = await broker.depths(QUEUE)
            depths = {name: value for name, value in found._asdict().items() if name in _COUNTED}
            times = ServerTimes(client, told)
            await times.start()
            await call_as_workers(filled, times, turns)
            await call_as_operators(filled, times, turns)
        finally:
            await broker.close()
    finally:
        await client.aclose()
    return passage, depths, times.timings


_COUNTED = {
    "scheduled",
    "pending",
    "active",
    "retry",
    "held",
    "parked",
    "blocked",
    "completed",
    "dead",
    "cancelled",
}


def _table(passage: Passage, depths: dict[str, int], timings: list[Timing], seconds: float) -> str:
    grown = passage.bytes_after - passage.bytes_before
    lines = [
        (
            f"{passage.jobs:,} jobs in ({passage.enqueued_per_s:,.0f}/s) and out ({passage.drained_per_s:,.0f}/s), {passage.ran:,} ran: keys "
            f"{passage.keys_before} before and {passage.keys_after} after, memory {passage.bytes_before:,} bytes, {passage.bytes_full:,} when full, {grown:+,} after"
        ),
        ", ".join(f"{count:,} {state}" for state, count in depths.items()),
        f"{'us of the server':48} {'calls':>6} {'p50':>7} {'p99':>7} {'longest':>7} {'slow':>5} {'cpu':>7}  awaited p50, p99",
    ]
    for each in timings:
        mark = " " if each.is_short else "!"
        other = f"  {each.other} {each.other_p99:.0f}" if each.other_p99 > LIMIT_US else ""
        lines.append(
            f"{mark}{each.name:47} {each.calls:6} {each.p50:7.0f} {each.p99:7.0f} {each.longest:7.0f} {each.slow:5} {each.cpu:7.0f}  "
            f"{each.trip_p50:7.0f} {each.trip_p99:7.0f}{other}"
        )
    lines.append(
        f"{seconds} s; {sum(not each.is_short for each in timings)} of {len(timings)} kinds of calls above {LIMIT_US} us"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
