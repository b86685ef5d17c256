"""What travels to the store in batches: visits, in the packed form that the `visit` script reads, and departures."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["LARGEST_BATCH", "NOT_COUNTED", "Departure", "Visit", "pack_visits"]

LARGEST_BATCH: Final = 128
"""Most visits, or departures, in one call."""

NOT_COUNTED: Final = 65_535
"""A join bucket that no limit applies to: nobody knows where the visit comes from."""

_PACKED = Struct("<BB16s16sdddddddHH")
_NOBODY = bytes(16)


class Visit(NamedTuple):
    """One visit: what the ticket says, if there is one, and what a new ticket would get.

    `fresh`: 16 bytes, the id of a new ticket. `ticketed`: the fields from `state` to `estimate` are a verified ticket's.
    `no_new`: this visit may not get a new ticket. `first`, `second`: join buckets of the client prefix, 0 to 65,535.
    """

    fresh: bytes
    ticketed: bool = False
    no_new: bool = False
    state: int = 0
    id: bytes = _NOBODY
    place: int = 0
    since: int = 0
    end: int = 0
    epoch: int = 0
    sequence: int = 0
    generation: int = 0
    estimate: int = 0
    first: int = 0
    second: int = 0


class Departure(NamedTuple):
    """A visitor leaves: the session `id` (16 bytes) ends at once; or, `closing`, its last tab seems to have closed.

    An admitted session's hold is then shortened to `leave_hold`, and the next visit takes that back.
    """

    id: bytes
    closing: bool = False


def pack_visits(visits: Sequence[Visit]) -> bytes:
    """The visits as `includes/read_visits.lua` unpacks them, 94 bytes each."""
    pack = _PACKED.pack
    return b"".join(
        [
            pack(
                visit.ticketed + 2 * visit.no_new,
                visit.state,
                visit.id,
                visit.fresh,
                visit.place,
                visit.since,
                visit.end,
                visit.epoch,
                visit.sequence,
                visit.generation,
                visit.estimate,
                visit.first,
                visit.second,
            )
            for visit in visits
        ]
    )
