"""The campaign as a command: `python -m loadtests.kills --workers 500 --servers 200 --replies 300`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from loadtests.kills.campaign import Kills, Plan


def main() -> int:
    """Run the campaign that the arguments ask for; 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.kills", description=__doc__)
    parser.add_argument("--workers", type=int, default=20, help="SIGKILLs of workers (default: 20)")
    parser.add_argument("--servers", type=int, default=4, help="SIGKILLs of the server (default: 4)")
    parser.add_argument("--replies", type=int, default=20, help="replies that are swallowed (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", type=Path, help="leave the server's data and the workers' log in this folder")
    options = parser.parse_args()

    def tell(progress: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{progress}")

    plan = Plan(workers=options.workers, servers=options.servers, replies=options.replies, seed=options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills") as name:
        folder = Path(name) if options.keep is None else options.keep
        folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(Kills(plan, folder, tell).run())
    seconds = round(time.monotonic() - began, 1)
    tell("")
    if options.json:
        sys.stdout.write(f"{json.dumps({'acknowledged': report.acknowledged, **vars(report), 'seconds': seconds})}\n")
    else:
        killed = ", ".join(f"{count} {what}" for what, count in sorted(report.killed.items()))
        units = ", ".join(f"{count} {kind}" for kind, count in report.units.most_common())
        sys.stdout.write(
            f"killed {killed} in {seconds} s: {report.acknowledged} enqueues acknowledged ({units}), {report.unknown} calls without a reply, "
            f"{report.runs} runs, {report.twice} jobs more than once, {report.dead} dead\n"
        )
        sys.stdout.write("".join(f"WRONG {line}\n" for line in report.wrong) or "nothing was lost\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
