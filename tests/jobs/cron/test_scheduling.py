"""An application's cron jobs: defined by decorator and call, brought into the store by its workers, each tick run as one job."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from ropeline.jobs import JobContext, Jobs, Missed, Unique
from ropeline.jobs.background import end
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.brokers.redis_cron import RedisCronStore
from ropeline.jobs.cron.cron_jobs import CronJob
from ropeline.jobs.cron.definitions import Became
from ropeline.jobs.cron.scheduler import Scheduler
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.health import Health
from ropeline.lua.errors import ConfigurationError, StoreUnavailable
from tests.servers import Server
from tests.support import wait_until

MINUTE = 60_000
START = 1_800_000_000_000 // MINUTE * MINUTE
_stages = itertools.count(1)


@pytest.fixture
def stage() -> str:
    return f"scheduling-{next(_stages)}"


@asynccontextmanager
async def at_work(app: Jobs, **options: Any) -> AsyncIterator[Worker]:
    """A worker of the application that works while the context lasts, and drains at its end."""
    worker = Worker.of_app(app, **{"settings": WorkerSettings(concurrency=4), **options})
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await task
    finally:
        await end([task])


def app_of(line: str = "* * * * *", *, broker: Any = None, url: str = "", stage: str = "prod") -> Jobs:
    """An application with one cron job."""
    app = Jobs(url, stage=stage) if url else Jobs(broker=broker, queues=["low"])

    @app.cron(line)
    @app.task(name="report")
    async def report() -> None:
        return

    return app


async def defined(app: Jobs) -> dict[str, tuple[int, str]]:
    """Version and line of each cron job in the store."""
    state = await app.cron_store().read("default")
    return {row.name: (row.version, row.schedule) for row in state.stored or ()}


async def test_a_test_moves_the_clock_and_the_worker_runs_the_tick() -> None:
    clock = FakeClock(START)
    app = Jobs(broker=MemoryBroker(clock=clock))
    runs: list[tuple[str, str]] = []

    @app.cron("*/5 * * * *", timezone="Europe/Berlin")
    @app.task
    async def sweep(job: JobContext) -> None:
        runs.append((job.metadata["cron"], job.metadata["cron_tick"]))

    async with app:
        await app.define_cron_jobs()
        async with at_work(app) as worker:
            clock.advance(4 * MINUTE)
            await asyncio.sleep(0.05)
            assert runs == []
            clock.advance(2 * MINUTE)
            await wait_until(lambda: len(runs) == 1)
            clock.advance(60 * MINUTE)
            await wait_until(lambda: len(runs) == 2)
            assert worker.schedule_counts is not None
            assert (worker.schedule_counts.enqueued, worker.schedule_counts.missed) == (2, 11)
    assert runs == [(sweep.type, "2027-01-15T08:05:00Z"), (sweep.type, "2027-01-15T09:05:00Z")]


async def test_jobs_with_arguments_run_at_the_ticks_of_their_zone() -> None:
    clock = FakeClock(START)
    app = Jobs(broker=MemoryBroker(clock=clock))
    kinds: list[str] = []

    @app.task
    async def report(kind: str) -> None:
        kinds.append(kind)

    app.schedule("nightly", "0 3 * * *", report.build(kind="daily"), timezone="Europe/Berlin", missed=Missed.ALL)
    app.schedule(
        "weekly", "@weekly", report.using(priority=9).build("weekly"), missed=Missed.SKIP, late=timedelta(hours=1)
    )
    async with app:
        await app.define_cron_jobs()
        async with at_work(app):
            # From Friday to Monday: three nights, and a week that began too long ago.
            clock.advance(3 * 24 * 60 * MINUTE)
            await wait_until(lambda: len(kinds) == 3)
    assert kinds == ["daily"] * 3
    assert app.cron_jobs["weekly"].late == 3_600_000


@pytest.mark.parametrize("schedulers", [1, 3])
async def test_ticks_of_the_real_clock_are_one_job_each_however_many_workers_there_are(
    valkey: Server, stage: str, schedulers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a worker has defined it knows at once, and does not find at its next look.
    defaults = Scheduler.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "refresh", 3600.0)
    ticks: list[str] = []

    def program() -> Jobs:
        app = Jobs(valkey.url, stage=stage)

        @app.cron("@every 1s", missed=Missed.ALL)
        @app.task(name="tick")
        async def tick(job: JobContext) -> None:
            ticks.append(job.metadata["cron_tick"])

        return app

    apps = [program() for _ in range(schedulers)]
    async with AsyncExitStack() as ending:
        for app in apps:
            await ending.enter_async_context(app)
            await ending.enter_async_context(at_work(app))
        await wait_until(lambda: len(ticks) >= 3, timeout=10)
    assert len(set(ticks)) == len(ticks)


async def test_a_worker_enqueues_the_ticks_of_its_own_queues() -> None:
    clock = FakeClock(START)
    app = app_of(broker=MemoryBroker(clock=clock))
    app.schedule("other", "* * * * *", app.tasks["report"].using(queue_name="low").build())
    async with app:
        await app.define_cron_jobs()
        async with at_work(app, settings=WorkerSettings(queues={"low": 1})) as worker:
            clock.advance(MINUTE)
            await wait_until(lambda: worker.metrics.totals()["completed"] == 1)
        assert (await app.broker().depths("default")).counters["enqueued"] == 0


async def test_a_tick_is_passed_over_while_the_job_of_an_earlier_one_is_there() -> None:
    clock, may_go_on, runs = FakeClock(START), asyncio.Event(), 0
    app = Jobs(broker=MemoryBroker(clock=clock))

    @app.cron("* * * * *")
    @app.task(unique=Unique())
    async def sweep() -> None:
        nonlocal runs
        runs += 1
        await may_go_on.wait()

    async with app:
        await app.define_cron_jobs()
        async with at_work(app) as worker:
            for number in range(1, 4):
                clock.advance(MINUTE)
                await wait_until(partial(_has_seen, worker, number))
            assert runs == 1
            may_go_on.set()
            await wait_until(lambda: worker.metrics.totals()["completed"] == 1)
            clock.advance(MINUTE)
            await wait_until(lambda: runs == 2)
            assert worker.schedule_counts is not None
            assert worker.schedule_counts.held_back == 2


def _has_seen(worker: Worker, ticks: int) -> bool:
    counts = worker.schedule_counts
    return counts is not None and counts.enqueued + counts.held_back == ticks


async def test_an_unchanged_definition_changes_nothing(valkey: Server, stage: str) -> None:
    async with app_of(url=valkey.url, stage=stage) as first, app_of(url=valkey.url, stage=stage) as second:
        assert [each.became for each in await first.define_cron_jobs()] == [Became.NEW]
        state = await first.cron_store().read("default")
        assert [each.became for each in await second.define_cron_jobs()] == [Became.UNCHANGED]
        assert (await first.cron_store().read("default"))._replace(now=0) == state._replace(now=0)


@pytest.mark.parametrize("is_redis", [True, False])
async def test_two_deployments_side_by_side_do_not_undo_each_other(
    valkey: Server, stage: str, caplog: pytest.LogCaptureFixture, *, is_redis: bool
) -> None:
    """Workers of the earlier one that start once more leave what the later one has defined."""
    where: dict[str, Any] = {"url": valkey.url, "stage": stage} if is_redis else {"broker": MemoryBroker()}
    async with app_of("@hourly", **where) as old, app_of("@daily", **where) as new:
        await old.define_cron_jobs()
        assert (await new.define_cron_jobs())[0].became is Became.CHANGED
        for _ in range(3):
            assert (await old.define_cron_jobs())[0].became is Became.LEFT
            assert (await new.define_cron_jobs())[0].became is Became.UNCHANGED
        assert await defined(new) == {"report": (2, "UTC @daily")}
        assert "cron job report: the store has a later definition, which stays" in caplog.text
        # Going back is said.
        assert (await old.define_cron_jobs(may_go_back=True))[0].became is Became.CHANGED
        assert (await new.define_cron_jobs())[0].became is Became.LEFT
        assert await defined(new) == {"report": (3, "UTC @hourly")}


async def test_of_many_that_define_at_once_all_agree_in_the_end(valkey: Server, stage: str) -> None:
    apps = [app_of(f"{minute} * * * *", url=valkey.url, stage=stage) for minute in range(5)]
    results = await asyncio.gather(*(app.define_cron_jobs() for app in apps))
    assert sum(result[0].became is Became.NEW for result in results) == 1
    assert (await defined(apps[0]))["report"][0] == sum(
        result[0].became in (Became.NEW, Became.CHANGED) for result in results
    )
    for app in apps:
        await app.close()


async def test_what_a_newer_program_wrote_is_left(valkey: Server, stage: str) -> None:
    async with app_of(url=valkey.url, stage=stage) as app:
        await app.define_cron_jobs()
        store = app.cron_store()
        assert isinstance(store, RedisCronStore)
        scripts = store._of("default")
        await scripts.define(name="report", expected=-1, schedule="?", definition=b'{"version":99}\n')
        assert (await app.define_cron_jobs())[0].became is Became.LEFT
        assert (await app.define_cron_jobs(may_go_back=True))[0].became is Became.CHANGED


async def test_a_cron_job_that_moved_to_another_queue_is_told(
    valkey: Server, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_of(url=valkey.url, stage=stage) as app, Jobs(valkey.url, stage=stage, queue="low") as moved:

        @moved.cron("* * * * *", name="report")
        @moved.task
        async def report() -> None:
            return

        await app.define_cron_jobs()
        assert caplog.text == ""
        for _ in range(2):
            await moved.define_cron_jobs()
        said = "cron job report is new in queue low, and in queue default as well, where it goes on until it is removed"
        assert caplog.messages == [said]


async def test_cron_jobs_that_the_application_does_not_define_stay(valkey: Server, stage: str) -> None:
    async with app_of(url=valkey.url, stage=stage) as app, Jobs(valkey.url, stage=stage) as other:
        await app.define_cron_jobs()
        async with at_work(other):
            await wait_until(lambda: other.cron_store().queues())
        assert list(await defined(app)) == ["report"]


class SlowStart(MemoryBroker):
    """A broker whose cron store fails at first."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self.failures = 1
        store = self.cron_store()
        define = store.define

        async def fail(cron: CronJob, *, expected: int = -1) -> int:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("connection refused")
            return await define(cron, expected=expected)

        store.define = fail  # type: ignore[method-assign]  # what the server would do


async def test_definitions_wait_for_the_store_and_the_worker_works_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ropeline.jobs.cron.scheduling._RETRY", 0.05)
    app = app_of(broker=SlowStart(clock=FakeClock(START)))
    async with app, at_work(app) as worker:
        await wait_until(lambda: defined(app))
        assert worker.state == "running"
    assert "cron jobs of this application wait for the store: connection refused" in caplog.text


async def test_a_worker_without_a_scheduler_neither_defines_nor_fires() -> None:
    clock = FakeClock(START)
    app = app_of(broker=MemoryBroker(clock=clock))
    async with app, at_work(app, schedules=False) as worker:
        assert worker.schedule_counts is None
        assert await defined(app) == {}
        stats = await Health(worker).stats()
        assert b'"schedule": null' in stats.body
        assert b"ropeline_schedule" not in (await Health(worker).metrics()).body


async def test_what_the_scheduler_saw_is_told() -> None:
    clock = FakeClock(START)
    app = app_of(broker=MemoryBroker(clock=clock))
    async with app:
        await app.define_cron_jobs()
        async with at_work(app) as worker:
            clock.advance(3 * MINUTE)
            await wait_until(lambda: worker.schedule_counts is not None and worker.schedule_counts.enqueued == 1)
            text = (await Health(worker).metrics()).body.decode()
            assert 'ropeline_schedule_ticks_total{outcome="enqueued"} 1' in text
            assert 'ropeline_schedule_ticks_total{outcome="missed"} 2' in text
            assert "ropeline_schedule_in_future 0" in text
            assert b'"enqueued": 1, "existing": 0, "held_back": 0, "missed": 2' in (await Health(worker).stats()).body


async def test_a_tick_that_falls_behind_a_clock_set_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(START)
    app = app_of(broker=MemoryBroker(clock=clock))
    async with app:
        await app.define_cron_jobs()
        async with at_work(app) as worker:
            clock.advance(-60 * MINUTE)
            await wait_until(lambda: worker.schedule_counts is not None and worker.schedule_counts.in_future == 1)
            assert "ropeline_schedule_in_future 1" in (await Health(worker).metrics()).body.decode()
    assert "is later than the server's time" in caplog.text


def test_a_definition_is_the_same_in_every_process() -> None:
    first = app_of(broker=MemoryBroker()).cron_jobs["report"]
    app = Jobs(broker=MemoryBroker())
    app.clock = lambda: 4_000_000_000_000_000_000

    @app.task(name="report")
    async def report() -> None:
        return

    second = app.schedule("report", "* * * * *", report.build())
    assert first == second


def test_what_cannot_be_a_cron_job_is_refused_where_it_is_defined() -> None:
    app, other = Jobs(broker=MemoryBroker()), Jobs(broker=MemoryBroker())

    @app.task
    async def report(kind: str = "daily") -> None:
        return

    @other.task
    async def foreign(kind: str) -> None:
        return

    app.schedule("nightly", "@daily", report.build())
    with pytest.raises(ConfigurationError, match="name: got 'nightly', expected a name that no other"):
        app.schedule("nightly", "@weekly", report.build())
    with pytest.raises(ConfigurationError, match=r"draft: got .*foreign"):
        app.schedule("foreign", "@weekly", foreign.build("daily"))
    with pytest.raises(ConfigurationError, match="the line says when"):
        app.schedule("delayed", "@weekly", report.using(run_after=60).build())
    with pytest.raises(ConfigurationError, match="deadline"):
        app.schedule("short", "@weekly", report.using(deadline=60).build())
    with pytest.raises(ConfigurationError, match="cron minute: got '61'"):
        app.cron("61 * * * *")(report)
    with pytest.raises(ConfigurationError, match="late"):
        app.cron("@daily", late=0)(report)
    with pytest.raises(ConfigurationError, match=r"@app\.cron stands above @app\.task"):
        app.cron("@daily")(len)  # type: ignore[type-var]  # what a type checker refuses as well
    with pytest.raises(TypeError):
        other.cron("@daily")(foreign)  # type: ignore[type-var]  # as above
    assert list(app.cron_jobs) == ["nightly"]
    assert other.cron_jobs == {}


class Bare:
    """A broker that keeps neither cron jobs nor locks."""

    async def enqueue(self) -> None:
        return


async def test_a_broker_that_keeps_no_cron_jobs_is_refused_where_there_are_some() -> None:
    with pytest.raises(ConfigurationError, match="broker: got 'Bare', expected one that keeps cron jobs"):
        Worker.of_app(app_of(broker=Bare()))
    assert Worker.of_app(Jobs(broker=Bare())).schedule_counts is None  # type: ignore[arg-type]  # what a user's may lack
