"""All tenants as one file: written, and read back after a look at what that would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ropeline.admin_api.answers import Json
from ropeline.admin_api.changes import change_of
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint, operator_of
from ropeline.admin_api.operators import Role
from ropeline.admin_api.problems import Problem
from ropeline.admin_api.schema import AnyObject
from ropeline.admin_api.tenants import find_tenant
from ropeline.gate.fields import SLUG, Choice, Flag, ListOf, Table, described
from ropeline.gate.settings import tenants_of
from ropeline.gate.tenant_files import carry_out, parse, plan_import, to_json, to_toml

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["tenants"])

_TOML: Final = "application/toml"
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import does with one tenant."""

    name: str = field(metadata=described(SLUG, "The tenant.", example="acme"))
    kind: str = field(metadata=described(Choice(("created", "changed", "unchanged")), "What becomes of it."))
    changes: Mapping[str, Any] = field(
        metadata=described(
            AnyObject(),
            "Each setting that differs, with what it is `before` and `after`.",
            example={"total_active_users": {"before": 3, "after": 5}},
        )
    )


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import has done, or would do."""

    dry_run: bool = field(metadata=described(Flag(), "True: nothing was written."))
    tenants: tuple[Imported, ...] = field(
        metadata=described(ListOf(Table(Imported), _MOST), "The tenants of the file, in its order.")
    )


@endpoint(
    router,
    "GET",
    "/export",
    role=Role.SUPERUSER,
    summary="Write all tenants into one file",
    content={
        "application/json": {"schema": {"type": "object"}},
        _TOML: {"schema": {"type": "string"}},
    },
    problems=(409,),
)
async def export_tenants(request: Request) -> Response:
    """Writes every tenant, as TOML with `Accept: application/toml`, else as JSON; a gate takes the TOML as `tenants_file`."""
    store = context_of(request).tenants
    found = [await find_tenant(store, name) for name in await store.names()]
    tenants = [stored.settings for stored in found if stored is not None]
    if _TOML in request.headers.get("accept", ""):
        return Response(to_toml(tenants), media_type=_TOML)
    return Json(to_json(tenants))


@endpoint(
    router,
    "POST",
    "/import",
    role=Role.SUPERUSER,
    summary="Read tenants from a file",
    body_types={
        "application/json": {"schema": {"type": "object"}},
        _TOML: {"schema": {"type": "string"}},
    },
    answer=ImportReport,
    changes=True,
)
async def import_tenants(
    request: Request,
    dry_run: Annotated[bool, Query(description="True: say what would change, and write nothing.")] = False,  # noqa: FBT002
) -> Json:
    """Makes and changes the tenants of a file; those that are not in it stay. Sent again it goes on where it broke off."""
    change = await change_of(request, operator_of(request), "import")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", _TOML):
        detail = f"Content-Type: got {kind!r}, expected application/json or {_TOML}"
        raise Problem(415, "not_a_file", detail, "Content-Type", kind, f"application/json or {_TOML}")
    text = (await request.body()).decode("utf-8", "replace")
    document = parse(text, "toml" if kind == _TOML else "json", source="body")
    tenants = tenants_of(document, source="body")
    store = context_of(request).tenants
    with change.answered():
        plan = await plan_import(store, tenants)
        if not dry_run:
            await carry_out(store, plan, change.author)
    report = tuple(Imported(each.settings.name, each.kind, each.differences()) for each in plan)
    return Json(ImportReport(dry_run, report), headers=change.headers)
