"""An application defines tasks and enqueues their jobs: from any loop or thread, refused before anything is written, one answer each."""

import asyncio
import gc
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ropeline.jobs.app import Jobs
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.context import JobContext, running
from ropeline.jobs.errors import Conflict, OutcomeUnknown, PartlyEnqueued, PayloadTooLarge, QueueFull, UnknownTask
from ropeline.jobs.options import LARGEST_PAYLOAD, Concurrency, Unique
from ropeline.jobs.payloads.envelope import Envelope, unpack
from ropeline.jobs.records import Enqueued, EnqueueResult, JobState, NewJob
from ropeline.jobs.task import AsyncTask, SyncTask, Task
from ropeline.lua.errors import ConfigurationError, StoreError, StoreUnavailable
from tests.servers import Server

AS_SCRIPT = """
from ropeline.jobs.app import Jobs
app = Jobs("memory://")
@app.task
def work(): ...
print(work.type)
"""


class CountingBroker(MemoryBroker):
    """A memory broker that remembers its calls, and fails where a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int, int]] = []
        self.failures: dict[int, StoreError] = {}

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        self.calls.append((queue, len(jobs), sum(len(job.body) for job in jobs)))
        if failure := self.failures.get(len(self.calls)):
            raise failure
        return await super().enqueue(queue, jobs)


@pytest.fixture
def broker() -> CountingBroker:
    return CountingBroker()


@pytest.fixture
async def app(broker: CountingBroker) -> AsyncIterator[Jobs]:
    async with Jobs(broker=broker, queues=["mail"]) as app:
        yield app


@pytest.fixture
def confirm(app: Jobs) -> AsyncTask[[int], str]:
    @app.task(name="order:confirm")
    async def confirm(order: int) -> str:
        return f"order {order}"

    return confirm


async def body_of(app: Jobs, queue: str, id_: str) -> Envelope:
    view = await app.broker().find(queue, bytes.fromhex(id_))
    assert view is not None
    return unpack(view.body)


# Tasks


async def test_a_task_is_still_the_function_that_it_was(app: Jobs) -> None:
    @app.task
    async def one(order: int) -> str:
        """What it does."""
        return f"order {order}"

    @app.task(queue="mail")
    def other(order: int) -> str:
        return f"order {order}"

    assert await one(17) == other(17) == "order 17"
    assert (one.__name__, one.__doc__) == ("one", "What it does.")
    assert isinstance(one, AsyncTask)
    assert one.is_async
    assert isinstance(other, SyncTask)
    assert not other.is_async
    assert repr(other) == f"<Task {other.type}>"


async def test_a_task_that_is_called_gets_the_current_job_or_a_stand_in(app: Jobs) -> None:
    @app.task
    def show(order: int, job: JobContext | None = None) -> tuple[int, str, str, bool]:
        assert job is not None
        return order, job.task, job.id, job.lost or job.cancelled

    order, task, id_, stopped = show(17)
    assert (order, task, len(id_), stopped) == (17, show.type, 32, False)
    current = JobContext(id="ab" * 16, task="another", queue="default")
    with running(current):
        assert show(17) == (17, "another", "ab" * 16, False)
    assert show.function(17, current) == (17, "another", "ab" * 16, False)


def test_the_type_of_a_task_is_its_name_or_its_place(app: Jobs, confirm: Task[[int], str]) -> None:
    @app.task
    def plain() -> None: ...

    assert confirm.type == "order:confirm"
    assert plain.type.endswith("test_app:test_the_type_of_a_task_is_its_name_or_its_place.<locals>.plain")
    assert set(app.tasks) == {"order:confirm", plain.type}
    assert app.find_task("order:confirm") is confirm
    with pytest.raises(UnknownTask, match="task: got 'order:confrm', expected one of: order:confirm, "):
        app.find_task("order:confrm")


def test_a_program_that_is_run_has_the_names_by_which_a_worker_imports_it(tmp_path: Path) -> None:
    script = tmp_path / "shop_jobs.py"
    script.write_text(AS_SCRIPT, encoding="utf-8")
    for arguments in ([str(script)], ["-m", "shop_jobs"]):
        run = subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        assert run.stdout == "shop_jobs:work\n"


def test_two_tasks_of_one_name_are_refused(app: Jobs, confirm: Task[[int], str]) -> None:
    with pytest.raises(ConfigurationError, match="name: got 'order:confirm', expected a name that no other task"):
        app.task(name="order:confirm")(lambda: None)
    assert app.find_task("order:confirm") is confirm


@pytest.mark.parametrize("wrong", [5, "work", int, UUID])
def test_what_is_no_function_is_refused(app: Jobs, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"task: got .*, expected a function"):
        app.task(wrong)


def test_a_function_that_yields_is_refused(app: Jobs) -> None:
    def items() -> Any:
        yield 1

    async def more() -> Any:
        yield 1

    for function in (items, more):
        with pytest.raises(ConfigurationError, match="not one that yields"):
            app.task(function)
    assert not app.tasks


def test_a_wrong_option_leaves_no_task_behind(app: Jobs) -> None:
    def work(connection: type) -> None: ...

    with pytest.raises(ConfigurationError, match="connection: got"):
        app.task(work)
    with pytest.raises(ConfigurationError, match=r"unique.by: got 'tenat', expected a parameter of work: tenant"):
        app.task(name="work", queue="new", unique=Unique(by=("tenat",)))(lambda tenant: None)
    assert not app.tasks
    assert app.queues == {"default", "mail"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", "prod:1"),
        ("stage", ""),
        ("queue", "{a}"),
        ("namespace", "a b"),
        ("codec", "pickle"),
        ("queues", ["a:b"]),
        ("queues", "a:b"),
        ("metadata", {"client": 5}),
        ("payload_limit", 0),
        ("payload_limit", LARGEST_PAYLOAD + 1),
        ("broker", "memory"),
        ("broker", MemoryBroker),
    ],
)
def test_an_application_without_sense_is_refused_by_the_field(field: str, value: object) -> None:
    given: Any = {field: value}
    with pytest.raises(ConfigurationError) as caught:
        Jobs("memory://", **given)
    assert caught.value.field.partition("[")[0] == field


def test_a_wrong_address_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Jobs("redsi://user:secret@host")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Jobs("redis://user:secret@host", stage="dev"))
    assert "stage dev" in repr(Jobs("redis://user:secret@host", stage="dev"))


# Enqueue


async def test_a_job_is_pending_with_everything_that_was_said_about_it(app: Jobs, confirm: Task[[int], str]) -> None:
    before = time.time_ns() // 1_000_000
    handle = await confirm.using(
        queue_name="mail", priority=9, max_attempts=2, timeout=1.5, grace=0, result_ttl=60, metadata={"client": "acme"}
    ).enqueue(17)
    envelope = await body_of(app, "mail", handle.id)
    assert before <= envelope.enqueued <= time.time_ns() // 1_000_000
    assert envelope._replace(enqueued=0) == Envelope(
        "order:confirm", b'{"order":17}', 1, 0, 2, 1500, 0, None, 60_000, {"client": "acme"}, {}
    )
    view = await app.broker().find("mail", bytes.fromhex(handle.id))
    assert view is not None
    assert (view.state, view.priority) == (JobState.PENDING, 9)
    assert (handle.queue, handle.is_new) == ("mail", True)


async def test_a_plain_job_has_at_most_forty_bytes_around_its_payload(app: Jobs, confirm: Task[[int], str]) -> None:
    draft = confirm.build(17)
    assert len(draft.job.body) - len(b'{"order":17}') == 10 + len("order:confirm") <= 40


async def test_the_metadata_of_an_application_is_in_every_job() -> None:
    async with Jobs("memory://", metadata={"project": "shop"}) as app:

        @app.task
        def work() -> None: ...

        plain, more = await work.enqueue(), await work.using(metadata={"client": "acme"}).enqueue()
        assert (await body_of(app, "default", plain.id)).metadata == {"project": "shop"}
        assert (await body_of(app, "default", more.id)).metadata == {"project": "shop", "client": "acme"}


async def test_using_leaves_the_task_as_it_was(app: Jobs, confirm: AsyncTask[[int], str]) -> None:
    mail = confirm.using(queue_name="mail")
    assert isinstance(mail, AsyncTask)
    assert (await mail.enqueue(1)).queue == "mail"
    assert (await confirm.enqueue(1)).queue == "default"
    assert await mail(1) == "order 1"
    assert app.find_task("order:confirm") is confirm


async def test_a_job_runs_from_a_moment_or_after_a_time(app: Jobs, confirm: Task[[int], str]) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    at = await confirm.using(run_after=moment).enqueue(1)
    after = await confirm.using(run_after=timedelta(hours=1)).enqueue(1)
    for handle in (at, after):
        view = await app.broker().find("default", bytes.fromhex(handle.id))
        assert view is not None
        assert view.state is JobState.SCHEDULED
        assert abs(view.at - moment.timestamp() * 1000) < 5_000


async def test_a_deadline_counts_from_when_the_job_may_first_run(app: Jobs) -> None:
    @app.task(deadline=60)
    def work() -> None: ...

    moment = datetime(2030, 1, 1, tzinfo=UTC)
    now = time.time() * 1000

    def deadline(task: Task[[], None]) -> int:
        found = unpack(task.build().job.body).deadline
        assert found is not None
        return found

    assert abs(deadline(work) - now - 60_000) < 5_000
    assert abs(deadline(work.using(run_after=3600)) - now - 3_660_000) < 5_000
    assert deadline(work.using(run_after=moment)) == 1_893_456_060_000
    assert deadline(work.using(run_after=moment, deadline=moment + timedelta(seconds=1))) == 1_893_456_001_000
    with pytest.raises(ConfigurationError, match=r"deadline: got .*, expected a moment after it may run"):
        deadline(work.using(run_after=moment, deadline=moment))


async def test_the_same_id_makes_one_job(app: Jobs, confirm: Task[[int], str]) -> None:
    task = confirm.using(job_id=UUID(int=7))
    first, second = await task.enqueue(1), await task.enqueue(2)
    assert first == second
    assert first.id == f"{7:032x}"
    assert (first.is_new, second.is_new) == (True, False)
    assert (await body_of(app, "default", first.id)).payload == b'{"order":1}'


async def test_a_job_whose_key_is_held_is_the_one_that_holds_it(app: Jobs) -> None:
    @app.task(unique=Unique(by=("tenant",)))
    def work(tenant: str, order: int) -> None: ...

    first, second, other = await work.enqueue("acme", 1), await work.enqueue("acme", 2), await work.enqueue("globex", 1)
    assert second == first
    assert (first.is_new, second.is_new, other.is_new) == (True, False, True)
    assert other != first
    free = await work.using(unique=None).enqueue("acme", 3)
    assert free.is_new


async def test_a_conflict_is_raised_where_the_task_says_so(app: Jobs) -> None:
    @app.task(name="work", unique=Unique(key=lambda tenant, order: tenant, on_conflict="raise"))
    def work(tenant: str, order: int) -> None: ...

    first = await work.enqueue("acme", order=1)
    with pytest.raises(Conflict, match=f"work: job {first.id} holds the unique key"):
        await work.enqueue("acme", order=2)


async def test_a_key_of_ones_own_must_be_one(app: Jobs) -> None:
    @app.task(name="work")
    def work(tenant: str) -> None: ...

    for key in (None, "", 5, "x" * 1025):
        wrong: Any = lambda _, key=key: key  # noqa: E731 - the value is the point
        with pytest.raises(ConfigurationError, match=r"work: unique.key: got"):
            await work.using(unique=Unique(key=wrong)).enqueue("acme")


def test_tasks_do_not_share_keys_and_the_terms_of_a_key_reach_the_store(app: Jobs) -> None:
    unique = Unique(for_=timedelta(minutes=1), until="start")
    one, other = (app.task(name=name, unique=unique)(lambda order: None).build(1).job for name in ("one", "other"))
    assert len(one.unique) == len(other.unique) == 16
    assert one.unique != other.unique
    assert (one.unique_for, one.until_start) == (60_000, True)
    assert app.find_task("one").build(1).job.unique == one.unique


# Refused before anything is written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("17",), "order:confirm: order: got '17', expected int"),
        ((), "order:confirm: missing a required argument: 'order'"),
        ((1, 2), "order:confirm: too many positional arguments"),
    ],
)
async def test_a_wrong_argument_is_a_type_error_and_nothing_is_written(
    app: Jobs, broker: CountingBroker, confirm: Task[..., str], arguments: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await confirm.enqueue(*arguments)
    with pytest.raises(TypeError, match=message):
        await app.enqueue_many(confirm.build(*given) for given in [(1,), (2,), arguments])
    with pytest.raises(TypeError, match=message):
        await asyncio.to_thread(confirm.enqueue_sync, *arguments)
    assert broker.calls == []


async def test_nan_is_refused_by_name_and_nothing_is_written(app: Jobs, broker: CountingBroker) -> None:
    @app.task(name="price:set")
    def set_price(price: float) -> None: ...

    for wrong in (math.nan, math.inf):
        with pytest.raises(ConfigurationError, match=f"price:set: price: got {wrong}, expected a finite number"):
            await set_price.enqueue(wrong)
    assert broker.calls == []


async def test_an_unknown_queue_is_refused_and_nothing_is_written(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    with pytest.raises(ConfigurationError, match="queue: got 'post', expected one of: default, mail; Jobs"):
        await confirm.using(queue_name="post").enqueue(17)
    assert broker.calls == []
    app.task(queue="post")(lambda: None)
    assert (await confirm.using(queue_name="post").enqueue(17)).queue == "post"


async def test_any_queue_is_known_when_an_application_says_so() -> None:
    async with Jobs("memory://", queues="*") as app:
        assert (await app.task(lambda: None).using(queue_name="tenant-17").enqueue()).queue == "tenant-17"


async def test_a_payload_that_is_too_large_is_refused_and_nothing_is_written(broker: CountingBroker) -> None:
    async with Jobs(broker=broker) as app:

        @app.task(name="text:index")
        def index(text: str) -> None: ...

        around = len('{"text":""}')
        with pytest.raises(PayloadTooLarge, match="text:index: the arguments take 983,041 bytes, at most 983,040 are"):
            await index.enqueue("x" * (LARGEST_PAYLOAD - around + 1))
        assert broker.calls == []
        handle = await index.enqueue("x" * (LARGEST_PAYLOAD - around))
        assert len((await body_of(app, "default", handle.id)).payload) == LARGEST_PAYLOAD


async def test_the_payload_limit_can_be_lower() -> None:
    app = Jobs("memory://", payload_limit=20)
    task = app.task(lambda text: None)
    assert len(task.build("x" * 9).job.body)
    with pytest.raises(PayloadTooLarge, match="take 21 bytes, at most 20"):
        task.build("x" * 10)


async def test_an_unknown_outcome_reaches_the_caller_with_the_id(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    draft = confirm.build(17)
    broker.failures[1] = OutcomeUnknown("default", [draft.job.id])
    with pytest.raises(OutcomeUnknown) as caught:
        await app.enqueue(draft)
    assert caught.value.ids == (draft.job.id,)
    assert (await app.enqueue(draft)).id == draft.id
    assert not (await app.enqueue(draft)).is_new


# Many at once


async def test_many_jobs_travel_a_hundred_at_a_time_with_an_answer_each(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    mail = confirm.using(queue_name="mail")
    outcomes = await app.enqueue_many((mail if order % 5 == 0 else confirm).build(order) for order in range(250))
    assert [(queue, count) for queue, count, _ in broker.calls] == [("mail", 50), ("default", 100), ("default", 100)]
    assert len(outcomes) == 250
    for order, outcome in enumerate(outcomes):
        assert outcome.handle is not None
        assert outcome.handle.id == outcome.draft.id
        assert outcome.handle.queue == ("mail" if order % 5 == 0 else "default")
        assert (await body_of(app, outcome.handle.queue, outcome.handle.id)).payload == f'{{"order":{order}}}'.encode()


async def test_many_jobs_travel_a_mebibyte_at_a_time(app: Jobs, broker: CountingBroker) -> None:
    task = app.task(lambda text: None)
    await app.enqueue_many(task.build("x" * size) for size in (600_000, 400_000, 400_000, 900_000, 10))
    assert [count for _, count, _ in broker.calls] == [2, 1, 2]
    assert all(size <= 1024 * 1024 for _, _, size in broker.calls)


async def test_many_jobs_with_a_limit_travel_fifty_at_a_time(app: Jobs, broker: CountingBroker) -> None:
    task = app.task(limit=Concurrency(by=("number",), most=1))(lambda number: None)
    await app.enqueue_many(task.build(number) for number in range(120))
    assert [count for _, count, _ in broker.calls] == [50, 50, 20]


async def test_many_jobs_keep_their_order_in_their_queue(app: Jobs, confirm: Task[[int], str]) -> None:
    outcomes = await app.enqueue_many(confirm.build(order) for order in range(150))
    claimed: list[bytes] = []
    for call in (1, 2, 3):
        reply = await app.broker().step("default", worker=b"w" * 16, lane=0, call=call, claim=50)
        claimed += [job.id for job in reply.claimed]
    assert claimed == [outcome.draft.job.id for outcome in outcomes]


async def test_no_jobs_are_no_calls(app: Jobs, broker: CountingBroker) -> None:
    assert await app.enqueue_many([]) == []
    assert broker.calls == []


async def test_each_of_many_jobs_has_an_outcome_of_its_own(app: Jobs) -> None:
    @app.task(unique=Unique())
    def quiet(order: int) -> None: ...

    @app.task(unique=Unique(on_conflict="raise"))
    def loud(order: int) -> None: ...

    drafts = [quiet.build(1), quiet.build(1), loud.build(1), loud.build(1), loud.build(2)]
    outcomes = await app.enqueue_many([*drafts, drafts[0]])
    assert [outcome.result for outcome in outcomes] == [
        EnqueueResult.ENQUEUED,
        EnqueueResult.CONFLICT,
        EnqueueResult.ENQUEUED,
        EnqueueResult.CONFLICT,
        EnqueueResult.ENQUEUED,
        EnqueueResult.EXISTS,
    ]
    assert outcomes[1].handle == outcomes[0].handle == outcomes[5].handle
    assert isinstance(outcomes[3].error, Conflict)
    assert outcomes[3].handle is None
    assert outcomes[3].error.holder == drafts[2].job.id


async def test_after_a_failure_nothing_more_is_sent_and_each_job_says_what_is_known(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    drafts = [confirm.build(order) for order in range(350)]
    broker.failures[2] = OutcomeUnknown("default", [draft.job.id for draft in drafts[100:200]])
    with pytest.raises(PartlyEnqueued, match="250 of 350 jobs may not have been taken in: queue default") as caught:
        await app.enqueue_many(drafts)
    assert len(broker.calls) == 2
    assert caught.value.__cause__ is broker.failures[2]
    outcomes = caught.value.outcomes
    assert [outcome.draft for outcome in outcomes] == drafts
    assert {type(outcome.error) for outcome in outcomes[:100]} == {type(None)}
    assert {type(outcome.error) for outcome in outcomes[100:200]} == {OutcomeUnknown}
    assert {type(outcome.error) for outcome in outcomes[200:]} == {StoreUnavailable}
    assert "not sent, since an earlier call failed" in str(outcomes[200].error)
    again = await app.enqueue_many([outcome.draft for outcome in outcomes if outcome.error is not None])
    assert {outcome.result for outcome in again} == {EnqueueResult.ENQUEUED}
    assert (await app.broker().depths("default")).pending == 350


async def test_a_full_queue_does_not_stop_the_others(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    broker.failures[1] = QueueFull("default", "no room")
    mail = confirm.using(queue_name="mail")
    drafts = [confirm.build(1), mail.build(2), *(confirm.build(3) for _ in range(100))]
    with pytest.raises(PartlyEnqueued) as caught:
        await app.enqueue_many(drafts)
    assert [queue for queue, _, _ in broker.calls] == ["default", "mail"]
    assert [outcome.draft.queue for outcome in caught.value.outcomes if outcome.error is None] == ["mail"]


async def test_making_many_jobs_holds_nobody_up(app: Jobs, confirm: Task[[int], str]) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await app.enqueue_many(confirm.build(order) for order in range(2_000))
    counting.cancel()
    assert turns >= 2_000 // 200 + 20


# Loops and threads


async def test_enqueue_sync_refuses_to_block_a_running_loop(
    app: Jobs, broker: CountingBroker, confirm: Task[[int], str]
) -> None:
    with pytest.raises(RuntimeError, match=r"an event loop runs in this thread.*use await task\.enqueue"):
        confirm.enqueue_sync(17)
    assert broker.calls == []


@pytest.fixture(params=["memory", "valkey"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    server: Server = request.getfixturevalue("valkey")
    return server.url


def test_threads_enqueue_at_once_without_an_event_loop(url: str, tenant_name: str) -> None:
    app = Jobs(url, namespace=tenant_name)

    @app.task
    def work(order: int) -> None: ...

    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(work.enqueue_sync, range(200)))
    assert len({handle.id for handle in handles}) == 200
    assert work.enqueue_sync(1).is_new

    async def look() -> int:
        async with app:
            assert {await handle.status() for handle in handles} == {JobState.PENDING}
            return (await app.broker().depths("default")).pending

    assert asyncio.run(look()) == 201
    app.close_sync()


def test_one_application_serves_one_loop_after_another(url: str, tenant_name: str) -> None:
    app = Jobs(url, namespace=tenant_name)

    @app.task
    def work(order: int) -> None: ...

    async def enqueue() -> int:
        async with app:
            await work.enqueue(1)
            return (await app.broker().depths("default")).pending

    assert [asyncio.run(enqueue()) for _ in range(3)] == [1, 2, 3]


def test_an_application_serves_loops_at_the_same_time(url: str, tenant_name: str) -> None:
    app = Jobs(url, namespace=tenant_name)

    @app.task
    def work(order: int) -> None: ...

    async def enqueue() -> list[bool]:
        async with app:
            await asyncio.to_thread(work.enqueue_sync, 1)
            return [(await work.enqueue(1)).is_new for _ in range(20)]

    with ThreadPoolExecutor(3) as pool:
        assert all(all(part) for part in pool.map(lambda _: asyncio.run(enqueue()), range(3)))

    async def count() -> int:
        async with app:
            return (await app.broker().depths("default")).pending

    assert asyncio.run(count()) == 63


def test_nothing_connects_before_it_is_used() -> None:
    app = Jobs("redis://127.0.0.1:1")

    @app.task
    def work(order: int) -> None: ...

    work.build(17)
    work(17)
    app.job("default", UUID(int=7))
    app.close_sync()
    asyncio.run(app.close())
    with pytest.raises(RuntimeError, match="no running event loop"):
        app.broker()
    gc.collect()


async def test_a_store_that_is_not_there_is_an_error_of_ours() -> None:
    async with Jobs("redis://127.0.0.1:1") as app:
        with pytest.raises(StoreError):
            await app.task(lambda: None).enqueue()


async def test_an_application_can_be_used_again_after_it_was_closed(url: str, tenant_name: str) -> None:
    app = Jobs(url, namespace=tenant_name)
    task = app.task(lambda: None)
    first = await task.enqueue()
    await asyncio.to_thread(task.enqueue_sync)
    await app.close()
    await app.close()
    assert await first.status() is JobState.PENDING
    await asyncio.to_thread(task.enqueue_sync)
    await app.close()


async def test_a_function_makes_a_broker_for_each_loop_and_another_for_who_asks() -> None:
    made: list[MemoryBroker] = []

    def make() -> MemoryBroker:
        made.append(MemoryBroker())
        return made[-1]

    app = Jobs(broker=make)
    task = app.task(lambda: None)
    assert made == []
    await task.enqueue()
    await task.enqueue()
    assert len(made) == 1
    await asyncio.to_thread(task.enqueue_sync)
    assert len(made) == 2
    assert app.connect() is made[2]
    assert app.broker() is made[0]
    await app.close()


async def test_memory_keeps_one_set_of_jobs_for_everybody(app: Jobs, broker: CountingBroker) -> None:
    assert app.connect() is app.broker() is broker


async def test_everything_holds_on_a_server_too(valkey: Server, tenant_name: str) -> None:
    async with Jobs(valkey.url, namespace=tenant_name, stage="dev") as app:

        @app.task(result_ttl=60, unique=Unique(by=("order",)))
        async def work(order: int, note: str = "") -> str:
            return note

        first = await work.enqueue(2**63, "é")
        again = await work.enqueue(2**63)
        assert again == first
        assert not again.is_new
        assert (await body_of(app, "default", first.id)).payload == '{"order":9223372036854775808,"note":"é"}'.encode()
        outcomes = await app.enqueue_many(work.build(order) for order in range(250))
        assert {outcome.result for outcome in outcomes} == {EnqueueResult.ENQUEUED}
        assert await first.cancel() is JobState.CANCELLED
        assert await first.wait(5) is JobState.CANCELLED
    async with Jobs(valkey.url, namespace=tenant_name, stage="prod") as other:
        assert await other.job("default", first.id).status() is None, "stages do not meet"


async def test_a_queue_is_configured_in_seconds_and_shown_so(app: Jobs, confirm: Task[[int], str]) -> None:
    settings = await app.configure_queue("default", rate=100, per=timedelta(minutes=1), most_bytes=20)
    assert (settings["rate"], settings["per"], settings["dead_age"]) == (100, 60, 7_776_000)
    with pytest.raises(
        QueueFull, match="queue default: the queue holds 0 bytes and may hold 20: there is no room for "
    ):
        await confirm.enqueue(1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": 5}, "per: got 0, expected the seconds in which `rate` jobs may begin; give both"),
        ({"most_bytes": True}, "most_bytes: got True, expected a whole number of 0 or more"),
        ({"ageing": float("nan")}, "ageing: got nan, expected seconds or a timedelta"),
        ({"quota": 5}, "setting: got 'quota', expected one of: most_bytes, rate, per"),
    ],
)
async def test_a_wrong_setting_is_refused_by_its_name(app: Jobs, changes: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await app.configure_queue("default", **changes)
    assert str(caught.value).startswith(told)
