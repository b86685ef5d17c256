"""Who changed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from ropeline.admin_api.answers import Json
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint
from ropeline.admin_api.operators import Role
from ropeline.admin_api.paging import MOST, Limit
from ropeline.admin_api.schema import AnyObject, Maybe, Words
from ropeline.admin_api.tenants import read_tenant
from ropeline.gate.fields import Integer, ListOf, Number, Table, described
from ropeline.lua.audit import AuditEntry

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["audit"])

_COUNT = Integer(0, 2**53)

Before = Annotated[
    str,
    Query(
        pattern=r"^([0-9]{1,15}-[0-9]{1,10})?$", description="Older than the entry with this `id`; empty: the newest."
    ),
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change."""

    id: str = field(metadata=described(Words(), "Names the entry.", example="1790985600250-0"))
    sequence: int = field(
        metadata=described(_COUNT, "Counts the changes of the trail from 1, without a gap.", example=3)
    )
    at: float = field(
        metadata=described(
            Number(0, 2**53), "When it was, by the store's clock.", "seconds since 1970", example=1_790_985_600.25
        )
    )
    actor: str = field(
        metadata=described(
            Words(), "Who did it: `key:ID`, `cli:USER`, `file`, `up` or `program`.", example="key:3f2a90c1d2e4"
        )
    )
    action: str = field(metadata=described(Words(), "What was done, in one word.", example="change"))
    reason: str = field(metadata=described(Words(), "Why, in the words of who did it.", example="the launch"))
    about: str = field(metadata=described(Words(), "The tenant or the key that was changed.", example="acme"))
    version: int | None = field(
        metadata=described(Maybe(_COUNT, "keys have none"), "The version of the settings after it.", example=7)
    )
    generation: int | None = field(
        metadata=described(Maybe(_COUNT, "keys have none"), "The flush generation after it.")
    )
    changes: Mapping[str, Any] = field(
        metadata=described(
            AnyObject(),
            "Each part that differs, with what it was `before` and `after`.",
            example={"total_active_users": {"before": 3, "after": 5}},
        )
    )
    before: Mapping[str, Any] | None = field(
        metadata=described(
            Maybe(AnyObject(), "there was nothing, or it stayed as it was"),
            "All of it before.",
            example={"total_active_users": 3},
        )
    )
    after: Mapping[str, Any] | None = field(
        metadata=described(
            Maybe(AnyObject(), "there is nothing, or it stayed as it was"),
            "All of it after.",
            example={"total_active_users": 5},
        )
    )


@dataclass(frozen=True, slots=True)
class Trail:
    """Some changes, the newest first."""

    entries: tuple[Entry, ...] = field(metadata=described(ListOf(Table(Entry), MOST), "The changes of this page."))
    next: str | None = field(
        metadata=described(
            Maybe(Words(), "this is the last page"),
            "What to send as `before` for older ones.",
            example="1790985600250-0",
        )
    )


@endpoint(router, "GET", "/tenants/{tenant}/audit", role=Role.VIEWER, summary="Who changed a tenant?", answer=Trail)
async def read_audit(request: Request, tenant: str, limit: Limit = 50, before: Before = "") -> Json:
    """Reads the changes of a tenant, about the last 2,000, the newest first; those of one that was deleted too."""
    store = context_of(request).tenants
    entries = await store.changes(tenant).trail(count=limit + 1, before=before)
    if not entries and not before:
        await read_tenant(store, tenant)
    return Json(_page(entries, limit, tenant))


@endpoint(router, "GET", "/audit", role=Role.SUPERUSER, summary="Who changed keys?", answer=Trail)
async def read_audit_of_keys(request: Request, limit: Limit = 50, before: Before = "") -> Json:
    """Reads the changes of operators' keys, the newest first."""
    entries = await context_of(request).keys.trail(count=limit + 1, before=before)
    return Json(_page(entries, limit, ""))


def _page(entries: list[AuditEntry], limit: int, tenant: str) -> Trail:
    shown = entries[:limit]
    return Trail(tuple(_shown(entry, tenant) for entry in shown), shown[-1].id if len(entries) > limit else None)


def _shown(entry: AuditEntry, tenant: str) -> Entry:
    facts = entry.facts
    before, after = _document(facts["before"]), _document(facts["after"])
    names = {**(before or {}), **(after or {})}
    was, now = before or {}, after or {}
    changes: dict[str, Any] = {
        name: {"before": was.get(name), "after": now.get(name)} for name in names if was.get(name) != now.get(name)
    }
    generation = int(facts["generation"]) if "generation" in facts else None
    if entry.action == "flush" and generation is not None:
        changes = {"generation": {"before": generation - 1, "after": generation}}
    return Entry(
        entry.id,
        entry.sequence,
        entry.at_ms / 1000,
        entry.actor,
        entry.action,
        entry.reason,
        tenant or facts.get("key", ""),
        int(facts["version"]) if "version" in facts else None,
        generation,
        changes,
        before,
        after,
    )


def _document(text: str) -> dict[str, Any] | None:
    """What an entry says of before or after: settings of a tenant, or the record of a key without its hash."""
    if not text:
        return None
    document: dict[str, Any] = json.loads(text)
    settings: dict[str, Any] = document.get("settings", document)
    return {name: value for name, value in settings.items() if name != "hash"}
