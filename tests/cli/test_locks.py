"""`ropeline locks` shows who holds what, and takes a lock away from the holder that it has shown."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ropeline.jobs.errors import LockLost
from ropeline.jobs.locks.locks import Lock, Locks, LockView
from tests.cli.running import COMMAND, Command, environment
from tests.cli.test_dlq import read_all
from tests.cli.work import Work


def acquire(work: Work, name: str, **details: Any) -> Lock:
    """Take a lock behind the commands' back."""
    return work.ask(lambda broker: broker.locks().acquire(name, **details))


def view(work: Work, name: str) -> LockView | None:
    return work.ask(lambda broker: broker.locks().view(name))


def test_locks_are_listed_with_their_holders_and_without_their_tokens(on_work: Command, work: Work) -> None:
    assert on_work("locks", "list").out == "no locks are held\n"
    lock = acquire(work, "event-7", ttl=60, owner="report", purpose="draws\u00e9 the tickets", holder="job-1")
    acquire(work, "event 8")
    ended = on_work("locks", "list")
    head, first, second = ended.out.splitlines()
    assert head.split() == ["NAME", "OWNER", "PURPOSE", "SINCE", "UNTIL", "FENCE"]
    assert first.split()[:2] == ["event-7", "report"]
    assert first.split()[-1] == str(lock.fence)
    assert second.startswith("event 8  -       - ")
    whole = on_work("locks", "list", "--json").out
    assert lock.token not in whole + ended.out
    document = json.loads(whole)
    assert document["stage"] == work.stage
    assert document["cursor"] is None
    assert document["locks"][0] == {
        "name": "event-7",
        "owner": "report",
        "purpose": "draws\u00e9 the tickets",
        "holder": "job-1",
        "since": document["locks"][0]["since"],
        "until": lock.until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "fence": lock.fence,
    }


def test_a_list_of_many_goes_on_with_its_cursor(on_work: Command, work: Work) -> None:
    for number in range(5):
        acquire(work, f"event-{number}", ttl=60 + number)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = json.loads(on_work("locks", "list", "--limit", "2", "--cursor", cursor, "--json").out)
        seen += [lock["name"] for lock in page["locks"]]
        cursor = page["cursor"]
    assert seen == [f"event-{number}" for number in range(5)]


def test_a_lock_is_taken_away_and_its_holder_told_by_whom_and_why(on_work: Command, work: Work) -> None:
    lock = acquire(work, "event-7", owner="report")
    ended = on_work("locks", "release", "event-7", "--reason", "it hangs", "--by", "ada", "--yes")
    assert ended.out == "lock event-7 was taken from report\n"
    assert view(work, "event-7") is None
    with pytest.raises(LockLost, match="taken away by ada: it hangs"):
        work.ask(lambda broker: broker.locks().extend("event-7", lock.token))
    again = on_work("locks", "release", "event-7", "--reason", "it hangs", "--yes")
    assert again.refusal == f"nobody holds lock event-7 of stage {work.stage}"
    acquire(work, "event-7", owner="report")
    document = json.loads(on_work("locks", "release", "event-7", "--reason", "it hangs", "--yes", "--json").out)
    assert document["released"]["owner"] == "report"


def test_nothing_is_taken_where_nobody_can_be_asked_or_no_reason_is_given(on_work: Command, work: Work) -> None:
    acquire(work, "event-7")
    assert (
        "locks release: got nobody who could be asked"
        in on_work("locks", "release", "event-7", "--reason", "x").refusal
    )
    assert on_work("locks", "release", "event-7", "--yes").status == 2
    assert on_work("locks", "release", "event-7", "--reason", "", "--yes").status == 2
    assert on_work("locks", "release", "event:7", "--reason", "x", "--yes").status == 2
    assert view(work, "event-7") is not None


def test_a_holder_that_came_meanwhile_keeps_the_lock(
    on_work: Command, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire(work, "event-7", owner="first", holder="job-1", holder_fence=1)
    force_release = Locks.force_release

    async def come_first(locks: Locks, name: str, **details: Any) -> LockView | None:
        await locks.acquire(name, owner="first", holder="job-1", holder_fence=2)
        return await force_release(locks, name, **details)

    monkeypatch.setattr(Locks, "force_release", come_first)
    refused = on_work("locks", "release", "event-7", "--reason", "it hangs", "--yes")
    assert (refused.status, "nothing was changed" in refused.refusal) == (1, True)
    assert view(work, "event-7") is not None


def test_an_operator_is_asked_and_shown_who_holds_it(tmp_path: Path, work: Work) -> None:
    acquire(work, "event-7", owner="report")
    for answer, status in ((b"\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [COMMAND, "locks", "release", "event-7", "--reason", "it hangs"],
            cwd=tmp_path,
            env=environment(work.environ),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        ) as process:
            os.close(theirs)
            os.write(ours, answer)
            shown = read_all(ours)
            process.communicate(timeout=30)
        os.close(ours)
        assert process.returncode == status, shown
        assert "lock that is to be taken away:  event-7  report" in shown
        assert ("Nothing was changed." in shown) is (status == 1)
        assert (view(work, "event-7") is None) is (status == 0)
