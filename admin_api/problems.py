"""The one shape in which the API says what is wrong (RFC 9457), and which exception becomes which answer.

Every answer of 400 and above has it: `code` names the problem for programs, `detail` says it to people, `field`, `value` and
`expected` say which part of the call was wrong and what would be right, `request_id` finds it in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ropeline.admin_api.answers import Json
from ropeline.admin_api.key_store import MadeBefore, TooManyKeys, UnknownKey
from ropeline.admin_api.schema import AnyValue, Maybe, Words
from ropeline.gate.fields import Integer, described
from ropeline.gate.tenant_store import CallMisused, ChangedMeanwhile, RouteTaken, UnknownTenant
from ropeline.lua.errors import ConfigurationError, RopelineError, StoreError, StoreRefused, StoreTimeout

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = [
    "CONTENT_TYPE",
    "UNKNOWN_TENANT",
    "Problem",
    "ProblemDocument",
    "answer_problems",
    "fault_response",
    "problem_response",
]

CONTENT_TYPE: Final = "application/problem+json"

_log = logging.getLogger("ropeline.admin_api")

_LONGEST_VALUE: Final = 200
UNKNOWN_TENANT: Final = "there is no such tenant among yours"

_SECONDS_TO_WAIT: Final = "1"
_CODES: Final = {
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "this path does not take that method"),
}


@dataclass(slots=True, eq=False)
class Problem(RopelineError):
    """What is wrong with a call, ready to be answered.

    `code`: one word for programs. `field`, `value`, `expected`: the part of the call that was wrong, what it was and what
    would be right. `headers`: that go with the answer. `more`: further members of the document.
    """

    status: int
    code: str
    detail: str
    field: str | None = None
    value: object = None
    expected: str | None = None
    headers: Mapping[str, str] = dataclass_field(default_factory=dict)
    more: Mapping[str, object] = dataclass_field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail

    @classmethod
    def of_field(cls, error: ConfigurationError, status: int = 422, code: str = "invalid_value") -> Problem:
        """A value that was refused, with the field's name as the caller wrote it."""
        name = error.field.rpartition(": ")[2]
        detail = str(ConfigurationError(name, error.value, error.expected))
        return cls(status, code, detail, name, _shown(error.value), error.expected)


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """What is wrong with a call (RFC 9457)."""

    type: str = dataclass_field(metadata=described(Words(), "Always `about:blank`: `code` says what is wrong."))
    title: str = dataclass_field(metadata=described(Words(), "The name of the HTTP status."))
    status: int = dataclass_field(metadata=described(Integer(400, 599), "The HTTP status."))
    code: str = dataclass_field(metadata=described(Words(), "One word for programs.", example="invalid_value"))
    detail: str = dataclass_field(metadata=described(Words(), "The same for people, in one line."))
    field: str | None = dataclass_field(
        metadata=described(Maybe(Words(), "it is not about one"), "The part of the call that was wrong.")
    )
    value: object = dataclass_field(metadata=described(AnyValue(), "What that part was."))
    expected: str | None = dataclass_field(
        metadata=described(Maybe(Words(), "it is not about one"), "What would be right.")
    )
    request_id: str = dataclass_field(metadata=described(Words(), "By this the log finds the call."))
    idempotency_key: str | None = dataclass_field(
        default=None,
        metadata=described(
            Maybe(Words(), "the call is not to be sent again"),
            "Of a call whose outcome is not known: what to send it again with.",
        ),
    )


def problem_response(request: Request, problem: Problem) -> Json:
    """The answer that says what is wrong."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "field": problem.field,
        "value": problem.value,
        "expected": problem.expected,
        "request_id": request.scope.get("request_id", ""),
        **problem.more,
    }
    return Json(document, problem.status, dict(problem.headers), CONTENT_TYPE)


def answer_problems(app: FastAPI, methods_at: Callable[[str], list[str]]) -> None:
    """Have `app` answer every exception in the one shape. `methods_at`: those that a path takes."""

    async def answer(request: Request, error: Exception) -> Json:
        problem = _problem_of(error)
        if problem.status == 405:
            path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
            problem.headers = {"Allow": ", ".join(methods_at(path))}
        return problem_response(request, problem)

    for kind in (RopelineError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)


def fault_response(request: Request, error: Exception) -> Json:
    """The answer to a mistake of ours, which goes to the log and not to the caller."""
    _log.error("call %s went wrong", request.scope.get("request_id", ""), exc_info=error)
    problem = Problem(500, "internal_error", "the API made a mistake; its log says more under this request id")
    return problem_response(request, problem)


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _problem_of_parameter(error)
    if isinstance(error, HTTPException):
        code, detail = _CODES.get(error.status_code, ("refused", str(error.detail)))
        return Problem(error.status_code, code, detail, headers=error.headers or {})
    if isinstance(error, ConfigurationError):
        return Problem.of_field(error)
    if isinstance(error, StoreError):
        return _problem_of_store(error)
    return _problem_of_change(error)


def _problem_of_change(error: Exception) -> Problem:
    """Of a change that does not fit to what is there."""
    if isinstance(error, UnknownTenant):
        return Problem(404, "unknown_tenant", UNKNOWN_TENANT, "tenant", error.name)
    if isinstance(error, RouteTaken):
        return Problem(
            409, "route_taken", str(error), "host", error.route, f"a route that {error.holder} does not have"
        )
    if isinstance(error, ChangedMeanwhile):
        return Problem(409, "changed_meanwhile", str(error), "version", error.found)
    if isinstance(error, CallMisused):
        return Problem(409, "idempotency_key_used", "this Idempotency-Key was used for another call", "Idempotency-Key")
    if isinstance(error, UnknownKey):
        return Problem(404, "unknown_key", str(error), "key_id", error.key_id)
    if isinstance(error, MadeBefore):
        return Problem(409, "key_made_before", str(error), "key_id", error.key_id)
    if isinstance(error, TooManyKeys):
        return Problem(409, "too_many_keys", str(error))
    return Problem(500, "internal_error", str(error))


def _problem_of_store(error: StoreError) -> Problem:
    if isinstance(error, StoreRefused):
        _log.error("the store refused a call: %s", error)
        return Problem(500, "internal_error", "the API made a mistake; its log says more")
    if isinstance(error, StoreTimeout):
        return Problem(503, "store_timeout", f"the store did not answer in time: {error}", headers=_later(error))
    return Problem(503, "store_unavailable", f"the store cannot do this now: {error}", headers=_later(error))


def _later(error: StoreError) -> dict[str, str]:
    return {"Retry-After": _SECONDS_TO_WAIT} if error.retryable else {}


def _problem_of_parameter(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    where, *path = [str(part) for part in first["loc"]]
    name = ".".join(path) or where
    expected = str(first["msg"]).removeprefix("Input should be ")
    value = _shown(first.get("input"))
    return Problem(422, "invalid_value", f"{where} {name}: got {value!r}, expected {expected}", name, value, expected)


def _shown(value: object) -> object:
    """A value as it may stand in an answer: what is long is cut, what is no JSON is written out."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
