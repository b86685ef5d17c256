"""Idle workers: they sleep until there is something for them, and no wake-up goes missing."""

from __future__ import annotations

import asyncio
import threading
import time

from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.records import FinishKind, NewJob
from tests.jobs.brokers.stage import Stage, new_id
from tests.support import wait_until

LONG = 20.0


async def _returns(stage: Stage, *queues: str) -> bool:
    """Whether a wait for these queues returns long before its time."""
    started = time.monotonic()
    await asyncio.wait_for(stage.broker.wait(queues or (stage.queue,), LONG), LONG + 5)
    return time.monotonic() - started < LONG / 2


async def test_with_nothing_to_do_a_wait_ends_after_its_time(stage: Stage) -> None:
    await stage.worker().step(claim=1)
    started = time.monotonic()
    await stage.broker.wait([stage.queue], 0.05)
    assert time.monotonic() - started >= 0.045


async def test_an_enqueue_wakes_who_waits(stage: Stage) -> None:
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    await stage.enqueue()
    assert await waiting


async def test_an_enqueue_between_a_step_and_a_wait_is_not_missed(stage: Stage) -> None:
    await stage.worker().step(claim=1)
    await stage.enqueue()
    assert await _returns(stage)


async def test_who_waits_for_several_queues_is_woken_by_any(stage: Stage) -> None:
    waiting = asyncio.create_task(_returns(stage, "one", stage.queue, "two"))
    await asyncio.sleep(0.02)
    await stage.enqueue()
    assert await waiting


async def test_a_claim_that_leaves_work_wakes_another(stage: Stage) -> None:
    for _ in range(3):
        await stage.enqueue()
    assert await _returns(stage)
    assert len(await stage.worker().claim(2)) == 2
    assert await _returns(stage)


async def test_a_resumed_queue_wakes_who_waits(stage: Stage) -> None:
    await stage.enqueue()
    await stage.broker.wait([stage.queue], 0.01)
    await stage.broker.pause(stage.queue, reason="closed")
    await stage.worker().step(claim=1)
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    await stage.broker.resume(stage.queue)
    assert await waiting


async def test_a_requeue_and_an_unpark_wake_who_waits(stage: Stage) -> None:
    dead = await stage.dead()
    await stage.broker.wait([stage.queue], 0.01)
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    await stage.broker.requeue(stage.queue, [dead])
    assert await waiting


async def test_a_job_that_is_handed_back_wakes_who_waits(stage: Stage) -> None:
    worker, job = await stage.active()
    await stage.broker.wait([stage.queue], 0.01)
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    await worker.finish(job, FinishKind.RELEASE)
    assert await waiting


async def test_a_job_whose_lease_is_lost_wakes_who_waits(stage: Stage) -> None:
    await stage.active()
    await stage.pass_time(29_999)
    await stage.broker.wait([stage.queue], 0.01)
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    stage.time.advance(1)
    await stage.worker().step()
    assert await waiting


async def test_a_cancelled_wait_takes_nothing_with_it(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.broker.wait([stage.queue], LONG))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    id_ = await stage.enqueue()
    assert await _returns(stage)
    assert (await stage.worker().claim_one()).id == id_


async def test_suspects_that_a_worker_may_not_take_do_not_call_it_back_for_ever(stage: Stage) -> None:
    """A worker that holds its one suspect would otherwise ask for nothing, again and again, until that has run."""
    for _ in range(3):
        await stage.enqueue()
    await stage.worker().claim(3)
    await stage.pass_time(30_000)
    worker = stage.worker()
    assert len(await worker.claim(5)) == 1
    await stage.broker.wait([stage.queue], 0.01)
    for _ in range(3):
        assert not await worker.claim(5, suspects=False)
        started = time.monotonic()
        await stage.broker.wait([stage.queue], 0.05)
        assert time.monotonic() - started >= 0.045


async def test_in_memory_a_worker_whose_clock_moves_looks_again() -> None:
    clock = FakeClock()
    broker = MemoryBroker(clock=clock)
    await broker.enqueue("work", [NewJob(new_id(), b"", delay=3_600_000)])
    waiting = asyncio.create_task(broker.wait(["work"], LONG))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    clock.advance(3_600_000)
    await asyncio.wait_for(waiting, 5)


async def test_in_memory_a_wait_ends_when_a_job_is_due_by_the_real_clock() -> None:
    broker = MemoryBroker()
    await broker.enqueue("work", [NewJob(new_id(), b"", delay=30)])
    await asyncio.wait_for(broker.wait(["work"], LONG), 5)
    reply = await wait_until(lambda: _claim(broker))
    assert reply


async def _claim(broker: MemoryBroker) -> bool:
    reply = await broker.step("work", worker=new_id(), lane=0, call=1, claim=1)
    return bool(reply.claimed)


async def test_in_memory_threads_with_loops_of_their_own_share_a_broker() -> None:
    broker = MemoryBroker()
    woken = threading.Event()

    def wait() -> None:
        asyncio.run(broker.wait(["work"], LONG))
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    await asyncio.sleep(0.02)
    await broker.enqueue("work", [NewJob(new_id(), b"")])
    await wait_until(woken.is_set)
    thread.join()


async def test_a_call_that_waits_claims_what_comes_meanwhile(stage: Stage) -> None:
    woken: list[float] = []
    worker = stage.worker()
    waiting = asyncio.create_task(worker.step_when_woken(5.0, woken=lambda: woken.append(time.monotonic()), claim=3))
    await asyncio.sleep(0.05)
    assert not woken
    job = await stage.enqueue()
    reply = await waiting
    assert [claimed.id for claimed in reply.claimed] == [job]
    assert len(woken) == 1


async def test_a_call_that_waits_in_vain_ends_with_nothing(stage: Stage) -> None:
    worker = stage.worker()
    await stage.broker.wait([stage.queue], 0.01)
    reply = await worker.step_when_woken(0.05, woken=lambda: None, claim=3)
    assert (reply.claimed, reply.finished) == ([], [])
    await stage.enqueue()
    assert len(await worker.claim(3)) == 1, "the connection is as good as before"


async def test_a_call_that_was_given_up_while_it_waited_is_repeated_by_its_number(stage: Stage) -> None:
    worker = stage.worker()
    waiting = asyncio.create_task(worker.step_when_woken(5.0, woken=lambda: None, claim=3))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    job = await stage.enqueue()
    assert [claimed.id for claimed in (await worker.step(claim=3, repeat=True)).claimed] == [job]


async def test_a_retry_that_is_due_earlier_wakes_who_waits_for_a_later_job(stage: Stage) -> None:
    worker, job = await stage.active()
    await stage.enqueue(delay=60_000)
    await stage.broker.wait([stage.queue], 0.02)
    waiting = asyncio.create_task(_returns(stage))
    await asyncio.sleep(0.02)
    await worker.finish(job, FinishKind.RETRY, delay=1_000)
    assert await waiting
