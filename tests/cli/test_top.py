"""`ropeline jobs top` shows how the queues stand, on a terminal, as lines and as JSON, until Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ropeline.cli.top import Queues, Rates, screen_lines
from ropeline.jobs.records import Depths
from tests.cli.running import COMMAND, Command, environment
from tests.cli.test_dlq import read_all
from tests.cli.work import Work
from tests.servers import Server
from tests.support import wait_until_sync


def depths(**numbers: Any) -> Depths:
    empty: dict[str, Any] = {**dict.fromkeys(Depths._fields, 0), "paused": False, "pause_reason": "", "counters": {}}
    return Depths(**{**empty, "now": 1_700_000_000_000, **numbers})


def stand(**queues: Depths) -> Queues:
    return Queues("prod", "redis://store", queues, dict.fromkeys(queues), "", 0.5)


def test_it_shows_the_queues_until_ctrl_c(tmp_path: Path, fresh_server: Server) -> None:
    """On a terminal as one screen that stays while the store is away, and leaves the terminal as it was; elsewhere as JSON."""
    work = Work(fresh_server.url, "prod")
    work.enqueue(3, queue="critical")
    environ = environment({**work.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "20"})
    ours, theirs = pty.openpty()
    seen = bytearray()

    def shows(text: str) -> bool:
        seen.extend(os.read(ours, 65536))
        return text.encode() in seen

    top = [COMMAND, "jobs", "top"]
    with (
        subprocess.Popen(top, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as screen,
        subprocess.Popen([*top, "--json"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as lines,
    ):
        os.close(theirs)
        assert lines.stdout is not None
        first, second = (json.loads(lines.stdout.readline())["queues"] for _ in range(2))
        assert (first[0]["queue"], first[0]["pending"], first[0]["per_second"]) == ("critical", 3, None)
        assert second[0]["per_second"] == {"enqueued": 0.0, "completed": 0.0, "failed": 0.0}
        wait_until_sync(lambda: shows("Ctrl-C ends it."), timeout=20)
        assert "critical  3" in seen.decode()
        fresh_server.kill()
        wait_until_sync(lambda: shows("away: "), timeout=20)
        assert seen.decode().rindex("critical  3") > seen.decode().rindex("away: "), "what it knew last stays"
        assert any("problem" in json.loads(lines.stdout.readline()) for _ in range(20))
        screen.send_signal(signal.SIGTERM)
        lines.send_signal(signal.SIGINT)
        rest = read_all(ours)
        assert (screen.wait(20), lines.wait(20)) == (0, 0)
    os.close(ours)
    assert rest.endswith("\033[?25h\033[?1049l")


def test_elsewhere_it_is_a_line_for_each_queue(tmp_path: Path, work: Work) -> None:
    work.enqueue(2)
    with subprocess.Popen(
        [COMMAND, "jobs", "top", "--queue", "default"],
        cwd=tmp_path,
        env=environment(work.environ),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert line.partition(" ")[2] == "default: 2 pending, 0 active, 0 scheduled, 0 in retry, 0 parked, 0 dead; open\n"


@pytest.mark.parametrize(
    ("words", "told"), [(("--queue", "lost"), "queue: got 'lost'"), (("--stage", "a:b"), "--stage: got")]
)
def test_what_is_wrong_is_told_before_the_screen_is_taken(
    on_work: Command, work: Work, words: tuple[str, ...], told: str
) -> None:
    work.enqueue()
    ended = on_work("jobs", "top", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.refusal.startswith(told)


def test_the_screen_is_as_wide_and_high_as_the_terminal() -> None:
    many = {f"queue-{number}": depths(pending=number, pause_reason="x" * 200, paused=True) for number in range(50)}
    lines = screen_lines(stand(**many), 60, 12)
    assert len(lines) == 12
    assert max(map(len, lines)) == 60
    assert lines[-3] == "... and 44 more queues; --queue shows one"
    assert "no jobs yet" in screen_lines(stand(), 60, 12)
    assert len(screen_lines(stand(**many), 60, 100)) == 55


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    def at(second: float, **counters: int) -> Depths:
        return depths(now=int(second * 1000), counters={"enqueued": 0, "completed": 0, "failed": 0, **counters})

    rates = Rates()
    assert rates.after(at(100)) is None
    assert rates.after(at(101, completed=50)) == {"enqueued": 0, "completed": 50, "failed": 0}
    assert rates.after(at(105, completed=50, failed=5)) == {"enqueued": 0, "completed": 10, "failed": 1}
    later = [rates.after(at(second, completed=50, failed=5)) for second in range(106, 130)]
    assert later[-1] == {"enqueued": 0, "completed": 0, "failed": 0}
    assert rates.after(at(131)) is None, "a store that lost its counters begins anew"
