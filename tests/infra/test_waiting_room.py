"""The dashboard, the rules and the alerts of the waiting room: unit-tested by promtool, and executed against a real Prometheus that
has scraped the running demo.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.running import Up
from tests.infra.prometheus import DASHBOARDS, FOLDER, GATES, drawn, prometheus, promtool
from tests.support import wait_until

RULES = "waiting-room.rules.yml"
TESTS = "waiting-room.test.yml"
FIRING: set[str] = set()
"""A demo whose crowd waits as it should gives cause to no alert."""

pytestmark = pytest.mark.requires_system("prometheus")


def test_every_rule_is_one_that_prometheus_takes_and_the_configuration_too(tmp_path: Path) -> None:
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "metrics.token").write_text("a-token-that-nobody-needs")
    assert "2 rule files found" in promtool("check", "config", "prometheus.yml", folder=tmp_path)


def test_each_alert_fires_with_cause_and_is_silent_without() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / RULES).read_text(encoding="utf-8")))
    tested = (FOLDER / TESTS).read_text(encoding="utf-8")
    assert set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tested)) == alerts
    assert set(re.findall(r"alertname: (\w+) }", tested)) == alerts


def test_what_the_alerts_watch_over_would_be_seen(tmp_path: Path) -> None:
    """The tests of the rules can fail."""
    text = (FOLDER / RULES).read_text(encoding="utf-8")
    (tmp_path / TESTS).write_bytes((FOLDER / TESTS).read_bytes())
    for rule, broken in [
        ("waitingroom_store_up == 0", "waitingroom_store_up == 2"),
        ("max by (tenant) (rate(w", "sum by (tenant) (rate(w"),
    ]:
        assert rule in text
        (tmp_path / RULES).write_text(text.replace(rule, broken), encoding="utf-8")
        with pytest.raises(AssertionError, match="FAILED"):
            promtool("test", "rules", TESTS, folder=tmp_path)


async def test_every_expression_of_the_dashboard_draws_and_no_alert_has_cause(
    short_folder: Path, tmp_path: Path
) -> None:
    with Up.running(short_folder, "--no-status", "--crowd", "60") as up:
        token = (short_folder / ".ropeline" / "metrics.token").read_text(encoding="utf-8").strip()
        port = urlsplit(up.url).port
        assert port is not None
        async with prometheus(tmp_path, {GATES: port}, [RULES], token=token) as server:
            empty = drawn("waiting-room.json", "tenant")
            assert len(empty) > 30

            async def all_draw() -> bool:
                for name, expression in list(empty.items()):
                    if await server.has(expression):
                        del empty[name]
                return not empty

            try:
                await wait_until(all_draw, timeout=180)
            except AssertionError:
                pytest.fail(f"these draw nothing: {', '.join(empty)}")
            alerts = await server.alerts()
            assert len(alerts) == 10
            firing = {name for name, expression in alerts.items() if await server.query(expression)}
            assert firing == FIRING


def test_the_dashboards_show_every_series_of_the_waiting_room() -> None:
    shown = (DASHBOARDS / "waiting-room.json").read_text(encoding="utf-8")
    shown += (FOLDER / RULES).read_text(encoding="utf-8")
    page = (FOLDER.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(waitingroom_\w+)`", page, re.MULTILINE))
    # Absent where a tenant has no rate.
    hidden = {name for name in listed if name not in shown} - {"waitingroom_new_users_per_minute_limit"}
    assert hidden == set()
