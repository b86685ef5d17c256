"""The gate's own endpoints, on every tenant's host: status, keepalive, leave, confirm, auth, events, the assets, and the pages
for operators.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ropeline.gate.asgi import Receive, Send, read_body, send_response
from ropeline.gate.decision import Decision, Kind
from ropeline.gate.gate import Gate, may_get_ticket
from ropeline.gate.negotiation import wants_json
from ropeline.gate.operator_pages import OperatorPages
from ropeline.gate.request import GateRequest
from ropeline.gate.responses import EVERY_ANSWER, Responder, Response, local_path, problem, waiting_room_header
from ropeline.gate.status import state_of
from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import TicketState
from ropeline.lua.errors import StoreError
from ropeline.pages import ASSETS, Asset

__all__ = ["Endpoints"]

_LONGEST_FORM: Final = 16 * 1024
_YEAR: Final = b"public, max-age=31536000, immutable"

Endpoint = Callable[[Tenant, GateRequest, Receive], Awaitable[Response]]


class Endpoints:
    """Answers requests below the prefix. Each endpoint is about the tenant that its query names, else the host's."""

    def __init__(self, gate: Gate, responder: Responder) -> None:
        self._gate = gate
        self._responder = responder
        self._operator_pages = OperatorPages(gate)
        self._prefix = gate.settings.well_known_prefix.encode()
        self._endpoints: dict[bytes, tuple[tuple[str, ...], Endpoint]] = {
            b"status": (("GET", "HEAD"), self._status),
            b"events": (("GET", "HEAD"), self._status),
            b"keepalive": (("POST",), self._keepalive),
            b"leave": (("POST",), self._leave),
            b"confirm": (("GET", "HEAD"), self._confirm),
        }

    def covers(self, raw_path: bytes) -> bool:
        """Whether a path belongs to the gate and not to the site."""
        return raw_path.startswith(self._prefix)

    async def answer(self, request: GateRequest, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        name = request.raw_path[len(self._prefix) :]
        if name == b"status" and request.method == "GET":
            # Nearly every request that comes here is a poll.
            tenant = self._tenant(request)
            if tenant is not None:
                await send_response(send, self._responder.status(await self._visit(tenant, request), request))
                return
        asset = ASSETS.get(name.decode("latin-1"))
        operators = await self._operator_pages.answer(name, request.method, request.header(b"authorization"))
        if operators is not None:
            response = operators
        elif name == b"auth":
            response = await self._auth(request)
        elif asset is not None:
            response = _asset(asset, request)
        else:
            tenant = self._tenant(request)
            if tenant is None:
                detail = "host: no waiting room is set up here for the host that was asked for"
                response = problem(421, "misdirected", detail)
            elif name == b"events" and request.method in ("GET", "HEAD"):
                await self._events(tenant, request, receive, send)
                return
            else:
                response = await self._of_tenant(name, tenant, request, receive)
        await send_response(send, response, is_head=request.method == "HEAD")

    async def _of_tenant(self, name: bytes, tenant: Tenant, request: GateRequest, receive: Receive) -> Response:
        found = self._endpoints.get(name)
        if found is None:
            known = ", ".join(
                sorted([*(name.decode() for name in self._endpoints), "auth", "healthz", "readyz", *ASSETS])
            )
            return problem(404, "unknown_endpoint", f"path: there is no such endpoint; there are {known}")
        methods, endpoint = found
        if request.method == "OPTIONS" and request.header(b"access-control-request-method"):
            return self._responder.preflight(tenant, request)
        if request.method not in methods:
            response = problem(405, "method_not_allowed", f"method: expected {' or '.join(methods)}")
            response.headers.append((b"allow", ", ".join(methods).encode()))
            return response
        return await endpoint(tenant, request, receive)

    async def _status(self, tenant: Tenant, request: GateRequest, _receive: Receive) -> Response:
        return self._responder.status(await self._visit(tenant, request), request)

    async def _keepalive(self, tenant: Tenant, request: GateRequest, _receive: Receive) -> Response:
        return self._responder.status(await self._visit(tenant, request, may_begin=False), request)

    async def _leave(self, tenant: Tenant, request: GateRequest, receive: Receive) -> Response:
        if _is_of_another_site(tenant, request):
            return problem(403, "cross_site", "Origin: a session is left from the site itself only")
        closing = b"beacon=1" in request.query.split(b"&")
        body = await read_body(receive, _LONGEST_FORM)
        ticket = self._gate.ticket(tenant, request)
        if ticket is not None:
            try:
                await self._gate.leave(tenant, ticket, closing=closing)
            except StoreError:
                return self._responder.answer(Decision(Kind.UNAVAILABLE, tenant, ticket), request)
        if closing:
            return Response(204, list(EVERY_ANSWER))
        if wants_json(request.header(b"accept")):
            response = self._responder.status(Decision(Kind.NO_TICKET, tenant), request)
        else:
            response = self._responder.session_ended(tenant, request, _return_url(body))
        response.headers.append((b"set-cookie", tenant.cookie.clear(request)))
        return response

    async def _confirm(self, tenant: Tenant, request: GateRequest, _receive: Receive) -> Response:
        """Where a browser without scripts goes right after it has got its cookie, and learns whether it keeps it."""
        back = _return_url(request.query)
        if tenant.cookie.find(request) is None:
            return self._responder.cookies_refused(tenant, request, back)
        decision = await self._visit(tenant, request)
        headers = [*EVERY_ANSWER, (b"location", back.encode("ascii"))]
        return Response(303, headers + self._responder.ticket_headers(decision, request))

    async def _auth(self, request: GateRequest) -> Response:
        """For a proxy that asks before each request: 204 lets it through, 401 does not."""
        uri = request.header(b"x-original-uri") or request.header(b"x-forwarded-uri") or b"/"
        raw_path, _, query = uri.partition(b"?")
        method = request.header(b"x-original-method") or request.header(b"x-forwarded-method") or b"GET"
        asked = request.about(method.decode("latin-1"), raw_path, query, host=self._gate.forwarded_host(request))
        decision = await self._gate.decide(asked)
        self._gate.count(decision)
        status = 204 if decision.kind.passes else 401
        headers = [*EVERY_ANSWER, (b"waiting-room", waiting_room_header(decision))]
        return Response(status, headers + self._responder.ticket_headers(decision, asked))

    async def _events(self, tenant: Tenant, request: GateRequest, receive: Receive, send: Send) -> None:
        """The status as a stream of events, for half the hold at most: its reconnection then signs a new ticket.

        News comes as often as a poll would bring it. Who holds a place that is not confirmed, or none, is asked back at
        once: it is the cookie coming back that confirms, and no stream shows that.
        """
        decision = await self._visit(tenant, request)
        headers = [*EVERY_ANSWER, (b"content-type", b"text/event-stream")]
        headers += self._responder.ticket_headers(decision, request)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if request.method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(tenant.settings.waiting_ttl, tenant.settings.session_ttl_ms / 1000) / 2
        gone = asyncio.create_task(_disconnected(receive))
        try:
            while True:
                refresh = self._responder.interval(decision) or tenant.settings.poll.ceiling
                ticket = decision.ticket
                stays = (
                    decision.kind is Kind.QUEUED and ticket is not None and ticket.state is not TicketState.UNCONFIRMED
                )
                event = b"retry: %d\nevent: %b\ndata: %b\n\n" % (
                    1000 * (1 if stays else refresh),
                    state_of(decision).encode(),
                    self._responder.status(decision, request).body,
                )
                await send({"type": "http.response.body", "body": event, "more_body": True})
                rest = ends_at - loop.time()
                if rest <= 0 or not stays:
                    break
                await asyncio.wait({gone}, timeout=min(rest, refresh))
                if gone.done():
                    return
                decision = await self._gate.visit(tenant, request, ticket, may_begin=False)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    async def _visit(self, tenant: Tenant, request: GateRequest, *, may_begin: bool = True) -> Decision:
        if tenant.settings.suspended:
            return Decision(Kind.BYPASS, tenant)
        gate = self._gate
        if gate.is_blocked(tenant, request):
            return Decision(Kind.BLOCKED, tenant)
        may_begin = may_begin and may_get_ticket(request)
        return await gate.visit(tenant, request, gate.ticket(tenant, request), may_begin=may_begin)

    def _tenant(self, request: GateRequest) -> Tenant | None:
        """The tenant that the query names, when it is at home on this host; else the host's own."""
        directory = self._gate.directory
        query = request.query
        at = 0 if query.startswith(b"tenant=") else query.find(b"&tenant=") + 1
        if at > 0 or query.startswith(b"tenant="):
            name = query[at + 7 :].partition(b"&")[0].decode("latin-1")
            named = directory.tenants.get(name)
            return named if named is not None and named.router.knows(request.host) else None
        tenant = directory.router.route(request.host, b"/", b"/")
        if tenant is not None:
            return tenant
        here = [tenant for tenant in directory.tenants.values() if tenant.router.knows(request.host)]
        return next((tenant for tenant in here if tenant.cookie.find(request)), here[0] if here else None)


def _is_of_another_site(tenant: Tenant, request: GateRequest) -> bool:
    """Whether another site's page makes the browser send this request; a browser that says nothing is believed."""
    site = request.header(b"sec-fetch-site")
    if site:
        return site == b"cross-site"
    return request.header(b"origin") not in (b"", b"null") and not tenant.trusts_origin(request)


def _return_url(fields: bytes) -> str:
    """Where a form or a query wants to lead the visitor back to: on this host, or `/`."""
    from urllib.parse import parse_qs

    wanted = parse_qs(fields.decode("latin-1")).get("return_url", ["/"])[0]
    return local_path(wanted.encode("utf-8", "replace"))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _asset(asset: Asset, request: GateRequest) -> Response:
    if request.method not in ("GET", "HEAD"):
        response = problem(405, "method_not_allowed", "method: expected GET or HEAD")
        response.headers.append((b"allow", b"GET, HEAD"))
        return response
    is_versioned = request.query == b"v=" + asset.version.encode()
    headers = [
        (b"content-type", asset.content_type.encode()),
        (b"etag", asset.etag.encode()),
        (b"cache-control", _YEAR if is_versioned else b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
    ]
    known = request.header(b"if-none-match").split(b",")
    if asset.etag.encode() in [etag.strip().removeprefix(b"W/") for etag in known]:
        return Response(304, headers)
    return Response(200, headers, asset.body)
