"""Reads what a caller sends, and refuses with the field's name what cannot be right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from ropeline.admin_api.problems import Problem
from ropeline.gate.fields import build

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["LARGEST_JSON", "read_body", "read_object"]

LARGEST_JSON: Final = 65_536
"""Bytes of a body in JSON that is about one thing."""

_JSON_TYPES: Final = ("application/json", "application/merge-patch+json")

T = TypeVar("T")


async def read_body(request: Request, cls: type[T]) -> T:
    """The body as a `described` dataclass; raises Problem or ConfigurationError."""
    return build(cls, await read_object(request), prefix="")


async def read_object(request: Request) -> Mapping[str, object]:
    """The JSON object that the body is; raises Problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON_TYPES:
        detail = f"Content-Type: got {kind!r}, expected application/json"
        raise Problem(415, "not_json", detail, "Content-Type", kind, "application/json")
    raw = await request.body()
    if len(raw) > LARGEST_JSON:
        raise Problem(413, "body_too_large", f"a body of this call has at most {LARGEST_JSON} bytes")
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "it is nested too deeply"
        raise Problem(422, "not_json", f"the body is no JSON: {reason}", expected="a JSON object") from None
    if not isinstance(value, dict):
        detail = f"the body is {type(value).__name__}, expected a JSON object"
        raise Problem(422, "not_json", detail, expected="a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
