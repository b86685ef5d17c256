"""The tables of docs/metrics.md, made from what the gate and the workers write.

`python -m tests.contracts.metrics_tables` writes them into the page; a test fails when the page says something else.
"""

import re
from collections.abc import Sequence

from ropeline.exposition import Family
from ropeline.gate.counts import Sums
from ropeline.gate.metrics import host_families, store_families
from ropeline.gate.rules import Condition, Rule
from ropeline.gate.settings import TenantSettings
from ropeline.gate.snapshot import Snapshot
from ropeline.jobs.cron.scheduler import ScheduleCounts
from ropeline.jobs.records import Depths
from ropeline.jobs.worker.metrics import WorkerMetrics, health_families, schedule_families
from ropeline.lua.results import Counters, LineHead, Status
from tests.contracts.checkout import ROOT

PAGE = ROOT / "docs" / "metrics.md"
HEAD = ("| series | kind | labels | unit | what it says |", "|---|---|---|---|---|")

# By what the name of a series contains, the first that fits.
UNITS = {
    "_seconds": "seconds",
    "_per_minute": "visitors a minute",
    "_users": "visitors",
    "waitingroom_status": "0 or 1",
    "recovering": "0 or 1",
    "store_up": "0 or 1",
    "_bytes": "bytes",
    "paused_tasks": "tasks",
    "paused": "0 or 1",
    "failing_open": "processes",
    "gate_processes": "processes",
    "sessions_": "sessions",
    "waitingroom_requests": "requests",
    "refused": "requests",
    "bypassed": "requests",
    "store_errors": "visits",
    "waitingroom_": "visitors",
    "round_trips": "calls",
    "step_failures": "calls",
    "schedule_failures": "calls",
    "slots": "slots",
    "leases": "leases",
    "ticks": "ticks",
    "alarms": "alarms",
    "schedule_": "cron jobs",
    "finishes": "runs",
    "finished": "runs",
    "enqueued": "jobs",
    "depth": "jobs",
}


def tables() -> dict[str, list[Family]]:
    """The families by the heading of their table, with a series of each kind."""
    bypass = Rule(action="bypass", conditions=(Condition(subject="path", operator="prefix", value="/static"),))
    settings = TenantSettings(
        name="acme", host="acme.example.com", total_active_users=1, new_users_per_minute=60, rules=(bypass,)
    )
    head = LineHead(1, 0, 1, 1, 1, 1, 1, 1, recovering=False, closed=False, fast=1000, slow=1000, samples=9, turn=0)
    counters = Counters(*(0 for _ in Counters.__slots__))
    depths = Depths(**dict.fromkeys(Depths._fields, 0) | {"counters": {}, "paused_tasks": ()})  # type: ignore[arg-type]  # a sample
    worker = WorkerMetrics(slots=1)
    worker.of_task("default", "mail")
    worker.of_queue("default")
    worker.stale["default"] = 0
    return {
        "The lines": store_families([Snapshot(settings, 1, Status(head, counters, settings.quota))], is_up=True),
        "The requests": host_families([settings], Sums([])),
        "The workers": [
            *worker.families({"default": depths}),
            *health_families(is_up=True, loop_age=0),
            *schedule_families(ScheduleCounts()),
        ],
    }


def rows(families: Sequence[Family]) -> list[str]:
    """One row for each family, in the order in which they are written."""
    made = []
    for family in families:
        labels = dict.fromkeys(f"`{name}`" for series, _ in family.rows for name in series)
        cells = (f"`{family.name}`", family.kind, ", ".join(labels), unit_of(family.name), family.text)
        made.append(f"| {' | '.join(cells)} |")
    return made


def unit_of(name: str) -> str:
    return next(unit for part, unit in UNITS.items() if part in name)


def page(text: str) -> str:
    """The page with each table made anew; the words around them stay."""
    for heading, families in tables().items():
        made = "\n".join([*HEAD, *rows(families)])
        table = re.search(rf"^## {heading}\n(?:(?!## )[^|\n].*\n|\n)*(?P<table>(?:\|.*\n)+)", text, re.MULTILINE)
        assert table is not None, f"no table under the heading {heading!r}"
        text = f"{text[: table.start('table')]}{made}\n{text[table.end('table') :]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
