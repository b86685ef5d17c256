"""Tests of applications: their jobs are in memory for as long as a test wants, and what is due runs until nothing is."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ropeline.jobs import (
    PREVIOUS,
    Discard,
    JobContext,
    JobError,
    JobFailed,
    Jobs,
    JobState,
    Missed,
    Retry,
    Snooze,
    Split,
    Unique,
    chain,
)
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.ids import new_id
from ropeline.jobs.records import NewJob
from ropeline.jobs.testing import InMemory, run_jobs, run_jobs_sync
from ropeline.jobs.tracing import Tracing
from ropeline.lua.errors import ConfigurationError
from tests.support import wait_until

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def in_memory() -> Iterator[InMemory]:
    with InMemory() as in_memory:
        yield in_memory


@pytest.fixture
def app(in_memory: InMemory) -> Jobs:
    """An application whose store is out of reach, as a test finds it."""
    return in_memory(Jobs(NOWHERE, queues=["mail"]))


async def test_what_is_due_runs_and_each_run_is_told(app: Jobs) -> None:
    @app.task(name="double", result_ttl=60)
    async def double(number: int) -> int:
        return 2 * number

    @app.task(name="halve", queue="mail", result_ttl=60)
    def halve(number: int) -> int:
        return number // 2

    assert await run_jobs(app) == []
    first, second = await double.enqueue(4), await halve.enqueue(4)
    runs = await run_jobs(app)
    assert sorted((run.task, run.queue, run.id, run.attempt, run.outcome) for run in runs) == [
        ("double", "default", first.id, 1, "completed"),
        ("halve", "mail", second.id, 1, "completed"),
    ]
    assert (await first.result(0), await second.result(0)) == (8, 2)
    assert await run_jobs(app) == []


async def test_hundreds_of_jobs_and_what_they_enqueue_run_once_each(app: Jobs) -> None:
    done: list[int] = []

    @app.task
    async def leaf(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    @app.task
    def branch(number: int) -> None:
        leaf.enqueue_sync(number)

    await app.enqueue_many(branch.build(number) for number in range(300))
    assert len(await run_jobs(app)) == 600
    assert sorted(done) == list(range(300))


async def test_a_failed_job_runs_again_when_the_clock_has_been_moved_on(app: Jobs, in_memory: InMemory) -> None:
    @app.task(max_attempts=3, backoff=timedelta(minutes=1))
    async def flaky(job: JobContext) -> None:
        if job.attempt < 3:
            raise OSError(f"attempt {job.attempt}")

    handle = await flaky.enqueue()
    (first,) = await run_jobs(app, check=False)
    assert (first.outcome, str(first.error)) == ("retried", "attempt 1")
    assert first.reason.startswith("OSError: attempt 1")
    assert await run_jobs(app) == []
    in_memory.clock.advance(timedelta(seconds=59))
    assert await run_jobs(app) == []
    in_memory.clock.advance(timedelta(seconds=1))
    assert [run.attempt for run in await run_jobs(app, check=False)] == [2]
    in_memory.clock.advance(60_000)
    assert [(run.attempt, run.outcome) for run in await run_jobs(app)] == [(3, "completed")]
    assert await handle.status() is None


async def test_what_a_handler_raises_reaches_the_test(app: Jobs) -> None:
    @app.task(name="work")
    async def work() -> None:
        raise ZeroDivisionError("by nothing")

    handle = await work.enqueue()
    await work.enqueue()
    with pytest.raises(ZeroDivisionError, match="by nothing") as caught:
        await run_jobs(app)
    assert caught.value.__notes__ == [
        f"job {handle.id} of work, attempt 1, raised this, and so did 1 more runs; run_jobs(app, check=False) leaves it at that"
    ]


@pytest.mark.parametrize(
    ("word", "outcome"),
    [(Retry("later", after=5), "retried"), (Snooze(5), "snoozed"), (Discard("of no use"), "dead")],
)
async def test_a_word_about_how_to_go_on_is_no_failure(app: Jobs, word: Exception, outcome: str) -> None:
    @app.task
    async def work() -> None:
        raise word

    await work.enqueue()
    assert [run.outcome for run in await run_jobs(app)] == [outcome]


async def test_a_job_that_cannot_be_run_reaches_the_test(app: Jobs) -> None:
    await app.broker().enqueue("default", [NewJob(new_id(), b"no job of ours")])
    with pytest.raises(JobError, match="could not be run: undecodable: body: got version 110"):
        await run_jobs(app)


async def test_a_handler_that_takes_too_long_reaches_the_test(app: Jobs) -> None:
    @app.task(timeout=0.05)
    async def work() -> None:
        await asyncio.Event().wait()

    await work.enqueue()
    with pytest.raises(TimeoutError):
        await run_jobs(app)


async def test_delays_and_moments_are_those_of_the_clock(app: Jobs, in_memory: InMemory) -> None:
    @app.task(name="work")
    async def work() -> None: ...

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await work.using(run_after=timedelta(hours=1)).enqueue()
    await work.using(run_after=tomorrow).enqueue()
    assert await run_jobs(app) == []
    in_memory.clock.advance(timedelta(hours=1))
    assert len(await run_jobs(app)) == 1
    in_memory.clock.advance(timedelta(hours=23, minutes=1))
    assert len(await run_jobs(app)) == 1


async def test_a_deadline_counts_from_where_the_clock_stands(app: Jobs, in_memory: InMemory) -> None:
    @app.task(deadline=60)
    async def work() -> None: ...

    in_memory.clock.advance(timedelta(days=300))
    await work.enqueue()
    assert [run.outcome for run in await run_jobs(app)] == ["completed"]
    await work.enqueue()
    in_memory.clock.advance(timedelta(seconds=61))
    with pytest.raises(JobError, match="deadline: claimed after its deadline"):
        await run_jobs(app)


async def test_ticks_are_due_from_the_moment_at_which_the_jobs_came_into_memory(in_memory: InMemory) -> None:
    app = Jobs(NOWHERE)
    ticks: list[str] = []

    @app.cron("@every 1h", missed=Missed.ALL)
    @app.task
    async def sweep(job: JobContext) -> None:
        ticks.append(job.metadata["cron_tick"])

    in_memory(app)
    in_memory.clock.advance(timedelta(hours=3))
    await run_jobs(app)
    assert len(ticks) == len(set(ticks)) == 3
    assert await run_jobs(app) == []
    in_memory.clock.advance(timedelta(hours=1))
    assert len(await run_jobs(app)) == 1


async def test_chains_and_splits_run_to_their_end(app: Jobs) -> None:
    @app.task(queue="mail")
    async def count(text: str) -> int:
        return len(text)

    @app.task
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task
    async def split() -> Split[int]:
        return Split([count.build("a" * number) for number in range(40)], add.build(PREVIOUS))

    @app.task(result_ttl=60)
    async def told(total: int) -> str:
        return f"{total} letters"

    handle = await app.enqueue(chain(split.build(), told.build(PREVIOUS)))
    assert len(await run_jobs(app)) == 43
    assert await handle.result(0) == f"{sum(range(40))} letters"


async def test_a_handler_may_wait_for_a_job_that_it_enqueues(app: Jobs) -> None:
    @app.task(result_ttl=60)
    async def inner() -> int:
        return 7

    @app.task(result_ttl=60)
    async def outer() -> int:
        return await (await inner.enqueue()).result(30)

    handle = await outer.enqueue()
    assert len(await run_jobs(app)) == 2
    assert await handle.result(0) == 7


async def test_a_handler_that_runs_is_told_of_a_cancel_and_of_a_stop(app: Jobs) -> None:
    begun = asyncio.Event()
    stopped = asyncio.Event()

    @app.task
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.task
    async def heeding(job: JobContext) -> None:
        await wait_until(lambda: job.stopped)
        stopped.set()

    handle, other = await endless.enqueue(), await heeding.enqueue()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run_jobs(app))
        await begun.wait()
        await handle.cancel()
        await other.stop()
    assert sorted(run.outcome for run in running.result()) == ["cancelled", "completed"]
    assert stopped.is_set()


async def test_a_clock_that_is_moved_while_a_handler_runs_takes_no_job_away(app: Jobs, in_memory: InMemory) -> None:
    is_late = asyncio.Event()

    @app.task
    async def move_on(days: int) -> None:
        in_memory.clock.advance(timedelta(days=1))
        if days:
            await move_on.enqueue(days - 1)
        else:
            is_late.set()

    @app.task
    async def work(job: JobContext) -> None:
        await is_late.wait()
        assert not job.lost

    await work.enqueue()
    await move_on.enqueue(20)
    assert [run.outcome for run in await run_jobs(app)] == ["completed"] * 22


async def test_locks_and_unique_keys_are_those_of_the_test(app: Jobs) -> None:
    @app.task(unique=Unique())
    async def work(job: JobContext) -> None:
        async with job.lock("the plan"):
            pass

    assert (await work.enqueue()).is_new
    assert not (await work.enqueue()).is_new
    assert len(await run_jobs(app)) == 1
    assert (await work.enqueue()).is_new


async def test_a_job_that_enqueues_itself_without_end_ends_the_test(app: Jobs) -> None:
    @app.task
    async def again() -> None:
        await again.enqueue()

    await again.enqueue()
    with pytest.raises(RuntimeError, match="50 jobs were run, and more are due: does a job enqueue itself without end"):
        await run_jobs(app, most=50)


def test_a_test_without_an_event_loop_runs_jobs_too(app: Jobs) -> None:
    seen: list[str] = []

    @app.task
    async def in_loop() -> None:
        seen.append("async")

    @app.task
    def in_thread() -> None:
        seen.append("sync")

    in_loop.enqueue_sync()
    in_thread.enqueue_sync()
    assert len(run_jobs_sync(app)) == 2
    assert sorted(seen) == ["async", "sync"]
    assert run_jobs_sync(app) == []


async def test_the_call_that_would_block_an_event_loop_names_the_other_one(app: Jobs) -> None:
    with pytest.raises(RuntimeError, match="use await run_jobs"):
        run_jobs_sync(app)


async def test_jobs_of_a_real_store_are_left_alone() -> None:
    app = Jobs(NOWHERE)
    with pytest.raises(ConfigurationError, match=r"app: got <Jobs redis://127.0.0.1:1/0 .* in memory: ropeline_jobs"):
        await run_jobs(app)
    await app.close()


async def test_an_application_that_is_in_memory_by_itself_needs_nothing_else() -> None:
    async with Jobs(broker=MemoryBroker(clock=FakeClock())) as app:

        @app.task
        async def work() -> None: ...

        await work.enqueue()
        assert len(await run_jobs(app)) == 1


async def test_afterwards_the_application_is_what_it_was() -> None:
    app = Jobs(NOWHERE)
    address, clock = app.connections.address, app.clock

    @app.task
    async def work() -> None: ...

    for _ in range(2):
        with InMemory() as in_memory:
            in_memory(app)
            assert isinstance(app.broker(), MemoryBroker)
            await work.enqueue()
            assert len(await run_jobs(app)) == 1
    assert (app.connections.address, app.clock) == (address, clock)
    assert clock is time.time_ns


async def test_applications_of_one_stage_share_their_jobs_and_others_do_not(in_memory: InMemory) -> None:
    producer, worker = in_memory(Jobs(NOWHERE, stage="prod")), in_memory(Jobs(NOWHERE, stage="prod"))
    stranger = in_memory(Jobs(NOWHERE, stage="dev"))

    @producer.task(name="render")
    async def stub() -> None: ...

    @worker.task(name="render", result_ttl=60)
    async def render() -> int:
        return 7

    @producer.task(name="own")
    async def own() -> None: ...

    handle = await stub.enqueue()
    assert await run_jobs(stranger) == []
    # As a worker that does not know a job's task: it parks the job, and the one that knows it takes it up.
    del producer._tasks["render"]
    assert [run.outcome for run in await run_jobs(producer)] == ["parked"]
    assert [run.outcome for run in await run_jobs(worker)] == ["completed"]
    assert await worker.tasks["render"].handle(handle.id).result(0) == 7


async def test_a_dead_job_says_so(app: Jobs) -> None:
    @app.task(max_attempts=1)
    async def work() -> None:
        raise OSError("no disk")

    handle = await work.enqueue()
    with pytest.raises(OSError, match="no disk"):
        await run_jobs(app)
    assert await handle.status() is JobState.DEAD
    with pytest.raises(JobFailed):
        await handle.result(0)


async def test_an_application_that_traces_its_jobs_does_so_in_tests(app: Jobs) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app.tracing = Tracing(provider)

    @app.task
    async def work() -> None: ...

    await app.enqueue(chain(work.build(), work.build()))
    assert len(await run_jobs(app)) == 2
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["enqueue default", "process default", "process default"]
    assert len({span.get_span_context().trace_id for span in spans if span.get_span_context()}) == 1  # type: ignore[union-attr]  # as filtered
