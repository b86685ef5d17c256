"""The commands of `ropeline bench`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Coroutine

    from ropeline.cli.parser import Commands, Parser

__all__ = ["add_commands", "run_gate", "run_jobs"]


def add_commands(commands: Commands) -> None:
    """Add the benchmarks to the group."""
    gate = commands.add_parser(
        "gate",
        help="what the gate adds to a request, and what a decision costs",
        description="Measure the gate beside its own baseline: an awaited PING, and the same site without the gate.",
    )
    _add_options(gate)
    gate.set_defaults(handler="ropeline.cli.bench:run_gate")
    jobs = commands.add_parser(
        "jobs",
        help="how many jobs a second go in and out",
        description="Measure the job engine beside its own baseline: one awaited LPUSH after another of the same client.",
    )
    _add_options(jobs)
    jobs.add_argument(
        "--broker",
        choices=("redis", "streams", "both"),
        default="redis",
        help="where pending and active jobs are: in sorted sets, in streams, or first the one and then the other in each round",
    )
    jobs.set_defaults(handler="ropeline.cli.bench:run_jobs")


def _add_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how fast it is")
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="measure with this Redis or Valkey instead of an own one (else ROPELINE_REDIS_URL, REDIS_URL)",
    )


def run_gate(options: Namespace) -> int:
    """Run the gate's benchmark on the server that was named, or on one of its own."""
    from ropeline.bench.gate import bench_gate, table

    return _run(options, bench_gate, table)


def run_jobs(options: Namespace) -> int:
    """Run the job engine's benchmark on the server that was named, or on one of its own."""
    from ropeline.bench.jobs import bench_jobs, jobs_table

    return _run(options, partial(bench_jobs, broker=options.broker), jobs_table)


def _run(
    options: Namespace,
    bench: Callable[..., Coroutine[Any, Any, dict[str, Any]]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    from ropeline.server import EmbeddedServer

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)

    url = options.redis_url or os.environ.get("ROPELINE_REDIS_URL") or os.environ.get("REDIS_URL")
    if url:
        figures = asyncio.run(bench(url, tell, quick=options.quick))
    else:
        with EmbeddedServer() as server:
            figures = asyncio.run(bench(server.url, tell, quick=options.quick))
    tell("")
    print(json.dumps(figures) if options.json else table(figures))
    return 0
