"""What every call gets, whoever answers it: a request id, a bound on its body, and headers that keep the answer private."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from ropeline.admin_api.problems import Problem, fault_response, problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LARGEST_BODY", "Envelope"]

LARGEST_BODY: Final = 1_048_576
"""Bytes; the settings of some hundred tenants."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Envelope:
    """Wraps the application. A caller's own `X-Request-Id` is kept when it is 1 to 64 of letters, digits and `._-`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Request(scope).headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
        scope["request_id"] = request_id

        is_answered = False

        async def send_enveloped(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        too_long = Problem(413, "body_too_large", f"a body has at most {LARGEST_BODY} bytes")
        length = Request(scope).headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:10]) > LARGEST_BODY:
            await problem_response(Request(scope), too_long)(scope, receive, send_enveloped)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise too_long
            return message

        try:
            await self._app(scope, receive_bounded, send_enveloped)
        except Exception as error:
            if is_answered:
                raise
            await fault_response(Request(scope), error)(scope, receive, send_enveloped)
