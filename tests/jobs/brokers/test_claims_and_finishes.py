"""Steps: what is claimed, under which fence, what each end of a run makes of a job, and that a repeated call changes nothing."""

from __future__ import annotations

import pytest

from ropeline.jobs.records import Finish, FinishKind, FinishResult, JobState, NewJob
from ropeline.lua.errors import StoreError
from tests.jobs.brokers.stage import ENDS, Stage, new_id


async def test_a_claimed_job_is_active_and_carries_what_the_worker_needs(stage: Stage) -> None:
    id_ = await stage.enqueue(body=b"payload")
    ready = stage.time.now
    stage.time.advance(250)
    worker = stage.worker()
    reply = await worker.step(claim=5)
    [job] = reply.claimed
    assert (job.id, job.body, job.attempts, job.lost, job.ready, job.claimed) == (
        id_,
        b"payload",
        0,
        0,
        ready,
        stage.time.now,
    )
    assert (reply.now, reply.more, reply.next_due, reply.paused) == (stage.time.now, False, 0, False)
    view = await stage.look(id_)
    assert (view.state, view.worker, view.at) == (JobState.ACTIVE, worker.id.hex(), stage.time.now)


async def test_nobody_else_gets_a_job_that_is_held(stage: Stage) -> None:
    await stage.active()
    assert not await stage.worker().claim(64)


async def test_a_step_claims_as_many_as_asked_and_says_whether_more_is_left(stage: Stage) -> None:
    for _ in range(5):
        await stage.enqueue()
    worker = stage.worker()
    reply = await worker.step(claim=3)
    assert (len(reply.claimed), reply.more) == (3, True)
    reply = await worker.step()
    assert (len(reply.claimed), reply.more) == (0, True)
    reply = await worker.step(claim=2)
    assert (len(reply.claimed), reply.more) == (2, False)


async def test_jobs_of_one_claim_share_a_fence_and_each_later_claim_has_a_higher_one(stage: Stage) -> None:
    for _ in range(6):
        await stage.enqueue()
    fences = []
    for advance in (0, 0, 7, -5000):
        stage.time.advance(advance)
        claimed = await stage.worker().claim(2 if advance == 0 else 1)
        assert len({job.fence for job in claimed}) == 1
        fences.append(claimed[0].fence)
    assert fences == sorted(set(fences)), "also within one moment, and when the clock has been set back"
    assert fences[0] == (stage.time.now + 5000 - 7) * 1000


async def test_a_reply_brings_a_mebibyte_of_bodies_at_most_but_always_a_job(stage: Stage) -> None:
    for size in (700_000, 300_000, 100_000, 1_500_000, 10):
        await stage.enqueue(body=bytes(size))
        stage.time.advance(1)
    worker = stage.worker()
    sizes = []
    while claimed := await worker.claim(64):
        sizes.append([len(job.body) for job in claimed])
    assert sizes == [[700_000, 300_000], [100_000], [1_500_000], [10]]


async def test_a_completed_job_is_gone(stage: Stage) -> None:
    worker, job = await stage.active()
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE
    assert await stage.state(job.id) is None
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "completed": 1}


async def test_a_completed_job_is_kept_with_its_result_for_as_long_as_asked(stage: Stage) -> None:
    worker, job = await stage.active(body=b"payload")
    await worker.finish(job, FinishKind.COMPLETED, result=b"\x00result", keep=60_000)
    ended = stage.time.now
    view = await stage.look(job.id)
    assert (view.state, view.result, view.body, view.at) == (JobState.COMPLETED, b"\x00result", b"payload", ended)
    stage.time.advance(59_999)
    await worker.step()
    assert await stage.state(job.id) is JobState.COMPLETED
    stage.time.advance(1)
    await worker.step()
    assert await stage.state(job.id) is None
    assert (await stage.counters())["expired"] == 1


async def test_a_job_that_fails_n_times_runs_n_times_at_the_planned_moments(stage: Stage) -> None:
    id_ = await stage.enqueue()
    worker = stage.worker()
    for attempt, delay in enumerate((1000, 2000, 4000)):
        job = await worker.claim_one()
        assert (job.id, job.attempts, job.lost) == (id_, attempt, 0)
        assert (
            await worker.finish(job, FinishKind.RETRY, delay=delay, error=b"failure %d" % attempt) is FinishResult.DONE
        )
        view = await stage.look(id_)
        assert (view.state, view.attempts, view.error, view.at, view.worker) == (
            JobState.RETRY,
            attempt + 1,
            f"failure {attempt}",
            stage.time.now + delay,
            "",
        )
        stage.time.advance(delay - 1)
        assert not await worker.claim()
        stage.time.advance(1)
    job = await worker.claim_one()
    await worker.finish(job, FinishKind.COMPLETED)
    assert await stage.counters() == {"enqueued": 1, "claimed": 4, "failed": 3, "retried": 3, "completed": 1}


async def test_a_retry_without_delay_is_pending_at_once_and_may_be_claimed_by_the_same_step(stage: Stage) -> None:
    worker, job = await stage.active()
    stage.time.advance(300)
    reply = await worker.step(Finish(FinishKind.RETRY, job.id, job.fence, error=b"no"), claim=1)
    [again] = reply.claimed
    assert (again.id, again.attempts, again.ready) == (job.id, 1, stage.time.now)
    assert again.fence > job.fence


async def test_a_retry_keeps_its_priority(stage: Stage) -> None:
    worker, job = await stage.active(priority=8)
    await worker.finish(job, FinishKind.RETRY, delay=10)
    stage.time.advance(5)
    await stage.enqueue(priority=7)
    stage.time.advance(5)
    assert (await worker.claim_one()).id == job.id


async def test_of_an_error_the_first_1024_bytes_are_kept(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RETRY, delay=10, error=b"e" * 1024 + b"more")
    assert (await stage.look(job.id)).error == "e" * 1024
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.DEAD, error="é".encode() * 600 + b"\xff", detail=b"attempts")
    assert (await stage.look(job.id)).error == "é" * 512


async def test_a_snoozed_job_waits_without_having_spent_an_attempt(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.SNOOZE, delay=1000)
    view = await stage.look(job.id)
    assert (view.state, view.attempts, view.at) == (JobState.SCHEDULED, 0, stage.time.now + 1000)
    stage.time.advance(1000)
    job = await worker.claim_one()
    await worker.finish(job, FinishKind.RETRY, error=b"failed once", delay=1000)
    stage.time.advance(1000)
    job = await worker.claim_one()
    await worker.finish(job, FinishKind.SNOOZE, delay=1000)
    view = await stage.look(job.id)
    assert (view.state, view.attempts, view.error) == (JobState.RETRY, 1, "failed once")
    stage.time.advance(1000)
    job = await worker.claim_one()
    stage.time.advance(100)
    await worker.finish(job, FinishKind.SNOOZE)
    job = await worker.claim_one()
    assert (job.attempts, job.ready) == (1, stage.time.now)
    assert await stage.counters() == {"enqueued": 1, "claimed": 5, "snoozed": 3, "failed": 1, "retried": 1}


async def test_a_released_job_goes_back_to_its_old_place(stage: Stage) -> None:
    first = await stage.enqueue()
    stage.time.advance(1)
    second = await stage.enqueue()
    worker = stage.worker()
    job = await worker.claim_one()
    stage.time.advance(1000)
    assert await worker.finish(job, FinishKind.RELEASE) is FinishResult.DONE
    again = await worker.claim(2)
    assert [job.id for job in again] == [first, second]
    assert (again[0].ready, again[0].attempts, again[0].lost) == (job.ready, 0, 0)
    assert await stage.counters() == {"enqueued": 2, "claimed": 3, "released": 1}


async def test_a_dead_letter_keeps_all_that_is_known_of_it(stage: Stage) -> None:
    worker, job = await stage.active(body=b"payload", priority=3)
    stage.time.advance(10)
    assert await worker.finish(job, FinishKind.DEAD, error=b"it broke", detail=b"discarded") is FinishResult.DONE
    view = await stage.look(job.id)
    assert (view.state, view.body, view.attempts, view.error, view.reason, view.priority, view.at, view.worker) == (
        JobState.DEAD,
        b"payload",
        1,
        "it broke",
        "discarded",
        3,
        stage.time.now,
        worker.id.hex(),
    )
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "failed": 1, "dead": 1}
    stage.time.advance(100_000)
    assert not await worker.claim()


async def test_a_run_that_heeded_a_cancel_ends_cancelled(stage: Stage) -> None:
    worker, job = await stage.active()
    assert await worker.finish(job, FinishKind.CANCELLED) is FinishResult.DONE
    view = await stage.look(job.id)
    assert (view.state, view.attempts, view.at) == (JobState.CANCELLED, 0, stage.time.now)
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "cancelled": 1}


async def test_a_job_of_an_unknown_type_is_parked_and_waits_for_a_worker_that_knows_it(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.PARK, detail=b"order:confirm")
    view = await stage.look(job.id)
    assert (view.state, view.attempts, view.reason, view.at) == (JobState.PARKED, 0, "order:confirm", stage.time.now)
    stage.time.advance(60_000)
    assert not await worker.claim()
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "parked": 1}


@pytest.mark.parametrize("kind", ENDS)
async def test_a_finish_counts_once(stage: Stage, kind: FinishKind) -> None:
    worker, job = await stage.active()
    finish = Finish(kind, job.id, job.fence, delay=100, keep=1000, detail=b"word")
    reply = await worker.step(finish, finish)
    assert reply.finished == [FinishResult.DONE, FinishResult.STALE]
    before = await stage.broker.find(stage.queue, job.id)
    assert (await worker.step(finish)).finished == [FinishResult.STALE]
    assert await stage.broker.find(stage.queue, job.id) == before
    assert (await stage.counters())["stale"] == 2


@pytest.mark.parametrize("kind", ENDS)
async def test_a_late_finish_of_a_lease_that_went_to_another_changes_nothing(stage: Stage, kind: FinishKind) -> None:
    late, job = await stage.active()
    await stage.pass_time(60_000)
    other = stage.worker()
    again = await other.claim_one()
    assert again.id == job.id
    assert again.fence > job.fence
    before = await stage.look(job.id)
    assert await late.finish(job, kind, keep=1000, delay=5, detail=b"word") is FinishResult.STALE
    assert await stage.look(job.id) == before
    assert await other.finish(again, FinishKind.COMPLETED) is FinishResult.DONE


async def test_a_right_fence_in_the_hands_of_another_worker_is_stale(stage: Stage) -> None:
    _, job = await stage.active()
    assert await stage.worker().finish(job, FinishKind.COMPLETED) is FinishResult.STALE
    assert await stage.state(job.id) is JobState.ACTIVE


async def test_a_late_worker_that_nobody_reaped_may_still_finish(stage: Stage) -> None:
    worker, job = await stage.active()
    stage.time.advance(3_600_000)
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE


async def test_a_finish_of_a_job_that_is_not_there_is_stale(stage: Stage) -> None:
    reply = await stage.worker().step(Finish(FinishKind.COMPLETED, new_id(), 1))
    assert reply.finished == [FinishResult.STALE]
    assert await stage.counters() == {"stale": 1}


async def test_64_finishes_and_64_claims_fit_into_one_step(stage: Stage) -> None:
    await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(100)])
    await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(28)])
    worker = stage.worker()
    first = await worker.claim(64)
    reply = await worker.step(*(Finish(FinishKind.COMPLETED, job.id, job.fence) for job in first), claim=64)
    assert reply.finished == [FinishResult.DONE] * 64
    assert len(reply.claimed) == 64
    assert not {job.id for job in first} & {job.id for job in reply.claimed}


async def test_a_repeated_call_is_answered_as_the_first_one_and_changes_nothing(stage: Stage) -> None:
    for _ in range(3):
        await stage.enqueue()
    worker = stage.worker()
    [job] = await worker.claim(1)
    finish = Finish(FinishKind.RETRY, job.id, job.fence, delay=1000, error=b"no")
    reply = await worker.step(finish, claim=1)
    depths = await stage.broker.depths(stage.queue)
    for _ in range(3):
        assert await worker.step(finish, claim=1, repeat=True) == reply
    assert await stage.broker.depths(stage.queue) == depths
    stage.time.advance(5000)
    assert await worker.step(finish, claim=64, repeat=True) == reply
    assert (await stage.look(job.id)).state is JobState.RETRY, "a repeat tends nothing either"
    assert len(await worker.claim(64)) == 2


async def test_each_lane_of_each_worker_counts_its_own_calls(stage: Stage) -> None:
    for _ in range(3):
        await stage.enqueue()
    first = stage.worker()
    second = stage.worker()
    second.id, second.lane = first.id, 1
    third = stage.worker()
    claimed = [await worker.claim_one() for worker in (first, second, third)]
    assert len({job.id for job in claimed}) == 3


async def test_a_call_that_was_on_its_way_for_too_long_is_refused(stage: Stage) -> None:
    id_ = await stage.enqueue()
    worker = stage.worker()
    await worker.step()
    await worker.step()
    worker.call = 0
    with pytest.raises(StoreError, match="call"):
        await worker.claim(1)
    assert await stage.state(id_) is JobState.PENDING


async def test_what_a_caller_does_to_a_reply_is_nothing_to_its_repeat(stage: Stage) -> None:
    id_ = await stage.enqueue()
    worker = stage.worker()
    (await worker.step(claim=1)).claimed.clear()
    reply = await worker.step(claim=1, repeat=True)
    assert [job.id for job in reply.claimed] == [id_]
