"""Jobs on their way in: once per id, at their time, in their order, under their unique key."""

from __future__ import annotations

from ropeline.jobs.records import Enqueued, EnqueueResult, FinishKind, JobState, NewJob
from tests.jobs.brokers.stage import DAY, Stage, new_id, with_places

KEY = b"k" * 16
EXISTS = Enqueued(EnqueueResult.EXISTS, b"")
ENQUEUED = Enqueued(EnqueueResult.ENQUEUED, b"")


async def test_a_job_is_pending_at_once_and_looks_as_it_was_enqueued(stage: Stage) -> None:
    id_ = await stage.enqueue(body=b"\x00\xffpayload", priority=7)
    view = await stage.look(id_)
    assert (view.id, view.state, view.body, view.priority, view.at) == (
        id_,
        JobState.PENDING,
        b"\x00\xffpayload",
        7,
        stage.time.now,
    )
    assert (view.attempts, view.lost, view.error, view.reason, view.result, view.worker) == (0, 0, "", "", b"", "")
    assert not view.is_cancelling
    assert await stage.broker.queues() == [stage.queue]


async def test_a_queue_without_jobs_has_nothing_and_is_on_no_list(stage: Stage) -> None:
    depths = await stage.broker.depths("unheard")
    assert sum(depths.counters.values()) == depths.pending == depths.oldest_pending == depths.next_due == 0
    assert not depths.paused
    assert await stage.broker.find("unheard", new_id()) is None
    assert (await stage.broker.jobs_in("unheard", JobState.DEAD)).jobs == []
    assert "unheard" not in await stage.broker.queues()


async def test_jobs_of_one_call_are_answered_one_by_one_and_claimed_in_their_order_when_ids_rise(stage: Stage) -> None:
    ids = [new_id() for _ in range(100)]
    answers = await stage.broker.enqueue(stage.queue, [NewJob(id_, b"%d" % at) for at, id_ in enumerate(ids)])
    assert answers == [ENQUEUED] * 100
    worker = stage.worker()
    claimed = await worker.claim(64) + await worker.claim(64)
    assert [job.id for job in claimed] == ids
    assert [job.body for job in claimed] == [b"%d" % at for at in range(100)]


async def test_an_id_that_the_queue_has_in_any_state_is_not_taken_in_again(stage: Stage) -> None:
    pending, waiting = await stage.enqueue(), await stage.enqueue(delay=1000)
    cancelled = await stage.enqueue()
    await stage.broker.cancel(stage.queue, cancelled)
    worker = stage.worker()
    active = await worker.claim_one()
    assert active.id == pending
    for id_ in (pending, waiting, cancelled):
        before = await stage.look(id_)
        assert await stage.try_enqueue(id_, body=b"other", priority=9) == EXISTS
        assert await stage.look(id_) == before
    await worker.finish(active, FinishKind.DEAD, error=b"no", detail=b"attempts")
    assert await stage.try_enqueue(pending) == EXISTS
    assert (await stage.counters())["enqueued"] == 3


async def test_an_id_twice_in_one_call_is_taken_in_once(stage: Stage) -> None:
    id_ = new_id()
    answers = await stage.broker.enqueue(stage.queue, [NewJob(id_, b"first"), NewJob(id_, b"second")])
    assert answers == [ENQUEUED, EXISTS]
    assert (await stage.look(id_)).body == b"first"


async def test_a_completed_job_that_is_not_kept_leaves_its_id_free(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.COMPLETED)
    assert await stage.try_enqueue(job.id) == ENQUEUED


async def test_the_same_id_may_be_in_two_queues(stage: Stage) -> None:
    id_ = await stage.enqueue()
    assert await stage.broker.enqueue("other", [NewJob(id_, b"other")]) == [ENQUEUED]
    assert (await stage.look(id_)).body == b"body"
    assert await stage.broker.queues() == ["other", stage.queue]


async def test_a_job_with_a_delay_runs_when_it_is_over_and_not_before(stage: Stage) -> None:
    id_ = await stage.enqueue(delay=1500)
    due = stage.time.now + 1500
    view = await stage.look(id_)
    assert (view.state, view.at) == (JobState.SCHEDULED, due)
    stage.time.advance(1499)
    reply = await stage.worker().step(claim=10)
    assert (reply.claimed, reply.next_due) == ([], due)
    stage.time.advance(1)
    reply = await stage.worker().step(claim=10)
    assert [(job.id, job.ready) for job in reply.claimed] == [(id_, due)]
    assert reply.next_due == 0


async def test_a_job_runs_at_its_time_by_the_wall_clock_whatever_the_clock_does_meanwhile(stage: Stage) -> None:
    id_ = await stage.enqueue(due=stage.time.now + DAY)
    stage.time.advance(-3_600_000)
    assert not await stage.worker().claim()
    stage.time.advance(DAY + 3_600_000 - 1)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    assert (await stage.worker().claim_one()).id == id_


async def test_a_time_that_has_passed_is_now(stage: Stage) -> None:
    id_ = await stage.enqueue(due=stage.time.now - 1000)
    view = await stage.look(id_)
    assert (view.state, view.at) == (JobState.PENDING, stage.time.now)
    assert (await stage.worker().claim_one()).ready == stage.time.now


@with_places
async def test_jobs_that_became_due_earlier_run_before_jobs_enqueued_later(stage: Stage) -> None:
    late = await stage.enqueue(delay=1000)
    early = await stage.enqueue(delay=500)
    stage.time.advance(2000)
    now = await stage.enqueue()
    assert [job.id for job in await stage.worker().claim(10)] == [early, late, now]


async def test_64_due_jobs_become_pending_in_each_step_and_none_is_forgotten(stage: Stage) -> None:
    ids = [new_id() for _ in range(150)]
    for start in (0, 75):
        await stage.broker.enqueue(stage.queue, [NewJob(id_, b"", delay=1000) for id_ in ids[start : start + 75]])
    stage.time.advance(1000)
    worker = stage.worker()
    left = []
    for _ in range(3):
        await worker.step()
        left.append((await stage.broker.depths(stage.queue)).scheduled)
    assert left == [86, 22, 0]
    assert sorted(await stage.ids_in(JobState.PENDING)) == ids


async def test_the_higher_priority_goes_first_and_then_who_came_first(stage: Stage) -> None:
    ids = {}
    for priority in (5, 0, 9, 5, 9, 1):
        ids[await stage.enqueue(priority=priority)] = priority
        stage.time.advance(1)
    order = [(ids[job.id], job.id) for job in await stage.worker().claim(10)]
    assert [priority for priority, _ in order] == [9, 9, 5, 5, 1, 0]
    assert [id_ for _, id_ in order] == sorted(ids, key=lambda id_: (-ids[id_], id_))


@with_places
async def test_jobs_of_one_millisecond_go_by_the_bytes_of_their_ids(stage: Stage) -> None:
    ids = [bytes([255, *range(15)]), bytes([0, *range(15)]), bytes([128, *range(15)]), bytes([0] * 16)]
    await stage.broker.enqueue(stage.queue, [NewJob(id_, b"") for id_ in ids])
    assert [job.id for job in await stage.worker().claim(10)] == sorted(ids)


async def test_a_backlog_older_than_any_age_limit_still_runs(stage: Stage) -> None:
    id_ = await stage.enqueue()
    await stage.broker.pause(stage.queue, reason="a long holiday")
    for _ in range(5):
        stage.time.advance(100 * DAY)
        await stage.worker().step(claim=1)
    await stage.broker.resume(stage.queue)
    assert (await stage.worker().claim_one()).id == id_


async def test_a_unique_key_lets_one_live_job_in_and_names_it_to_the_others(stage: Stage) -> None:
    holder = await stage.enqueue(unique=KEY)
    second = new_id()
    assert await stage.try_enqueue(second, unique=KEY) == Enqueued(EnqueueResult.CONFLICT, holder)
    assert await stage.state(second) is None
    assert (await stage.counters())["enqueued"] == 1
    await stage.enqueue(unique=b"x" * 16)
    assert await stage.broker.enqueue("other", [NewJob(second, b"", unique=KEY)]) == [ENQUEUED]


async def test_a_refused_job_holds_no_unique_key(stage: Stage) -> None:
    id_ = await stage.enqueue()
    assert await stage.try_enqueue(id_, unique=KEY) == EXISTS
    await stage.enqueue(unique=KEY)


async def test_two_jobs_with_one_key_in_one_call_are_one_job(stage: Stage) -> None:
    first, second = new_id(), new_id()
    answers = await stage.broker.enqueue(
        stage.queue, [NewJob(first, b"", unique=KEY), NewJob(second, b"", unique=KEY, delay=10)]
    )
    assert answers == [ENQUEUED, Enqueued(EnqueueResult.CONFLICT, first)]


async def test_a_key_is_held_by_a_job_that_waits_runs_retries_or_is_parked(stage: Stage) -> None:
    holder = await stage.enqueue(unique=KEY, delay=1000)
    conflict = Enqueued(EnqueueResult.CONFLICT, holder)
    assert await stage.try_enqueue(unique=KEY) == conflict
    stage.time.advance(1000)
    worker = stage.worker()
    for kind in (FinishKind.RETRY, FinishKind.SNOOZE, FinishKind.RELEASE, FinishKind.PARK):
        job = await worker.claim_one()
        assert await stage.try_enqueue(unique=KEY) == conflict
        await worker.finish(job, kind, delay=500, detail=b"task")
        assert await stage.try_enqueue(unique=KEY) == conflict, kind
        stage.time.advance(500)


async def test_a_key_is_free_when_its_holder_has_completed_died_been_cancelled_or_been_purged(stage: Stage) -> None:
    worker = stage.worker()
    for kind in (FinishKind.COMPLETED, FinishKind.DEAD, FinishKind.CANCELLED):
        id_ = await stage.enqueue(unique=KEY)
        job = await worker.claim_one()
        assert job.id == id_
        await worker.finish(job, kind, keep=1000, detail=b"attempts")
        assert await stage.state(id_) is not None
    waiting = await stage.enqueue(unique=KEY, delay=10)
    await stage.broker.cancel(stage.queue, waiting)
    await stage.enqueue(unique=KEY, delay=10)
    assert await stage.broker.purge(stage.queue, JobState.SCHEDULED) == 1
    id_ = await stage.enqueue(unique=KEY)
    assert (await worker.claim_one()).id == id_
    await stage.pass_time(60_000)
    poisoned = await stage.worker().step(max_lost=1, claim=1)
    assert [job.id for job in poisoned.claimed] == [id_]
    await stage.pass_time(40_000)
    assert await stage.state(id_) is JobState.PENDING


async def test_a_key_is_free_after_its_time_although_its_holder_is_still_there(stage: Stage) -> None:
    first = await stage.enqueue(unique=KEY, unique_for=1000)
    stage.time.advance(999)
    assert (await stage.try_enqueue(unique=KEY)).result is EnqueueResult.CONFLICT
    stage.time.advance(1)
    second = await stage.enqueue(unique=KEY)
    # The end of an earlier holder is nothing to a later one.
    worker = stage.worker()
    job = await worker.claim_one()
    assert job.id == first
    await worker.finish(job, FinishKind.COMPLETED)
    assert await stage.try_enqueue(unique=KEY) == Enqueued(EnqueueResult.CONFLICT, second)


async def test_a_key_that_ends_at_the_start_is_free_once_the_job_is_claimed_and_stays_so(stage: Stage) -> None:
    first = await stage.enqueue(unique=KEY, until_start=True)
    assert await stage.try_enqueue(unique=KEY) == Enqueued(EnqueueResult.CONFLICT, first)
    worker = stage.worker()
    job = await worker.claim_one()
    second = await stage.enqueue(unique=KEY)
    await worker.finish(job, FinishKind.RETRY, error=b"no")
    assert await stage.state(first) is JobState.PENDING
    assert await stage.try_enqueue(unique=KEY) == Enqueued(EnqueueResult.CONFLICT, second)


async def test_a_dead_letter_wins_its_key_back_by_a_requeue_or_stays_dead(stage: Stage) -> None:
    id_ = await stage.dead(unique=KEY)
    holder = await stage.enqueue(unique=KEY)
    assert await stage.broker.requeue(stage.queue, [id_]) == [Enqueued(EnqueueResult.CONFLICT, holder)]
    assert await stage.state(id_) is JobState.DEAD
    await stage.broker.cancel(stage.queue, holder)
    assert await stage.broker.requeue(stage.queue, [id_]) == [ENQUEUED]
    assert await stage.try_enqueue(unique=KEY) == Enqueued(EnqueueResult.CONFLICT, id_)


async def test_a_job_that_still_holds_its_key_keeps_it_when_it_is_requeued(stage: Stage) -> None:
    id_ = await stage.enqueue(unique=KEY, unique_for=1000, delay=10_000)
    stage.time.advance(500)
    assert await stage.broker.requeue(stage.queue, [id_]) == [ENQUEUED]
    stage.time.advance(500)
    await stage.enqueue(unique=KEY)
