"""What a gate would do with a request, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from fastapi import APIRouter, Request

from ropeline.admin_api.answers import Json
from ropeline.admin_api.bodies import read_body
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint, operator_of
from ropeline.admin_api.operators import Role
from ropeline.admin_api.schema import Maybe, Words
from ropeline.admin_api.tenants import read_tenant
from ropeline.gate.client_address import pack_address
from ropeline.gate.errors import BadRequest
from ropeline.gate.fields import Choice, Flag, Integer, ListOf, Table, Text, check_fields, described, line_of_text
from ropeline.gate.hosts import Route, Router
from ropeline.gate.request import GateRequest
from ropeline.gate.rules import RuleSet
from ropeline.gate.settings import TenantSettings
from ropeline.lua.errors import ConfigurationError

__all__ = ["router"]

router = APIRouter(prefix="/v1/requests", tags=["rules"])

_LONGEST_URL = 4_096


def _url(text: str) -> str | None:
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_good = parts.scheme in ("http", "https") and parts.netloc and text.isascii() and text.isprintable()
    return text if is_good and len(text) <= _LONGEST_URL and "@" not in parts.netloc else None


def _method(text: str) -> str | None:
    return text if 0 < len(text) <= 32 and text.isascii() and text.isalpha() else None


def _latin(text: str) -> str | None:
    return text if len(text) <= 4_096 and all(" " <= character <= "ÿ" for character in text) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header of a request."""

    name: str = field(
        metadata=described(Text("the name of a header", line_of_text(256)), "Its name.", example="Cookie")
    )
    value: str = field(metadata=described(Text("a line of Latin-1", _latin), "Its value.", example="plan=gold"))

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.name.isascii():
            raise ConfigurationError("name", self.name, "the name of a header")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDraft:
    """A request that somebody might make."""

    url: str = field(
        metadata=described(
            Text("a URL of http or https in ASCII", _url), "What is asked for.", example="https://shop.example.com/cart"
        )
    )
    method: str = field(default="GET", metadata=described(Text("a method such as GET", _method), "How."))
    headers: tuple[Header, ...] = field(
        default=(), metadata=described(ListOf(Table(Header), 100), "Further headers; the host is in the URL.")
    )
    client_address: str | None = field(
        default=None,
        metadata=described(
            Text("an IP address", lambda text: text if pack_address(text) else None, absent="not known"),
            "From where.",
            example="192.0.2.7",
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule says of the request."""

    rule: int = field(metadata=described(Integer(0, 100), "Its place in `rules`, from 0."))
    action: str = field(metadata=described(Choice(("queue", "bypass", "block")), "What it would do."))
    description: str = field(metadata=described(Words(), "As it is described.", example="static files pass"))
    applies: bool = field(metadata=described(Flag(), "Whether all its conditions hold."))
    conditions: tuple[bool, ...] = field(metadata=described(ListOf(Flag(), 10), "Whether each of them holds."))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a gate would do with the request."""

    tenant: str | None = field(
        metadata=described(Maybe(Words(), "none of yours"), "The tenant that it belongs to.", example="acme")
    )
    route: str | None = field(
        metadata=described(
            Maybe(Words(), "there is none"), "The host and path that matched.", example="shop.example.com/"
        )
    )
    action: str | None = field(
        metadata=described(
            Maybe(Choice(("queue", "bypass", "block")), "it belongs to no tenant of yours"),
            "`queue`: through the line. `bypass`: to the site. `block`: refused with 403.",
            example="bypass",
        )
    )
    rule: int | None = field(
        metadata=described(Maybe(Integer(0, 100), "none applies"), "The first rule that applies, from 0.", example=0)
    )
    why: str = field(metadata=described(Words(), "The same in a sentence.", example="rule 0 applies"))
    rules: tuple[RuleOutcome, ...] = field(
        metadata=described(ListOf(Table(RuleOutcome), 100), "Every rule of the tenant, in its order.")
    )


@endpoint(
    router,
    "POST",
    "/test",
    role=Role.VIEWER,
    summary="What would become of a request?",
    body=RequestDraft,
    answer=Explanation,
    problems=(409,),
)
async def explain_request(request: Request) -> Json:
    """Says which tenant and which rule a request would meet, and why. Nothing is asked of the line."""
    draft = await read_body(request, RequestDraft)
    parts = urlsplit(draft.url)
    raw_path = (parts.path or "/").encode()
    headers = [(header.name.lower().encode(), header.value.encode("latin-1")) for header in draft.headers]
    try:
        asked = GateRequest(
            draft.method,
            parts.scheme,
            raw_path,
            unquote_to_bytes(raw_path),
            headers=[(b"host", parts.netloc.encode()), *headers],
            query=parts.query.encode(),
        )
    except BadRequest as error:
        raise ConfigurationError("headers", [header.name for header in draft.headers], str(error)) from None
    store = context_of(request).tenants
    entries = [(_route(text), (name, text)) for text, name in (await store.routes()).items()]
    found = Router([([route], entry) for route, entry in entries if route]).route(asked.host, raw_path, asked.path)
    if found is None or not operator_of(request).key.covers(found[0]):
        return Json(Explanation(None, None, None, None, "no tenant of yours stands at this host and path", ()))
    name, route_text = found
    settings = (await read_tenant(store, name)).settings
    return Json(_explained(settings, route_text, asked, pack_address(draft.client_address or "")))


def _route(text: str) -> Route | None:
    host, slash, path = text.partition("/")
    try:
        return Route(host=host, path=slash + path)
    except ConfigurationError:
        return None


def _explained(settings: TenantSettings, route: str, asked: GateRequest, address: bytes | None) -> Explanation:
    rules = RuleSet(settings.rules)
    outcomes = tuple(
        RuleOutcome(number, rule.action, rule.description, all(holds), tuple(holds))
        for number, (rule, holds) in enumerate(zip(settings.rules, rules.outcomes(asked, address), strict=True))
    )
    first = next((outcome.rule for outcome in outcomes if outcome.applies), None)
    action = rules.action(asked, address)
    if settings.suspended:
        action, why = "bypass", "the tenant is suspended: every request passes"
    elif first is None:
        why = "no rule applies: it queues like any other"
    else:
        why = f"rule {first} is the first that applies: all its conditions hold"
    return Explanation(settings.name, route, action, first, why, outcomes)
