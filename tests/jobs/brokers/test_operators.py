"""What operators do and see: cancel, requeue, purge, unpark, pause, lists and numbers; and what is forgotten in time."""

from __future__ import annotations

import pytest

from ropeline.jobs.records import Enqueued, EnqueueResult, Finish, FinishKind, FinishResult, JobState, NewJob, Renewal
from tests.jobs.brokers.stage import DAY, Stage, new_id

ENQUEUED = Enqueued(EnqueueResult.ENQUEUED, b"")


async def test_a_waiting_job_is_cancelled_at_once(stage: Stage) -> None:
    pending, scheduled = await stage.enqueue(priority=0), await stage.enqueue(delay=100)
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RETRY, delay=100)
    parker, parked = await stage.active()
    await parker.finish(parked, FinishKind.PARK, detail=b"task")
    for id_ in (pending, scheduled, job.id, parked.id):
        assert await stage.broker.cancel(stage.queue, id_) is JobState.CANCELLED
        view = await stage.look(id_)
        assert (view.state, view.at) == (JobState.CANCELLED, stage.time.now)
    stage.time.advance(1000)
    assert not await worker.claim(10)
    assert (await stage.counters())["cancelled"] == 4


async def test_a_suspect_is_cancelled_at_once(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.pass_time(30_000)
    assert await stage.broker.cancel(stage.queue, job.id) is JobState.CANCELLED
    assert not await stage.worker().claim()


async def test_an_active_job_is_cancelled_by_a_flag_that_its_worker_is_told_of(stage: Stage) -> None:
    worker, job = await stage.active()
    assert await stage.broker.cancel(stage.queue, job.id) is JobState.ACTIVE
    assert await stage.broker.cancel(stage.queue, job.id) is JobState.ACTIVE
    assert (await stage.look(job.id)).is_cancelling
    await stage.pass_time(25_000)
    assert await worker.renew(job) == [Renewal.CANCEL]
    await stage.pass_time(25_000)
    assert await worker.renew(job) == [Renewal.CANCEL], "the lease was prolonged all the same"
    assert await worker.finish(job, FinishKind.CANCELLED) is FinishResult.CANCELLED
    view = await stage.look(job.id)
    assert (view.state, view.is_cancelling) == (JobState.CANCELLED, False)


@pytest.mark.parametrize(
    "kind", [FinishKind.RETRY, FinishKind.SNOOZE, FinishKind.RELEASE, FinishKind.DEAD, FinishKind.PARK]
)
async def test_a_cancelled_job_is_cancelled_however_its_run_ends(stage: Stage, kind: FinishKind) -> None:
    worker, job = await stage.active()
    await stage.broker.cancel(stage.queue, job.id)
    assert await worker.finish(job, kind, delay=10, error=b"no", detail=b"word") is FinishResult.CANCELLED
    view = await stage.look(job.id)
    assert (view.state, view.attempts, view.error, view.reason) == (JobState.CANCELLED, 0, "", "")
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "cancelled": 1}


async def test_a_completion_wins_over_a_cancel(stage: Stage) -> None:
    worker, job = await stage.active()
    await stage.broker.cancel(stage.queue, job.id)
    assert await worker.finish(job, FinishKind.COMPLETED, keep=1000, result=b"r") is FinishResult.DONE
    view = await stage.look(job.id)
    assert (view.state, view.is_cancelling) == (JobState.COMPLETED, False)
    assert await stage.broker.cancel(stage.queue, job.id) is JobState.COMPLETED


async def test_a_cancelled_job_whose_lease_is_lost_does_not_run_again(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.broker.cancel(stage.queue, job.id)
    await stage.pass_time(30_000)
    assert await stage.state(job.id) is JobState.CANCELLED
    assert await stage.counters() == {"enqueued": 1, "claimed": 1, "lost": 1, "cancelled": 1}


async def test_too_late_a_cancel_changes_nothing(stage: Stage) -> None:
    dead = await stage.dead()
    assert await stage.broker.cancel(stage.queue, dead) is JobState.DEAD
    assert await stage.broker.cancel(stage.queue, new_id()) is None
    cancelled = await stage.enqueue()
    await stage.broker.cancel(stage.queue, cancelled)
    before = await stage.look(cancelled)
    stage.time.advance(1000)
    assert await stage.broker.cancel(stage.queue, cancelled) is JobState.CANCELLED
    assert await stage.look(cancelled) == before


async def test_a_requeued_job_is_pending_as_if_it_were_new(stage: Stage) -> None:
    dead = await stage.dead(priority=2)
    stage.time.advance(1000)
    assert await stage.broker.requeue(stage.queue, [dead]) == [ENQUEUED]
    view = await stage.look(dead)
    assert (view.state, view.attempts, view.lost, view.error, view.reason, view.at, view.priority, view.worker) == (
        JobState.PENDING,
        0,
        0,
        "",
        "",
        stage.time.now,
        2,
        "",
    )
    job = await stage.worker().claim_one()
    assert (job.id, job.body, job.attempts, job.ready) == (dead, b"body", 0, stage.time.now)


async def test_a_requeued_poison_job_is_no_suspect(stage: Stage) -> None:
    id_ = await stage.enqueue()
    await stage.worker().claim_one()
    await stage.pass_time(25_000)
    stage.time.advance(5_000)
    await stage.worker().step(max_lost=1)
    assert await stage.broker.requeue(stage.queue, [id_]) == [ENQUEUED]
    assert (await stage.worker().claim_one(suspects=False)).lost == 0


async def test_requeue_takes_what_waits_is_dead_cancelled_or_parked_and_nothing_else(stage: Stage) -> None:
    dead = await stage.dead()
    worker, retrying = await stage.active()
    await worker.finish(retrying, FinishKind.RETRY, delay=1000, error=b"no")
    worker, parked = await stage.active()
    await worker.finish(parked, FinishKind.PARK, detail=b"task")
    worker, completed = await stage.active()
    await worker.finish(completed, FinishKind.COMPLETED, keep=1000)
    _, active = await stage.active()
    scheduled, cancelled, pending = await stage.enqueue(delay=10), await stage.enqueue(), await stage.enqueue()
    await stage.broker.cancel(stage.queue, cancelled)
    ids = [dead, retrying.id, parked.id, scheduled, cancelled, completed.id, active.id, pending, new_id(), dead]
    answers = await stage.broker.requeue(stage.queue, ids)
    assert answers == [ENQUEUED] * 5 + [None] * 5
    assert sorted(await stage.ids_in(JobState.PENDING)) == sorted([*ids[:5], pending])


async def test_purge_removes_the_jobs_of_a_state_the_oldest_first(stage: Stage) -> None:
    ids = []
    for _ in range(5):
        ids.append(await stage.dead())
        stage.time.advance(1)
    pending = await stage.enqueue()
    assert await stage.broker.purge(stage.queue, JobState.DEAD, limit=2) == 2
    assert await stage.ids_in(JobState.DEAD) == ids[2:]
    assert await stage.broker.purge(stage.queue, JobState.DEAD) == 3
    assert await stage.broker.purge(stage.queue, JobState.DEAD) == 0
    assert [await stage.state(id_) for id_ in ids] == [None] * 5
    assert await stage.state(pending) is JobState.PENDING
    assert await stage.try_enqueue(ids[0]) == ENQUEUED


async def test_one_purge_removes_hundreds_and_no_more_than_it_was_told_to(stage: Stage) -> None:
    for _ in range(3):
        await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"", delay=DAY) for _ in range(90)])
    assert await stage.broker.purge(stage.queue, JobState.SCHEDULED, limit=250) == 250
    assert await stage.broker.purge(stage.queue, JobState.SCHEDULED) == 20


async def test_a_page_has_all_its_jobs_however_much_they_left(stage: Stage) -> None:
    worker, left = stage.worker(), {}
    for number in range(60):
        await stage.enqueue()
        [job] = await worker.claim(1)
        left[job.id] = bytes((1, number)) * (128 * 1024 if number % 3 == 0 else 1)
        await worker.finish(job, FinishKind.COMPLETED, keep=DAY, result=left[job.id])
    page = await stage.broker.jobs_in(stage.queue, JobState.COMPLETED)
    assert {job.id: job.result for job in page.jobs} == left


async def test_purge_of_ids_removes_those_of_them_that_are_in_the_state(stage: Stage) -> None:
    oldest, other = await stage.dead(), await stage.dead(unique=new_id())
    pending = await stage.enqueue()
    ids = [other, pending, new_id(), other]
    assert await stage.broker.purge(stage.queue, JobState.DEAD, ids=ids) == 1
    assert [await stage.state(id_) for id_ in (oldest, other, pending)] == [JobState.DEAD, None, JobState.PENDING]
    assert await stage.try_enqueue(other) == ENQUEUED


async def test_every_state_that_may_be_purged_can_be(stage: Stage) -> None:
    await stage.dead()
    await stage.broker.cancel(stage.queue, await stage.enqueue())
    for kind in (FinishKind.COMPLETED, FinishKind.RETRY, FinishKind.PARK):
        worker, job = await stage.active()
        await worker.finish(job, kind, keep=1000, delay=1000, detail=b"task")
    await stage.enqueue(delay=1000)
    for state in (
        JobState.DEAD,
        JobState.CANCELLED,
        JobState.COMPLETED,
        JobState.RETRY,
        JobState.PARKED,
        JobState.SCHEDULED,
    ):
        assert await stage.broker.purge(stage.queue, state) == 1, state
    stage.time.advance(5000)
    assert not await stage.worker().claim(10)


async def test_unpark_frees_the_jobs_of_one_type(stage: Stage) -> None:
    ids: dict[bytes, list[bytes]] = {b"mail": [], b"mail:big": []}
    for task in (b"mail", b"mail:big", b"mail"):
        worker, job = await stage.active()
        await worker.finish(job, FinishKind.PARK, detail=task)
        ids[task].append(job.id)
        stage.time.advance(1)
    assert await stage.broker.unpark(stage.queue, b"other") == 0
    assert await stage.broker.unpark(stage.queue, b"mail") == 2
    claimed = await stage.worker().claim(10)
    assert [(job.id, job.ready, job.attempts) for job in claimed] == [(id_, stage.time.now, 0) for id_ in ids[b"mail"]]
    assert await stage.ids_in(JobState.PARKED) == ids[b"mail:big"]


async def test_unpark_frees_100_at_a_time(stage: Stage) -> None:
    for _ in range(2):
        await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(65)])
    worker = stage.worker()
    for _ in range(3):
        for job in await worker.claim(64):
            await worker.finish(job, FinishKind.PARK, detail=b"task")
    assert [await stage.broker.unpark(stage.queue, b"task") for _ in range(3)] == [100, 30, 0]


async def test_unpark_finds_jobs_behind_thousands_of_other_types(stage: Stage) -> None:
    worker = stage.worker()
    parked: list[bytes] = []
    for task, many in ((b"other", 20), (b"mail", 2)):
        for _ in range(many):
            await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(64)])
            claimed = await worker.claim(64)
            await worker.step(*(Finish(FinishKind.PARK, job.id, job.fence, detail=task) for job in claimed))
            if task == b"mail":
                parked += [job.id for job in claimed]
    assert await stage.broker.unpark(stage.queue, b"mail") == 100
    # Those of one moment are in the order of their ids, and other types' jobs of that moment are among them.
    await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(64)])
    later = await worker.claim(64)
    await worker.step(*(Finish(FinishKind.PARK, job.id, job.fence, detail=b"third") for job in later))
    assert [await stage.broker.unpark(stage.queue, b"mail") for _ in range(2)] == [28, 0]
    pending = await stage.broker.jobs_in(stage.queue, JobState.PENDING, limit=1000)
    assert {job.id for job in pending.jobs} | {job.id for job in later} >= set(parked)


async def test_a_paused_queue_gives_nothing_but_goes_on_otherwise(stage: Stage) -> None:
    worker, job = await stage.active()
    await stage.enqueue()
    await stage.enqueue(delay=1000)
    await stage.broker.pause(stage.queue, reason="the printer is out of paper")
    reply = await worker.step(claim=5)
    assert (reply.claimed, reply.paused, reply.more) == ([], True, False)
    depths = await stage.broker.depths(stage.queue)
    assert (depths.paused, depths.pause_reason, depths.resumes_at) == (True, "the printer is out of paper", 0)
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE
    stage.time.advance(1000)
    await stage.enqueue()
    await worker.step()
    assert (await stage.broker.depths(stage.queue)).pending == 3
    await stage.broker.resume(stage.queue)
    reply = await worker.step(claim=5)
    assert (len(reply.claimed), reply.paused) == (3, False)
    depths = await stage.broker.depths(stage.queue)
    assert (depths.paused, depths.pause_reason) == (False, "")


async def test_a_pause_ends_by_itself_when_it_was_told_to(stage: Stage) -> None:
    await stage.enqueue()
    await stage.broker.pause(stage.queue, reason="for a while", resume_after=5000)
    assert (await stage.broker.depths(stage.queue)).resumes_at == stage.time.now + 5000
    stage.time.advance(4999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    depths = await stage.broker.depths(stage.queue)
    assert (depths.paused, depths.pause_reason, depths.resumes_at) == (False, "", 0)
    assert len(await stage.worker().claim()) == 1


async def test_a_later_pause_replaces_an_earlier_one(stage: Stage) -> None:
    await stage.enqueue()
    await stage.broker.pause(stage.queue, reason="one", resume_after=1000)
    await stage.broker.pause(stage.queue, reason="two")
    stage.time.advance(10_000)
    depths = await stage.broker.depths(stage.queue)
    assert (depths.paused, depths.pause_reason, depths.resumes_at) == (True, "two", 0)


async def test_a_pause_is_of_one_queue(stage: Stage) -> None:
    await stage.broker.pause("other", reason="closed")
    await stage.enqueue()
    assert len(await stage.worker().claim()) == 1


async def test_depths_count_every_state_and_tell_what_is_due(stage: Stage) -> None:
    start = stage.time.now
    await stage.dead()
    await stage.broker.cancel(stage.queue, await stage.enqueue())
    for kind in (FinishKind.COMPLETED, FinishKind.RETRY, FinishKind.PARK):
        worker, job = await stage.active()
        await worker.finish(job, kind, keep=9000, delay=9000, detail=b"task")
    await stage.active()
    await stage.enqueue(delay=8000)
    stage.time.advance(10)
    await stage.enqueue(priority=0)
    stage.time.advance(10)
    await stage.enqueue(priority=9)
    depths = await stage.broker.depths(stage.queue)
    counts = {state: getattr(depths, state) for state in JobState}
    assert counts == {
        JobState.SCHEDULED: 1,
        JobState.PENDING: 2,
        JobState.ACTIVE: 1,
        JobState.RETRY: 1,
        JobState.HELD: 0,
        JobState.PARKED: 1,
        JobState.BLOCKED: 0,
        JobState.COMPLETED: 1,
        JobState.DEAD: 1,
        JobState.CANCELLED: 1,
    }
    assert (depths.now, depths.oldest_pending, depths.next_due) == (start + 20, start + 10, start + 8000)
    assert depths.counters == {
        "enqueued": 9,
        "claimed": 5,
        "completed": 1,
        "failed": 2,
        "retried": 1,
        "dead": 1,
        "cancelled": 1,
        "lost": 0,
        "stale": 0,
        "snoozed": 0,
        "released": 0,
        "parked": 1,
        "expired": 0,
        "split": 0,
    }


async def test_a_list_is_read_in_pages_without_gaps_or_repeats_while_jobs_come_and_go(stage: Stage) -> None:
    ids = [await stage.dead() for _ in range(3)]
    stage.time.advance(5)
    ids += [await stage.dead() for _ in range(4)]
    seen: list[bytes] = []
    cursor = ""
    for number in range(10):
        page = await stage.broker.jobs_in(stage.queue, JobState.DEAD, cursor=cursor, limit=2)
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if not cursor:
            break
        if number == 0:
            # What was the last one of the page goes, and so does one that was seen; a new one comes at the end.
            await stage.broker.requeue(stage.queue, ids[:2])
            stage.time.advance(5)
            worker = stage.worker()
            for job in await worker.claim(2):
                await worker.finish(job, FinishKind.COMPLETED)
            ids.append(await stage.dead())
    assert seen == ids


async def test_a_list_is_of_one_state_and_the_oldest_come_first(stage: Stage) -> None:
    late, early = await stage.enqueue(delay=2000), await stage.enqueue(delay=1000)
    assert await stage.ids_in(JobState.SCHEDULED) == [early, late]
    page = await stage.broker.jobs_in(stage.queue, JobState.SCHEDULED, limit=2)
    assert page.cursor == "", "nothing comes after these"
    assert page.jobs == [await stage.look(early), await stage.look(late)]
    pending = []
    for _ in range(3):
        pending.append(await stage.enqueue())
        stage.time.advance(1)
    assert await stage.ids_in(JobState.PENDING) == pending
    worker = stage.worker()
    for job in await worker.claim(3):
        await worker.finish(job, FinishKind.COMPLETED, keep=5000)
        stage.time.advance(1)
    assert await stage.ids_in(JobState.COMPLETED) == pending
    assert await stage.ids_in(JobState.HELD) == []


async def test_suspects_and_pending_jobs_are_one_list(stage: Stage) -> None:
    lost = [await stage.enqueue() for _ in range(3)]
    await stage.worker().claim(3)
    await stage.pass_time(30_000)
    others = [await stage.enqueue() for _ in range(3)]
    seen: list[bytes] = []
    cursor = ""
    while True:
        page = await stage.broker.jobs_in(stage.queue, JobState.PENDING, cursor=cursor, limit=2)
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if not cursor:
            break
    assert seen == lost + others


async def test_dead_letters_are_forgotten_after_90_days_and_cancelled_jobs_after_one(stage: Stage) -> None:
    dead = await stage.dead()
    cancelled = await stage.enqueue()
    await stage.broker.cancel(stage.queue, cancelled)
    stage.time.advance(DAY - 1)
    await stage.worker().step()
    assert await stage.state(cancelled) is JobState.CANCELLED
    stage.time.advance(1)
    await stage.worker().step()
    assert await stage.state(cancelled) is None
    stage.time.advance(89 * DAY - 1)
    await stage.worker().step()
    assert await stage.state(dead) is JobState.DEAD
    stage.time.advance(1)
    await stage.worker().step()
    assert await stage.state(dead) is None
    assert (await stage.counters())["expired"] == 2


async def test_twenty_aged_jobs_are_forgotten_in_each_step(stage: Stage) -> None:
    ids = [new_id() for _ in range(50)]
    await stage.broker.enqueue(stage.queue, [NewJob(id_, b"") for id_ in ids])
    for id_ in ids:
        await stage.broker.cancel(stage.queue, id_)
    stage.time.advance(DAY)
    left = []
    for _ in range(3):
        await stage.worker().step()
        left.append((await stage.broker.depths(stage.queue)).cancelled)
    assert left == [30, 10, 0]


async def test_twenty_are_forgotten_of_all_states_together(stage: Stage) -> None:
    await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(32)])
    worker = stage.worker()
    claimed = await worker.claim(16)
    await worker.step(*(Finish(FinishKind.COMPLETED, job.id, job.fence, keep=1000) for job in claimed))
    for id_ in await stage.ids_in(JobState.PENDING):
        await stage.broker.cancel(stage.queue, id_)
    stage.time.advance(DAY)
    left = []
    for _ in range(2):
        await worker.step()
        depths = await stage.broker.depths(stage.queue)
        left.append((depths.completed, depths.cancelled, depths.counters["expired"]))
    assert left == [(0, 12, 20), (0, 0, 32)]


async def test_a_job_that_is_parked_for_7_days_is_a_dead_letter(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.PARK, detail=b"mail")
    stage.time.advance(7 * DAY - 1)
    await worker.step()
    assert await stage.state(job.id) is JobState.PARKED
    stage.time.advance(1)
    await worker.step()
    view = await stage.look(job.id)
    assert (view.state, view.reason, view.attempts, view.at) == (JobState.DEAD, "unknown", 0, stage.time.now)
    assert "mail" in view.error


async def test_10000_dead_letters_are_kept_and_the_oldest_go(stage: Stage) -> None:
    worker = stage.worker()
    ids: list[bytes] = []
    for _ in range(101):
        batch = [new_id() for _ in range(100)]
        await stage.broker.enqueue(stage.queue, [NewJob(id_, b"") for id_ in batch])
        ids += batch
    claimed = await worker.claim(64)
    while claimed:
        buried = [Finish(FinishKind.DEAD, job.id, job.fence) for job in claimed]
        claimed = (await worker.step(*buried, claim=64)).claimed
    for _ in range(6):
        await worker.step()
    depths = await stage.broker.depths(stage.queue)
    assert depths.dead == 10_000
    assert depths.counters["expired"] == 100
    assert await stage.state(ids[0]) is None
    assert await stage.state(ids[99]) is None
    assert await stage.state(ids[100]) is JobState.DEAD


async def test_an_unfinished_job_is_never_forgotten(stage: Stage) -> None:
    waiting = [await stage.enqueue(priority=0), await stage.enqueue(delay=400 * DAY)]
    worker, retrying = await stage.active()
    await worker.finish(retrying, FinishKind.RETRY, delay=400 * DAY)
    for _ in range(4):
        stage.time.advance(99 * DAY)
        await worker.step()
    assert [await stage.state(id_) for id_ in [*waiting, retrying.id]] == [
        JobState.PENDING,
        JobState.SCHEDULED,
        JobState.RETRY,
    ]
