"""Sites for tests: an ASGI application on a loopback port, by the server that a user would run."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.support import wait_until


@asynccontextmanager
async def serving(app: Any, *, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[str]:
    """Serve `app` by uvicorn in this event loop, with uvicorn's `options`, and give its address."""
    listener = socket.create_server((host, 0))
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await wait_until(lambda: server.started or running.done())
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
