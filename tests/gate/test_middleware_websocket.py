"""WebSocket handshakes are gated as requests are, before the site sees them."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.gate.visitors import JSON, Gated, Socket, running, tenant
from tests.servers import Server


@pytest.fixture
async def gated(valkey: Server, tenant_name: str) -> AsyncIterator[Gated]:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        yield gated


async def test_an_admitted_visitor_gets_through_and_the_cookie_comes_with_the_handshake(
    gated: Gated, tenant_name: str
) -> None:
    visitor = gated.visitor(tenant_name)
    socket = Socket(visitor, "/chat")
    message = await socket.next()
    assert message["type"] == "websocket.accept"
    assert dict(message["headers"])[b"set-cookie"].startswith(f"__Host-wr_{tenant_name}=".encode())
    assert await socket.echo("hello") == "echo hello"
    assert gated.site.seen("waiting-room") == [f"admitted;tenant={tenant_name}"]
    await socket.close()


async def test_a_waiting_visitor_is_answered_in_http_where_the_server_can(gated: Gated, tenant_name: str) -> None:
    await gated.visitor(tenant_name).get()
    socket = Socket(gated.visitor(tenant_name, accept=JSON), extensions=["websocket.http.response"])
    start, body = await socket.next(), await socket.next()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    headers = dict(start["headers"])
    assert headers[b"waiting-room"].startswith(b"queued")
    assert headers[b"set-cookie"]
    assert json.loads(body["body"])["waitingRoom"]["state"] == "unconfirmed"
    assert len(gated.site.requests) == 1


async def test_a_waiting_visitor_is_closed_with_1013_where_it_cannot(gated: Gated, tenant_name: str) -> None:
    await gated.visitor(tenant_name).get()
    socket = Socket(gated.visitor(tenant_name))
    message = await socket.next()
    assert (message["type"], message["code"]) == ("websocket.close", 1013)
    assert len(gated.site.requests) == 1


@pytest.mark.parametrize("extensions", [[], ["websocket.http.response"]])
async def test_a_handshake_that_two_servers_would_read_differently_is_refused(
    gated: Gated, tenant_name: str, extensions: list[str]
) -> None:
    socket = Socket(gated.visitor(tenant_name), extensions=extensions, host="second.example.com")
    message = await socket.next()
    assert message.get("status", 400) == 400
    assert message["type"] in ("websocket.close", "websocket.http.response.start")
    assert gated.site.requests == []


async def test_a_browsers_handshake_without_a_ticket_draws_nothing(gated: Gated, tenant_name: str) -> None:
    socket = Socket(gated.visitor(tenant_name), extensions=["websocket.http.response"], sec_fetch_dest="websocket")
    assert (await socket.next())["status"] == 503
    assert (await gated.visitor(tenant_name).get()).status == 200, "the room is still free"
