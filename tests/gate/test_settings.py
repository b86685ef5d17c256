"""Settings are checked when they are built: the field, its value and what would be right, and nothing half-taken."""

import json
import math
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.closed_loop import ClosedLoop
from ropeline.gate.events import Event
from ropeline.gate.fields import Choice, Flag, Integer, Number, setting_of
from ropeline.gate.rules import Condition, Rule
from ropeline.gate.settings import (
    CookieAttributes,
    GateSettings,
    Poll,
    Route,
    TenantSettings,
    check_apart,
    load_tenants_file,
)
from ropeline.gate.tenant_store import line_settings
from ropeline.lua.errors import ConfigurationError

KEY = "a-key-of-enough-bytes"
LEAST: dict[str, Any] = {"name": "acme", "host": "shop.example.com", "total_active_users": 5}


def tenant(**changes: Any) -> TenantSettings:
    return TenantSettings.from_mapping({**LEAST, **changes}, source="tenants.toml")


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        tenant(**changes)
    message = str(caught.value)
    assert message.startswith("tenants.toml: ")
    assert "\n" not in message
    return message.removeprefix("tenants.toml: ")


def test_a_tenant_needs_a_name_a_host_and_a_quota_and_has_a_default_for_all_else() -> None:
    settings = tenant()
    assert settings.title == "acme"
    assert (settings.quota, settings.rate) == (5, None)
    assert settings == TenantSettings(**LEAST)
    for missing in LEAST:
        rest = {name: value for name, value in LEAST.items() if name != missing}
        with pytest.raises(ConfigurationError, match=rf"x: {missing}: got None, expected .*\(required\)"):
            TenantSettings.from_mapping(rest, source="x")


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        tenant().total_active_users = 7  # type: ignore[misc]  # that it is refused is the point


@pytest.mark.parametrize("field", fields(TenantSettings), ids=lambda field: field.name)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -1, 10**400, "\0", [[]], {"x": 1}, [None] * 2000, object()]
)
def test_nonsense_is_refused_in_every_field_by_its_name(field: Any, value: object) -> None:
    assert refusal(**{field.name: value}).startswith(field.name)


@pytest.mark.parametrize("field", fields(TenantSettings), ids=lambda field: field.name)
def test_a_flag_is_no_number_and_a_number_is_no_flag(field: Any) -> None:
    kind = setting_of(field).kind
    value: object = 1 if isinstance(kind, Flag) else True
    assert refusal(**{field.name: value}).startswith(f"{field.name}: got {value}, expected ")


@pytest.mark.parametrize("field", fields(TenantSettings), ids=lambda field: field.name)
def test_null_stands_for_the_default_where_there_is_something_to_stand_for(field: Any) -> None:
    if field.default is None:
        assert getattr(tenant(**{field.name: None}), field.name) is None
    else:
        assert refusal(**{field.name: None}).startswith(f"{field.name}: got None, expected ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"total_active_user": 5},
            "total_active_user: got 5, expected the name of a field; did you mean total_active_users?",
        ),
        ({"zzz": 5}, "zzz: got 5, expected one of name, title, host"),
        ({"a\nb": 5}, "'a\\nb': got 5"),
        ({"name": "Acme"}, "name: got 'Acme', expected 1 to 63 of the characters a-z, 0-9 and -"),
        ({"name": "a" * 64}, "name: got 'aaa"),
        ({"title": "a\nb"}, "title: got 'a\\nb', expected 1 to 200 printable characters"),
        ({"host": "shop.example.com:80"}, "host: got 'shop.example.com:80', expected a host such as"),
        ({"path": "tickets"}, "path: got 'tickets', expected an absolute path"),
        ({"total_active_users": 5.0}, "total_active_users: got 5.0, expected a whole number from 0 to 10000000"),
        ({"total_active_users": "5"}, "total_active_users: got '5', expected a whole number"),
        (
            {"new_users_per_minute": -1},
            "new_users_per_minute: got -1, expected a whole number from 0 to 10000000, or none: no limit",
        ),
        (
            {"queueing_method": "random"},
            "expected one of fifo, passthrough, reject (random belongs to the pre-queue of an event",
        ),
        ({"queueing_status_code": 500}, "queueing_status_code: got 500, expected one of 503, 200, 202, 429"),
        ({"queueing_status_code": 200.0}, "queueing_status_code: got 200.0"),
        ({"enabled_origin_commands": ["drop"]}, "enabled_origin_commands[0]: got 'drop', expected one of revoke"),
        ({"enabled_origin_commands": "revoke"}, "enabled_origin_commands: got 'revoke', expected a list"),
        ({"additional_routes": [{"host": "a b"}]}, "additional_routes[0].host: got 'a b'"),
        ({"additional_routes": [{"path": "/a"}]}, "additional_routes[0].host: got None"),
        (
            {"additional_routes": [{"host": "SHOP.example.com"}]},
            "additional_routes[0]: got 'shop.example.com/', expected a route",
        ),
        (
            {"cookie_attributes": {"samesite": "none", "secure": "never"}},
            "cookie_attributes.secure: got 'never', expected auto",
        ),
        ({"cookie_attributes": {"domain": "com"}}, "cookie_attributes.domain: got 'com', expected a domain"),
        ({"cookie_attributes": {"domain": "10.0.0.1"}}, "cookie_attributes.domain: got '10.0.0.1'"),
        (
            {"cookie_attributes": {"domain": "other.example"}},
            "cookie_attributes.domain: got 'other.example', expected a domain that",
        ),
        ({"cookie_attributes": {"domain": "op.example.com"}}, "cookie_attributes.domain: got 'op.example.com'"),
        ({"default_template_language": "e"}, "default_template_language: got 'e'"),
        ({"default_template_language": "en_US"}, "default_template_language: got 'en_US'"),
        ({"poll": {"floor": 31}}, "poll.floor: got 31, expected at most the ceiling, 30"),
        ({"poll": {"divisor": 0}}, "poll.divisor: got 0, expected a number from 1 to 1000"),
        ({"poll": {"divisors": 1}}, "poll.divisors: got 1, expected the name of a field; did you mean divisor?"),
        ({"poll": 5}, "poll: got 5, expected a table with floor, ceiling, divisor"),
        ({"waiting_ttl": 89}, "waiting_ttl: got 89, expected at least 90, 3 x poll.ceiling"),
        ({"claim_within": 38}, "claim_within: got 38, expected at least 39, 1.3 x poll.ceiling"),
        ({"session_max": 299}, "session_max: got 299, expected at least session_duration, 300 seconds"),
        ({"recheck": 151}, "recheck: got 151, expected at most half of session_duration, 150 seconds"),
    ],
)
def test_what_cannot_work_is_refused_with_field_value_and_what_is_right(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_a_host_a_path_and_a_language_are_kept_as_they_are_compared() -> None:
    settings = tenant(host="*.Example.COM.", path="/Tickets/", default_template_language="pt-BR")
    assert (settings.host, settings.path, settings.default_template_language) == ("*.example.com", "/tickets", "pt-br")
    assert settings.routes == (Route(host="*.example.com", path="/tickets"),)


def test_a_domain_covers_itself_its_subdomains_and_wildcards_below_it() -> None:
    for host in ("example.com", "shop.example.com", "*.example.com"):
        assert tenant(host=host, cookie_attributes={"domain": "example.com"}).cookie_attributes.domain == "example.com"
    spread = [{"host": "example.org"}]
    assert "cookie_attributes.domain" in refusal(cookie_attributes={"domain": "example.com"}, additional_routes=spread)


conditions = st.builds(
    Condition,
    subject=st.just("path"),
    operator=st.sampled_from(["equals", "prefix"]),
    value=st.sampled_from(["/", "/Static", "/a/b"]),
    negate=st.booleans(),
)
rules = st.builds(
    Rule,
    action=st.sampled_from(["queue", "bypass", "block"]),
    description=st.sampled_from(["", "health checks"]),
    conditions=st.lists(conditions, min_size=1, max_size=3).map(tuple),
)
routes = st.builds(Route, host=st.sampled_from(["a.example", "*.b.example"]), path=st.sampled_from(["/", "/x"]))


launches = st.builds(
    Event,
    name=st.just("sale"),
    event_start_time=st.sampled_from(["2030-01-01T10:00:00Z", "2030-01-01T10:00:00+05:30"]),
    event_end_time=st.just("2030-01-02T10:00:00Z"),
    prequeue_start_time=st.none() | st.just("2030-01-01T00:00:00Z"),
    suspended=st.booleans(),
    overrides=st.fixed_dictionaries({}, optional={"total_active_users": st.integers(0, 99), "title": st.just("Sale")}),
)
AGREEING: dict[str, st.SearchStrategy[Any]] = {
    "events": st.lists(launches, max_size=1).map(tuple),
    "name": st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True),
    "title": st.sampled_from(["", "Acme tickets", "Ümläut"]),
    "host": st.sampled_from(["shop.example.com", "*.example.com", "localhost", "[::1]"]),
    "path": st.sampled_from(["/", "/tickets", "/a/b.c"]),
    "additional_routes": st.lists(routes, unique=True, max_size=3).map(tuple),
    "cookie_attributes": st.builds(CookieAttributes, samesite=st.sampled_from(["auto", "lax", "strict"])),
    "default_template_language": st.sampled_from(["en", "pt-br"]),
    "enabled_origin_commands": st.sampled_from([(), ("revoke",)]),
    "waiting_ttl": st.floats(1_800, 86_400),
    "claim_within": st.floats(780, 3_600),
    "session_max": st.integers(86_400, 2_592_000),
    "recheck": st.none() | st.just(0) | st.floats(0, 0.3),
    "theme": st.sampled_from(["default", "night-2"]),
    "poll": st.builds(Poll, floor=st.floats(0.1, 5), ceiling=st.floats(5, 600)),
    "rules": st.lists(rules, max_size=3).map(tuple),
}


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """Values of one field that also agree with whatever the others are."""
    if field.name in AGREEING:
        return AGREEING[field.name]
    kind = setting_of(field).kind
    if isinstance(kind, Flag):
        return st.booleans()
    if isinstance(kind, Choice):
        return st.sampled_from(kind.options)
    if isinstance(kind, Number):
        numbers: st.SearchStrategy[Any] = st.integers(math.ceil(kind.low), math.floor(kind.high))
        if not isinstance(kind, Integer):
            numbers |= st.floats(kind.low, kind.high)
        return numbers | st.none() if kind.absent else numbers
    raise AssertionError(f"say what values {field.name} may have")


AGREEING["factor"] = st.floats(0.1, 0.99)
AGREEING["closed_loop"] = st.builds(ClosedLoop, **{field.name: values_of(field) for field in fields(ClosedLoop)})
everything = st.fixed_dictionaries({field.name: values_of(field) for field in fields(TenantSettings)})


@given(everything)
def test_settings_survive_json_and_toml(given_values: dict[str, Any]) -> None:
    settings = TenantSettings(**given_values)
    mapping = settings.to_mapping()
    assert TenantSettings.from_mapping(json.loads(json.dumps(mapping)), source="x") == settings
    assert TenantSettings.from_mapping(tomllib.loads(tomlkit.dumps(mapping)), source="x") == settings
    assert line_settings(settings).quota == settings.quota


@given(
    everything, st.sampled_from(fields(TenantSettings)), st.from_type(object) | st.floats() | st.integers() | st.text()
)
def test_no_value_of_any_field_raises_anything_but_a_configuration_error(
    values: dict[str, Any], field: Any, value: object
) -> None:
    refused = "x: "
    try:
        TenantSettings.from_mapping({**values, field.name: value}, source="x")
    except ConfigurationError as error:
        refused = error.field
    assert refused.startswith("x: ")


def test_times_are_derived_from_what_is_set() -> None:
    settings = tenant()
    assert settings.session_ttl_ms == 300_000
    assert settings.recheck_ms == 75_000
    assert settings.keepalive_interval_ms == 75_000
    assert settings.recovery_hold_ms == 75_000
    assert (settings.session_max_ms, settings.waiting_ttl_ms, settings.confirm_within_ms) == (
        14_400_000,
        180_000,
        30_000,
    )
    assert (settings.claim_within_ms, settings.return_within_ms, settings.leave_hold_ms) == (120_000, 600_000, 60_000)
    assert settings.clock_step_ms == 3_000


def test_nobody_who_polls_or_is_active_misses_the_recovery() -> None:
    assert tenant(session_duration=1).recovery_hold_ms == 60_000
    assert tenant(session_duration=1, poll={"ceiling": 59}, waiting_ttl=600).recovery_hold_ms == 76_700
    assert tenant(recovery_hold=7).recovery_hold_ms == 7_000
    assert tenant(recovery_hold=0).recovery_hold_ms == 0


def test_a_keepalive_never_comes_before_the_store_would_be_asked() -> None:
    assert tenant(recheck=0).recheck_ms == 0
    assert tenant(recheck=0).keepalive_interval_ms == 75_000
    assert tenant(recheck=150).keepalive_interval_ms == 150_000


@pytest.mark.parametrize(
    ("changes", "rate"),
    [({}, 1), ({"total_active_users": 500}, 50), ({"new_users_per_minute": 60}, 30), ({"new_users_per_minute": 1}, 1), ({"emergency_rate": 0}, 0), ({"emergency_rate": 2.5}, 2.5)],
)  # fmt: skip
def test_the_emergency_rate_follows_from_the_limits_unless_it_is_set(changes: dict[str, Any], rate: float) -> None:
    assert tenant(**changes).emergency_admissions_per_minute == rate


def gate(**changes: Any) -> GateSettings:
    return GateSettings(**{"secret_keys": (KEY,), **changes})


def test_a_gate_process_needs_a_key_and_has_a_default_for_all_else() -> None:
    settings = gate(secret_keys=[KEY, b"another-key-in-bytes"])
    assert settings.secret_keys == (KEY, b"another-key-in-bytes")
    assert settings.well_known_prefix == "/.well-known/waiting-room/"
    assert settings.deadline_ms == 250
    assert settings.trusted_proxies == ()


def test_a_gate_process_shows_no_secret() -> None:
    settings = gate(redis_url="rediss://user:hunter2@store.example:6380/1")
    assert "hunter2" not in repr(settings)
    assert KEY not in repr(settings)
    assert settings.redacted_redis_url == "rediss://store.example:6380/1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_keys": ()}, "a random key per process would lose every place"),
        ({"secret_keys": ["hunter2"]}, "secret_keys[0]: got '7 bytes (hidden)', expected 16 bytes or more"),
        ({"secret_keys": "hunter2hunter2hunter2"}, "secret_keys: got '(hidden)', expected a list of keys"),
        ({"secret_keys": [7]}, "secret_keys: got '(hidden)'"),
        ({"redis_url": "user:hunter2@store"}, "redis_url: got '(hidden)', expected a URL"),
        ({"redis_url": "redis://user:hunter2@store\n"}, "redis_url: got 'redis://store\\n', expected a URL"),
        ({"redis_url": None}, "redis_url: got None"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies[0]: got '10.0.0.1/8', expected an address, a network"),
        ({"trusted_proxies": "10.0.0.0/8"}, "trusted_proxies: got '10.0.0.0/8', expected a list"),
        ({"well_known_prefix": "/wr"}, "well_known_prefix: got '/wr', expected a lower-case path"),
        ({"well_known_prefix": "/"}, "well_known_prefix: got '/'"),
        ({"well_known_prefix": "/WR/"}, "well_known_prefix: got '/WR/'"),
        ({"namespace": "a:b"}, "namespace: got 'a:b', expected 1 to 63"),
        ({"deadline_ms": 0}, "deadline_ms: got 0, expected a whole number from 10 to 60000"),
        ({"unknown_host": "open"}, "unknown_host: got 'open', expected one of refuse, pass"),
        ({"tenants_file": ""}, "tenants_file: got '', expected a path, or none: tenants come from Redis"),
    ],
)
def test_a_gate_process_that_cannot_work_is_refused_without_showing_a_secret(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        gate(**changes)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_environment_sets_every_field() -> None:
    settings = GateSettings.from_env(
        {
            "ROPELINE_REDIS_URL": "redis://one/0",
            "REDIS_URL": "redis://two/0",
            "ROPELINE_SECRET_KEYS": f"{KEY}, another-key-of-bytes",
            "ROPELINE_TRUSTED_PROXIES": "10.0.0.0/8,unix, 2001:db8::/32",
            "ROPELINE_WELL_KNOWN_PREFIX": "/wr/",
            "ROPELINE_TENANTS_FILE": "tenants.toml",
            "ROPELINE_NAMESPACE": "staging",
            "ROPELINE_DEADLINE_MS": "100",
            "ROPELINE_UNKNOWN_HOST": "pass",
            "ROPELINE_LOG_LEVEL": "debug",
        }
    )
    expected = GateSettings(
        redis_url="redis://one/0",
        secret_keys=(KEY, "another-key-of-bytes"),
        trusted_proxies=("10.0.0.0/8", "unix", "2001:db8::/32"),
        well_known_prefix="/wr/",
        tenants_file="tenants.toml",
        namespace="staging",
        deadline_ms=100,
        unknown_host="pass",
    )
    assert settings == expected


def test_redis_url_alone_is_understood_and_an_empty_variable_is_none() -> None:
    settings = GateSettings.from_env(
        {"REDIS_URL": "redis://two/0", "ROPELINE_REDIS_URL": "", "ROPELINE_SECRET_KEYS": KEY}
    )
    assert settings.redis_url == "redis://two/0"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "ROPELINE_SECRET_KEYS: got [], expected at least one key"),
        ({"ROPELINE_SECRET_KEYS": "hunter2"}, "ROPELINE_SECRET_KEYS[0]: got '7 bytes (hidden)'"),
        (
            {"ROPELINE_SECRET_KEYS": KEY, "ROPELINE_DEADLINE_MS": "1s"},
            "ROPELINE_DEADLINE_MS: got '1s', expected a whole number",
        ),
        ({"ROPELINE_SECRET_KEYS": KEY, "ROPELINE_DEADLINE_MS": "9" * 5000}, "ROPELINE_DEADLINE_MS: got '999"),
        ({"ROPELINE_SECRET_KEYS": KEY, "ROPELINE_TRUSTED_PROXIES": "x"}, "ROPELINE_TRUSTED_PROXIES[0]: got 'x'"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GateSettings.from_env(environ)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


TWO_TENANTS = """
[[tenant]]
name = "acme"
host = "shop.example.com"
total_active_users = 100

[[tenant]]
name = "globex"
host = "*.example.org"
path = "/tickets"
total_active_users = 20
new_users_per_minute = 600
poll = { floor = 2, ceiling = 20 }

[[tenant.rules]]
action = "bypass"
conditions = [{ subject = "path", operator = "prefix", value = "/static" }]
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "tenants.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_lists_tenants(tmp_path: Path) -> None:
    acme, globex = load_tenants_file(write(tmp_path, TWO_TENANTS))
    assert (acme.name, acme.quota) == ("acme", 100)
    assert (globex.rate, globex.poll.ceiling, globex.rules[0].action) == (600, 20, "bypass")
    assert load_tenants_file(write(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = ", "tenants_file: got '{path}', expected TOML ("),
        (b"\xff", "tenants_file: got '{path}', expected TOML ("),
        ("[tenant]\nname = 'a'", "{path}: tenant: got {{'name': 'a'}}, expected [[tenant]] tables"),
        ("[[tenants]]\nname = 'a'", "{path}: 'tenants': got"),
        ("tenant = [1]", "{path}: tenant: got [1], expected [[tenant]] tables"),
        (
            TWO_TENANTS.replace("= 20\n", "= -20\n"),
            "{path}: [[tenant]] 2 (globex): total_active_users: got -20, expected",
        ),
        ("[[tenant]]\nhost = 'a.example'", "{path}: [[tenant]] 1 (without a name): name: got None"),
        (TWO_TENANTS.replace("globex", "acme"), "{path}: name: got 'acme', expected a name that no other tenant has"),
        (
            TWO_TENANTS.replace('"*.example.org"\npath = "/tickets"', '"SHOP.example.com"'),
            "{path}: route of tenant globex: got 'shop.example.com/', expected a host and path that tenant acme does not have",
        ),
    ],
)
def test_a_file_with_a_fault_is_refused_whole_and_says_where(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_tenants_file(path)
    message = str(caught.value)
    assert message.startswith(words.format(path=path)), message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.toml', expected a file that can be read \(No such file"):
        load_tenants_file(tmp_path / "nowhere.toml")


def test_a_file_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropeline.gate.settings._LARGEST_FILE", 100)
    with pytest.raises(ConfigurationError, match="expected a file of at most 100 bytes"):
        load_tenants_file(write(tmp_path, TWO_TENANTS))


def test_tenants_on_one_host_with_different_paths_stand_apart() -> None:
    check_apart([tenant(path="/a"), tenant(name="globex", path="/b")], source="x")
    with pytest.raises(ConfigurationError, match="x: route of tenant globex"):
        check_apart([tenant(path="/a"), tenant(name="globex", path="/A/")], source="x")
