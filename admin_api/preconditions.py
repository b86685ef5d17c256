"""The version of a tenant in HTTP: it goes out as an ETag and comes back as If-Match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ropeline.admin_api.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["IF_MATCH", "IF_MATCH_REQUIRED", "etag", "expected_version"]

IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "description": 'The `ETag` of what was read, such as `"7"`: nothing is changed when somebody else was faster.',
    "schema": {"type": "string", "pattern": '^(\\*|"[0-9]{1,15}")$'},
}
IF_MATCH_REQUIRED: Final[dict[str, Any]] = {**IF_MATCH, "required": True}

_TAG: Final = re.compile(r'"([0-9]{1,15})"\Z')


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def expected_version(request: Request, *, is_required: bool = False) -> int | None:
    """The version that If-Match names; None when there is none or it is `*`. Raises Problem."""
    text = request.headers.get("if-match")
    if text is None and is_required:
        detail = (
            "If-Match is missing: read the tenant, and send the ETag that came with it (or * to replace any version)"
        )
        raise Problem(428, "if_match_required", detail, "If-Match", expected='an ETag such as "7", or *')
    if text in (None, "*"):
        return None
    found = _TAG.match(str(text))
    if found is None:
        expected = 'an ETag such as "7", or *'
        raise Problem(
            422, "invalid_value", f"If-Match: got {text!r:.100}, expected {expected}", "If-Match", text, expected
        )
    return int(found[1])
