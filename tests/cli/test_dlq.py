"""`ropeline dlq` lists dead letters, makes them pending again and removes them: those that were meant, in bounded calls, and no others."""

import json
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.records import Enqueued, JobState
from ropeline.lua.errors import StoreError
from tests.cli.running import COMMAND, Command, environment
from tests.cli.work import Work

UNKNOWN = "0" * 32


def listed(command: Command, *arguments: str) -> list[str]:
    return [job["id"] for job in json.loads(command("dlq", "list", "--json", *arguments).out)["jobs"]]


def test_dead_letters_of_every_queue_are_listed_with_why(on_work: Command, work: Work) -> None:
    assert on_work("dlq", "list").out == "no dead letters\n"
    [mail] = work.bury(error="refused", reason="discarded")
    [order] = work.bury(queue="critical", type_="order:confirm", error="no stock")
    work.enqueue()
    head, first, second = on_work("dlq", "list").out.splitlines()
    assert head.split() == ["QUEUE", "ID", "TYPE", "ATTEMPTS", "DIED", "AT", "WHY"]
    assert first.split()[:4] == ["critical", order, "order:confirm", "1"]
    assert first.endswith(" ago  attempts: no stock")
    assert second.split()[:2] == ["default", mail]
    document = json.loads(on_work("dlq", "list", "--json").out)
    assert [(job["queue"], job["type"], job["reason"]) for job in document["jobs"]] == [
        ("critical", "order:confirm", "attempts"),
        ("default", "mail", "discarded"),
    ]
    assert document["cursor"] is None


def test_dead_letters_are_chosen_by_queue_type_and_reason(on_work: Command, work: Work) -> None:
    [first] = work.bury()
    [second] = work.bury(type_="order", reason="poison")
    [third] = work.bury(queue="low", reason="poison")
    assert listed(on_work, "--queue", "default") == [first, second]
    assert listed(on_work, "--type", "mail") == [first, third]
    assert listed(on_work, "--reason", "poison") == [second, third]
    assert listed(on_work, "--reason", "poison", "--type", "mail") == [third]
    assert listed(on_work, "--reason", "timeout") == []


@pytest.mark.parametrize("limit", ["1", "2", "3", "5"])
def test_a_list_over_queues_goes_on_with_its_cursor(on_work: Command, work: Work, limit: str) -> None:
    """Each dead letter that was chosen once, whatever stands between them."""
    wanted = []
    for queue in ("a", "b", "c"):
        for _ in range(2):
            work.bury(2, queue=queue, type_="other")
            wanted += work.bury(2, queue=queue)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = json.loads(on_work("dlq", "list", "--type", "mail", "--limit", limit, "--cursor", cursor, "--json").out)
        assert len(page["jobs"]) <= int(limit)
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
    assert seen == wanted


def test_dead_letters_are_requeued_by_their_ids_and_each_refusal_is_one_line(on_work: Command, work: Work) -> None:
    [first] = work.bury()
    [second] = work.bury(queue="low")
    [taken] = work.bury(unique=b"k" * 16)
    [holder] = work.enqueue(unique=b"k" * 16)
    [scheduled] = work.enqueue(delay=60_000)
    ended = on_work("dlq", "requeue", first, second, taken, UNKNOWN, scheduled, first)
    assert (ended.status, ended.out) == (1, "2 of 5 requeued\n")
    assert sorted(ended.err.splitlines()) == sorted(
        [
            f"{taken}: job {holder} holds its unique key",
            f"{UNKNOWN}: is not in default, low of stage {work.stage}",
            f"{scheduled}: is scheduled, not a dead letter",
        ]
    )
    assert [work.state(id_) for id_ in (first, taken, scheduled)] == ["pending", "dead", "scheduled"]
    assert work.state(second, queue="low") is JobState.PENDING
    document = json.loads(on_work("dlq", "requeue", taken, "--json").out)
    assert document == {"requeued": 0, "refused": [{"id": taken, "why": f"job {holder} holds its unique key"}]}


def test_a_queue_that_is_named_keeps_the_others_out(on_work: Command, work: Work) -> None:
    work.bury()
    [other] = work.bury(queue="low")
    assert on_work("dlq", "purge", other, "--queue", "default", "--yes").status == 1
    assert work.state(other, queue="low") is JobState.DEAD


def test_hundreds_are_requeued_in_bounded_calls(on_work: Command, work: Work) -> None:
    work.bury(230)
    kept = work.bury(3, type_="order")
    calls: list[int] = []
    requeue = RedisBroker.requeue

    async def count(broker: RedisBroker, queue: str, ids: Sequence[bytes]) -> list[Enqueued | None]:
        calls.append(len(ids))
        return await requeue(broker, queue, ids)

    on_work.patch.setattr(RedisBroker, "requeue", count)
    ended = on_work("dlq", "requeue", "--all", "--type", "mail", "--yes")
    assert (ended.status, ended.out, ended.err) == (0, "230 of 230 requeued\n", "")
    assert calls == [100, 100, 30]
    assert listed(on_work) == kept
    assert work.ask(lambda broker: broker.depths("default")).pending == 230


def test_a_purge_removes_what_was_chosen_and_nothing_else(on_work: Command, work: Work) -> None:
    first, second, third = work.bury(3)
    poison = work.bury(150, queue="low", reason="poison")
    [other] = work.bury(queue="low")
    ended = on_work("dlq", "purge", second, "--yes")
    assert (ended.status, ended.out) == (0, "1 of 1 purged\n")
    assert listed(on_work) == [first, third, *poison[:48]]
    assert on_work("dlq", "purge", "--all", "--reason", "poison", "--yes").out == "150 of 150 purged\n"
    assert listed(on_work) == [first, third, other]
    assert work.state(poison[0], queue="low") is None
    assert (
        on_work("dlq", "purge", "--all", "--queue", "default", "--yes", "--json").out
        == '{"purged": 2, "refused": []}\n'
    )
    assert listed(on_work) == [other]
    assert on_work("dlq", "purge", "--all", "--type", "nothing", "--yes").out == "no dead letter matches\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list", "--queue", "lost"), "queue: got 'lost', expected one that stage "),
        (("list", "--type", "a b"), "--type: got 'a b', expected 1 to 200 bytes of printable text"),
        (
            ("list", "--cursor", "default:pending:"),
            "--cursor: got 'default:pending:', expected the cursor that this list",
        ),
        (("requeue",), "dlq requeue: got neither, expected ids of dead letters or --all"),
        (("requeue", UNKNOWN, "--all", "--yes"), "dlq requeue: got both, expected ids of dead letters or --all"),
        (
            ("requeue", UNKNOWN, "--type", "mail"),
            "dlq requeue: got ids and a choice, expected --type and --reason with",
        ),
        (("requeue", UNKNOWN, "17"), "ID: got '17', expected the 32 hexadecimal digits of a job"),
        (("requeue", "--all"), "dlq requeue: got nobody who could be asked, expected a terminal or --yes"),
        (("purge", UNKNOWN), "dlq purge: got nobody who could be asked, expected a terminal or --yes"),
        (("purge", "--all", "--queue", "lost", "--yes"), "queue: got 'lost', expected one that stage "),
    ],
)
def test_a_wrong_command_changes_nothing(on_work: Command, work: Work, words: tuple[str, ...], told: str) -> None:
    ids = work.bury(2)
    ended = on_work("dlq", *words)
    assert ended.status == 2
    assert told in ended.refusal
    assert listed(on_work) == ids


@pytest.mark.parametrize("verb", ["requeue", "purge"])
def test_it_asks_on_a_terminal_and_tells_how_far_it_is(tmp_path: Path, on_work: Command, work: Work, verb: str) -> None:
    ids = work.bury(2)
    work.bury(queue="low")
    for answer, status, left in ((b"\n", 1, 3), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [COMMAND, "dlq", verb, "--all"],
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
            out, _ = process.communicate(timeout=30)
        os.close(ours)
        assert process.returncode == status, shown
        assert f"dead letters that are to be {verb}d: 3 (2 of default, 1 of low)" in shown
        assert ("Nothing was changed." in shown) is (status == 1)
        assert ("2 of 3" in shown) is (status == 0)
        assert out == ("" if status else f"3 of 3 {verb}d\n")
        assert len(listed(on_work)) == left
    assert work.state(ids[0]) == ("pending" if verb == "requeue" else None)


def read_all(terminal: int) -> str:
    """What was shown on a terminal until the last process has closed it."""
    shown = bytearray()
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            return shown.decode()


def test_a_store_that_fails_meanwhile_is_told_with_what_was_done(on_work: Command, work: Work) -> None:
    work.bury(150)
    purge = RedisBroker.purge

    async def fail(broker: RedisBroker, *arguments: Any, ids: Sequence[bytes] = ()) -> int:
        if len(ids) < 100:
            raise StoreError("it has no time")
        return await purge(broker, *arguments, ids=ids)

    on_work.patch.setattr(RedisBroker, "purge", fail)
    ended = on_work("dlq", "purge", "--all", "--yes")
    assert ended.status == 1
    assert ended.refusal.startswith("100 of 150 purged, then: the store at ")
    assert ended.refusal.endswith("cannot do this now: it has no time")
