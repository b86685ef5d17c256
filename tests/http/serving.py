"""A gated site behind a real uvicorn, in this event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from ropeline.gate.asgi import Application
from tests.support import wait_until


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: Ctrl-C is the test run's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Application, parser: str) -> AsyncIterator[int]:
    """Serve `app` on a free loopback port, which this gives; `parser`: httptools or h11."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app,
            http=parser,
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await wait_until(lambda: server.started or serving.done(), timeout=20)
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await serving


async def exchange(port: int, raw: bytes, *, until_closed: bool = True) -> bytes:
    """Send bytes on a connection of their own; what comes back until the server closes it, or what comes first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        async with asyncio.timeout(20):
            return await reader.read() if until_closed else await reader.read(65_536)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
