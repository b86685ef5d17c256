"""What holds of launches on the line, each promise told once; campaigns and the machine look for ways around them."""

from __future__ import annotations

import hashlib

from loadtests.campaign.blocking import BlockingClient, result_of
from loadtests.campaign.lots import SEED, confirmed_id, place_by_lot
from ropeline.lua.line_settings import LineSettings, Turn
from ropeline.lua.results import Verdict
from tests.line.room import Guest, Room

OPENS = 1_790_000_010
STARTS = OPENS + 20
_SECOND = 1_000_000


class Launch(Room):
    """A room with a launch whose pre-queue is shuffled: it opens in ten seconds, and starts twenty seconds later.

    `after`: the quota from then on.
    """

    def __init__(self, client: BlockingClient, *, quota: int = 5, after: int = 0) -> None:
        super().__init__(client, quota=quota, reserved=OPENS)
        self.after = after
        self.write(known=0)

    def write(self, *, known: int) -> None:
        """Write the settings with their turns, as a process that has seen the server's time `known` (us)."""
        result_of(
            self.scripts.configure(
                expected=-1,
                version=self.version + 1,
                settings="{}",
                numbers=self.settings,
                turns=[
                    Turn(OPENS, LineSettings(quota=5, closed=True, window=OPENS, reserved=OPENS)),
                    Turn(STARTS, LineSettings(quota=self.after)),
                ],
                seeds={OPENS: SEED},
                reached=known,
                caller_clock=self.clock,
            )
        )
        self.version += 1

    def new_id(self) -> bytes:
        return hashlib.sha256(super().new_id()).digest()[:16]

    def until(self, seconds: int) -> None:
        self.pass_time(seconds - self.store.time.now / _SECOND)


def gather(launch: Launch, count: int) -> list[Guest]:
    """Guests who confirmed in the pre-queue."""
    guests = [launch.arrive() for _ in range(count)]
    launch.visit(*guests)
    return guests


def test_who_comes_to_a_shuffled_pre_queue_is_placed_by_the_seed_and_told_so_after_the_start(
    blocking_client: BlockingClient,
) -> None:
    launch = Launch(blocking_client)
    launch.until(OPENS + 1)
    guests = gather(launch, 4)
    assert {guest.outcome.verdict for guest in guests} == {Verdict.WAITING}
    assert {(guest.ticket.place, guest.outcome.position) for guest in guests} == {(OPENS * _SECOND, -1)}
    launch.until(STARTS)
    launch.visit(*guests)
    assert [guest.ticket.place for guest in guests] == [place_by_lot(OPENS, guest.id) for guest in guests]
    in_order = sorted(guests, key=lambda guest: guest.ticket.place)
    assert [guest.outcome.position for guest in in_order] == [1, 2, 3, 4]


def test_who_was_in_line_before_stays_ahead_of_the_draw_and_who_comes_after_the_start_is_behind_it(
    blocking_client: BlockingClient,
) -> None:
    launch = Launch(blocking_client, quota=0)
    (before,) = launch.line_up()
    launch.until(OPENS + 1)
    guests = gather(launch, 3)
    launch.visit(before)
    assert before.outcome.position == 1
    launch.until(STARTS)
    (late,) = launch.line_up()
    launch.visit(before, late, *guests)
    assert before.ticket.place < min(guest.ticket.place for guest in guests)
    assert late.ticket.place > max(guest.ticket.place for guest in guests)
    assert (before.outcome.position, late.outcome.position) == (1, 5)


def test_an_unconfirmed_ticket_of_the_pre_queue_takes_no_part_in_the_draw_after_the_start(
    blocking_client: BlockingClient,
) -> None:
    """Its holder knows the seed by then, and could show the best of many."""
    launch = Launch(blocking_client, quota=0)
    launch.until(STARTS - 2)
    hoarded = [launch.arrive() for _ in range(20)]
    (in_time,) = gather(launch, 1)
    launch.until(STARTS)
    launch.visit(in_time, *hoarded)
    assert in_time.ticket.place == place_by_lot(OPENS, in_time.id)
    assert min(guest.ticket.place for guest in hoarded) >= STARTS * _SECOND


def test_the_same_unconfirmed_ticket_shown_many_times_takes_part_once(blocking_client: BlockingClient) -> None:
    launch = Launch(blocking_client)
    launch.until(OPENS + 1)
    guest = launch.arrive()
    shown = [guest.ticket._replace(fresh=confirmed_id(guest.id)) for _ in range(10)]
    launch.decide(shown)
    launch.decide(shown)
    assert launch.line.waiting == 1


def test_a_draw_outlives_a_store_that_is_emptied(blocking_client: BlockingClient) -> None:
    launch = Launch(blocking_client, quota=0)
    launch.until(OPENS + 1)
    guests = gather(launch, 5)
    launch.store.lose_everything()
    launch.write(known=launch.line.now)
    launch.visit(*guests)
    assert launch.line.recovering
    launch.until(STARTS)
    launch.visit(*guests[:3])
    launch.visit(*guests)
    assert [guest.ticket.place for guest in guests] == [place_by_lot(OPENS, guest.id) for guest in guests]


def test_who_is_let_in_at_the_start_is_told_the_place_that_decided_it(blocking_client: BlockingClient) -> None:
    launch = Launch(blocking_client, after=2)
    launch.until(OPENS + 1)
    guests = gather(launch, 5)
    launch.until(STARTS)
    launch.visit(*guests)
    admitted = [guest for guest in guests if guest.outcome.verdict is Verdict.ADMITTED]
    by_lot = sorted(guests, key=lambda guest: place_by_lot(OPENS, guest.id))
    assert set(admitted) == set(by_lot[:2])
    assert [guest.ticket.place for guest in guests] == [place_by_lot(OPENS, guest.id) for guest in guests]


def test_a_start_is_not_taken_back_by_a_server_that_is_behind_and_empty(blocking_client: BlockingClient) -> None:
    launch = Launch(blocking_client)
    launch.line_up()
    launch.until(STARTS)
    assert launch.line.turn == STARTS * _SECOND
    known = launch.store.time.now
    launch.store.time.now -= 5 * _SECOND
    launch.store.lose_everything()
    launch.write(known=known)
    launch.arrive()
    assert launch.line.turn == STARTS * _SECOND


def test_places_that_a_loss_pushes_ahead_leave_out_the_second_of_the_draw(blocking_client: BlockingClient) -> None:
    launch = Launch(blocking_client, quota=0)
    launch.until(OPENS - 5)
    (guest,) = launch.line_up()
    launch.store.lose_everything()
    launch.write(known=0)
    launch.visit(guest)
    newcomer = launch.arrive()
    assert newcomer.ticket.place // _SECOND == OPENS + 1
