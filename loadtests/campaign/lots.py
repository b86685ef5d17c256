"""Draws by lot as an onlooker understands them: what a ticket names, whose id it becomes, and which place that is."""

from __future__ import annotations

import hashlib
import hmac

from ropeline.lua.visits import Visit

__all__ = ["SEED", "as_seen", "confirmed_id", "names_window", "place_by_lot", "with_fresh"]

SEED = hashlib.sha256(b"the seed of every campaign").digest()
_SECOND = 1_000_000


def names_window(ticket: Visit) -> bool:
    """Whether the ticket names a shuffled pre-queue instead of a place."""
    return ticket.ticketed and ticket.place % _SECOND == 0


def confirmed_id(drawn: bytes) -> bytes:
    """The id that a gate process gives to who confirms in such a pre-queue: always the same one."""
    return hashlib.sha256(b"confirmed" + drawn).digest()[:16]


def with_fresh(ticket: Visit, fresh: bytes) -> Visit:
    """The ticket as a process shows it to the store, with the id for a new one."""
    is_to_confirm = names_window(ticket) and ticket.state == 0
    return ticket._replace(fresh=confirmed_id(ticket.id) if is_to_confirm else fresh)


def as_seen(visit: Visit) -> Visit:
    """The visit under the id that its holder has after it."""
    return visit._replace(id=visit.fresh) if names_window(visit) and visit.state == 0 else visit


def place_by_lot(opened: int, who: bytes) -> int:
    """Where the seed puts somebody in the pre-queue that opened then (s), us."""
    drawn = hmac.new(SEED, who, hashlib.sha1).hexdigest()
    return opened * _SECOND + 1 + int(drawn[:13], 16) % 999_999
