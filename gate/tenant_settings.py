"""Holds what an operator sets for one tenant, checked when it is built.

Names are those of Cloudflare's waiting rooms where it has the setting. Times are seconds unless the field says minutes;
the properties in milliseconds are what the store and the tickets count in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ropeline.gate.closed_loop import ClosedLoop
from ropeline.gate.events import MOST_EVENTS, Event, check_events
from ropeline.gate.fields import (
    SLUG,
    Choice,
    Flag,
    Integer,
    ListOf,
    Number,
    Table,
    Text,
    build,
    check_fields,
    described,
    line_of_text,
    to_plain,
)
from ropeline.gate.hosts import HOST, PATH, Route, host_pattern
from ropeline.gate.rules import Rule
from ropeline.lua.errors import ConfigurationError

MOST = 10_000_000
_DAY = 86_400


def _language(text: str) -> str | None:
    parts = text.split("-")
    plain = len(text) <= 35 and text.isascii() and all(part.isalnum() and len(part) <= 8 for part in parts)
    return text.lower() if plain and len(parts[0]) >= 2 else None


def _domain(text: str) -> str | None:
    host = host_pattern(text)
    return host if host and "." in host and host[0] not in "*[" and not host.replace(".", "").isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How often a waiting visitor asks: the estimated wait divided by `divisor`, within `floor` and `ceiling`."""

    floor: float = field(
        default=5, metadata=described(Number(0.1, 600), "Shortest time between two polls of a visitor.", "seconds")
    )
    ceiling: float = field(
        default=30,
        metadata=described(
            Number(0.1, 600), "Longest time between two polls, and the heartbeat of a hidden tab.", "seconds"
        ),
    )
    divisor: float = field(
        default=10, metadata=described(Number(1, 1000), "How many polls the estimated wait is divided into.")
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.floor > self.ceiling:
            raise ConfigurationError("floor", self.floor, f"at most the ceiling, {self.ceiling:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieAttributes:
    """How the ticket's cookie is sent. HttpOnly and Path=/ are always set."""

    samesite: str = field(
        default="auto",
        metadata=described(
            Choice(("auto", "lax", "strict", "none")),
            "`auto` is lax. `none` is for a site that is shown inside another one.",
        ),
    )
    secure: str = field(
        default="auto",
        metadata=described(
            Choice(("auto", "always", "never")),
            "`auto` leaves Secure out on plain http from a loopback address alone. `never` also gives up the"
            " protection of the cookie's name.",
        ),
    )
    domain: str | None = field(
        default=None,
        metadata=described(
            Text("a domain such as example.com", _domain, absent="the cookie stays on its host"),
            "For a tenant that spans subdomains: one ticket for all of them.",
            example="example.com",
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.samesite == "none" and self.secure == "never":
            raise ConfigurationError(
                "secure", self.secure, "auto or always, since browsers refuse samesite none without it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """Everything that an operator sets for one tenant. Raises ConfigurationError when built from values that cannot work."""

    name: str = field(
        metadata=described(SLUG, "Name in keys, cookies, logs and metrics. It never changes.", example="acme")
    )
    title: str = field(
        default="",
        metadata=described(
            Text("1 to 200 printable characters", lambda text: text if text == "" else line_of_text(200)(text)),
            "Name that visitors read. Empty: the name.",
            example="Acme Tickets",
        ),
    )
    host: str = field(
        metadata=described(
            HOST, "Host that is gated. An exact host goes before a wildcard.", example="tickets.example.com"
        )
    )
    path: str = field(
        default="/",
        metadata=described(
            PATH, "Path that is gated with everything below it, in any spelling. The longest path goes first."
        ),
    )
    additional_routes: tuple[Route, ...] = field(
        default=(),
        metadata=described(
            ListOf(Table(Route), 100),
            "Further hosts and paths with the same line.",
            example=[{"host": "www.example.com", "path": "/tickets"}],
        ),
    )
    total_active_users: int = field(
        metadata=described(
            Integer(0, MOST),
            "The quota: most visitors on the site at once. A lower one throws nobody out. 0 lets nobody in.",
            "visitors",
            example=500,
        )
    )
    new_users_per_minute: int | None = field(
        default=None,
        metadata=described(
            Integer(0, MOST, absent="no limit"),
            "The rate: most admissions a minute. 0 lets nobody in.",
            "visitors a minute",
            example=300,
        ),
    )
    session_duration: float = field(
        default=5,
        metadata=described(
            Number(0.01, 1440), "How long an admitted visitor may be silent before its slot is free.", "minutes"
        ),
    )
    disable_session_renewal: bool = field(
        default=False,
        metadata=described(Flag(), "True ends each visit `session_duration` after its start, busy or not."),
    )
    session_max: float = field(
        default=14_400,
        metadata=described(Number(1, 30 * _DAY), "Longest visit, however often it is renewed.", "seconds"),
    )
    queue_all: bool = field(
        default=False, metadata=described(Flag(), "True sends every new visitor into line and admits nobody.")
    )
    paused: bool = field(
        default=False,
        metadata=described(Flag(), "True admits nobody for now; the line keeps its order and visitors are told."),
    )
    suspended: bool = field(
        default=False, metadata=described(Flag(), "True switches the gate off for this tenant: every request passes.")
    )
    queueing_method: str = field(
        default="fifo",
        metadata=described(
            Choice(
                ("fifo", "passthrough", "reject"),
                instead="random belongs to the pre-queue of an event: shuffle_at_event_start",
            ),
            "`fifo`: first come, first served. `passthrough`: everybody passes, and is counted. `reject`: there is"
            " no line and nobody new gets in; who is in stays in.",
        ),
    )
    queueing_status_code: int = field(
        default=503,
        metadata=described(
            Choice((503, 200, 202, 429)),
            "HTTP status of the answer to a waiting visitor. 503 keeps search engines and caches away; some load"
            " balancers count it as a fault, for them 202.",
        ),
    )
    json_response_enabled: bool = field(
        default=True, metadata=described(Flag(), "False answers a waiting client with HTML even when it asks for JSON.")
    )
    cookie_attributes: CookieAttributes = field(
        default_factory=CookieAttributes,
        metadata=described(Table(CookieAttributes), "How the ticket's cookie is sent."),
    )
    default_template_language: str = field(
        default="en",
        metadata=described(
            Text("a language tag such as en or pt-br", _language),
            "Language of the page when the visitor's is not there.",
        ),
    )
    enabled_origin_commands: tuple[str, ...] = field(
        default=("revoke",),
        metadata=described(
            ListOf(Choice(("revoke",)), 1),
            "Which `Waiting-Room-Command` headers of the site's answers are obeyed. `revoke` ends the visit.",
        ),
    )
    waiting_ttl: float = field(
        default=180,
        metadata=described(
            Number(0.3, _DAY),
            "How long a silent visitor in line counts as present. At least 3 x `poll.ceiling`.",
            "seconds",
        ),
    )
    confirm_within: float = field(
        default=30,
        metadata=described(
            Number(0.3, 3600), "How long a drawn place waits for its visitor to come back with the cookie.", "seconds"
        ),
    )
    claim_within: float = field(
        default=120,
        metadata=described(
            Number(0.3, 3600),
            "How long a slot is held for a visitor whose turn has come. At least 1.3 x `poll.ceiling`.",
            "seconds",
        ),
    )
    return_within: float = field(
        default=600,
        metadata=described(
            Number(0, _DAY), "How long after `waiting_ttl` an absent visitor may come back to its old place.", "seconds"
        ),
    )
    leave_hold: float = field(
        default=60,
        metadata=described(Number(0.1, 3600), "How long a slot is held after the visitor closed its tab.", "seconds"),
    )
    recovery_hold: float | None = field(
        default=None,
        metadata=described(
            Number(0, _DAY, absent="the largest of 1.3 x `poll.ceiling`, 60 and the keep-alive interval"),
            "How long nobody is admitted after the store lost data, while tickets bring the places back.",
            "seconds",
            example=60,
        ),
    )
    clock_step: float = field(
        default=3,
        metadata=described(
            Number(0.1, 600),
            "Most that an outage or a jump of the server's clock takes from a hold. 180 where only a task each minute"
            " keeps the line going.",
            "seconds",
        ),
    )
    on_store_error: str = field(
        default="bounded",
        metadata=described(
            Choice(("bounded", "open", "closed")),
            "When the store cannot be reached. `bounded`: admitted visitors pass, new ones share `emergency_rate`."
            " `open`: everybody passes. `closed`: admitted visitors pass, nobody new does.",
        ),
    )
    emergency_rate: float | None = field(
        default=None,
        metadata=described(
            Number(0, MOST, absent="half of `new_users_per_minute`, or without one a tenth of the quota, at least 1"),
            "Most admissions a minute of each gate process while the store cannot be reached.",
            "visitors a minute and process",
            example=30,
        ),
    )
    recheck: float | None = field(
        default=None,
        metadata=described(
            Number(0, _DAY, absent="a quarter of `session_duration`"),
            "How long an admitted visitor passes on its ticket alone. 0 asks the store for every request. At most half of"
            " `session_duration`.",
            "seconds",
            example=75,
        ),
    )
    join_limit_per_ip: int = field(
        default=120,
        metadata=described(
            Integer(0, 1_000_000),
            "Most new visitors from one address (IPv6: one /64). 0 means no limit.",
            "visitors a minute",
        ),
    )
    theme: str = field(default="default", metadata=described(SLUG, "Theme of the page."))
    poll: Poll = field(default_factory=Poll, metadata=described(Table(Poll), "How often a waiting visitor asks."))
    rules: tuple[Rule, ...] = field(
        default=(),
        metadata=described(
            ListOf(Table(Rule), 100),
            "Which requests pass by the line or are refused; the first that applies decides.",
            example=[
                {
                    "action": "bypass",
                    "description": "static files pass",
                    "conditions": [{"subject": "path", "operator": "prefix", "value": "/static"}],
                }
            ],
        ),
    )
    events: tuple[Event, ...] = field(
        default=(),
        metadata=described(ListOf(Table(Event), MOST_EVENTS), "Launches: when the line goes by other settings."),
    )
    closed_loop: ClosedLoop = field(
        default_factory=ClosedLoop,
        metadata=described(Table(ClosedLoop), "Lets the quota in force follow what the site can carry."),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.title:
            object.__setattr__(self, "title", self.name)
        self._check_times()
        self._check_routes()
        check_events(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, source: str) -> "TenantSettings":
        """The settings in a mapping read from TOML or JSON. `source` says in errors where it came from."""
        return build(cls, mapping, prefix=f"{source}: ")

    def to_mapping(self) -> dict[str, object]:
        """The inverse of `from_mapping`, in types that TOML and JSON have; what is None is left out."""
        return to_plain(self)

    @property
    def quota(self) -> int:
        """Most admitted sessions at once."""
        return self.total_active_users

    @property
    def rate(self) -> int | None:
        """Most admissions a minute; None: no limit."""
        return self.new_users_per_minute

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every host and path of this tenant, the main one first."""
        return (Route(host=self.host, path=self.path), *self.additional_routes)

    @property
    def session_ttl_ms(self) -> int:
        """`session_duration` in milliseconds."""
        return round(self.session_duration * 60_000)

    @property
    def session_max_ms(self) -> int:
        return _ms(self.session_max)

    @property
    def waiting_ttl_ms(self) -> int:
        return _ms(self.waiting_ttl)

    @property
    def confirm_within_ms(self) -> int:
        return _ms(self.confirm_within)

    @property
    def claim_within_ms(self) -> int:
        return _ms(self.claim_within)

    @property
    def return_within_ms(self) -> int:
        return _ms(self.return_within)

    @property
    def leave_hold_ms(self) -> int:
        return _ms(self.leave_hold)

    @property
    def clock_step_ms(self) -> int:
        return _ms(self.clock_step)

    @property
    def recheck_ms(self) -> int:
        """How long a ticket that the store has seen passes on its signature; 0: never."""
        return self.session_ttl_ms // 4 if self.recheck is None else _ms(self.recheck)

    @property
    def keepalive_interval_ms(self) -> int:
        """How often an active visitor's page renews the session: not sooner than a renewal gains anything."""
        return max(self.session_ttl_ms // 4, self.recheck_ms, 1)

    @property
    def recovery_hold_ms(self) -> int:
        """How long nobody is admitted after a loss: long enough for everybody who polls or is active to come by once."""
        if self.recovery_hold is not None:
            return _ms(self.recovery_hold)
        return max(_ms(1.3 * self.poll.ceiling), 60_000, self.keepalive_interval_ms)

    @property
    def emergency_admissions_per_minute(self) -> float:
        """`emergency_rate`, or what it is when nothing is set."""
        if self.emergency_rate is not None:
            return self.emergency_rate
        return max(1.0, self.quota / 10 if self.rate is None else self.rate / 2)

    def _check_times(self) -> None:
        ceiling = self.poll.ceiling
        if self.waiting_ttl < 3 * ceiling:
            raise ConfigurationError("waiting_ttl", self.waiting_ttl, f"at least {3 * ceiling:g}, 3 x poll.ceiling")
        if self.claim_within < 1.3 * ceiling:
            raise ConfigurationError(
                "claim_within", self.claim_within, f"at least {1.3 * ceiling:g}, 1.3 x poll.ceiling"
            )
        if self.session_max_ms < self.session_ttl_ms:
            least = f"at least session_duration, {self.session_ttl_ms / 1000:g} seconds"
            raise ConfigurationError("session_max", self.session_max, least)
        if self.recheck_ms * 2 > self.session_ttl_ms:
            most = f"at most half of session_duration, {self.session_ttl_ms / 2000:g} seconds"
            raise ConfigurationError("recheck", self.recheck, most)

    def _check_routes(self) -> None:
        domain = self.cookie_attributes.domain
        seen: set[tuple[str, str]] = set()
        for index, route in enumerate(self.routes):
            field_name = "host" if index == 0 else f"additional_routes[{index - 1}]"
            if (route.host, route.path) in seen:
                raise ConfigurationError(field_name, f"{route.host}{route.path}", "a route that is not listed yet")
            seen.add((route.host, route.path))
            if domain is not None and not f".{route.host.removeprefix('*.')}".endswith(f".{domain}"):
                raise ConfigurationError("cookie_attributes.domain", domain, f"a domain that {route.host} belongs to")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
