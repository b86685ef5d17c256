"""A browser gets HTML, a program that asks for JSON gets JSON, and weights count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.negotiation import languages, wants_json

CHROME = (
    b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    b"application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    "accept",
    [
        b"application/json",
        b"Application/JSON",
        b"APPLICATION/*",
        b"application/json, text/plain, */*",
        b"application/json;q=0.9, text/html;q=0.8",
        b"application/json, text/html",
        b"text/html;q=0.5, application/problem+json",
        b"application/vnd.api+json",
        b"application/*",
        b"text/html;q=0, */*;q=0.1, application/json;q=0.1",
        b"application/json; charset=utf-8 ; q=1.0",
        b"application/json;q=2, application/json",
    ],
)
def test_a_client_that_prefers_json_gets_json(accept: bytes) -> None:
    assert wants_json(accept)


@pytest.mark.parametrize(
    "accept",
    [
        b"",
        CHROME,
        b"*/*",
        b"text/html",
        b"image/png",
        b"text/html, application/json",
        b"application/json;q=0.5, text/html",
        b"application/json;q=0.5, */*",
        b"application/json;q=0",
        b"application/json;q=nan",
        b"application/json;q=1e9",
        b"application/json;q=-1, text/html;q=0.1",
        b"application/*, text/html",
        b"*/*;q=0.1, text/*",
        b"application/jsonp",
        b"TEXT/HTML",
    ],
)
def test_everybody_else_gets_html(accept: bytes) -> None:
    assert not wants_json(accept)


@given(st.binary(max_size=300) | st.text("json/*+;q=0.1,apliton ").map(str.encode))
def test_no_accept_header_raises(accept: bytes) -> None:
    assert wants_json(accept) in (True, False)
    assert all(tag == tag.lower() for tag in languages(accept))


def test_languages_come_by_their_weight_and_then_in_their_order() -> None:
    assert languages(b"de-CH, de;q=0.9, en;q=0.7, fr;q=0.9, *;q=0.1") == ("de-ch", "de", "fr", "en")
    assert languages(b"en;q=0, it") == ("it",)
    assert languages(b"en, de, en;q=0.1") == ("en", "de")
    assert languages(b"") == ()
    assert languages(b"e\xff, \x00, a b") == ()


def test_a_header_without_end_is_read_up_to_a_bound() -> None:
    assert not wants_json(b"text/plain," * 100_000 + b"application/json")
    assert len(languages(b",".join(b"a%d" % number for number in range(100_000)))) < 1_000
