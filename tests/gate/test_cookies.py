"""A tenant's ticket is found among any cookies, and set so that only this tenant's hosts get it back."""

from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.cookie_header import LONGEST_VALUE, find_cookie
from ropeline.gate.cookies import TicketCookie
from ropeline.gate.request import GateRequest
from ropeline.gate.settings import CookieAttributes, TenantSettings

NAME = b"__Host-wr_acme="


@pytest.mark.parametrize(
    "header",
    [
        b"__Host-wr_acme=abc",
        b"a=1; __Host-wr_acme=abc",
        b"a=1;__Host-wr_acme=abc;b=2",
        b"a=1; __Host-wr_acme=abc; b=2",
        b" \t__Host-wr_acme= abc ; b=2",
        b'__Host-wr_acme="abc"; b=2',
        b"x__Host-wr_acme=no; __Host-wr_acme=abc",
        b"a=__Host-wr_acme=no; __Host-wr_acme=abc",
        b"a=b __Host-wr_acme=no; __Host-wr_acme=abc",
        b"__Host-wr_acme2=no; __Host-wr_acme=abc",
        b";;; __Host-wr_acme=abc",
    ],
)
def test_our_cookie_is_found_among_others(header: bytes) -> None:
    assert find_cookie(header, NAME) == b"abc"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"a=1",
        b"__Host-wr_acme",
        b"x__Host-wr_acme=abc",
        b"__Host-wr_acme2=abc",
        b"__host-wr_acme=abc",
        b"a=b __Host-wr_acme=abc",
        b"__Host-wr_acme=abc; __Host-wr_acme=abc",
        b"__Host-wr_acme=abc; a=1; __Host-wr_acme=def",
        b"__Host-wr_acme=" + b"a" * (LONGEST_VALUE + 1),
    ],
)
def test_no_cookie_of_ours_two_of_them_or_a_huge_one_count_as_none(header: bytes) -> None:
    assert find_cookie(header, NAME) is None


def test_the_longest_value_is_still_read() -> None:
    assert find_cookie(NAME + b"a" * LONGEST_VALUE, NAME) == b"a" * LONGEST_VALUE


@pytest.mark.parametrize(("text", "value"), [(b'"', b'"'), (b'""', b""), (b'"a', b'"a'), (b"", b"")])
def test_quotes_are_taken_off_in_pairs(text: bytes, value: bytes) -> None:
    assert find_cookie(NAME + text, NAME) == value


@given(st.binary(max_size=200))
def test_no_cookie_header_raises(header: bytes) -> None:
    value = find_cookie(header, b"a=")
    assert value is None or value in header


@given(st.dictionaries(st.sampled_from("abcdef"), st.text("abc123-_.", max_size=8), min_size=1))
def test_a_well_formed_header_reads_as_the_standard_library_reads_it(cookies: dict[str, str]) -> None:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    standard = SimpleCookie(header)
    for name in "abcdef":
        value = find_cookie(header.encode(), f"{name}=".encode())
        assert (None if value is None else value.decode()) == (standard[name].value if name in standard else None)


def test_a_header_that_repeats_the_name_without_end_is_read_in_one_go() -> None:
    """Sixty kilobytes of near misses: each is looked at once, so this ends at once."""
    assert find_cookie(b"x" + NAME * 4_000, NAME) is None
    assert find_cookie(b" " * 60_000 + NAME + b"abc", NAME) == b"abc"


def settings(host: str = "shop.example.com", **attributes: Any) -> TenantSettings:
    return TenantSettings(
        name="acme", host=host, total_active_users=5, cookie_attributes=CookieAttributes(**attributes)
    )


def request(scheme: str = "https", host: bytes = b"shop.example.com", cookie: bytes = b"") -> GateRequest:
    headers = [(b"host", host), *([(b"cookie", cookie)] if cookie else [])]
    return GateRequest("GET", scheme, b"/", b"/", headers=headers)


def test_the_cookie_belongs_to_one_host_and_comes_over_tls() -> None:
    cookie = TicketCookie(settings())
    expected = b"__Host-wr_acme=abc; Max-Age=87300; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert cookie.max_age == 300 + 600 + 86_400
    assert cookie.set("abc", request()) == expected
    assert cookie.set("abc", request(scheme="wss")) == expected
    assert cookie.set("abc", request(scheme="http")) == expected, "TLS may end at a proxy that nobody told us of"


def test_a_tenant_that_spans_subdomains_has_one_cookie_for_all() -> None:
    cookie = TicketCookie(settings("*.example.com", domain="example.com", samesite="strict"))
    expected = b"__Secure-wr_acme=abc; Max-Age=87300; Domain=example.com; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert cookie.set("abc", request()) == expected


@pytest.mark.parametrize("samesite", ["auto", "none"])
def test_plain_http_from_this_machine_goes_without_the_guarded_name(samesite: str) -> None:
    cookie = TicketCookie(settings("localhost", samesite=samesite))
    assert (
        cookie.set("abc", request("http", b"localhost:8000"))
        == b"wr_acme=abc; Max-Age=87300; Path=/; HttpOnly; SameSite=Lax"
    )
    assert cookie.set("abc", request("https", b"localhost:8000")).startswith(b"__Host-wr_acme=abc;")


def test_secure_can_be_demanded_and_given_up() -> None:
    always, never = TicketCookie(settings(secure="always")), TicketCookie(settings(secure="never"))
    assert always.set("abc", request("http", b"localhost")).startswith(b"__Host-wr_acme=abc;")
    assert always.set("abc", request("http", b"localhost")).endswith(b"; Secure")
    assert never.set("abc", request()) == b"wr_acme=abc; Max-Age=87300; Path=/; HttpOnly; SameSite=Lax"


def test_a_site_inside_another_one_may_have_its_cookie() -> None:
    assert TicketCookie(settings(samesite="none")).set("abc", request()).endswith(b"; SameSite=None; Secure")


def test_a_ticket_is_read_from_the_cookie_that_was_set_for_such_a_request_and_from_no_other() -> None:
    cookie = TicketCookie(settings())
    both = b"wr_acme=plain; __Host-wr_acme=guarded"
    assert cookie.find(request(cookie=both)) == b"guarded"
    assert cookie.find(request("http", cookie=both)) == b"guarded"
    assert cookie.find(request("http", b"127.0.0.1:8000", both)) == b"plain"
    assert cookie.find(request()) is None


def test_a_ticket_is_taken_back_with_the_same_attributes() -> None:
    cleared = TicketCookie(settings()).clear(request())
    assert cleared == b"__Host-wr_acme=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
