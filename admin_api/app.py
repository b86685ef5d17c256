"""Puts the operators' API together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from ropeline.admin_api.context import Context
from ropeline.admin_api.endpoint import describe, methods_at
from ropeline.admin_api.envelope import Envelope
from ropeline.admin_api.problems import answer_problems
from ropeline.admin_api.routes import audit, files, health, keys, logins, requests, status, tenants

if TYPE_CHECKING:
    from ropeline.admin_api.settings import AdminSettings

__all__ = ["create_app"]

_VERSION = "1"


def create_app(settings: AdminSettings) -> FastAPI:
    """The operators' API as an ASGI application, to be served alone or mounted in another one.

    It connects to the store with its first call. Its lifespan, where it is run, only closes the connections.
    """
    context = Context.of(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await context.client.aclose()

    app = FastAPI(
        title="Ropeline",
        summary="The operators' API of a waiting room.",
        version=_VERSION,
        lifespan=lifespan,
        # The pages of FastAPI load their scripts from a foreign host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    answer_problems(app, methods_at)
    for routes in (health, logins, keys, tenants, status, requests, files, audit):
        app.include_router(routes.router)
    describe(app)
    app.add_middleware(Envelope)
    return app
