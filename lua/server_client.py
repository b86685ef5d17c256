"""The client of one server: redis-py's, without the bookkeeping that a call of a script does not need.

redis-py takes two locks, tells three recorders and makes four closures around each call. Where a job comes in now and then, with cold
caches, that is a third of a millisecond before the first byte is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as NotConnectedError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["ServerClient", "ServerPool"]

_SCRIPT: Final = "EVALSHA"


class ServerPool(BlockingConnectionPool):
    """At most `max_connections` connections; who finds none waits for `timeout` seconds, first come, first served."""

    def __init__(self, *, max_connections: int, **options: Any) -> None:
        super().__init__(max_connections=max_connections, **options)
        self._turns = asyncio.Semaphore(max_connections)

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """A connection that is ready for a command. Raises redis-py's ConnectionError when none is free in time, or none can be made."""
        if self._turns.locked():
            try:
                async with asyncio.timeout(self.timeout):
                    await self._turns.acquire()
            except TimeoutError:
                raise NotConnectedError("No connection available.") from None
        else:
            await self._turns.acquire()
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            # Data that nobody asked for, or the end of the stream: it is made anew.
            if not connection.is_connected or await connection.can_read():
                await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give it back for others."""
        self._in_use_connections.remove(connection)
        if connection.should_reconnect():  # type: ignore[no-untyped-call]
            await connection.disconnect()
        self._available_connections.append(connection)
        self._turns.release()


class ServerClient(Redis):
    """A client for one server, whose scripts are called without detours; everything else goes redis-py's way."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; raises redis-py's errors. Nothing is sent twice."""
        if args[0] != _SCRIPT or options:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        pool = self.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(connection.pack_command(*args))
            return await connection.read_response()
        finally:
            await pool.release(connection)
