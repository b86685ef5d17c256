"""Tasks with a limit: whose jobs share a key, and that workers run no more of them, and begin them no faster, than it says."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from ropeline.jobs import Concurrency, Jobs, JobState
from ropeline.jobs.background import end
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.options import CallOptions
from ropeline.jobs.records import Limit
from ropeline.jobs.task import Task
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import BROKERS
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture(params=BROKERS)
async def app(request: pytest.FixtureRequest, tenant_name: str) -> AsyncIterator[Jobs]:
    """An application on every broker in turn."""
    server = request.getfixturevalue("valkey") if request.param == "redis" else None
    kept = Jobs(server.url, namespace=tenant_name) if isinstance(server, Server) else Jobs(broker=MemoryBroker())
    async with kept:
        yield kept


@asynccontextmanager
async def working(app: Jobs) -> AsyncIterator[None]:
    worker = Worker.of_app(app, WorkerSettings(concurrency=20, drain_timeout=5))
    task = asyncio.create_task(worker.run())
    try:
        yield
        worker.drain()
        await task
    finally:
        await end([task])


def limit_of(task: Task[..., Any], *args: Any, **kwargs: Any) -> Limit:
    limit = task.build(*args, **kwargs).job.limit
    assert limit is not None
    return limit


class Watch:
    """Counts who is inside at once, by key."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[float] = []
        self.ended = 0
        self.may_end = asyncio.Event()

    async def visit(self, key: str) -> None:
        self.began.append(time.monotonic())
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        await self.may_end.wait()
        self.inside[key] -= 1
        self.ended += 1


async def test_of_each_key_no_more_run_at_once_than_the_limit_says(app: Jobs) -> None:
    watch = Watch()

    @app.task(limit=Concurrency(by=("tenant",), most=2))
    async def work(tenant: str, order: int) -> None:
        await watch.visit(tenant)

    for order in range(6):
        await work.enqueue("acme", order)
        await work.enqueue("globex", order)
    free = await work.using(limit=None).enqueue("acme", 7)
    assert (await app.broker().depths("default")).held == 8
    async with working(app):
        await wait_until(lambda: watch.inside.total() == 5)
        assert watch.most == {"acme": 3, "globex": 2}, "one of them has no limit"
        watch.may_end.set()
        await wait_until(lambda: watch.ended == 13)
        assert await free.wait(5) in {JobState.COMPLETED, None}
    assert watch.most["globex"] == 2


async def test_no_more_begin_in_a_time_than_the_limit_says(app: Jobs) -> None:
    watch = Watch()
    watch.may_end.set()

    @app.task(limit=Concurrency(rate=2, per=0.4))
    async def work() -> None:
        await watch.visit("all")

    async with working(app):
        for _ in range(4):
            await work.enqueue()
        await wait_until(lambda: watch.ended == 4)
    distances = [began - watch.began[0] for began in watch.began]
    assert distances[2] >= 0.15
    assert distances[3] >= 0.35


async def test_a_held_job_says_so_and_may_be_cancelled(app: Jobs) -> None:
    @app.task(limit=Concurrency(most=1))
    async def work() -> None: ...

    first, second = await work.enqueue(), await work.enqueue()
    assert (await first.status(), await second.status()) == (JobState.PENDING, JobState.HELD)
    assert await second.cancel() is JobState.CANCELLED


async def test_a_call_may_have_another_limit_than_its_task(app: Jobs) -> None:
    @app.task(limit=Concurrency(most=1))
    async def work() -> None: ...

    assert [limit_of(work).most, limit_of(work.using(limit=Concurrency(most=2))).most] == [1, 2]
    assert limit_of(work).key == limit_of(work.using(limit=Concurrency(most=2))).key
    assert work.using(limit=None).build().job.limit is None
    assert limit_of(work.using(limit=None).using(limit=Concurrency())).most == 0


# Keys


@pytest.fixture
def plain() -> Jobs:
    return Jobs("memory://")


def test_the_arguments_that_are_named_are_the_key_within_their_task(plain: Jobs) -> None:
    by_tenant = Concurrency(by=("tenant",), most=1)
    one, other = (plain.task(name=name, limit=by_tenant)(lambda tenant, order=0: None) for name in ("one", "other"))
    assert limit_of(one, "acme", 1) == limit_of(one, order=2, tenant="acme")
    keys = {limit_of(one, "acme").key, limit_of(one, "globex").key, limit_of(other, "acme").key}
    assert len(keys) == 3


def test_without_names_all_jobs_of_a_task_have_one_key(plain: Jobs) -> None:
    one, other = (plain.task(name=name, limit=Concurrency(most=1))(lambda order: None) for name in ("one", "other"))
    assert limit_of(one, 1) == limit_of(one, 2)
    assert limit_of(one, 1).key != limit_of(other, 1).key


def test_a_key_of_ones_own_is_shared_by_all_tasks_that_give_it(plain: Jobs) -> None:
    def given(name: str, key: Any) -> Limit:
        def work(tenant: str) -> None: ...

        return limit_of(plain.task(name=name, limit=Concurrency(key=key))(work), "acme")

    assert given("one", "acme") == given("two", lambda tenant: tenant) == given("three", lambda _: b"acme")
    assert given("four", "globex") != given("five", "acme")


def test_the_terms_reach_the_store_in_its_units(plain: Jobs) -> None:
    task = plain.task(limit=Concurrency(most=3, rate=100, per=timedelta(minutes=1), weight=7))(lambda: None)
    assert limit_of(task)[1:] == (3, 100, 60_000, 7)
    assert limit_of(task.using(limit=Concurrency(most=3)))[1:] == (3, 0, 0, 1)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"by": "tenant"}, "limit.by"),
        ({"by": (1,)}, "limit.by"),
        ({"by": None}, "limit.by"),
        ({"by": ("tenant",), "key": str}, "limit.key"),
        ({"by": ("tenant",), "key": "acme"}, "limit.key"),
        ({"key": 5}, "limit.key"),
        ({"key": ""}, "limit.key"),
        ({"key": "x" * 1025}, "limit.key"),
        ({"most": 0}, "limit.most"),
        ({"most": 65_536}, "limit.most"),
        ({"most": 1.0}, "limit.most"),
        ({"most": True}, "limit.most"),
        ({"rate": 0}, "limit.rate"),
        ({"rate": 65_536}, "limit.rate"),
        ({"rate": 1, "per": 0}, "limit.per"),
        ({"rate": 1, "per": timedelta(days=50)}, "limit.per"),
        ({"per": "60"}, "limit.per"),
        ({"weight": 0}, "limit.weight"),
        ({"weight": 101}, "limit.weight"),
        ({"weight": None}, "limit.weight"),
    ],
)
def test_a_limit_without_sense_is_refused_by_its_field(given: Any, field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Concurrency(**given)
    assert refused.value.field == field


def test_what_is_no_limit_and_names_of_no_argument_are_refused(plain: Jobs) -> None:
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match=r"limit: got 3, expected Concurrency\(...\), or None"):
        plain.task(limit=wrong)(lambda: None)
    with pytest.raises(ConfigurationError, match=r"limit: got 3, expected Concurrency"):
        CallOptions().using(limit=wrong)
    with pytest.raises(ConfigurationError, match=r"limit.by: got 'tenat', expected a parameter of work: tenant"):
        plain.task(name="work", limit=Concurrency(by=("tenat",)))(lambda tenant: None)
    task = plain.task(name="work")(lambda tenant: None)
    with pytest.raises(ConfigurationError, match=r"limit.by: got 'tenat'"):
        task.using(limit=Concurrency(by=("tenat",)))


@pytest.mark.parametrize("key", [None, "", 5, "x" * 1025])
def test_a_function_that_returns_no_key_refuses_the_job(plain: Jobs, key: Any) -> None:
    task = plain.task(name="work", limit=Concurrency(key=lambda: key))(lambda: None)
    with pytest.raises(ConfigurationError, match=r"work: limit.key: got"):
        task.build()
