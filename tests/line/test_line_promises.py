"""What the line promises to visitors, one promise a test; each is run on the scripts and on the model."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from loadtests.campaign.blocking import BlockingClient
from ropeline.lua.line_settings import Method
from ropeline.lua.loader import load_script
from ropeline.lua.results import BOUNDS, Verdict
from ropeline.lua.visits import Departure, Visit
from tests.line.line_state import EMERGENCY
from tests.line.room import Guest, Room

NewRoom = Callable[..., Room]


@pytest.fixture
def new_room(blocking_client: BlockingClient) -> NewRoom:
    def make(**settings: int) -> Room:
        return Room(blocking_client, **settings)

    return make


def verdicts(room: Room, *guests: Guest) -> list[Verdict]:
    return [outcome.verdict for outcome in room.visit(*guests)]


def positions(room: Room, *guests: Guest) -> list[int]:
    return [outcome.position for outcome in room.visit(*guests)]


# -- first contact


def test_a_first_contact_with_room_passes_at_once_and_is_admitted_when_its_cookie_is_seen_again(
    new_room: NewRoom,
) -> None:
    room = new_room(quota=2)
    guest = room.arrive()
    assert guest.outcome.verdict is Verdict.CALLED

    assert verdicts(room, guest) == [Verdict.ADMITTED]


def test_the_slot_of_a_first_contact_is_held_for_60_s(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    unseen = room.arrive()
    assert unseen.outcome.end == room.clock + 60_000
    second, *_ = room.line_up()

    room.pass_time(59.5)
    assert verdicts(room, second) == [Verdict.WAITING]
    room.pass_time(0.5)
    assert verdicts(room, second) == [Verdict.ADMITTED]


def test_a_first_contact_at_a_full_room_draws_a_place_and_stores_nothing(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    before = room.store.client.call("DBSIZE")

    strangers = [room.arrive() for _ in range(50)]

    assert {stranger.outcome.verdict for stranger in strangers} == {Verdict.UNCONFIRMED}
    assert (room.line.active, room.line.waiting) == (1, 0)
    assert room.store.client.call("DBSIZE") == before


def test_a_drawn_place_counts_once_its_ticket_comes_back_within_confirm_within(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    in_time, late = room.arrive(), room.arrive()

    room.pass_time(29.9)
    assert verdicts(room, in_time) == [Verdict.WAITING]
    room.pass_time(0.2)
    assert verdicts(room, late) == [Verdict.UNCONFIRMED]
    assert late.id != late.tickets[0].id


def test_a_first_contact_does_not_pass_those_who_are_about_to_confirm_a_place(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    admitted, *_ = room.fill()
    drawn = room.arrive()
    room.leave(admitted)

    newcomer = room.arrive()
    assert newcomer.outcome.verdict is Verdict.UNCONFIRMED
    assert verdicts(room, drawn) == [Verdict.ADMITTED]


def test_a_place_drawn_for_another_reason_than_a_full_room_stops_no_first_contact(new_room: NewRoom) -> None:
    room = new_room(quota=20)
    unseen = [room.arrive() for _ in range(11)]
    assert [guest.outcome.verdict for guest in unseen] == [Verdict.CALLED] * 10 + [Verdict.UNCONFIRMED]
    room.visit(unseen[0])

    assert room.arrive().outcome.verdict is Verdict.CALLED


@pytest.mark.parametrize(("quota", "most"), [(5, 5), (30, 10), (105, 10), (200, 20)])
def test_unseen_first_contacts_hold_a_tenth_of_the_quota_at_most_and_at_least_ten(
    new_room: NewRoom, quota: int, most: int
) -> None:
    room = new_room(quota=quota)
    for _ in range(quota):
        room.arrive()

    assert room.line.active == most
    assert room.counters.unseen == most


def test_a_first_contact_does_not_pass_a_line_that_one_call_could_not_admit_whole(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guests = [room.arrive() for _ in range(510)]
    for start in range(0, 510, 128):
        room.visit(*guests[start : start + 128])
    room.pass_time(31)
    room.edit(quota=1000)

    assert room.arrive().outcome.verdict is Verdict.UNCONFIRMED
    assert (room.line.active, room.line.waiting) == (500, 10)


# -- order


def test_a_position_is_people_ahead_plus_one_and_an_unconfirmed_one_is_as_true(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    guests = [room.arrive() for _ in range(3)]
    assert [guest.outcome.position for guest in guests] == [1, 1, 1]

    assert positions(room, *guests) == [1, 2, 3]
    assert room.arrive().outcome.position == 4


def test_places_rise_strictly_even_within_one_microsecond_and_when_the_clock_goes_back(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    places = [room.arrive().outcome.place for _ in range(3)]
    room.jump(-3600)
    places += [room.arrive().outcome.place for _ in range(3)]

    assert places == sorted(set(places))


def test_who_confirms_late_goes_where_the_place_says(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    early, late = room.arrive(), room.arrive()
    room.visit(late)
    assert late.outcome.position == 1

    assert positions(room, early, late) == [1, 2]


def test_a_freed_slot_goes_to_the_lowest_place_at_anybodys_next_call(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    admitted, *_ = room.fill()
    first, second = room.line_up(2)

    room.leave(admitted)
    assert (room.line.active, room.line.waiting) == (1, 1)
    assert verdicts(room, second, first) == [Verdict.WAITING, Verdict.ADMITTED]


def test_a_join_shown_twice_in_one_batch_is_one_place(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    guest = room.arrive()

    once, again = room.replay(guest.ticket, guest.ticket)
    assert once == again
    assert room.line.waiting == 1


def test_a_join_whose_reply_was_lost_is_one_place(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    guest = room.arrive()
    room.replay(guest.ticket)

    room.visit(guest)
    assert (guest.outcome.position, room.line.waiting) == (1, 1)


# -- quota and rate


def test_a_lower_quota_evicts_nobody_and_admits_nobody_until_active_is_below_it(new_room: NewRoom) -> None:
    room = new_room(quota=3)
    inside = room.fill()
    waiting = room.line_up(3)
    room.edit(quota=1)

    assert set(verdicts(room, *inside)) == {Verdict.ADMITTED}
    for guest in inside[:2]:
        room.leave(guest)
    assert set(verdicts(room, *waiting)) == {Verdict.WAITING}
    room.leave(inside[2])
    assert verdicts(room, *waiting) == [Verdict.ADMITTED, Verdict.WAITING, Verdict.WAITING]


def test_nobody_is_admitted_while_active_is_at_the_quota(new_room: NewRoom) -> None:
    room = new_room(quota=2)
    room.fill()
    waiting = room.line_up(4)

    room.pass_time(5)
    assert set(verdicts(room, *waiting)) == {Verdict.WAITING}
    assert room.line.active == 2


def test_a_rate_admits_no_more_than_its_bucket_holds(new_room: NewRoom) -> None:
    room = new_room(quota=1000, rate=120)
    room.arrive()
    admitted = []
    guests: list[Guest] = []
    for _ in range(120):
        guests.append(room.arrive())
        room.visit(*guests[-20:])
        admitted.append(room.counters.called)
        room.jump(0.5)
    # A burst of one second of the rate, then one each half second.
    assert all(count <= 2 + index for index, count in enumerate(admitted))
    assert admitted[-1] >= 115


def test_a_rate_below_one_a_second_still_admits_one_at_a_time(new_room: NewRoom) -> None:
    room = new_room(quota=1000, rate=6)
    assert [room.arrive().outcome.verdict for _ in range(2)] == [Verdict.CALLED, Verdict.UNCONFIRMED]


def test_a_rate_of_nothing_admits_nobody(new_room: NewRoom) -> None:
    room = new_room(quota=1000, rate=0)
    guests = room.line_up(3)
    room.pass_time(60)
    assert set(verdicts(room, *guests)) == {Verdict.WAITING}


# -- holds


def test_a_poll_renews_a_hold_once_a_quarter_of_it_is_gained_and_writes_nothing_else_before(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    guest, *_ = room.line_up()
    end = guest.outcome.end
    keys = [room.store.keys.sessions, room.store.keys.pool]
    before = room.store.client.pipeline([("DUMP", key) for key in keys])

    for _ in range(4):
        room.jump(2.9)
        room.visit(guest)
    assert guest.outcome.end == end
    assert room.store.client.pipeline([("DUMP", key) for key in keys]) == before
    room.pass_time(45)
    room.visit(guest)
    assert guest.outcome.end == room.clock + 180_000


def test_a_visit_is_renewed_by_requests_until_session_max(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=20_000, session_max=60_000)
    guest, *_ = room.fill()
    begun = guest.outcome.since
    for _ in range(11):
        room.pass_time(5)
        assert verdicts(room, guest) == [Verdict.ADMITTED]
    assert guest.outcome.end == begun + 60_000
    old = guest.id
    room.pass_time(5)
    room.visit(guest)
    assert guest.id != old


def test_without_renewal_a_visit_ends_a_session_duration_after_it_began(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=20_000, renew=False)
    guest, *_ = room.fill()
    end = guest.outcome.end
    room.pass_time(12)
    room.visit(guest)
    assert guest.outcome.end == end
    old = guest.id
    room.pass_time(8)
    room.visit(guest)
    assert guest.id != old


def test_a_shorter_session_duration_takes_nothing_from_a_visit_that_has_begun(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    end = guest.outcome.end
    room.edit(session_ttl=10_000)
    room.pass_time(60)

    assert verdicts(room, guest) == [Verdict.ADMITTED]
    assert guest.outcome.end == end


# -- looking away


def test_a_visitor_silent_for_8_minutes_is_back_at_its_old_place(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_max=0)
    inside, *_ = room.fill()
    first, second, third = room.line_up(3)
    for _ in range(16):
        room.pass_time(30)
        room.visit(inside, second, third)
    assert second.outcome.position == 1

    assert positions(room, first, second) == [1, 2]
    assert first.outcome.place == first.tickets[0].place


def test_a_ticket_keeps_its_place_for_return_within_and_no_longer(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    in_time, late = room.line_up(2)
    room.pass_time(180 + 599)
    assert verdicts(room, in_time) == [Verdict.WAITING]
    room.pass_time(1)
    assert verdicts(room, late) == [Verdict.UNCONFIRMED]


def test_a_call_in_vain_holds_the_slot_for_claim_within_and_then_it_goes_on(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    _absent, present = room.line_up(2)
    room.leave(inside)
    assert verdicts(room, present) == [Verdict.WAITING]

    room.pass_time(119)
    assert verdicts(room, present) == [Verdict.WAITING]
    room.pass_time(1)
    assert verdicts(room, present) == [Verdict.ADMITTED]


def test_who_was_called_in_vain_once_gets_in_next(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    absent, present, other = room.line_up(3)
    room.leave(inside)
    room.pass_time(60)
    room.visit(present, other)
    room.pass_time(60)
    assert verdicts(room, present, other) == [Verdict.ADMITTED, Verdict.WAITING]

    assert positions(room, absent, other) == [1, 2]
    room.leave(present)
    assert verdicts(room, absent) == [Verdict.ADMITTED]


def test_who_was_called_in_vain_twice_begins_anew_whatever_old_ticket_it_shows(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    absent, present = room.line_up(2)
    room.leave(inside)
    room.pass_time(120)
    assert verdicts(room, present, absent) == [Verdict.ADMITTED, Verdict.WAITING]
    room.leave(present)
    room.pass_time(120)

    assert {outcome.is_new for outcome in room.replay(*absent.tickets)} == {True}
    assert absent.id not in room.scripts.model.sessions


def test_visitors_who_let_every_call_lapse_keep_nobody_out_for_longer_than_two_calls(new_room: NewRoom) -> None:
    room = new_room(quota=2, waiting_ttl=60_000)
    inside = room.fill()
    sleepers = room.line_up(6)
    present = room.line_up(4)
    for guest in inside:
        room.leave(guest)
    admitted_after = {}
    for second in range(0, 1500, 20):
        room.pass_time(20)
        # The sleepers poll while they wait, and never when they have been called.
        for sleeper in sleepers:
            status = room.scripts.model.sessions.score_of(sleeper.id)
            if status is None or status > 0:
                room.visit(sleeper)
        for index, guest in enumerate(present):
            room.visit(guest)
            if guest.outcome.verdict is Verdict.ADMITTED and index not in admitted_after:
                admitted_after[index] = second
                room.leave(guest)
    # Six sleepers on two slots, two calls of 120 s each: the first of those who are there waits 720 s at most.
    assert len(admitted_after) == 4
    assert min(admitted_after.values()) <= 740


def test_those_who_vanish_from_the_line_block_nobody_for_longer_than_their_presence(new_room: NewRoom) -> None:
    room = new_room(quota=1, waiting_ttl=30_000)
    inside, *_ = room.fill()
    guests = room.line_up(100)
    present = guests[9::10]
    for _ in range(6):
        room.pass_time(5)
        room.visit(inside, *present)
    assert [guest.outcome.position for guest in present] == list(range(1, 11))
    assert room.line.waiting == 10


# -- the end of a visit


def test_who_let_the_visit_run_out_begins_at_the_back_whatever_old_ticket_it_shows(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=30_000)
    guest, *_ = room.fill()
    waiting = room.line_up(2)
    room.pass_time(15)
    room.visit(*waiting)
    room.pass_time(15)

    assert {outcome.verdict for outcome in room.replay(*guest.tickets, guest.ticket)} == {Verdict.UNCONFIRMED}
    room.visit(guest)
    assert guest.outcome.place > waiting[1].outcome.place


def test_an_ended_session_holds_its_slot_until_it_is_purged(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=2_000)
    guest, *_ = room.fill()
    room.jump(2.5)
    stranger = room.arrive()
    assert stranger.outcome.verdict is Verdict.CALLED
    room.visit(stranger)
    assert room.line.active == 1
    assert guest.id not in room.scripts.model.sessions


def test_each_call_purges_a_chunk_and_ticks_go_on_until_nothing_is_left(new_room: NewRoom) -> None:
    room = new_room(quota=0, waiting_ttl=2_000, return_within=0)
    guests = [room.arrive() for _ in range(1300)]
    for start in range(0, 1300, 100):
        room.visit(*guests[start : start + 100])
    room.jump(2.5)
    room.arrive()
    assert room.line.waiting == 1100
    chunks = 1
    while room.tick():
        chunks += 1
    assert (room.line.waiting, chunks) == (0, 3)


def test_ticks_forget_ids_once_their_tickets_are_worthless(new_room: NewRoom) -> None:
    room = new_room(quota=2, session_ttl=10_000, waiting_ttl=10_000, claim_within=10_000, confirm_within=5_000)
    _spent, gone = room.fill()
    room.leave(gone)
    room.pass_time(12)
    assert room.holds("spent")
    assert room.holds("gone")
    room.pass_time(620)
    assert not room.holds("spent")
    assert not room.holds("gone")


# -- leaving


def test_leaving_frees_the_slot_at_once_and_for_good(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    assert room.leave(guest)
    assert room.line.active == 0

    old = guest.id
    room.visit(guest)
    assert guest.id != old
    assert not room.leave(Guest(guest.tickets[0]))


def test_departures_of_one_call_are_each_carried_out_once(new_room: NewRoom) -> None:
    room = new_room(quota=2)
    first, second = room.fill()
    third, fourth, fifth = room.line_up(3)
    twice = Departure(first.id)
    live = room.depart(twice, twice, Departure(fourth.id), Departure(second.id, closing=True), Departure(bytes(16)))
    assert live == [True, False, True, True, False]
    assert room.visit(third)[0].verdict is Verdict.ADMITTED
    room.pass_time(61)
    assert room.visit(fifth)[0].verdict is Verdict.ADMITTED


def test_a_closed_tab_frees_the_slot_after_leave_hold(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    waiting, *_ = room.line_up()
    room.close_tab(guest)

    room.pass_time(59)
    assert verdicts(room, waiting) == [Verdict.WAITING]
    room.pass_time(1)
    assert verdicts(room, waiting) == [Verdict.ADMITTED]
    old = guest.id
    room.visit(guest)
    assert guest.id != old


@pytest.mark.parametrize("renew", [True, False])
def test_the_next_visit_takes_a_closed_tab_back_whole(new_room: NewRoom, renew: int) -> None:
    room = new_room(quota=1, session_ttl=70_000, renew=renew)
    guest, *_ = room.fill()
    end = guest.outcome.end
    room.close_tab(guest)
    room.pass_time(3)

    assert verdicts(room, guest) == [Verdict.ADMITTED]
    assert guest.outcome.end >= end
    assert not room.holds("gone")


def test_a_closed_tab_of_a_waiting_visitor_changes_nothing(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guest, *_ = room.line_up()
    end = guest.outcome.end
    assert room.close_tab(guest)
    room.visit(guest)
    assert (guest.outcome.position, guest.outcome.end) == (1, end)


def test_a_revoked_visitor_stays_revoked(new_room: NewRoom) -> None:
    room = new_room(quota=2)
    inside, waiting = *room.fill(1), room.arrive()
    stranger = Guest(waiting.ticket._replace(id=b"never known here"))
    assert room.revoke(inside, waiting, stranger) == 2
    for _ in range(3):
        ids = {inside.id, waiting.id, stranger.id}
        assert Verdict.ADMITTED not in {outcome.verdict for outcome in room.replay(*inside.tickets)}
        room.replay(*waiting.tickets, stranger.ticket)
        assert not ids & set(room.scripts.model.sessions.scores)
        room.pass_time(120)


# -- whole lines


def test_a_paused_line_admits_nobody_and_keeps_its_order(new_room: NewRoom) -> None:
    room = new_room(quota=1, closed=True)
    guests = room.line_up(3)
    room.pass_time(60)
    assert verdicts(room, *guests) == [Verdict.WAITING] * 3
    assert room.line.closed
    room.edit(closed=False)
    assert verdicts(room, *guests) == [Verdict.ADMITTED, Verdict.WAITING, Verdict.WAITING]


def test_passthrough_lets_the_whole_line_in(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    waiting = room.line_up(3)
    room.edit(method=Method.PASSTHROUGH)
    assert set(verdicts(room, *waiting)) == {Verdict.ADMITTED}


def test_reject_takes_nobody_new_and_lets_visits_go_on(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    room.edit(method=Method.REJECT)
    assert room.arrive().outcome.verdict is Verdict.REJECTED
    assert verdicts(room, inside) == [Verdict.ADMITTED]


def test_a_client_prefix_may_join_as_often_a_minute_as_the_limit_says(new_room: NewRoom) -> None:
    room = new_room(quota=0, join_limit=5)

    def join(first: int, second: int) -> Verdict:
        return room.decide([Visit(room.new_id(), first=first, second=second)])[0].verdict

    assert [join(1, 1) for _ in range(6)] == [Verdict.UNCONFIRMED] * 5 + [Verdict.LIMITED]
    # Another prefix that shares one of the two buckets is not punished for it.
    assert join(1, 2) is Verdict.UNCONFIRMED
    room.pass_time(30)
    assert join(1, 1) is Verdict.LIMITED
    room.pass_time(90)
    assert join(1, 1) is Verdict.UNCONFIRMED


def test_joins_take_two_fields_a_prefix_and_no_more(new_room: NewRoom) -> None:
    room = new_room(quota=0, join_limit=5)
    for _ in range(10):
        room.decide([Visit(room.new_id(), first=index % 7, second=index % 5) for index in range(100)])
    assert room.store.client.call("HLEN", room.store.keys.joins) == 12


def test_who_may_not_have_a_new_ticket_is_told_that_it_has_none(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    outcome, *_ = room.decide([Visit(room.new_id(), no_new=True)])
    assert (outcome.verdict, outcome.is_new, outcome.place, outcome.end) == (Verdict.ENDED, False, 0, 0)


# -- an emergency


def emergency(room: Room) -> Guest:
    """Somebody a process let in on its own, at its own time."""
    head = room.line
    ticket = Visit(
        bytes(16),
        ticketed=True,
        state=EMERGENCY,
        id=room.new_id(),
        place=room.store.time.now,
        end=room.clock + 300_000,
        epoch=head.epoch,
        sequence=head.sequence,
        generation=head.generation,
    )
    return Guest(ticket)


def test_an_emergency_ticket_is_admitted_while_there_is_room_and_else_in_line_at_its_place(new_room: NewRoom) -> None:
    room = new_room(quota=2)
    room.fill(1)
    first, second = emergency(room), emergency(room)
    room.jump(0.5)
    assert verdicts(room, first, second) == [Verdict.ADMITTED, Verdict.WAITING]
    assert second.outcome.place == second.ticket.place
    assert room.line.active == 2


def test_an_emergency_ticket_counts_for_nothing_once_its_visit_ran_out(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=10_000)
    room.tick()
    room.arrive()
    room.pass_time(61)
    guest = emergency(room)
    ticket = guest.ticket
    assert verdicts(room, guest) == [Verdict.ADMITTED]
    room.pass_time(11)
    assert [outcome.is_new for outcome in room.replay(ticket)] == [True]


# -- what it leaves behind


def test_every_ten_seconds_a_sample_of_the_line_joins_the_history(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.fill()
    room.line_up(2)
    room.pass_time(35)
    samples = room.store.client.call("XRANGE", room.store.keys.history, "-", "+")
    assert len(samples) == 3
    sample = dict(zip(*[iter(samples[0][1])] * 2, strict=True))
    assert (sample[b"waiting"], sample[b"active"], sample[b"quota"]) == (b"2", b"1", b"1")


def test_the_speed_of_admissions_is_measured_while_there_is_a_line(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guests = room.line_up(100)
    room.edit(quota=1)
    for second in range(60):
        room.pass_time(1)
        room.visit(guests[second])
        room.leave(guests[second])
    assert room.line.samples >= 5
    # Per 1,000 s: one a second.
    assert 900 <= room.line.fast <= 1100


def test_how_wrong_an_estimate_was_is_recorded_at_admission(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    guest, *_ = room.line_up()
    guest.held = guest.ticket._replace(estimate=room.clock + 60_000)
    room.pass_time(20)
    room.leave(inside)
    room.visit(guest)
    counted = room.counters
    assert (counted.estimates, counted.estimate_error_ms) == (1, 40_000)
    assert counted.waited_ms >= 19_999


def test_each_wait_each_visit_and_each_wrong_estimate_is_counted_once_in_its_bucket(new_room: NewRoom) -> None:
    room = new_room(quota=3, session_ttl=600_000, leave_hold=1_000)
    leaves, is_revoked, runs_out = room.fill()
    assert [sum(counted.counts) for counted in (room.times.waits, room.times.visits)] == [3, 0]
    guest, *_ = room.line_up()
    guest.held = guest.ticket._replace(estimate=room.clock + 50_000)
    room.pass_time(20)
    room.leave(leaves)
    room.visit(guest)
    room.revoke(is_revoked, is_revoked)
    room.close_tab(runs_out)
    room.pass_time(3)
    waits, visits, errors = room.times.waits, room.times.visits, room.times.estimate_errors
    in_bucket = {bound: at for at, bound in enumerate(BOUNDS)}
    assert (waits.counts[in_bucket[30]], sum(waits.counts), waits.sum_ms) == (1, 4, room.counters.waited_ms)
    assert (visits.counts[in_bucket[30]], sum(visits.counts)) == (3, 3)
    assert (errors.counts[in_bucket[30]], sum(errors.counts), errors.sum_ms) == (1, 1, 30_000), (
        "a bound belongs to its bucket"
    )
    assert 60_000 <= visits.sum_ms <= 65_000


def test_the_scripts_count_times_by_the_bounds_that_are_shown() -> None:
    found = re.search(r"local BOUNDS = \{ ([\d, ]+) \}", load_script("line/visit").text)
    assert found is not None
    assert tuple(map(int, found[1].split(","))) == BOUNDS
