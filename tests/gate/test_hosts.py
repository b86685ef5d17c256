"""One host has one name, and a request goes to the tenant of its host and path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.hosts import Route, Router, host_pattern, is_loopback, normalise_host
from ropeline.lua.errors import ConfigurationError


@pytest.mark.parametrize(
    ("header", "host"),
    [
        (b"shop.example.com", b"shop.example.com"),
        (b"Shop.Example.COM", b"shop.example.com"),
        (b"shop.example.com.", b"shop.example.com"),
        (b"shop.example.com:8443", b"shop.example.com"),
        (b"shop.example.com.:8443", b"shop.example.com"),
        (b"shop.example.com:", b"shop.example.com"),
        ("münchen.example".encode(), b"xn--mnchen-3ya.example"),
        ("shop\u3002example\uff0ecom".encode(), b"shop.example.com"),
        (b"127.0.0.1:80", b"127.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[2001:DB8::1]:443", b"[2001:db8::1]"),
        (b"under_score.example", b"under_score.example"),
    ],
)
def test_a_host_has_one_name_however_it_is_written(header: bytes, host: bytes) -> None:
    assert normalise_host(header) == host


@pytest.mark.parametrize(
    "header",
    [b"", b".", b"..", b".example.com", b"shop..example.com", b"shop.example.com..", b"a b", b"a/b", b"user@example.com", b"%65xample.com",
     b"example.com:port", b"example.com:123456", b"example.com:1:2", b"[::1", b"[]", b"[::1]x", b"[::1]:x", b"[g::1]", b"\xff.example",
     b"a" * 254, "a\u2100c.example".encode(), b"shop.example.com\0", b"*.example.com", b"xn--\xc3\xbc"],
)  # fmt: skip
def test_what_is_no_host_has_no_name(header: bytes) -> None:
    assert normalise_host(header) is None


@given(st.binary(max_size=300))
def test_no_host_header_raises_and_a_name_is_its_own_name(header: bytes) -> None:
    name = normalise_host(header)
    assert name is None or normalise_host(name) == name


@given(st.text(max_size=80))
def test_no_text_for_a_host_raises(text: str) -> None:
    pattern = host_pattern(text)
    assert pattern is None or host_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Shop.Example.com.", "shop.example.com"),
        ("*.Example.com", "*.example.com"),
        ("*.münchen.example", "*.xn--mnchen-3ya.example"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("shop.example.com:80", None),
        ("*", None),
        ("*.[::1]", None),
        ("a.*.example.com", None),
        ("\ud800.example", None),
    ],
)
def test_a_host_of_a_setting_is_kept_as_it_is_compared(text: str, pattern: str | None) -> None:
    assert host_pattern(text) == pattern


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8000", b"LOCALHOST.", b"127.0.0.1:1", b"127.9.9.9", b"[::1]:8000", b"a.localhost"],
)
def test_this_machine_is_known_by_its_names(host: bytes) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        b"127.evil.example",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"notlocalhost",
        b"[::2]",
        b"10.0.0.1",
        b"a b",
    ],
)
def test_no_other_host_passes_for_this_machine(host: bytes) -> None:
    assert not is_loopback(host)


def at(*routes: str) -> list[Route]:
    return [Route(host=route.partition("/")[0], path="/" + route.partition("/")[2]) for route in routes]


ROUTER = Router(
    [
        (at("shop.example.com", "tickets.example.com"), "shop"),
        (at("example.org/tickets", "example.org/concerts/summer"), "tickets"),
        (at("example.org/tickets/vip"), "vip"),
        (at("*.example.com"), "any"),
        (at("*.deep.example.com"), "deep"),
        (at("*.example.net/tickets"), "wide"),
        (at("www.example.net/concerts"), "near"),
        (at("münchen.example"), "münchen"),
    ]
)


def route(host: str | bytes, path: str | bytes = "/") -> str | None:
    raw = path.encode() if isinstance(path, str) else path
    return ROUTER.route(host.encode() if isinstance(host, str) else host, raw, raw)


def test_an_exact_host_goes_before_a_wildcard_and_the_nearest_wildcard_first() -> None:
    assert route("shop.example.com") == "shop"
    assert route("SHOP.example.com.:443") == "shop"
    assert route("other.example.com") == "any"
    assert route("a.b.example.com") == "any"
    assert route("deep.example.com") == "any"
    assert route("a.deep.example.com") == "deep"
    assert route("a.b.deep.example.com") == "deep"
    assert route("xn--mnchen-3ya.example") == "münchen"
    assert route("münchen.example") == "münchen"


@pytest.mark.parametrize(
    "host", ["example.com", "notexample.com", "example.com.evil.example", "", "a b", ".example.com"]
)
def test_a_host_of_no_tenant_is_unknown(host: str) -> None:
    assert route(host) is None
    assert not ROUTER.knows(host.encode())


def test_the_longest_path_decides() -> None:
    assert route("example.org", "/tickets") == "tickets"
    assert route("example.org", "/tickets/1") == "tickets"
    assert route("example.org", "/tickets/vip") == "vip"
    assert route("example.org", "/tickets/vip/1") == "vip"
    assert route("example.org", "/tickets/vipers") == "tickets"
    assert route("example.org", "/concerts/summer/x") == "tickets"
    assert route("example.org", "/tickets/" + "a" * 5000) == "tickets"


@pytest.mark.parametrize(
    "path", ["/", "/about", "/ticketsale", "/concerts", "/concerts/winter", "/a/tickets", "/about%20us", "/a//b"]
)
def test_a_path_that_no_tenant_has_is_not_gated_though_its_host_is_known(path: str) -> None:
    assert route("example.org", path) is None
    assert ROUTER.knows(b"example.org:80")


@pytest.mark.parametrize(
    "path",
    [b"//tickets", b"/TICKETS", b"/%74ickets", b"/./tickets", b"/tickets;x", b"/%2574ickets", b"/a/../tickets", b"/tickets/../about",
     b"/tickets%2f..%2fabout", b"\\tickets", b"/tickets.", b"/tickets%20"],
)  # fmt: skip
def test_another_spelling_of_a_gated_path_is_gated(path: bytes) -> None:
    assert route("example.org", path) == "tickets"


@pytest.mark.parametrize("path", [b"/about/../x", b"/\0", b"/%ff", b"http://example.org/about", b"*", b"/%u0074ickets"])
def test_a_path_whose_reading_is_doubtful_is_gated(path: bytes) -> None:
    assert route("example.org", path) == "tickets"


def test_what_the_server_made_of_a_path_counts_too() -> None:
    assert ROUTER.route(b"example.org", b"/about", b"/tickets") == "tickets"


def test_where_the_nearer_host_does_not_gate_a_path_the_wider_one_may() -> None:
    assert route("www.example.net", "/concerts") == "near"
    assert route("www.example.net", "/tickets") == "wide"
    assert route("www.example.net", "/about") is None


def test_the_nearer_host_takes_everything_below_its_path() -> None:
    router = Router([(at("*.example.com/a/b"), "wide"), (at("www.example.com/a"), "near")])
    assert router.route(b"www.example.com", b"/a/b", b"/a/b") == "near"
    assert router.route(b"w3.example.com", b"/a/b", b"/a/b") == "wide"


def test_of_two_with_one_route_the_first_has_it() -> None:
    assert Router([(at("a.example"), 1), (at("a.example"), 2)]).route(b"a.example", b"/", b"/") == 1


def test_a_router_without_routes_knows_nobody() -> None:
    assert Router[str]([]).route(b"a.example", b"/", b"/") is None


@given(st.binary(max_size=100), st.binary(max_size=100), st.binary(max_size=100))
def test_no_request_makes_the_router_raise(host: bytes, raw_path: bytes, path: bytes) -> None:
    ROUTER.route(host, raw_path, path)
    ROUTER.route(b"example.org", raw_path, path)


def test_a_route_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"host: got 'a b', expected a host such as"):
        Route(host="a b")
    with pytest.raises(ConfigurationError, match=r"path: got 'x', expected an absolute path"):
        Route(host="a.example", path="x")
