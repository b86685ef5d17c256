"""A failed job waits for as long as was said: drawn from the whole range, the same each time, or what a function answers."""

import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.backoff import Exponential, Fixed, check_backoff, delay_ms
from ropeline.jobs.context import JobContext
from ropeline.lua.errors import ConfigurationError

JOB = JobContext(id="00" * 16, task="order:confirm", queue="mail", max_attempts=5)
ERROR = OSError("connection refused")


def test_the_longest_wait_doubles_from_a_second_to_an_hour() -> None:
    longest = [delay_ms(Exponential(), attempt, ERROR, JOB, random=lambda: 1.0) for attempt in range(1, 15)]
    assert longest == [1000 * 2**number for number in range(12)] + [3_600_000] * 2


def test_the_wait_is_drawn_from_the_whole_range() -> None:
    draw = random.Random(7).random
    drawn = [delay_ms(Exponential(), 4, ERROR, JOB, random=draw) for _ in range(10_000)]
    assert 0 <= min(drawn) < 20
    assert 7_980 < max(drawn) <= 8_000
    assert abs(sum(drawn) / len(drawn) - 4_000) < 100
    assert {delay_ms(Exponential(), 4, ERROR, JOB) for _ in range(50)} != {0}


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_no_attempt_is_too_late_for_the_cap(attempt: int, drawn: float) -> None:
    rule = Exponential(base=0.5, cap=timedelta(minutes=2))
    assert 0 <= delay_ms(rule, attempt, ERROR, JOB, random=lambda: drawn) <= 120_000


def test_a_fixed_wait_is_always_the_same() -> None:
    assert {delay_ms(Fixed(timedelta(seconds=2)), attempt, ERROR, JOB) for attempt in (1, 2, 50)} == {2_000}


def test_a_function_is_told_attempt_error_and_job() -> None:
    told: list[object] = []

    def wait(attempt: int, error: BaseException, job: JobContext) -> float:
        told.append((attempt, error, job))
        return attempt * 1.5

    assert delay_ms(wait, 3, ERROR, JOB) == 4_500
    assert told == [(3, ERROR, JOB)]
    assert delay_ms(lambda *_: timedelta(minutes=1), 1, ERROR, JOB) == 60_000


@pytest.mark.parametrize("answer", [-1, math.nan, math.inf, "5", None, True, timedelta(seconds=-1), 10**12])
def test_an_answer_that_is_no_time_is_refused(answer: Any) -> None:
    with pytest.raises(ConfigurationError, match="backoff: got"):
        delay_ms(lambda *_: answer, 1, ERROR, JOB)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Exponential(base=0), "base"),
        (lambda: Exponential(base=-1), "base"),
        (lambda: Exponential(base=math.nan), "base"),
        (lambda: Exponential(cap=math.inf), "cap"),
        (lambda: Exponential(base=10, cap=9), "cap"),
        (lambda: Fixed(-1), "delay"),
        (lambda: Fixed(math.nan), "delay"),
        (lambda: check_backoff("backoff", "1"), "backoff"),
        (lambda: check_backoff("backoff", None), "backoff"),
        (lambda: check_backoff("backoff", True), "backoff"),
        (lambda: check_backoff("backoff", -1.0), "backoff"),
        (lambda: check_backoff("backoff", Exponential), "backoff"),
    ],
)
def test_a_rule_without_sense_is_refused_by_its_field(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


def test_a_number_is_short_for_a_fixed_wait() -> None:
    assert check_backoff("backoff", 5) == Fixed(5)
    assert check_backoff("backoff", timedelta(minutes=1)) == Fixed(timedelta(minutes=1))
    assert check_backoff("backoff", Exponential(2)) == Exponential(2)
