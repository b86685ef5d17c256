"""Settings on a command line are read by the type of their field, and what is shown can be given back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.cli.assignments import assign, describe, read_assignment
from ropeline.gate.settings import CookieAttributes, Poll, Route, TenantSettings
from ropeline.lua.errors import ConfigurationError

ACME = TenantSettings(name="acme", host="acme.example.com", total_active_users=5, new_users_per_minute=7)


def changed(*texts: str, settings: TenantSettings | None = ACME) -> TenantSettings:
    return assign("acme", settings, [read_assignment(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("total_active_users=500", {"total_active_users": 500}),
        ("session_duration=2.5", {"session_duration": 2.5}),
        ("paused=true", {"paused": True}),
        ("title=A = B, none or true", {"title": "A = B, none or true"}),
        ("title=none", {"title": "none"}),
        ("new_users_per_minute=none", {"new_users_per_minute": None}),
        ("queueing_status_code=202", {"queueing_status_code": 202}),
        ("queueing_method=reject", {"queueing_method": "reject"}),
        ("poll.floor=2", {"poll": Poll(floor=2)}),
        ('poll={"floor": 2, "ceiling": 9}', {"poll": Poll(floor=2, ceiling=9)}),
        ("cookie_attributes.samesite=none", {"cookie_attributes": CookieAttributes(samesite="none")}),
        ('additional_routes=[{"host": "b.test"}]', {"additional_routes": (Route(host="b.test"),)}),
        ("enabled_origin_commands=[]", {"enabled_origin_commands": ()}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_field(text: str, changes: dict[str, Any]) -> None:
    assert changed(text) == replace(ACME, **changes)


def test_a_part_of_a_group_leaves_its_other_parts() -> None:
    once = changed("poll.floor=2", "poll.ceiling=9")
    assert changed("poll.divisor=3", settings=once).poll == Poll(floor=2, ceiling=9, divisor=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("total_active_users=many", "tenant acme: total_active_users: got 'many', expected a whole number from 0 to"),
        ("total_active_users=1.5", "total_active_users: got 1.5, expected a whole number"),
        ("total_active_users=NaN", "total_active_users: got nan, expected a whole number"),
        ("total_active_users=none", "total_active_users: got 'none', expected a whole number"),
        ("paused=yes", "paused: got 'yes', expected true or false"),
        ("paused=1", "paused: got 1, expected true or false"),
        ("poll.floors=2", "poll.floors: got '2', expected the name of a field; did you mean floor?"),
        ("pol.floor=2", "expected the name of a field; did you mean poll?"),
        ("total_active_user=2", "did you mean total_active_users?"),
        ("quota=2", "quota: got '2', expected the name of a field; did you mean total_active_users?"),
        ("rate=2", "rate: got '2', expected the name of a field; did you mean new_users_per_minute?"),
        ("host.name=2", "tenant acme: host: got {'name': '2'}, expected a host such as"),
        ("waiting_ttl=10", "waiting_ttl: got 10, expected at least 90, 3 x poll.ceiling"),
        ("rules=[{", "rules: got '[{', expected JSON, a list of at most 100"),
        ("rules=" + "[" * 100_000, "expected JSON, a list"),
        ("poll=fast", "poll: got 'fast', expected JSON, a table with floor, ceiling, divisor"),
        ("name=other", "name: got 'other', expected no change"),
        ("=5", "KEY=VALUE: got '=5', expected a setting and its value"),
        ("paused", "KEY=VALUE: got 'paused', expected a setting and its value"),
    ],
    ids=lambda text: text[:40],
)
def test_what_cannot_be_is_refused_by_its_name(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        changed(text)
    assert told in str(refused.value)


def test_two_values_for_one_setting_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"poll.floor: got '3', expected one value for each setting"):
        changed("poll.floor=2", "poll.floor=3")


def test_a_new_tenant_is_told_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match=r"tenant acme: host: got None, expected a host .*\(required\)"):
        changed("total_active_users=5", settings=None)
    made = changed("total_active_users=5", "host=acme.example.com", settings=None)
    assert made == TenantSettings(name="acme", host="acme.example.com", total_active_users=5)


poll_settings = st.builds(
    Poll, floor=st.floats(0.1, 9), ceiling=st.integers(9, 30), divisor=st.sampled_from([1, 2.5, 1000])
)
tenants = st.builds(
    TenantSettings,
    name=st.just("acme"),
    host=st.sampled_from(["acme.example.com", "*.example.com", "[::1]"]),
    title=st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=30).filter(str.isprintable),
    additional_routes=st.sampled_from([(), (Route(host="b.example.com", path="/x"), Route(host="c.example.com"))]),
    total_active_users=st.integers(0, 10_000_000),
    new_users_per_minute=st.none() | st.integers(0, 10_000_000),
    session_duration=st.floats(1, 200),
    queueing_status_code=st.sampled_from([200, 202, 429, 503]),
    queueing_method=st.sampled_from(["fifo", "reject"]),
    paused=st.booleans(),
    cookie_attributes=st.builds(CookieAttributes, samesite=st.sampled_from(["auto", "none"])),
    poll=poll_settings,
)


@given(tenants)
def test_what_is_shown_can_be_given_back(settings: TenantSettings) -> None:
    words = [f"{key}={value}" for key, value in describe(settings).items()]
    assert changed(*words, settings=None) == settings
