"""What goes with every call that changes something: why, and the id by which it is known when it is sent again."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ropeline.admin_api.problems import Problem
from ropeline.lua.audit import Author
from ropeline.lua.errors import StoreUnavailable

if TYPE_CHECKING:
    from starlette.requests import Request

    from ropeline.admin_api.access import Operator

__all__ = ["IDEMPOTENCY_HEADER", "Change", "change_of"]

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"

_KEY: Final = re.compile(r"[!-~]{1,128}\Z")
_LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Change:
    """A call that changes something. `key`: what the caller sends again to ask for the same, its own or one made for it."""

    author: Author
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it."""
        return {IDEMPOTENCY_HEADER: self.key}

    @contextmanager
    def answered(self) -> Iterator[None]:
        """While the block writes: a store that gave no answer leaves open whether it was done, and the caller is told so."""
        try:
            yield
        except StoreUnavailable as error:
            detail = f"the store gave no answer ({error}), so this was done or not: send the same again with this key"
            more = {"idempotency_key": self.key}
            headers = {**self.headers, "Retry-After": "1"}
            raise Problem(504, "outcome_unknown", detail, headers=headers, more=more) from error


async def change_of(request: Request, operator: Operator, action: str) -> Change:
    """What `operator` asks for by this call; raises Problem."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        key = secrets.token_hex(16)
    elif not _KEY.match(key):
        expected = "1 to 128 visible ASCII characters"
        detail = f"{IDEMPOTENCY_HEADER}: got {key!r:.150}, expected {expected}"
        raise Problem(422, "invalid_value", detail, IDEMPOTENCY_HEADER, key[:150], expected)
    reason = request.query_params.get("reason", "")
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        expected = f"at most {_LONGEST_REASON} printable characters"
        raise Problem(422, "invalid_value", f"reason: got {reason[:150]!r}, expected {expected}", "reason")
    call = _digest(operator.key.id, key)
    asked = _digest(request.method, request.url.path, request.url.query, request.headers.get("if-match", ""))
    fingerprint = hashlib.blake2b(await request.body(), key=asked.encode(), digest_size=16).hexdigest()
    return Change(Author(operator.key.actor, action, reason, call, fingerprint), key)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
