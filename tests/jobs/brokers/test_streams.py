"""The streams broker: what it leaves in the store, how its leases run out, how it is mended, and an application on it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from ropeline.jobs import PREVIOUS, Jobs, chain, group
from ropeline.jobs.brokers.streams import StreamsBroker
from ropeline.jobs.fsck import check_queue
from ropeline.jobs.records import Finish, FinishKind, JobState, NewJob, Renewal
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.calls import CommandClient
from ropeline.lua.keys import StreamKeys
from tests.jobs.brokers.stage import NAMESPACE, Stage, new_id, open_stage
from tests.servers import Cluster, Server, patient
from tests.support import wait_until


class Ward:
    """A queue in streams and the hand that looks into it, and breaks it."""

    def __init__(self, stage: Stage, store: CommandClient) -> None:
        assert isinstance(stage.broker, StreamsBroker)
        self.stage, self.store, self.broker = stage, store, stage.broker
        self.keys = StreamKeys(NAMESPACE, stage.broker.stage, stage.queue)

    async def call(self, command: str, noun: str, *arguments: str | bytes | int) -> object:
        return await self.store.execute_command(command, self.keys.state(noun), *arguments)

    async def heals(self, *expected: tuple[str, bytes]) -> None:
        """It is found as often as one looks, and no more once it was mended."""
        for repair in (False, True):
            found = await check_queue(self.broker, self.stage.queue, repair=repair)
            assert [(finding.what, finding.id) for finding in found] == list(expected)
        assert await check_queue(self.broker, self.stage.queue, repair=False) == []

    async def drain(self) -> int:
        """Complete whatever can be claimed; how many jobs it were."""
        worker, done = self.stage.worker(), 0
        while claimed := await worker.claim(64):
            await worker.step(*(Finish(FinishKind.COMPLETED, job.id, job.fence) for job in claimed))
            done += len(claimed)
        return done


@pytest.fixture
async def ward(valkey: Server) -> AsyncIterator[Ward]:
    store = valkey.connect()
    async with open_stage("streams", valkey.url) as stage:
        yield Ward(stage, store)
    await store.aclose()


async def test_a_priority_has_a_stream_once_there_was_a_job_of_it_and_nothing_is_left_in_it(ward: Ward) -> None:
    for priority in (5, 9, 5, 0):
        await ward.stage.enqueue(priority=priority)
    assert await ward.drain() == 4
    for priority in range(10):
        noun = f"pending{priority}"
        assert await ward.call("EXISTS", noun) == (priority in (0, 5, 9))
        assert await ward.call("XLEN", noun) == 0
    assert await ward.call("EXISTS", "entries") == 0


async def test_all_leases_that_are_over_are_found_though_a_look_is_bounded(ward: Ward) -> None:
    stage, first, second = ward.stage, ward.stage.worker(), ward.stage.worker()
    for _ in range(7):
        await stage.broker.enqueue(stage.queue, [NewJob(new_id(), b"") for _ in range(100)])
    renewed = [job for _ in range(10) for job in await first.claim(64)]
    lost = await second.claim(60, lease=40_000)
    await stage.pass_time(25_000)
    for start in range(0, len(renewed), 200):
        await first.renew(*renewed[start : start + 200])

    async def steps_until(active: int) -> int:
        for steps in range(100):
            if (await stage.broker.depths(stage.queue)).active == active:
                return steps
            await first.step()
        raise AssertionError("leases are over that nobody finds")

    # Looks begin when the first claims would be over, and go on while nothing is.
    await stage.pass_time(10_000)
    for _ in range(5):
        await first.step()
    stage.time.advance(5_000)
    # 640 leases lie before those that are over, and a step looks at 200 and takes 20.
    assert await steps_until(len(renewed)) <= 8
    assert set(await stage.ids_in(JobState.PENDING)) == {job.id for job in lost}
    assert set(await stage.ids_in(JobState.ACTIVE)) == {job.id for job in renewed}
    await stage.pass_time(15_000)
    assert await steps_until(0) <= 40


async def test_a_lease_of_years_is_cut_and_not_lost(ward: Ward) -> None:
    await ward.stage.enqueue()
    worker = ward.stage.worker()
    job = await worker.claim_one(lease=(1 << 42) - 1, hard=(1 << 42) - 1)
    await ward.stage.pass_time(60_000)
    assert await worker.finish(job, FinishKind.COMPLETED) == 0


async def test_a_queue_that_is_well_has_nothing_to_find(ward: Ward) -> None:
    stage = ward.stage
    await stage.enqueue(delay=5_000)
    await stage.dead()
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RETRY, delay=60_000)
    await stage.active()
    worker, job = await stage.active()
    await worker.finish(job, FinishKind.RELEASE)
    for _ in range(120):
        await stage.enqueue(unique=new_id())
    await ward.heals()


async def test_a_job_whose_entry_is_gone_runs_again_as_a_suspect(ward: Ward) -> None:
    job = await ward.stage.enqueue()
    await ward.call("XTRIM", "pending5", "MAXLEN", 0)
    await ward.heals(("no state", job))
    assert (await ward.stage.worker().claim_one()).lost == 1


@pytest.mark.parametrize("noun", ["entries", "meta"])
async def test_an_active_job_of_which_a_part_was_lost_runs_again_once(ward: Ward, noun: str) -> None:
    _, job = await ward.stage.active()
    await ward.call("HDEL", noun, job.id)
    await ward.heals(("no state" if noun == "entries" else "no lease", job.id))
    worker = ward.stage.worker()
    again = await worker.claim_one()
    assert (again.id, again.lost) == (job.id, 1)
    for _ in range(6):
        await ward.stage.pass_time(10_000)
        assert await worker.renew(again) == [Renewal.HELD], "the end of the earlier lease is nothing to the later one"
        assert not await ward.stage.worker().claim(10)
    assert (await ward.stage.broker.depths(ward.stage.queue)).active == 1


async def test_an_entry_that_is_not_its_jobs_place_is_deleted_when_it_is_read(ward: Ward) -> None:
    stage, score = ward.stage, struct.pack("<d", 4 * 2**42)
    job = await stage.enqueue()
    for id_ in (job, new_id()):
        await ward.call("XADD", "pending5", "*", "job", id_ + score)
    assert [claimed.id for claimed in await stage.worker().claim(10)] == [job]
    assert (await stage.broker.depths(stage.queue)).active == 1
    assert await ward.call("XLEN", "pending5") == 1


async def work_through(url: str, stage: str) -> list[object]:
    """What an application of every shape has done when all is over."""
    app = Jobs(broker=lambda: StreamsBroker(patient(url), namespace=NAMESPACE, stage=stage), stage=stage)
    done: list[object] = []
    failures = iter([ValueError("once")])

    @app.task(priority=7)
    async def double(number: int) -> int:
        done.append(number)
        return 2 * number

    @app.task(backoff=0.01)
    async def flaky() -> None:
        if failure := next(failures, None):
            raise failure
        done.append("flaky")

    @app.task(priority=2)
    async def collect(numbers: list[int]) -> None:
        done.append(numbers)

    async with app:
        await flaky.enqueue()
        await app.enqueue(chain(double.build(1), double.build(PREVIOUS), double.build(PREVIOUS)))
        await app.enqueue(chain(group([double.build(10), double.build(20)]), collect.build(PREVIOUS)))
        await double.using(run_after=0.05).enqueue(30)
        worker = Worker.of_app(app, WorkerSettings(concurrency=4))
        running = asyncio.create_task(worker.run())
        await wait_until(lambda: len(done) == 8, timeout=20)
        worker.drain()
        await running
        depths = await app.broker().depths("default")
        assert (depths.pending, depths.active, depths.counters["dead"]) == (0, 0, 0)
    return done


EVERYTHING = ["1", "10", "2", "20", "30", "4", "[20, 40]", "flaky"]


async def test_an_application_runs_on_streams_of_every_server(any_server: Server) -> None:
    assert sorted(map(str, await work_through(any_server.url, f"app-{any_server.port}"))) == EVERYTHING


async def test_an_application_runs_on_streams_of_a_cluster(cluster: Cluster) -> None:
    assert sorted(map(str, await work_through(cluster.url, "app-cluster"))) == EVERYTHING
