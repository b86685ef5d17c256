"""A small campaign of kills loses nothing, and the large one is the same with larger numbers."""

from __future__ import annotations

from pathlib import Path

from loadtests.kills.campaign import Kills, Plan


async def test_a_few_kills_of_everything_lose_no_job(tmp_path: Path) -> None:
    plan = Plan(workers=4, servers=1, replies=4, seconds=0.2)
    report = await Kills(plan, tmp_path, told=lambda _: None).run()
    assert report.wrong == []
    assert report.killed == {"worker": 4, "server": 1, "reply": 4}
    assert 0 < report.acknowledged <= report.runs + report.dead
    assert len(report.units) > 1
