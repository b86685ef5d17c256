"""A task that is paused by itself: its jobs are held when it would be their turn, and come back to their places."""

from __future__ import annotations

import pytest

from ropeline.jobs.payloads.envelope import Envelope, pack
from ropeline.jobs.records import FinishKind, JobState, Limit, PausedTask
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, with_places

MAIL, PRINT = (pack(Envelope(task, b"payload", 0, 1)) for task in ("mail", "print"))
LARGE_MAIL = pack(Envelope("mail", b"x" * 20_000, 0, 1))


async def test_jobs_of_a_paused_task_are_held_and_others_run(stage: Stage) -> None:
    mails = [await stage.enqueue(body=body) for body in (MAIL, LARGE_MAIL)]
    other, foreign = await stage.enqueue(body=PRINT), await stage.enqueue(body=b"no body of ours")
    await stage.broker.pause(stage.queue, task=b"mail", reason="the relay is down")
    worker = stage.worker()
    assert [job.id for job in await worker.claim(10)] == [other, foreign]
    assert await stage.ids_in(JobState.HELD) == sorted(mails)
    view = await stage.look(mails[0])
    assert (view.state, view.reason, view.attempts) == (JobState.HELD, "mail", 0)
    depths = await stage.broker.depths(stage.queue)
    assert depths.paused_tasks == (PausedTask("mail", "the relay is down", 0),)
    assert not depths.paused


@with_places
async def test_a_resumed_task_goes_on_at_the_old_places(stage: Stage) -> None:
    mails = []
    for _ in range(3):
        mails.append(await stage.enqueue(body=MAIL))
        stage.time.advance(1)
    await stage.broker.pause(stage.queue, task=b"mail", reason="")
    worker = stage.worker()
    assert await worker.claim(10) == []
    late = await stage.enqueue(body=PRINT)
    await stage.broker.resume(stage.queue, task=b"mail")
    assert [job.id for job in await worker.claim(10)] == [*mails, late]
    assert (await stage.broker.depths(stage.queue)).paused_tasks == ()


async def test_many_held_jobs_are_released_in_bounded_steps_and_none_is_left_behind(stage: Stage) -> None:
    ids = {await stage.enqueue(body=MAIL) for _ in range(150)}
    await stage.broker.pause(stage.queue, task=b"mail", reason="")
    worker = stage.worker()
    while (await worker.step(claim=64)).more:
        pass
    assert (await stage.broker.depths(stage.queue)).held == 150
    await stage.broker.resume(stage.queue, task=b"mail")
    held = []
    for _ in range(4):
        await worker.step()
        held.append((await stage.broker.depths(stage.queue)).held)
    assert held == [86, 22, 0, 0]
    assert set(await stage.ids_in(JobState.PENDING)) == ids


async def test_a_pause_ends_by_itself(stage: Stage) -> None:
    id_ = await stage.enqueue(body=MAIL)
    await stage.broker.pause(stage.queue, task=b"mail", reason="a minute", resume_after=60_000)
    worker = stage.worker()
    assert await worker.claim() == []
    stage.time.advance(59_999)
    assert await worker.claim() == []
    stage.time.advance(1)
    assert (await stage.broker.depths(stage.queue)).paused_tasks == ()
    assert (await worker.claim_one()).id == id_


async def test_a_held_job_is_cancelled_at_once_and_frees_its_unique_key(stage: Stage) -> None:
    id_ = await stage.enqueue(body=MAIL, unique=b"u" * 16)
    await stage.broker.pause(stage.queue, task=b"mail", reason="")
    assert await stage.worker().claim() == []
    assert await stage.broker.cancel(stage.queue, id_) is JobState.CANCELLED
    assert (await stage.broker.depths(stage.queue)).held == 0
    assert await stage.enqueue(body=MAIL, unique=b"u" * 16)


async def test_a_held_job_keeps_no_slot_of_its_key(stage: Stage) -> None:
    limit = Limit(b"k" * 16, most=1)
    mail, printed = await stage.enqueue(body=MAIL, limit=limit), await stage.enqueue(body=PRINT, limit=limit)
    await stage.broker.pause(stage.queue, task=b"mail", reason="")
    worker = stage.worker()
    assert await worker.claim(10) == []
    job = await worker.claim_one()
    assert job.id == printed, "the slot went to the next one of the key"
    await stage.broker.resume(stage.queue, task=b"mail")
    assert await worker.claim() == [], "and is taken"
    assert await stage.state(mail) is JobState.HELD
    await worker.finish(job, FinishKind.COMPLETED)
    assert (await worker.claim_one()).id == mail


async def test_a_suspect_of_a_paused_task_is_a_suspect_afterwards(stage: Stage) -> None:
    await stage.active(body=MAIL)
    await stage.pass_time(35_000)
    await stage.broker.pause(stage.queue, task=b"mail", reason="it kills workers")
    worker = stage.worker()
    assert await worker.claim() == []
    await stage.broker.resume(stage.queue, task=b"mail")
    assert await worker.claim(suspects=False) == []
    assert (await worker.claim_one()).lost == 1


async def test_at_most_a_hundred_tasks_are_paused(stage: Stage) -> None:
    for number in range(100):
        await stage.broker.pause(stage.queue, task=b"task %d" % number, reason="")
    with pytest.raises(ConfigurationError, match="task: got 'one more', expected one of 100"):
        await stage.broker.pause(stage.queue, task=b"one more", reason="")
    await stage.broker.pause(stage.queue, task=b"task 7", reason="another reason")
    await stage.broker.resume(stage.queue, task=b"task 3")
    await stage.broker.pause(stage.queue, task=b"one more", reason="")
    assert len((await stage.broker.depths(stage.queue)).paused_tasks) == 100
