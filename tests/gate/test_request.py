"""What the gate reads of a request is what the client sent, or the request is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.errors import BadRequest
from ropeline.gate.request import GateRequest

Headers = list[tuple[bytes, bytes]]


def scope(headers: Headers | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=1",
        "headers": [(b"host", b"shop.example.com")] if headers is None else headers,
        "client": ("192.0.2.7", 1234),
        **changes,
    }


def with_headers(*headers: tuple[bytes, bytes]) -> GateRequest:
    return GateRequest.from_scope(scope([(b"host", b"shop.example.com"), *headers]))


def test_a_request_is_read_from_its_scope() -> None:
    request = GateRequest.from_scope(scope())
    assert (request.method, request.scheme, request.raw_path, request.path) == ("GET", "https", b"/a%20b", b"/a b")
    assert (request.query, request.host, request.peer) == (b"x=1", b"shop.example.com", "192.0.2.7")
    assert request.is_secure
    assert not request.is_websocket
    assert request.forms.normal == (b"/a b",)
    assert request.forms is request.forms


def test_a_websocket_handshake_is_a_request_like_any_other() -> None:
    handshake = scope(type="websocket", scheme="wss")
    del handshake["method"]
    request = GateRequest.from_scope(handshake)
    assert request.is_websocket
    assert request.is_secure
    assert request.method == "GET"


def test_what_a_server_may_leave_out_may_be_missing() -> None:
    bare = {"type": "http", "method": "GET", "path": "/é", "headers": [(b"host", b"a")]}
    request = GateRequest.from_scope(bare)
    assert (request.raw_path, request.path, request.peer, request.query) == ("/é".encode(), "/é".encode(), "", b"")
    assert not request.is_secure
    assert GateRequest.from_scope(scope(client=None, raw_path=None)).peer == ""


def test_a_query_in_the_raw_path_is_no_part_of_the_path() -> None:
    assert GateRequest.from_scope(scope(raw_path=b"/a?b=/../c")).raw_path == b"/a"


def test_a_request_need_not_come_from_asgi() -> None:
    request = GateRequest("POST", "https", b"/", b"/", headers=[(b"host", b"a")], peer="::1")
    assert (request.method, request.host, request.peer, request.query) == ("POST", b"a", "::1", b"")


def test_a_header_is_found_by_its_name_and_an_absent_one_is_empty() -> None:
    request = with_headers((b"accept", b"text/html"))
    assert request.header(b"accept") == b"text/html"
    assert request.header(b"cookie") == b""


def test_a_repeated_header_is_one_list_and_repeated_cookies_are_one_header() -> None:
    request = with_headers((b"accept", b"a"), (b"cookie", b"x=1"), (b"accept", b"b"), (b"cookie", b"y=2"))
    assert request.header(b"accept") == b"a, b"
    assert request.header(b"cookie") == b"x=1; y=2"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"a"), (b"host", b"b")],
        [(b"host", b"a"), (b"host", b"a")],
        [(b"host", b"a"), (b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
        [(b"host", b"a"), (b"content-length", b"5"), (b"content-length", b"6")],
    ],
)
def test_a_request_that_two_servers_would_read_differently_is_refused(headers: Headers) -> None:
    with pytest.raises(BadRequest) as caught:
        GateRequest.from_scope(scope(headers))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [b"transfer-encoding", b"content-length"])
def test_a_body_with_one_kind_of_length_is_fine(name: bytes) -> None:
    assert with_headers((name, b"5")).header(name) == b"5"


def test_the_same_client_can_be_asked_about_something_else() -> None:
    asked = with_headers((b"cookie", b"x=1")).about("POST", b"/%74ickets", b"y=2")
    assert (asked.method, asked.raw_path, asked.query, asked.peer) == ("POST", b"/%74ickets", b"y=2", "192.0.2.7")
    assert asked.header(b"cookie") == b"x=1"
    assert asked.forms.normal == (b"/tickets",)


def test_a_request_knows_which_headers_it_lacks() -> None:
    request = with_headers((b"accept", b"a"))
    assert request.lacks(frozenset({b"cookie", b"origin"}))
    assert not request.lacks(frozenset({b"cookie", b"accept"}))


names = st.sampled_from([b"host", b"cookie", b"accept", b"content-length", b"transfer-encoding", b"x"])


@given(st.lists(st.tuples(names, st.binary(max_size=20))), st.text(max_size=50), st.binary(max_size=50))
def test_whatever_arrives_is_read_or_refused(headers: Headers, path: str, raw_path: bytes) -> None:
    try:
        request = GateRequest.from_scope(scope(headers, path=path, raw_path=raw_path))
    except BadRequest:
        return
    assert [value for name, value in headers if name == b"host"] == [request.host]
    assert request.forms.normal
