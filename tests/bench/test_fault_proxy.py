"""Each fault of the proxy is what it says, seen from a plain socket in front of a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ropeline.bench.fault_proxy import Fault, FaultProxy
from tests.servers import Server
from tests.support import wait_until

INCREMENT = b"*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n"


class Caller:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def call(self, request: bytes = b"PING\r\n", *, within: float = 2.0) -> bytes:
        self.writer.write(request)
        async with asyncio.timeout(within):
            line = await self.reader.readline()
        if not line:
            raise ConnectionError("closed in good order")
        return line


@pytest.fixture
async def proxy(fresh_server: Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(fresh_server.port) as running:
        yield running


@pytest.fixture
async def caller(proxy: FaultProxy) -> AsyncIterator[Caller]:
    connection = Caller(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await connection.call() == b"+PONG\r\n"
    yield connection
    connection.writer.transport.abort()


async def answers(proxy: FaultProxy) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        return await Caller(reader, writer).call() == b"+PONG\r\n"
    finally:
        writer.transport.abort()


async def test_traffic_passes_whole_in_both_directions(proxy: FaultProxy, caller: Caller) -> None:
    big = b"x" * 300_000
    assert await caller.call(b"*2\r\n$4\r\nECHO\r\n$300000\r\n" + big + b"\r\n") == b"$300000\r\n"
    assert await caller.reader.readexactly(300_002) == big + b"\r\n"
    assert proxy.connections == 1


async def test_delayed_replies_come_later_and_in_order(proxy: FaultProxy, caller: Caller) -> None:
    proxy.delay = 0.15
    await proxy.set(Fault.DELAY)
    clock = asyncio.get_running_loop().time
    started = clock()
    assert await caller.call(INCREMENT) == b":1\r\n"
    assert clock() - started >= 0.15
    caller.writer.write(INCREMENT * 20)
    assert [await caller.reader.readline() for _ in range(20)] == [b":%d\r\n" % n for n in range(2, 22)]
    assert clock() - started < 2, "the delay is a latency, not a toll on each reply"


async def test_a_black_hole_is_silent_and_keeps_connections(proxy: FaultProxy, caller: Caller) -> None:
    await proxy.set(Fault.BLACKHOLE)
    with pytest.raises(TimeoutError):
        await caller.call(within=0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await answers(proxy)
    await proxy.set(Fault.NONE)
    assert await answers(proxy)


async def test_a_reply_is_lost_although_the_work_was_done(
    proxy: FaultProxy, caller: Caller, fresh_server: Server
) -> None:
    proxy.lose_reply(to=b"INCR")
    assert await caller.call() == b"+PONG\r\n", "another request keeps its reply"
    with pytest.raises(ConnectionError):
        await caller.call(INCREMENT)
    assert fresh_server.call("GET", "counter") == b"1"
    assert await answers(proxy), "only one reply is lost"


async def test_reset_breaks_open_and_new_connections(proxy: FaultProxy, caller: Caller) -> None:
    await proxy.set(Fault.RESET)
    with pytest.raises(ConnectionResetError):
        await caller.call()
    with pytest.raises(ConnectionResetError):
        await answers(proxy)
    await proxy.set(Fault.NONE)
    assert await answers(proxy)


async def test_refuse_is_nobody_listening(proxy: FaultProxy, caller: Caller) -> None:
    await proxy.set(Fault.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await answers(proxy)
    assert await wait_until(caller.reader.at_eof) or caller.reader.exception()
    await proxy.set(Fault.NONE)
    assert await answers(proxy), "it comes back at the same port"


async def test_sliced_replies_arrive_byte_by_byte(proxy: FaultProxy, caller: Caller) -> None:
    await proxy.set(Fault.SLICE)
    caller.writer.write(b"PING\r\n")
    pieces = [await caller.reader.read(100)]
    while not b"".join(pieces).endswith(b"\r\n"):
        pieces.append(await caller.reader.read(100))
    assert b"".join(pieces) == b"+PONG\r\n"
    assert len(pieces) > 1


async def test_a_cut_closes_what_is_open_and_serves_what_is_new(proxy: FaultProxy, caller: Caller) -> None:
    proxy.cut()
    with pytest.raises(ConnectionError):
        await caller.call()
    await wait_until(lambda: proxy.connections == 0)
    assert await answers(proxy)


async def test_a_server_that_is_gone_shows_as_a_closed_connection(proxy: FaultProxy, fresh_server: Server) -> None:
    fresh_server.kill()
    with pytest.raises(ConnectionError):
        await answers(proxy)
