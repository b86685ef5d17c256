"""The look through a queue finds each thing that must not be, mends it, and finds nothing in a queue that is well."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.fsck import Finding, check_queue
from ropeline.jobs.payloads.envelope import pack_plain
from ropeline.jobs.records import Claimed, FinishKind, HandOver, JobState, Limit, NewJob, Progress
from ropeline.jobs.shapes.chains import id_after
from ropeline.jobs.shapes.courier import carry
from ropeline.jobs.shapes.groups import order_of
from ropeline.lua.keys import QueueKeys
from tests.jobs.brokers.stage import DAY, NAMESPACE, Stage, new_id, open_stage
from tests.servers import Server


class Ward:
    """A queue and the hand that breaks it."""

    def __init__(self, stage: Stage, store: Redis) -> None:
        assert isinstance(stage.broker, RedisBroker)
        self.stage, self.store, self.broker = stage, store, stage.broker
        self.keys = QueueKeys(NAMESPACE, stage.broker.stage, stage.queue)

    async def findings(self, *, repair: bool) -> set[tuple[str, bytes]]:
        found = await check_queue(self.broker, self.stage.queue, repair=repair)
        assert len(found) == len(set(found))
        return {(finding.what, finding.id) for finding in found}

    async def heals(self, *expected: tuple[str, bytes]) -> None:
        """It is found as often as one looks, and no more once it was mended."""
        assert await self.findings(repair=False) == set(expected)
        assert await self.findings(repair=True) == set(expected)
        assert await self.findings(repair=False) == set()


@pytest.fixture
async def ward(valkey: Server) -> AsyncIterator[Ward]:
    store = valkey.connect()
    async with open_stage("redis", valkey.url) as stage:
        yield Ward(stage, store)
    await store.aclose()


async def test_a_queue_that_is_well_has_nothing_to_find(ward: Ward) -> None:
    stage = ward.stage
    await stage.enqueue(delay=5_000)
    await stage.dead()
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.COMPLETED, keep=60_000, result=b"x")
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RETRY, delay=60_000)
    for _ in range(120):
        await stage.enqueue(unique=new_id())
    await ward.heals()


async def test_a_job_in_no_state_runs_again_as_a_suspect(ward: Ward) -> None:
    job = await ward.stage.enqueue()
    await ward.store.zrem(ward.keys.state("pending"), job)
    await ward.heals(("no state", job))
    assert (await ward.stage.worker().claim_one()).lost == 1


async def test_a_lease_that_vanished_buries_no_job(ward: Ward) -> None:
    _, job = await ward.stage.active()
    await ward.store.zrem(ward.keys.state("active"), job.id)
    await ward.heals(("no state", job.id))
    assert (await ward.stage.worker().claim_one()).id == job.id


async def test_a_held_job_that_lost_its_place_asks_for_a_slot_again(ward: Ward) -> None:
    limit = Limit(b"k" * 16, most=1)
    _, second = [await ward.stage.enqueue(limit=limit) for _ in range(2)]
    await ward.store.delete(ward.keys.state("held"))
    await ward.heals(("no state", second))
    assert await ward.stage.state(second) is JobState.HELD
    worker = ward.stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    job = await worker.claim_one()
    assert (job.id, job.lost) == (second, 0)
    await worker.finish(job, FinishKind.COMPLETED)
    assert await ward.broker.limit_keys(ward.stage.queue) == 0


async def test_a_slot_that_no_job_has_goes_to_one_that_waits(ward: Ward) -> None:
    limit = Limit(b"k" * 16, most=1)
    first, second = [await ward.stage.enqueue(limit=limit) for _ in range(2)]
    worker = ward.stage.worker()
    await worker.finish(await worker.claim_one(), FinishKind.RETRY, delay=DAY)
    entry = await ward.store.hget(ward.keys.state("keys"), limit.key)
    assert entry is not None
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    # As after a failover that forgot the end, and nothing else.
    await ward.store.hset(ward.keys.state("keys"), limit.key, entry)
    third = await ward.stage.enqueue(limit=limit)
    assert await ward.stage.state(third) is JobState.HELD
    await ward.heals(("wrong slots", limit.key))
    assert [await ward.stage.state(job) for job in (first, second, third)] == [JobState.RETRY, None, JobState.PENDING]
    await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    assert await ward.broker.limit_keys(ward.stage.queue) == 0


async def test_a_slot_that_nobody_waits_for_is_removed(ward: Ward) -> None:
    await ward.store.hset(ward.keys.state("keys"), b"k" * 16, struct.pack("<IIddd", 1, 1, 0, 65_535, 0))
    await ward.heals(("wrong slots", b"k" * 16))
    assert await ward.broker.limit_keys(ward.stage.queue) == 0


async def test_a_key_that_was_forgotten_has_the_slots_of_its_jobs_again(ward: Ward) -> None:
    limit = Limit(b"k" * 16, most=2)
    jobs = [await ward.stage.enqueue(limit=limit) for _ in range(4)]
    worker = ward.stage.worker()
    claimed = await worker.claim_one()
    await ward.store.hdel(ward.keys.state("keys"), limit.key)
    await ward.heals(("wrong slots", limit.key))
    assert [await ward.stage.state(job) for job in jobs[1:]] == [JobState.PENDING, JobState.HELD, JobState.HELD]
    await worker.finish(claimed, FinishKind.COMPLETED)
    for _ in range(3):
        await worker.finish(await worker.claim_one(), FinishKind.COMPLETED)
    assert await ward.broker.limit_keys(ward.stage.queue) == 0


async def test_jobs_that_a_paused_task_holds_back_are_no_finding(ward: Ward) -> None:
    body, queue = pack_plain(b"mail", b"[]", 1, 0), ward.stage.queue
    limited, free = NewJob(new_id(), body, limit=Limit(b"k" * 16, most=1)), NewJob(new_id(), body)
    await ward.broker.enqueue(queue, [limited, free])
    await ward.broker.pause(queue, reason="its server is away", task=b"mail")
    assert await ward.stage.worker().claim(5) == []
    assert [await ward.stage.state(job.id) for job in (limited, free)] == [JobState.HELD] * 2
    await ward.heals()
    assert [await ward.stage.state(job.id) for job in (limited, free)] == [JobState.HELD] * 2


async def test_jobs_that_come_and_go_while_slots_are_counted_are_no_finding(ward: Ward) -> None:
    limits = [Limit(bytes((number,)) * 16, most=2) for number in range(3)]
    is_done = asyncio.Event()

    async def churn() -> None:
        worker = ward.stage.worker()
        while not is_done.is_set():
            for limit in limits:
                await ward.stage.enqueue(limit=limit)
            for job in await worker.claim(2):
                await worker.finish(job, FinishKind.COMPLETED)

    churning = asyncio.create_task(churn())
    try:
        for _ in range(20):
            assert await ward.findings(repair=True) == set()
    finally:
        is_done.set()
        await churning
    assert await ward.findings(repair=False) == set()


async def test_a_job_in_two_states_stays_in_the_one_that_is_further_on(ward: Ward) -> None:
    worker, job = await ward.stage.active()
    await ward.store.zadd(ward.keys.state("pending"), {job.id: 1.0})
    await ward.heals(("several states", job.id))
    assert await ward.stage.state(job.id) is JobState.ACTIVE
    await worker.finish(job, FinishKind.COMPLETED)


@pytest.mark.parametrize("state", ["pending", "active", "dead", "retry"])
async def test_a_place_without_a_job_is_removed(ward: Ward, state: str) -> None:
    ghost = new_id()
    await ward.store.zadd(ward.keys.state(state), {ghost: 1.0})
    await ward.heals(("no body", ghost))
    assert await ward.store.zcard(ward.keys.state(state)) == 0


async def test_what_is_left_of_a_job_that_is_gone_is_removed(ward: Ward) -> None:
    _, job = await ward.stage.active()
    await ward.store.hdel(ward.keys.state("body"), job.id)
    await ward.heals(("no body", job.id))
    assert not await ward.store.hexists(ward.keys.state("meta"), job.id)


async def test_an_active_job_that_nobody_holds_runs_again(ward: Ward) -> None:
    _, job = await ward.stage.active()
    await ward.store.hdel(ward.keys.state("meta"), job.id)
    await ward.heals(("no lease", job.id))
    assert (await ward.stage.worker().claim_one()).id == job.id


async def test_a_unique_key_of_a_job_that_has_ended_is_given_free(ward: Ward) -> None:
    key, job = new_id(), await ward.stage.dead()
    live = await ward.stage.enqueue(unique=(kept := new_id()))
    await ward.store.hset(ward.keys.state("unique"), mapping={key: job + bytes(8)})
    found = await check_queue(ward.broker, ward.stage.queue, repair=True)
    assert found == [Finding(ward.stage.queue, "stray key", key)]
    assert await ward.store.hkeys(ward.keys.state("unique")) == [kept]
    assert await ward.stage.state(live) is JobState.PENDING
    await ward.stage.enqueue(unique=key)


async def waiting_for(ward: Ward, parts: int = 2) -> tuple[Claimed, list[bytes]]:
    """A job that waits for parts of its own queue, and these."""
    stage = ward.stage
    worker, job = await stage.active()
    drafts = [(stage.queue, NewJob(new_id(), b"part")) for _ in range(parts)]
    order = order_of(stage.queue, job.id, job.fence, drafts, b"joined", fails=False)
    await worker.finish(job, FinishKind.SPLIT, split=order)
    return job, [each.id for _, jobs in order.parts for each in jobs]


async def test_parts_that_wait_run_or_are_on_their_way_are_no_fault(ward: Ward) -> None:
    stage = ward.stage
    job, _ = await waiting_for(ward, 3)
    await ward.heals()
    await carry(stage.broker, stage.queue)
    await ward.heals()
    worker = stage.worker()
    first, second = await worker.claim(2)
    await worker.finish(first, FinishKind.COMPLETED)
    then = NewJob(id_after(second.id), b"next")
    await worker.finish(second, FinishKind.COMPLETED, hand_over=(HandOver(stage.queue, (then,)),))
    await ward.heals()
    while await carry(stage.broker, stage.queue):
        await ward.heals()
    assert await stage.broker.progress(stage.queue, job.id) == Progress(1, 0, 3)


async def test_a_part_that_is_nowhere_counts_as_purged(ward: Ward) -> None:
    stage = ward.stage
    job, parts = await waiting_for(ward)
    await carry(stage.broker, stage.queue)
    for key in ("body", "pending"):
        await (ward.store.hdel if key == "body" else ward.store.zrem)(ward.keys.state(key), parts[0])
    await ward.heals(("lost part", job.id))
    assert await stage.broker.progress(stage.queue, job.id) == Progress(0, 1, 2)


async def test_a_job_that_waits_for_nothing_that_is_known_is_a_dead_letter(ward: Ward) -> None:
    job, _ = await waiting_for(ward)
    await ward.store.delete(ward.keys.state("parts"))
    await ward.heals(("no parts", job.id))
    assert await ward.stage.state(job.id) is JobState.DEAD


async def test_an_entry_that_nobody_would_deliver_is_delivered(ward: Ward) -> None:
    stage = ward.stage
    _, parts = await waiting_for(ward)
    await ward.store.delete(ward.keys.state("outgoing"))
    await ward.heals(("stuck entry", parts[0]))
    assert await carry(stage.broker, stage.queue) == 1
