"""Tenants and their settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from ropeline.admin_api.answers import Json
from ropeline.admin_api.bodies import read_body, read_object
from ropeline.admin_api.changes import change_of
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint, operator_of
from ropeline.admin_api.operators import Role
from ropeline.admin_api.paging import MOST, After, Limit, page_of
from ropeline.admin_api.preconditions import IF_MATCH, IF_MATCH_REQUIRED, etag, expected_version
from ropeline.admin_api.problems import Problem
from ropeline.admin_api.schema import Maybe, Words
from ropeline.admin_api.tenants import change_tenant, create_tenant, find_tenant, merged, read_tenant, settings_from
from ropeline.gate.fields import SLUG, Integer, ListOf, Table, check_fields, described
from ropeline.gate.settings import TenantSettings
from ropeline.gate.tenant_store import ChangedMeanwhile, StoredTenant

__all__ = ["router", "visible_names"]

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])

_COUNT = Integer(0, 2**53)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is in force."""

    name: str = field(metadata=described(SLUG, "Its name.", example="acme"))
    version: int = field(metadata=described(_COUNT, "Rises with each change; it is the ETag too.", example=7))
    generation: int = field(metadata=described(_COUNT, "Rises with each flush."))
    settings: TenantSettings = field(metadata=described(Table(TenantSettings), "Every setting."))


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Some tenants, sorted by name."""

    tenants: tuple[Tenant, ...] = field(metadata=described(ListOf(Table(Tenant), MOST), "The tenants of this page."))
    unreadable: tuple[str, ...] = field(
        metadata=described(
            ListOf(Words(), MOST), "Tenants of this page that have no settings, or none that can be read.", example=[]
        )
    )
    next: str | None = field(
        metadata=described(
            Maybe(Words(), "this is the last page"), "What to send as `after` for the next page.", example="acme"
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """That somebody means it."""

    confirm: str = field(metadata=described(SLUG, "The name of the tenant, once more.", example="acme"))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush has done."""

    generation: int = field(
        metadata=described(_COUNT, "Tickets of earlier generations are worthless from now on.", example=1)
    )


@endpoint(router, "GET", "", role=Role.VIEWER, summary="List tenants", answer=TenantPage)
async def list_tenants(request: Request, limit: Limit = 50, after: After = "") -> Json:
    """Lists the tenants that the caller's key is for, page by page."""
    store = context_of(request).tenants
    names, following = page_of(visible_names(request, await store.names()), after, limit)
    found = await asyncio.gather(*(_find_quietly(request, name) for name in names))
    unreadable = tuple(name for name, tenant in zip(names, found, strict=True) if tenant is None)
    return Json(TenantPage(tuple(_shown(tenant) for tenant in found if tenant), unreadable, following))


@endpoint(
    router,
    "POST",
    "",
    role=Role.SUPERUSER,
    summary="Make a tenant",
    body=TenantSettings,
    answer=Tenant,
    status=201,
    changes=True,
)
async def post_tenant(request: Request) -> Json:
    """Makes a tenant; the gates serve it within a second."""
    change = await change_of(request, operator_of(request), "create")
    settings = await read_body(request, TenantSettings)
    with change.answered():
        stored = await create_tenant(context_of(request).tenants, settings, change)
    location = f"{str(request.url.path).rstrip('/')}/{settings.name}"
    return _answer(stored, {**change.headers, "Location": location}, 201)


@endpoint(router, "GET", "/{tenant}", role=Role.VIEWER, summary="Read a tenant", answer=Tenant, problems=(409,))
async def get_tenant(request: Request, tenant: str) -> Json:
    """Reads every setting of a tenant, with null where nothing is set."""
    return _answer(await read_tenant(context_of(request).tenants, tenant), {})


@endpoint(
    router,
    "PUT",
    "/{tenant}",
    role=Role.TENANT_ADMIN,
    summary="Replace a tenant's settings",
    body=TenantSettings,
    answer=Tenant,
    changes=True,
    parameters=(IF_MATCH_REQUIRED,),
    problems=(412, 428),
)
async def put_tenant(request: Request, tenant: str) -> Json:
    """Replaces all settings: what the body does not have gets its default."""
    operator = operator_of(request)
    change = await change_of(request, operator, "replace")
    expected = expected_version(request, is_required=True)
    settings = settings_from(tenant, await read_object(request))
    store, role = context_of(request).tenants, operator.key.role
    with change.answered():
        stored = await change_tenant(store, tenant, lambda _: settings, change, role=role, expected=expected)
    return _answer(stored, change.headers)


@endpoint(
    router,
    "PATCH",
    "/{tenant}",
    role=Role.TENANT_ADMIN,
    summary="Change some of a tenant's settings",
    body=TenantSettings,
    is_patch=True,
    answer=Tenant,
    changes=True,
    parameters=(IF_MATCH,),
    problems=(412,),
)
async def patch_tenant(request: Request, tenant: str) -> Json:
    """Changes the settings that the body has (RFC 7396): null takes a value away, so that its default is back."""
    operator = operator_of(request)
    change = await change_of(request, operator, "change")
    expected, patch = expected_version(request), await read_object(request)
    store, role = context_of(request).tenants, operator.key.role
    with change.answered():
        stored = await change_tenant(
            store, tenant, lambda settings: merged(settings, patch), change, role=role, expected=expected
        )
    return _answer(stored, change.headers)


@endpoint(
    router,
    "DELETE",
    "/{tenant}",
    role=Role.SUPERUSER,
    summary="Delete a tenant",
    status=204,
    changes=True,
    parameters=(
        IF_MATCH,
        {
            "name": "confirm",
            "in": "query",
            "required": True,
            "description": "The name of the tenant, once more.",
            "schema": {"type": "string"},
            "example": "acme",
        },
    ),
    problems=(412,),
)
async def delete_tenant(request: Request, tenant: str) -> Response:
    """Ends a tenant with its line: its hosts are free, and tickets are worthless even if it is made again."""
    change = await change_of(request, operator_of(request), "delete")
    _confirm(tenant, request.query_params.get("confirm", ""))
    expected = expected_version(request)
    with change.answered():
        try:
            await context_of(request).tenants.remove(
                tenant, expected=-1 if expected is None else expected, author=change.author
            )
        except ChangedMeanwhile as error:
            raise Problem(412, "changed_meanwhile", str(error), "If-Match") from None
    return Response(status_code=204, headers=change.headers)


@endpoint(
    router,
    "POST",
    "/{tenant}/pause",
    role=Role.TENANT_ADMIN,
    summary="Admit nobody for now",
    answer=Tenant,
    changes=True,
)
async def pause_tenant(request: Request, tenant: str) -> Json:
    """Stops admission; the line keeps its order and visitors are told. Who is on the site stays there."""
    return await _set_paused(request, tenant, paused=True)


@endpoint(
    router, "POST", "/{tenant}/resume", role=Role.TENANT_ADMIN, summary="Admit again", answer=Tenant, changes=True
)  # fmt: skip
async def resume_tenant(request: Request, tenant: str) -> Json:
    """Admits again after a pause."""
    return await _set_paused(request, tenant, paused=False)


@endpoint(
    router,
    "POST",
    "/{tenant}/flush",
    role=Role.TENANT_ADMIN,
    summary="Empty the line and the site",
    body=Confirmation,
    answer=Flushed,
    changes=True,
)
async def flush_tenant(request: Request, tenant: str) -> Json:
    """Makes every ticket given so far worthless: whoever waits or is on the site begins anew."""
    change = await change_of(request, operator_of(request), "flush")
    _confirm(tenant, (await read_body(request, Confirmation)).confirm)
    with change.answered():
        generation = await context_of(request).tenants.flush(tenant, author=change.author)
    return Json(Flushed(generation), headers=change.headers)


def visible_names(request: Request, names: list[str]) -> list[str]:
    """Those of the tenants that the caller's key is for."""
    key = operator_of(request).key
    return [name for name in names if key.covers(name)]


async def _set_paused(request: Request, tenant: str, *, paused: bool) -> Json:
    operator = operator_of(request)
    change = await change_of(request, operator, "pause" if paused else "resume")
    store, role = context_of(request).tenants, operator.key.role
    with change.answered():
        stored = await change_tenant(
            store, tenant, lambda settings: merged(settings, {"paused": paused}), change, role=role, expected=None
        )
    return _answer(stored, change.headers)


async def _find_quietly(request: Request, name: str) -> StoredTenant | None:
    try:
        return await find_tenant(context_of(request).tenants, name)
    except Problem:
        return None


def _confirm(tenant: str, said: str) -> None:
    if said != tenant:
        detail = f"confirm: got {said!r:.100}, expected the name of the tenant once more"
        raise Problem(422, "not_confirmed", detail, "confirm", said[:100], tenant)


def _shown(stored: StoredTenant) -> Tenant:
    return Tenant(stored.settings.name, stored.version, stored.generation, stored.settings)


def _answer(stored: StoredTenant, headers: dict[str, str], status: int = 200) -> Json:
    return Json(_shown(stored), status, {**headers, "ETag": etag(stored.version)})
