"""Counts the slots of limit keys anew, by the jobs that have them: one that nobody has would keep its key's other jobs waiting for ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ropeline.lua.queue_scripts import unpack_slots

if TYPE_CHECKING:
    from ropeline.jobs.brokers.redis import RedisBroker

__all__ = ["wrong_slots"]

_COUNTS: Final = 2


async def wrong_slots(broker: RedisBroker, queue: str, *, repair: bool) -> list[bytes]:
    """The limit keys whose numbers are not those of their jobs; with `repair` they are put right. Raises StoreError.

    A count takes many steps of the store. It holds for a key if what is stored under it is the same before and after, and a key
    is wrong if two counts in a row say so; one that never rests, with jobs that come and go all the time, is not found wrong.
    """
    wrong: list[bytes] = []
    suspects: set[bytes] | None = None
    for turn in range(_COUNTS):
        known = {key: packed async for key, packed in broker.limit_entries(queue)}
        given = Counter([key async for key in broker.slot_holders(queue)])
        wanted = Counter([key async for key in broker.held_keys(queue)])
        all_keys = known.keys() | given.keys() | wanted.keys()
        wrong = [
            key
            for key in sorted(all_keys if suspects is None else suspects)
            if unpack_slots(known.get(key, b"")) != (given[key], wanted[key])
            and await broker.check_slots(
                queue, key, seen=known.get(key, b""), given=given[key], repair=repair and turn == _COUNTS - 1
            )
        ]
        suspects = set(wrong)
        if not wrong:
            break
    return wrong
