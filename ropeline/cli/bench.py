"""The commands of `ropeline bench`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.cli.parser import Commands

__all__ = ["add_commands", "run_gate"]


def add_commands(commands: Commands) -> None:
    """Add the benchmarks to the group."""
    gate = commands.add_parser(
        "gate",
        help="what the gate adds to a request, and what a decision costs",
        description="Measure the gate beside its own baseline: an awaited PING, and the same site without the gate.",
    )
    gate.add_argument("--json", action="store_true", help="print one JSON object")
    gate.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how fast it is")
    gate.add_argument(
        "--redis-url",
        metavar="URL",
        help="measure with this Redis or Valkey instead of an own one (else ROPELINE_REDIS_URL, REDIS_URL)",
    )
    gate.set_defaults(handler="ropeline.cli.bench:run_gate")


def run_gate(options: Namespace) -> int:
    """Run the gate's benchmark on the server that was named, or on one of its own."""
    from ropeline.bench.gate import bench_gate, table
    from ropeline.server import EmbeddedServer

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)

    url = options.redis_url or os.environ.get("ROPELINE_REDIS_URL") or os.environ.get("REDIS_URL")
    if url:
        figures = asyncio.run(bench_gate(url, tell, quick=options.quick))
    else:
        with EmbeddedServer() as server:
            figures = asyncio.run(bench_gate(server.url, tell, quick=options.quick))
    tell("")
    print(json.dumps(figures) if options.json else table(figures))
    return 0
