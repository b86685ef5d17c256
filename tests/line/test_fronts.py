"""What a move to the front promises, one promise a test; each is run on the scripts and on the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.campaign.blocking import BlockingClient
from ropeline.lua.results import Verdict
from tests.line.room import Guest, Room

NewRoom = Callable[..., Room]


@pytest.fixture
def new_room(blocking_client: BlockingClient) -> NewRoom:
    def make(**settings: int) -> Room:
        return Room(blocking_client, **settings)

    return make


def positions(room: Room, *guests: Guest) -> list[int]:
    return [outcome.position for outcome in room.visit(*guests)]


def full_room(new_room: NewRoom, waiting: int, **settings: int) -> tuple[Room, Guest, list[Guest]]:
    """A room with one on the site and so many in line."""
    room = new_room(**settings)
    [admitted] = room.fill()
    return room, admitted, room.line_up(waiting)


def test_whoever_is_moved_stands_before_all_others_that_wait_and_is_admitted_next(new_room: NewRoom) -> None:
    room, admitted, (first, second, third) = full_room(new_room, 3)

    assert room.front(third) == 1

    assert positions(room, first, second, third) == [2, 3, 1]
    room.leave(admitted)
    assert [outcome.verdict for outcome in room.visit(third, first)] == [Verdict.ADMITTED, Verdict.WAITING]


def test_those_who_were_moved_keep_the_order_in_which_they_waited_whoever_was_moved_first(new_room: NewRoom) -> None:
    room, _, (first, second, third, fourth) = full_room(new_room, 4)

    assert [room.front(fourth), room.front(second)] == [1, 1]

    assert positions(room, second, fourth, first, third) == [1, 2, 3, 4]


def test_who_comes_later_stands_behind_those_who_were_moved(new_room: NewRoom) -> None:
    room, _, (first, second) = full_room(new_room, 2)
    room.front(second)

    [newcomer] = room.line_up()

    assert positions(room, second, first, newcomer) == [1, 2, 3]


def test_a_second_move_changes_nothing(new_room: NewRoom) -> None:
    room, _, (_, second) = full_room(new_room, 2)
    room.front(second)
    room.visit(second)
    place = second.ticket.place

    assert room.front(second) is None
    room.visit(second)
    assert second.ticket.place == place


def test_only_who_waits_can_be_moved(new_room: NewRoom) -> None:
    room, admitted, _ = full_room(new_room, 1)
    drawn = room.arrive()

    assert room.front(admitted) is None
    assert room.front(drawn) is None
    assert [outcome.verdict for outcome in room.visit(admitted)] == [Verdict.ADMITTED]


def test_who_is_moved_while_a_slot_is_free_is_called_in_the_same_call(new_room: NewRoom) -> None:
    room, _, (_, second) = full_room(new_room, 2)
    room.edit(closed=True)
    room.edit(quota=2)
    room.edit(closed=False)

    assert room.front(second) == 0
    assert room.visit(second)[0].verdict is Verdict.ADMITTED


def test_the_next_poll_brings_a_ticket_with_the_new_place_and_the_old_one_does_not_undo_it(new_room: NewRoom) -> None:
    room, _, (first, second) = full_room(new_room, 2)
    before = second.ticket
    room.front(second)

    room.visit(second)
    assert second.ticket.place < before.place

    assert room.replay(before)[0].position == 1
    assert positions(room, first, second) == [2, 1]


def test_a_move_outlives_the_store_in_the_ticket(new_room: NewRoom) -> None:
    room, _, (first, second, third) = full_room(new_room, 3)
    room.front(third)
    room.visit(third)

    room.lose_everything()
    room.visit(first, second, third)
    room.pass_time(room.settings.recovery_hold / 1000 + 1)

    assert room.visit(third)[0].verdict is Verdict.ADMITTED
    assert positions(room, first, second) == [1, 2]


def test_an_old_ticket_that_comes_back_first_after_a_loss_does_not_keep_the_newer_one_from_the_front(
    new_room: NewRoom,
) -> None:
    room, _, (first, second) = full_room(new_room, 2)
    before = second.ticket
    room.front(second)
    room.visit(second)

    room.lose_everything()
    room.visit(first)
    room.replay(before)
    room.visit(second)
    room.replay(before)
    room.pass_time(room.settings.recovery_hold / 1000 + 1)

    assert [outcome.verdict for outcome in room.visit(second, first)] == [Verdict.ADMITTED, Verdict.WAITING]


def test_a_move_of_which_no_ticket_tells_is_lost_with_the_store(new_room: NewRoom) -> None:
    """What cannot be promised, as docs/failures.md says."""
    room, _, (first, second) = full_room(new_room, 2)
    room.front(second)

    room.lose_everything()
    room.visit(first, second)
    room.pass_time(room.settings.recovery_hold / 1000 + 1)

    assert [outcome.verdict for outcome in room.visit(second, first)] == [Verdict.WAITING, Verdict.ADMITTED]


def test_nobody_is_told_a_position_while_the_line_recovers(new_room: NewRoom) -> None:
    room, _, (first, second) = full_room(new_room, 2)
    room.lose_everything()
    room.visit(first, second)

    assert room.front(second) == -1


def test_the_wait_of_who_was_moved_is_counted_from_its_arrival(new_room: NewRoom) -> None:
    room, admitted, (_, second) = full_room(new_room, 2)
    room.pass_time(20)
    room.front(second)
    room.visit(second)
    room.leave(admitted)
    before = room.counters.waited_ms

    room.visit(second)

    # Its place is a microsecond behind that of the first one.
    assert room.counters.waited_ms - before == 19_999


def test_a_list_has_everybody_once_in_order_forward_and_backward(new_room: NewRoom) -> None:
    room = new_room(quota=40)
    room.fill()
    room.line_up(33)
    drawn = room.arrive()
    everybody = [id_ for page in room.listed(limit=100) for id_ in page]

    forward = list(room.listed(limit=7))
    backward = list(room.listed(limit=7, backward=True))

    assert len(everybody) == len(set(everybody)) == 73
    assert drawn.id not in everybody
    assert [id_ for page in forward for id_ in page] == everybody
    assert [id_ for page in reversed(backward) for id_ in page] == everybody
    assert [len(page) for page in forward] == [7] * 10 + [3]


@pytest.mark.parametrize("backward", [False, True])
def test_whoever_stays_is_listed_once_although_others_come_and_go_and_the_cursor_itself_goes(
    new_room: NewRoom, backward: bool
) -> None:
    room = new_room(quota=1)
    room.fill()
    guests = {guest.id: guest for guest in room.line_up(60)}
    seen: list[bytes] = []
    gone: set[bytes] = set()

    for turn, page in enumerate(room.listed(state=1, backward=backward, limit=5)):
        seen += page
        # The one that the cursor names, one that was listed and one that was not.
        left = [id_ for id_ in guests if id_ not in seen and id_ not in gone][7:8]
        for id_ in {page[0], page[-1], *left} & guests.keys():
            room.leave(guests[id_])
            gone.add(id_)
        if turn < 10:
            room.line_up()

    assert len(seen) == len(set(seen))
    assert guests.keys() - gone <= set(seen)
