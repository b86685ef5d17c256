"""Draws by lot: a place in a shuffled pre-queue is HMAC(seed, id), and everybody can recompute it.

The hash of the seed is public from the opening on, the seed itself from a minute after the start. The scripts compute
places by the same formula, in includes/lot_of.lua; there SHA-1 is the hash that a server has.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["REVEALED_AFTER", "Lottery", "commit_of", "place_of", "wrong_places"]

REVEALED_AFTER: Final = 60
"""Seconds from the start to the seed: a server that takes over just then may be behind, and in the pre-queue again."""

_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Lottery:
    """The draw of one event. `opened`, `starts_at`: seconds since 1970; `seed`: 32 bytes that nobody may see before its time."""

    event: str
    opened: int
    starts_at: int
    seed: bytes

    def __repr__(self) -> str:
        return f"Lottery(event={self.event!r}, opened={self.opened}, <seed hidden>)"

    @property
    def commit(self) -> str:
        """SHA-256 of the seed, hexadecimal."""
        return commit_of(self.seed)

    def is_revealed(self, now: float) -> bool:
        """Whether the seed is public at this time of the server, seconds since 1970."""
        return now >= self.starts_at + REVEALED_AFTER


def commit_of(seed: bytes) -> str:
    """What is public of a seed before it is."""
    return hashlib.sha256(seed).hexdigest()


def place_of(opened: int, seed: bytes, id_: bytes) -> int:
    """The place (us) of a session in the pre-queue that opened then (s): within a second after that.

    52 bits of HMAC-SHA-1 (RFC 2104), modulo 999,999. Equal places go by the ids.
    """
    drawn = hmac.digest(seed, id_, "sha1")
    return opened * _SECOND + 1 + (int.from_bytes(drawn[:7], "big") >> 4) % 999_999


def wrong_places(document: Mapping[str, object]) -> list[str]:
    """What is wrong with a draw, in words; empty when all of it is as it has to be.

    `document`: `opened`, `commit`, `seed` and `places` (id, hexadecimal -> us), as `ropeline lottery export` writes it; or
    `id` and `place` instead of the last one, as a visitor's status has it. Raises ConfigurationError for anything else.
    """
    opened, commit, seed = document.get("opened"), document.get("commit"), document.get("seed")
    places = document.get("places", {document.get("id"): document.get("place")})
    if not isinstance(opened, int) or isinstance(opened, bool):
        raise ConfigurationError("opened", opened, "seconds since 1970")
    if not isinstance(commit, str) or not isinstance(places, Mapping):
        raise ConfigurationError("commit, places", commit, "the draw that `ropeline lottery export` has written")
    key = _bytes("seed", seed, 32)
    found = [] if hmac.compare_digest(commit_of(key), commit) else ["seed: it is not the one that was committed to"]
    for id_, place in places.items():
        right = place_of(opened, key, _bytes("id", id_, 16))
        if place != right:
            found.append(f"{id_}: got place {place}, expected {right}")
    return found


def _bytes(field: str, value: object, length: int) -> bytes:
    try:
        read = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        read = b""
    if len(read) != length:
        raise ConfigurationError(field, value, f"{2 * length} hexadecimal digits")
    return read
