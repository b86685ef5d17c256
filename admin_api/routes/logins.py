"""Who calls, and how a browser stays logged in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from ropeline.admin_api.answers import Json
from ropeline.admin_api.bodies import read_body
from ropeline.admin_api.context import context_of
from ropeline.admin_api.endpoint import endpoint, operator_of
from ropeline.admin_api.operators import Role
from ropeline.admin_api.schema import Maybe, Words
from ropeline.gate.fields import Choice, Integer, ListOf, Text, check_fields, described, line_of_text

if TYPE_CHECKING:
    from ropeline.admin_api.access import Operator

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["access"])

_SECONDS = Integer(0, 2**53)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A key that is exchanged for a login."""

    key: str = field(
        repr=False,
        metadata=described(Text("a key", line_of_text(200)), "The key, as it was shown once.", example="rlk_..."),
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Myself:
    """Who calls, and what it may do."""

    key_id: str = field(metadata=described(Words(), "The id of the key.", example="3f2a90c1d2e4"))
    name: str = field(metadata=described(Words(), "Whose key it is.", example="Anna's laptop"))
    role: str = field(metadata=described(Choice(tuple(role.word for role in Role)), "What it may do."))
    tenants: tuple[str, ...] = field(
        metadata=described(ListOf(Words(), 100), "The tenants that it is for; empty: all.", example=["acme"])
    )
    expires_at: int | None = field(
        metadata=described(Maybe(_SECONDS, "never"), "When the key ends.", "seconds since 1970", example=1_798_761_600)
    )
    csrf_token: str | None = field(
        metadata=described(
            Maybe(Words(), "a key needs none"),
            "What a browser sends as `X-CSRF-Token` with each call that writes.",
            example="q3p9v",
        )
    )
    login_ends_at: int | None = field(
        metadata=described(
            Maybe(_SECONDS, "there is no login"), "When the login ends.", "seconds since 1970", example=1_798_761_600
        )
    )


@endpoint(
    router, "POST", "/login", role=None, summary="Log in", body=Login, answer=Myself, problems=(401, 403, 429)
)  # fmt: skip
async def log_in(request: Request) -> Json:
    """Exchanges a key for a cookie that only this browser sends, and only to this API."""
    access = context_of(request).access
    login = await read_body(request, Login)
    operator, cookie = await access.log_in(request, login.key)
    answer = Json(_myself(operator))
    access.set_cookie(request, answer, cookie)
    return answer


@endpoint(router, "POST", "/logout", role=Role.VIEWER, summary="Log out", status=204)
async def log_out(request: Request) -> Response:
    """Has the browser forget its login. To end it everywhere, revoke its key."""
    answer = Response(status_code=204)
    context_of(request).access.set_cookie(request, answer, "")
    return answer


@endpoint(router, "GET", "/me", role=Role.VIEWER, summary="Who am I?", answer=Myself)
async def read_myself(request: Request) -> Json:
    """Says whose key or login this is and what it may do."""
    return Json(_myself(operator_of(request)))


def _myself(operator: Operator) -> Myself:
    key = operator.key
    return Myself(
        key.id, key.name, key.role.word, key.tenants, key.expires_at, operator.csrf_token, operator.login_ends_at
    )
