"""However a site reads a path, the gate has read it that way too, or calls it doubtful."""

import posixpath
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropeline.gate.paths import path_forms, path_prefix, starts_with

PREFIX = b"/tickets"

Reading = Callable[[bytes], bytes]


def resolve_dots(path: bytes) -> bytes:
    return posixpath.normpath(path) if path else path


def strip_parameters(path: bytes) -> bytes:
    return b"/".join(segment.partition(b";")[0] for segment in path.split(b"/"))


def strip_trailing_dots(path: bytes) -> bytes:
    return b"/".join(s if s in (b".", b"..") else s.rstrip(b". ") for s in path.split(b"/"))


def collapse_slashes(path: bytes) -> bytes:
    while b"//" in path:
        path = path.replace(b"//", b"/")
    return path


def decode_overlong(path: bytes) -> bytes:
    return path.replace(b"\xc0\xaf", b"/").replace(b"\xc0\xae", b".")


READINGS: list[Reading] = [
    unquote_to_bytes,
    resolve_dots,
    strip_parameters,
    strip_trailing_dots,
    collapse_slashes,
    decode_overlong,
    bytes.lower,
    lambda path: path.replace(b"\\", b"/"),
    lambda path: path.partition(b"\0")[0],
    lambda path: path.replace(b"\0", b""),
    lambda path: path.partition(b"?")[0],
    lambda path: path.partition(b"#")[0],
    lambda path: path.replace("\uff0f".encode(), b"/"),
]

TOKENS = [
    b"tickets", b"TICKETS", b"tick", b"ets", b"%74ickets", b"%2574ickets", b"static", b"a", b"/", b"//", b"\\", b"%2f", b"%252F",
    b"%5c", b".", b"..", b"%2e", b"%2e%2e", b"%252e", b";", b";x=1", b"%3b", b"%00", b"\0", b" ", b"%20", b"%c0%af", b"%c0%ae",
    b"\xef\xbc\x8f", b"%ef%bc%8f", b"%", b"%u0074", b"%3f", b"%23", b"+", b"\xff", b"http://shop.example.com",
]  # fmt: skip
paths = st.lists(st.sampled_from(TOKENS), max_size=8).map(lambda tokens: b"/" + b"".join(tokens))


def all_readings(path: bytes) -> set[bytes]:
    """Whatever a chain of servers and frameworks can make of a path, each taking any of the known steps in any order."""
    found = {path}
    latest = found
    while latest and len(found) < 500:
        latest = {step(read) for read in latest for step in READINGS} - found
        found |= latest
    return found


def as_decoded(raw: bytes) -> bytes:
    """What an ASGI server makes of a path."""
    return unquote_to_bytes(raw).decode("utf-8", "replace").encode()


@settings(max_examples=1000)
@given(paths)
def test_a_prefix_that_any_site_reads_shows_in_the_forms(raw: bytes) -> None:
    forms = path_forms(raw, as_decoded(raw))
    if any(starts_with(read, PREFIX) for read in all_readings(raw)):
        assert forms.doubtful or any(starts_with(form, PREFIX) for form in forms.normal)


@settings(max_examples=1000)
@given(paths.map(lambda path: PREFIX + path))
def test_a_path_that_is_below_a_prefix_in_every_form_is_below_it_for_every_site(raw: bytes) -> None:
    forms = path_forms(raw, as_decoded(raw))
    if not forms.doubtful and starts_with(raw, PREFIX) and all(starts_with(form, PREFIX) for form in forms.normal):
        assert all(starts_with(read, PREFIX) for read in all_readings(raw))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_path_raises(raw: bytes, decoded: bytes) -> None:
    forms = path_forms(raw, decoded)
    assert forms.raw == raw
    assert forms.normal
    assert all(form.startswith(b"/") for form in forms.normal)


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (b"/", [b"/"]),
        (b"/tickets", [b"/tickets"]),
        (b"/Tickets/", [b"/tickets"]),
        (b"/app.v2.js", [b"/app.v2.js"]),
        (b"//tickets///2", [b"/tickets/2"]),
        (b"/./tickets/.", [b"/tickets"]),
        (b"/tickets;id=1/2", [b"/tickets/2"]),
        (b"/%74ickets", [b"/tickets"]),
        (b"/%2574ickets", [b"/tickets"]),
        (b"/a\\tickets", [b"/a/tickets"]),
        (b"/tickets%3Fa", [b"/tickets?a", b"/tickets"]),
        (b"/tickets%23/a", [b"/tickets#/a", b"/tickets"]),
        (b"/caf%C3%A9", ["/café".encode()]),
        ("/tickets\uff0fx".encode(), [b"/tickets/x"]),
    ],
)
def test_what_sites_read_differently_but_browsers_send_is_read_thoroughly(raw: bytes, normal: list[bytes]) -> None:
    forms = path_forms(raw, raw)
    assert list(forms.normal) == normal
    assert not forms.doubtful


@pytest.mark.parametrize(
    "raw",
    [b"", b"*", b"tickets", b"http://shop.example.com/tickets", b"/a/../tickets", b"/a/..;/tickets", b"/a/%2e%2e/tickets",
     b"/a/..\\tickets", b"/a\0b", b"/a%00", b"/a%0d", b"/%c0%af", b"/%ff", b"/%u0074ickets", b"/%" + b"25" * 20 + b"74"],
)  # fmt: skip
def test_what_no_browser_sends_is_doubtful(raw: bytes) -> None:
    assert path_forms(raw, as_decoded(raw)).doubtful


def test_dots_are_read_both_resolved_and_not() -> None:
    assert path_forms(b"/tickets/../static", b"/tickets/../static").normal == (b"/tickets/../static", b"/static")


def test_a_path_that_somebody_rewrote_on_the_way_is_read_in_both_versions() -> None:
    assert path_forms(b"/static", b"/tickets").normal == (b"/static", b"/tickets")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("/", "/"), ("/Tickets/", "/tickets"), ("/a/b.html", "/a/b.html"), ("/.well-known", "/.well-known")],
)
def test_the_path_of_a_setting_is_kept_as_it_is_compared(text: str, prefix: str) -> None:
    assert path_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tickets",
        "/a//b",
        "/a/../b",
        "/a/.",
        "/a.",
        "/a b",
        "/a%20b",
        "/a;b",
        "/é",
        "/\ud800",
        "/a\\b",
        "/" * 2,
        "/" + "a" * 1100,
    ],
)
def test_a_path_of_a_setting_that_could_be_read_in_two_ways_is_refused(text: str) -> None:
    assert path_prefix(text) is None


def test_below_a_path_ends_at_a_slash() -> None:
    assert starts_with(b"/shop", b"/shop")
    assert starts_with(b"/shop/cart", b"/shop")
    assert starts_with(b"/shop/cart", b"/shop/")
    assert starts_with(b"/anything", b"/")
    assert not starts_with(b"/shopping", b"/shop")
    assert not starts_with(b"/shop", b"/shop/")
