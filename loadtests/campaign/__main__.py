"""The campaign as a command: `python -m loadtests.campaign --seeds 20 --steps 2000 --json`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

from loadtests.campaign.blocking import BlockingClient
from loadtests.campaign.campaign import Campaign, CampaignFailed
from loadtests.campaign.scenario import SCENARIOS
from ropeline.server import EmbeddedServer


def main() -> int:
    """Run the campaigns that the arguments ask for; 1 when a promise was broken."""
    options = _options()
    names = [options.scenario] if options.scenario else list(SCENARIOS)
    seen: Counter[str] = Counter()
    broken: list[str] = []
    campaigns, started = 0, time.monotonic()
    with EmbeddedServer() as server:
        client = BlockingClient(urlsplit(server.url).port or 0)
        for seed in range(options.first, options.first + options.seeds):
            for name in names:
                if options.seconds and time.monotonic() - started > options.seconds:
                    break
                campaigns += 1
                try:
                    seen += Campaign(client, name, seed).run(options.steps)
                except CampaignFailed as failed:
                    broken.append(str(failed))
                    sys.stderr.write(f"{failed}\n")
        client.close()
    report = {
        "campaigns": campaigns,
        "steps": options.steps,
        "seconds": round(time.monotonic() - started, 1),
        "seen": dict(sorted(seen.items())),
        "broken": broken,
    }
    if options.json:
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        counted = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
        sys.stdout.write(f"{campaigns} campaigns of {options.steps} steps in {report['seconds']} s: {counted}\n")
        sys.stdout.write(f"{len(broken)} broken promises\n")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.campaign", description=__doc__)
    parser.add_argument("--seeds", type=_positive, default=5, help="seeds of each scenario (default: 5)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--steps", type=_positive, default=500, help="events of each campaign (default: 500)")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="only this one (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=0, help="begin no campaign after this time (default: no limit)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
