"""A TCP proxy in front of a store that misbehaves on command: slow, silent, broken off, refused, lost or torn replies.

Tests and the fault command put it between the gate and a real server. It runs in the event loop of whoever uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

__all__ = ["Fault", "FaultProxy"]

_CHUNK_BYTES: Final = 65536
_LOOPBACK: Final = "127.0.0.1"


class Fault(Enum):
    """What the proxy does to traffic."""

    NONE = "none"
    """Everything passes."""
    DELAY = "delay"
    """Replies come later, by the proxy's `delay`."""
    BLACKHOLE = "blackhole"
    """Connections are accepted and what is sent vanishes, either way: a dead host or a firewall."""
    RESET = "reset"
    """Connections, also new ones, are reset at once: a crashed host that is back."""
    REFUSE = "refuse"
    """Nobody listens: connections are closed and new ones refused: a stopped server."""
    SLICE = "slice"
    """Replies arrive byte by byte."""


@dataclass(eq=False)
class _Link:
    """One client's connection and the one to the server behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    loses_reply: bool = False

    def close(self, *, reset: bool = False) -> None:
        for writer in filter(None, (self.client, self.server)):
            if reset:
                handle: socket.socket = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):  # it may be closed already
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultProxy:
    """The proxy, as an async context manager.

    Args:
        port: the server's port on loopback.
        delay: seconds that each reply is held back under Fault.DELAY.

    """

    def __init__(self, port: int, *, delay: float = 1.0) -> None:
        self.delay = delay
        self.port = 0
        """Where the proxy listens on loopback; fixed from the start on."""
        self._server_port = port
        self._fault = Fault.NONE
        self._reply_to_lose: bytes | None = None
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address to give to a client of the store."""
        return f"redis://{_LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_listening()
        self.cut()
        while self._handlers:
            await asyncio.wait(self._handlers)

    async def set(self, fault: Fault) -> None:
        """From now on do `fault`, to connections that are open as well."""
        self._fault = fault
        if fault is Fault.REFUSE:
            await self._stop_listening()
            self.cut()
            return
        if fault is Fault.RESET:
            self.cut(reset=True)
        if self._listener is None:
            await self._listen()

    def cut(self, *, reset: bool = False) -> None:
        """Close every connection that is open now; new ones are served."""
        for link in tuple(self._links):
            link.close(reset=reset)

    def lose_reply(self, to: bytes = b"") -> None:
        """Lose one reply, to the next request that contains `to`, and close its connection: the server did the work."""
        self._reply_to_lose = to

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, _LOOPBACK, self.port, reuse_address=True)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            # A connection that was accepted a moment ago is still being set up, and would be left open by a closed listener.
            for listening in self._listener.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0)
            self._listener.close()
            self._listener = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        if self._fault in {Fault.RESET, Fault.REFUSE}:
            link.close(reset=True)
            return
        self._links.add(link)
        try:
            server_reader, link.server = await asyncio.open_connection(_LOOPBACK, self._server_port)
            pumps = {
                asyncio.create_task(self._pass_requests(reader, link.server, link)),
                asyncio.create_task(self._pass_replies(server_reader, link)),
            }
            _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in left:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is gone: the client sees its connection close
        finally:
            self._links.discard(link)
            link.close()

    async def _pass_requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, link: _Link) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if self._reply_to_lose is not None and self._reply_to_lose in data:
                self._reply_to_lose = None
                link.loses_reply = True
            if self._fault is not Fault.BLACKHOLE:
                server.write(data)
                await server.drain()

    async def _pass_replies(self, reader: asyncio.StreamReader, link: _Link) -> None:
        held_back: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.create_task(self._send_replies(held_back, link))
        clock = asyncio.get_running_loop().time
        try:
            while data := await reader.read(_CHUNK_BYTES):
                held_back.put_nowait((clock() + (self.delay if self._fault is Fault.DELAY else 0), data))
            await held_back.join()
        finally:
            sender.cancel()

    async def _send_replies(self, held_back: asyncio.Queue[tuple[float, bytes]], link: _Link) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):  # the client has gone
            while True:
                due, data = await held_back.get()
                if due > clock():
                    await asyncio.sleep(due - clock())
                await self._send_reply(data, link)
                held_back.task_done()

    async def _send_reply(self, data: bytes, link: _Link) -> None:
        if link.loses_reply:
            link.close()
        elif self._fault is Fault.SLICE:
            for position in range(len(data)):
                link.client.write(data[position : position + 1])
                await asyncio.sleep(0)
        elif self._fault is not Fault.BLACKHOLE:
            link.client.write(data)
            await link.client.drain()
