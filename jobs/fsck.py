"""Looks through a queue for what must not be: jobs in no state or in several, keys that nobody alive holds; and mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.lua.queue_scripts import QueueScripts

__all__ = ["Finding", "check_queue"]

_CHUNK = 100


class Finding(NamedTuple):
    """Something wrong. `what`: `no state`, `several states`, `no body`, `no lease`, or `stray key`; `id`: the job's, or the unique key."""

    queue: str
    what: str
    id: bytes


async def check_queue(
    broker: RedisBroker, queue: str, *, repair: bool, told: Callable[[int], object] = lambda _: None
) -> list[Finding]:
    """Everything that is wrong with a queue, and with `repair` put right; a worker may go on meanwhile.

    Each hundred jobs are looked at in one step of the store, so that what is on its way from one state to the next is not
    taken for a fault. `told` hears how many were looked at so far. Raises StoreError.
    """
    scripts, found, looked_at = broker.scripts(queue), [], 0
    async for ids in _chunks(broker.ids(queue)):
        wrong = await scripts.check(ids, repair=repair)
        found += [Finding(queue, what, id_) for id_, what in zip(ids, wrong, strict=True) if what]
        looked_at += len(ids)
        told(looked_at)
    async for keys in _chunks(broker.unique_keys(queue)):
        found += await _check_keys(scripts, queue, keys, repair=repair)
    return list(dict.fromkeys(found))


async def _check_keys(scripts: QueueScripts, queue: str, keys: list[bytes], *, repair: bool) -> list[Finding]:
    wrong = await scripts.check_keys(keys, repair=repair)
    return [Finding(queue, "stray key", key) for key, is_wrong in zip(keys, wrong, strict=True) if is_wrong]


async def _chunks(values: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    chunk: list[bytes] = []
    async for value in values:
        chunk.append(value)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
