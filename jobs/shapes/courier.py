"""Delivers what the outboxes of queues hold: into its queue first, and only then out of the outbox."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ropeline.jobs.broker import LARGEST_HAND_OUT
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.records import Outgoing

__all__ = ["carry"]

# Another courier has the same entries after 30 seconds, and a queue remembers them for 60 once they are settled.
_LONGEST_HOLD: Final = 10.0


async def carry(broker: Broker, queue: str) -> int:
    """Deliver at most 20 entries of a queue's outbox; how many have arrived. Raises StoreError.

    Whoever calls it may die between any two of its calls: what was not settled comes again, and its queue knows it then.
    """
    since = time.monotonic()
    targets: dict[str, list[Outgoing]] = defaultdict(list)
    for entry in await broker.hand_out(queue, limit=LARGEST_HAND_OUT):
        targets[entry.queue].append(entry)
    arrived, failure = 0, None
    for target, entries in targets.items():
        if time.monotonic() - since > _LONGEST_HOLD:
            break
        try:
            await broker.take_over(target, entries)
        except StoreError as error:
            # A queue that is full is no reason to let the others wait.
            failure = error
            continue
        names = [entry.name for entry in entries]
        await broker.settle(queue, names)
        await broker.forget_settled(target, names)
        arrived += len(entries)
    if failure is not None:
        raise failure
    return arrived
