"""`ropeline jobs pause`, `resume` and `settings` on a real store, or one line that says why not."""

import json
import re

import pytest

from ropeline.jobs.records import QueueSettings
from tests.cli.running import Command
from tests.cli.work import Work


def test_a_paused_queue_says_why_and_until_when(on_work: Command, work: Work) -> None:
    work.enqueue()
    told = on_work("jobs", "pause", "default", "--reason", "mail is down", "--for", "90").out
    assert re.fullmatch(r"default: paused: mail is down, resumes in (90|89) s; 1 pending, 0 active, 0 held\n", told)
    assert "paused: mail is down, resumes in " in on_work("jobs", "stats").out
    with pytest.raises(AssertionError, match="nothing to claim"):
        work.claim()
    document = json.loads(on_work("jobs", "resume", "default", "--json").out)
    assert document == {"queue": "default", "paused": False, "pause_reason": "", "resumes_at": None, "paused_tasks": {}}
    assert len(work.claim()) == 1
    assert json.loads(on_work("jobs", "pause", "default", "--json").out)["resumes_at"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pause", "lost"), "queue: got 'lost', expected one that stage "),
        (("resume", "lost"), "queue: got 'lost', expected one that stage "),
        (("pause", "a:b"), "queue: got 'a:b', expected 1 to 63"),
        (("pause", "default", "--task", " mail"), "--task: got ' mail', expected "),
        (("settings", "lost"), "queue: got 'lost', expected one that stage "),
        (("settings", "default", "rate"), "KEY=VALUE: got 'rate', expected a setting and its value"),
        (("settings", "default", "rate=fast"), "rate: got 'fast', expected a number"),
        (("settings", "default", "rate=5"), "per: got 0, expected the seconds in which `rate` jobs may begin"),
        (("settings", "default", "speed=5"), "setting: got 'speed', expected one of: most_bytes, rate, per, "),
        (("settings", "default", "most_bytes=-1"), "most_bytes: got -1, expected a whole number of 0 or more"),
        (("settings", "default", "most_bytes=0.5"), "most_bytes: got 0.5, expected a whole number of 0 or more"),
        (("settings", "default", "dead_age=0"), "dead_age: got 0, expected seconds or a timedelta, from 0.001"),
        (("pause", "default", "--for", "0"), "--for: got '0', expected seconds, from 0.001"),
        (
            ("pause", "default", "--reason", "a\nb"),
            r"--reason: got 'a\nb', expected at most 1,024 bytes of text in one",
        ),
    ],
)
def test_a_wrong_pause_or_setting_changes_nothing(
    on_work: Command, work: Work, words: tuple[str, ...], told: str
) -> None:
    work.enqueue()
    ended = on_work("jobs", *words)
    assert ended.status == 2
    assert told in ended.refusal
    assert work.queues() == ["default"]
    assert not work.ask(lambda broker: broker.depths("default")).paused
    assert work.ask(lambda broker: broker.configure("default", {})) == QueueSettings()


def test_a_paused_task_is_held_and_shown_until_it_is_resumed(on_work: Command, work: Work) -> None:
    work.enqueue(2, type_="mail")
    work.enqueue(type_="print")
    told = on_work("jobs", "pause", "default", "--task", "mail", "--reason", "the relay is down", "--for", "90").out
    assert told == "default: open but for mail; 3 pending, 0 active, 0 held\n"
    reply = work.ask(lambda broker: broker.step("default", worker=b"one of this test", lane=0, call=1, claim=10))
    assert len(reply.claimed) == 1
    shown = on_work("jobs", "stats", "--queue", "default").out
    assert re.search(r"task mail +paused: the relay is down, resumes in (90|89) s", shown)
    assert json.loads(on_work("jobs", "stats", "--json").out)["queues"][0]["held"] == 2
    document = json.loads(on_work("jobs", "resume", "default", "--task", "mail", "--json").out)
    assert document["paused_tasks"] == {}
    assert len(work.claim(2)) == 2


def test_settings_are_shown_as_they_can_be_given_and_changed(on_work: Command, work: Work) -> None:
    work.enqueue()
    changed = on_work("jobs", "settings", "default", "rate=100", "per=60", "most_bytes=1000000", "ageing=0.5").out
    assert changed.splitlines() == [
        "most_bytes=1000000",
        "rate=100",
        "per=60",
        "ageing=0.5",
        "dead_age=7776000",
        "dead_count=10000",
        "dead_bytes=0",
        "cancelled_age=86400",
        "completed_count=0",
        "parked_age=604800",
    ]
    assert on_work("jobs", "settings", "default", *changed.split()).out == changed
    document = json.loads(on_work("jobs", "settings", "default", "rate=0", "--json").out)
    assert (document["queue"], document["rate"], document["ageing"]) == ("default", 0, 0.5)


def test_settings_may_be_given_before_the_first_job(on_work: Command, work: Work) -> None:
    assert on_work("jobs", "settings", "mail", "most_bytes=500").status == 0
    assert work.queues() == ["mail"]
