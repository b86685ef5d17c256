"""Reads what a simulated visitor may know of its own ticket, which is signed and no secret."""

from __future__ import annotations

import binascii
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["TicketFacts", "read_ticket"]

_UNCONFIRMED: Final = 0
_BEGINNING: Final = Struct(">BB16sQ")
_CHARS: Final = -(-_BEGINNING.size // 3) * 4


class TicketFacts(NamedTuple):
    """Whose ticket it is, and its place in line, microseconds."""

    id: bytes
    place: int
    is_confirmed: bool


def read_ticket(text: str) -> TicketFacts:
    """The facts in a cookie's value; the signature is the gate's to check."""
    raw = binascii.a2b_base64(text[:_CHARS].replace("-", "+").replace("_", "/"))
    _, state, id_, place = _BEGINNING.unpack(raw[: _BEGINNING.size])
    return TicketFacts(id_, place, state != _UNCONFIRMED)
