"""What a run hands over to another queue arrives there once, whoever dies in between."""

from __future__ import annotations

from typing import Any

import pytest

from ropeline.jobs.records import Claimed, Finish, FinishKind, FinishResult, HandOver, JobState, NewJob
from ropeline.jobs.shapes.courier import carry
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import DAY, ENDS, Stage, new_id
from tests.jobs.brokers.stage import Worker as Lane

OTHER = "other"


def handed(*ids: bytes, **details: Any) -> tuple[HandOver, ...]:
    return (HandOver(OTHER, tuple(NewJob(id_, b"next", **details) for id_ in ids)),)


async def handing_over(stage: Stage, *ids: bytes, **details: Any) -> tuple[Lane, Claimed]:
    """A worker that has completed a job which hands these over."""
    worker, job = await stage.active()
    assert await worker.finish(job, FinishKind.COMPLETED, hand_over=handed(*ids, **details)) is FinishResult.DONE
    return worker, job


async def ids_in_other(stage: Stage, state: JobState = JobState.PENDING) -> list[bytes]:
    return [job.id for job in (await stage.broker.jobs_in(OTHER, state)).jobs]


async def test_what_a_run_hands_over_waits_in_the_outbox_until_it_is_carried(stage: Stage) -> None:
    next_ = new_id()
    worker, _ = await handing_over(stage, next_)
    assert await ids_in_other(stage) == []
    assert await stage.broker.is_outgoing(stage.queue, next_)
    assert (await worker.step()).outgoing == 1
    assert await carry(stage.broker, stage.queue) == 1
    assert await ids_in_other(stage) == [next_]
    assert OTHER in await stage.broker.queues()
    assert not await stage.broker.is_outgoing(stage.queue, next_)
    assert (await worker.step()).outgoing == 0
    assert await carry(stage.broker, stage.queue) == 0


async def test_the_step_that_completes_a_run_tells_of_the_outbox(stage: Stage) -> None:
    worker, job = await stage.active()
    reply = await worker.step(Finish(FinishKind.COMPLETED, job.id, job.fence, hand_over=handed(new_id())))
    assert reply.outgoing == 1
    assert await worker.step(repeat=True) == reply, "a repeated call posts nothing more, and says the same"
    assert len(await stage.broker.hand_out(stage.queue)) == 1


async def test_a_plain_end_beside_one_that_hands_over_is_told_in_its_place(stage: Stage) -> None:
    worker = stage.worker()
    for _ in range(3):
        await stage.enqueue()
    first, second, third = await worker.claim(3)
    ends = [Finish(FinishKind.COMPLETED, job.id, job.fence) for job in (first, second, third)]
    ends[0] = ends[0]._replace(hand_over=handed(new_id()))
    ends[1] = ends[1]._replace(fence=1)
    assert (await worker.step(*ends)).finished == [FinishResult.DONE, FinishResult.STALE, FinishResult.DONE]


async def test_a_late_finish_hands_nothing_over(stage: Stage) -> None:
    worker, job = await stage.active()
    late = job._replace(fence=job.fence - 1)
    assert await worker.finish(late, FinishKind.COMPLETED, hand_over=handed(new_id())) is FinishResult.STALE
    assert await stage.broker.hand_out(stage.queue) == []


@pytest.mark.parametrize("kind", [kind for kind in ENDS if kind is not FinishKind.COMPLETED])
async def test_only_a_completed_run_hands_over(stage: Stage, kind: FinishKind) -> None:
    worker, job = await stage.active()
    await worker.finish(job, kind, hand_over=handed(new_id()))
    assert await stage.broker.hand_out(stage.queue) == []


async def test_a_job_that_was_cancelled_while_it_ran_hands_nothing_over(stage: Stage) -> None:
    worker, job = await stage.active()
    await stage.broker.cancel(stage.queue, job.id)
    assert await worker.finish(job, FinishKind.COMPLETED, hand_over=handed(new_id())) is FinishResult.DONE
    assert await stage.broker.hand_out(stage.queue) == []


async def test_what_nobody_settled_comes_again_after_half_a_minute_and_then_later(stage: Stage) -> None:
    next_ = new_id()
    await handing_over(stage, next_)
    for tries, pause in ((1, 30_000), (2, 60_000), (3, 90_000)):
        [entry] = await stage.broker.hand_out(stage.queue)
        assert (entry.queue, entry.tries) == (OTHER, tries)
        stage.time.advance(pause - 1)
        assert await stage.broker.hand_out(stage.queue) == []
        stage.time.advance(1)


async def test_an_entry_that_arrives_twice_enqueues_its_jobs_once_also_when_they_are_gone_meanwhile(
    stage: Stage,
) -> None:
    next_ = new_id()
    await handing_over(stage, next_)
    [entry] = await stage.broker.hand_out(stage.queue)
    assert await stage.broker.take_over(OTHER, [entry]) == 1
    # Here the first courier died. The job runs and is forgotten before the entry comes again.
    other = Stage(stage.broker, stage.time, OTHER)
    worker = other.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    assert await other.state(next_) is None
    stage.time.advance(6 * DAY)
    [entry] = await stage.broker.hand_out(stage.queue)
    assert await stage.broker.take_over(OTHER, [entry]) == 0
    assert await other.state(next_) is None
    assert await stage.broker.settle(stage.queue, [entry.name]) == 1
    assert await stage.broker.settle(stage.queue, [entry.name]) == 0


async def test_a_settled_entry_is_remembered_for_a_minute_more(stage: Stage) -> None:
    await handing_over(stage, new_id())
    [entry] = await stage.broker.hand_out(stage.queue)
    await stage.broker.take_over(OTHER, [entry])
    await stage.broker.settle(stage.queue, [entry.name])
    await stage.broker.forget_settled(OTHER, [entry.name])
    other = Stage(stage.broker, stage.time, OTHER)
    worker = other.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    stage.time.advance(59_999)
    await stage.broker.forget_settled(OTHER, [b"\x01" + new_id()])
    assert await stage.broker.take_over(OTHER, [entry]) == 0, "a courier that is late"


async def test_a_job_that_is_there_already_is_not_taken_in_again(stage: Stage) -> None:
    next_ = new_id()
    other = Stage(stage.broker, stage.time, OTHER)
    await other.enqueue(next_)
    await handing_over(stage, next_)
    [entry] = await stage.broker.hand_out(stage.queue)
    assert await stage.broker.take_over(OTHER, [entry]) == 0
    assert await ids_in_other(stage) == [next_]


async def test_the_delay_of_a_job_that_is_handed_over_begins_when_it_arrives(stage: Stage) -> None:
    next_ = new_id()
    await handing_over(stage, next_, delay=5_000, priority=9)
    stage.time.advance(60_000)
    assert await carry(stage.broker, stage.queue) == 1
    assert await ids_in_other(stage, JobState.SCHEDULED) == [next_]
    view = await stage.broker.find(OTHER, next_)
    assert view is not None
    assert (view.at, view.priority, view.body) == (stage.time.now + 5_000, 9, b"next")


async def test_twenty_entries_are_carried_at_a_time_and_each_may_bring_fifty_jobs(stage: Stage) -> None:
    worker = stage.worker()
    ids = [new_id() for _ in range(25 * 50)]
    for place in range(25):
        await stage.enqueue()
        job = await worker.claim_one()
        await worker.finish(job, FinishKind.COMPLETED, hand_over=handed(*ids[place * 50 : place * 50 + 50]))
    assert (await worker.step()).outgoing == 25
    assert [await carry(stage.broker, stage.queue) for _ in range(3)] == [20, 5, 0]
    assert (await stage.broker.depths(OTHER)).pending == len(ids)


async def test_what_is_no_hand_over_is_refused(stage: Stage) -> None:
    worker, job = await stage.active()
    for wrong in ((HandOver(OTHER, ()),), handed(b"short"), handed(*(new_id() for _ in range(51)))):
        with pytest.raises(ConfigurationError):
            await worker.finish(job, FinishKind.COMPLETED, hand_over=wrong)
        worker.call -= 1
    for names in ([], [b"short"], [bytes(17)] * 21):
        with pytest.raises(ConfigurationError):
            await stage.broker.settle(stage.queue, names)
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE
