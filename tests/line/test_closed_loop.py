"""What the closed loop does to the quota in force, one promise a test; each is run on the scripts and on the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.campaign.blocking import BlockingClient, result_of
from ropeline.lua.line_settings import Method
from ropeline.lua.results import Step, Verdict
from tests.line.room import Room

NewRoom = Callable[..., Room]


@pytest.fixture
def new_room(blocking_client: BlockingClient) -> NewRoom:
    def make(**settings: int) -> Room:
        return Room(blocking_client, **{"quota": 40, "lowest": 4, "session_ttl": 600_000} | settings)

    return make


@pytest.fixture
def full(new_room: NewRoom) -> Room:
    """A room whose loop has begun: four are in, as many as it begins with, and twenty wait."""
    room = new_room()
    room.line_up(24)
    room.measure(0)
    return room


def steps(room: Room) -> list[Step]:
    """All steps, the oldest first."""
    return result_of(room.scripts.read_steps(1000))[::-1]


def quota_of(room: Room) -> int:
    status = result_of(room.scripts.status(caller_clock=room.clock))
    assert status is not None
    return status.quota


def raise_to(room: Room, quota: int) -> None:
    """Intervals that went well, while visitors wait."""
    while quota_of(room) < quota:
        assert room.measure(100, step=min(4, quota - quota_of(room)))
    assert room.line.active == quota


def test_a_stampede_meets_the_lowest_quota_and_not_the_one_that_is_set(new_room: NewRoom) -> None:
    room = new_room()
    guests = room.line_up(24)
    assert room.line.active == 4
    assert room.measure(0) == quota_of(room) == 4
    assert [guest.outcome.verdict for guest in guests].count(Verdict.WAITING) == 20


def test_it_goes_up_by_a_step_after_an_interval_that_went_well(full: Room) -> None:
    assert full.measure(100, near=6) == 4, "too many took most of what they may"
    assert full.measure(100, near=5) == 6
    assert full.line.active == 6
    assert [(step.before, step.after, step.reason) for step in steps(full)] == [(4, 4, "begun"), (4, 6, "well")]
    assert (steps(full)[1].calls, steps(full)[1].near, steps(full)[1].waiting) == (100, 5, 20)


def test_it_goes_down_by_the_factor_of_who_is_in_when_too_many_calls_are_slow(full: Room) -> None:
    raise_to(full, 12)
    assert full.measure(100, near=6, slow=5) == 12, "five of a hundred may be slow"
    assert full.measure(100, slow=6) == 9
    assert full.line.active == 12, "a lower quota throws nobody out"
    assert (steps(full)[-1].reason, steps(full)[-1].slow, steps(full)[-1].active) == ("slow", 6, 12)


def test_it_goes_down_when_too_many_calls_fail_however_quick_the_others_are(full: Room) -> None:
    raise_to(full, 12)
    assert full.measure(100, failed=5) == 14
    assert full.measure(100, failed=6) == 10
    assert (steps(full)[-1].reason, steps(full)[-1].failed) == ("failing", 6)


def test_it_is_not_lowered_again_before_the_last_step_down_had_its_effect(new_room: NewRoom) -> None:
    room = new_room()
    guests = room.line_up(12)
    room.measure(0)
    raise_to(room, 12)
    assert room.measure(100, slow=50) == 9
    for active in (12, 11, 10):
        assert room.measure(100, slow=50) == 9
        assert room.line.active == active
        room.leave(guests.pop())
    assert room.measure(90, slow=50) == 6
    assert steps(room)[-1].calls == 90, "what was measured meanwhile counts nothing"


def test_close_to_the_target_it_stays(full: Room) -> None:
    raise_to(full, 8)
    assert [full.measure(100, near=50) for _ in range(5)] == [8] * 5


def test_without_enough_calls_it_stays_where_it_is_in_both_directions(full: Room) -> None:
    raise_to(full, 8)
    assert [full.measure(calls, slow=calls) for calls in (0, 1, 19)] == [8, 8, 8]
    assert [full.measure(19) for _ in range(20)] == [8] * 20, "an interval does not carry over into the next one"
    assert len(steps(full)) == 2


def test_it_does_not_rise_while_nobody_is_held_back(new_room: NewRoom) -> None:
    room = new_room()
    room.line_up(3)
    room.measure(0)
    assert [room.measure(100) for _ in range(10)] == [4] * 10


def test_it_keeps_within_its_bounds(full: Room) -> None:
    assert [full.measure(100, step=100) for _ in range(2)] == [40, 40]
    full.edit(quota=10)
    assert quota_of(full) == 10
    full.edit(quota=2)
    assert quota_of(full) == 2, "what the operator sets goes before the lower bound, too"


def test_bounds_that_an_operator_edits_hold_at_once(full: Room) -> None:
    raise_to(full, 12)
    full.edit(lowest=15)
    assert quota_of(full) == 15
    full.tick()
    assert full.line.active == 15
    full.edit(quota=6, lowest=2)
    assert quota_of(full) == 6
    full.edit(quota=40)
    assert quota_of(full) == 12, "the loop goes on from where it was"


def test_what_was_measured_under_other_settings_counts_nothing(full: Room) -> None:
    raise_to(full, 12)
    full.edit(rate=60)
    full.version -= 1
    assert full.measure(100, slow=100) == 12
    assert full.measure(100, slow=100) == 12
    full.version += 1
    assert full.measure(100, slow=100) == 12, "an interval begins anew under new settings"
    assert full.measure(100, slow=100) == 9


def test_processes_share_their_measurements_and_one_of_them_decides(full: Room) -> None:
    raise_to(full, 12)
    for slow in (3, 3, 0, 0):
        assert full.measure(30, near=10, slow=slow, seconds=0.2) == 12
    assert full.measure(0, seconds=0.2) == 12, "6 of 120 may be slow"
    for slow in (3, 4, 0, 0):
        assert full.measure(30, near=10, slow=slow, seconds=0.2) == 12
    assert full.measure(0, seconds=0.2) == 9
    assert (steps(full)[-1].calls, steps(full)[-1].slow) == (120, 7)


def test_a_store_that_lost_everything_goes_on_from_what_a_process_remembers(full: Room) -> None:
    raise_to(full, 12)
    full.lose_everything()
    assert full.measure(0) == 12
    assert [(step.after, step.reason) for step in steps(full)] == [(12, "restored")]


def test_a_process_that_remembers_nothing_begins_only_when_the_tickets_are_back(full: Room) -> None:
    raise_to(full, 12)
    full.lose_everything()
    full.steered = 0
    assert full.measure(100) == 0
    assert full.line.recovering
    assert quota_of(full) == 4


def test_switched_on_in_the_middle_it_begins_at_who_is_in(new_room: NewRoom) -> None:
    room = new_room(quota=20, lowest=0)
    room.line_up(30)
    assert room.line.active == 20
    assert room.measure(100, slow=100) == 0
    room.edit(lowest=4)
    assert room.measure(100, slow=100) == 20


def test_switched_off_the_quota_is_the_one_that_is_set_and_nothing_is_remembered(full: Room) -> None:
    full.edit(lowest=0)
    assert quota_of(full) == 40
    assert full.measure(100) == 0
    assert full.line.active == 24
    full.edit(lowest=4)
    full.steered = 0
    assert full.measure(0) == 24


@pytest.mark.parametrize("edit", [{"closed": 1}, {"method": Method.REJECT}, {"method": Method.PASSTHROUGH}])
def test_a_line_that_admits_nobody_by_the_quota_is_left_alone(full: Room, edit: dict[str, int]) -> None:
    raise_to(full, 12)
    full.edit(**edit)
    assert [full.measure(100, slow=100) for _ in range(3)] == [12] * 3


def test_a_flush_leaves_the_quota_in_force_as_it_was(full: Room) -> None:
    raise_to(full, 12)
    full.flush()
    assert quota_of(full) == 12
