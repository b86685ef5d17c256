"""The simulated visitors' HTTP client shares its connections, and survives a server that closes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ropeline.cli.loopback_http import HttpPool
from ropeline.server import free_port

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[HttpPool]:
    """A pool on a server that does `handle` with each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HttpPool("127.0.0.1", port, "shop.test") as pool:
        yield pool


async def test_a_request_says_what_it_was_given_and_the_answer_is_read() -> None:
    asked = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked.append(head.decode().split("\r\n")[:-2])
            writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After:  7\r\nContent-Length: 5\r\n\r\nhello")

    async with serving(handle) as pool:
        reply = await pool.request("GET", "/a?b", {"Cookie": "c=d"})
        await pool.request("POST", "/leave", {})
    assert (reply.status, reply.headers["retry-after"], reply.body) == (503, "7", b"hello")
    assert asked == [
        ["GET /a?b HTTP/1.1", "Host: shop.test", "Cookie: c=d"],
        ["POST /leave HTTP/1.1", "Host: shop.test", "Content-Length: 0"],
    ]


async def test_chunks_are_put_together_and_no_content_is_none() -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with serving(handle) as pool:
        bodies = [(await pool.request("GET", "/", {})).body for _ in answers]
    assert bodies == [b"abc0123456789", b"", b"ok"]


@pytest.mark.parametrize("says", [b"Connection: close\r\n", b""], ids=["announced", "silent"])
async def test_a_connection_that_the_server_closed_is_replaced(says: bytes) -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + says + b"Content-Length: 2\r\n\r\nok")

    async with serving(handle) as pool:
        assert [(await pool.request("GET", "/", {})).body for _ in range(3)] == [b"ok"] * 3
    assert connections == 3


async def test_visitors_share_a_few_connections() -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(handle) as pool:
        replies = await asyncio.gather(*(pool.request("GET", "/", {}) for _ in range(200)))
    assert len(replies) == 200
    assert connections <= 32


async def test_a_server_that_is_not_there_is_an_error_of_the_system() -> None:
    pool = HttpPool("127.0.0.1", free_port(), "shop.test")
    with pytest.raises(OSError, match="Connect call failed"):
        await pool.request("GET", "/", {})
