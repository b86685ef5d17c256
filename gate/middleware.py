"""The gate as ASGI middleware: mounts around any ASGI application by one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence

from ropeline.gate.asgi import Application, Message, Receive, Scope, Send, refuse_websocket, send_response
from ropeline.gate.decision import Decision, Kind
from ropeline.gate.endpoints import Endpoints
from ropeline.gate.errors import BadRequest
from ropeline.gate.gate import Gate
from ropeline.gate.operator_pages import alive
from ropeline.gate.request import GateRequest
from ropeline.gate.responses import Headers, Responder, Response, problem, waiting_room_header
from ropeline.gate.settings import GateSettings, TenantSettings
from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import Ticket
from ropeline.lua.errors import RopelineError, StoreError

__all__ = ["GateMiddleware"]

_log = logging.getLogger("ropeline.gate")

_COMMANDS = frozenset({b"waiting-room-command", b"cf-waiting-room-command"})
# A site that is told its headers in CGI's way cannot tell the two spellings apart.
_OURS = frozenset(
    spelling
    for name in (b"waiting-room", b"waiting-room-token", b"waiting-room-alias", *_COMMANDS)
    for spelling in (name, name.replace(b"-", b"_"), name.replace(b"waiting-room", b"waiting_room"))
)
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class GateMiddleware:
    """Lets visitors through to `app` as the tenants' settings say, and answers everybody else itself.

    `settings`: of this process; read from the environment when left out. `tenants`: served instead of those in the
    settings' file. `gate`: used instead of making one, so that several applications share it. HTTP requests of every
    method and WebSocket handshakes are gated; the background work begins with the application's lifespan, or with the
    first request where the server has none.
    """

    def __init__(
        self,
        app: Application,
        settings: GateSettings | None = None,
        *,
        tenants: Sequence[TenantSettings] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.app = app
        self.gate = Gate(settings or GateSettings.from_env(), tenants=tenants) if gate is None else gate
        self._responder = Responder(self.gate.signer, self.gate.settings.well_known_prefix)
        self._endpoints = Endpoints(self.gate, self._responder)
        self._health_path = f"{self.gate.settings.well_known_prefix}healthz"
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not self.gate.is_ready:
            try:
                await self.gate.start()
            except RopelineError:
                # What is wrong is the operator's to read, in the log.
                response = problem(503, "misconfigured", "the waiting room of this site is not set up rightly")
                if kind == "http" and scope["path"] == self._health_path:
                    response = alive(scope["method"])
                await self._refuse(scope, receive, send, response)
                return
        try:
            request = GateRequest.from_scope(scope)
        except BadRequest as error:
            response = problem(400, "bad_request", str(error))
            if str(scope.get("http_version", "")).startswith("1"):
                # Whatever follows on this connection may be what somebody smuggled behind the request.
                response.headers.append((b"connection", b"close"))
            await self._refuse(scope, receive, send, response)
            return
        if kind == "http" and self._endpoints.covers(request.raw_path):
            await self._endpoints.answer(request, receive, send)
            return
        decision = await self.gate.decide(request)
        self.gate.count(decision)
        if decision.kind.passes:
            await self._pass(decision, request, scope, receive, send)
            return
        await self._refuse(scope, receive, send, self._responder.answer(decision, request))

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, response: Response) -> None:
        """Answer instead of the site."""
        if scope["type"] == "http":
            await send_response(send, response, is_head=scope["method"] == "HEAD")
        else:
            await refuse_websocket(scope, receive, send, response)

    async def _pass(self, decision: Decision, request: GateRequest, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the site, which learns of the decision by a header that nobody else can set."""
        tenant, ticket = decision.tenant, decision.ticket
        told = waiting_room_header(decision)
        headers = scope["headers"]
        if not request.lacks(_OURS):
            headers = [header for header in headers if header[0] not in _OURS]
        scope = {**scope, "headers": [*headers, (b"waiting-room", told)]}
        if tenant is None:
            await self.app(scope, receive, send)
            return
        extra: Headers = [(b"waiting-room", told), *self._responder.ticket_headers(decision, request)]

        meter = tenant.line.meter if decision.kind is Kind.ADMITTED and scope["type"] == "http" else None
        begun = 0.0 if meter is None else meter.now()

        def send_marked(message: Message) -> Awaitable[None]:
            nonlocal meter
            if message["type"] in _BEGINNINGS:
                if meter is not None:
                    meter.answered(message["status"], message.get("headers") or (), begun)
                    meter = None
                message = {**message, "headers": self._marked(message.get("headers") or (), extra, decision)}
            return send(message)

        if ticket is None or decision.kind is Kind.BYPASS:
            await self.app(scope, receive, send_marked)
            return
        connection = tenant.presence.begin(ticket)
        try:
            await self.app(scope, receive, send_marked)
        except Exception:
            if meter is not None:
                meter.failed()
            raise
        finally:
            tenant.presence.end(connection)

    def _marked(self, headers: Iterable[tuple[bytes, bytes]], extra: Headers, decision: Decision) -> Headers:
        """The site's headers with ours; a command of the site is heeded and taken out."""
        kept = []
        for header in headers:
            name = header[0].lower()
            if name not in _OURS:
                kept.append(header)
            elif name in _COMMANDS:
                self._heed(header[1], decision)
        if len(extra) > 1:
            # A shared cache must not hand one visitor's ticket to another.
            kept = _made_private(kept)
        return kept + extra

    def _heed(self, command: bytes, decision: Decision) -> None:
        tenant, ticket = decision.tenant, decision.ticket
        if tenant is None or ticket is None or command.strip().lower() != b"revoke":
            return
        if "revoke" in tenant.settings.enabled_origin_commands:
            task = asyncio.create_task(self._revoke(tenant, ticket))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _revoke(self, tenant: Tenant, ticket: Ticket) -> None:
        try:
            await self.gate.revoke(tenant, ticket)
        except StoreError as error:
            _log.warning("tenant %s: a revoke by the site waits for the store: %s", tenant.name, error)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The site's lifespan with the gate's around it; a site that has none gets the gate's alone."""
        answered = False

        async def receive_after_start() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.gate.start()
            return message

        async def send_after_stop(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] != "lifespan.startup.complete":
                await self._stop()
            await send(message)

        try:
            await self.app(scope, receive_after_start, send_after_stop)
        except RopelineError as error:
            if answered:
                raise
            await self._stop()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        except Exception as error:
            if answered:
                raise
            # The specification's way for a site to say that it has no lifespan.
            _log.info("the site takes no part in the lifespan: %s", error)
        if not answered:
            await self._own_lifespan(receive, send)

    async def _own_lifespan(self, receive: Receive, send: Send) -> None:
        try:
            await self.gate.start()
        except RopelineError as error:
            await self._stop()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gate.stop()


def _made_private(headers: Headers) -> Headers:
    """The headers with a Cache-Control that keeps the answer out of shared caches."""
    said = {
        directive.strip()
        for name, value in headers
        if name.lower() == b"cache-control"
        for directive in value.lower().split(b",")
    }
    if b"no-store" not in said and b"private" not in said:
        headers = [header for header in headers if header[0].lower() != b"cache-control"]
        headers.append((b"cache-control", b"private"))
    # Some caches are told by headers of their own, which go before Cache-Control (RFC 9213).
    return [header for header in headers if not header[0].lower().endswith((b"-cache-control", b"surrogate-control"))]
