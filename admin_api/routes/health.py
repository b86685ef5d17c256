"""Says to load balancers and supervisors whether the process lives, and whether it can work."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter, Request

from ropeline.admin_api.answers import Json
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint
from ropeline.admin_api.problems import Problem
from ropeline.gate.fields import Choice, described
from ropeline.lua.errors import REDIS_ERRORS

__all__ = ["router"]

router = APIRouter(tags=["health"])


@dataclass(frozen=True, slots=True)
class Health:
    """That all is well."""

    status: str = field(default="ok", metadata=described(Choice(("ok",)), "Always `ok`; else the answer is a problem."))


@endpoint(router, "GET", "/healthz", role=None, summary="Does the process live?", answer=Health)
async def read_health() -> Json:
    """Answers without asking anybody."""
    return Json(Health())


@endpoint(router, "GET", "/readyz", role=None, summary="Can the process work?", answer=Health)
async def read_readiness(request: Request) -> Json:
    """Answers 503 while the store cannot be reached."""
    try:
        await context_of(request).client.execute_command("PING")
    except REDIS_ERRORS as error:
        # Everybody may ask this, and where the store is is not for everybody to know.
        detail = "the store does not answer"
        raise Problem(503, "store_unavailable", detail, headers={"Retry-After": "1"}) from error
    return Json(Health())
