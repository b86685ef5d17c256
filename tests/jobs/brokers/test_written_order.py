"""A broker that keeps no places claims the jobs of a priority in the order in which they were written, and refuses what is another order."""

from __future__ import annotations

import pytest

from ropeline.jobs import Concurrency, Jobs
from ropeline.jobs.brokers.streams import StreamsBroker
from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import FinishKind, HandOver, JobState, Limit, NewJob, Part, QueueSettings, SplitOrder
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, in_written_order, new_id

KEY = b"k" * 16
SHARES = [("limit.weight", Limit(KEY, most=1, weight=2)), ("limit", Limit(KEY))]


@in_written_order
async def test_jobs_of_one_millisecond_go_in_the_order_in_which_they_were_enqueued(stage: Stage) -> None:
    ids = [bytes([255, *range(15)]), bytes([0, *range(15)]), bytes([128, *range(15)]), bytes([0] * 16)]
    await stage.broker.enqueue(stage.queue, [NewJob(id_, b"") for id_ in ids])
    assert [job.id for job in await stage.worker().claim(10)] == ids


@in_written_order
async def test_a_job_that_is_due_goes_behind_those_that_were_enqueued_before_a_step_found_it(stage: Stage) -> None:
    late, early = await stage.enqueue(delay=1000), await stage.enqueue(delay=500)
    stage.time.advance(2000)
    now = await stage.enqueue()
    assert [job.id for job in await stage.worker().claim(10)] == [now, early, late]


@in_written_order
async def test_several_that_were_handed_back_go_first_in_their_old_order(stage: Stage) -> None:
    ids = [await stage.enqueue() for _ in range(5)]
    worker = stage.worker()
    first, second, third = await worker.claim(3)
    for job in (third, first, second):
        await worker.finish(job, FinishKind.RELEASE)
    assert await stage.ids_in(JobState.PENDING) == ids
    assert [job.id for job in await worker.claim(5)] == ids


@in_written_order
@pytest.mark.parametrize(("field", "limit"), SHARES)
async def test_a_job_that_asks_for_a_share_is_refused_with_all_of_its_call(
    stage: Stage, field: str, limit: Limit
) -> None:
    plain = NewJob(new_id(), b"")
    with pytest.raises(ConfigurationError, match="in which they were written") as refused:
        await stage.broker.enqueue(stage.queue, [plain, NewJob(new_id(), b"", limit=limit)])
    assert refused.value.field == field
    assert await stage.state(plain.id) is None


@in_written_order
@pytest.mark.parametrize(("field", "limit"), SHARES)
async def test_a_run_that_hands_over_a_job_with_a_share_makes_a_dead_letter_that_says_so(
    stage: Stage, field: str, limit: Limit
) -> None:
    worker, job = await stage.active()
    await worker.finish(
        job, FinishKind.COMPLETED, hand_over=(HandOver("other", (NewJob(new_id(), b"", limit=limit),)),)
    )
    splitter, split = await stage.active()
    part = NewJob(new_id(), b"", limit=limit, part=Part(stage.queue, split.id, split.fence, 0))
    order = SplitOrder((HandOver("other", (part,)),), b"", fails=True)
    await splitter.finish(split, FinishKind.SPLIT, split=order)
    for id_ in (job.id, split.id):
        view = await stage.look(id_)
        assert (view.state, view.reason) == (JobState.DEAD, "discarded")
        assert view.error.startswith(f"{field}: ")
    assert await stage.broker.hand_out(stage.queue) == []


@in_written_order
async def test_ageing_is_refused_and_what_is_set_beside_it_stays_as_it_was(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="ageing: got 1000, expected 0"):
        await stage.broker.configure(stage.queue, {"ageing": 1000, "dead_count": 5})
    assert await stage.broker.configure(stage.queue, {"ageing": 0}) == QueueSettings()


@in_written_order
async def test_a_cron_job_with_a_share_is_refused_before_it_is_written(stage: Stage) -> None:
    assert isinstance(stage.broker, StreamsBroker)
    app = Jobs(broker=stage.broker)

    @app.task(limit=Concurrency(weight=3))
    async def report() -> None: ...

    app.schedule("nightly", "0 3 * * *", report.build())
    with pytest.raises(ConfigurationError, match=r"limit\.weight"):
        await app.define_cron_jobs()
    assert (await stage.broker.cron_store().read("default")).stored == []


@in_written_order
async def test_jobs_of_a_task_that_was_paused_go_behind_those_that_came_meanwhile(stage: Stage) -> None:
    mail = pack(Envelope("mail", b"[]", 0, 1))
    paused = [await stage.enqueue(body=mail) for _ in range(3)]
    await stage.broker.pause(stage.queue, reason="no paper", task=b"mail")
    worker = stage.worker()
    assert not await worker.claim(10)
    assert await stage.ids_in(JobState.HELD) == paused
    other = await stage.enqueue()
    await stage.broker.resume(stage.queue, task=b"mail")
    assert [job.id for job in await worker.claim(10)] == [other, *paused]
