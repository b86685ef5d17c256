"""Declares an endpoint in one place: its path, who may call it, what it takes and answers, for FastAPI and for OpenAPI.

An endpoint that names no role is not there: `role` is required, and None says that everybody may call it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends, Request
from starlette.routing import compile_path

from ropeline.admin_api.access import CSRF_HEADER, Operator
from ropeline.admin_api.answers import Json
from ropeline.admin_api.changes import IDEMPOTENCY_HEADER
from ropeline.admin_api.context import context_of
from ropeline.admin_api.operators import Role
from ropeline.admin_api.problems import CONTENT_TYPE, ProblemDocument
from ropeline.admin_api.schema import component, reference

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from starlette.responses import Response

__all__ = ["ROLE", "describe", "endpoint", "methods_at", "operator_of"]

ROLE: Final = "x-ropeline-role"
"""The member of an operation in the OpenAPI document that says which role it takes; absent: none."""

Handler = Callable[..., "Awaitable[Response]"]

_methods: dict[str, set[str]] = {}
_components: dict[str, dict[str, Any]] = {}

_PROBLEMS: Final = {
    401: "Who calls is not known.",
    403: "The role is too low, or the token of a login is missing.",
    404: "There is no such thing among yours.",
    409: "It does not fit to what is there.",
    412: "Another version is in force than `If-Match` says.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "A value is wrong; the answer names it.",
    428: "`If-Match` is missing.",
    429: "Too many bad keys came from this address.",
    503: "The store cannot do this now.",
    504: "Whether it was done is not known: send the same again with the same `Idempotency-Key`.",
}
_OF_CHANGES: Final = [
    {
        "name": IDEMPOTENCY_HEADER,
        "in": "header",
        "description": "By this the same call is known when it is sent again within a day, and done once. Made when missing.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    },
    {
        "name": "reason",
        "in": "query",
        "description": "Why, for the audit trail: at most 200 printable characters.",
        "schema": {"type": "string", "maxLength": 200},
        "example": "the launch of the autumn sale",
    },
]


def endpoint(
    router: APIRouter,
    method: str,
    path: str,
    *,
    role: Role | None,
    summary: str,
    answer: type | None = None,
    body: type | None = None,
    body_types: Mapping[str, Mapping[str, Any]] | None = None,
    is_patch: bool = False,
    status: int = 200,
    changes: bool = False,
    problems: tuple[int, ...] = (),
    parameters: tuple[dict[str, Any], ...] = (),
    content: Mapping[str, Any] | None = None,
) -> Callable[[Handler], Handler]:
    """Add the decorated coroutine to `router`; its docstring is the description.

    `answer`, `body`: `described` dataclasses. `is_patch`: the body is a part of `body`. `body_types`, `content`: instead of
    them, by media type. `changes`: the call writes. `problems`: further statuses that it may have.
    """
    extra: dict[str, Any] = {"parameters": [*parameters, *(_OF_CHANGES if changes else [])]}
    if role is not None:
        extra |= {ROLE: role.word, "security": [{"key": []}, {"login": [], **({"csrf": []} if changes else {})}]}
    if body is not None:
        name = f"{body.__name__}Patch"
        if is_patch and name not in _components:
            _components[name] = component(body, _components, is_patch=True)
        schema = {"$ref": f"#/components/schemas/{name}"} if is_patch else reference(body, _components)
        body_types = {"application/json": {"schema": schema}}
    if body_types is not None:
        extra["requestBody"] = {"required": True, "content": dict(body_types)}
    good: dict[str, Any] = {"description": summary}
    if answer is not None:
        good["content"] = {"application/json": {"schema": reference(answer, _components)}}
    if content is not None:
        good["content"] = dict(content)
    statuses = {422, 503, *problems}
    if role is not None:
        statuses |= {401, 403, 429}
    if changes:
        statuses |= {409, 504}
    if body_types is not None:
        statuses |= {413, 415}
    if "{tenant}" in path:
        statuses.add(404)
    problem = {CONTENT_TYPE: {"schema": reference(ProblemDocument, _components)}}
    responses: dict[int | str, dict[str, Any]] = {
        status: good,
        **{number: {"description": _PROBLEMS[number], "content": problem} for number in sorted(statuses)},
    }

    _methods.setdefault(f"{router.prefix}{path}", set()).add(method)

    def add(handler: Handler) -> Handler:
        router.add_api_route(
            path,
            handler,
            methods=[method],
            summary=summary,
            status_code=status,
            response_class=Json,
            response_model=None,
            dependencies=[] if role is None else [Depends(_admission(role))],
            responses=responses,
            openapi_extra=extra,
        )
        return handler

    return add


def methods_at(path: str) -> list[str]:
    """The methods that the endpoints at this path take, sorted; Starlette names those of the first one alone."""
    found = [methods for template, methods in _methods.items() if compile_path(template)[0].match(path)]
    return sorted(set().union(*found))


def operator_of(request: Request) -> Operator:
    """Who calls an endpoint that has a role."""
    operator: Operator = request.state.operator
    return operator


def describe(app: FastAPI) -> None:
    """Complete the OpenAPI document of `app` with the components that its endpoints name, and how operators are known."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            components = document.setdefault("components", {})
            components["schemas"] = {**_components}
            components["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of an operator."},
                "login": {"type": "apiKey", "in": "cookie", "name": "__Host-ropeline-admin"},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            }
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _admission(role: Role) -> Callable[[Request], Awaitable[None]]:
    async def admit(request: Request) -> None:
        request.state.operator = await context_of(request).access.admit(request, role)

    return admit
