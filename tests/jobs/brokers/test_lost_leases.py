"""Leases: renewed by who holds them, reaped when nobody does, and what becomes of a job that loses too many."""

from __future__ import annotations

import pytest

from ropeline.jobs.records import Claimed, FinishKind, FinishResult, JobState, NewJob, Renewal
from tests.jobs.brokers.stage import Stage, Worker, new_id


async def test_a_job_whose_worker_is_gone_runs_again_when_its_lease_is_over(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.pass_time(29_999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    again = await stage.worker().claim_one()
    assert (again.id, again.attempts, again.lost, again.ready) == (job.id, 0, 1, job.ready)
    assert again.fence > job.fence
    assert await stage.counters() == {"enqueued": 1, "claimed": 2, "lost": 1}


async def test_a_lost_job_is_pending_to_everybody_who_looks(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.pass_time(30_000)
    view = await stage.look(job.id)
    assert (view.state, view.lost, view.at, view.worker) == (JobState.PENDING, 1, job.ready, "")
    assert await stage.ids_in(JobState.PENDING) == [job.id]
    depths = await stage.broker.depths(stage.queue)
    assert (depths.pending, depths.active, depths.oldest_pending) == (1, 0, job.ready)


async def test_a_job_ten_times_as_long_as_its_lease_runs_once_when_it_is_renewed(stage: Stage) -> None:
    worker, job = await stage.active()
    for _ in range(30):
        await stage.pass_time(10_000)
        assert await worker.renew(job) == [Renewal.HELD]
        assert not await stage.worker().claim()
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE


async def test_two_renewals_in_a_row_may_go_missing(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.renew(job)
    await stage.pass_time(29_999)
    assert await worker.renew(job) == [Renewal.HELD]
    await stage.pass_time(29_999)
    assert await stage.state(job.id) is JobState.ACTIVE


async def test_a_renewal_counts_from_now_by_its_own_length(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.renew(job, lease=5_000)
    await stage.pass_time(5_000)
    assert await worker.renew(job) == [Renewal.LOST]


async def test_a_worker_that_was_stopped_past_its_lease_cannot_take_its_job_back(stage: Stage) -> None:
    late, job = await stage.active()
    await stage.pass_time(30_000)
    assert await late.renew(job) == [Renewal.LOST], "nobody has it yet"
    other = stage.worker()
    again = await other.claim_one()
    assert await late.renew(job) == [Renewal.LOST]
    assert await late.renew(again) == [Renewal.LOST], "a fence that it cannot know is of no use to it"
    assert await late.finish(job, FinishKind.COMPLETED) is FinishResult.STALE
    assert await other.renew(again) == [Renewal.HELD]


async def test_a_renewal_answers_for_each_lease_in_order(stage: Stage) -> None:
    worker, job = await stage.active()
    _, others = await stage.active()
    done_by, done = await stage.active()
    await done_by.finish(done, FinishKind.COMPLETED)
    gone = Claimed(new_id(), b"", job.fence, 0, 0, 0, 0)
    stale = job._replace(fence=job.fence - 1)
    assert await worker.renew(others, job, done, gone, stale, job) == [
        Renewal.LOST,
        Renewal.HELD,
        Renewal.LOST,
        Renewal.LOST,
        Renewal.LOST,
        Renewal.HELD,
    ]


async def test_200_leases_are_renewed_in_one_call(stage: Stage) -> None:
    for _ in range(2):
        await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(100)])
    worker = stage.worker()
    jobs = [job for _ in range(4) for job in await worker.claim(64)]
    assert await worker.renew(*jobs) == [Renewal.HELD] * 200


async def test_past_its_hard_end_a_lease_is_not_renewed_and_a_hung_handler_loses_its_job(stage: Stage) -> None:
    await stage.enqueue()
    worker = stage.worker()
    job = await worker.claim_one(lease=30_000, hard=45_000)
    await stage.pass_time(25_000)
    assert await worker.renew(job) == [Renewal.HELD]
    await stage.pass_time(19_999)
    assert await worker.renew(job) == [Renewal.HELD], "prolonged to its hard end, no further"
    stage.time.advance(1)
    assert await worker.renew(job) == [Renewal.HELD]
    stage.time.advance(1)
    assert await worker.renew(job) == [Renewal.OVERDUE]
    assert await stage.state(job.id) is JobState.ACTIVE, "nobody has tended the queue since"
    assert (await stage.worker().claim_one()).id == job.id
    assert await worker.renew(job) == [Renewal.LOST]


async def test_an_overdue_run_may_still_finish_until_it_is_reaped(stage: Stage) -> None:
    await stage.enqueue()
    worker = stage.worker()
    job = await worker.claim_one(hard=1000)
    stage.time.advance(5000)
    assert await worker.renew(job) == [Renewal.OVERDUE]
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE


async def test_twenty_leases_are_reaped_in_each_step(stage: Stage) -> None:
    await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(50)])
    await stage.worker().claim(50)
    await stage.pass_time(25_000)
    stage.time.advance(5_000)
    counts = []
    for _ in range(3):
        await stage.worker().step()
        counts.append((await stage.broker.depths(stage.queue)).active)
    assert counts == [30, 10, 0]


async def test_a_clock_that_jumps_takes_no_lease_away_from_a_worker_that_renews(stage: Stage) -> None:
    worker, job = await stage.active()
    for jump in (3_600_000, -7_200_000, 10_001, 86_400_000):
        stage.time.advance(jump)
        assert not await stage.worker().claim()
        assert await worker.renew(job) == [Renewal.HELD]
        await stage.pass_time(10_000)
        assert await worker.renew(job) == [Renewal.HELD]


async def test_after_a_jump_nothing_is_reaped_for_ten_seconds(stage: Stage) -> None:
    await stage.active()
    await stage.pass_time(25_000)
    stage.time.advance(60_000)
    assert not await stage.worker().claim(), "the lease is over, but nobody saw the time pass"
    stage.time.advance(9_999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    assert len(await stage.worker().claim()) == 1


async def test_after_a_step_back_nothing_is_reaped_for_ten_seconds(stage: Stage) -> None:
    await stage.active()
    await stage.pass_time(29_999)
    stage.time.advance(-1)
    assert not await stage.worker().claim()
    stage.time.advance(9_999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    assert len(await stage.worker().claim()) == 1


async def test_a_clock_that_is_set_back_makes_no_lease_longer(stage: Stage) -> None:
    await stage.active()
    await stage.pass_time(20_000)
    stage.time.advance(-3_600_000)
    await stage.worker().step()
    await stage.pass_time(9_999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    assert len(await stage.worker().claim()) == 1


async def test_a_jump_is_ten_seconds_to_a_lease(stage: Stage) -> None:
    await stage.active()
    stage.time.advance(86_400_000)
    await stage.worker().step()
    await stage.pass_time(19_999)
    assert not await stage.worker().claim()
    stage.time.advance(1)
    assert len(await stage.worker().claim()) == 1


async def _lose(stage: Stage, **options: int) -> Claimed:
    """Claim one suspect and lose its lease."""
    job = await stage.worker().claim_one(**options)
    await stage.pass_time(30_000)
    return job


async def test_a_job_that_crashes_its_worker_each_time_is_poison_after_max_lost_leases(stage: Stage) -> None:
    id_ = await stage.enqueue()
    for lost in range(3):
        assert (await _lose(stage)).lost == lost
    view = await stage.look(id_)
    assert (view.state, view.reason, view.error, view.lost, view.attempts) == (
        JobState.DEAD,
        "poison",
        "lost 3 leases",
        3,
        0,
    )
    assert await stage.counters() == {"enqueued": 1, "claimed": 3, "lost": 3, "dead": 1}


async def test_with_one_lost_lease_allowed_the_first_loss_is_the_last(stage: Stage) -> None:
    id_ = await stage.enqueue()
    await stage.worker().claim_one()
    await stage.pass_time(29_000)
    stage.time.advance(1000)
    await stage.worker().step(max_lost=1)
    assert (await stage.look(id_)).reason == "poison"


async def test_one_crasher_among_many_buries_no_innocent(stage: Stage) -> None:
    """The process that runs the crasher dies with all that it holds, each time; others go on."""
    ids = [new_id() for _ in range(200)]
    crasher = ids[70]
    for start in (0, 100):
        await stage.broker.enqueue(stage.queue, [NewJob(id_, b"") for id_ in ids[start : start + 100]])
    completed: list[bytes] = []
    holds_suspect: set[bytes] = set()

    async def run(worker: Worker) -> bool:
        claimed = await worker.claim(20)
        assert sum(job.lost > 0 for job in claimed) <= 1
        if crasher in {job.id for job in claimed}:
            holds_suspect.update(job.id for job in claimed)
            return False
        for job in claimed:
            await worker.finish(job, FinishKind.COMPLETED)
            completed.append(job.id)
        return bool(claimed)

    for _ in range(40):
        while await run(stage.worker()):
            pass
        await stage.pass_time(30_000)
    assert sorted(completed) == [id_ for id_ in ids if id_ != crasher]
    view = await stage.look(crasher)
    assert (view.state, view.reason, view.lost) == (JobState.DEAD, "poison", 3)
    assert len(holds_suspect) > 1, "innocents were lost with it"


async def test_a_step_brings_one_suspect_at_most_and_none_to_who_wants_none(stage: Stage) -> None:
    for _ in range(4):
        await stage.enqueue()
    await stage.worker().claim(3)
    await stage.pass_time(30_000)
    assert [job.lost for job in await stage.worker().claim(10, suspects=False)] == [0]
    assert [job.lost for job in await stage.worker().claim(10)] == [1]
    assert [job.lost for job in await stage.worker().claim(1)] == [1]
    assert [job.lost for job in await stage.worker().claim(10)] == [1]
    assert await stage.worker().claim(10) == []


async def test_a_suspect_goes_before_the_others(stage: Stage) -> None:
    _, job = await stage.active(priority=0)
    await stage.pass_time(30_000)
    await stage.enqueue(priority=9)
    assert [claimed.id for claimed in await stage.worker().claim(1)] == [job.id]


async def test_suspects_that_a_worker_may_not_take_are_nothing_more_for_it_to_claim(stage: Stage) -> None:
    for _ in range(3):
        await stage.enqueue()
    await stage.worker().claim(3)
    await stage.pass_time(30_000)
    worker = stage.worker()
    assert (await worker.step(claim=0)).more
    assert not (await worker.step(claim=0, suspects=False)).more
    assert not (await worker.step(claim=5)).more, "it holds its one suspect now"


async def test_a_lost_job_that_was_taken_with_others_counts_as_lost_once(stage: Stage) -> None:
    """A job's first loss tells nothing about it; a second one counts, if the job was the suspect of its process."""
    id_ = await stage.enqueue()
    await _lose(stage)
    job = await stage.worker().claim_one()
    assert job.lost == 1
    await stage.pass_time(30_000)
    assert (await stage.look(id_)).lost == 2


@pytest.mark.parametrize("kind", [FinishKind.RETRY, FinishKind.SNOOZE])
@pytest.mark.parametrize("delay", [0, 1000])
async def test_a_run_that_ended_clears_its_job_of_suspicion(stage: Stage, kind: FinishKind, delay: int) -> None:
    id_ = await stage.enqueue()
    await _lose(stage)
    worker = stage.worker()
    await worker.finish(await worker.claim_one(), kind, delay=delay)
    stage.time.advance(delay)
    assert (await stage.look(id_)).lost == 0
    assert (await worker.claim_one(suspects=False)).lost == 0


async def test_a_suspect_that_is_handed_back_unstarted_is_a_suspect_still(stage: Stage) -> None:
    await stage.enqueue()
    first = await _lose(stage)
    worker = stage.worker()
    job = await worker.claim_one()
    await worker.finish(job, FinishKind.RELEASE)
    assert not await worker.claim(5, suspects=False)
    again = await worker.claim_one()
    assert (again.lost, again.ready) == (1, first.ready)


async def test_a_loss_spends_no_attempt(stage: Stage) -> None:
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RETRY, error=b"once")
    await _lose(stage)
    job = await worker.claim_one()
    assert (job.attempts, job.lost) == (1, 1)
    assert (await stage.look(job.id)).error == "once"
