"""What operators set of a queue: its byte budget, its rate, ageing, and how long what has ended is kept."""

from __future__ import annotations

import pytest

from ropeline.jobs.errors import QueueFull
from ropeline.jobs.records import EnqueueResult, FinishKind, HandOver, JobState, NewJob, Outgoing, QueueSettings
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, new_id, with_places

HEAD = 2
"""Bytes that a store adds to a plain body."""


async def test_settings_are_the_defaults_until_they_are_changed_and_each_change_leaves_the_others(stage: Stage) -> None:
    assert await stage.broker.configure(stage.queue, {}) == QueueSettings()
    await stage.broker.configure(stage.queue, {"most_bytes": 1_000})
    changed = await stage.broker.configure(stage.queue, {"rate": 5, "period": 1_000})
    assert changed == QueueSettings(most_bytes=1_000, rate=5, period=1_000)
    assert await stage.broker.configure(stage.queue, {}) == changed


@pytest.mark.parametrize(
    "changes",
    [{"most": 1}, {"rate": -1}, {"rate": 5}, {"rate": 5, "period": 0}, {"dead_age": 0}, {"most_bytes": 1 << 53}],
)
async def test_a_setting_that_cannot_be_is_refused_by_its_name(stage: Stage, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await stage.broker.configure(stage.queue, changes)
    assert caught.value.field in {"setting", "period", *changes}
    assert await stage.broker.configure(stage.queue, {}) == QueueSettings()


async def test_an_enqueue_beyond_the_byte_budget_is_refused_whole_and_nothing_is_written(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"most_bytes": 3 * (HEAD + 10)})
    first, second = await stage.enqueue(body=b"x" * 10), new_id()
    jobs = [NewJob(second, b"y" * 10, unique=b"k" * 16), NewJob(new_id(), b"z" * 10)]
    with pytest.raises(
        QueueFull, match=r"queue work: the queue holds 12 bytes and may hold 36: there is no room for 40 more"
    ):
        await stage.broker.enqueue(stage.queue, jobs)
    assert (await stage.broker.depths(stage.queue)).bytes == HEAD + 10
    assert await stage.state(second) is None
    assert await stage.enqueue(second, body=b"y" * 6, unique=b"k" * 16), "its unique key was not taken"
    # What the queue knows already needs no room.
    assert (await stage.try_enqueue(first)).result is EnqueueResult.EXISTS


async def test_a_full_queue_goes_on_working_and_has_room_again_when_jobs_have_ended(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"most_bytes": HEAD + 10})
    worker, job = await stage.active(body=b"x" * 10)
    with pytest.raises(QueueFull):
        await stage.enqueue()
    assert await worker.finish(job, FinishKind.RETRY, delay=1_000, error=b"it broke") == 0
    stage.time.advance(1_000)
    job = await worker.claim_one()
    await worker.finish(job, FinishKind.COMPLETED, keep=1_000, result=b"r" * 100)
    assert (await stage.broker.depths(stage.queue)).bytes == HEAD + 10 + 100, "a result is not refused"
    with pytest.raises(QueueFull):
        await stage.enqueue(body=b"")
    stage.time.advance(1_000)
    await worker.step()
    assert (await stage.broker.depths(stage.queue)).bytes == 0
    await stage.enqueue(body=b"x" * 10)


async def test_what_follows_from_jobs_that_are_in_is_taken_over_by_a_full_queue(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"most_bytes": HEAD + 10})
    worker, job = await stage.active(body=b"x" * 10)
    following = NewJob(new_id(), b"y" * 100)
    hand_over = (HandOver(stage.queue, (following,)),)
    await worker.finish(job, FinishKind.COMPLETED, hand_over=hand_over)
    await stage.enqueue(body=b"z" * 10)
    entries: list[Outgoing] = await stage.broker.hand_out(stage.queue)
    assert await stage.broker.take_over(stage.queue, entries) == 1
    assert await stage.state(following.id) is JobState.PENDING


@pytest.mark.parametrize("end", ["complete", "purge", "expire", "cancel"])
async def test_the_bytes_of_jobs_that_have_gone_are_none(stage: Stage, end: str) -> None:
    worker = stage.worker()
    for body in (b"small", b"L" * 20_000):
        id_ = await stage.enqueue(body=body, unique=b"u" * 16)
        assert (await stage.broker.depths(stage.queue)).bytes == HEAD + 16 + len(body)
        job = await worker.claim_one()
        if end == "complete":
            await worker.finish(job, FinishKind.COMPLETED)
        elif end == "cancel":
            await stage.broker.cancel(stage.queue, id_)
            await worker.finish(job, FinishKind.CANCELLED)
            stage.time.advance(86_400_000)
            await worker.step()
        else:
            await worker.finish(job, FinishKind.DEAD, error=b"no", detail=b"attempts")
            assert (await stage.broker.depths(stage.queue)).dead_bytes > len(body)
            if end == "purge":
                await stage.broker.purge(stage.queue, JobState.DEAD)
            else:
                stage.time.advance(90 * 86_400_000)
                await worker.step()
        depths = await stage.broker.depths(stage.queue)
        assert (depths.bytes, depths.dead_bytes) == (0, 0)


async def test_no_more_jobs_begin_than_the_rate_of_the_queue_allows_whoever_claims(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"rate": 3, "period": 9_000})
    for _ in range(10):
        await stage.enqueue()
    first, second = stage.worker(), stage.worker()
    assert len(await first.claim(2)) == 2
    reply = await second.step(claim=10)
    assert (len(reply.claimed), reply.more) == (1, False)
    assert reply.next_due == stage.time.now + 3_000, "the next one may begin when there is a token again"
    stage.time.advance(2_999)
    assert await first.claim(10) == []
    stage.time.advance(1)
    assert len(await first.claim(10)) == 1
    stage.time.advance(60_000)
    assert len(await first.claim(10)) == 3, "after a rest as many at once"
    await stage.broker.configure(stage.queue, {"rate": 0})
    assert len(await second.claim(10)) == 3


@with_places
async def test_a_job_that_has_waited_long_goes_before_fresh_ones_of_a_higher_priority(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"ageing": 10_000})
    old = await stage.enqueue(priority=4)
    stage.time.advance(9_999)
    fresh = await stage.enqueue(priority=5)
    worker = stage.worker()
    assert (await worker.claim_one()).id == fresh
    stage.time.advance(1)
    fresh = await stage.enqueue(priority=5)
    assert (await worker.claim_one()).id == old, "it has the priority 5 by now, and has waited for longer"
    assert (await worker.claim_one()).id == fresh


async def test_without_ageing_a_higher_priority_goes_first_however_long_others_wait(stage: Stage) -> None:
    old = await stage.enqueue(priority=4)
    stage.time.advance(86_400_000)
    fresh = await stage.enqueue(priority=5)
    worker = stage.worker()
    assert [job.id for job in await worker.claim(2)] == [fresh, old]


async def test_dead_letters_go_by_age_count_and_bytes_the_oldest_first(stage: Stage) -> None:
    dead = []
    for _ in range(6):
        dead.append(await stage.dead(body=b"x" * 100))
        stage.time.advance(1_000)
    worker = stage.worker()
    each = (await stage.broker.depths(stage.queue)).dead_bytes // 6
    await stage.broker.configure(stage.queue, {"dead_count": 5})
    await worker.step()
    assert await stage.ids_in(JobState.DEAD) == dead[1:]
    await stage.broker.configure(stage.queue, {"dead_bytes": 4 * each - 1})
    await worker.step()
    assert await stage.ids_in(JobState.DEAD) == dead[3:]
    await stage.broker.configure(stage.queue, {"dead_age": 2_000})
    await worker.step()
    assert await stage.ids_in(JobState.DEAD) == dead[5:]


async def test_cancelled_completed_and_parked_jobs_go_as_the_settings_say(stage: Stage) -> None:
    await stage.broker.configure(stage.queue, {"cancelled_age": 5_000, "completed_count": 1, "parked_age": 7_000})
    cancelled = await stage.enqueue()
    await stage.broker.cancel(stage.queue, cancelled)
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.PARK, detail=b"mail")
    completed = []
    for _ in range(2):
        one = await stage.enqueue()
        await worker.finish(await worker.claim_one(), FinishKind.COMPLETED, keep=60_000)
        completed.append(one)
        stage.time.advance(1)
    await worker.step()
    assert await stage.ids_in(JobState.COMPLETED) == completed[1:]
    stage.time.advance(5_000)
    await worker.step()
    assert await stage.state(cancelled) is None
    stage.time.advance(2_000)
    await worker.step()
    assert (await stage.look(job.id)).reason == "unknown"
