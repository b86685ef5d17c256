"""Says to load balancers and supervisors whether the process lives, and whether it can work."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from ropeline.admin_api.context import context_of
from ropeline.lua.errors import REDIS_ERRORS, store_error

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Does the process live?")
async def read_health() -> JSONResponse:
    """Answers without asking anybody."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Can the process work?")
async def read_readiness(request: Request) -> JSONResponse:
    """Answers 503 while the store cannot be reached."""
    try:
        await context_of(request).client.execute_command("PING")
    except REDIS_ERRORS as error:
        raise store_error(error) from error
    return JSONResponse({"status": "ok"})
