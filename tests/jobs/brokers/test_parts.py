"""A job that was split waits for its parts, hears how each of them ended, and stops them when it must."""

from __future__ import annotations

from typing import Any

import pytest

from ropeline.jobs.records import (
    Claimed,
    Finish,
    FinishKind,
    FinishResult,
    HandOver,
    JobState,
    NewJob,
    Part,
    PartOutcome,
    PartState,
    Progress,
    Renewal,
    SplitOrder,
)
from ropeline.jobs.shapes.courier import carry
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import DAY, Stage, new_id

OTHER = "other"


class Family:
    """A job of the stage's queue that was split into parts of another queue."""

    def __init__(self, stage: Stage, parent: Claimed, parts: list[bytes]) -> None:
        self.stage = stage
        self.id = parent.id
        self.round = parent.fence
        self.parts = parts
        self.other = Stage(stage.broker, stage.time, OTHER)
        self.lane = stage.worker()
        self.part_lane = self.other.worker()

    async def carry(self) -> None:
        """Deliver everything that any outbox has."""
        while await carry(self.stage.broker, self.stage.queue) + await carry(self.stage.broker, OTHER):
            pass

    async def end(self, kind: FinishKind = FinishKind.COMPLETED, **details: Any) -> bytes:
        """Claim the next part and finish it, and have everything delivered."""
        job = await self.part_lane.claim_one()
        assert job.is_part
        await self.part_lane.finish(job, kind, **details)
        await self.carry()
        return job.id

    async def state(self) -> JobState | None:
        return await self.stage.state(self.id)

    async def progress(self) -> Progress | None:
        return await self.stage.broker.progress(self.stage.queue, self.id)

    async def outcomes(self) -> tuple[PartOutcome, ...] | None:
        return await self.stage.broker.outcomes(self.stage.queue, self.id)


def order_of(job: Claimed, ids: list[bytes], *, fails: bool = True, **details: Any) -> SplitOrder:
    jobs = [
        NewJob(id_, b"part", part=Part("work", job.id, job.fence, number), **details) for number, id_ in enumerate(ids)
    ]
    handed = tuple(HandOver(OTHER, tuple(jobs[first : first + 50])) for first in range(0, len(jobs), 50))
    return SplitOrder(handed, b"joined", fails)


async def split(stage: Stage, many: int = 3, *, fails: bool = True, **details: Any) -> Family:
    worker, job = await stage.active(**details)
    ids = [new_id() for _ in range(many)]
    order = order_of(job, ids, fails=fails)
    assert await worker.finish(job, FinishKind.SPLIT, split=order) is FinishResult.DONE
    family = Family(stage, job, ids)
    await family.carry()
    return family


async def test_a_split_job_is_blocked_until_its_last_part_has_ended_and_then_runs_with_its_other_body(
    stage: Stage,
) -> None:
    family = await split(stage)
    assert await family.state() is JobState.BLOCKED
    assert (await stage.broker.depths(stage.queue)).blocked == 1
    assert await stage.ids_in(JobState.BLOCKED) == [family.id]
    assert await family.other.ids_in(JobState.PENDING) == family.parts
    for number in range(3):
        assert await family.progress() == Progress(number, 0, 3)
        assert await family.lane.claim() == []
        await family.end(result=b"%d" % number)
    joined = await family.lane.claim_one()
    assert (joined.id, joined.body, joined.attempts) == (family.id, b"joined", 0)
    assert joined.outcomes == tuple(PartOutcome(number, PartState.COMPLETED, b"%d" % number) for number in range(3))
    assert await family.lane.finish(joined, FinishKind.COMPLETED) is FinishResult.DONE
    assert await family.state() is None
    assert await family.progress() is None
    assert await stage.counters() == {"enqueued": 1, "claimed": 2, "completed": 1, "split": 1}


async def test_a_result_stays_with_a_part_when_both_are_kept(stage: Stage) -> None:
    family = await split(stage, 1)
    part = await family.end(result=b"a result", keep=60_000)
    assert (await family.other.look(part)).result == b"a result"
    joined = await family.lane.claim_one()
    await family.lane.finish(joined, FinishKind.COMPLETED, keep=60_000, result=b"all")
    assert await family.outcomes() == (PartOutcome(0, PartState.COMPLETED, b"a result"),)
    stage.time.advance(60_000)
    await family.lane.step()
    assert await family.outcomes() is None


async def test_a_plain_end_of_a_part_is_reported_too(stage: Stage) -> None:
    family = await split(stage, 2)
    await family.end()
    await family.end()
    assert (await family.lane.claim_one()).outcomes == tuple(PartOutcome(n, PartState.COMPLETED) for n in range(2))


async def test_a_split_into_nothing_runs_again_at_once(stage: Stage) -> None:
    family = await split(stage, 0)
    joined = await family.lane.claim_one()
    assert (joined.body, joined.outcomes) == (b"joined", ())


async def test_a_part_that_fails_buries_the_job_and_stops_the_others(stage: Stage) -> None:
    family = await split(stage, 4)
    running = await family.part_lane.claim_one()
    await family.end(FinishKind.DEAD, error=b"it broke", detail=b"attempts")
    view = await stage.look(family.id)
    assert (view.state, view.reason, view.error) == (JobState.DEAD, "part", "part 1: attempts: it broke")
    assert [await family.other.state(part) for part in family.parts] == [
        JobState.ACTIVE,
        JobState.DEAD,
        JobState.CANCELLED,
        JobState.CANCELLED,
    ]
    assert await family.part_lane.renew(running) == [Renewal.STOP]
    assert await family.part_lane.finish(running, FinishKind.COMPLETED) is FinishResult.DONE
    await family.carry()
    assert await family.state() is JobState.DEAD
    assert await family.progress() == Progress(1, 3, 4)


async def test_a_dead_letter_of_a_failed_part_can_be_requeued_and_split_anew(stage: Stage) -> None:
    family = await split(stage, 2)
    await family.end(FinishKind.DEAD, error=b"no", detail=b"attempts")
    await stage.broker.requeue(stage.queue, [family.id])
    again = await family.lane.claim_one()
    assert (again.body, again.outcomes) == (b"body", None)
    ids = [new_id()]
    await family.lane.finish(again, FinishKind.SPLIT, split=order_of(again, ids))
    # A word of the first round, come late, is none of this one.
    await stage.broker.requeue(OTHER, [family.parts[0]])
    await family.carry()
    while (await family.progress()) == Progress(0, 0, 1):
        await family.end()
    assert (await family.lane.claim_one()).body == b"joined"


async def test_with_the_other_policy_the_job_runs_and_is_told_which_parts_failed(stage: Stage) -> None:
    family = await split(stage, 4, fails=False)
    await family.end(result=b"fine")
    await family.end(FinishKind.DEAD, error=b"it broke", detail=b"attempts")
    await family.end(FinishKind.CANCELLED)
    assert await family.progress() == Progress(1, 2, 4)
    await stage.broker.cancel(OTHER, family.parts[3])
    await family.carry()
    assert (await family.lane.claim_one()).outcomes == (
        PartOutcome(0, PartState.COMPLETED, b"fine"),
        PartOutcome(1, PartState.DEAD, b"", "attempts: it broke"),
        PartOutcome(2, PartState.CANCELLED, b"", "cancelled"),
        PartOutcome(3, PartState.CANCELLED, b"", "cancelled"),
    )


async def test_every_exit_of_a_part_reports(stage: Stage) -> None:
    family = await split(stage, 5, fails=False)
    lane = family.part_lane
    jobs = await lane.claim(4)
    for job, kind, details in (
        (jobs[0], FinishKind.RETRY, {"delay": 60_000, "error": b"no"}),
        (jobs[1], FinishKind.SNOOZE, {"delay": 60_000}),
        (jobs[2], FinishKind.PARK, {"detail": b"a:task"}),
        (jobs[3], FinishKind.PARK, {"detail": b"a:task"}),
    ):
        await lane.finish(job, kind, **details)
    await family.carry()
    assert await family.progress() == Progress(0, 0, 5)
    for state in (JobState.RETRY, JobState.SCHEDULED):
        assert await stage.broker.purge(OTHER, state) == 1
    assert await stage.broker.purge(OTHER, JobState.PARKED, ids=[jobs[2].id]) == 1
    await family.carry()
    assert await family.progress() == Progress(0, 3, 5)
    # Its worker dies, three times over; a parked one ages out.
    await lane.claim_one()
    for _ in range(3):
        for _ in range(5):
            stage.time.advance(10_000)
            await lane.step()
        await lane.claim(2)
    stage.time.advance(7 * DAY)
    for _ in range(5):
        stage.time.advance(10_000)
        await lane.step()
    await family.carry()
    outcomes = await family.outcomes()
    assert outcomes is not None
    told = {outcome.error.partition(":")[0] for outcome in outcomes}
    assert await family.progress() == Progress(0, 5, 5)
    assert told == {"purged", "poison", "unknown"}
    assert await family.state() is JobState.PENDING


async def test_a_report_that_comes_again_counts_once(stage: Stage) -> None:
    family = await split(stage, 2)
    job = await family.part_lane.claim_one()
    await family.part_lane.finish(job, FinishKind.COMPLETED, result=b"one")
    [entry] = await stage.broker.hand_out(OTHER)
    for _ in range(3):
        await stage.broker.take_over(stage.queue, [entry])
    assert await family.progress() == Progress(1, 0, 2)
    await stage.broker.settle(OTHER, [entry.name])
    await family.end(result=b"two")
    joined = await family.lane.claim_one()
    await family.lane.finish(joined, FinishKind.COMPLETED)
    await stage.broker.take_over(stage.queue, [entry])
    assert await family.state() is None


async def test_a_cancelled_job_stops_its_parts(stage: Stage) -> None:
    family = await split(stage, 3)
    running = await family.part_lane.claim_one()
    assert await stage.broker.cancel(stage.queue, family.id) is JobState.CANCELLED
    await family.carry()
    assert await family.part_lane.renew(running) == [Renewal.STOP]
    assert (await family.other.state(family.parts[1]), await family.state()) == (JobState.CANCELLED,) * 2
    assert await family.part_lane.finish(running, FinishKind.RETRY) is FinishResult.CANCELLED
    await family.carry()
    assert await family.state() is JobState.CANCELLED


async def test_a_stopped_job_keeps_its_parts_from_starting_and_runs_with_what_there_is(stage: Stage) -> None:
    family = await split(stage, 3)
    running = await family.part_lane.claim_one()
    assert await stage.broker.stop(stage.queue, family.id) is JobState.BLOCKED
    await family.carry()
    assert await family.progress() == Progress(0, 2, 3)
    assert await family.part_lane.renew(running) == [Renewal.STOP]
    await family.part_lane.finish(running, FinishKind.COMPLETED, result=b"half")
    await family.carry()
    assert (await family.lane.claim_one()).outcomes == (
        PartOutcome(0, PartState.COMPLETED, b"half"),
        PartOutcome(1, PartState.CANCELLED, b"", "cancelled"),
        PartOutcome(2, PartState.CANCELLED, b"", "cancelled"),
    )


async def test_stopping_a_job_without_parts(stage: Stage) -> None:
    waiting = await stage.enqueue(delay=1000)
    assert await stage.broker.stop(stage.queue, waiting) is JobState.CANCELLED
    assert await stage.broker.stop(stage.queue, waiting) is JobState.CANCELLED
    assert await stage.broker.stop(stage.queue, new_id()) is None
    for kind, result in (
        (FinishKind.COMPLETED, FinishResult.DONE),
        (FinishKind.DEAD, FinishResult.DONE),
        (FinishKind.RETRY, FinishResult.CANCELLED),
        (FinishKind.RELEASE, FinishResult.CANCELLED),
    ):
        worker, job = await stage.active()
        assert await stage.broker.stop(stage.queue, job.id) is JobState.ACTIVE
        assert await worker.renew(job) == [Renewal.STOP]
        assert await worker.finish(job, kind) is result
    worker, job = await stage.active()
    await stage.broker.stop(stage.queue, job.id)
    await stage.broker.cancel(stage.queue, job.id)
    assert await worker.renew(job) == [Renewal.CANCEL]


async def test_what_a_part_hands_over_stands_for_it(stage: Stage) -> None:
    family = await split(stage, 1)
    job = await family.part_lane.claim_one()
    next_ = new_id()
    await family.part_lane.finish(job, FinishKind.COMPLETED, hand_over=(HandOver(OTHER, (NewJob(next_, b"next"),)),))
    await family.carry()
    assert await family.progress() == Progress(0, 0, 1), "the part has not ended, its chain goes on"
    assert await family.end(result=b"last") == next_
    assert (await family.lane.claim_one()).outcomes == (PartOutcome(0, PartState.COMPLETED, b"last"),)


async def test_a_part_may_be_split_itself(stage: Stage) -> None:
    family = await split(stage, 1)
    part = await family.part_lane.claim_one()
    inner = new_id()
    reference = Part(OTHER, part.id, part.fence, 0)
    order = SplitOrder((HandOver("work", (NewJob(inner, b"inner", part=reference),)),), b"joined part", fails=True)
    await family.part_lane.finish(part, FinishKind.SPLIT, split=order)
    await family.carry()
    job = await family.lane.claim_one()
    assert job.id == inner
    await family.lane.finish(job, FinishKind.COMPLETED, result=b"deep")
    await family.carry()
    joined_part = await family.part_lane.claim_one()
    assert (joined_part.body, joined_part.is_part, joined_part.outcomes) == (
        b"joined part",
        True,
        (PartOutcome(0, PartState.COMPLETED, b"deep"),),
    )
    await family.part_lane.finish(joined_part, FinishKind.COMPLETED, result=b"outer")
    await family.carry()
    assert (await family.lane.claim_one()).outcomes == (PartOutcome(0, PartState.COMPLETED, b"outer"),)


async def test_two_hundred_parts_with_large_results_are_counted(stage: Stage) -> None:
    family = await split(stage, 200)
    while jobs := await family.part_lane.claim(64):
        ends = [Finish(FinishKind.COMPLETED, job.id, job.fence, result=job.id * 300) for job in jobs]
        await family.part_lane.step(*ends)
        await family.carry()
    joined = await family.lane.claim_one()
    assert joined.outcomes is not None
    assert [outcome.result for outcome in joined.outcomes] == [part * 300 for part in family.parts]


async def test_a_blocked_job_keeps_its_unique_key_and_its_large_body_is_exchanged(stage: Stage) -> None:
    key = bytes(16)
    family = await split(stage, 1, unique=key, body=bytes(20_000))
    assert (await stage.try_enqueue(unique=key)).holder == family.id
    await family.end()
    assert (await stage.look(family.id)).body == b"joined"
    joined = await family.lane.claim_one()
    await family.lane.finish(joined, FinishKind.COMPLETED)
    await stage.enqueue(unique=key)


async def test_an_order_that_is_none_of_this_run_is_refused(stage: Stage) -> None:
    worker, job = await stage.active()
    good = order_of(job, [new_id()])
    for kind, order in (
        (FinishKind.SPLIT, None),
        (FinishKind.COMPLETED, good),
        (FinishKind.SPLIT, order_of(job._replace(fence=1), [new_id()])),
        (FinishKind.SPLIT, order_of(job._replace(id=new_id()), [new_id()])),
        (FinishKind.SPLIT, good._replace(parts=(HandOver(OTHER, (NewJob(new_id(), b""),)),))),
        (FinishKind.SPLIT, order_of(job, [new_id() for _ in range(1001)])),
    ):
        with pytest.raises(ConfigurationError):
            await worker.finish(job, kind, split=order)
        worker.call -= 1
    assert await worker.finish(job, FinishKind.SPLIT, split=good) is FinishResult.DONE
