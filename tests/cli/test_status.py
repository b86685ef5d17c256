"""`ropeline status` tells how the lines stand, to people, to programs and on a screen."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ropeline.cli.screen import sparkline
from ropeline.cli.views import Board, PlainView
from ropeline.gate.settings import TenantSettings
from ropeline.gate.snapshot import Snapshot
from ropeline.lua.results import Counters, LineHead, Status, Step
from tests.cli.running import COMMAND, Command, environment
from tests.cli.test_tenant import wait_in_line
from tests.servers import Server
from tests.support import wait_until_sync


def snapshot(*, head: dict[str, Any] | None = None, **settings: Any) -> Snapshot:
    """A tenant with quota 10 as it could stand."""
    numbers: dict[str, Any] = dict.fromkeys(LineHead.__dataclass_fields__, 0)
    given: dict[str, Any] = {"name": "acme", "host": "acme.test", "total_active_users": 10, **settings}
    counters = Counters(*range(len(Counters.__dataclass_fields__)))
    status = Status(LineHead(**{**numbers, **(head or {})}), counters, given["total_active_users"])
    return Snapshot(TenantSettings(**given), 3, status)


def test_one_tenant_is_shown_in_detail(on_store_command: Command, on_store: dict[str, str]) -> None:
    on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=5", "new_users_per_minute=60")
    asyncio.run(wait_in_line(on_store, "acme", 3))
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in on_store_command("status", "acme").out.splitlines())
    assert rows["state"] == "open"
    assert rows["on the site"] == "1 of 5", "with 60 a minute, one second's worth at once"
    assert rows["admitted a minute"] == "- (at most 60)"
    assert rows["total called"] == "1"


def test_all_tenants_are_shown_in_a_table_and_as_json(on_store_command: Command) -> None:
    assert on_store_command("status").out.startswith("no tenants yet")
    on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=5")
    on_store_command("tenant", "set", "beta", "host=beta.test", "total_active_users=6", "paused=true")
    _, acme, beta = on_store_command("status").out.splitlines()
    assert acme.split() == ["acme", "0", "0", "5", "-", "none", "open"]
    assert beta.split()[:4] == ["beta", "0", "0", "6"]
    assert beta.endswith("paused, nobody is admitted")
    document = json.loads(on_store_command("status", "--json").out)
    assert [(tenant["name"], tenant["state"], tenant["quota"]) for tenant in document["tenants"]] == [
        ("acme", "open", 5),
        ("beta", "paused", 6),
    ]
    assert on_store_command("status", "acne").refusal.startswith("tenant: got 'acne', expected one that")


@pytest.mark.parametrize(
    ("taken", "state", "wait"),
    [
        (snapshot(), "open", "none"),
        (snapshot(head={"active": 10}), "open", "not known yet"),
        (snapshot(head={"active": 10, "waiting": 8, "fast": 500, "slow": 400, "samples": 5}), "open", "12 to 30 s"),
        (snapshot(head={"waiting": 99, "fast": 500, "slow": 400, "samples": 5}), "open", "3 to 5 min"),
        (snapshot(head={"recovering": True}), "recovering", "not known yet"),
        (snapshot(paused=True), "paused", "not known yet"),
        (snapshot(queue_all=True), "queue_all", "not known yet"),
        (snapshot(suspended=True, paused=True), "suspended", "not known yet"),
        (snapshot(queueing_method="reject"), "reject", "not known yet"),
        (snapshot(queueing_method="passthrough"), "passthrough", "not known yet"),
    ],
)
def test_a_state_is_one_word_and_a_wait_a_range(taken: Snapshot, state: str, wait: str) -> None:
    assert (taken.state, taken.wait_words) == (state, wait)
    assert taken.state_words in taken.line()
    assert taken.to_mapping()["state"] == state


def test_plain_lines_come_when_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    calm, full = snapshot(), snapshot(head={"active": 10})
    for board in (
        Board([calm], "", 1, []),
        Board([calm], "", 1, []),
        Board([full], "", 1, []),
        Board([], "refused", 1, [("crowd", "3 gone")]),
        Board([], "refused", 1, [("crowd", "3 gone")]),
    ):
        view.show(board)
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [calm.line(), "store: refused", "crowd: 3 gone"], "a change within five seconds has to wait"


def test_a_sparkline_is_as_high_as_its_numbers() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 5, 10]) == "▁▄█"


def test_watching_goes_on_until_ctrl_c(tmp_path: Path, fresh_server: Server) -> None:
    """On a terminal as one screen that stays while the store is away; elsewhere as lines."""
    environ = environment({"REDIS_URL": fresh_server.url, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"})
    make = ["tenant", "set", "acme", "host=acme.test", "total_active_users=5"]
    subprocess.run([COMMAND, *make], cwd=tmp_path, env=environ, check=True, capture_output=True)
    ours, theirs = pty.openpty()
    seen = bytearray()

    def shows(text: str) -> bool:
        seen.extend(os.read(ours, 65536))
        return text.encode() in seen

    watch = [COMMAND, "status", "acme", "--watch"]
    with (
        subprocess.Popen(watch, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as screen,
        subprocess.Popen([*watch, "--json"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as lines,
    ):
        os.close(theirs)
        assert lines.stdout is not None
        for _ in range(2):
            assert json.loads(lines.stdout.readline())["tenants"][0]["quota"] == 5
        wait_until_sync(lambda: shows("answers in"), timeout=20)
        assert "of 5" in seen.decode()
        fresh_server.kill()
        wait_until_sync(lambda: shows("away: "), timeout=20)
        assert json.loads(lines.stdout.readline())
        for process in (screen, lines):
            process.send_signal(signal.SIGINT)
        while process_reads(ours):
            pass
        assert (screen.wait(20), lines.wait(20)) == (0, 0)
    os.close(ours)


def process_reads(terminal: int) -> bool:
    """Take what a process on the terminal still says; False when the last one has closed it."""
    try:
        return bool(os.read(terminal, 65536))
    except OSError:
        return False


def test_the_quota_in_force_and_why_it_is_that_are_shown() -> None:
    calm = snapshot()
    assert (calm.on_site_words, calm.step_words) == ("0 of 10", [])
    step = Step(1_790_000_000_000, 9, 6, "slow", calls=540, near=40, slow=31, failed=0, active=8, waiting=70)
    status = replace(calm.status, quota=6, head=replace(calm.status.head, active=8))
    held = replace(calm, status=status, steps=[step])
    assert held.on_site_words == "8 of 6 (the closed loop's; set: 10)"
    assert held.step_words == ["2026-09-21T14:13:20Z 9 -> 6: 31 of 540 calls took longer than the target"]
    shown = held.to_mapping()
    assert (shown["quota"], shown["quota_in_force"]) == (10, 6)
    assert shown["steps"] == [asdict(step)]


def test_a_closed_loop_shows_its_quota_before_anybody_came(on_store_command: Command) -> None:
    loop = ["closed_loop.enabled=true", "closed_loop.lowest=3"]
    on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=5", *loop)
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in on_store_command("status", "acme").out.splitlines())
    assert rows["on the site"] == "0 of 3 (the closed loop's; set: 5)"
    tenant = json.loads(on_store_command("status", "acme", "--json").out)["tenants"][0]
    assert (tenant["quota"], tenant["quota_in_force"], tenant["steps"]) == (5, 3, [])
