"""What a ticket is worth when the store has lost, forgotten or never known its holder; on the scripts and on the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.campaign.blocking import BlockingClient, result_of
from ropeline.lua.results import Configured, StaleSettings, Verdict
from ropeline.lua.visits import Departure, Visit
from tests.line.room import Guest, Room

NewRoom = Callable[..., Room]


@pytest.fixture
def new_room(blocking_client: BlockingClient) -> NewRoom:
    def make(**settings: int) -> Room:
        return Room(blocking_client, **settings)

    return make


def verdicts(room: Room, *guests: Guest) -> list[Verdict]:
    return [outcome.verdict for outcome in room.visit(*guests)]


# -- the tenant clock


def test_the_tenant_clock_goes_on_by_one_step_over_an_outage(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guest, *_ = room.line_up()
    before = room.clock
    room.jump(40)
    assert verdicts(room, guest) == [Verdict.WAITING]
    assert room.clock == before + 3_000


@pytest.mark.parametrize("hours", [1, -1])
def test_a_server_clock_that_jumps_an_hour_costs_nobody_a_place_or_a_visit(new_room: NewRoom, hours: int) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    first, second = room.line_up(2)
    before = room.clock
    room.jump(hours * 3600)
    assert verdicts(room, inside, first, second) == [Verdict.ADMITTED, Verdict.WAITING, Verdict.WAITING]
    assert 0 <= room.clock - before <= 3_000
    room.pass_time(5)
    assert room.clock - before >= 5_000


def test_a_failover_takes_no_time_away_that_a_process_has_seen(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    snapshot = room.store.take_snapshot()
    room.pass_time(10)
    seen = room.clock
    room.store.fail_over(snapshot)
    room.visit(guest)
    assert room.clock >= seen


def test_a_lost_tenant_goes_on_from_the_clock_that_a_process_knows_and_else_from_the_servers(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    room.line_up()
    room.jump(500)
    room.tick()
    seen = room.clock
    assert seen < room.store.time.now // 1000 - 400_000
    room.lose_everything()
    room.tick()
    assert room.clock == seen

    room.store.lose_everything()
    room.give_back()
    room.clock = 0
    room.arrive()
    assert room.line.clock == room.store.time.now // 1000


# -- epochs


def test_a_new_tenant_is_open_at_once(new_room: NewRoom) -> None:
    room = new_room()
    assert room.arrive().outcome.verdict is Verdict.CALLED
    assert not room.line.recovering


def lose(room: Room) -> None:
    room.lose_everything()


def fail_over(room: Room) -> None:
    room.store.fail_over(room.store.take_snapshot())


@pytest.mark.parametrize("loss", [lose, fail_over])
def test_after_a_loss_nobody_is_admitted_and_no_position_named_for_recovery_hold(
    new_room: NewRoom, loss: Callable[[Room], None]
) -> None:
    room = new_room(quota=2)
    inside, *_ = room.fill(1)
    first = room.arrive()
    room.edit(quota=1)
    second, third = room.line_up(2)
    room.edit(quota=5)
    loss(room)

    room.visit(inside, second, third)
    was_recovering = room.line.recovering
    assert (second.outcome.position, third.outcome.position) == (-1, -1)
    assert room.arrive().outcome.verdict is Verdict.UNCONFIRMED
    room.pass_time(59)
    room.visit(third)
    assert third.outcome.verdict is Verdict.WAITING
    room.pass_time(1)
    assert verdicts(room, second, third) == [Verdict.ADMITTED, Verdict.ADMITTED]
    assert (was_recovering, room.line.recovering) == (True, False)
    assert first.outcome.verdict is Verdict.CALLED


def test_everybody_is_back_at_the_old_place_and_every_visit_goes_on_after_the_store_lost_everything(
    new_room: NewRoom,
) -> None:
    room = new_room(quota=3)
    inside = room.fill()
    waiting = room.line_up(20)
    room.visit(*waiting)
    ends = [guest.outcome.end for guest in inside]
    room.lose_everything()
    for guest in [*reversed(waiting), *inside]:
        room.visit(guest)
    room.pass_time(61)

    room.visit(*inside, *waiting)
    assert [guest.outcome.position for guest in inside + waiting] == [0] * 3 + list(range(1, 21))
    assert all(guest.outcome.end >= end for guest, end in zip(inside, ends, strict=True))
    assert {guest.outcome.since for guest in inside} == {guest.tickets[-1].since for guest in inside}
    assert room.line.active == 3


def test_an_epoch_begins_with_a_new_run_id(new_room: NewRoom) -> None:
    room = new_room()
    room.arrive()
    epoch = room.line.epoch
    room.store.start_anew()
    room.tick()
    assert room.line.epoch > epoch
    assert room.line.recovering


def test_an_epoch_begins_when_a_ticket_names_one_that_the_store_does_not_know(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    # Everybody who could have told is gone: the store takes the tenant for a new one.
    room.lose_everything()
    room.clock = 0
    stranger = room.arrive()
    assert stranger.outcome.verdict is Verdict.CALLED

    assert verdicts(room, inside) == [Verdict.ADMITTED]
    assert room.line.recovering


def test_an_epoch_begins_when_a_ticket_is_from_later_than_the_store(new_room: NewRoom) -> None:
    room = new_room(quota=2)
    guest = room.arrive()
    snapshot = room.store.take_snapshot()
    room.visit(guest)
    assert guest.outcome.verdict is Verdict.ADMITTED
    room.store.go_back_to(snapshot)

    assert verdicts(room, guest) == [Verdict.ADMITTED]
    assert room.line.recovering


def test_a_worthless_ticket_begins_no_epoch(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guest, *_ = room.line_up()
    epoch = room.line.epoch
    room.pass_time(180 + 600)
    room.replay(guest.ticket._replace(epoch=epoch + 5))
    assert room.line.epoch == epoch


def test_epochs_lost_while_the_clock_was_behind_share_no_number_with_the_next(new_room: NewRoom) -> None:
    room = new_room()
    room.arrive()
    room.jump(-3600)
    snapshot = room.store.take_snapshot()
    seen = {room.line.epoch}
    for _ in range(4):
        room.jump(0.001_7)
        room.store.fail_over(snapshot)
        room.tick()
        seen.add(room.line.epoch)
    assert len(seen) == 5


def test_new_places_are_above_those_that_a_failover_lost_and_that_tickets_show(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    snapshot = room.store.take_snapshot()
    room.arrive()
    room.jump(3)
    lost = [room.arrive().outcome.place for _ in range(3)]
    # The server that takes over is behind, too.
    room.jump(-1)
    room.store.fail_over(snapshot)
    assert room.arrive().outcome.place > max(lost)

    far = Guest(room.arrive().ticket._replace(place=lost[-1] + 3_600_000_000))
    room.lose_everything()
    room.visit(far)
    assert room.arrive().outcome.place > far.ticket.place


def test_former_epochs_are_known_as_long_as_their_tickets_count(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guest, *_ = room.line_up()
    room.store.start_anew()
    room.pass_time(100)
    room.edit(return_within=1_200_000)
    room.pass_time(180 + 700)
    room.store.start_anew()
    room.tick()
    epoch = room.line.epoch
    assert verdicts(room, guest) == [Verdict.WAITING]
    assert room.line.epoch == epoch


# -- what each kind of ticket is worth


def test_an_admitted_ticket_of_a_former_epoch_turns_a_waiting_or_called_entry_into_a_visit(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    guest, other = room.line_up(2)
    waiting = room.store.take_snapshot()
    room.leave(inside)
    called = room.store.take_snapshot()
    room.jump(1)
    room.visit(guest)
    since = guest.outcome.since

    for snapshot in (waiting, called):
        room.store.fail_over(snapshot)
        assert verdicts(room, guest, other) == [Verdict.ADMITTED, Verdict.WAITING]
        assert guest.outcome.since == since


def test_a_restored_visit_keeps_the_end_that_its_ticket_names_under_shorter_settings(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    end = guest.outcome.end
    room.edit(session_ttl=10_000, renew=False)
    room.pass_time(20)
    room.lose_everything()
    assert verdicts(room, guest) == [Verdict.ADMITTED]
    assert guest.outcome.end == end


def test_a_restored_visit_does_not_outlive_session_max(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    room.edit(session_max=60_000)
    room.lose_everything()
    room.visit(guest)
    assert guest.outcome.end == guest.outcome.since + 60_000


def test_a_visit_that_ended_while_the_store_was_lost_goes_in_line_and_never_straight_in(new_room: NewRoom) -> None:
    room = new_room(quota=5, session_ttl=10_000)
    guest, *_ = room.fill(1)
    room.pass_time(9)
    room.lose_everything()
    room.pass_time(2)
    assert verdicts(room, guest) == [Verdict.WAITING]
    assert guest.outcome.place == guest.tickets[0].place


def test_a_ticket_of_this_epoch_whose_visit_the_store_lost_unseen_goes_in_line(new_room: NewRoom) -> None:
    room = new_room(quota=5)
    guest, *_ = room.fill(1)
    stranger = Guest(guest.ticket._replace(id=room.new_id()))
    room.edit(quota=1)
    assert verdicts(room, stranger) == [Verdict.WAITING]


def test_a_called_ticket_that_was_lost_is_in_line_at_its_place(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    guest = room.arrive()
    room.lose_everything()
    assert verdicts(room, guest) == [Verdict.WAITING]
    assert guest.outcome.place == guest.tickets[0].place


def test_an_unconfirmed_ticket_survives_a_loss_within_confirm_within(new_room: NewRoom) -> None:
    room = new_room(quota=0)
    guest = room.arrive()
    room.pass_time(20)
    room.lose_everything()
    assert verdicts(room, guest) == [Verdict.WAITING]


def test_who_closed_the_last_tab_is_not_restored_after_the_hold_although_the_ticket_names_a_later_end(
    new_room: NewRoom,
) -> None:
    room = new_room(quota=1)
    guest, *_ = room.fill()
    room.close_tab(guest)
    room.pass_time(61)
    room.store.start_anew()
    assert guest.ticket.end > room.clock
    assert [outcome.is_new for outcome in room.replay(guest.ticket)] == [True]


def test_return_within_that_grows_revives_no_worthless_ticket(new_room: NewRoom) -> None:
    room = new_room(quota=0, return_within=60_000)
    dead, alive = room.line_up(2)
    room.pass_time(100)
    room.visit(alive)
    room.pass_time(181)
    room.edit(return_within=3_600_000)
    assert [outcome.is_new for outcome in room.replay(dead.ticket, alive.ticket)] == [True, False]


def test_ids_are_remembered_for_the_longest_hold_that_was_ever_in_force(new_room: NewRoom) -> None:
    room = new_room(quota=1, session_ttl=600_000, return_within=0)
    guest, *_ = room.fill()
    room.leave(guest)
    room.edit(session_ttl=5_000, waiting_ttl=5_000, claim_within=5_000, confirm_within=5_000)
    room.pass_time(300)
    room.store.start_anew()
    room.tick()
    assert [outcome.is_new for outcome in room.replay(guest.ticket)] == [True]


# -- flushes


def test_a_flush_makes_every_ticket_worthless(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    waiting = room.line_up(2)
    room.flush()
    assert (room.line.active, room.line.waiting, room.line.generation) == (0, 0, 1)

    shown = [*inside.tickets, *waiting[0].tickets, *waiting[1].tickets]
    assert {outcome.is_new for outcome in room.replay(*shown)} == {True}
    assert not room.line.recovering


def test_a_flush_that_a_failover_lost_is_done_again_by_the_first_ticket_that_knows_of_it(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    snapshot = room.store.take_snapshot()
    room.flush()
    newcomer, *_ = room.line_up()
    room.store.fail_over(snapshot)
    room.forget()

    assert verdicts(room, newcomer) == [Verdict.ADMITTED]
    assert room.line.generation == 1
    assert [outcome.is_new for outcome in room.replay(inside.ticket)] == [True]


def test_a_flush_that_a_failover_lost_is_done_again_by_the_process_that_knows_of_it(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    inside, *_ = room.fill()
    snapshot = room.store.take_snapshot()
    room.flush()
    room.store.fail_over(snapshot)

    assert room.try_to_decide([room.show(inside.ticket)]) == StaleSettings(1)
    written = room.give_back()
    assert (written.written, written.version) == (False, 1)
    assert [outcome.is_new for outcome in room.replay(inside.ticket)] == [True]


# -- settings


def test_settings_are_written_only_over_the_version_that_was_read(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    first = room.write_settings(expected=1, version=2)
    second = room.write_settings(expected=1, version=3)
    assert (first.written, second) == (True, Configured(False, 2, 0))


def test_a_process_gives_lost_settings_back_and_the_higher_version_wins(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.edit(quota=2)
    room.store.lose_everything()
    assert room.try_to_decide([Visit(room.new_id())]) == StaleSettings(-1)
    assert room.give_back() == Configured(True, 2, 0)
    assert room.write_settings(expected=-1, version=1) == Configured(False, 2, 0)
    assert result_of(room.scripts.read_settings()) == (2, 0, "{}")


def test_older_settings_in_the_store_decide_on_nobody(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    room.arrive()
    snapshot = room.store.take_snapshot()
    room.edit(quota=2)
    room.store.fail_over(snapshot)
    before = room.store.take_snapshot().copies
    assert room.try_to_decide([Visit(room.new_id())]) == StaleSettings(1)
    assert room.store.take_snapshot().copies == before


def test_every_call_that_changes_a_line_takes_the_next_sequence_number(new_room: NewRoom) -> None:
    room = new_room(quota=1)
    numbers = []
    guest = room.arrive()
    numbers.append(room.line.sequence)
    for call in (room.tick, lambda: room.visit(guest), lambda: room.close_tab(guest), lambda: room.leave(guest)):
        call()
        numbers.append(room.line.sequence)
    numbers.append(room.edit(quota=2).sequence)
    room.revoke(guest)
    numbers.append(room.line.sequence)
    room.flush()
    numbers.append(room.line.sequence)
    assert numbers == list(range(1, 9))


def test_a_tenant_without_settings_is_nobodys(new_room: NewRoom) -> None:
    room = new_room()
    room.store.lose_everything()
    room.forget()
    assert room.try_to_decide([Visit(room.new_id())]) == StaleSettings(-1)
    assert result_of(room.scripts.tick()) is None
    assert result_of(room.scripts.leave([Departure(bytes(16))])) is None
    assert result_of(room.scripts.revoke([bytes(16)])) is None
    assert result_of(room.scripts.flush()) is None
    assert result_of(room.scripts.status()) is None
    assert result_of(room.scripts.read_settings()) is None
    assert room.store.client.call("EXISTS", *room.store.keys.line()) == 0
