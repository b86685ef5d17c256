"""The commands of `ropeline faults`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.cli.parser import Commands

__all__ = ["add_commands", "run_gate"]


def add_commands(commands: Commands) -> None:
    """Add the fault campaigns to the group."""
    gate = commands.add_parser(
        "gate",
        help="what the gate answers while its store fails, how fast, and who has lost a place by it",
        description="Let a store of its own fail in every known way under a gate with a full house and a line. Exit status"
        " 1 when the first answers took more than 300 ms or a later one more than 5 ms, when one was not the policy's, or"
        " when a place was lost.",
    )
    gate.add_argument("--json", action="store_true", help="print one JSON object")
    gate.add_argument("--size", choices=("small", "large"), default="small", help="how many visitors and answers")
    gate.set_defaults(handler="ropeline.cli.faults:run_gate")


def run_gate(options: Namespace) -> int:
    """Run the faults and print what became of the visitors."""
    from ropeline.bench.faults import inject_faults, table

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[Kthe store is {progress}", end="", file=sys.stderr, flush=True)

    # The gate warns of each fault, and each is meant.
    logging.getLogger("ropeline.gate").setLevel(logging.CRITICAL)
    figures = asyncio.run(inject_faults(options.size, tell))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(json.dumps(figures) if options.json else table(figures))
    return 0 if figures["ok"] else 1
