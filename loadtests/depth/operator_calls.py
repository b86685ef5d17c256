"""The scripts that couriers, schedulers, the holders of locks and operators call, each at the largest size of a call."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Final

from loadtests.depth.filling import (
    DAY,
    DEEP_KEY,
    FIRST_TYPE,
    OTHER,
    QUEUE,
    SECOND_TYPE,
    Filled,
    cron_job,
    plain_job,
)
from loadtests.depth.server_times import ServerTimes
from ropeline.jobs.broker import LARGEST_ENQUEUE, LARGEST_HAND_OUT, LARGEST_HAND_OVER
from ropeline.jobs.ids import new_id
from ropeline.jobs.records import JobState, JobView, Outgoing, OutgoingKind
from ropeline.lua.lock_scripts import LockScripts
from ropeline.lua.queue_scripts import pack_part

__all__ = ["call_as_operators"]

_PAGE: Final = 1000
_CHECKED: Final = 50
_PURGED: Final = (JobState.DEAD, JobState.COMPLETED, JobState.SCHEDULED, JobState.PARKED)


async def call_as_operators(filled: Filled, times: ServerTimes, turns: int) -> None:
    """Measure each of them `turns` times, a quarter of that where a call is of a thousand jobs."""
    await _look(filled, times, turns)
    await _carry(filled, times, turns)
    await _schedule(filled, times, turns)
    await _lock(filled, times, turns)
    await _check(filled, times, turns)
    await _move(filled, times, turns)


async def _look(filled: Filled, times: ServerTimes, turns: int) -> None:
    broker = filled.broker
    await times.measure("depths", turns, lambda _: broker.depths(QUEUE))
    await times.measure("view, one job", turns, lambda _: broker.find(QUEUE, filled.suspects[0]))
    for state in JobState:

        async def page(_: int, state: JobState = state) -> None:
            await broker.jobs_in(QUEUE, state, limit=_PAGE)

        await times.measure(f"view, a page of 1,000 {state.value}", _some(turns), page)


async def _carry(filled: Filled, times: ServerTimes, turns: int) -> None:
    broker = filled.broker
    blocked = iter(await _list(filled, JobState.BLOCKED, 20 * turns))
    entries: list[Outgoing] = []

    async def hand_out(_: int) -> None:
        entries.extend(await broker.hand_out(QUEUE))

    async def take_over(turn: int) -> None:
        await broker.take_over(OTHER, entries[turn * LARGEST_HAND_OUT : (turn + 1) * LARGEST_HAND_OUT])

    async def take_over_much(_: int) -> None:
        full = [filled.arrival([plain_job() for _ in range(LARGEST_HAND_OVER)]) for _ in range(LARGEST_HAND_OUT)]
        await broker.take_over(QUEUE, full)

    async def settle(turn: int) -> None:
        await broker.settle(QUEUE, [entry.name for entry in entries[turn * 20 : (turn + 1) * 20]])

    async def forget(turn: int) -> None:
        await broker.forget_settled(OTHER, [entry.name for entry in entries[turn * 20 : (turn + 1) * 20]])

    async def report(_: int) -> None:
        jobs = list(itertools.islice(blocked, LARGEST_HAND_OUT))
        await broker.take_over(QUEUE, [await _report(filled, job.id) for job in jobs] or [_nothing()])

    await times.measure("hand_out, 20 entries", turns, hand_out)
    await times.measure("take_over, 20 entries of a job", max(len(entries) // 20, 2), take_over)
    await times.measure("take_over, 20 entries of 50 jobs", turns, take_over_much)
    await times.measure("settle, 20 entries", max(len(entries) // 20, 2), settle)
    await times.measure("forget, 20 entries", max(len(entries) // 20, 2), forget)
    await times.measure("report, 20 last parts", turns, report)
    waiting = await _list(filled, JobState.BLOCKED, turns)
    await times.measure("stop, a job and its parts", len(waiting), lambda turn: broker.stop(QUEUE, waiting[turn].id))


async def _report(filled: Filled, id: bytes) -> Outgoing:
    [part, *_] = await filled.broker.missing_parts(QUEUE, id)
    reference = pack_part("", part.id, part.round, part.number)[:-1]
    name = bytes((OutgoingKind.REPORT,)) + new_id()
    return Outgoing(name, OutgoingKind.REPORT, QUEUE, reference + b"\0" + b"\1" + b"1" * 100, 0, 1)


def _nothing() -> Outgoing:
    """Jobs that are to stop: none."""
    return Outgoing(bytes((OutgoingKind.STOP,)) + new_id(), OutgoingKind.STOP, QUEUE, b"", 0, 1)


async def _schedule(filled: Filled, times: ServerTimes, turns: int) -> None:
    store = filled.broker.cron_store()
    named = cron_job("measured")
    version = await store.define(named)
    state = await store.read(QUEUE)

    async def redefine(turn: int) -> None:
        nonlocal version
        version = await store.define(cron_job("measured", line=f"{turn % 60} 3 * * *"))

    async def fire(turn: int) -> None:
        await store.fire(named, version, state.now - 1_000_000 + turn)

    async def remove(turn: int) -> None:
        await store.remove(QUEUE, f"cron:{turn:04}")

    await times.measure(
        "cron/read and cron/definitions, 1,000 that nobody has seen", turns, lambda _: store.read(QUEUE)
    )
    await times.measure("cron/read, 1,000 that are known", turns, lambda _: store.read(QUEUE, known=state.changes))
    await times.measure("cron/define", turns, redefine)
    await times.measure("cron/fire", turns, fire)
    await times.measure("cron/remove", turns, remove)


async def _lock(filled: Filled, times: ServerTimes, turns: int) -> None:
    broker, locks = filled.broker, filled.locks()
    lock = LockScripts(filled.client, broker.namespace, broker.stage, "measured")
    until = (await broker.depths(QUEUE)).now * 1000 + DAY
    last = await locks.list(limit=_PAGE)
    await times.measure(
        "lock/acquire", turns, lambda turn: lock.acquire(token=f"{turn}", ttl=DAY, holder="job", holder_fence=turn)
    )
    token = f"{turns - 1}"
    await times.measure("lock/extend", turns, lambda _: lock.extend(token=token, ttl=DAY))
    await times.measure("lock/view", turns, lambda _: lock.view())
    await times.measure("lock/steal", turns, lambda _: lock.steal(token="", by="operator", reason="measured"))
    await times.measure("lock/release", turns, lambda _: lock.release(token=token))
    await times.measure("locks/note", turns, lambda turn: locks.note(name=f"new {turn}", until=until + turn))
    await times.measure("locks/forget", turns, lambda turn: locks.forget(name=f"new {turn}", until=until + turn))
    await times.measure("locks/list, 1,000", turns, lambda _: locks.list(limit=_PAGE))
    await times.measure(
        "locks/list, 1,000 more",
        turns,
        lambda _: locks.list(after_until=last[-1][1], after_name=last[-1][0], limit=_PAGE),
    )


async def _check(filled: Filled, times: ServerTimes, turns: int) -> None:
    scripts = filled.broker.scripts(QUEUE)
    ids = [id_ async for id_ in _first(filled.broker.ids(QUEUE), _CHECKED * turns)]
    keys = [key async for key in _first(filled.broker.unique_keys(QUEUE), _CHECKED)]
    held = filled.deep[-_CHECKED:]
    await times.measure(
        "check, 50 jobs", len(ids) // 50, lambda turn: scripts.check(ids[turn * 50 : (turn + 1) * 50], repair=False)
    )
    await times.measure("check, 50 held ones", turns, lambda _: scripts.check(held, repair=False))
    await times.measure("check_keys, 50", turns, lambda _: scripts.check_keys(keys, repair=False))
    [deep] = {packed async for key, packed in filled.broker.limit_entries(QUEUE) if key == DEEP_KEY}
    await times.measure(
        "check_slots, of the deep key",
        turns,
        lambda _: scripts.check_slots(key=DEEP_KEY, seen=deep, given=1, repair=False),
    )


async def _move(filled: Filled, times: ServerTimes, turns: int) -> None:
    broker = filled.broker
    pending = await _list(filled, JobState.PENDING, turns)
    active = await _list(filled, JobState.ACTIVE, turns)
    blocked = await _list(filled, JobState.BLOCKED, turns)
    await times.measure("cancel, pending", len(pending), lambda turn: broker.cancel(QUEUE, pending[turn].id))
    await times.measure("cancel, active", len(active), lambda turn: broker.cancel(QUEUE, active[turn].id))
    await times.measure("cancel, blocked", len(blocked), lambda turn: broker.cancel(QUEUE, blocked[turn].id))
    await times.measure("cancel, held", turns, lambda turn: broker.cancel(QUEUE, filled.deep[-1 - turn]))
    await times.measure(
        "cancel, the slot of the deep key goes on", turns, lambda turn: broker.cancel(QUEUE, filled.deep[turn])
    )
    for state in (JobState.DEAD, JobState.PARKED, JobState.RETRY):
        jobs = [job.id for job in await _list(filled, state, LARGEST_ENQUEUE * _some(turns))]

        async def requeue(turn: int, jobs: list[bytes] = jobs) -> None:
            await broker.requeue(QUEUE, jobs[turn * LARGEST_ENQUEUE : (turn + 1) * LARGEST_ENQUEUE])

        await times.measure(f"requeue, 100 {state.value}", len(jobs) // LARGEST_ENQUEUE, requeue)
    await times.measure("unpark, 100 behind all others", _some(turns), lambda _: broker.unpark(QUEUE, SECOND_TYPE))
    await times.measure("unpark, none of this type", _some(turns), lambda _: broker.unpark(QUEUE, b"third"))
    await times.measure("unpark, 100 of the first", _some(turns), lambda _: broker.unpark(QUEUE, FIRST_TYPE))
    await times.measure("pause", turns, lambda _: broker.pause(QUEUE, reason="measured"))
    await times.measure("resume", turns, lambda _: broker.resume(QUEUE))
    await times.measure("pause, a task", turns, lambda _: broker.pause(QUEUE, reason="measured", task=b"another"))
    await times.measure("resume, a task", turns, lambda _: broker.resume(QUEUE, task=b"another"))
    await times.measure("configure", turns, lambda _: broker.configure(QUEUE, {"ageing": 0}))
    few = max(turns // 25, 2)
    for state in _PURGED:

        async def purge(_: int, state: JobState = state) -> None:
            await broker.purge(QUEUE, state, limit=_PAGE)

        await times.measure(f"purge, 1,000 {state.value}", few, purge)
    jobs = [job.id for job in await _list(filled, JobState.RETRY, LARGEST_ENQUEUE * few)]
    await times.measure(
        "purge, 100 by their ids",
        len(jobs) // LARGEST_ENQUEUE,
        lambda turn: broker.purge(
            QUEUE, JobState.RETRY, ids=jobs[turn * LARGEST_ENQUEUE : (turn + 1) * LARGEST_ENQUEUE]
        ),
    )


def _some(turns: int) -> int:
    return max(turns // 4, 2)


async def _list(filled: Filled, state: JobState, most: int) -> list[JobView]:
    found: list[JobView] = []
    cursor = ""
    while len(found) < most:
        page = await filled.broker.jobs_in(QUEUE, state, cursor=cursor, limit=min(_PAGE, most - len(found)))
        found += page.jobs
        cursor = page.cursor
        if not cursor:
            break
    return found


async def _first(values: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    async for value in values:
        if most == 0:
            return
        most -= 1
        yield value
