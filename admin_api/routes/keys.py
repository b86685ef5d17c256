"""The keys by which operators show who they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from ropeline.admin_api.answers import Json
from ropeline.admin_api.bodies import read_body
from ropeline.admin_api.changes import change_of
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint, operator_of
from ropeline.admin_api.operators import KeyDraft, KeyRecord, Role
from ropeline.admin_api.schema import Maybe, Words
from ropeline.gate.fields import Choice, Flag, Integer, ListOf, Table, described

__all__ = ["router"]

router = APIRouter(prefix="/v1/keys", tags=["access"])

_SECONDS = Integer(0, 2**53)


@dataclass(frozen=True, slots=True)
class Key:
    """A key in force, without its secret."""

    id: str = field(metadata=described(Words(), "Names the key.", example="3f2a90c1d2e4"))
    name: str = field(metadata=described(Words(), "Whose key it is.", example="Anna's laptop"))
    role: str = field(metadata=described(Choice(tuple(role.word for role in Role)), "What it may do."))
    tenants: tuple[str, ...] = field(
        metadata=described(ListOf(Words(), 100), "The tenants that it is for; empty: all.", example=["acme"])
    )
    made_at: int = field(metadata=described(_SECONDS, "When it was made.", "seconds since 1970", example=1_790_985_600))
    made_by: str = field(metadata=described(Words(), "Who made it.", example="cli:anna"))
    expires_at: int | None = field(
        metadata=described(Maybe(_SECONDS, "never"), "When it ends.", "seconds since 1970", example=1_798_761_600)
    )
    is_expired: bool = field(metadata=described(Flag(), "Whether it has ended."))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made."""

    secret: str = field(
        metadata=described(Words(), "The key itself. It is shown this once and kept nowhere.", example="rlk_...")
    )
    key: Key = field(metadata=described(Table(Key), "What is kept of it."))


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys in force."""

    keys: tuple[Key, ...] = field(metadata=described(ListOf(Table(Key), 1000), "The oldest first."))


@endpoint(router, "GET", "", role=Role.SUPERUSER, summary="List keys", answer=Keys)
async def list_keys(request: Request) -> Json:
    """Lists the keys in force; those that have expired are there until they are revoked."""
    return Json(Keys(tuple(_shown(record) for record in await context_of(request).keys.all())))


@endpoint(
    router, "POST", "", role=Role.SUPERUSER, summary="Make a key", body=KeyDraft, answer=NewKey, status=201, changes=True
)  # fmt: skip
async def create_key(request: Request) -> Json:
    """Makes a key. Sent again with its `Idempotency-Key` it is refused with the id of the key that was made."""
    change = await change_of(request, operator_of(request), "create_key")
    draft = await read_body(request, KeyDraft)
    with change.answered():
        text, record = await context_of(request).keys.create(draft, change.author)
    return Json(NewKey(text, _shown(record)), 201, change.headers)


@endpoint(
    router, "DELETE", "/{key_id}", role=Role.SUPERUSER, summary="Revoke a key", status=204, changes=True, problems=(404,)
)  # fmt: skip
async def revoke_key(request: Request, key_id: str) -> Response:
    """Ends a key, and every login that was made with it, at once."""
    change = await change_of(request, operator_of(request), "revoke_key")
    with change.answered():
        await context_of(request).keys.revoke(key_id, change.author)
    return Response(status_code=204, headers=change.headers)


def _shown(record: KeyRecord) -> Key:
    return Key(
        record.id,
        record.name,
        record.role.word,
        record.tenants,
        record.made_at,
        record.made_by,
        record.expires_at,
        record.is_expired,
    )
