"""Signs the cursors of lists of sessions: where a list goes on, as text that only we can have written."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, NamedTuple

from itsdangerous import BadSignature, Signer

from ropeline.gate.tickets import check_keys
from ropeline.lua.errors import ConfigurationError

__all__ = ["CursorSigner", "Position"]

_VERSION: Final = 1
_PACKED: Final = Struct(">BBBq16s")
_LONGEST: Final = 200


class Position(NamedTuple):
    """Where a list goes on: `backward` before, else after the session of that `score` and `id`. `state`: 0 to 3, see SessionScripts."""

    state: int
    backward: bool
    score: int
    id: bytes


class CursorSigner:
    """Turns positions into cursors and back; a cursor of one tenant is none of another.

    `keys` as for tickets, oldest to newest: all verify, the newest one signs.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._keys = check_keys(keys)

    def sign(self, tenant: str, position: Position) -> str:
        """The cursor, URL-safe text."""
        packed = _PACKED.pack(_VERSION, position.state, position.backward, position.score, position.id)
        return self._signer(tenant).sign(urlsafe_b64encode(packed)).decode("ascii")

    def read(self, tenant: str, cursor: str) -> Position:
        """Where the list of `tenant` goes on; raises ConfigurationError for anything that no list of it gave."""
        try:
            payload = self._signer(tenant).unsign(cursor[:_LONGEST].encode())
            version, state, backward, score, id_ = _PACKED.unpack(urlsafe_b64decode(payload))
        except (BadSignature, ValueError, StructError):
            version, state, backward, score, id_ = 0, 0, 0, 0, b""
        if version != _VERSION:
            raise ConfigurationError("cursor", cursor[:_LONGEST], "one that a list of this tenant's sessions gave")
        return Position(state, bool(backward), score, id_)

    def _signer(self, tenant: str) -> Signer:
        salt = f"ropeline\0sessions\0{tenant}".encode()
        return Signer(list(self._keys), salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
