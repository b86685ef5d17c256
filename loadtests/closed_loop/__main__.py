"""The rehearsal as a command: `python -m loadtests.closed_loop large --plot docs/images/closed-loop.svg`."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from loadtests.closed_loop.plot import plot
from loadtests.closed_loop.stampede import Plan, Report, run
from ropeline.server import EmbeddedServer

_SIZES = {
    "small": Plan(
        visitors=40,
        quota=40,
        carries=5,
        seconds=0.05,
        pages=20,
        think=0.1,
        loop={"lowest": 4, "latency": 0.1, "step": 3, "factor": 0.8, "interval": 1},
        most_seconds=60,
    ),
    "large": Plan(
        visitors=1000,
        quota=1000,
        carries=40,
        seconds=0.5,
        pages=15,
        think=1.5,
        loop={"lowest": 40, "latency": 0.8, "step": 8, "factor": 0.8, "interval": 5},
        most_seconds=600,
    ),
}
_PROMISED = 0.95


def main() -> int:
    """Run a stampede; 0 when everybody came through and the site was within its target for 95 % of the time."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.closed_loop", description=__doc__)
    parser.add_argument("size", choices=sorted(_SIZES), help="small: some seconds; large: some minutes")
    parser.add_argument("--without", action="store_true", help="without the closed loop, to compare")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", type=Path, help="write an SVG of what was seen into this file")
    options = parser.parse_args()
    plan = _SIZES[options.size]
    if options.without:
        plan = replace(plan, loop={**plan.loop, "enabled": False})
    # Each visitor may have a connection to each gate process.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{progress}")

    with tempfile.TemporaryDirectory(prefix="closed-loop") as name, EmbeddedServer() as server:
        report = asyncio.run(run(plan, Path(name), server.url, tell))
    tell("")
    share = report.share_within(plan.target)
    if options.plot:
        options.plot.write_text(plot(report, plan), encoding="utf-8")
    if options.json:
        print(json.dumps({**asdict(report), "target": plan.target, "share_within": round(share, 4)}))
    else:
        print("\n".join(_told(report, plan, share)))
    return int(report.gone < plan.visitors or share < _PROMISED)


def _told(report: Report, plan: Plan, share: float) -> list[str]:
    steps = [f"  {at:6.1f} s  {step.before:4} -> {step.after:4}  {step.reason}" for at, step in report.steps]
    slowest = max((p95 for _, p95 in report.windows), default=0.0)
    return [
        f"visitors   {report.let_in} let in, {report.gone} gone of {plan.visitors}, in {report.seconds:.0f} s",
        f"requests   {report.requests} answered by the site, {report.failed} failed",
        f"p95        {slowest:.2f} s in the slowest interval, within {plan.target:g} s in {share:.1%} of {len(report.windows)} intervals",
        "steps of the quota in force",
        *steps,
    ]


if __name__ == "__main__":
    sys.exit(main())
