"""The site that the fuzzer attacks, behind the gate: full rooms, one that lets visitors in, and exempted paths.

A site may read a path in more ways than one. So the origin here reads each request that comes without a visit in every
way known, and says in `x-breach` when one of them leads to what is not exempted.
"""

from __future__ import annotations

import argparse
import itertools
import unicodedata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ropeline.gate import GateMiddleware, GateSettings, TenantSettings
from ropeline.logs import configure_logging

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FULL", "OPEN", "PARTLY", "SECRET", "readings", "site"]

SECRET = "only for fuzzing on this machine"  # noqa: S105 - signs tickets of a throw-away store
FULL = "shop.example.com"
"""Room for nobody; `/public` is exempted."""
OPEN = "open.example.com"
"""Room for everybody."""
PARTLY = "partly.example.com"
"""Only `/tickets` is gated, and has room for nobody."""
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_MOST_DECODINGS = 4


def site(redis_url: str) -> ASGIApp:
    """The gated site."""
    bypass = {"action": "bypass", "conditions": [{"subject": "path", "operator": "prefix", "value": "/public"}]}
    tenants = [
        {"name": "full", "host": FULL, "total_active_users": 0, "rules": [bypass]},
        {"name": "open", "host": OPEN, "total_active_users": 10_000_000},
        {"name": "partly", "host": PARTLY, "path": "/tickets", "total_active_users": 0},
    ]
    # A busy machine is no failing store.
    settings = GateSettings(redis_url=redis_url, secret_keys=(SECRET,), deadline_ms=10_000)
    return GateMiddleware(
        _Judge(_origin()),
        settings,
        tenants=[TenantSettings.from_mapping({**tenant, "join_limit_per_ip": 0}, source="fuzz") for tenant in tenants],
    )


def readings(path: str) -> Iterator[str]:
    """A path as some site may read it: decoded more than once, cut, folded, resolved, in every combination."""
    for _ in range(_MOST_DECODINGS):
        for folds in itertools.product((False, True), repeat=len(_FOLDS)):
            text = path
            for fold, is_used in zip(_FOLDS, folds, strict=True):
                text = fold(text) if is_used else text
            yield text
        path = unquote(path, errors="replace")


def _resolved(path: str) -> str:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)


_FOLDS: tuple[Callable[[str], str], ...] = (
    lambda path: unicodedata.normalize("NFKC", path),
    lambda path: path.replace("\\", "/"),
    lambda path: path.partition("?")[0].partition("#")[0].partition("\0")[0],
    lambda path: "/".join(segment.partition(";")[0] for segment in path.split("/")),
    lambda path: "/".join(segment.rstrip(" ") for segment in path.split("/")),
    lambda path: "/".join(segment.rstrip(".") or segment for segment in path.split("/")),
    _resolved,
    str.lower,
)


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


class _Judge:
    """Names in the answer what the gate should not have let through."""

    def __init__(self, origin: ASGIApp) -> None:
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._origin(scope, receive, send)
            return
        breach = _breach(scope)

        async def send_marked(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept") and breach:
                MutableHeaders(scope=message)["x-breach"] = breach
            await send(message)

        await self._origin(scope, receive, send_marked)


def _breach(scope: Scope) -> str:
    told = [value.decode("latin-1") for name, value in scope["headers"] if name.replace(b"_", b"-") == b"waiting-room"]
    if len(told) != 1:
        return f"told {len(told)} times"
    kind, _, tenant = told[0].partition(";tenant=")
    if kind == "admitted":
        return "" if tenant == "open" else "admitted into a full room"
    if kind != "bypass":
        return f"told {told[0]}"
    raw = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
    ways = {way for path in (scope["path"], raw) for way in readings(path)}
    if tenant == "full":
        # What is not resolved still begins as the exempted path does, so a reading that resolves decides.
        astray = [way for way in ways if not _is_below(way, "/public")]
    else:
        astray = [way for way in ways if _is_below(way, "/tickets")]
    return f"read as {astray[0]!a}" if astray else ""


def _origin() -> Starlette:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path, headers={"x-site": "1"})

    async def chat(socket: WebSocket) -> None:
        await socket.accept(headers=[(b"x-site", b"1")])
        await socket.close()

    return Starlette(routes=[Route("/{rest:path}", page, methods=_METHODS), WebSocketRoute("/{rest:path}", chat)])


def main() -> None:
    """Serve it, for the fuzzer: on a socket that it hands over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--http", required=True)
    parser.add_argument("--socket", type=int, required=True)
    options = parser.parse_args()
    configure_logging({"ROPELINE_LOG_FORMAT": "json", "ROPELINE_LOG_LEVEL": "info"})
    uvicorn.run(
        site(options.redis_url),
        fd=options.socket,
        http=options.http,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
