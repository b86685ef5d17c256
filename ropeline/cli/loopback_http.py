"""A small HTTP client for simulated visitors: a few connections to one address, shared by all of them.

It keeps no cookies and follows nothing; each visitor sends its own cookie.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

__all__ = ["HttpPool", "Reply"]

_CONNECTIONS: Final = 32
_PATIENCE_SECONDS: Final = 10.0
_ABORTED: Final = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; the names of the headers are lower-case, of several with one name the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpPool:
    """Sends requests to `host`:`port` over at most `connections` at once, as an async context manager.

    `name`: what the Host header says.
    """

    def __init__(self, host: str, port: int, name: str, *, connections: int = _CONNECTIONS) -> None:
        self._address = (host, port)
        self._name = name
        self._free: list[tuple[StreamReader, StreamWriter]] = []
        self._turn = asyncio.Semaphore(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, writer in self._free:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._free.clear()

    async def request(self, method: str, target: str, headers: Mapping[str, str]) -> Reply:
        """Send one request without a body; raises OSError, with time-outs among it, or IncompleteReadError."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method == "POST":
            lines.append("Content-Length: 0")
        text = "\r\n".join([*lines, "", ""]).encode("latin-1")
        async with self._turn, asyncio.timeout(_PATIENCE_SECONDS):
            while self._free:
                try:
                    return await self._exchange(self._free.pop(), text)
                except _ABORTED:
                    # The server closes connections that were idle for some seconds; the next one may be younger.
                    continue
            return await self._exchange(await asyncio.open_connection(*self._address), text)

    async def _exchange(self, connection: tuple[StreamReader, StreamWriter], text: bytes) -> Reply:
        reader, writer = connection
        is_kept = False
        try:
            writer.write(text)
            reply = await _read_reply(reader)
            is_kept = reply.headers.get("connection", "").lower() != "close"
        finally:
            if is_kept:
                self._free.append(connection)
            else:
                writer.close()
        return reply


async def _read_reply(reader: StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    status = int(head[0].split(" ", 2)[1])
    if status in (204, 304):
        return Reply(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return Reply(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    body = b""
    while size := int((await reader.readline()).partition(b";")[0] or b"0", 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return Reply(status, headers, body)
