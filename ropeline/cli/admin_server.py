"""The operators' API in uvicorn; needs the `admin` extra."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from ropeline.admin_api.app import create_app

if TYPE_CHECKING:
    from ropeline.admin_api.settings import AdminSettings

__all__ = ["AdminServer"]

_DRAIN_SECONDS = 2


class AdminServer(uvicorn.Server):
    """Serves the API; `should_exit` ends it. Signals are left to who runs it."""

    def __init__(self, settings: AdminSettings) -> None:
        self.app = create_app(settings)
        super().__init__(
            uvicorn.Config(
                self.app,
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                # Whose word is believed about a client's address is decided by the trusted proxies of the settings.
                proxy_headers=False,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
        )
        self.is_open = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Set `is_open` when requests are served."""
        await super().startup(sockets)
        self.is_open.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
