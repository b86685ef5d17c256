"""Cron lines: which instants they mean, also on the days on which clocks are changed, and which lines are refused."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ropeline.jobs.cron.lines import LATEST_INSTANT, instants_between, parse_cron
from ropeline.lua.errors import ConfigurationError

BERLIN = "Europe/Berlin"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000


def at(text: str) -> int:
    """The instant of a UTC time."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def shown(instants: list[int]) -> list[str]:
    return [f"{EPOCH + timedelta(milliseconds=instant):%m-%d %H:%M}" for instant in instants]


def on(day: str, line: str, zone: str = BERLIN) -> list[str]:
    """The instants of a line on one UTC day."""
    return shown(instants_between(parse_cron(line, zone), at(day) - 1, at(day) + DAY - 1, 10_000))


def test_a_wall_time_that_occurs_twice_is_its_first_occurrence() -> None:
    assert on("2026-10-25", "30 2 * * *") == ["10-25 00:30"]
    assert on("2026-10-25", "0 */2 * * *")[:3] == ["10-25 00:00", "10-25 03:00", "10-25 05:00"]
    assert on("2026-10-25", "*/30 * * * *")[:4] == ["10-25 00:00", "10-25 00:30", "10-25 02:00", "10-25 02:30"]


def test_a_skipped_wall_time_is_the_instant_at_which_the_clocks_jump() -> None:
    assert on("2026-03-29", "30 2 * * *") == ["03-29 01:00"]
    assert on("2026-03-29", "*/20 2 * * *") == ["03-29 01:00"]
    assert on("2026-03-29", "0 */2 * * *")[:2] == ["03-29 01:00", "03-29 02:00"]


def test_a_skipped_one_and_the_next_one_at_the_same_instant_are_one() -> None:
    assert on("2026-03-29", "0 2,3 * * *") == ["03-29 01:00"]


def test_clocks_that_change_by_half_an_hour_at_midnight_or_by_a_day() -> None:
    assert on("2026-10-03", "15 2 * * *", "Australia/Lord_Howe") == ["10-03 15:30"]
    assert on("2026-04-04", "45 1 * * *", "Australia/Lord_Howe") == ["04-04 14:45"]
    assert on("2024-09-08", "@daily", "America/Santiago") == ["09-08 04:00"], "the day began at one o'clock"
    # Samoa had no 30 December 2011: what it skipped is the beginning of the 31st, which comes once.
    assert on("2011-12-30", "@daily", "Pacific/Apia") == ["12-30 10:00"]
    assert on("2011-12-30", "30 12 * * *", "Pacific/Apia") == ["12-30 10:00", "12-30 22:30"]


def test_a_distance_knows_no_clocks_and_is_the_same_everywhere() -> None:
    every = parse_cron("@every 90m", BERLIN)
    assert shown(instants_between(every, at("2026-10-25") - 1, at("2026-10-25T04:30"), 100)) == [
        "10-25 00:00", "10-25 01:30", "10-25 03:00", "10-25 04:30",
    ]  # fmt: skip
    assert parse_cron("@every 1s").next_after(at("2026-01-01")) == at("2026-01-01T00:00:01")
    assert parse_cron("@every 1d2h3m4s").next_after(0) == 93_784_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("@yearly", "2027-01-01"),
        ("@annually", "2027-01-01"),
        ("@monthly", "2026-06-01"),
        ("@weekly", "2026-05-10"),
        ("@daily", "2026-05-08"),
        ("@Midnight", "2026-05-08"),
        ("@hourly", "2026-05-07T13:00"),
        ("  0   4 *  * MON ", "2026-05-11T04:00"),
        ("0 4 * * 7", "2026-05-10T04:00"),
        ("0 0 29 2 *", "2028-02-29"),
        ("0 0 13 * FRI", "2026-05-08"),
        ("0 0 */13 * FRI", "2026-08-14"),
        ("0 0 L * *", "2026-05-31"),
        ("0 0 * * TUE#1", "2026-06-02"),
        ("0 0 * JUN,jul *", "2026-06-01"),
        ("5-59/15 12 * * *", "2026-05-07T12:35"),
        ("5-05/2,50 13 * * *", "2026-05-07T13:05"),
        ("7-7/2 13 * * sun-0/3", "2026-05-10T13:07"),
        ("7/20 13 * * *", "2026-05-07T13:07"),
    ],
)
def test_a_line_means_what_debians_cron_makes_of_it(line: str, expected: str) -> None:
    # Thursday, 7 May 2026, 12:34. A day field that begins with a star has to match as well as the other one.
    assert parse_cron(line).next_after(at("2026-05-07T12:34")) == at(expected)


def test_the_ends_of_the_calendar_are_no_error() -> None:
    line = parse_cron("0 0 29 2 *", "Pacific/Kiritimati")
    assert line.next_after(LATEST_INSTANT) is None
    assert line.next_after(LATEST_INSTANT - 1) is None
    assert line.latest_at(0) is None
    assert line.latest_at(-5) is None
    assert line.next_after(-(10**18)) == line.next_after(0)
    assert line.latest_at(10**18) == line.latest_at(LATEST_INSTANT)
    distance = parse_cron("@every 1d")
    assert (distance.next_after(-1), distance.latest_at(0), distance.latest_at(-1)) == (0, 0, None)
    assert distance.next_after(10**18) is None


@pytest.mark.parametrize(
    ("line", "field", "value", "expected"),
    [
        ("60 * * * *", "cron minute", "60", "0 to 59"),
        ("* 24 * * *", "cron hour", "24", "0 to 23"),
        ("* * 0 * *", "cron day-of-month", "0", "1 to 31"),
        ("* * * JANUARY *", "cron month", "JANUARY", "JAN to DEC"),
        ("* * * * 8", "cron day-of-week", "8", "7 (Sunday too)"),
        ("*/0 * * * *", "cron minute", "*/0", "a step"),
        ("* 22-2 * * *", "cron hour", "22-2", "a range"),
        ("1,,2 * * * *", "cron minute", "1,,2", "a list"),
        ("-1 * * * *", "cron minute", "-1", "0 to 59"),
        ("* * * *", "cron", "* * * *", "five fields"),
        ("0 * * * * *", "cron", "0 * * * * *", "got 6"),
        ("", "cron", "", "five fields"),
        ("0 0 30 2 *", "cron day-of-month", "30", "a day that comes"),
        ("0 0 31 4,6 *", "cron day-of-month", "31", "a day that comes"),
        ("0 0 */20 * 1L", "cron day-of-month", "*/20", "a day that comes"),
        ("@reboot", "cron", "@reboot", "@every"),
        ("@every", "cron @every", "", "1s to 366d"),
        ("@every 5", "cron @every", "5", "1s to 366d"),
        ("@every -5m", "cron @every", "-5m", "1s to 366d"),
        ("@every 0s", "cron @every", "0s", "1s to 366d"),
        ("@every 367d", "cron @every", "367d", "1s to 366d"),
        ("@every NaNs", "cron @every", "NaNs", "1s to 366d"),
        ("@every 5m \n", "cron", "@every 5m \n", "printable"),
        ("² * * * *", "cron", "² * * * *", "ASCII"),
        ("9" * 300, "cron", "9" * 300, "at most 200"),
    ],
)
def test_a_bad_line_is_refused_with_field_value_and_what_is_right(
    line: str, field: str, value: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_cron(line)
    assert (refused.value.field, refused.value.value) == (field, value)
    assert expected in refused.value.expected


@pytest.mark.parametrize("zone", ["Europe", "Mars/Base", "../../etc/passwd", "", "localtime", "a\0b"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^report zone: got .*Europe/Berlin"):
        parse_cron("@daily", zone, field="report")


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ropeline\[cron\]'"):
        parse_cron("1 2 3 4 5")
    assert parse_cron("@every 5m").next_after(0) == 300_000


@dataclass(frozen=True)
class Line:
    """A line, and the sets of numbers that it was made of."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def names(self, wall: datetime) -> bool:
        by_day, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        _, _, day, _, weekday = self.text.split()
        is_day = by_day and by_weekday if day.startswith("*") or weekday.startswith("*") else by_day or by_weekday
        return is_day and wall.month in self.months and wall.hour in self.hours and wall.minute in self.minutes


def numbers(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """The text of a field and what it stands for."""
    whole = st.just(("*", frozenset(range(low, high + 1))))
    step = st.integers(1, high).map(lambda step: (f"*/{step}", frozenset(range(low, high + 1, step))))
    some = st.frozensets(st.integers(low, high), min_size=1, max_size=4).map(
        lambda numbers: (",".join(map(str, sorted(numbers))), numbers)
    )
    bounds = st.tuples(st.integers(low, high), st.integers(low, high), st.integers(1, 7)).map(
        lambda b: (f"{min(b[:2])}-{max(b[:2])}/{b[2]}", frozenset(range(min(b[:2]), max(b[:2]) + 1, b[2])))
    )
    return st.one_of(whole, step, some, bounds)


LINES = (
    st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 31), numbers(1, 12), numbers(0, 6))
    .map(lambda fields: Line(" ".join(text for text, _ in fields), *(found for _, found in fields)))
    .filter(lambda line: min(line.days) < 29)
)
# The days around which clocks were, or will be, changed: by an hour, half an hour, at midnight, by a day, for good.
CHANGES = st.sampled_from(
    [
        (BERLIN, "2026-03-29"),
        (BERLIN, "2026-10-25"),
        ("America/New_York", "2026-11-01"),
        ("Australia/Lord_Howe", "2026-10-03"),
        ("Australia/Lord_Howe", "2026-04-04"),
        ("America/Santiago", "2024-09-08"),
        ("America/Santiago", "2024-04-07"),
        ("Africa/Cairo", "2026-04-24"),
        ("Africa/Casablanca", "2026-03-22"),
        ("Pacific/Apia", "2011-12-30"),
        ("Pacific/Kwajalein", "1993-08-21"),
        ("Asia/Pyongyang", "2018-05-04"),
        ("Asia/Kolkata", "2026-07-01"),
        ("UTC", "2026-02-28"),
    ]
)


def minute_walk(line: Line, zone: str, first: int, last: int) -> list[int]:
    """Every minute from `first` to `last`: it means something when its wall clock shows for the first time what the line names.

    A clock that jumps shows at once all that it jumped over.
    """
    tz, found = ZoneInfo(zone), []
    highest = wall_at(first - DAY, tz)
    for instant in range(first - DAY, last + 1, 60_000):
        wall, is_meant = wall_at(instant, tz), False
        while highest < wall:
            highest += timedelta(minutes=1)
            is_meant = is_meant or line.names(highest)
        if is_meant and instant >= first:
            found.append(instant)
    return found


def wall_at(instant: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + timedelta(milliseconds=instant)).astimezone(zone).replace(tzinfo=None)


@settings(max_examples=40)
@given(LINES, CHANGES)
@example(Line("30 2 * * *", *map(frozenset, ({30}, {2}, range(1, 32), range(1, 13), range(7)))), (BERLIN, "2026-03-29"))
@example(
    Line("* * * * *", *map(frozenset, (range(60), range(24), range(1, 32), range(1, 13), range(7)))),
    ("Pacific/Apia", "2011-12-30"),
)
def test_every_next_and_latest_instant_is_that_of_a_walk_through_all_minutes(
    line: Line, change: tuple[str, str]
) -> None:
    zone, day = change
    first, last = at(day) - DAY, at(day) + 2 * DAY
    expected = minute_walk(line, zone, first, last)
    schedule = parse_cron(line.text, zone)
    found = [instant] if (instant := schedule.next_after(first - 1)) else []
    while found and (following := schedule.next_after(found[-1])) and following <= last:
        found.append(following)
    assert [instant for instant in found if instant <= last] == expected
    assert instants_between(schedule, first - 1, last, 10_000) == expected


@settings(max_examples=100)
@given(LINES, CHANGES, st.integers(-2 * DAY, 2 * DAY))
def test_next_and_latest_meet_at_any_millisecond(line: Line, change: tuple[str, str], distance: int) -> None:
    schedule = parse_cron(line.text, change[0])
    instant = at(change[1]) + distance
    following, latest = schedule.next_after(instant), schedule.latest_at(instant)
    assert following is not None
    assert following > instant
    assert schedule.latest_at(following) == following
    assert latest == schedule.latest_at(following - 1)
    if latest is not None:
        assert latest <= instant
        assert schedule.next_after(latest) == following
        assert schedule.next_after(latest - 1) == latest
