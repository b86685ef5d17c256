"""The connections that our clients make: redis-py's, with less work for each call, and none that holds a caller who has given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import ConnectionError as NotConnectedError
from redis.exceptions import TimeoutError as LateError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.typing import EncodableT

__all__ = ["PlainConnection", "SentinelConnection", "SentinelTlsConnection", "TlsConnection", "UnixSocketConnection"]


class _Lean(AbstractConnection):
    """What is different; the rest of each class is redis-py's.

    A command is packed in C, as redis-py's blocking connections do: a call with a hundred arguments takes a quarter of the time. And it
    is sent without a task of its own: `asyncio.wait_for`, which redis-py sends by, makes one for each call, and forgets on Python 3.11
    that its caller was cancelled when the sending ends in the same moment (CPython issue 86296), so that a call which was given up went on.
    """

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """The bytes of one command; a name of two words is two arguments."""
        name = args[0]
        if isinstance(name, str) and " " in name:
            args = (*name.split(), *args[1:])
        return [pack_command(args)]  # type: ignore[arg-type]  # its annotation says a tuple of one

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        """Send what was packed, within `socket_timeout` seconds; connects first where that is needed. Raises redis-py's errors."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        packed = command.encode() if isinstance(command, str) else command
        writer: Any = self._writer
        try:
            writer.writelines([packed] if isinstance(packed, bytes) else packed)
            async with asyncio.timeout(self.socket_timeout):
                await writer.drain()
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise LateError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise NotConnectedError(f"Error while writing to socket. {error}.") from error
        except BaseException:
            # What has been sent in part cannot be taken back.
            await self.disconnect(nowait=True)
            raise


class PlainConnection(_Lean, Connection):
    """Over TCP."""


class TlsConnection(_Lean, SSLConnection):
    """Over TCP with TLS."""


class SentinelConnection(_Lean, SentinelManagedConnection):
    """Over TCP to the master that the sentinels name."""


class SentinelTlsConnection(_Lean, SentinelManagedSSLConnection):
    """The same with TLS."""


class UnixSocketConnection(_Lean, UnixDomainSocketConnection):
    """Over a Unix socket."""
