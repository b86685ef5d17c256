"""Rules decide in their order, exempt nothing that a site would read differently, and refuse what cannot work."""

import fnmatch
import re
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ropeline.gate.client_address import pack_address
from ropeline.gate.paths import starts_with
from ropeline.gate.request import GateRequest
from ropeline.gate.rules import Condition, Rule, RuleSet
from ropeline.gate.settings import TenantSettings
from ropeline.lua.errors import ConfigurationError
from tests.gate.test_paths import all_readings, as_decoded, paths


def request(
    path: bytes = b"/", method: str = "GET", host: bytes = b"shop.example.com", **headers: bytes
) -> GateRequest:
    named = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return GateRequest(method, "https", path, as_decoded(path), headers=[(b"host", host), *named])


def when(subject: str, operator: str, value: str, name: str = "", *, negate: bool = False) -> Condition:
    return Condition(subject=subject, operator=operator, value=value, name=name, negate=negate)


def rule(action: str, *conditions: Condition) -> Rule:
    return Rule(action=action, conditions=conditions)


def action(rules: Rule | list[Rule], asked: GateRequest, address: str = "192.0.2.1") -> str:
    return RuleSet([rules] if isinstance(rules, Rule) else rules).action(asked, pack_address(address))


def test_without_a_rule_that_applies_a_request_goes_through_the_line() -> None:
    assert action([], request()) == "queue"
    assert action(rule("bypass", when("path", "prefix", "/static")), request(b"/")) == "queue"
    assert not RuleSet([])
    assert RuleSet([rule("block", when("method", "equals", "TRACE"))])


def test_the_first_rule_that_applies_decides() -> None:
    rules = [
        rule("queue", when("path", "equals", "/static/checkout")),
        rule("bypass", when("path", "prefix", "/static")),
        rule("block", when("path", "prefix", "/static/private")),
    ]
    assert action(rules, request(b"/static/checkout")) == "queue"
    assert action(rules, request(b"/static/private")) == "bypass"


def test_a_rule_applies_when_all_its_conditions_hold() -> None:
    both = rule("bypass", when("path", "prefix", "/health"), when("method", "equals", "GET"))
    assert action(both, request(b"/health")) == "bypass"
    assert action(both, request(b"/health", "POST")) == "queue"
    assert action(both, request(b"/", "GET")) == "queue"


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (when("path", "equals", "/health"), request(b"/health")),
        (when("path", "equals", "/Health"), request(b"/Health")),
        (when("path", "prefix", "/static"), request(b"/static")),
        (when("path", "prefix", "/static/"), request(b"/static/a.js")),
        (when("path", "prefix", "/"), request(b"/anything")),
        (when("path", "contains", ".css"), request(b"/a/b.css")),
        (when("path", "glob", "/*.css"), request(b"/a/b.css")),
        (when("path", "glob", "*/feed/"), request(b"/blog/feed/")),
        (when("method", "equals", "OPTIONS"), request(method="OPTIONS")),
        (when("host", "equals", "shop.example.com"), request(host=b"SHOP.example.com.:443")),
        (when("host", "glob", "*.example.com"), request()),
        (when("header", "equals", "secret", "X-Api-Key"), request(x_api_key=b"secret")),
        (when("header", "contains", "cret", "x-api-key"), request(x_api_key=b"secret")),
        (when("cookie", "equals", "1", "staff"), request(cookie=b"a=2; staff=1")),
        (when("user_agent", "prefix", "UptimeRobot/"), request(user_agent=b"UptimeRobot/2.0")),
        (when("user_agent", "glob", "*bot*"), request(user_agent=b"a bot of sorts")),
        (when("client_address", "cidr", "192.0.2.0/24"), request()),
        (when("client_address", "cidr", "192.0.2.1"), request()),
    ],
)
def test_a_condition_compares_what_it_names(condition: Condition, asked: GateRequest) -> None:
    assert action(rule("bypass", condition), asked) == "bypass"
    assert action(rule("block", condition), asked) == "block"


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (when("path", "equals", "/health"), request(b"/healthy")),
        (when("path", "prefix", "/static"), request(b"/staticfiles")),
        (when("path", "contains", ".css"), request(b"/a.cs")),
        (when("path", "glob", "/*.css"), request(b"/a.css.html")),
        (when("method", "equals", "GET"), request(method="HEAD")),
        (when("host", "equals", "shop.example.com"), request(host=b"www.example.com")),
        (when("host", "equals", "shop.example.com"), request(host=b"shop example com")),
        (when("header", "equals", "secret", "x-api-key"), request(x_api_key=b"Secret")),
        (when("header", "prefix", "s", "x-api-key"), request()),
        (when("cookie", "equals", "1", "staff"), request(cookie=b"staff=1; staff=1")),
        (when("cookie", "equals", "1", "staff"), request()),
        (when("user_agent", "contains", "bot"), request(user_agent=b"Mozilla/5.0")),
        (when("client_address", "cidr", "10.0.0.0/8"), request()),
        (when("client_address", "cidr", "::/0"), request()),
    ],
)
def test_a_condition_that_does_not_hold_applies_only_when_turned_around(
    condition: Condition, asked: GateRequest
) -> None:
    assert action(rule("bypass", condition), asked) == "queue"
    assert action(rule("block", condition), asked) == "queue"
    turned = Condition(
        subject=condition.subject, operator=condition.operator, value=condition.value, name=condition.name, negate=True
    )
    assert action(rule("bypass", turned), asked) == "bypass"


def test_a_client_without_an_address_lies_in_no_network() -> None:
    assert action(rule("bypass", when("client_address", "cidr", "0.0.0.0/0")), request(), "unix:") == "queue"
    assert (
        action(rule("block", when("client_address", "cidr", "0.0.0.0/0", negate=True)), request(), "unix:") == "block"
    )


def test_a_method_in_lower_case_is_exempted_by_nothing_and_blocked_all_the_same() -> None:
    assert action(rule("bypass", when("method", "equals", "POST")), request(method="post")) == "queue"
    assert action(rule("block", when("method", "equals", "POST")), request(method="post")) == "block"


def test_a_header_that_is_there_twice_equals_neither() -> None:
    twice = GateRequest(
        "GET", "https", b"/", b"/", headers=[(b"host", b"a"), (b"x-key", b"secret"), (b"x-key", b"other")]
    )
    assert action(rule("bypass", when("header", "equals", "secret", "x-key")), twice) == "queue"


SPELLINGS = [b"//static/a", b"/STATIC/a", b"/%73tatic/a", b"/static/../admin", b"/static/..;/admin", b"/static%2f..%2fadmin",
             b"/static\\..\\admin", b"/static;a/b", b"/static/\0", b"/./static/a", b"http://a/static/a"]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_path_in_another_spelling_is_not_exempted(path: bytes) -> None:
    for condition in (when("path", "prefix", "/static"), when("path", "glob", "/static/*")):
        assert action(rule("bypass", condition), request(path)) == "queue", condition
    assert action(rule("bypass", when("path", "prefix", "/tickets", negate=True)), request(b"/%74ickets")) == "queue"


@pytest.mark.parametrize(
    "path",
    [
        b"/admin",
        b"//admin/x",
        b"/ADMIN",
        b"/%61dmin",
        b"/x/../admin",
        b"/admin/../x",
        b"/admin%2f..%2fx",
        b"/admin;x",
        b"\\admin",
        b"/admin.",
    ],
)
@pytest.mark.parametrize(
    "condition", [when("path", "prefix", "/admin"), when("path", "glob", "/admin*"), when("path", "contains", "admin")]
)
def test_a_path_in_another_spelling_is_blocked(path: bytes, condition: Condition) -> None:
    assert action(rule("block", condition), request(path)) == "block"


def test_a_pattern_that_ends_with_a_slash_blocks_other_spellings_too() -> None:
    for path in (b"/admin/", b"//admin/", b"/ADMIN/"):
        assert action(rule("block", when("path", "glob", "/admin/")), request(path)) == "block"


@settings(max_examples=1000)
@given(paths.map(lambda path: b"/static" + path))
@example(b"/static/;%3f/..%3f")
@example(b"/static/;%23/..%23x/admin")
def test_no_exempted_path_is_read_as_another_one_by_any_site(path: bytes) -> None:
    if action(rule("bypass", when("path", "prefix", "/static")), request(path)) == "bypass":
        assert all(starts_with(read, b"/static") for read in all_readings(path))


@given(paths, st.sampled_from(["equals", "prefix"]))
def test_what_a_rule_exempts_as_sent_and_as_read_is_what_it_would_block(path: bytes, operator: str) -> None:
    condition = when("path", operator, "/static")
    if action(rule("bypass", condition), request(path)) == "bypass":
        assert action(rule("block", condition), request(path)) == "block"


globs = st.text("ab*", min_size=1, max_size=10)


@settings(max_examples=500)
@given(globs, st.text("ab", max_size=12))
def test_a_glob_matches_what_a_regular_expression_of_it_would(pattern: str, text: str) -> None:
    asked = request(x_value=text.encode())
    expected = bool(text) and re.fullmatch(fnmatch.translate(pattern), text) is not None
    assert (action(rule("bypass", when("header", "glob", pattern, "x-value")), asked) == "bypass") == expected


def test_a_hostile_pattern_on_a_hostile_text_costs_no_time() -> None:
    pattern, text = "*a" * 127 + "*b", b"a" * 60_000
    hostile = RuleSet([rule("block", when("header", "glob", pattern, "x-value"))])
    started = time.process_time()
    assert hostile.action(request(x_value=text), None) == "queue"
    assert time.process_time() - started < 1, "a backtracking matcher would need years"


@given(st.binary(max_size=60), st.text(max_size=10), st.binary(max_size=60), st.binary(max_size=60))
def test_no_request_makes_a_rule_raise(path: bytes, method: str, host: bytes, value: bytes) -> None:
    rules = RuleSet(
        [
            rule(
                "block", when("path", "glob", "/a*b"), when("host", "contains", "x"), when("cookie", "equals", "x", "y")
            ),
            rule("bypass", when("path", "equals", "/a"), when("method", "equals", "GET", negate=True)),
            rule("bypass", when("header", "glob", "*a*b", "x-value"), when("user_agent", "prefix", "a")),
        ]
    )
    asked = GateRequest(
        method,
        "https",
        path,
        path,
        headers=[(b"host", host), (b"x-value", value), (b"cookie", value), (b"user-agent", value)],
    )
    assert rules.action(asked, None) in ("queue", "bypass", "block")


A_CONDITION = {"subject": "path", "operator": "prefix", "value": "/a"}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (
            [{"action": "pass", "conditions": [A_CONDITION]}],
            "rules[0].action: got 'pass', expected one of queue, bypass",
        ),
        ([{"action": "bypass", "conditions": []}], "rules[0].conditions: got [], expected at least one"),
        ([{"action": "bypass"}], "rules[0].conditions: got None, expected a list"),
        ([{"action": "bypass", "conditions": [A_CONDITION] * 11}], "rules[0].conditions: got '11 values'"),
        (
            [{"action": "bypass", "conditions": [A_CONDITION]}] * 101,
            "rules: got '101 values', expected a list of at most 100",
        ),
        ([{"action": "bypass", "conditions": [A_CONDITION], "when": 1}], "rules[0].when: got 1, expected"),
        (["bypass"], "rules[0]: got 'bypass', expected a table with action"),
        (
            [{"action": "bypass", "description": "a\nb", "conditions": [A_CONDITION]}],
            "rules[0].description: got 'a\\nb'",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_refused_by_its_number(rules: list[Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenantSettings.from_mapping(
            {"name": "acme", "host": "a.example", "total_active_users": 1, "rules": rules}, source="tenants.toml"
        )
    assert f"tenants.toml: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject": "query"}, "subject: got 'query', expected one of path, method"),
        ({"operator": "regex"}, "operator: got 'regex', expected one of equals"),
        ({"operator": "cidr"}, "operator: got 'cidr', expected another operator"),
        ({"subject": "client_address"}, "operator: got 'prefix', expected cidr"),
        ({"subject": "client_address", "operator": "cidr"}, "value: got '/a', expected an address or a network"),
        ({"subject": "client_address", "operator": "cidr", "value": "10.0.0.1/8"}, "value: got '10.0.0.1/8'"),
        ({"value": ""}, "value: got '', expected 1 to 256"),
        ({"value": "/" + "a" * 256}, "value: got '/aaa"),
        ({"value": "static"}, "value: got 'static', expected an absolute path"),
        ({"value": "/a/../b"}, "value: got '/a/../b', expected an absolute path"),
        ({"operator": "glob", "value": "a*"}, "value: got 'a*', expected a pattern that begins"),
        ({"subject": "header"}, "name: got '', expected the name of one"),
        ({"name": "x"}, "name: got 'x', expected no name"),
        ({"subject": "cookie", "name": "a b"}, "name: got 'a b', expected the name of a header or cookie"),
        (
            {"subject": "method", "operator": "equals", "value": "post"},
            "value: got 'post', expected a method in upper case",
        ),
        ({"subject": "host", "operator": "equals", "value": "A.example"}, "value: got 'A.example', expected a host"),
        ({"negate": 1}, "negate: got 1, expected true or false"),
    ],
)
def test_a_condition_that_cannot_work_is_refused_by_its_field(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Condition(**{**A_CONDITION, **changes})
    assert words in str(caught.value)
