"""Decides about requests: the one place where rules, tickets, the store and the failure policy meet."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ropeline.gate.client_address import ClientAddresses
from ropeline.gate.counts import NOBODY, RULES, STORE_ERRORS, SUSPENDED, Counts, Numbers, Sums, count_time
from ropeline.gate.decision import Decision, Kind
from ropeline.gate.directory import Directory
from ropeline.gate.estimate import estimate_wait
from ropeline.gate.ids import new_id
from ropeline.gate.keeper import Keeper
from ropeline.gate.line import ticket_visit
from ropeline.gate.request import GateRequest
from ropeline.gate.settings import GateSettings, TenantSettings, load_tenants_file
from ropeline.gate.tenant import Tenant
from ropeline.gate.tenant_store import TenantStore
from ropeline.gate.tickets import Ticket, TicketSigner, TicketState
from ropeline.lua.client import Client, connect
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError, StoreDenied, StoreError
from ropeline.lua.results import LineHead, Outcome, Verdict
from ropeline.lua.server_report import check_servers, require_noeviction
from ropeline.lua.visits import Visit

__all__ = ["Gate", "may_get_ticket"]

_log = logging.getLogger("ropeline.gate")

_LOOK_AGAIN_AFTER = 1.0
_TOKEN_HEADER = b"waiting-room-token"
_NAVIGATIONS = frozenset({b"", b"document", b"iframe", b"frame", b"embed", b"object", b"empty"})
# By verdict: the state of the ticket that goes with it, None where there is none.
_TICKET_STATES = (
    TicketState.UNCONFIRMED,
    TicketState.WAITING,
    TicketState.ADMITTED,
    TicketState.WAITING,
    *(None for _ in range(len(Verdict) - 4)),
)


class Gate:
    """One gate process: it belongs to the event loop in which it was started.

    `tenants`: served instead of those in `settings.tenants_file`. `client`: used instead of a connection to
    `settings.redis_url`, and left open.
    """

    def __init__(
        self, settings: GateSettings, *, tenants: Sequence[TenantSettings] | None = None, client: Client | None = None
    ) -> None:
        self.settings = settings
        self.signer = TicketSigner(settings.secret_keys)
        self.addresses = ClientAddresses(settings.trusted_proxies)
        if tenants is None and settings.tenants_file is not None:
            tenants = load_tenants_file(settings.tenants_file)
        self._tenants = tenants or ()
        self._own_client = client is None
        self._client = connect(settings.store()) if client is None else client
        self._bucket_key = hashlib.sha256(b"join buckets\0" + _as_bytes(settings.secret_keys[-1])).digest()
        self._confirm_key = hashlib.sha256(b"confirmed ids\0" + _as_bytes(settings.secret_keys[-1])).digest()
        self.store = TenantStore(self._client, settings.namespace)
        self.directory = Directory(self.store, deadline=settings.deadline_ms / 1000, numbers_of=self._numbers_of)
        self._counts: Counts | None = None
        self._keeper = Keeper(self.directory, self._client, settings.namespace, check=self._check_later)
        self.is_ready = False
        """Whether requests may be decided about: the gate was started, and nothing about the server forbids it."""
        self._is_checked = False
        self._refusal: ConfigurationError | None = None
        self._refused_at = 0.0
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check the server, load the tenants and begin the background work; does nothing when that has been done.

        Raises ConfigurationError for a server whose eviction policy would forget places, or that refuses our
        credentials; it is looked at again a second later at the earliest. A server that does not answer is no error: the
        failure policy decides until it does.
        """
        if self.is_ready:
            return
        if self._refusal is not None and time.monotonic() - self._refused_at < _LOOK_AGAIN_AFTER:
            raise ConfigurationError(*self._refusal.args)
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """End the background work and close the connections; the gate may be started again."""
        self.is_ready = self._is_checked = False
        self._refusal = None
        await self._keeper.stop()
        await self.directory.close()
        if self._own_client:
            try:
                await self._client.aclose()
            except REDIS_ERRORS as error:
                _log.info("a connection to the store did not close in good order: %s", error)

    @property
    def counts(self) -> Counts:
        """What this process counts; raises ConfigurationError when the folder for it cannot be used.

        It is made when it is first asked for, and not before a server has forked its processes.
        """
        if self._counts is None:
            folder = self.settings.metrics_folder
            self._counts = Counts(None if folder is None else Path(folder))
        return self._counts

    def counted(self) -> Sums:
        """What the gate processes of this host have counted."""
        return self.counts.sums()

    def _numbers_of(self, tenant: str) -> Numbers:
        return self.counts.of(tenant)

    def count(self, decision: Decision) -> None:
        """Count what happens to a request for the site."""
        (decision.tenant or self).numbers[decision.kind.index] += 1

    @property
    def numbers(self) -> Numbers:
        """Where requests are counted that are no tenant's."""
        return self._numbers_of(NOBODY)

    async def _start(self) -> None:
        try:
            self._numbers_of(NOBODY)
        except ConfigurationError as error:
            self._refuse(error)
        self.directory.assume(self._tenants)
        try:
            await self._check()
            await self.directory.refresh()
        except StoreError as error:
            _log.warning("the store does not answer yet: %s", error)
        self._keeper.start()
        self.is_ready = True

    async def _check(self) -> None:
        """Look at the server; raises ConfigurationError when it must not be used, StoreError when it does not answer."""
        self._refusal = None
        try:
            require_noeviction(await check_servers(self._client))
        except StoreDenied as error:
            url = self.settings.redacted_redis_url
            self._refuse(ConfigurationError("redis_url", url, f"credentials that the server accepts ({error})"))
        except ConfigurationError as error:
            self._refuse(error)
        self._is_checked = True

    def _refuse(self, error: ConfigurationError) -> None:
        _log.error("the gate refuses to work: %s", error)
        self._refusal, self._refused_at = error, time.monotonic()
        self.is_ready = False
        raise error

    async def _check_later(self) -> None:
        """The check of a server that did not answer at the start."""
        if not self._is_checked and self.is_ready:
            await self._check()

    async def decide(self, request: GateRequest) -> Decision:
        """What happens to a request for the site. A store that does not answer is the failure policy's affair, no error."""
        tenant = self.directory.router.route(request.host, request.raw_path, request.path)
        if tenant is None:
            known = self.settings.unknown_host == "pass" or self.directory.router.knows(request.host)
            return Decision(Kind.BYPASS if known else Kind.MISDIRECTED)
        if tenant.settings.suspended:
            tenant.numbers[SUSPENDED] += 1
            return Decision(Kind.BYPASS, tenant)
        if tenant.rules is not None:
            action, rule = tenant.rules.first(request, self.client_address(request))
            if action == "bypass":
                tenant.numbers[RULES + rule] += 1
                return Decision(Kind.BYPASS, tenant)
            if action == "block":
                return Decision(Kind.BLOCKED, tenant)
        ticket = self.ticket(tenant, request)
        if ticket is not None and tenant.recent.passes(ticket.id):
            return Decision(Kind.ADMITTED, tenant, ticket, position=0)
        if ticket is None and request.method == "OPTIONS" and request.header(b"access-control-request-method"):
            return Decision(Kind.PREFLIGHT, tenant)
        return await self.visit(tenant, request, ticket, may_begin=may_get_ticket(request))

    async def visit(self, tenant: Tenant, request: GateRequest, ticket: Ticket | None, *, may_begin: bool) -> Decision:
        """Ask the store about a visitor. `may_begin`: one without a valid ticket gets a new one."""
        if ticket is None and not may_begin:
            return Decision(Kind.NO_TICKET, tenant)
        first, second = 0, 0
        if tenant.settings.join_limit_per_ip:
            first, second = tenant.join_buckets(self._bucket_key, self.client_address(request))
        if ticket is None:
            fresh = new_id()
            visit = Visit(fresh, first=first, second=second)
        else:
            fresh = self._id_for(ticket)
            visit = ticket_visit(ticket, fresh, may_begin=may_begin, first=first, second=second)
        began = time.perf_counter_ns()
        try:
            head, outcome = await tenant.line.visit(visit)
        except StoreError as error:
            tenant.numbers[STORE_ERRORS] += 1
            count_time(tenant.numbers, time.perf_counter_ns() - began)
            return self._without_store(tenant, ticket, may_mend=error.retryable)
        count_time(tenant.numbers, time.perf_counter_ns() - began)
        if tenant.turn != tenant.line.turn:
            # An event has opened, started or ended, and this answer is of after that.
            tenant = self.directory.tenants.get(tenant.name, tenant)
        if outcome.verdict is Verdict.ENDED and may_begin:
            # The new id was for confirming, which came too late.
            return await self.visit(tenant, request, None, may_begin=True)
        return self._tell(tenant, ticket, fresh, head, outcome)

    def _id_for(self, ticket: Ticket) -> bytes:
        """The id that this visit may give its holder.

        A ticket drawn in a shuffled pre-queue gets the same one whenever it comes to be confirmed, however often it is
        shown; nobody knows beforehand which one, or the best of many tickets could be chosen.
        """
        if ticket.state is TicketState.UNCONFIRMED and ticket.names_window:
            return hmac.digest(self._confirm_key, ticket.tenant.encode() + b"\0" + ticket.id, "sha256")[:16]
        return new_id()

    async def leave(self, tenant: Tenant, ticket: Ticket, *, closing: bool) -> bool:
        """End a visitor's session, or with `closing` shorten its hold; True when it was live. Raises StoreError.

        The store tells the other processes, or one that has just seen the visitor would let the next visit pass without
        asking: the session would not be over there, and a shortened hold would run out under a visitor who came back.
        """
        tenant.recent.forget(ticket.id)
        return await tenant.line.leave(ticket.id, closing=closing)

    async def revoke(self, tenant: Tenant, ticket: Ticket) -> None:
        """End a session for good, as the site asked.

        Raises StoreError when the store could not be told: this process refuses the ticket all the same, and tells the
        store as soon as it answers.
        """
        tenant.recent.forget(ticket.id)
        await tenant.line.end_revoked([ticket.id])

    def ticket(self, tenant: Tenant, request: GateRequest) -> Ticket | None:
        """The visitor's valid ticket, from the cookie or, without one, from the token header."""
        value = tenant.cookie.find(request) or request.header(_TOKEN_HEADER)
        if not value:
            return None
        ticket = self.signer.read(value, tenant.name)
        return None if ticket is None or ticket.id in tenant.line.revoked else ticket

    def is_blocked(self, tenant: Tenant, request: GateRequest) -> bool:
        """Whether a rule refuses the request; the other rules say which requests of the site pass by the line."""
        return tenant.rules is not None and tenant.rules.action(request, self.client_address(request)) == "block"

    def forwarded_host(self, request: GateRequest) -> bytes:
        """The host that a trusted proxy was asked for, when it names one in X-Forwarded-Host; else empty."""
        return request.header(b"x-forwarded-host") if self.addresses.trusts(request.peer) else b""

    def client_address(self, request: GateRequest) -> bytes | None:
        """The client's address, packed; see ClientAddresses."""
        return self.addresses.find(request.peer, request.header(b"x-forwarded-for"))

    def _tell(self, tenant: Tenant, ticket: Ticket | None, fresh: bytes, head: LineHead, outcome: Outcome) -> Decision:
        verdict = outcome.verdict
        state = _TICKET_STATES[verdict]
        if state is None:
            if verdict is Verdict.FULL:
                return self._without_room(tenant, ticket, head)
            kind = {Verdict.LIMITED: Kind.LIMITED, Verdict.REJECTED: Kind.CLOSED}.get(verdict, Kind.NO_TICKET)
            return Decision(kind, tenant, head=head)
        wait, expected = None, 0
        if ticket is not None and not outcome.is_new and ticket.place == outcome.place:
            expected = ticket.estimate
        if verdict is Verdict.ADMITTED or verdict is Verdict.CALLED:
            kind = Kind.ADMITTED
            if verdict is Verdict.ADMITTED:
                known = fresh if outcome.is_new or ticket is None else ticket.id
                tenant.recent.remember(known, (outcome.end - head.clock) / 1000)
        else:
            kind = _kind_in_line(tenant.settings.queueing_method)
            wait = estimate_wait(
                outcome.position,
                fast=head.fast / 1000,
                slow=head.slow / 1000,
                samples=head.samples,
                closed=head.closed,
            )
            if wait is not None and not expected:
                expected = head.clock + int(wait.middle * 1000)
        position = 0 if kind is Kind.ADMITTED else outcome.position
        if (
            ticket is not None
            and not outcome.is_new
            and ticket.state is state
            and ticket.end == outcome.end
            and ticket.place == outcome.place
            and ticket.epoch == head.epoch
        ):
            return Decision(kind, tenant, ticket, head=head, position=position, wait=wait)
        held = Ticket(
            tenant.name,
            fresh if ticket is None or outcome.is_new else ticket.id,
            state,
            outcome.place,
            outcome.since,
            outcome.end,
            head.epoch,
            head.sequence,
            head.generation,
            expected,
        )
        return Decision(kind, tenant, held, is_signed_anew=True, head=head, position=position, wait=wait)

    def _without_store(self, tenant: Tenant, ticket: Ticket | None, *, may_mend: bool) -> Decision:
        """The failure policy's decision; see FailurePolicy for `may_mend`."""
        line, policy = tenant.line, tenant.policy
        clock, generation = line.clock(), line.settings.generation
        held = policy.worth(ticket, clock=clock, generation=generation)
        if held is not None and policy.passes_on_signature(held, clock=clock):
            return Decision(Kind.FAILING_OPEN, tenant, held, position=0)
        if not policy.admits_new(may_mend=may_mend):
            return Decision(Kind.UNAVAILABLE, tenant, held)
        head = line.head
        emergency = policy.emergency_ticket(
            held,
            new_id(),
            clock=clock,
            epoch=0 if head is None else head.epoch,
            sequence=0 if head is None else head.sequence,
            generation=generation,
        )
        return Decision(Kind.FAILING_OPEN, tenant, emergency, is_signed_anew=True, position=0)

    def _without_room(self, tenant: Tenant, ticket: Ticket | None, head: LineHead) -> Decision:
        """The server has no memory left for this visitor.

        Who has drawn a place keeps it by asking, and who was let in without the store stays in: neither can be stored.
        """
        held = tenant.policy.worth(ticket, clock=head.clock, generation=head.generation)
        if held is None or held.state not in (TicketState.UNCONFIRMED, TicketState.EMERGENCY):
            return self._without_store(tenant, None, may_mend=True)
        decision = self._without_store(tenant, held, may_mend=True)
        if decision.kind is not Kind.UNAVAILABLE or held.state is TicketState.EMERGENCY:
            return decision
        kept = held._replace(end=head.clock + tenant.settings.confirm_within_ms)
        return Decision(Kind.UNAVAILABLE, tenant, kept, is_signed_anew=True)


def _kind_in_line(method: str) -> Kind:
    if method == "passthrough":
        return Kind.ADMITTED
    return Kind.CLOSED if method == "reject" else Kind.QUEUED


def may_get_ticket(request: GateRequest) -> bool:
    """Whether a person or a program is asking, rather than a page for its parts, or a browser for what may come next."""
    if request.header(b"sec-fetch-dest") not in _NAVIGATIONS:
        return False
    purpose = request.header(b"sec-purpose") or request.header(b"purpose")
    return not purpose or not purpose.startswith((b"prefetch", b"prerender"))


def _as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key
