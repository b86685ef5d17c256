"""The few things that the gate does with ASGI itself: types, sending a whole answer, reading a small body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ropeline.gate.responses import Response

__all__ = ["Application", "Message", "Receive", "Scope", "Send", "read_body", "refuse_websocket", "send_response"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def send_response(send: Send, response: Response, *, is_head: bool = False) -> None:
    """Send a whole answer; to a HEAD its headers alone."""
    headers = response.headers
    if response.status not in (204, 304):
        headers = [*headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else response.body})


async def refuse_websocket(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Answer a WebSocket handshake in HTTP where the server can, else close it with 1013, "try again later"."""
    await receive()  # websocket.connect: servers want it taken before they are told anything
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1013, "reason": "waiting room"})
        return
    headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


async def read_body(receive: Receive, most: int) -> bytes:
    """The first `most` bytes of the body; whoever sends more is not listened to any longer."""
    body = b""
    while len(body) < most:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body[:most]
