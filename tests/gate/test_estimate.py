"""A wait is foretold from what was measured, as a range, or not at all."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.estimate import LEAST_SAMPLES, LONGEST_SECONDS, estimate_wait


def test_the_range_spans_both_speeds_and_the_spread_of_chance() -> None:
    estimate = estimate_wait(100, fast=2.0, slow=1.0, samples=10, closed=False)
    assert estimate == (45, 110)
    assert estimate is not None
    assert estimate.middle == 77.5


@pytest.mark.parametrize(
    ("position", "fast", "slow", "samples", "closed"),
    [
        (10, 1.0, 1.0, LEAST_SAMPLES - 1, False),
        (10, 1.0, 1.0, 100, True),
        (10, 0.0, 1.0, 100, False),
        (10, 1.0, 0.0, 100, False),
        (10, 1e-300, 1.0, 100, False),
        (-1, 1.0, 1.0, 100, False),
        (0, 1.0, 1.0, 100, False),
        (LONGEST_SECONDS, 1.0, 1.0, 100, False),
    ],
)
def test_what_would_be_a_guess_is_not_said(position: int, fast: float, slow: float, samples: int, closed: bool) -> None:
    assert estimate_wait(position, fast=fast, slow=slow, samples=samples, closed=closed) is None


speeds = st.floats(0, 1e6)


@given(st.integers(-1, 10**7), speeds, speeds, st.integers(0, 100))
def test_a_range_is_a_range_of_at_most_a_day(position: int, fast: float, slow: float, samples: int) -> None:
    estimate = estimate_wait(position, fast=fast, slow=slow, samples=samples, closed=False)
    if estimate is not None:
        assert 0 <= estimate.low <= estimate.high <= LONGEST_SECONDS
        assert estimate.high >= 1


@given(st.integers(1, 10**6), st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_who_stands_further_back_is_told_no_shorter_wait(position: int, fast: float, slow: float) -> None:
    nearer = estimate_wait(position, fast=fast, slow=slow, samples=10, closed=False)
    further = estimate_wait(position + 1, fast=fast, slow=slow, samples=10, closed=False)
    if nearer is not None and further is not None:
        assert nearer.low <= further.low
        assert nearer.high <= further.high


def test_at_a_steady_speed_most_waits_end_within_their_range() -> None:
    """Admissions that come at random, two a second on average: the range holds one standard deviation, two in three."""
    rng = random.Random(7)
    estimate = estimate_wait(100, fast=2.0, slow=2.0, samples=10, closed=False)
    assert estimate is not None
    waits = [sum(rng.expovariate(2.0) for _ in range(100)) for _ in range(2_000)]
    assert sum(estimate.low <= wait <= estimate.high for wait in waits) / len(waits) > 0.66
