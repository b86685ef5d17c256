"""One tenant in a gate process: its settings made ready for the request path, and its line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ropeline.gate.client_address import join_buckets
from ropeline.gate.cookies import TicketCookie
from ropeline.gate.counts import Numbers
from ropeline.gate.events import Phase, phase_at, settings_in
from ropeline.gate.failures import FailurePolicy
from ropeline.gate.hosts import Router, normalise_host
from ropeline.gate.line import Line
from ropeline.gate.lots import Lottery
from ropeline.gate.meter import Meter
from ropeline.gate.presence import Presence
from ropeline.gate.recent import RecentVisits
from ropeline.gate.request import GateRequest
from ropeline.gate.rules import RuleSet
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import StoredTenant
from ropeline.lua.scripts import LineScripts
from ropeline.lua.visits import NOT_COUNTED

__all__ = ["Tenant"]

_BUCKETS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """Everything that a request of this tenant needs, built once for each version of its settings.

    The line, what is known of recent visits, who has a connection open, and what was counted, outlive a change of the settings.
    `stored`: as the store has it. `phase`, `settings`: what is in force of it, since `turn` (the server's us).
    """

    stored: StoredTenant
    turn: int
    phase: Phase
    settings: TenantSettings
    line: Line
    recent: RecentVisits
    presence: Presence
    policy: FailurePolicy
    rules: RuleSet | None
    cookie: TicketCookie
    buckets: dict[bytes, tuple[int, int]]
    router: Router[bool]
    numbers: Numbers

    @classmethod
    def first(cls, stored: StoredTenant, scripts: LineScripts, *, deadline: float, numbers: Numbers) -> Tenant:
        """The tenant as this process comes to know it; `deadline`: seconds for one visit; `numbers`: where it is counted."""
        return cls._build(stored, Line(scripts, stored.copy(), deadline=deadline), Presence(), numbers)

    def replaced(self, stored: StoredTenant) -> Tenant:
        """The tenant under new settings: recent visits have to be confirmed by the store again."""
        copy = stored.copy()
        # A store that lost a flush must not bring back what was flushed.
        copy.generation = max(copy.generation, self.line.settings.generation)
        self.line.settings = copy
        return self._build(stored, self.line, self.presence, self.numbers)

    def turned(self) -> Tenant:
        """The tenant under the settings that are in force by now."""
        return self._build(self.stored, self.line, self.presence, self.numbers)

    def flushed(self, generation: int) -> Tenant:
        """The tenant after a flush: no visit from before it counts."""
        self.line.settings.generation = generation
        return replace(self, recent=RecentVisits(self.settings.recheck_ms / 1000))

    @classmethod
    def _build(cls, stored: StoredTenant, line: Line, presence: Presence, numbers: Numbers) -> Tenant:
        phase = phase_at(stored.settings.events, line.turn / 1_000_000)
        settings = settings_in(stored.settings, phase)
        line.meter = Meter(settings.closed_loop) if settings.closed_loop.enabled else None
        return cls(
            stored=stored,
            turn=line.turn,
            phase=phase,
            settings=settings,
            line=line,
            recent=RecentVisits(settings.recheck_ms / 1000),
            presence=presence,
            policy=FailurePolicy(settings),
            rules=RuleSet(settings.rules) if settings.rules else None,
            cookie=TicketCookie(settings),
            buckets={},
            router=Router([(settings.routes, True)]),
            numbers=numbers,
        )

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.settings.name

    @property
    def lottery(self) -> Lottery | None:
        """The draw of the event that is open, if its places are drawn by lot."""
        return None if self.phase.event is None else self.stored.lottery(self.phase.event)

    @property
    def version(self) -> int:
        """Of the stored settings."""
        return self.stored.version

    def trusts_origin(self, request: GateRequest) -> bool:
        """Whether the page that a cross-origin request comes from belongs to the tenant's site.

        So a current browser says, which knows where one site ends and the next one begins; else its host is one of the
        tenant's, or lies in the domain that the tenant's cookie is for. On plain http only where the cookie may travel so.
        """
        scheme, _, host = request.header(b"origin").partition(b"://")
        name = normalise_host(host) if host else None
        if name is None:
            return False
        site = request.header(b"sec-fetch-site")
        if site:
            return site in (b"same-origin", b"same-site")
        if scheme != b"https" and not self.cookie.is_plain(request):
            return False
        domain = self.settings.cookie_attributes.domain
        return self.router.knows(name) or (domain is not None and f".{name.decode()}".endswith(f".{domain}"))

    def join_buckets(self, key: bytes, address: bytes | None) -> tuple[int, int]:
        """The counters of the join limit for a client address (packed); None, not known, counts nowhere."""
        if address is None:
            return NOT_COUNTED, NOT_COUNTED
        known = self.buckets.get(address)
        if known is None:
            if len(self.buckets) >= _BUCKETS_REMEMBERED:
                self.buckets.clear()
            known = self.buckets[address] = join_buckets(key, self.settings.name, address)
        return known
