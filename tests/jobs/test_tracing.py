"""One trace for a job's life: what the OpenTelemetry SDK is given of enqueues, runs, and the jobs that follow from jobs."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from ropeline.jobs import (
    PREVIOUS,
    Cancelled,
    Conflict,
    Discard,
    JobContext,
    JobDraft,
    Jobs,
    JobState,
    PayloadTooLarge,
    Retry,
    Snooze,
    Split,
    Unique,
    chain,
    chord,
    group,
)
from ropeline.jobs.background import end
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.ids import new_id
from ropeline.jobs.payloads.envelope import Envelope, pack, unpack
from ropeline.jobs.records import Claimed, NewJob
from ropeline.jobs.tracing import Tracing
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.jobs.worker.handlers import TaskRun
from ropeline.jobs.worker.run import Run
from ropeline.jobs.worker.traced import TracedHandlers
from ropeline.lua.errors import StoreUnavailable
from tests.servers import Server
from tests.support import wait_until

QUEUES = {"default": 1, "mail": 1}
MINUTE = 60_000


class Spans:
    """What was exported. `provider`: of the application under test, and of whatever its handlers trace."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the application's own")

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    async def first(self, name: str) -> ReadableSpan:
        return (await wait_until(lambda: self.named(name), timeout=20))[0]

    def of_task(self, task: str) -> ReadableSpan:
        """The only run of a task."""
        (span,) = [span for span in self.all if span.kind is SpanKind.CONSUMER and of(span)["ropeline.task"] == task]
        return span


def of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    same_trace = context_of(span).trace_id == context_of(parent).trace_id
    return same_trace and span.parent is not None and span.parent.span_id == context_of(parent).span_id


@asynccontextmanager
async def at_work(app: Jobs, **options: Any) -> AsyncIterator[Worker]:
    """A worker that works while the context lasts, and drains at its end."""
    settings = WorkerSettings(**{"queues": QUEUES, "concurrency": 4, **options})
    worker = Worker.of_app(app, settings)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await task
    finally:
        await end([task])


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(spans: Spans, clock: FakeClock) -> Iterator[Jobs]:
    app = Jobs(broker=MemoryBroker(clock=clock), queues=["mail"], tracing=Tracing(spans.provider))
    yield app
    app.close_sync()


async def test_the_run_of_a_job_is_a_child_of_its_enqueue_and_linked_to_it(app: Jobs, spans: Spans) -> None:
    @app.task(name="mail:send", queue="mail", result_ttl=60)
    async def send(to: str) -> None: ...

    with spans.tracer.start_as_current_span("the request") as request:
        handle = await send.enqueue("ada")
    async with at_work(app):
        await handle.wait(10)
    enqueue, run = spans.only("enqueue mail"), spans.only("process mail")
    assert enqueue.parent is not None
    assert enqueue.parent.span_id == request.get_span_context().span_id
    assert is_child(run, enqueue)
    assert [link.context.span_id for link in run.links] == [context_of(enqueue).span_id]
    assert (enqueue.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    both = {
        "messaging.system": "ropeline",
        "messaging.destination.name": "mail",
        "messaging.message.id": handle.id,
        "ropeline.queue": "mail",
        "ropeline.task": "mail:send",
        "ropeline.job.id": handle.id,
    }
    assert of(enqueue) == both | {
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "ropeline.outcome": "enqueued",
    }
    assert of(run) == both | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "ropeline.attempt": 1,
        "ropeline.outcome": "completed",
    }
    assert run.status.status_code is StatusCode.UNSET


async def test_spans_of_a_handler_are_children_of_its_run_whether_it_is_async_or_in_a_thread(
    app: Jobs, spans: Spans
) -> None:
    @app.task(name="async", result_ttl=60)
    async def in_loop() -> None:
        with spans.tracer.start_as_current_span("before"):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(beside())

    async def beside() -> None:
        with spans.tracer.start_as_current_span("beside"):
            await asyncio.sleep(0)

    @app.task(name="sync", result_ttl=60)
    def in_thread() -> None:
        with spans.tracer.start_as_current_span("in a thread"):
            return

    async with at_work(app):
        first, second = await in_loop.enqueue(), await in_thread.enqueue()
        await first.wait(10)
        await second.wait(10)
        assert not trace.get_current_span().get_span_context().is_valid
    assert is_child(spans.only("before"), spans.of_task("async"))
    assert is_child(spans.only("beside"), spans.of_task("async"))
    assert is_child(spans.only("in a thread"), spans.of_task("sync"))


async def test_runs_do_not_see_the_spans_of_each_other(app: Jobs, spans: Spans) -> None:
    seen: list[int] = []

    @app.task(result_ttl=60)
    async def look() -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)
        await asyncio.sleep(0)
        seen.append(trace.get_current_span().get_span_context().span_id)

    handles = [outcome.handle for outcome in await app.enqueue_many(look.build() for _ in range(20))]
    async with at_work(app):
        for handle in handles:
            assert handle is not None
            await handle.wait(10)
    ids = sorted(context_of(span).span_id for span in spans.named("process default"))
    assert sorted(seen) == sorted(ids * 2)


async def test_the_retries_of_a_job_are_spans_of_one_trace(app: Jobs, spans: Spans, clock: FakeClock) -> None:
    @app.task(name="flaky", max_attempts=3, backoff=5)
    async def flaky(job: JobContext) -> None:
        raise ValueError(f"attempt {job.attempt}")

    handle = await flaky.enqueue()
    async with at_work(app):
        for attempt in (1, 2):
            await wait_until(lambda wanted=attempt: len(spans.named("process default")) == wanted)  # type: ignore[misc]
            await wait_until(lambda: is_in(handle, JobState.RETRY))
            clock.advance(5_000)
        assert await handle.wait(10) is JobState.DEAD
    runs = spans.named("process default")
    assert all(is_child(run, spans.only("enqueue default")) for run in runs)
    assert [(of(run)["ropeline.attempt"], of(run)["ropeline.outcome"]) for run in runs] == [
        (1, "retried"),
        (2, "retried"),
        (3, "dead"),
    ]
    assert [of(run).get("ropeline.reason") for run in runs] == [None, None, "attempts"]
    for run in runs:
        assert run.status.status_code is StatusCode.ERROR
        assert of(run)["error.type"] == "ValueError"
        (event,) = run.events
        assert (event.attributes or {})["exception.message"] == f"attempt {of(run)['ropeline.attempt']}"


async def is_in(handle: Any, state: JobState) -> bool:
    return await handle.status() is state


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (Snooze(60), "snoozed", StatusCode.UNSET),
        (Cancelled(), "cancelled", StatusCode.UNSET),
        (Retry("not paid yet", after=60), "retried", StatusCode.ERROR),
        (Discard("no such order"), "dead", StatusCode.ERROR),
    ],
)
async def test_a_span_says_how_its_run_ended(
    app: Jobs, spans: Spans, error: Exception, outcome: str, status: StatusCode
) -> None:
    @app.task
    async def work() -> None:
        raise error

    await work.enqueue()
    async with at_work(app):
        run = await spans.first("process default")
    assert (of(run)["ropeline.outcome"], run.status.status_code) == (outcome, status)


async def test_a_run_that_is_timed_out_cancelled_or_handed_back_ends_its_span(app: Jobs, spans: Spans) -> None:
    forever = asyncio.Event()

    @app.task(name="slow", timeout=0.05, max_attempts=1)
    async def slow() -> None:
        await forever.wait()

    @app.task(name="endless")
    async def endless() -> None:
        await forever.wait()

    await slow.enqueue()
    async with at_work(app, drain_timeout=0, lease=0.5) as worker:
        await wait_until(lambda: spans.named("process default"))
        doomed = await endless.enqueue()
        await wait_until(lambda: len(worker.running) == 1)
        await doomed.cancel()
        await wait_until(lambda: len(spans.named("process default")) == 2)
        await endless.enqueue()
        await wait_until(lambda: len(worker.running) == 1)
    timed_out, cancelled, released = spans.named("process default")
    assert (of(timed_out)["ropeline.outcome"], of(timed_out)["error.type"]) == ("dead", "TimeoutError")
    assert (of(cancelled)["ropeline.outcome"], cancelled.status.status_code) == ("cancelled", StatusCode.UNSET)
    assert (of(released)["ropeline.outcome"], released.status.status_code) == ("released", StatusCode.UNSET)


async def test_a_job_that_could_not_run_is_in_its_trace_too(app: Jobs, spans: Spans) -> None:
    producer = Jobs(broker=app.broker(), queues=["mail"], tracing=Tracing(spans.provider))

    @producer.task(name="later", deadline=1)
    async def later() -> None: ...

    await later.enqueue()
    await app.broker().enqueue("mail", [NewJob(new_id(), b"no job of ours")])
    async with at_work(app):
        parked = await spans.first("process default")
        unread = await spans.first("process mail")
    assert is_child(parked, spans.only("enqueue default"))
    assert (of(parked)["ropeline.outcome"], parked.status.status_code) == ("parked", StatusCode.UNSET)
    assert (of(unread)["ropeline.outcome"], of(unread)["error.type"]) == ("dead", "undecodable")
    assert of(unread)["ropeline.reason"] == "undecodable"
    assert unread.parent is None


async def test_what_a_handler_enqueues_belongs_to_the_trace_of_its_job(app: Jobs, spans: Spans) -> None:
    @app.task(name="second", queue="mail", result_ttl=60)
    async def second() -> None: ...

    @app.task(name="first")
    async def first() -> None:
        await second.enqueue()

    @app.task(name="threaded")
    def in_thread() -> None:
        second.enqueue_sync()

    for task in (first, in_thread):
        async with at_work(app):
            await task.enqueue()
            await wait_until(lambda: spans.named("process mail"))
        assert is_child(spans.only("enqueue mail"), spans.of_task(task.type))
        assert is_child(spans.of_task("second"), spans.only("enqueue mail"))
        spans.exporter.clear()


async def test_many_jobs_that_are_enqueued_together_share_one_producer_span(app: Jobs, spans: Spans) -> None:
    @app.task(name="work", result_ttl=60)
    async def work(number: int) -> None: ...

    drafts = [work.build(number) for number in range(120)]
    outcomes = await app.enqueue_many([*drafts, work.using(queue_name="mail", metadata={"a": "b"}).build(7)])
    assert [outcome.draft for outcome in outcomes[:-1]] == drafts
    enqueue = spans.only("enqueue")
    assert of(enqueue)["messaging.batch.message_count"] == 121
    assert "messaging.destination.name" not in of(enqueue)
    assert of(enqueue)["ropeline.task"] == "work"
    async with at_work(app):
        await wait_until(lambda: len(spans.all) == 122)
    assert all(is_child(run, enqueue) for run in spans.all if run is not enqueue)
    spans.exporter.clear()
    await app.enqueue_many(drafts[:3])
    assert of(spans.only("enqueue default"))["messaging.batch.message_count"] == 3
    spans.exporter.clear()
    assert await app.enqueue_many([]) == []
    assert spans.all == []


async def test_the_span_of_an_enqueue_says_what_became_of_it(app: Jobs, spans: Spans) -> None:
    @app.task(unique=Unique(on_conflict="raise"))
    async def work() -> None: ...

    draft = work.build()
    await app.enqueue(draft)
    await app.enqueue(draft)
    with pytest.raises(Conflict):
        await work.enqueue()
    assert [of(span)["ropeline.outcome"] for span in spans.all] == ["enqueued", "exists", "conflict"]


async def test_an_enqueue_that_fails_says_why(spans: Spans) -> None:
    class Gone(MemoryBroker):
        async def enqueue(self, queue: str, jobs: Any) -> Any:
            raise StoreUnavailable("no server here")

    app = Jobs(broker=Gone(), tracing=Tracing(spans.provider))

    @app.task
    async def work() -> None: ...

    with pytest.raises(StoreUnavailable):
        await work.enqueue()
    span = spans.only("enqueue default")
    assert (span.status.status_code, of(span)["error.type"]) == (StatusCode.ERROR, "StoreUnavailable")
    assert [event.name for event in span.events] == ["exception"]


def test_an_enqueue_without_an_event_loop_belongs_to_the_span_of_its_thread(app: Jobs, spans: Spans) -> None:
    @app.task
    async def work() -> None: ...

    with spans.tracer.start_as_current_span("the request"):
        work.enqueue_sync()
    assert is_child(spans.only("enqueue default"), spans.only("the request"))


@pytest.mark.parametrize("store", ["memory", "valkey"])
async def test_a_chain_is_one_trace_in_which_each_job_follows_from_the_one_before(
    spans: Spans, store: str, request: pytest.FixtureRequest
) -> None:
    url = "memory://" if store == "memory" else request.getfixturevalue("valkey").url
    async with Jobs(url, stage=f"traced-{new_id().hex()}", tracing=Tracing(spans.provider)) as app:

        @app.task(name="fetch")
        async def fetch(url: str) -> str:
            return url

        @app.task(name="count", queue="mail")
        async def count(text: str) -> int:
            return len(text)

        @app.task(name="tell", result_ttl=60)
        async def tell() -> None: ...

        async with at_work(app):
            handle = await app.enqueue(chain(fetch.build("abc"), count.build(PREVIOUS), tell.build()))
            assert await handle.wait(20) is JobState.COMPLETED
        assert of(spans.only("enqueue default"))["ropeline.task"] == "fetch"
        assert is_child(spans.of_task("fetch"), spans.only("enqueue default"))
        assert is_child(spans.of_task("count"), spans.of_task("fetch"))
        assert is_child(spans.of_task("tell"), spans.of_task("count"))


async def test_parts_and_what_follows_them_belong_to_the_trace_of_the_run_that_split(app: Jobs, spans: Spans) -> None:
    @app.task(name="count", queue="mail")
    async def count(text: str) -> int:
        return len(text)

    @app.task(name="add")
    async def add(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="tell", result_ttl=60)
    async def tell() -> None: ...

    @app.task(name="index")
    async def index() -> Split[int]:
        return Split([count.build("ab"), count.build("abc")], add.build(PREVIOUS))

    async with at_work(app):
        await (await app.enqueue(chain(index.build(), tell.build()))).wait(20)
    split = spans.of_task("index")
    assert of(split)["ropeline.outcome"] == "split"
    assert [is_child(part, split) for part in spans.named("process mail")] == [True, True]
    assert is_child(spans.of_task("add"), split)
    assert is_child(spans.of_task("tell"), spans.of_task("add"))


async def test_a_group_and_a_chord_are_one_trace(app: Jobs, spans: Spans) -> None:
    @app.task(name="count", queue="mail")
    async def count(text: str) -> int:
        return len(text)

    @app.task(name="add", result_ttl=60)
    async def add(numbers: list[int]) -> int:
        return sum(numbers)

    drafts: list[JobDraft[Any]] = [group([count.build("a")]), chord([count.build("ab")], add.build(PREVIOUS))]
    for draft in drafts:
        async with at_work(app):
            await (await app.enqueue(draft)).wait(20)
        assert len({context_of(span).trace_id for span in spans.all}) == 1
        (enqueue,) = [span for span in spans.all if span.kind is SpanKind.PRODUCER]
        assert of(enqueue)["ropeline.task"] == "{split}"
        assert is_child(spans.of_task("count"), enqueue)
        spans.exporter.clear()


async def test_a_worker_that_traces_nothing_hands_the_trace_on(app: Jobs, spans: Spans) -> None:
    untraced = Jobs(broker=app.broker(), queues=["mail"])
    for each in (app, untraced):

        @each.task(name="first")
        async def first() -> None: ...

        @each.task(name="last", result_ttl=60)
        async def last() -> None: ...

    draft = chain(app.tasks["first"].build(), app.tasks["last"].build())
    handle = await app.enqueue(draft)
    async with at_work(untraced):
        await handle.wait(10)
    enqueue = context_of(spans.only("enqueue default"))
    jobs = app.broker()
    assert isinstance(jobs, MemoryBroker)
    (last_job,) = jobs.queue("default").jobs.values()
    assert f"{enqueue.trace_id:032x}-{enqueue.span_id:016x}" in unpack(last_job.body).trace["traceparent"]


@pytest.mark.parametrize("store", ["memory", "valkey"])
async def test_each_tick_begins_a_trace_that_its_job_goes_on_with(
    spans: Spans, store: str, request: pytest.FixtureRequest
) -> None:
    clock = FakeClock()
    url = "" if store == "memory" else request.getfixturevalue("valkey").url
    settings: dict[str, Any] = {"broker": MemoryBroker(clock=clock)} if store == "memory" else {"url": url}
    async with Jobs(**settings, stage=f"traced-{new_id().hex()}", tracing=Tracing(spans.provider)) as app:

        @app.cron("@every 1s")
        @app.task(name="sweep")
        async def sweep() -> None: ...

        await app.define_cron_jobs()
        # Whatever is current where a worker is started has nothing to do with the jobs that it runs.
        with spans.tracer.start_as_current_span("the start of the program"):
            async with at_work(app, queues={"default": 1}):
                clock.advance(1_000)
                run = await spans.first("process default")
    tick = next(span for span in spans.named("enqueue default") if is_child(run, span))
    assert tick.parent is None
    assert of(tick)["ropeline.outcome"] == "enqueued"
    assert of(tick)["messaging.message.id"] == of(run)["messaging.message.id"]
    assert of(tick)["ropeline.task"] == "sweep"


async def test_baggage_travels_with_the_job(app: Jobs, spans: Spans) -> None:
    seen: list[object] = []

    @app.task
    async def work() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = contexts.attach(baggage.set_baggage("tenant", "acme"))
    await work.enqueue()
    contexts.detach(token)
    async with at_work(app):
        await wait_until(lambda: seen)
    assert seen == ["acme"]
    assert baggage.get_baggage("tenant") is None


async def test_what_a_producer_does_not_sample_is_not_sampled_by_the_worker(clock: FakeClock) -> None:
    silent, spans = Spans(ALWAYS_OFF), Spans()
    broker = MemoryBroker(clock=clock)
    producer = Jobs(broker=broker, tracing=Tracing(silent.provider))
    consumer = Jobs(broker=broker, queues=["mail"], tracing=Tracing(spans.provider))
    for each in (producer, consumer):

        @each.task(name="work", result_ttl=60)
        async def work() -> None: ...

    handle = await producer.tasks["work"].enqueue()
    async with at_work(consumer):
        await handle.wait(10)
    assert silent.all == spans.all == []


async def test_a_job_without_a_trace_begins_one_with_its_run(app: Jobs, spans: Spans) -> None:
    @app.task(name="work")
    async def work() -> None: ...

    with spans.tracer.start_as_current_span("the start of the program"):
        async with at_work(app):
            await app.broker().enqueue("default", [NewJob(new_id(), pack(Envelope("work", b"{}", 1, 0)))])
            run = await spans.first("process default")
    assert run.parent is None
    assert run.links == ()


class Broken(Sampler):
    """A tracer of the user's own that fails."""

    def should_sample(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no sample today")

    def get_description(self) -> str:
        return "broken"


async def test_no_job_fails_because_its_run_could_not_be_traced(clock: FakeClock) -> None:
    app = Jobs(broker=MemoryBroker(clock=clock), queues=["mail"])

    @app.task(name="work", result_ttl=60)
    async def work() -> int:
        return 7

    handle = await work.enqueue()
    unread = NewJob(new_id(), b"no job of ours")
    await app.broker().enqueue("default", [unread])
    app.tracing = Tracing(Spans(Broken()).provider)
    async with at_work(app):
        assert await handle.result(10) == 7
        assert await app.job("default", unread.id).wait(10) is JobState.DEAD


async def test_a_traced_job_may_be_as_large_as_any(app: Jobs, spans: Spans) -> None:
    @app.task(result_ttl=60)
    async def work(text: str) -> int:
        return len(text)

    handle = await work.enqueue("x" * (app.payload_limit - 20))
    with pytest.raises(PayloadTooLarge):
        work.build("x" * app.payload_limit)
    async with at_work(app):
        assert await handle.result(10) == app.payload_limit - 20
    assert is_child(spans.only("process default"), spans.only("enqueue default"))


async def test_the_largest_traced_jobs_travel_together(spans: Spans, valkey: Server) -> None:
    async with Jobs(valkey.url, stage=f"traced-{new_id().hex()}", tracing=Tracing(spans.provider)) as app:

        @app.task
        async def work(text: str) -> None: ...

        text = "x" * (app.payload_limit - 20)
        outcomes = await app.enqueue_many(work.build(text) for _ in range(3))
        assert all(outcome.handle is not None for outcome in outcomes)


async def test_calls_stay_small_when_jobs_carry_much(spans: Spans) -> None:
    sizes: list[int] = []

    class Weighing(MemoryBroker):
        async def enqueue(self, queue: str, jobs: Any) -> Any:
            sizes.append(sum(len(job.body) for job in jobs))
            return await super().enqueue(queue, jobs)

    app = Jobs(broker=Weighing(), tracing=Tracing(spans.provider))

    @app.task
    async def work(text: str) -> None: ...

    token = contexts.attach(baggage.set_baggage("notes", "x" * 4_000))
    await app.enqueue_many(work.build("x" * 8_000) for _ in range(100))
    contexts.detach(token)
    assert len(sizes) == 2
    assert max(sizes) <= 1024 * 1024


async def test_a_handler_that_begins_when_its_job_was_handed_back_begins_no_span(app: Jobs, spans: Spans) -> None:
    """As it may in a thread: nobody would end the span."""

    @app.task
    def work() -> None: ...

    job = work.build().job
    run = Run("default", Claimed(job.id, job.body, 1, 0, 0, 0, 0), 0.0, 0.0, 0.0)
    for run.is_ended in (False, True):
        tracer = Counting(spans.provider)
        prepared = TracedHandlers(tracer, app.tasks).prepare(run)
        assert isinstance(prepared, TaskRun)
        copy_context().run(prepared.enter)
        assert tracer.begun == (0 if run.is_ended else 1)


class Counting(Tracing):
    """Counts the spans of runs that were begun."""

    begun = 0

    def running(self, **facts: Any) -> Any:
        self.begun += 1
        return super().running(**facts)


def test_an_untraced_program_needs_no_opentelemetry() -> None:
    """The client of Redis loads it where it is installed; nothing of ours does, and nothing of ours misses it."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None;"
        "import ropeline.jobs, ropeline.jobs.worker, ropeline.cli.worker, ropeline.jobs.brokers.redis;"
        "ropeline.jobs.Jobs('memory://');"
        "print('ropeline.jobs.tracing' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
