"""A worker claims what it can run, waits without polling, looks after all queues, and ends in good order."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import Finish, FinishKind, JobState, StepReply
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.run import Run
from ropeline.lua.errors import ConfigurationError, StoreUnavailable
from tests.jobs.working import NamedHandlers, enqueue, new_jobs, working
from tests.support import wait_until


class CountingBroker(MemoryBroker):
    """Counts steps and waits, and fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.waits = 0
        self.is_gone = False

    async def step(self, queue: str, **rest: Any) -> StepReply:
        if self.is_gone:
            raise StoreUnavailable("gone")
        self.steps += 1
        return await super().step(queue, **rest)

    async def wait(self, queues: Sequence[str], seconds: float) -> None:
        if self.is_gone:
            raise StoreUnavailable("gone")
        self.waits += 1
        await super().wait(queues, seconds)


@pytest.fixture
def broker() -> CountingBroker:
    return CountingBroker()


def counters(broker: MemoryBroker, queue: str = "default") -> dict[str, int]:
    return broker.queue(queue).counters


async def nothing(run: Run) -> None:
    return


def settings(**changes: Any) -> WorkerSettings:
    return WorkerSettings(**{"queues": {"default": 1}, "concurrency": 4, "drain_timeout": 5, **changes})


async def test_an_idle_worker_waits_and_does_not_poll(broker: CountingBroker) -> None:
    async with working(broker, NamedHandlers(nothing=nothing), settings(queues={"one": 1, "two": 1})):
        await wait_until(lambda: broker.waits >= 2)
        steps = broker.steps
        await asyncio.sleep(0.3)
        assert broker.steps == steps
        assert broker.waits == 2


async def test_a_job_that_comes_to_an_idle_worker_runs_after_one_step(broker: CountingBroker) -> None:
    begun = asyncio.Event()

    async def handler(run: Run) -> None:
        begun.set()

    async with working(broker, NamedHandlers(handler=handler), settings()):
        await wait_until(lambda: broker.waits == 1)
        steps = broker.steps
        await enqueue(broker, "default", "handler")
        async with asyncio.timeout(1):
            await begun.wait()
        assert broker.steps == steps + 1


async def test_a_job_runs_when_it_is_due_and_not_only_at_the_next_look(broker: CountingBroker) -> None:
    ran_at = 0.0

    async def handler(run: Run) -> None:
        nonlocal ran_at
        ran_at = time.time()

    async with working(broker, NamedHandlers(handler=handler), settings()):
        await wait_until(lambda: broker.waits == 1)
        due = time.time() + 0.2
        await broker.enqueue("default", [job._replace(due=round(due * 1000)) for job in new_jobs("handler")])
        await wait_until(lambda: ran_at > 0)
    assert -0.001 <= ran_at - due < 1.0


async def test_nothing_is_claimed_from_a_paused_queue_until_it_is_resumed(broker: CountingBroker) -> None:
    await broker.pause("default", reason="maintenance")
    await enqueue(broker, "default", "nothing", 3)
    async with working(broker, NamedHandlers(nothing=nothing), settings()):
        await wait_until(lambda: broker.waits >= 1)
        steps = broker.steps
        await asyncio.sleep(0.1)
        assert broker.steps <= steps + 1
        assert counters(broker)["claimed"] == 0
        await broker.resume("default")
        await wait_until(lambda: counters(broker)["completed"] == 3)


async def test_a_draining_worker_lets_what_runs_finish_and_claims_nothing_more(broker: CountingBroker) -> None:
    going_on = asyncio.Event()

    async def handler(run: Run) -> None:
        await going_on.wait()

    await enqueue(broker, "default", "handler", 10)
    async with working(broker, NamedHandlers(handler=handler), settings()) as worker:
        await wait_until(lambda: len(worker.running) == 4)
        worker.drain()
        await wait_until(lambda: worker.state == "draining")
        going_on.set()
        await wait_until(lambda: worker.state == "ended")
    assert (counters(broker)["completed"], counters(broker)["claimed"], counters(broker)["released"]) == (4, 4, 0)


@pytest.mark.parametrize("kind", ["patient", "stubborn", "threaded", "failing"])
async def test_what_still_runs_at_the_deadline_is_handed_back_once_without_spending_an_attempt(
    broker: CountingBroker, kind: str
) -> None:
    """T36."""
    release = threading.Event()

    async def patient(run: Run) -> None:
        await asyncio.sleep(60)

    async def stubborn(run: Run) -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def failing(run: Run) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("in the middle of it") from None

    def threaded(run: Run) -> None:
        release.wait()

    handlers = NamedHandlers(patient=patient, stubborn=stubborn, failing=failing, threaded=threaded)
    ids = await enqueue(broker, "default", kind, 2)
    worker = Worker(broker, handlers, settings(drain_timeout=0.05), connect=lambda: broker)
    working = asyncio.create_task(worker.run())
    await wait_until(lambda: len(worker.running) == 2)
    worker.drain()
    if kind in ("stubborn", "threaded"):
        # What does not heed a cancellation is not waited for twice.
        await wait_until(lambda: worker.state == "draining")
        await asyncio.sleep(0.1)
        worker.drain()
    await asyncio.wait_for(working, 8)
    release.set()
    assert counters(broker)["released"] == 2
    assert counters(broker)["stale"] == counters(broker)["failed"] == counters(broker)["lost"] == 0
    for job in ids:
        view = await broker.find("default", job)
        assert view is not None
        assert (view.state, view.attempts, view.lost) == (JobState.PENDING, 0, 0)


async def test_a_second_word_ends_a_draining_worker_at_once(broker: CountingBroker) -> None:
    async def handler(run: Run) -> None:
        await asyncio.sleep(60)

    await enqueue(broker, "default", "handler", 4)
    async with working(broker, NamedHandlers(handler=handler), settings(drain_timeout=600)) as worker:
        await wait_until(lambda: len(worker.running) == 4)
        worker.drain()
        await wait_until(lambda: worker.state == "draining")
        worker.drain()
        await wait_until(lambda: worker.state == "ended", timeout=2)
    assert counters(broker)["released"] == 4


async def test_what_a_draining_worker_claimed_and_has_not_begun_is_handed_back(broker: CountingBroker) -> None:
    async def blocking(run: Run) -> None:
        worker.drain()

    await enqueue(broker, "default", "blocking")
    await enqueue(broker, "default", "nothing", 50)
    async with working(broker, NamedHandlers(blocking=blocking, nothing=nothing), settings(concurrency=20)) as worker:
        await wait_until(lambda: worker.state == "ended")
    assert counters(broker)["completed"] + counters(broker)["released"] == counters(broker)["claimed"]
    assert counters(broker)["released"] >= 9
    assert len(broker.queue("default").sets[JobState.PENDING].ranks) == 51 - counters(broker)["completed"]


async def test_a_worker_whose_store_is_gone_ends_all_the_same(broker: CountingBroker) -> None:
    await enqueue(broker, "default", "nothing", 4)
    worker = Worker(broker, NamedHandlers(nothing=nothing), settings(drain_timeout=0.1), connect=lambda: broker)
    broker.is_gone = True
    working = asyncio.create_task(worker.run())
    await wait_until(lambda: worker.metrics.step_failures > 0)
    worker.drain()
    worker.drain()
    await asyncio.wait_for(working, 5)
    assert worker.state == "ended"


async def test_a_quiet_worker_claims_nothing_more_and_goes_on_with_what_runs(broker: CountingBroker) -> None:
    going_on = asyncio.Event()

    async def handler(run: Run) -> None:
        await going_on.wait()

    await enqueue(broker, "default", "handler", 4)
    async with working(broker, NamedHandlers(handler=handler, nothing=nothing), settings()) as worker:
        await wait_until(lambda: len(worker.running) == 4)
        worker.quiet()
        await enqueue(broker, "default", "nothing", 3)
        going_on.set()
        await wait_until(lambda: counters(broker)["completed"] == 4)
        await asyncio.sleep(0.05)
        assert worker.state == "quiet"
        assert counters(broker)["claimed"] == 4


async def test_a_queue_without_workers_is_tended_too(broker: CountingBroker) -> None:
    await enqueue(broker, "forgotten", "nothing", 3)
    await broker.step("forgotten", worker=b"d" * 16, lane=0, call=1, claim=3, lease=1)
    await asyncio.sleep(0.005)
    async with working(broker, NamedHandlers(nothing=nothing), settings()):
        await wait_until(lambda: counters(broker, "forgotten")["lost"] == 3)


async def test_a_worker_that_knows_a_task_takes_up_what_was_parked_for_want_of_it(broker: CountingBroker) -> None:
    """T16."""
    ids = await enqueue(broker, "default", "nothing", 3)
    reply = await broker.step("default", worker=b"o" * 16, lane=0, call=1, claim=3)
    parked = [Finish(FinishKind.PARK, job, reply.claimed[0].fence, detail=b"nothing") for job in ids]
    await broker.step("default", worker=b"o" * 16, lane=0, call=2, finishes=parked)
    worker = Worker(
        broker, NamedHandlers(nothing=nothing), settings(), connect=lambda: broker, tasks=["other", "nothing"]
    )
    working = asyncio.create_task(worker.run())
    await wait_until(lambda: counters(broker)["completed"] == 3)
    worker.drain()
    await working


async def test_each_outcome_is_counted_exactly(broker: CountingBroker) -> None:
    async def fails(run: Run) -> None:
        raise ValueError

    def threaded(run: Run) -> None:
        return

    for name, many in (("nothing", 5), ("fails", 3), ("threaded", 2)):
        await enqueue(broker, "default", name, many)
    async with working(broker, NamedHandlers(nothing=nothing, fails=fails, threaded=threaded), settings()) as worker:
        await wait_until(lambda: counters(broker)["completed"] == 7 and counters(broker)["dead"] == 3)
        await wait_until(lambda: sum(worker.metrics.totals().values()) == 10)
    metrics = worker.metrics
    assert metrics.of_task("default", "nothing").finished == [5, 0, 0, 0, 0, 0, 0, 0]
    assert metrics.of_task("default", "fails").finished == [0, 0, 0, 0, 3, 0, 0, 0]
    assert sum(metrics.of_task("default", "threaded").run_seconds.counts) == 2
    assert sum(metrics.of_queue("default").counts) == 10
    assert metrics.used == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("drain_timeout", -1),
        ("lease", 0),
        ("lease", float("nan")),
        ("longest_run", 0),
        ("max_lost", 0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}: got"):
        settings(**{field: value})
