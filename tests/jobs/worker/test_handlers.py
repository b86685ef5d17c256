"""What the end of a run means for its job: done, again and when, a dead letter, parked or cancelled."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from ropeline.jobs.app import Jobs
from ropeline.jobs.background import end
from ropeline.jobs.backoff import Fixed
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.context import JobContext, current_job
from ropeline.jobs.errors import Cancelled, Discard, Retry, Snooze
from ropeline.jobs.handle import JobHandle
from ropeline.jobs.records import JobState, JobView, NewJob
from ropeline.jobs.shapes.split import Split
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.handlers import LARGEST_ERROR, LARGEST_RESULT, TaskHandlers, error_text
from ropeline.lua.errors import ConfigurationError
from tests.support import wait_until

SETTINGS = WorkerSettings(concurrency=8, drain_timeout=5)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def app(broker: MemoryBroker) -> Jobs:
    return Jobs(broker=broker)


@asynccontextmanager
async def working(app: Jobs, settings: WorkerSettings = SETTINGS, **options: Any) -> AsyncIterator[Worker]:
    worker = Worker.of_app(app, settings, **options)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await task
    finally:
        await end([task])


async def ended(handle: JobHandle[Any], state: JobState) -> JobView:
    """Wait until the job is in a state, and return it as it stands."""

    async def look() -> list[JobView]:
        view = await handle._find()
        return [view] if view is not None and view.state is state else []

    return (await wait_until(look))[0]


@pytest.mark.parametrize("kind", ["asynchronous", "threaded"])
async def test_a_handler_gets_its_arguments_and_its_job_and_its_result_is_kept(app: Jobs, kind: str) -> None:
    seen: list[JobContext] = []

    @app.task(name="asynchronous", result_ttl=60)
    async def asynchronous(job: JobContext, number: int, word: str = "none") -> str:
        seen.append(job)
        assert current_job() is job
        await asyncio.sleep(0)
        assert current_job() is job
        return f"{number} {word}"

    @app.task(name="threaded", result_ttl=60)
    def threaded(job: JobContext, number: int, word: str = "none") -> str:
        seen.append(job)
        assert current_job() is job
        return f"{number} {word}"

    task = {"asynchronous": asynchronous, "threaded": threaded}[kind]
    async with working(app):
        handle = await task.using(metadata={"client": "acme"}).enqueue(7, word="seven")
        assert await handle.result(5) == "7 seven"
    assert (seen[0].id, seen[0].task, seen[0].queue, seen[0].attempt) == (handle.id, kind, "default", 1)
    assert seen[0].metadata == {"client": "acme"}
    assert current_job() is None


async def test_a_handler_that_fails_n_minus_1_times_runs_n_times_at_the_planned_delays(
    app: Jobs, broker: MemoryBroker
) -> None:
    times: list[float] = []
    attempts: list[int] = []

    @app.task(max_attempts=4, backoff=lambda attempt, error, job: 0.05 * attempt, result_ttl=60)
    async def flaky(job: JobContext) -> int:
        times.append(time.monotonic())
        attempts.append(job.attempt)
        if len(times) < 4:
            raise ConnectionError("not yet")
        return len(times)

    async with working(app) as worker:
        assert await (await flaky.enqueue()).result(10) == 4
        await wait_until(lambda: worker.metrics.totals()["completed"] == 1)
        assert worker.metrics.totals()["retried"] == 3
    assert attempts == [1, 2, 3, 4]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # The store counts whole ms, from the one in which it heard of the failure.
    assert all(gap >= 0.05 * number - 0.001 for number, gap in enumerate(gaps, 1)), gaps
    assert broker.queue("default").counters["failed"] == 3


async def test_after_the_last_attempt_a_job_is_a_dead_letter_that_says_why(app: Jobs) -> None:
    runs = 0

    @app.task(max_attempts=3, backoff=Fixed(0))
    async def failing() -> None:
        nonlocal runs
        runs += 1
        raise ValueError(f"number {runs}")

    async with working(app):
        view = await ended(await failing.enqueue(), JobState.DEAD)
    assert (view.reason, view.attempts, runs) == ("attempts", 3, 3)
    assert view.error.startswith("ValueError: number 3\n")
    assert "test_handlers.py" in view.error
    assert "failing" in view.error


async def test_each_exception_means_what_its_task_says(app: Jobs) -> None:
    @app.task(backoff=Fixed(60), retry_on=(ConnectionError, OSError), give_up_on=FileNotFoundError)
    async def choosy(error: str) -> None:
        raise {"retried": ConnectionError, "given up": FileNotFoundError, "not named": ValueError}[error]("no")

    async with working(app):
        retried, given_up, not_named = [await choosy.enqueue(word) for word in ("retried", "given up", "not named")]
        assert (await ended(retried, JobState.RETRY)).attempts == 1
        assert (await ended(given_up, JobState.DEAD)).reason == "discarded"
        assert (await ended(not_named, JobState.DEAD)).reason == "discarded"


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError("from within")])
async def test_what_is_no_exception_is_a_failure_like_any_other(app: Jobs, error: BaseException) -> None:
    @app.task(backoff=Fixed(60))
    async def odd() -> None:
        raise error

    async with working(app):
        view = await ended(await odd.enqueue(), JobState.RETRY)
    assert view.error.startswith(type(error).__name__)


async def test_a_handler_says_how_its_run_ends(app: Jobs, broker: MemoryBroker) -> None:
    @app.task(backoff=Fixed(0))
    async def speaking(word: str) -> None:
        raise {
            "retry": Retry("later", after=60),
            "snooze": Snooze(60),
            "discard": Discard("useless"),
            "cancelled": Cancelled(),
            "nonsense": Retry(after=-1),
        }[word]

    async with working(app):
        handles = {word: await speaking.enqueue(word) for word in ("retry", "snooze", "discard", "cancelled")}
        retried = await ended(handles["retry"], JobState.RETRY)
        snoozed = await ended(handles["snooze"], JobState.SCHEDULED)
        discarded = await ended(handles["discard"], JobState.DEAD)
        await ended(handles["cancelled"], JobState.CANCELLED)
        nonsense = await ended(await speaking.using(max_attempts=1).enqueue("nonsense"), JobState.DEAD)
    now = time.time() * 1000
    assert (retried.attempts, retried.error) == (1, "later")
    assert abs(retried.at - now - 60_000) < 5000
    assert snoozed.attempts == 0
    assert (discarded.reason, discarded.error) == ("discarded", "useless")
    assert nonsense.error.startswith("ConfigurationError: after: got -1")


async def test_a_run_that_takes_too_long_is_tried_again(app: Jobs) -> None:
    @app.task(timeout=0.02, backoff=Fixed(60))
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.task(timeout=60, backoff=Fixed(60))
    async def patient() -> None:
        await asyncio.sleep(60)

    async with working(app):
        by_task = await ended(await slow.enqueue(), JobState.RETRY)
        by_job = await ended(await patient.using(timeout=0.02).enqueue(), JobState.RETRY)
    assert (by_task.error, by_job.error) == ("timeout", "timeout")


async def test_a_job_past_its_deadline_is_not_run(app: Jobs) -> None:
    runs = 0

    @app.task
    async def counted() -> None:
        nonlocal runs
        runs += 1

    handle = await counted.using(deadline=0.001).enqueue()
    await asyncio.sleep(0.005)
    async with working(app):
        assert (await ended(handle, JobState.DEAD)).reason == "deadline"
    assert runs == 0


@pytest.mark.parametrize(
    ("policy", "state"), [("park", JobState.PARKED), ("retry", JobState.RETRY), ("dead", JobState.DEAD)]
)
async def test_an_unknown_task_type_is_dealt_with_by_policy(
    app: Jobs, broker: MemoryBroker, policy: str, state: JobState
) -> None:
    """T16."""
    newer = Jobs(broker=broker)

    @newer.task(name="new:task")
    async def new() -> None:
        return

    handle = await new.enqueue()
    async with working(app, unknown=policy) as worker:
        view = await ended(handle, state)
        await wait_until(lambda: sum(worker.metrics.totals().values()) == 1)
        assert ("default", "new:task") not in worker.metrics._tasks
    if state is JobState.DEAD:
        assert view.reason == "unknown"
    if state is JobState.PARKED:
        async with working(newer):
            await wait_until(lambda: broker.queue("default").counters["completed"] == 1)


async def test_a_body_that_cannot_be_read_stops_nothing(app: Jobs, broker: MemoryBroker) -> None:
    """T3."""

    @app.task(name="fine")
    async def fine(number: int) -> None:
        return

    good = await fine.build(1).task.enqueue(1)
    garbage = {
        b"1" * 16: b"",
        b"2" * 16: b"\xff\x00garbage",
        b"3" * 16: fine.build(1).job.body[:-3],
        b"4" * 16: fine.build(1).job.body.replace(b"number", b"others"),
        b"5" * 16: fine.build(1).job.body.replace(b":1}", b":{}"),
    }
    await broker.enqueue("default", [NewJob(id_, body) for id_, body in garbage.items()])
    other = await fine.enqueue(2)
    async with working(app):
        await wait_until(lambda: broker.queue("default").counters["completed"] == 2)
        for id_ in garbage:
            assert (await ended(app.job("default", id_), JobState.DEAD)).reason == "undecodable"
    assert await good.status() is await other.status() is None


async def test_a_job_that_lost_its_leases_too_often_for_its_task_is_not_run_again(
    app: Jobs, broker: MemoryBroker
) -> None:
    """T15."""

    @app.task(max_lost=1)
    async def deadly() -> None:
        raise AssertionError

    @app.task(max_lost=5)
    async def other() -> None:
        return

    handle = await deadly.enqueue()
    await broker.step("default", worker=b"d" * 16, lane=0, call=1, claim=1, lease=1, max_lost=5)
    await asyncio.sleep(0.005)
    async with working(app):
        assert (await ended(handle, JobState.DEAD)).reason == "poison"


async def test_a_result_that_cannot_be_kept_is_told_to_whoever_waits_for_it(app: Jobs) -> None:
    @app.task(result_ttl=60)
    async def wrong() -> int:
        return "text"  # type: ignore[return-value]

    @app.task(result_ttl=60)
    async def large() -> str:
        return "x" * (LARGEST_RESULT + 1)

    async with working(app):
        assert (await ended(await wrong.enqueue(), JobState.DEAD)).reason == "result"
        view = await ended(await large.enqueue(), JobState.DEAD)
    assert "at most 262,144 are kept" in view.error


async def test_many_large_results_travel_in_several_calls(app: Jobs, broker: MemoryBroker) -> None:
    @app.task(result_ttl=60)
    async def large() -> str:
        return "x" * (LARGEST_RESULT // 2)

    sizes: list[int] = []
    step = broker.step

    async def watched(queue: str, **options: Any) -> Any:
        sizes.append(sum(len(finish.result) for finish in options.get("finishes", ())))
        return await step(queue, **options)

    broker.step = watched  # type: ignore[method-assign]
    for _ in range(20):
        await large.enqueue()
    async with working(app, WorkerSettings(concurrency=40)):
        await wait_until(lambda: broker.queue("default").counters["completed"] == 20)
    assert max(sizes) < 1024 * 1024
    assert sum(sizes) > 20 * LARGEST_RESULT // 2


async def test_ends_that_hand_over_many_jobs_travel_in_several_calls(app: Jobs, broker: MemoryBroker) -> None:
    @app.task
    async def part(number: int) -> None: ...

    @app.task
    async def whole() -> Split[Any]:
        return Split([part.build(number) for number in range(9)])

    handed: list[int] = []
    step = broker.step

    async def watched(queue: str, **options: Any) -> Any:
        splits = [finish.split.total for finish in options.get("finishes", ()) if finish.split is not None]
        handed.append(len(splits) + sum(splits))
        return await step(queue, **options)

    broker.step = watched  # type: ignore[method-assign]
    await app.enqueue_many(whole.build() for _ in range(60))
    async with working(app, WorkerSettings(concurrency=128)):
        await wait_until(lambda: broker.queue("default").counters["completed"] == 60 * 10)
    assert sum(handed) == 60 * 10
    assert max(handed) <= 96


async def test_a_back_off_that_fails_does_not_lose_the_job(app: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    def broken(attempt: int, error: BaseException, job: JobContext) -> float:
        raise ZeroDivisionError

    @app.task(backoff=broken, max_attempts=2)
    async def failing() -> None:
        raise ValueError

    async with working(app):
        await ended(await failing.enqueue(), JobState.DEAD)
    assert "its back-off failed" in caplog.text


async def test_a_handler_may_enqueue_through_the_connections_of_its_worker(app: Jobs, broker: MemoryBroker) -> None:
    @app.task
    async def second() -> None:
        return

    @app.task
    async def first() -> None:
        await second.enqueue()

    @app.task
    def threaded() -> None:
        second.enqueue_sync()

    await first.enqueue()
    await threaded.enqueue()
    async with working(app):
        await wait_until(lambda: broker.queue("default").counters["completed"] == 4)
    app.close_sync()


def test_the_text_of_an_error_is_at_most_a_kilobyte_and_begins_with_its_message() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("ä" * 2000)

    with pytest.raises(ValueError, match="ä") as caught:
        deep(30)
    text = error_text(caught.value)
    assert text.startswith("ValueError: ä")
    assert text.count(" < ") == 3
    assert len(text.encode()) <= LARGEST_ERROR


def test_an_error_whose_message_cannot_be_made_is_shown_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Broken()) == "Broken: (its message cannot be shown)"


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown: got 'drop'"):
        TaskHandlers({}, unknown="drop")  # type: ignore[arg-type]
