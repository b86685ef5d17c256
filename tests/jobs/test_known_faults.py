"""Faults that other engines are known for, each by the number under which docs/known-faults.md lists it, at the level of the store."""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.fsck import check_queue
from ropeline.jobs.records import EnqueueResult, Finish, FinishKind, FinishResult, JobState, NewJob, Renewal
from ropeline.lua.errors import StoreRefused
from ropeline.lua.keys import QueueKeys
from ropeline.lua.loader import load_script, script_names
from tests.jobs.brokers.stage import DAY, ENDS, NAMESPACE, Stage, new_id, open_stage
from tests.servers import Cluster, Server, patient

HOUR = 3_600_000


@pytest.fixture
async def stage(valkey: Server) -> AsyncIterator[Stage]:
    async with open_stage("redis", valkey.url) as stage:
        yield stage


@pytest.fixture
async def store(valkey: Server) -> AsyncIterator[Redis]:
    store = valkey.connect()
    yield store
    await store.aclose()


def keys_of(stage: Stage) -> QueueKeys:
    assert isinstance(stage.broker, RedisBroker)
    return QueueKeys(NAMESPACE, stage.broker.stage, stage.queue)


async def snapshot(stage: Stage, store: Redis) -> dict[str, bytes | None]:
    """What the store keeps of a queue, but for its clocks and workers."""
    kept = {}
    for key in keys_of(stage).step():
        if not key.endswith((":conf", ":calls", ":workers", ":wake")):
            kept[key] = await store.dump(key)
    return kept


async def test_t01_an_active_job_whose_lease_vanished_is_found_and_runs(stage: Stage, store: Redis) -> None:
    _, job = await stage.active()
    await store.zrem(keys_of(stage).state("active"), job.id)
    assert isinstance(stage.broker, RedisBroker)
    assert [finding.id for finding in await check_queue(stage.broker, stage.queue, repair=True)] == [job.id]
    assert (await stage.worker().claim_one()).id == job.id


async def test_t02_a_call_that_cannot_be_carried_out_whole_changes_nothing(stage: Stage, store: Redis) -> None:
    await stage.enqueue()
    before = await snapshot(stage, store)
    keys = keys_of(stage)
    good = b"\x00" * 16 + b"\x00\x05" + bytes(24) + b"body"
    calls: list[tuple[str, tuple[str, ...], list[str | bytes | int]]] = [
        ("enqueue", keys.jobs(), ["", 16384, good, b"too short"]),
        ("enqueue", keys.jobs(), ["", 16384, good, good[:17] + b"\x0a" + good[18:]]),
        ("step", keys.step(), ["", "", b"short", 0, 1, 5, 1, 1000, 1000, 3, b"", b""]),
        ("step", keys.step(), ["", "", bytes(16), 0, 1, 65, 1, 1000, 1000, 3, b"", b""]),
        ("step", keys.step(), ["", "", bytes(16), 0, 1, 5, 1, 1000, 1000, 3, b"odd", b""]),
        ("renew", keys.jobs(), ["", "", bytes(16), 1000, b"odd"]),
        ("purge", keys.jobs(), ["", "", "active", 10]),
    ]
    for name, of, arguments in calls:
        script = load_script(f"queue/{name}")
        with pytest.raises(Exception, match="INVALID"):
            await store.eval(script.text, len(of), *of, *arguments)
        assert await snapshot(stage, store) == before, name


async def test_t04_scripts_work_on_sets_of_20000(stage: Stage, store: Redis) -> None:
    keys, count = keys_of(stage), 20_000
    ids = [new_id() for _ in range(count)]
    for noun, score in {
        "dead": 1,
        "completed": 1,
        "cancelled": 1,
        "parked": 1,
        "scheduled": 1,
        "retry": 1,
        "active": 1,
    }.items():
        await store.zadd(keys.state(noun), dict.fromkeys(ids, score))
    await store.hset(keys.state("body"), mapping=dict.fromkeys(ids, b"\x00\x05body"))
    worker = stage.worker()
    assert (await worker.step(claim=64)).claimed
    assert await stage.broker.purge(stage.queue, JobState.DEAD, limit=1000) == 1000
    page = await stage.broker.jobs_in(stage.queue, JobState.RETRY, limit=1000)
    assert page.cursor


@pytest.mark.parametrize(
    "way_out", ["completed", "dead", "cancelled while waiting", "cancelled while running", "purged"]
)
async def test_t05_each_way_out_gives_the_unique_key_free(stage: Stage, way_out: str) -> None:
    key = new_id()
    if way_out in ("cancelled while waiting", "purged"):
        job = await stage.enqueue(unique=key, delay=HOUR)
        if way_out == "purged":
            assert await stage.broker.purge(stage.queue, JobState.SCHEDULED) == 1
        else:
            assert await stage.broker.cancel(stage.queue, job) is JobState.CANCELLED
    else:
        worker, active = await stage.active(unique=key)
        assert (await stage.try_enqueue(unique=key)).result is EnqueueResult.CONFLICT
        if way_out == "cancelled while running":
            await stage.broker.cancel(stage.queue, active.id)
        kind = FinishKind.COMPLETED if way_out == "completed" else FinishKind.DEAD
        await worker.finish(active, kind)
    assert (await stage.try_enqueue(unique=key)).result is EnqueueResult.ENQUEUED


async def test_t06_a_job_that_has_ended_blocks_no_new_one_with_its_key(stage: Stage) -> None:
    key = new_id()
    await stage.dead(unique=key)
    holder = await stage.enqueue(unique=key)
    assert (await stage.try_enqueue(unique=key)).holder == holder


async def test_t07_an_older_job_does_not_free_the_key_of_a_newer_one(stage: Stage) -> None:
    key = new_id()
    worker, older = await stage.active(unique=key, unique_for=1_000)
    await stage.pass_time(2_000)
    newer = await stage.enqueue(unique=key)
    await worker.finish(older, FinishKind.COMPLETED)
    assert (await stage.try_enqueue(unique=key)).holder == newer


async def test_t08_a_claim_is_state_lease_and_owner_in_one(stage: Stage, store: Redis) -> None:
    worker, job = await stage.active()
    view = await stage.look(job.id)
    assert (view.state, view.worker) == (JobState.ACTIVE, worker.id.hex())
    assert await store.zscore(keys_of(stage).state("active"), job.id) is not None


async def test_t09_a_worker_that_lost_its_job_changes_nothing_any_more(stage: Stage, store: Redis) -> None:
    late, job = await stage.active()
    await stage.pass_time(31_000)
    owner = stage.worker()
    taken = await owner.claim_one()
    before = await snapshot(stage, store)
    assert await late.renew(job) == [Renewal.LOST]
    for kind in ENDS:
        assert await late.finish(job, kind) is FinishResult.STALE
    assert await snapshot(stage, store) == before
    assert await owner.finish(taken, FinishKind.COMPLETED) is FinishResult.DONE


async def test_t11_two_renewals_in_a_row_may_be_lost(stage: Stage) -> None:
    worker, job = await stage.active()
    for _ in range(5):
        await stage.pass_time(29_000)
        assert await worker.renew(job) == [Renewal.HELD]


async def test_t12_a_job_ten_leases_long_runs_once(stage: Stage) -> None:
    worker, job = await stage.active()
    for _ in range(30):
        await stage.pass_time(10_000)
        assert await worker.renew(job) == [Renewal.HELD]
        assert not await stage.worker().claim(10)
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE


async def test_t13_recovery_belongs_to_nobody(stage: Stage) -> None:
    """There is no lock to hold and no leader to lose: each step of any worker reaps."""
    _, job = await stage.active()
    await stage.pass_time(31_000)
    assert (await stage.worker().claim_one()).id == job.id


async def test_t14_a_crash_spends_no_attempt(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.pass_time(31_000)
    again = await stage.worker().claim_one()
    assert (again.id, again.attempts, again.lost) == (job.id, 0, 1)


async def test_t15_a_crasher_is_buried_and_none_of_those_claimed_with_it(stage: Stage) -> None:
    crasher = await stage.enqueue()
    innocents = {await stage.enqueue() for _ in range(100)}
    done: set[bytes] = set()
    for _ in range(300):
        worker = stage.worker()
        claimed = await worker.claim(10)
        if not claimed:
            break
        if any(job.id == crasher for job in claimed):
            await stage.pass_time(41_000)
            continue
        for job in claimed:
            assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE
            done.add(job.id)
    view = await stage.look(crasher)
    assert (view.state, view.reason) == (JobState.DEAD, "poison")
    assert done == innocents


async def test_t16_a_job_of_an_unknown_type_waits_for_a_worker_that_knows_it(stage: Stage) -> None:
    worker, job = await stage.active()
    assert await worker.finish(job, FinishKind.PARK, detail=b"order:confirm") is FinishResult.DONE
    assert await stage.state(job.id) is JobState.PARKED
    assert await stage.broker.unpark(stage.queue, b"another:type") == 0
    assert await stage.broker.unpark(stage.queue, b"order:confirm") == 1
    again = await stage.worker().claim_one()
    assert (again.id, again.attempts) == (job.id, 0)


@pytest.mark.parametrize("times", [1, 5])
async def test_t19_a_finish_whose_reply_was_lost_counts_once(stage: Stage, times: int) -> None:
    worker, job = await stage.active()
    finish = Finish(FinishKind.COMPLETED, job.id, job.fence)
    waiting = await stage.enqueue()
    first = await worker.step(finish, claim=1)
    for _ in range(times):
        assert await worker.step(finish, claim=1, repeat=True) == first
    assert first.finished == [FinishResult.DONE]
    assert [claimed.id for claimed in first.claimed] == [waiting]
    assert (await stage.counters())["completed"] == 1


async def test_t20_a_finish_that_never_arrived_is_made_up_for_by_the_lease(stage: Stage) -> None:
    _, job = await stage.active()
    await stage.pass_time(31_000)
    worker = stage.worker()
    assert await worker.finish(await worker.claim_one(), FinishKind.COMPLETED) is FinishResult.DONE
    assert await stage.state(job.id) is None


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_t21_a_clock_that_jumps_ends_no_lease(stage: Stage, jump: int) -> None:
    worker, job = await stage.active()
    stage.time.advance(jump)
    assert not await stage.worker().claim(10)
    assert await worker.renew(job) == [Renewal.HELD]
    await stage.pass_time(20_000)
    assert await worker.finish(job, FinishKind.COMPLETED) is FinishResult.DONE


async def test_t22_a_job_that_waits_for_longer_than_any_retention_runs(stage: Stage) -> None:
    job = await stage.enqueue(unique=new_id())
    stage.time.advance(400 * DAY)
    await stage.pass_time(5_000)
    assert (await stage.worker().claim_one()).id == job


@pytest.mark.parametrize("state", ["scheduled", "pending", "retry", "active"])
async def test_t26_a_cancelled_job_is_cancelled_and_not_retried(stage: Stage, state: str) -> None:
    if state == "active":
        worker, active = await stage.active()
        job = active.id
        assert await stage.broker.cancel(stage.queue, job) is JobState.ACTIVE
        assert await worker.finish(active, FinishKind.RETRY, delay=1) is FinishResult.CANCELLED
    else:
        job = await stage.enqueue(delay=HOUR if state == "scheduled" else 0)
        if state == "retry":
            worker = stage.worker()
            await worker.finish(await worker.claim_one(), FinishKind.RETRY, delay=HOUR)
        assert await stage.broker.cancel(stage.queue, job) is JobState.CANCELLED
    assert await stage.state(job) is JobState.CANCELLED
    await stage.pass_time(2 * 60_000)
    assert not await stage.worker().claim(10)


async def test_t27_what_came_and_went_leaves_nothing(start_stage_on: Server) -> None:
    async with open_stage("redis", start_stage_on.url) as stage:
        store = start_stage_on.connect()
        worker = stage.worker()

        async def through(count: int) -> None:
            for _ in range(count // 100):
                await stage.broker.enqueue(stage.queue, [NewJob(new_id(), os.urandom(100)) for _ in range(100)])
                for _ in range(2):
                    claimed = await worker.claim(64)
                    await worker.step(*(Finish(FinishKind.COMPLETED, job.id, job.fence) for job in claimed))

        await through(1_000)
        warm = (await store.dbsize(), (await store.info("memory"))["used_memory"])
        await through(20_000)
        keys, memory = await store.dbsize(), (await store.info("memory"))["used_memory"]
        await store.aclose()
    assert keys == warm[0]
    assert memory - warm[1] < 1024 * 1024


@pytest.fixture
def start_stage_on(fresh_server: Server) -> Server:
    return fresh_server


async def test_t29_no_script_looks_through_keys() -> None:
    for name in script_names():
        text = load_script(name).text
        for slow in ("'KEYS'", "'SCAN'", "'HGETALL'", "'SMEMBERS'", "'LRANGE'", "'HKEYS'", "'MEMORY'"):
            # A queue has at most 1,000 cron jobs; they are read when one has changed.
            if (name, slow) != ("cron/read", "'HGETALL'"):
                assert f"redis.call({slow}" not in text, name


async def test_t31_everything_runs_on_a_cluster(cluster: Cluster) -> None:
    broker = RedisBroker(patient(cluster.url), namespace=NAMESPACE, stage="known-faults")
    try:
        for queue in ("one", "two", "three"):
            job = new_id()
            await broker.enqueue(queue, [NewJob(job, b"body")])
            await broker.wait([queue], 1.0)
            [claimed] = (await broker.step(queue, worker=new_id(), lane=0, call=1, claim=5)).claimed
            assert claimed.id == job
        await broker.wait(["one", "two", "three"], 0.05)
        assert await broker.queues() == ["one", "three", "two"]
    finally:
        await broker.close()


async def test_t34_an_unstarted_job_is_handed_back_to_its_old_place(stage: Stage) -> None:
    first = await stage.enqueue()
    hoarder = stage.worker()
    [job] = await hoarder.claim(5)
    await stage.pass_time(1_000)
    await stage.enqueue()
    assert await hoarder.finish(job, FinishKind.RELEASE) is FinishResult.DONE
    again = await stage.worker().claim_one()
    assert (again.id, again.attempts, again.lost) == (first, 0, 0)


async def test_t36_a_worker_that_ends_spends_no_attempt(stage: Stage) -> None:
    for _ in range(10):
        worker = stage.worker()
        if not await stage.ids_in(JobState.PENDING):
            await stage.enqueue()
        await worker.finish(await worker.claim_one(), FinishKind.RELEASE)
    again = await stage.worker().claim_one()
    assert (again.attempts, again.lost) == (0, 0)


async def test_t37_two_versions_of_a_script_work_side_by_side(stage: Stage, store: Redis) -> None:
    """A script is called by the hash of its text; another version is another script, and replaces nothing."""
    await stage.enqueue()
    await store.script_load(load_script("queue/step").text + "\n-- a newer version\n")
    assert await stage.worker().claim(1)


async def test_t38_a_due_job_is_never_in_between(stage: Stage, store: Redis) -> None:
    job = await stage.enqueue(delay=1_000)
    stage.time.advance(1_000)
    seen = set()
    for _ in range(3):
        places = [
            name for name in ("scheduled", "pending") if await store.zscore(keys_of(stage).state(name), job) is not None
        ]
        assert len(places) == 1
        seen.add(places[0])
        await stage.worker().step()
    assert seen == {"scheduled", "pending"}


async def test_t40_a_body_is_opaque_to_the_scripts(stage: Stage) -> None:
    numbers = {"large": 2**63, "small": -(2**63) - 1, "fraction": 0.1 + 0.2, "digits": 12345678901234567890}
    body = json.dumps(numbers).encode() + b"\x00\xff{}\r\n" + repr(math.nan).encode()
    await stage.enqueue(body=body)
    assert (await stage.worker().claim_one()).body == body


async def test_an_older_call_of_a_lane_that_arrives_late_claims_nothing(stage: Stage) -> None:
    await stage.enqueue()
    worker = stage.worker()
    await worker.step()
    await worker.step()
    with pytest.raises(StoreRefused, match="later one"):
        await stage.broker.step(stage.queue, worker=worker.id, lane=0, call=1, claim=5)
    assert (await stage.broker.depths(stage.queue)).pending == 1
