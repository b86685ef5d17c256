"""Limits and shares by key: how many jobs of a key run at once, how many begin in a time, and whose turn it is."""

from __future__ import annotations

import pytest

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.records import FinishKind, JobState, Limit, NewJob
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, new_id, with_places

KEY, OTHER = b"k" * 16, b"o" * 16


async def held(stage: Stage) -> list[bytes]:
    return await stage.ids_in(JobState.HELD)


async def test_of_a_key_no_more_are_pending_or_active_than_its_limit(stage: Stage) -> None:
    jobs = [await stage.enqueue(limit=Limit(KEY, most=2)) for _ in range(5)]
    assert await held(stage) == jobs[2:]
    assert (await stage.broker.depths(stage.queue)).held == 3
    worker = stage.worker()
    claimed = await worker.claim(10)
    assert [job.id for job in claimed] == jobs[:2]
    assert not await stage.worker().claim(10)
    await worker.finish(claimed[1], FinishKind.COMPLETED)
    assert [job.id for job in await worker.claim(10)] == [jobs[2]]


async def test_a_claim_brings_half_as_many_jobs_of_keys_and_says_that_there_are_more(stage: Stage) -> None:
    keyed = [await stage.enqueue(limit=Limit(bytes((number,)) * 16, most=1), priority=9) for number in range(40)]
    plain = [await stage.enqueue() for _ in range(40)]
    worker = stage.worker()
    first, second = await worker.step(claim=64), await worker.step(claim=64)
    assert [job.id for job in first.claimed] == keyed[:32]
    assert first.more
    assert [job.id for job in second.claimed] == keyed[32:] + plain
    assert not second.more


@pytest.mark.parametrize("end", [FinishKind.COMPLETED, FinishKind.DEAD, FinishKind.PARK, FinishKind.CANCELLED])
async def test_each_end_of_a_run_hands_the_slot_to_the_next(stage: Stage, end: FinishKind) -> None:
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    worker = stage.worker()
    job = await worker.claim_one()
    assert job.id == first
    await worker.finish(job, end)
    assert [claimed.id for claimed in await worker.claim(5)] == [second]


async def test_a_result_that_is_kept_keeps_no_slot(stage: Stage) -> None:
    _, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED, keep=60_000)
    assert [claimed.id for claimed in await worker.claim(5)] == [second]


async def test_who_waits_for_another_attempt_has_no_slot_and_asks_for_one_again(stage: Stage) -> None:
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.RETRY, delay=1_000)
    running = await worker.claim_one()
    assert running.id == second
    await stage.pass_time(2_000)
    assert await held(stage) == [first]
    await worker.finish(running, FinishKind.COMPLETED)
    again = await worker.claim_one()
    assert (again.id, again.attempts) == (first, 1)


async def test_a_crash_leaks_no_slot_and_breaks_no_limit(stage: Stage) -> None:
    jobs = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(3)]
    await stage.worker().claim_one()
    await stage.pass_time(31_000)
    assert await held(stage) == jobs[1:], "the lost job keeps its slot while it waits to run again"
    for _ in jobs:
        worker = stage.worker()
        [job] = await worker.claim(5)
        await worker.finish(job, FinishKind.COMPLETED)
    assert not await stage.worker().claim(5)


async def test_a_released_job_keeps_its_slot(stage: Stage) -> None:
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.RELEASE)
    assert await held(stage) == [second]
    assert (await worker.claim_one()).id == first


async def test_a_held_job_may_be_cancelled_and_is_not_handed_a_slot(stage: Stage) -> None:
    _, second, third = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(3)]
    assert await stage.broker.cancel(stage.queue, second) is JobState.CANCELLED
    assert await stage.state(third) is JobState.HELD
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    assert [job.id for job in await worker.claim(5)] == [third]


async def test_a_pending_job_that_is_cancelled_hands_its_slot_on(stage: Stage) -> None:
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    assert await stage.broker.cancel(stage.queue, first) is JobState.CANCELLED
    assert [job.id for job in await stage.worker().claim(5)] == [second]


async def test_a_scheduled_job_takes_its_slot_when_it_is_due(stage: Stage) -> None:
    later = await stage.enqueue(limit=Limit(KEY, most=1), delay=1_000)
    now = await stage.enqueue(limit=Limit(KEY, most=1))
    await stage.pass_time(2_000)
    assert await held(stage) == [later]
    assert [job.id for job in await stage.worker().claim(5)] == [now]


async def test_a_requeued_job_asks_for_a_slot(stage: Stage) -> None:
    dead = await stage.dead(limit=Limit(KEY, most=1))
    now = await stage.enqueue(limit=Limit(KEY, most=1))
    await stage.broker.requeue(stage.queue, [dead])
    assert await held(stage) == [dead]
    assert [job.id for job in await stage.worker().claim(5)] == [now]


async def test_no_more_begin_in_a_time_than_the_rate_allows(stage: Stage) -> None:
    jobs = [await stage.enqueue(limit=Limit(KEY, rate=2, period=10_000)) for _ in range(5)]
    worker = stage.worker()

    async def run_all() -> list[bytes]:
        claimed = await worker.claim(10)
        for job in claimed:
            await worker.finish(job, FinishKind.COMPLETED)
        return [job.id for job in claimed]

    assert await run_all() == jobs[:2]
    reply = await worker.step(claim=10)
    assert (reply.claimed, reply.next_due - reply.now) == ([], 5_000)
    await stage.pass_time(5_000)
    assert await run_all() == jobs[2:3]
    await stage.pass_time(10_000)
    assert await run_all() == jobs[3:]


async def test_the_terms_of_the_job_that_asks_for_the_slot_count(stage: Stage) -> None:
    jobs = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    jobs += [await stage.enqueue(limit=Limit(KEY, most=3)) for _ in range(3)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    assert [job.id for job in await worker.claim(5)] == jobs[1:4]


async def test_keys_do_not_count_for_each_other(stage: Stage) -> None:
    for key in (KEY, OTHER, KEY, OTHER):
        await stage.enqueue(limit=Limit(key, most=1))
    assert len(await stage.worker().claim(5)) == 2


@with_places
async def test_a_key_with_one_job_beside_a_key_with_many_is_next(stage: Stage) -> None:
    for _ in range(20):
        await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"body", limit=Limit(KEY)) for _ in range(100)])
    worker = stage.worker()
    for _ in range(3):
        await worker.claim(64)
    lonely = await stage.enqueue(limit=Limit(OTHER))
    assert lonely in [job.id for job in await worker.claim(2)]


@with_places
async def test_keys_share_by_their_weights(stage: Stage) -> None:
    for _ in range(3):
        await stage.broker.enqueue(
            stage.queue, [NewJob(new_id(), b"one", limit=Limit(KEY, weight=1)) for _ in range(100)]
        )
        await stage.broker.enqueue(
            stage.queue, [NewJob(new_id(), b"three", limit=Limit(OTHER, weight=3)) for _ in range(100)]
        )
    worker = stage.worker()
    bodies = [job.body for _ in range(3) for job in await worker.claim(64)]
    assert abs(bodies.count(b"three") / len(bodies) - 0.75) < 0.02


@with_places
async def test_a_higher_priority_goes_before_any_share(stage: Stage) -> None:
    for _ in range(5):
        await stage.enqueue(limit=Limit(KEY), priority=5)
    urgent = await stage.enqueue(limit=Limit(KEY), priority=9)
    assert (await stage.worker().claim_one()).id == urgent


async def test_a_key_without_jobs_leaves_nothing(stage: Stage) -> None:
    worker = stage.worker()
    for _ in range(5):
        await stage.enqueue(limit=Limit(new_id(), most=1, rate=100, period=1_000))
    for job in await worker.claim(5):
        await worker.finish(job, FinishKind.COMPLETED)
    await stage.pass_time(5_000)
    if isinstance(stage.broker, RedisBroker):
        assert await stage.broker.limit_keys(stage.queue) == 0


async def test_who_waited_behind_a_job_that_is_cancelled_goes_if_there_is_room(stage: Stage) -> None:
    for most in (1, 1):
        await stage.enqueue(limit=Limit(KEY, most=most))
    [strict] = await held(stage)
    patient = [await stage.enqueue(limit=Limit(KEY, most=3)) for _ in range(2)]
    assert await held(stage) == [strict, *patient], "nobody overtakes one of its own key"
    await stage.broker.cancel(stage.queue, strict)
    assert await held(stage) == []
    assert len(await stage.worker().claim(5)) == 3


async def test_an_urgent_job_of_a_key_goes_before_those_that_wait_if_its_own_terms_have_room(stage: Stage) -> None:
    _, waits = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    urgent = await stage.enqueue(limit=Limit(KEY, most=2), priority=9)
    also_urgent = await stage.enqueue(limit=Limit(KEY, most=2), priority=9)
    assert await held(stage) == [also_urgent, waits]
    assert (await stage.worker().claim_one()).id == urgent


async def test_jobs_with_other_terms_do_not_delay_who_waits_for_its_rate(stage: Stage) -> None:
    _, waits = [await stage.enqueue(limit=Limit(KEY, rate=1, period=10_000)) for _ in range(2)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    for _ in range(3):
        await stage.pass_time(3_000)
        await stage.enqueue(limit=Limit(KEY, rate=1, period=10_000_000))
        await stage.enqueue(limit=Limit(KEY, most=1))
    assert not await worker.claim(5)
    await stage.pass_time(1_000)
    assert [job.id for job in await worker.claim(5)] == [waits]


async def test_who_waits_for_a_slot_and_not_for_its_rate_calls_no_worker(stage: Stage) -> None:
    for _ in range(2):
        await stage.enqueue(limit=Limit(KEY, most=1, rate=100, period=10_000))
    worker = stage.worker()
    job = await worker.claim_one()
    reply = await worker.step(claim=1)
    assert (reply.claimed, reply.next_due, reply.more) == ([], 0, False)
    await worker.finish(job, FinishKind.COMPLETED)
    assert len(await worker.claim(1)) == 1


async def test_another_attempt_at_once_is_behind_those_of_its_key_that_wait(stage: Stage) -> None:
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.RETRY)
    assert await held(stage) == [first]
    assert (await worker.claim_one()).id == second


@pytest.mark.parametrize("end", [FinishKind.RETRY, FinishKind.SNOOZE])
async def test_another_attempt_at_once_is_a_beginning_too(stage: Stage, end: FinishKind) -> None:
    first = await stage.enqueue(limit=Limit(KEY, rate=1, period=10_000))
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), end)
    assert not await worker.claim(1)
    await stage.pass_time(10_000)
    assert (await worker.claim_one()).id == first


async def test_a_job_tells_since_when_it_is_held_and_since_when_it_is_pending(stage: Stage) -> None:
    start = stage.time.now
    first, second = [await stage.enqueue(limit=Limit(KEY, most=1)) for _ in range(2)]
    await stage.pass_time(3_000)
    assert ((await stage.look(first)).at, (await stage.look(second)).at) == (start, start)
    assert (await stage.broker.depths(stage.queue)).oldest_pending == start
    await stage.broker.cancel(stage.queue, first)
    assert (await stage.look(second)).at == start + 3_000, "it was held until now"
    assert (await stage.broker.depths(stage.queue)).oldest_pending == start + 3_000
    stage.time.advance(1_000)
    worker = stage.worker()
    job = await worker.claim_one()
    assert job.ready == start + 3_000
    stage.time.advance(1_000)
    await worker.finish(job, FinishKind.RELEASE)
    assert (await stage.look(second)).at == start + 5_000


@with_places
async def test_a_job_without_a_key_that_came_first_is_next_though_a_slow_queue_had_only_jobs_with_keys(
    stage: Stage,
) -> None:
    worker = stage.worker()
    for _ in range(3):
        stage.time.advance(1_000)
        await stage.enqueue(limit=Limit(KEY))
        await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    plain = await stage.enqueue()
    stage.time.advance(1_000)
    for _ in range(5):
        await stage.enqueue(limit=Limit(new_id()))
    assert (await worker.claim_one()).id == plain


async def test_any_number_that_may_go_at_once_goes_in_a_few_steps(stage: Stage) -> None:
    first = await stage.enqueue(limit=Limit(KEY, most=1))
    strict = await stage.enqueue(limit=Limit(KEY, most=1))
    for _ in range(50):
        await stage.enqueue(limit=Limit(KEY, most=1_000))
    await stage.broker.cancel(stage.queue, strict)
    worker = stage.worker()
    reply = await worker.step()
    assert 0 < reply.next_due <= reply.now, "the next step has something to do"
    await worker.step()
    assert await held(stage) == []
    claimed = await worker.claim(64) + await worker.claim(64)
    assert claimed[0].id == first
    assert len(claimed) == 51


@with_places
async def test_pages_of_pending_and_held_jobs_leave_nobody_out(stage: Stage) -> None:
    for key in (KEY, OTHER):
        for _ in range(9):
            await stage.enqueue(limit=Limit(key, most=7, weight=3))
    for state, many in ((JobState.PENDING, 14), (JobState.HELD, 4)):
        whole = await stage.ids_in(state)
        assert len(whole) == many
        paged: list[bytes] = []
        cursor = ""
        while True:
            page = await stage.broker.jobs_in(stage.queue, state, cursor=cursor, limit=1)
            paged += [job.id for job in page.jobs]
            cursor = page.cursor
            if not cursor:
                break
        assert paged == whole


async def test_the_cursor_of_another_list_is_refused(stage: Stage) -> None:
    for cursor in ("0-1-" + "0" * 32, "zz", "0" * 79):
        with pytest.raises(ConfigurationError):
            await stage.broker.jobs_in(stage.queue, JobState.HELD, cursor=cursor)
