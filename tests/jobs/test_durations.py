"""Times are seconds or timedeltas, never negative, never NaN; moments have a time zone."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.durations import LONGEST, moment_ms, to_ms
from ropeline.lua.errors import ConfigurationError


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (0.1, 100),
        (0.0001, 1),
        (1.5, 1500),
        (300, 300_000),
        (timedelta(minutes=5), 300_000),
        (timedelta(microseconds=1), 1),
        (timedelta(0), 0),
    ],
)
def test_seconds_and_timedeltas_become_whole_milliseconds_rounded_up(value: float | timedelta, ms: int) -> None:
    assert to_ms("timeout", value) == ms


@given(st.integers(0, LONGEST))
def test_milliseconds_survive_as_seconds(ms: int) -> None:
    assert to_ms("timeout", ms / 1000) == ms
    assert to_ms("timeout", timedelta(milliseconds=ms)) == ms


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.0001,
        timedelta(microseconds=-1),
        math.nan,
        math.inf,
        -math.inf,
        1e308,
        10**400,
        timedelta.max,
        True,
        "5",
        None,
    ],
)
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"delay: got .*, expected seconds or a timedelta, from 0 to 315,532,800 s"
    ):
        to_ms("delay", value)


def test_the_bounds_belong_to_the_range() -> None:
    assert to_ms("timeout", 0.001, least=1, most=2) == 1
    assert to_ms("timeout", 0.002, least=1, most=2) == 2
    for wrong in (0, 0.003):
        with pytest.raises(ConfigurationError, match=r"from 0.001 to 0.002 s"):
            to_ms("timeout", wrong, least=1, most=2)


def test_a_moment_is_the_same_in_every_time_zone() -> None:
    moment = datetime(2026, 10, 25, 2, 30, 0, 1, tzinfo=UTC)
    assert moment_ms("run_after", moment) == 1_792_895_400_001
    assert moment_ms("run_after", moment.astimezone(timezone(timedelta(hours=-8)))) == 1_792_895_400_001


def test_a_moment_before_1970_has_passed() -> None:
    assert moment_ms("run_after", datetime(1, 1, 1, tzinfo=UTC)) == 1


def test_a_moment_that_no_broker_can_keep_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"run_after: got .*, expected a moment before the year 2100"):
        moment_ms("run_after", datetime(2100, 1, 2, tzinfo=UTC))


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"run_after: got .*, expected a datetime with a time zone"):
        moment_ms("run_after", datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
