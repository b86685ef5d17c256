"""A job's locks: held in its name, as long as its lease, taken over at once by its next delivery and by no other job."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ropeline.jobs import JobContext, Jobs, JobState, LockLost, LockTaken
from ropeline.jobs.background import end
from ropeline.jobs.backoff import Fixed
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.locks.locks import Locks
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.errors import ConfigurationError
from tests.servers import Server
from tests.support import wait_until

_stages = itertools.count(1)


@pytest.fixture
async def app(any_server: Server) -> AsyncIterator[Jobs]:
    async with Jobs(any_server.url, stage=f"job-locks-{next(_stages)}") as app:
        yield app


async def start(app: Jobs, ending: AsyncExitStack, **settings: float) -> Worker:
    worker = Worker.of_app(app, WorkerSettings(concurrency=4, drain_timeout=0, **settings))  # type: ignore[arg-type]
    task = asyncio.create_task(worker.run())

    async def stop() -> None:
        worker.drain()
        await task

    ending.push_async_callback(end, [task])
    ending.push_async_callback(stop)
    return worker


async def test_an_application_has_the_locks_of_its_stage(app: Jobs) -> None:
    assert app.locks is app.locks
    async with app.locks.hold("event-7", owner="report", purpose="draws"):
        other = Jobs(app.connections.address, stage=app.stage)
        async with other:
            with pytest.raises(LockTaken, match=r"held by report \(draws\)"):
                await other.locks.acquire("event-7")
    async with app.locks.hold("event-7"):
        pass


async def test_locks_are_closed_with_the_application(app: Jobs) -> None:
    first = app.locks
    await app.close()
    # A new connection, and the same stage.
    assert app.locks is not first
    await app.locks.acquire("event")


async def test_what_is_being_given_up_is_so_before_the_connection_is_closed(app: Jobs) -> None:
    locks = app.locks
    lock = await locks.acquire("event")
    locks.give_up_later("event", lock.token)
    await app.close()
    assert not locks._abandoned
    assert await app.locks.view("event") is None


async def test_who_waits_through_the_application_is_woken(app: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropeline.jobs.locks.locks._FIRST_PAUSE", 60.0)
    monkeypatch.setattr("ropeline.jobs.locks.locks._LONGEST_PAUSE", 60.0)
    lock = await app.locks.acquire("event")
    waiting = asyncio.create_task(app.locks.acquire("event", wait=60))
    await wait_until(lambda: app.locks._listening)
    await app.locks.release("event", lock.token)
    async with asyncio.timeout(10):
        assert (await waiting).fence > lock.fence


async def test_jobs_hold_a_lock_one_after_the_other_in_their_own_names(app: Jobs) -> None:
    inside, most, fences = 0, 0, []

    @app.task(name="draw")
    async def draw(job: JobContext, number: int) -> None:
        nonlocal inside, most
        async with job.lock("event-7", wait=30, purpose=f"draws {number}") as lock:
            view = await app.locks.view("event-7")
            assert view is not None
            assert (view.owner, view.purpose, view.holder) == ("draw", f"draws {number}", job.id)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            fences.append(lock.fence)
            inside -= 1

    async with AsyncExitStack() as ending:
        worker = await start(app, ending)
        for number in range(6):
            await draw.enqueue(number)
        await wait_until(lambda: worker.metrics.totals()["completed"] == 6)
    assert most == 1
    assert fences == sorted(set(fences))


async def test_the_same_job_delivered_again_takes_over_at_once(app: Jobs) -> None:
    """Its first worker is dead and has given nothing up; the lock would hold for the lease of a minute."""
    seen: list[tuple[bool, int]] = []

    @app.task(name="draw")
    async def draw(job: JobContext) -> None:
        async with job.lock("event-7") as lock:
            seen.append((lock.took_over, lock.fence))

    handle = await draw.enqueue()
    broker = app.broker()
    assert isinstance(broker, RedisBroker)
    reply = await broker.step("default", worker=bytes(16), lane=0, call=1, claim=1, lease=100)
    dead = await app.locks.acquire(
        "event-7", ttl=60, owner="draw", holder=handle.id, holder_fence=reply.claimed[0].fence
    )
    async with AsyncExitStack() as ending:
        await start(app, ending)
        await wait_until(lambda: seen, timeout=15)
    assert seen[0][0]
    assert seen[0][1] > dead.fence
    with pytest.raises(LockLost):
        await app.locks.extend("event-7", dead.token)


async def test_a_late_delivery_of_the_same_job_takes_nothing_from_the_later_one(app: Jobs) -> None:
    locks = app.locks
    await locks.acquire("event-7", owner="draw", holder="job", holder_fence=2)
    with pytest.raises(LockTaken):
        await locks.acquire("event-7", owner="draw", holder="job", holder_fence=1)


async def test_another_job_is_refused_and_tried_again(app: Jobs) -> None:
    @app.task(name="draw", backoff=Fixed(0.05))
    async def draw(job: JobContext) -> None:
        async with job.lock("event-7"):
            pass

    held = await app.locks.acquire("event-7", owner="an operator", purpose="repairs")
    async with AsyncExitStack() as ending:
        await start(app, ending)
        handle = await draw.using(result_ttl=60, max_attempts=1000).enqueue()
        await wait_until(lambda: _has_failed(app, handle.id, b"LockTaken: lock event-7: held by an operator (repairs)"))
        await app.locks.release("event-7", held.token)
        await wait_until(lambda: _is(app, handle.id, JobState.COMPLETED))


async def test_a_job_whose_lock_is_taken_away_is_stopped_and_tried_again(app: Jobs) -> None:
    begun = 0

    @app.task(name="draw", backoff=Fixed(60))
    async def draw(job: JobContext) -> None:
        nonlocal begun
        async with job.lock("event-7"):
            begun += 1
            await asyncio.Event().wait()

    async with AsyncExitStack() as ending:
        worker = await start(app, ending, lease=1.0)
        handle = await draw.enqueue()
        await wait_until(lambda: begun)
        assert await app.locks.force_release("event-7", by="ada", reason="it draws the wrong event")
        await wait_until(lambda: _has_failed(app, handle.id, b"it draws the wrong event"))
        # The task that ran it goes on with others.
        await wait_until(lambda: worker.metrics.totals()["retried"] == 1)


async def test_a_lock_lives_as_long_as_the_lease(app: Jobs) -> None:
    lengths: list[float] = []

    @app.task(name="draw")
    async def draw(job: JobContext) -> None:
        async with job.lock("event-7"):
            view = await app.locks.view("event-7")
            lengths.append((view.until - view.since).total_seconds() if view else 0)

    async with AsyncExitStack() as ending:
        await start(app, ending, lease=7.0)
        await draw.enqueue()
        await wait_until(lambda: lengths)
    assert lengths == [7.0]


async def test_a_cancelled_job_gives_its_lock_up(app: Jobs) -> None:
    begun = asyncio.Event()

    @app.task(name="draw")
    async def draw(job: JobContext) -> None:
        async with job.lock("event-7"):
            begun.set()
            await asyncio.Event().wait()

    async with AsyncExitStack() as ending:
        await start(app, ending, lease=1.0)
        handle = await draw.enqueue()
        await begun.wait()
        await handle.cancel()
        await wait_until(lambda: _is_free(app.locks, "event-7"))


async def test_a_task_that_is_called_as_a_function_has_locks_too(app: Jobs) -> None:
    @app.task
    async def draw(job: JobContext) -> str:
        async with job.lock("event-7"):
            view = await app.locks.view("event-7")
            return view.holder if view else ""

    assert len(await draw()) == 32
    assert await app.locks.view("event-7") is None


async def test_a_handler_in_a_thread_is_told_that_its_job_has_no_lock_there(app: Jobs) -> None:
    @app.task
    def draw(job: JobContext) -> None:
        job.lock("event-7")

    with pytest.raises(RuntimeError, match="hold it in an async handler"):
        await asyncio.to_thread(draw)


async def test_a_context_made_by_hand_has_no_locks(app: Jobs) -> None:
    with pytest.raises(RuntimeError, match=r"use app\.locks\.hold"):
        JobContext(id="00" * 16, task="draw", queue="default").lock("event-7")
    with pytest.raises(ConfigurationError, match="lock: got 'a:b'"):
        app.locks.hold("a:b")


async def _has_failed(app: Jobs, id: str, with_: bytes) -> bool:
    view = await app.broker().find("default", bytes.fromhex(id))
    return view is not None and with_.decode() in view.error


async def _is(app: Jobs, id: str, state: JobState) -> bool:
    view = await app.broker().find("default", bytes.fromhex(id))
    return view is not None and view.state is state


async def _is_free(locks: Locks, name: str) -> bool:
    return await locks.view(name) is None
