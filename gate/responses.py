"""Says a decision in HTTP: status, headers, and a page or JSON as the client prefers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from ropeline.gate.decision import Decision, Kind
from ropeline.gate.negotiation import languages, wants_json
from ropeline.gate.poll import PollPolicy, retry_after
from ropeline.gate.request import GateRequest
from ropeline.gate.status import StatusText, place_held_seconds, state_of
from ropeline.gate.tenant import Tenant
from ropeline.gate.tickets import TicketSigner, TicketState
from ropeline.pages import (
    CONTENT_SECURITY_POLICY,
    STORE_DOWN_CONTENT_SECURITY_POLICY,
    ClosedPage,
    CookiesRefusedPage,
    Page,
    PausedPage,
    PrequeuePage,
    RefusedPage,
    Renderer,
    SessionEndedPage,
    StoreDownPage,
    WaitingPage,
)

__all__ = ["EVERY_ANSWER", "Headers", "Responder", "Response", "local_path", "problem", "waiting_room_header"]

Headers = list[tuple[bytes, bytes]]

_JSON_TYPE: Final = (b"content-type", b"application/json")
_PROBLEM_TYPE: Final = (b"content-type", b"application/problem+json")
_HTML_TYPE: Final = (b"content-type", b"text/html; charset=utf-8")
EVERY_ANSWER: Final = (
    (b"cache-control", b"no-store, private"),
    (b"vary", b"Accept, Accept-Language, Cookie"),
    (b"x-robots-tag", b"noindex"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
_PAGE_HEADERS: Final = (*EVERY_ANSWER, (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()), _HTML_TYPE)
_STORE_DOWN_HEADERS: Final = (
    *EVERY_ANSWER,
    (b"content-security-policy", STORE_DOWN_CONTENT_SECURITY_POLICY.encode()),
    _HTML_TYPE,
)
_JSON_HEADERS: Final = (*EVERY_ANSWER, _JSON_TYPE)


class Response(NamedTuple):
    """A whole answer. The body is left out when the request was a HEAD."""

    status: int
    headers: Headers
    body: bytes = b""


@dataclass(slots=True)
class _Desk:
    """What answers for one version of a tenant's settings are made with."""

    tenant: Tenant
    status: StatusText
    poll: PollPolicy
    status_path: str
    leave_path: str
    confirm_path: str


@dataclass
class Responder:
    """Makes the answers of one gate process. `prefix`: of the gate's own endpoints, with its slash at the end."""

    signer: TicketSigner
    prefix: str
    _desks: dict[str, _Desk] = field(default_factory=dict)

    @cached_property
    def renderer(self) -> Renderer:
        """The templates, compiled when the first page is asked for: a client that only wants JSON never pays for them."""
        return Renderer()

    def answer(self, decision: Decision, request: GateRequest) -> Response:
        """The answer to a request that does not go to the site."""
        tenant = decision.tenant
        if tenant is None:
            return problem(421, "misdirected", "host: no waiting room is set up here for the host that was asked for")
        if decision.kind is Kind.PREFLIGHT:
            return self.preflight(tenant, request)
        if wants_json(request.header(b"accept")) and tenant.settings.json_response_enabled:
            return self.status(decision, request, self._code(decision))
        if decision.kind is Kind.NO_TICKET:
            headers = [*EVERY_ANSWER, (b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]
            headers.append((b"waiting-room", waiting_room_header(decision)))
            return Response(503, headers, b"This part of the site is behind a waiting room.\n")
        desk = self._desk(tenant)
        refresh = self._refresh(desk, decision)
        page = self._page(decision, request, tenant, desk, refresh)
        headers = list(_STORE_DOWN_HEADERS if decision.kind is Kind.UNAVAILABLE else _PAGE_HEADERS)
        self._finish(headers, decision, request, refresh)
        return Response(self._code(decision), headers, self.renderer.render(page))

    def status(self, decision: Decision, request: GateRequest, code: int = 200) -> Response:
        """The status as JSON, for clients that poll."""
        tenant = decision.tenant
        if tenant is None:
            return problem(421, "misdirected", "host: no waiting room is set up here for the host that was asked for")
        desk = self._desk(tenant)
        refresh = self._refresh(desk, decision)
        headers = [*_JSON_HEADERS]
        self._finish(headers, decision, request, refresh)
        alias = request.header(b"waiting-room-alias") == b"cfWaitingRoom"
        return Response(code, headers, desk.status.write(decision, refresh, alias=alias))

    def interval(self, decision: Decision) -> float:
        """Seconds until the visitor's status is worth asking for again, 0 never."""
        return 0.0 if decision.tenant is None else self._refresh(self._desk(decision.tenant), decision)

    def preflight(self, tenant: Tenant, request: GateRequest) -> Response:
        """The answer to a CORS preflight, which brings no cookie: yes to pages of the same site, silence to all others."""
        headers = [(b"cache-control", b"no-store, private"), (b"vary", b"Origin")]
        if tenant.trusts_origin(request):
            wanted = request.header(b"access-control-request-headers")
            headers += [
                *_may_read(request),
                (b"access-control-allow-methods", request.header(b"access-control-request-method")),
                (b"access-control-allow-headers", wanted or b"content-type"),
            ]
        return Response(204, headers)

    def cookies_refused(self, tenant: Tenant, request: GateRequest, return_url: str) -> Response:
        """The page for a browser that does not send back the cookie which would hold its place."""
        page = CookiesRefusedPage(
            tenant_name=tenant.settings.title,
            language=_language(request, tenant),
            asset_prefix=self.prefix,
            return_url=return_url,
        )
        told = (b"waiting-room", waiting_room_header(Decision(Kind.NO_TICKET, tenant)))
        return Response(503, [*_PAGE_HEADERS, told], self.renderer.render(page))

    def session_ended(self, tenant: Tenant, request: GateRequest, return_url: str) -> Response:
        """The page for a visitor who has just given the session up."""
        page = SessionEndedPage(
            tenant_name=tenant.settings.title,
            language=_language(request, tenant),
            asset_prefix=self.prefix,
            ending="left",
            return_url=return_url,
        )
        return Response(200, list(_PAGE_HEADERS), self.renderer.render(page))

    def ticket_headers(self, decision: Decision, request: GateRequest) -> Headers:
        """The headers that hand a newly signed ticket over: the cookie, and the token for clients without cookies."""
        ticket, tenant = decision.ticket, decision.tenant
        if not decision.is_signed_anew or ticket is None or tenant is None:
            return []
        text = self.signer.sign(ticket)
        headers = [(b"set-cookie", tenant.cookie.set(text, request))]
        if not request.header(b"cookie") and (
            request.header(b"waiting-room-token") or wants_json(request.header(b"accept"))
        ):
            headers.append((b"waiting-room-token", text.encode()))
        return headers

    def _finish(self, headers: Headers, decision: Decision, request: GateRequest, refresh: float) -> None:
        headers.append((b"waiting-room", waiting_room_header(decision)))
        if refresh and not decision.kind.passes:
            headers.append(_retry_header(retry_after(refresh)))
        if request.header(b"origin") and decision.tenant is not None and decision.tenant.trusts_origin(request):
            headers += _may_read(request)
        if decision.is_signed_anew:
            headers += self.ticket_headers(decision, request)

    def _code(self, decision: Decision) -> int:
        kind = decision.kind
        if kind is Kind.BLOCKED:
            return 403
        if kind is Kind.LIMITED:
            return 429
        if kind is Kind.QUEUED and decision.tenant is not None:
            return decision.tenant.settings.queueing_status_code
        return 503

    def _refresh(self, desk: _Desk, decision: Decision) -> float:
        kind, head = decision.kind, decision.head
        if kind is Kind.CLOSED or kind is Kind.BLOCKED:
            return 0.0
        if kind is Kind.QUEUED and decision.ticket is not None:
            if decision.ticket.state is TicketState.UNCONFIRMED:
                return desk.poll.unconfirmed()
            until_start = decision.seconds_until_start
            if until_start is not None:
                return desk.poll.prequeue(until_start)
            if head is not None and not head.closed and decision.position > 0:
                wait = decision.wait
                return desk.poll.waiting(None if wait is None else (wait[0] + wait[1]) / 2, decision.position)
        return desk.poll.idle()

    def _page(self, decision: Decision, request: GateRequest, tenant: Tenant, desk: _Desk, refresh: float) -> Page:
        settings = tenant.settings
        language = _language(request, tenant)
        kind = decision.kind
        if kind is Kind.CLOSED:
            return ClosedPage(tenant_name=settings.title, language=language, asset_prefix=self.prefix)
        if kind is Kind.UNAVAILABLE:
            return StoreDownPage(
                tenant_name=settings.title,
                language=language,
                asset_prefix=self.prefix,
                status_url=desk.status_path,
                refresh_seconds=refresh,
                heartbeat_seconds=settings.poll.ceiling,
                return_url=_return_url(request),
            )
        if kind is not Kind.QUEUED:
            return RefusedPage(
                tenant_name=settings.title,
                language=language,
                asset_prefix=self.prefix,
                reason="blocked" if kind is Kind.BLOCKED else "limited",
                retry_seconds=None if kind is Kind.BLOCKED else retry_after(refresh),
            )
        known = decision.position > 0
        now = decision.head.now if decision.head is not None else 0
        state = state_of(decision)
        return_url = _return_url(request)
        confirm_url = desk.confirm_path + _in_query(return_url) if state == "unconfirmed" else None
        event, until_start = tenant.phase.event, decision.seconds_until_start
        if event is not None and until_start is not None:
            return PrequeuePage(
                tenant_name=settings.title,
                language=language,
                asset_prefix=self.prefix,
                status_url=desk.status_path,
                refresh_seconds=refresh,
                heartbeat_seconds=settings.poll.ceiling,
                place_held_seconds=place_held_seconds(decision),
                leave_url=desk.leave_path,
                return_url=return_url,
                confirm_url=confirm_url,
                is_unconfirmed=state == "unconfirmed",
                starts_at=datetime.fromtimestamp(event.starts_at, UTC),
                seconds_until_start=until_start,
                is_shuffled=event.shuffle_at_event_start,
            )
        if state == "paused":
            return PausedPage(
                tenant_name=settings.title,
                language=language,
                asset_prefix=self.prefix,
                status_url=desk.status_path,
                refresh_seconds=refresh,
                heartbeat_seconds=settings.poll.ceiling,
                position=decision.position if known else None,
                users_ahead=decision.position - 1 if known else None,
                place_held_seconds=place_held_seconds(decision),
                updated_at=datetime.fromtimestamp(now // 1_000_000, UTC),
                leave_url=desk.leave_path,
                return_url=return_url,
            )
        return WaitingPage(
            tenant_name=settings.title,
            language=language,
            asset_prefix=self.prefix,
            status_url=desk.status_path,
            refresh_seconds=refresh,
            heartbeat_seconds=settings.poll.ceiling,
            position=decision.position if known else None,
            users_ahead=decision.position - 1 if known else None,
            place_held_seconds=place_held_seconds(decision),
            updated_at=datetime.fromtimestamp(now // 1_000_000, UTC),
            leave_url=desk.leave_path,
            return_url=return_url,
            confirm_url=confirm_url,
            state="unconfirmed" if state == "unconfirmed" else "recovering" if state == "recovering" else "waiting",
            wait_low_seconds=None if decision.wait is None else decision.wait[0],
            wait_high_seconds=None if decision.wait is None else decision.wait[1],
        )

    def _desk(self, tenant: Tenant) -> _Desk:
        desk = self._desks.get(tenant.name)
        if desk is None or desk.tenant is not tenant:
            query = f"?tenant={tenant.name}"
            status_path = f"{self.prefix}status{query}"
            desk = self._desks[tenant.name] = _Desk(
                tenant,
                StatusText(tenant, status_path),
                PollPolicy(tenant.settings),
                status_path,
                f"{self.prefix}leave{query}",
                f"{self.prefix}confirm{query}&return_url=",
            )
        return desk


def waiting_room_header(decision: Decision) -> bytes:
    """The `Waiting-Room` header: what the gate decided, and for which tenant."""
    tenant = decision.tenant
    return _told(decision.kind.word, "" if tenant is None else tenant.name)


@lru_cache(maxsize=4096)
def _retry_header(seconds: int) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % seconds


@lru_cache(maxsize=4096)
def _told(word: str, tenant: str) -> bytes:
    return f"{word};tenant={tenant}".encode() if tenant else word.encode()


def problem(status: int, code: str, detail: str) -> Response:
    """An error in the one shape that Ropeline has for them (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "status": status, "code": code, "detail": detail}).encode()
    return Response(status, [*EVERY_ANSWER, _PROBLEM_TYPE], body)


def _may_read(request: GateRequest) -> Headers:
    """What lets a script of another origin read the answer, and send its cookie along."""
    return [
        (b"access-control-allow-origin", request.header(b"origin")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"Retry-After, Waiting-Room, Waiting-Room-Token"),
    ]


def _language(request: GateRequest, tenant: Tenant) -> str:
    wanted = languages(request.header(b"accept-language"))
    return wanted[0] if wanted else tenant.settings.default_template_language


def _return_url(request: GateRequest) -> str:
    """The path and query that were asked for, or `/` when they could lead a browser elsewhere."""
    return local_path(request.raw_path + (b"?" + request.query if request.query else b""))


def local_path(target: bytes) -> str:
    """A path and query on this host, or `/` when a browser could read another host or a second header into it."""
    if target[:1] != b"/" or target[1:2] in (b"/", b"\\") or target.translate(None, _NOT_IN_A_LINK) != target:
        return "/"
    return target.decode("ascii")


def _in_query(link: str) -> str:
    """A link of `local_path` as the value of a query's field."""
    for sign, escaped in (("%", "%25"), ("&", "%26"), ("+", "%2B"), ("#", "%23"), (";", "%3B")):
        link = link.replace(sign, escaped)
    return link


_NOT_IN_A_LINK = bytes(range(0x21)) + b"\x7f\\" + bytes(range(0x80, 0x100))
