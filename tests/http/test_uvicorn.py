"""The gate behind a real server, with both of its parsers: what browsers, programs and attackers get over the wire."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ropeline.gate.middleware import GateMiddleware
from tests.gate.visitors import PREFIX, Site, settings, tenant
from tests.http.serving import exchange, served
from tests.servers import Server


@dataclass
class Served:
    """A site of one tenant at 127.0.0.1 with room for one visitor."""

    port: int
    site: Site

    def browser(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers={"accept": "text/html", **headers})


@pytest.fixture(params=["httptools", "h11"])
async def shop(request: pytest.FixtureRequest, valkey: Server, tenant_name: str) -> AsyncIterator[Served]:
    site = Site()
    app = GateMiddleware(
        site, settings(valkey.url, tenant_name), tenants=[tenant(tenant_name, host="127.0.0.1", waiting_ttl=90)]
    )
    async with served(app, request.param) as port:
        yield Served(port, site)
    assert site.events == ["startup", "shutdown"]
    assert not app.gate.is_ready


async def test_a_browser_waits_and_gets_in_with_its_cookie(shop: Served) -> None:
    async with shop.browser() as first, shop.browser() as second:
        assert (await first.get("/event/7")).text == "site /event/7"
        page = await second.get("/event/7?seats=2")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        status = (await second.get(f"{PREFIX}status")).json()["waitingRoom"]
        assert (status["state"], status["position"]) == ("waiting", 1)
        assert (await first.post(f"{PREFIX}leave")).status_code == 200
        assert (await second.get(f"{PREFIX}status")).json()["waitingRoom"]["state"] == "admitted"
        assert (await second.get("/event/7?seats=2")).text == "site /event/7"


async def test_a_head_has_the_headers_of_the_page_and_no_body(shop: Served) -> None:
    async with shop.browser() as first, shop.browser() as second:
        await first.get("/")
        page, head = await second.get("/"), await second.head("/")
        assert head.status_code == page.status_code == 503
        assert head.content == b""
        assert int(head.headers["content-length"]) > 1000
        assert (await second.head(f"{PREFIX}page.js")).headers["content-length"] != "0"


async def test_the_page_and_its_assets_come_from_the_gate(shop: Served) -> None:
    async with shop.browser() as first, shop.browser() as second:
        await first.get("/")
        page = await second.get("/")
        for name in ("page.css", "page.js"):
            path = page.text[page.text.index(f"{PREFIX}{name}") :].partition('"')[0]
            asset = await second.get(path)
            assert asset.status_code == 200
            assert "immutable" in asset.headers["cache-control"]


async def test_events_arrive_as_they_happen(shop: Served) -> None:
    async with shop.browser() as first, shop.browser() as second:
        await first.get("/")
        await second.get("/")
        await second.get(f"{PREFIX}status")
        async with second.stream("GET", f"{PREFIX}events") as stream:
            lines = stream.aiter_lines()
            assert [await anext(lines), await anext(lines)] == ["retry: 1000", "event: waiting"]
            assert '"position":1' in await anext(lines)


async def test_a_websocket_is_open_to_who_is_admitted_and_refused_to_who_waits(shop: Served) -> None:
    url = f"ws://127.0.0.1:{shop.port}/chat"
    async with connect(url, proxy=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "echo hello"
        assert socket.response is not None
        assert socket.response.headers["waiting-room"].startswith("admitted")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, proxy=None, additional_headers={"accept": "application/json"}):
                pass
    response: Any = refused.value.response
    assert response.status_code == 503
    assert response.headers["waiting-room"].startswith("queued")
    assert b'"inWaitingRoom":true' in response.body


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 40\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 40\r\n",
        b"content-length: 5\r\ncontent-length: 40\r\n",
        b"host: second.example.com\r\n",
    ],
)
async def test_what_two_servers_would_read_differently_is_refused_and_nothing_behind_it_is_read(
    shop: Served, framing: bytes
) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    raw = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n" + framing + b"\r\n0\r\n\r\n" + smuggled
    answer = await exchange(shop.port, raw)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert shop.site.requests == []


async def test_a_request_without_a_host_is_refused(shop: Served) -> None:
    for raw in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"):
        assert (await exchange(shop.port, raw)).startswith(b"HTTP/1.1 400 ")
    assert shop.site.requests == []


async def test_requests_on_one_connection_are_answered_one_after_another(shop: Served) -> None:
    request = b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n%b\r\n"
    raw = b"".join(request % (number, b"connection: close\r\n" if number == 4 else b"") for number in range(5))
    answer = await exchange(shop.port, raw)
    assert answer.count(b"HTTP/1.1 ") == 5
    assert answer.count(b"site /0") == 1
    assert answer.count(b'"inWaitingRoom":true') == 4
