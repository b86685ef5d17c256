"""Answers in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from ropeline.admin_api.schema import to_document

__all__ = ["Json"]


class Json(JSONResponse):
    """A document, or a dataclass that is one."""

    def __init__(
        self,
        content: object,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(content, status_code, headers, media_type)

    def render(self, content: Any) -> bytes:
        # Half of a surrogate pair, which JSON can hold and UTF-8 cannot, goes back as it came: as an escape.
        text = json.dumps(to_document(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")
