"""Keeps visitors present who are on the site without sending requests: an open stream or WebSocket is a sign of life."""

from __future__ import annotations

import time
from collections.abc import Callable

from ropeline.gate.tickets import Ticket

__all__ = ["Connection", "Presence"]


class Connection:
    """One request that is under way for an admitted visitor."""

    __slots__ = ("seen_at", "ticket")

    def __init__(self, ticket: Ticket, seen_at: float) -> None:
        self.ticket = ticket
        self.seen_at = seen_at


class Presence:
    """The requests of one tenant that are under way in this process. `monotonic`: seconds, replaced by tests."""

    __slots__ = ("_monotonic", "_open")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._open: set[Connection] = set()

    def begin(self, ticket: Ticket) -> Connection:
        """A request of this visitor goes to the site now."""
        connection = Connection(ticket, self._monotonic())
        self._open.add(connection)
        return connection

    def end(self, connection: Connection) -> None:
        """The request is over."""
        self._open.discard(connection)

    def due(self, after: float) -> list[Connection]:
        """The connections whose visitor was last seen longer ago than `after` seconds; they count as seen from now on."""
        now = self._monotonic()
        silent = [connection for connection in self._open if now - connection.seen_at >= after]
        for connection in silent:
            connection.seen_at = now
        return silent
