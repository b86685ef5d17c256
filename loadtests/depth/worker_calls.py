"""The scripts that workers and producers call all the time, each at the largest size of a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from loadtests.depth.filling import (
    DAY,
    DEEP_KEY,
    OTHER,
    QUEUE,
    SECOND_TYPE,
    TASK,
    Filled,
    dead,
    failed,
    gone,
    kept,
    parked,
    plain_job,
    split_in,
)
from loadtests.depth.server_times import ServerTimes
from ropeline.jobs.broker import LARGEST_ENQUEUE, LARGEST_RENEWAL, LARGEST_STEP
from ropeline.jobs.ids import new_id
from ropeline.jobs.options import LARGEST_PAYLOAD
from ropeline.jobs.payloads.envelope import pack_plain
from ropeline.jobs.records import Claimed, Finish, FinishKind, HandOver, Limit, NewJob

__all__ = ["call_as_workers"]

_FIRST: Final = 9
"""The priority of jobs that are to be claimed before the million."""
# As much as a worker or a producer sends in one call.
_RESULTS_A_CALL: Final = 3
_SPLITS_A_CALL: Final = 32
_LIMITED_A_CALL: Final = 50
_LARGE_RESULT: Final = b"\1" + b"1" * (256 * 1024 - 1)
_LARGE_BODY: Final = pack_plain(b"depth", b"x" * LARGEST_PAYLOAD, 1, 0)
_LARGE_AT_ONCE: Final = 100


async def call_as_workers(filled: Filled, times: ServerTimes, turns: int) -> None:
    """Measure each of them `turns` times."""
    await _produce(filled, times, turns)
    await _work(filled, times, turns)
    await _end_runs(filled, times, turns)
    await _lose(filled, times, turns)
    await _hold_back(filled, times, turns)
    await _carry_large(filled, times, turns)


async def _produce(filled: Filled, times: ServerTimes, turns: int) -> None:
    async def enqueue(name: str, make: Callable[[], NewJob], many: int = LARGEST_ENQUEUE) -> None:
        await times.measure(
            f"enqueue, {name}", turns, lambda _: filled.broker.enqueue(QUEUE, [make() for _ in range(many)])
        )

    await enqueue("one job", plain_job, 1)
    await enqueue("100 jobs", plain_job)
    await enqueue("100 scheduled", lambda: plain_job(delay=DAY))
    await enqueue("100 unique", lambda: plain_job(unique=os.urandom(16)))
    await enqueue("50 of the deep key", lambda: plain_job(limit=Limit(DEEP_KEY, most=1)), _LIMITED_A_CALL)
    await enqueue("50 of keys of their own", lambda: plain_job(limit=Limit(os.urandom(16), most=1)), _LIMITED_A_CALL)


async def _work(filled: Filled, times: ServerTimes, turns: int) -> None:
    claimed: list[Claimed] = []

    async def work(_: int) -> None:
        nonlocal claimed
        claimed = await filled.step([gone(job) for job in claimed], claim=LARGEST_STEP)

    await times.measure("step, nothing to finish or claim", turns, lambda _: filled.step())
    await times.measure("step, 64 completed and 64 claimed", turns, work)
    await filled.finish(claimed, gone)
    held = await filled.claim(LARGEST_RENEWAL)
    pairs = [(job.id, job.fence) for job in held]
    await times.measure(
        "renew, 200", turns, lambda _: filled.broker.renew(QUEUE, worker=filled.worker, held=pairs, lease=DAY)
    )
    await filled.finish(held, gone)


async def _end_runs(filled: Filled, times: ServerTimes, turns: int) -> None:
    await _ends(filled, times, "64 completed with a result", turns, kept)
    await _ends(filled, times, "64 completed, each followed by another", turns, _followed)
    await _ends(filled, times, "64 retried", turns, failed)
    await _ends(filled, times, "64 retried at once, with long errors", turns, _failed_loudly)
    await _ends(filled, times, "64 handed back", turns, _handed_back)
    await _ends(filled, times, "64 dead", turns, dead)
    await _ends(filled, times, "64 parked", turns, parked(SECOND_TYPE))
    await _ends(filled, times, "32 split in two", turns, split_in(2), many=_SPLITS_A_CALL)
    await _ends(filled, times, "one split in 1,000", turns // 4, split_in(1000), many=1)
    await _ends(filled, times, "3 completed with 256 KiB", turns // 4, _with_much, many=_RESULTS_A_CALL)
    keys = [Limit(os.urandom(16), most=65_535) for _ in range(LARGEST_STEP)]
    await _ends(filled, times, "64 of keys of their own completed", turns, gone, limits=keys)
    await _ends(filled, times, "64 of one key completed", turns, gone, limits=keys[:1])
    tight = [Limit(os.urandom(16), most=1) for _ in range(LARGEST_STEP)]
    await _ends(filled, times, "64 completed, each slot going on", turns, gone, limits=tight, one_by_one=True)


async def _ends(
    filled: Filled,
    times: ServerTimes,
    name: str,
    turns: int,
    end: Callable[[Claimed], Finish],
    *,
    many: int = LARGEST_STEP,
    limits: Sequence[Limit | None] = (None,),
    one_by_one: bool = False,
) -> None:
    """Measure steps that end `many` runs each, of jobs with these limits in turn. `one_by_one`: they are claimed after each step."""
    turns = max(turns, 2)
    await filled.enqueue(
        plain_job(limit=limits[number % len(limits)], priority=_FIRST) for number in range(turns * many)
    )
    claimed = [] if one_by_one else await filled.claim(turns * many)

    async def step(turn: int) -> None:
        nonlocal claimed
        if one_by_one:
            claimed = await filled.step([end(job) for job in claimed], claim=many)
        else:
            await filled.step([end(job) for job in claimed[turn * many : (turn + 1) * many]])

    await times.measure(f"step, {name}", turns, step)
    if one_by_one:
        await filled.finish(claimed, gone)


def _followed(job: Claimed) -> Finish:
    return Finish(FinishKind.COMPLETED, job.id, job.fence, hand_over=(HandOver(OTHER, (plain_job(),)),))


def _failed_loudly(job: Claimed) -> Finish:
    return Finish(FinishKind.RETRY, job.id, job.fence, error=b"x" * 1024)


def _handed_back(job: Claimed) -> Finish:
    return Finish(FinishKind.RELEASE, job.id, job.fence)


def _with_much(job: Claimed) -> Finish:
    return Finish(FinishKind.COMPLETED, job.id, job.fence, result=_LARGE_RESULT, keep=DAY)


async def _lose(filled: Filled, times: ServerTimes, turns: int) -> None:
    turns = max(turns // 4, 2)
    await times.measure("step, one suspect claimed", turns, lambda _: filled.step(claim=1, suspects=True))
    await filled.enqueue(plain_job(priority=_FIRST) for _ in range(20 * turns))
    # Each of these claims reaps twenty of those before it: what is measured is what they leave.
    await filled.claim(20 * turns, lease=1)
    await times.measure("step, 20 leases lost", turns, lambda _: filled.step())


async def _hold_back(filled: Filled, times: ServerTimes, turns: int) -> None:
    broker = filled.broker
    await broker.pause(QUEUE, reason="measured", task=TASK)
    await times.measure("step, 64 of a paused task", turns, lambda _: filled.step(claim=LARGEST_STEP))
    await broker.resume(QUEUE, task=TASK)
    await times.measure("step, jobs of a task that was paused", turns, lambda _: filled.step())


async def _carry_large(filled: Filled, times: ServerTimes, turns: int) -> None:
    turns = max(turns // 2, _LARGE_AT_ONCE + 1)

    def large() -> NewJob:
        return NewJob(new_id(), _LARGE_BODY, priority=_FIRST)

    claimed: list[Claimed] = []

    async def claim(_: int) -> None:
        claimed.extend(await filled.step(claim=LARGEST_STEP))

    async def finish(turn: int) -> None:
        await filled.step([gone(job) for job in claimed[turn * LARGEST_STEP : (turn + 1) * LARGEST_STEP]])

    await times.measure("enqueue, one of 1 MB", turns, lambda _: filled.broker.enqueue(QUEUE, [large()]))
    await times.measure("step, 64 asked for and of 1 MB", turns, claim)
    await times.measure("step, 64 of 1 MB completed", max(len(claimed) // LARGEST_STEP, 1), finish)
