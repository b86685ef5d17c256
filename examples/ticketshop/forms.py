"""Reads forms, small ones only: Starlette's own reader needs a package that the shop can do without."""

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

_LARGEST_BYTES = 16_384


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the last value of each; 413 for one that is too large, 400 for one that cannot be read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict"))
    except ValueError:
        raise HTTPException(400) from None


def read_count(text: str) -> int:
    """A number of seats; what is none counts as zero."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
