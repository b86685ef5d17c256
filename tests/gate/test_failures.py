"""The failure policy by itself: whom it lets pass on a signature, and the bound on everybody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.failures import FailurePolicy
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tickets import Ticket, TicketState
from tests.gate.visitors import tenant

CLOCK = 1_800_000_000_000
DAY = 86_400_000


class Clock:
    """Time as the policy is given it."""

    def __init__(self) -> None:
        self.seconds = 50.0
        self.wall_ms = CLOCK

    def policy(self, settings: TenantSettings) -> FailurePolicy:
        return FailurePolicy(settings, lambda: self.seconds, lambda: self.wall_ms * 1_000_000)


def ticket(state: TicketState, *, end: int = CLOCK + 1000, generation: int = 3) -> Ticket:
    return Ticket("acme", b"x" * 16, state, 77, 5, end, 9, 8, generation, 0)


ADMITTED, EMERGENCY, WAITING, UNCONFIRMED = (
    TicketState.ADMITTED,
    TicketState.EMERGENCY,
    TicketState.WAITING,
    TicketState.UNCONFIRMED,
)


@pytest.mark.parametrize("policy", ["bounded", "open", "closed"])
def test_an_admitted_visitor_passes_until_the_end_whatever_the_policy(policy: str) -> None:
    judge = Clock().policy(tenant("acme", on_store_error=policy))
    for state in (ADMITTED, EMERGENCY):
        assert judge.passes_on_signature(ticket(state), clock=CLOCK)
        assert not judge.passes_on_signature(ticket(state, end=CLOCK), clock=CLOCK)
    for state in (WAITING, UNCONFIRMED):
        assert not judge.passes_on_signature(ticket(state), clock=CLOCK)


def test_a_process_that_knows_no_clock_trusts_a_day_and_no_more() -> None:
    judge = Clock().policy(tenant("acme"))
    assert judge.passes_on_signature(ticket(ADMITTED, end=CLOCK - DAY + 1), clock=0)
    assert not judge.passes_on_signature(ticket(ADMITTED, end=CLOCK - DAY), clock=0)


@pytest.mark.parametrize(
    ("held", "is_worth_something"),
    [
        (ticket(ADMITTED), True),
        (ticket(ADMITTED, end=CLOCK), False),
        (ticket(WAITING, end=CLOCK - 599_999), True),
        (ticket(WAITING, end=CLOCK - 600_000), False),
        (ticket(EMERGENCY, end=CLOCK - 599_999), True),
        (ticket(UNCONFIRMED), True),
        (ticket(UNCONFIRMED, end=CLOCK), False),
        (ticket(ADMITTED, generation=2), False),
        (ticket(WAITING, generation=4), True),
        (None, False),
    ],
)
def test_a_ticket_is_worth_what_it_would_be_to_the_store(held: Ticket | None, is_worth_something: bool) -> None:
    judge = Clock().policy(tenant("acme"))
    assert judge.worth(held, clock=CLOCK, generation=3) == (held if is_worth_something else None)


def test_open_admits_everybody_and_closed_nobody() -> None:
    clock = Clock()
    assert all(clock.policy(tenant("acme", on_store_error="open")).admits_new(may_mend=True) for _ in range(99))
    assert not clock.policy(tenant("acme", on_store_error="closed")).admits_new(may_mend=True)


@pytest.mark.parametrize("policy", ["bounded", "open", "closed"])
def test_what_only_an_operator_can_mend_lets_nobody_new_in(policy: str) -> None:
    assert not Clock().policy(tenant("acme", on_store_error=policy)).admits_new(may_mend=False)


@pytest.mark.parametrize(
    "shut",
    [
        {"paused": True},
        {"queue_all": True},
        {"queueing_method": "reject"},
        {"total_active_users": 0},
        {"new_users_per_minute": 0},
    ],
)
@pytest.mark.parametrize("policy", ["bounded", "open"])
def test_a_tenant_that_lets_nobody_in_does_not_begin_to_when_the_store_fails(
    shut: dict[str, object], policy: str
) -> None:
    assert not Clock().policy(tenant("acme", on_store_error=policy, **shut)).admits_new(may_mend=True)


def test_a_tenant_that_lets_everybody_in_goes_on() -> None:
    judge = Clock().policy(tenant("acme", queueing_method="passthrough", on_store_error="closed"))
    assert all(judge.admits_new(may_mend=True) for _ in range(99))


def test_an_emergency_rate_of_zero_lets_nobody_in() -> None:
    clock = Clock()
    judge = clock.policy(tenant("acme", emergency_rate=0))
    clock.seconds += 1e6
    assert not judge.admits_new(may_mend=True)


@given(
    rate=st.floats(0.1, 10_000),
    pauses=st.lists(st.floats(0, 100), max_size=60),
    tries=st.integers(1, 5),
)
def test_the_emergency_rate_is_never_exceeded_over_any_stretch(rate: float, pauses: list[float], tries: int) -> None:
    clock = Clock()
    judge = clock.policy(tenant("acme", total_active_users=9, emergency_rate=rate))
    burst = max(1.0, rate / 60)
    admitted: list[float] = []
    for pause in pauses:
        clock.seconds += pause
        admitted += [clock.seconds for _ in range(tries) if judge.admits_new(may_mend=True)]
    for first, since in enumerate(admitted):
        for last in range(first, len(admitted)):
            allowed = burst + (admitted[last] - since) * rate / 60
            assert last - first + 1 <= allowed + 1e-6


def test_the_emergency_rate_is_given_out_and_not_hoarded() -> None:
    clock = Clock()
    judge = clock.policy(tenant("acme", emergency_rate=120))
    assert [judge.admits_new(may_mend=True) for _ in range(3)] == [True, True, False]
    clock.seconds += 3600
    assert [judge.admits_new(may_mend=True) for _ in range(3)] == [True, True, False]
    clock.seconds += 0.5
    assert [judge.admits_new(may_mend=True) for _ in range(2)] == [True, False]


def test_an_emergency_ticket_stands_where_its_holder_stood_or_at_the_processs_time() -> None:
    clock = Clock()
    judge = clock.policy(tenant("acme"))

    def emergency(held: Ticket | None, known_clock: int) -> Ticket:
        return judge.emergency_ticket(held, b"f" * 16, clock=known_clock, epoch=9, sequence=8, generation=3)

    new = emergency(None, CLOCK - 5000)
    assert new == Ticket("acme", b"f" * 16, EMERGENCY, CLOCK * 1000 + 1, 0, CLOCK - 5000 + 300_000, 9, 8, 3, 0)
    old = emergency(ticket(WAITING, generation=4), CLOCK)
    assert (old.id, old.place, old.state, old.generation) == (b"x" * 16, 77, EMERGENCY, 4)
    assert emergency(None, 0).end == CLOCK + 300_000, "never earlier than the tenant clock can be"
