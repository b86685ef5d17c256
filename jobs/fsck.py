"""Looks through a queue for what must not be: jobs in no state or in several, keys that nobody alive holds; and mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.handle import ENDED
from ropeline.jobs.records import JobState, OutgoingKind, Part
from ropeline.jobs.shapes.chains import id_after
from ropeline.jobs.shapes.groups import part_id
from ropeline.jobs.slot_check import wrong_slots
from ropeline.lua.queue_scripts import QueueScripts

__all__ = ["Finding", "check_queue"]

_CHUNK = 50
# Jobs of a chain that one part may be, as far as they are looked for.
_LONGEST_CHAIN = 20


class Finding(NamedTuple):
    """Something wrong. `what`: `no state`, `several states`, `no body`, `no lease`, `no parts`, `lost part`, `stuck entry` (of the
    outbox), `stray key` or `wrong slots`.

    `id`: the job's, or the unique or limit key.
    """

    queue: str
    what: str
    id: bytes


async def check_queue(
    broker: RedisBroker, queue: str, *, repair: bool, told: Callable[[int], object] = lambda _: None
) -> list[Finding]:
    """Everything that is wrong with a queue, and with `repair` put right; a worker may go on meanwhile.

    Each fifty jobs are looked at in one step of the store, so that what is on its way from one state to the next is not
    taken for a fault. `told` hears how many were looked at so far. Raises StoreError.
    """
    scripts, found, looked_at = broker.scripts(queue), [], 0
    async for ids in _chunks(broker.ids(queue)):
        wrong = await scripts.check(ids, repair=repair)
        found += [Finding(queue, what, id_) for id_, what in zip(ids, wrong, strict=True) if what]
        looked_at += len(ids)
        told(looked_at)
    found += [Finding(queue, "stuck entry", id_) async for id_ in _check_outbox(broker, queue, repair=repair)]
    found += [Finding(queue, "lost part", id_) async for id_ in _with_lost_parts(broker, queue, repair=repair)]
    async for keys in _chunks(broker.unique_keys(queue)):
        found += await _check_keys(scripts, queue, keys, repair=repair)
    if repair or not found:
        # Jobs in a wrong place are counted wrongly.
        found += [Finding(queue, "wrong slots", key) for key in await wrong_slots(broker, queue, repair=repair)]
    return list(dict.fromkeys(found))


async def _check_keys(scripts: QueueScripts, queue: str, keys: list[bytes], *, repair: bool) -> list[Finding]:
    wrong = await scripts.check_keys(keys, repair=repair)
    return [Finding(queue, "stray key", key) for key, is_wrong in zip(keys, wrong, strict=True) if is_wrong]


async def _with_lost_parts(broker: RedisBroker, queue: str, *, repair: bool) -> AsyncIterator[bytes]:
    """The jobs that wait for a part that is nowhere: it would never report. With `repair` it counts as purged."""
    queues = await broker.queues()
    cursor = ""
    while True:
        page = await broker.jobs_in(queue, JobState.BLOCKED, cursor=cursor, limit=_CHUNK)
        for job in page.jobs:
            before = await broker.missing_parts(queue, job.id)
            lost = [part for part in before if not await _is_anywhere(broker, queues, part)]
            # One that has reported meanwhile was on its way.
            still = await broker.missing_parts(queue, job.id) if lost else []
            lost = [part for part in lost if part in still]
            for part in lost if repair else []:
                await broker.report_lost(part)
            if lost:
                yield job.id
        cursor = page.cursor
        if not cursor:
            return


async def _is_anywhere(broker: RedisBroker, queues: list[str], part: Part) -> bool:
    """Whether a part, or a job that follows from it in a chain, is in a queue or on its way there or back.

    Each place is looked at before the one that comes after it, so that what moves on meanwhile is met there.
    """
    id_ = part_id(part)
    for _ in range(_LONGEST_CHAIN):
        for name in queues:
            if await broker.is_outgoing(name, id_) or (name == part.queue and await _is_undelivered(broker, name, id_)):
                return True
        for name in queues:
            view = await broker.find(name, id_)
            if view is not None and view.state not in ENDED:
                return True
        for name in queues:
            if await broker.is_outgoing(name, id_, kind=OutgoingKind.REPORT):
                return True
        id_ = id_after(id_)
    return False


async def _is_undelivered(broker: RedisBroker, queue: str, id: bytes) -> bool:
    """Whether an entry of the outbox that is named by another job brings this one too."""
    async for name, entry in broker.outbox(queue):
        if name[0] == OutgoingKind.JOBS and id in entry:
            return True
    return False


async def _check_outbox(broker: RedisBroker, queue: str, *, repair: bool) -> AsyncIterator[bytes]:
    """The jobs whose entries nobody would deliver. With `repair` they are delivered now."""
    async for name, _ in broker.outbox(queue):
        if await broker.is_stuck(queue, name, repair=repair):
            yield name[1:]


async def _chunks(values: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    chunk: list[bytes] = []
    async for value in values:
        chunk.append(value)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
