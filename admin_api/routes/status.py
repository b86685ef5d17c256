"""How the lines stand."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field

from fastapi import APIRouter, Request

from ropeline.admin_api.answers import Json
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint
from ropeline.admin_api.operators import Role
from ropeline.admin_api.paging import MOST, After, Limit, page_of
from ropeline.admin_api.routes.tenants import visible_names
from ropeline.admin_api.schema import Maybe, Words
from ropeline.admin_api.snapshots import Sight
from ropeline.gate.fields import SLUG, Choice, Flag, Integer, ListOf, Number, Table, described
from ropeline.gate.snapshot import STATES
from ropeline.gate.tenant_store import UnknownTenant
from ropeline.lua.errors import ConfigurationError, StoreError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["status"])

_COUNT = Integer(0, 2**53)
_NUMBER = Number(0, 2**53)


@dataclass(frozen=True, slots=True)
class WaitRange:
    """Between which waits the turn of somebody who comes now is expected."""

    low: int = field(metadata=described(_COUNT, "The least that is expected.", "seconds", example=40))
    high: int = field(metadata=described(_COUNT, "The most that is expected.", "seconds", example=75))


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of a line since its data began."""

    joined: int = field(metadata=described(_COUNT, "Visitors who were given a place.", "visitors"))
    called: int = field(metadata=described(_COUNT, "Visitors whose turn has come.", "visitors"))
    admitted: int = field(metadata=described(_COUNT, "Visitors who have been on the site.", "visitors"))
    abandoned: int = field(metadata=described(_COUNT, "Visitors who stopped waiting.", "visitors"))
    missed: int = field(metadata=described(_COUNT, "Turns that nobody was there for."))
    ended: int = field(metadata=described(_COUNT, "Visits that ran out.", "visits"))
    left: int = field(metadata=described(_COUNT, "Visitors who left by themselves.", "visitors"))
    revoked: int = field(metadata=described(_COUNT, "Sessions that were ended for good.", "sessions"))
    restored: int = field(metadata=described(_COUNT, "Sessions that tickets brought back.", "sessions"))
    limited: int = field(metadata=described(_COUNT, "Visitors who were refused by `join_limit_per_ip`.", "visitors"))
    waited_ms: int = field(metadata=described(_COUNT, "Sum of the waits of all who were admitted.", "milliseconds"))
    estimates: int = field(metadata=described(_COUNT, "Admissions for which a wait had been foretold."))
    estimate_error_ms: int = field(metadata=described(_COUNT, "Sum of how wrong these estimates were.", "milliseconds"))
    unseen: int = field(metadata=described(_COUNT, "Called visitors who have not been seen: of now.", "visitors"))


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """How one line stands."""

    name: str = field(metadata=described(SLUG, "The tenant.", example="acme"))
    status: str = field(
        metadata=described(
            Choice(("not_queueing", "queueing", "event_prequeueing", "suspended")),
            "Whether somebody who comes now has to wait, in Cloudflare's words.",
        )
    )
    state: str = field(metadata=described(Choice(STATES), "What happens to a new visitor, or what is in the way."))
    waiting: int = field(metadata=described(_COUNT, "Visitors in line.", "visitors", example=120))
    active: int = field(metadata=described(_COUNT, "Visitors on the site or called.", "visitors", example=500))
    quota: int = field(metadata=described(_COUNT, "Most of these at once.", "visitors", example=500))
    rate: int | None = field(
        metadata=described(Maybe(_COUNT, "no limit"), "Most admissions.", "visitors a minute", example=300)
    )
    admitted_a_minute: float | None = field(
        metadata=described(
            Maybe(_NUMBER, "none was measured yet"), "Admissions as measured.", "visitors a minute", example=88.5
        )
    )
    estimated_wait_seconds: WaitRange | None = field(
        metadata=described(Maybe(Table(WaitRange), "it is not known"), "How long somebody who comes now would wait.")
    )
    version: int = field(metadata=described(_COUNT, "Of the settings.", example=7))
    generation: int = field(metadata=described(_COUNT, "Of the flushes."))
    stale: bool = field(
        metadata=described(Flag(), "True: the store cannot be asked, and this is how it stood at `taken_at`.")
    )
    taken_at: float = field(
        metadata=described(_NUMBER, "When this was read.", "seconds since 1970", example=1_790_985_600.25)
    )
    totals: Totals = field(metadata=described(Table(Totals), "Since the data of the line began."))


@dataclass(frozen=True, slots=True)
class StatusPage:
    """How some lines stand, sorted by name."""

    tenants: tuple[TenantStatus, ...] = field(
        metadata=described(ListOf(Table(TenantStatus), MOST), "The tenants of this page that have settings.")
    )
    next: str | None = field(
        metadata=described(
            Maybe(Words(), "this is the last page"), "What to send as `after` for the next page.", example="acme"
        )
    )


@endpoint(router, "GET", "/status", role=Role.VIEWER, summary="How do all lines stand?", answer=StatusPage)
async def list_statuses(request: Request, limit: Limit = 50, after: After = "") -> Json:
    """Says how the lines of the caller's tenants stand, page by page, two calls of the store for each."""
    snapshots = context_of(request).snapshots
    names, following = page_of(visible_names(request, await snapshots.names()), after, limit)
    found = await asyncio.gather(*(_look_quietly(request, name) for name in names))
    return Json(StatusPage(tuple(_shown(sight) for sight in found if sight), following))


@endpoint(
    router,
    "GET",
    "/tenants/{tenant}/status",
    role=Role.VIEWER,
    summary="How does a line stand?",
    answer=TenantStatus,
)
async def read_status(request: Request, tenant: str) -> Json:
    """Says how one line stands. While the store is away, how it stood when it was last read here, marked as stale."""
    return Json(_shown(await context_of(request).snapshots.look(tenant)))


async def _look_quietly(request: Request, name: str) -> Sight | None:
    try:
        return await context_of(request).snapshots.look(name)
    except (UnknownTenant, ConfigurationError, StoreError):
        return None


def _shown(sight: Sight) -> TenantStatus:
    snapshot = sight.snapshot
    head, wait = snapshot.status.head, snapshot.wait
    return TenantStatus(
        snapshot.name,
        snapshot.queueing,
        snapshot.state,
        head.waiting,
        head.active,
        snapshot.settings.quota,
        snapshot.settings.rate,
        snapshot.admitted_a_minute,
        None if wait is None else WaitRange(max(0, wait.low), wait.high),
        snapshot.version,
        head.generation,
        sight.is_stale,
        sight.taken_at,
        Totals(**asdict(snapshot.status.counters)),
    )
