"""A small stampede goes through a site that slows down, and the closed loop says what it did."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from loadtests.closed_loop.plot import plot
from loadtests.closed_loop.stampede import Plan, percentile, run, windows
from tests.servers import Server


async def test_everybody_comes_through_within_the_bounds_and_each_step_has_its_reason(
    fresh_server: Server, tmp_path: Path
) -> None:
    rules = {"lowest": 3, "latency": 0.2, "step": 3, "factor": 0.8, "interval": 1}
    plan = Plan(visitors=20, quota=12, carries=4, seconds=0.05, pages=12, think=0.05, loop=rules, most_seconds=120)
    report = await run(plan, tmp_path, fresh_server.url, told=lambda _: None)
    assert (report.let_in, report.gone) == (20, 20)
    assert report.requests >= 20 * 12
    assert [step.reason for _, step in report.steps][:1] == ["begun"]
    assert {step.reason for _, step in report.steps} <= {"begun", "well", "slow", "failing"}
    assert all(3 <= step.after <= 12 for _, step in report.steps)
    assert all(sample.active <= 12 for sample in report.samples)
    drawn = ET.fromstring(plot(report, plan))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 4


def test_a_window_is_as_good_as_what_95_of_100_got() -> None:
    quick, slow = [(1.0, 0.1)] * 95, [(1.0, 0.9)] * 5
    assert windows([*quick, *slow], 5.0) == [(5.0, 0.1)]
    assert windows([*quick, *slow, (1.0, 0.9)], 5.0) == [(5.0, 0.9)]
    assert windows([(7.0, 0.1)] * 19, 5.0) == []
    assert percentile([3.0]) == 3.0
