"""Events are planned, changed, listed and removed on a real store, and what holds at a time can be asked."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import Command

ACME = ("tenant", "set", "acme", "host=acme.test", "total_active_users=5")
TIMES = (
    "prequeue_start_time=2030-03-01T08:30:00Z",
    "event_start_time=2030-03-01T10:00:00+01:00",
    "event_end_time=2030-03-01T18:00:00Z",
)
SALE = ("event", "set", "acme", "sale", *TIMES, "overrides.total_active_users=50")


@pytest.fixture
def command(on_store_command: Command) -> Command:
    assert on_store_command(*ACME).status == 0
    return on_store_command


def quota_at(command: Command, time: str) -> object:
    return json.loads(command("tenant", "get", "acme", "--at", time, "--json").out)["settings"]["total_active_users"]


def test_an_event_is_planned_and_what_holds_at_each_time_can_be_asked(command: Command) -> None:
    planned = command(*SALE)
    assert planned.out.splitlines()[0] == "acme: event sale: planned, version 2"
    assert "  event_start_time=2030-03-01T09:00:00Z" in planned.out.splitlines()
    assert [quota_at(command, f"2030-03-01T{clock}Z") for clock in ("08:29:59", "08:30:00", "18:00:00")] == [5, 50, 5]
    shown = command("tenant", "get", "acme", "--at", "2030-03-01T08:45:00Z").out.splitlines()
    assert {"queue_all=true", "total_active_users=50"} <= set(shown)


def test_an_event_is_changed_part_by_part_and_an_override_taken_away(command: Command) -> None:
    command(*SALE)
    command("event", "set", "acme", "sale", "overrides.poll.floor=2", "overrides.total_active_users=none")
    listed = json.loads(command("event", "list", "acme", "--json").out)
    assert [event["overrides"] for event in listed["events"]] == [{"poll": {"floor": 2}}]
    assert listed["now"] == {"event": None, "prequeue": False}
    command("event", "set", "acme", "sale", "prequeue_start_time=none", "suspended=true")
    listed = json.loads(command("event", "list", "acme", "--json").out)
    assert (listed["events"][0].get("prequeue_start_time"), listed["events"][0]["suspended"]) == (None, True)
    assert quota_at(command, "2030-03-01T12:00:00Z") == 5
    assert command(*SALE[:4], "suspended=true").out.startswith("acme: event sale: nothing to change")


def test_events_are_listed_in_the_order_of_time_and_say_which_one_is_on(command: Command) -> None:
    assert "no events yet" in command("event", "list", "acme").out
    command(*SALE)
    command("event", "set", "acme", "now", "event_start_time=2020-01-01T00:00Z", "event_end_time=2029-01-01T00:00Z")
    rows = [line.split() for line in command("event", "list", "acme").out.splitlines()]
    assert rows[0] == ["EVENT", "PREQUEUE", "START", "END", "OVERRIDES", "STATE"]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("now", "on"), ("sale", "-")]


def test_an_event_is_removed(command: Command) -> None:
    command(*SALE)
    assert command("event", "remove", "acme", "sale").out == "acme: event sale removed, version 3\n"
    refused = command("event", "remove", "acme", "sale")
    assert (refused.status, "EVENT: got 'sale', expected one that tenant acme has: none yet" in refused.refusal) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("event", "set", "acme", "Sale!", *TIMES), "EVENT: got 'Sale!', expected 1 to 63"),
        (("event", "set", "acme", "sale", "event_start_time=2030-03-01T09:00:00Z"), "event_end_time"),
        (("event", "set", "acme", "sale", *TIMES, "overrides.quota=5"), "did you mean total_active_users?"),
        (("event", "set", "acme", "sale", *TIMES, "overrides.host=other"), "overrides.host"),
        (("event", "set", "acme", "sale", *TIMES, "begins=now"), "events[0].begins"),
        (("event", "set", "acme", "sale", *TIMES, "begins"), "KEY=VALUE: got 'begins'"),
        (("event", "set", "nobody", "sale", *TIMES), "tenant: got 'nobody'"),
        (("tenant", "get", "acme", "--at", "noon"), "--at: got 'noon', expected a time with its offset"),
    ],
)
def test_what_cannot_work_is_refused_and_changes_nothing(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    refused = command(*arguments)
    assert (refused.status, said in refused.refusal) == (2, True), refused.refusal
    assert json.loads(command("tenant", "get", "acme", "--json").out)["version"] == 1
