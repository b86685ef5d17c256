"""Calls the line's scripts without an event loop: a campaign is one thread that makes millions of calls in a row."""

from __future__ import annotations

import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import hiredis
from redis.exceptions import NoScriptError, ResponseError

__all__ = ["BlockingClient", "Command", "result_of"]

T = TypeVar("T")

Command = Sequence[str | bytes | int | float]

_TIMEOUT_SECONDS = 60.0


def result_of(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as the scripts' methods are on a BlockingClient, and return its result."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise RuntimeError("the coroutine waited for an event loop")


class BlockingClient:
    """One plain connection to a server on loopback; `execute_command` is what LineScripts asks of a client.

    `watched`: commands that travel along with each call; their replies are then in `seen`.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(replyError=_error)
        self.watched: Sequence[Command] = ()
        self.seen: list[Any] = []

    def close(self) -> None:
        self._socket.close()

    def call(self, *arguments: str | bytes | float) -> Any:
        """Send one command and return its plain reply; raises what the server answers as an error."""
        return _raised(self._send([arguments])[0])

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send many commands at once and return their plain replies; raises the first error."""
        return [_raised(reply) for reply in self._send(commands)]

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's signature
        """`call`, with the watched commands behind it."""
        reply, *self.seen = self._send([args, *self.watched])
        return _raised(reply)

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        # The stub of hiredis asks for a tuple of one item; it takes any number.
        packed = [hiredis.pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]
        self._socket.sendall(b"".join(packed))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is not False:
                replies.append(reply)
                continue
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("the server closed the connection")
            self._reader.feed(received)
        return replies


def _error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


def _raised(reply: Any) -> Any:
    if isinstance(reply, ResponseError):
        raise reply
    return reply
