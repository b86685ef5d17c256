"""The poll policy keeps visitors informed without all of them asking at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.poll import PollPolicy, retry_after
from ropeline.gate.settings import Poll, TenantSettings


def policy(rng: float = 0.0, confirm_within: float = 30) -> PollPolicy:
    settings = TenantSettings(
        name="acme",
        host="a.example",
        total_active_users=5,
        confirm_within=confirm_within,
        poll=Poll(floor=5, ceiling=30, divisor=10),
    )
    return PollPolicy(settings, rng=lambda: rng)


@pytest.mark.parametrize(
    ("wait", "position", "seconds"),
    [
        (0, 1, 5),
        (50, 1, 5),
        (51, 1, 5.1),
        (200, 1, 20),
        (300, 1, 30),
        (1e9, 1, 30),
        (None, 1, 5),
        (None, 151, 15),
        (None, 5_000, 30),
    ],
)
def test_the_interval_is_the_wait_divided_within_floor_and_ceiling(
    wait: float | None, position: int, seconds: float
) -> None:
    assert policy().waiting(wait, position) == pytest.approx(seconds)


def test_the_interval_is_lengthened_by_up_to_three_tenths() -> None:
    assert policy(rng=0.5).waiting(200, 1) == pytest.approx(23)
    assert policy(rng=1.0).idle() == pytest.approx(39)


def test_an_unconfirmed_client_is_asked_back_within_one_to_three_seconds() -> None:
    assert policy(rng=0).unconfirmed() == 1
    assert policy(rng=1).unconfirmed() == 3


def test_an_unconfirmed_client_is_asked_back_while_its_place_still_holds() -> None:
    assert policy(rng=1, confirm_within=1).unconfirmed() == pytest.approx(0.25)


@given(st.none() | st.floats(0, 1e9), st.integers(1, 10**7), st.floats(0, 1))
def test_no_interval_leaves_its_bounds(wait: float | None, position: int, rng: float) -> None:
    asked = policy(rng)
    assert 5 <= asked.waiting(wait, position) <= 39
    assert 30 <= asked.idle() <= 39
    assert 1 <= asked.unconfirmed() <= 3


def test_jitter_spreads_visitors_that_came_together() -> None:
    settings = TenantSettings(name="acme", host="a.example", total_active_users=5)
    asked = PollPolicy(settings)
    assert len({asked.idle() for _ in range(100)}) > 90


@pytest.mark.parametrize(("interval", "seconds"), [(0.2, 1), (1, 1), (1.1, 2), (38.9, 39)])
def test_retry_after_is_in_whole_seconds_and_never_too_soon(interval: float, seconds: int) -> None:
    assert retry_after(interval) == seconds
