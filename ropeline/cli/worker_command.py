"""The command `ropeline worker` with its options, and nothing of what it does."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Final

from ropeline.cli.options import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from ropeline.cli.parser import Commands

__all__ = ["CONCURRENCY_VARIABLE", "QUEUES_VARIABLE", "add_worker_command"]

CONCURRENCY_VARIABLE: Final = "JQ_CONCURRENCY"
"""As `--concurrency`, which wins."""
QUEUES_VARIABLE: Final = "JQ_QUEUES"
"""As `--queues`, which wins; with `:` before a weight, as in critical:6,default:3,low:1."""

_LARGEST_CONCURRENCY: Final = 10_000
_MOST_PROCESSES: Final = 64
_DAY: Final = 86_400


def add_worker_command(commands: Commands) -> None:
    """Add the command."""
    worker = commands.add_parser(
        "worker",
        help="run the jobs of an application",
        description="Run the jobs of an application until a signal asks for the end.",
    )
    worker.add_argument("app", metavar="MODULE:NAME", help="the Jobs object, such as shop.jobs:app")
    worker.add_argument(
        "-q",
        "--queues",
        metavar="QUEUES",
        help="queues with their weights, such as critical=6,default=3 (else JQ_QUEUES, else those of the tasks alike)",
    )
    worker.add_argument("--strict", action="store_true", help="empty the queues in their order, without weights")
    worker.add_argument(
        "-c",
        "--concurrency",
        type=whole_number(1, _LARGEST_CONCURRENCY),
        metavar="N",
        help="most jobs at once in a process (else JQ_CONCURRENCY, else 32)",
    )
    worker.add_argument(
        "--processes", default=1, type=whole_number(1, _MOST_PROCESSES), metavar="N", help="processes that work"
    )
    worker.add_argument(
        "--drain-timeout",
        default=30.0,
        type=_seconds(0, _DAY),
        metavar="SECONDS",
        help="how long running jobs may go on once the end is asked for",
    )
    worker.add_argument(
        "--lease",
        default=30.0,
        type=_seconds(1, 3600),
        metavar="SECONDS",
        help="how long the store leaves a job to a process that says nothing",
    )
    worker.add_argument(
        "--unknown",
        default="park",
        choices=("park", "retry", "dead"),
        help="what becomes of a job whose task the application does not have",
    )
    worker.add_argument(
        "--no-scheduler",
        action="store_true",
        help="leave cron jobs to other workers: define none, and enqueue none of their ticks",
    )
    worker.add_argument(
        "--health",
        type=_address,
        metavar="HOST:PORT",
        help="serve /healthz, /stats and /metrics there; each further process one port higher",
    )
    worker.add_argument(
        "--otel",
        action="store_true",
        help="trace every job by OpenTelemetry, to where the OTEL_* variables say; needs ropeline[otel]",
    )
    worker.set_defaults(handler="ropeline.cli.worker:run")


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not low <= seconds <= high:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected seconds from {low:g} to {high:g}")
        return seconds

    return read


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected HOST:PORT, such as 127.0.0.1:9000")
    return host, int(port)
