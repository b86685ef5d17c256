"""A witness on the wire: passes on what clients and server say to each other, and keeps every command with its reply.

When a client is killed, the tap stays on the line until the server has answered, so that no outcome is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import hiredis

_CHUNK = 65536


@dataclass(frozen=True)
class Exchange:
    """One command and its reply; `started`, `ended`: monotonic seconds, when it was passed on and answered."""

    command: list[bytes]
    reply: object
    started: float
    ended: float


class WireTap:
    """Listens on a port of its own, as an async context manager; `history` fills while it runs."""

    def __init__(self, server_port: int) -> None:
        self.history: list[Exchange] = []
        self.port = 0
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_quiet(self) -> None:
        """Return when every client is gone and every reply is there."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._tasks.add(task)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        pending: deque[tuple[list[bytes], float]] = deque()
        replies = asyncio.create_task(self._pass_back(from_server, to_client, pending))
        try:
            await self._pass_on(from_client, to_server, pending)
            while pending and not replies.done():
                await asyncio.wait([replies], timeout=0.01)
        except asyncio.CancelledError:
            # The end of the tap; a callback of asyncio's streams would report it as an error.
            pass
        finally:
            replies.cancel()
            to_server.close()
            to_client.close()
            self._tasks.discard(task)

    @staticmethod
    async def _pass_on(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, pending: deque[tuple[list[bytes], float]]
    ) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read(_CHUNK):
                reader.feed(chunk)
                while (command := reader.gets()) is not False:
                    if isinstance(command, list):
                        pending.append((command, time.monotonic()))
                target.write(chunk)

    async def _pass_back(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pending: deque[tuple[list[bytes], float]],
    ) -> None:
        reader = hiredis.Reader()
        while chunk := await source.read(_CHUNK):
            reader.feed(chunk)
            while (reply := reader.gets()) is not False:
                command, started = pending.popleft()
                self.history.append(Exchange(command, reply, started, time.monotonic()))
            # Whoever was killed hears nothing any more; the witness still does.
            with contextlib.suppress(ConnectionError, RuntimeError):
                target.write(chunk)
