"""The demo shop behind the gate, in uvicorn; needs the `up` extra."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from ropeline.examples.ticketshop.app import create_shop
from ropeline.gate.gate import Gate
from ropeline.gate.middleware import GateMiddleware

if TYPE_CHECKING:
    from ropeline.examples.ticketshop.jobs import TicketJobs

__all__ = ["ShopServer"]

_DRAIN_SECONDS = 1


class ShopServer(uvicorn.Server):
    """Serves the shop; `should_exit` ends it. Signals are left to who runs it, since more than this has to end."""

    def __init__(self, gate: Gate, jobs: TicketJobs) -> None:
        shop = create_shop(os.environ.get("PAYMENT_URL", ""), jobs)
        super().__init__(
            uvicorn.Config(
                GateMiddleware(shop, gate=gate),
                http="httptools",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                # Whose word is believed about a client's address is the gate's decision.
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
