"""Handlers run each in a context of its own and within their time, whether or not they ever wait."""

import asyncio
import contextvars
import threading
import time

import pytest

from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import JobState
from ropeline.jobs.worker import WorkerSettings
from ropeline.jobs.worker.run import Run
from tests.jobs.working import NamedHandlers, enqueue, working
from tests.support import wait_until


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def count(broker: MemoryBroker, state: JobState) -> int:
    return len(broker.queue("default").sets[state].ranks)


def counter(broker: MemoryBroker, name: str) -> int:
    return broker.queue("default").counters[name]


async def test_what_one_handler_sets_in_its_context_no_other_one_sees(broker: MemoryBroker) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    async def quick(run: Run) -> None:
        seen.append(variable.get())
        variable.set(1)

    async def slow(run: Run) -> None:
        seen.append(variable.get())
        variable.set(2)
        await asyncio.sleep(0)
        assert variable.get() == 2

    def threaded(run: Run) -> None:
        seen.append(variable.get())
        variable.set(3)

    for name in ("quick", "slow", "threaded"):
        await enqueue(broker, "default", name, 20)
    async with working(broker, NamedHandlers(quick=quick, slow=slow, threaded=threaded)):
        await wait_until(lambda: counter(broker, "completed") == 60)
    assert seen == [0] * 60


async def test_a_handler_that_waits_goes_on_in_the_task_it_began_in(broker: MemoryBroker) -> None:
    tasks: list[tuple[object, object]] = []

    async def handler(run: Run) -> None:
        before = asyncio.current_task()
        await asyncio.sleep(0.001)
        tasks.append((before, asyncio.current_task()))

    await enqueue(broker, "default", "handler", 50)
    async with working(broker, NamedHandlers(handler=handler)):
        await wait_until(lambda: counter(broker, "completed") == 50)
    assert all(before is after and before is not None for before, after in tasks)


async def test_a_limit_of_its_own_ends_what_a_handler_waits_for_and_nothing_else(broker: MemoryBroker) -> None:
    outcomes: list[str] = []

    async def handler(run: Run) -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            outcomes.append("timeout")
        await asyncio.sleep(0)
        outcomes.append("went on")

    await enqueue(broker, "default", "handler", 5)
    async with working(broker, NamedHandlers(handler=handler)):
        await wait_until(lambda: counter(broker, "completed") == 5)
    assert sorted(outcomes) == ["timeout"] * 5 + ["went on"] * 5


async def test_a_handler_that_cancels_itself_harms_no_other_one(broker: MemoryBroker) -> None:
    async def at_once(run: Run) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def waiting(run: Run) -> None:
        await at_once(run)
        await asyncio.sleep(60)

    async def plain(run: Run) -> None:
        await asyncio.sleep(0)

    for _ in range(5):
        for name in ("at_once", "waiting", "plain"):
            await enqueue(broker, "default", name)
    async with working(
        broker,
        NamedHandlers(at_once=at_once, waiting=waiting, plain=plain),
        WorkerSettings(queues={"default": 1}, concurrency=2),
    ):
        await wait_until(lambda: counter(broker, "completed") == 10)
        await wait_until(lambda: count(broker, JobState.DEAD) == 5)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), asyncio.CancelledError(), BaseExceptionGroup("", [ValueError()])]
)
@pytest.mark.parametrize("kind", ["at_once", "waiting", "threaded"])
async def test_whatever_a_handler_raises_is_the_end_of_its_run_alone(
    broker: MemoryBroker, error: BaseException, kind: str
) -> None:
    async def at_once(run: Run) -> None:
        raise error

    async def waiting(run: Run) -> None:
        await asyncio.sleep(0)
        raise error

    def threaded(run: Run) -> None:
        raise error

    async def fine(run: Run) -> None:
        return

    handlers = NamedHandlers(at_once=at_once, waiting=waiting, threaded=threaded, fine=fine)
    await enqueue(broker, "default", kind, 3)
    await enqueue(broker, "default", "fine", 3)
    async with working(broker, handlers):
        await wait_until(lambda: counter(broker, "dead") == 3 and counter(broker, "completed") == 3)


async def test_as_many_handlers_run_at_once_as_there_are_slots_and_never_more(broker: MemoryBroker) -> None:
    running = most = 0

    async def handler(run: Run) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    await enqueue(broker, "default", "handler", 200)
    async with working(broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=7)):
        await wait_until(lambda: counter(broker, "completed") == 200)
    assert most == 7


async def test_sync_handlers_run_in_as_many_threads_as_there_are_slots(broker: MemoryBroker) -> None:
    together = threading.Barrier(4, timeout=5)

    def handler(run: Run) -> None:
        together.wait()

    await enqueue(broker, "default", "handler", 12)
    async with working(broker, NamedHandlers(handler=handler), WorkerSettings(queues={"default": 1}, concurrency=4)):
        await wait_until(lambda: counter(broker, "completed") == 12)


async def test_an_async_handler_is_cancelled_at_its_timeout(broker: MemoryBroker) -> None:
    ended: list[str] = []

    async def handler(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    [job] = await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler, timeout=0.02)):
        await wait_until(lambda: count(broker, JobState.DEAD) == 1)
    view = await broker.find("default", job)
    assert view is not None
    assert view.error == "timeout"
    assert ended == ["cleaned up"]


async def test_a_handler_that_finishes_in_spite_of_its_timeout_has_finished(broker: MemoryBroker) -> None:
    async def handler(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    await enqueue(broker, "default", "handler")
    async with working(broker, NamedHandlers(handler=handler, timeout=0.02)):
        await wait_until(lambda: counter(broker, "completed") == 1)


@pytest.mark.parametrize("kind", ["stubborn", "threaded"])
async def test_a_hung_handler_ends_at_its_hard_end_and_keeps_its_slot(broker: MemoryBroker, kind: str) -> None:
    release = threading.Event()
    begun: list[Run] = []

    async def stubborn(run: Run) -> None:
        begun.append(run)
        while not release.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue

    def threaded(run: Run) -> None:
        begun.append(run)
        release.wait()

    async def other(run: Run) -> None:
        return

    handlers = NamedHandlers(stubborn=stubborn, threaded=threaded, other=other, timeout=0.02, grace=0.05)
    await enqueue(broker, "default", kind, 2)
    async with working(broker, handlers, WorkerSettings(queues={"default": 1}, concurrency=2)) as worker:
        await wait_until(lambda: count(broker, JobState.DEAD) == 2)
        assert all(run.is_lost for run in begun)
        assert worker.metrics.used == 2
        await enqueue(broker, "default", "other")
        await asyncio.sleep(0.05)
        assert counter(broker, "completed") == 0
        release.set()
        await wait_until(lambda: counter(broker, "completed") == 1)
        assert worker.metrics.used == 0
    assert counter(broker, "stale") == 0


async def test_handlers_that_never_wait_let_the_loop_have_its_turn(broker: MemoryBroker) -> None:
    turns = most = since = 0

    async def busy(run: Run) -> None:
        nonlocal since, most
        since += 1
        most = max(most, since)
        time.sleep(0.002)  # noqa: ASYNC251 - what it is about

    async def beat() -> None:
        nonlocal turns, since
        while True:
            turns, since = turns + 1, 0
            await asyncio.sleep(0)

    await enqueue(broker, "default", "busy", 100)
    beating = asyncio.create_task(beat())
    async with working(broker, NamedHandlers(busy=busy), WorkerSettings(queues={"default": 1}, concurrency=100)):
        await wait_until(lambda: counter(broker, "completed") == 100)
    beating.cancel()
    assert most <= 4, "of 2 ms each, in turns of 5 ms"
    assert turns >= 25
