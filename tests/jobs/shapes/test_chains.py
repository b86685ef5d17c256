"""In a chain each job begins when the one before it has completed, on whatever queue, and ends with it when that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ropeline.jobs import PREVIOUS, Discard, Jobs, JobState, Unique, chain
from ropeline.jobs.errors import JobFailed, PayloadTooLarge, ResultGone
from ropeline.jobs.shapes.chains import ChainHandle
from ropeline.jobs.shapes.courier import carry
from ropeline.jobs.task import AsyncTask
from ropeline.lua.errors import ConfigurationError
from tests.jobs.shapes.shaped import beside, new_app, working
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture(params=["memory", "redis"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Jobs]:
    server = request.getfixturevalue("valkey") if request.param == "redis" else None
    async with new_app(server.url if isinstance(server, Server) else "memory://") as app:
        yield app


Noting = AsyncTask[[str], str]
Adding = AsyncTask[[int, int], int]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def note(app: Jobs, notes: list[str]) -> Noting:
    @app.task(name="note")
    async def note(word: str) -> str:
        notes.append(word)
        return f"{word}."

    return note


@pytest.fixture
def add(app: Jobs) -> Adding:
    @app.task(name="add", result_ttl=60)
    async def add(first: int, second: int) -> int:
        return first + second

    return add


@pytest.fixture
def fail(app: Jobs) -> AsyncTask[[], None]:
    @app.task(name="fail")
    async def fail() -> None:
        raise Discard("it must")

    return fail


async def test_the_jobs_of_a_chain_run_one_after_the_other_over_queues(
    app: Jobs, note: Noting, notes: list[str]
) -> None:
    elsewhere = note.using(queue_name="mail")
    handle = await app.enqueue(chain(note.build("a"), elsewhere.build("b"), note.build("c"), elsewhere.build("d")))
    assert handle.is_new
    async with working(app):
        assert await handle.wait(10) is None, "nothing is kept of any of them"
    assert notes == ["a", "b", "c", "d"]


async def test_a_result_is_an_argument_of_the_next_job_and_the_last_one_is_the_chains(app: Jobs, add: Adding) -> None:
    handle = await app.enqueue(chain(add.build(1, 2), add.build(PREVIOUS, 10), add.build(100, PREVIOUS)))
    async with working(app):
        result: int = await handle.result(10)
    assert result == 113
    assert await handle.status() is JobState.COMPLETED


async def test_a_result_that_is_not_kept_is_handed_on_all_the_same(app: Jobs, note: Noting, notes: list[str]) -> None:
    handle = await app.enqueue(chain(note.build("a"), note.build(PREVIOUS), note.using(result_ttl=60).build(PREVIOUS)))
    async with working(app):
        assert await handle.result(10) == "a...", "each adds a dot"
    assert notes == ["a", "a.", "a.."]


async def test_an_argument_from_before_reads_what_another_codec_wrote(app: Jobs, notes: list[str]) -> None:
    other = beside(app, codec="msgpack")

    @app.task(name="wrap", queue="mail")
    async def wrap(data: bytes) -> bytes:
        return data + b"\xff"

    @other.task(name="show")
    async def show(data: bytes) -> None:
        notes.append(data.hex())

    await app.enqueue(chain(wrap.build(b"\x00"), show.build(PREVIOUS)))
    async with other, working(app, "mail"), working(other, "default"):
        await wait_until(lambda: notes == ["00ff"])


async def test_a_chain_ends_where_a_job_fails_and_goes_on_when_that_is_requeued(
    app: Jobs, note: Noting, notes: list[str]
) -> None:
    is_ready: list[bool] = []

    @app.task(name="perhaps")
    async def perhaps() -> None:
        if not is_ready:
            raise Discard("not yet")

    handle = await app.enqueue(chain(note.build("a"), perhaps.build(), note.build("b")))
    assert isinstance(handle, ChainHandle)
    broken = handle.jobs[1]
    async with working(app):
        assert await handle.wait(10) is JobState.DEAD
        with pytest.raises(JobFailed, match="not yet"):
            await handle.result(10)
        assert notes == ["a"]
        is_ready.append(True)
        await app.broker().requeue("default", [bytes.fromhex(broken.id)])
        await wait_until(lambda: notes == ["a", "b"])


async def test_cancelling_a_chain_cancels_the_job_whose_turn_it_is_and_none_follows(
    app: Jobs, note: Noting, notes: list[str]
) -> None:
    waits = note.using(run_after=3600).build("b")
    handle = await app.enqueue(chain(note.build("a"), waits, note.build("c")))
    async with working(app):
        await wait_until(lambda: notes == ["a"])

        async def is_waiting() -> bool:
            return await handle.status() is JobState.SCHEDULED

        await wait_until(is_waiting)
        assert await handle.cancel() is JobState.CANCELLED
        assert await handle.wait(10) is JobState.CANCELLED
    assert notes == ["a"]


async def test_a_job_on_its_way_counts_as_pending(app: Jobs, add: Adding) -> None:
    handle = await app.enqueue(chain(add.using(queue_name="elsewhere").build(1, 2), add.build(PREVIOUS, 3)))
    assert await handle.status() is JobState.PENDING
    async with working(app, "elsewhere") as worker:
        # A worker of this queue alone brings the next job to the other queue.
        await wait_until(lambda: worker.metrics.round_trips > 0)

        async def has_arrived() -> bool:
            return (await app.broker().depths("default")).pending == 1

        await wait_until(has_arrived)
    assert await handle.status() is JobState.PENDING
    async with working(app):
        assert await handle.result(10) == 6


async def test_what_a_worker_left_in_the_outbox_is_carried_by_the_next_one(app: Jobs, add: Adding) -> None:
    handle = await app.enqueue(chain(add.build(1, 2), add.using(queue_name="mail").build(PREVIOUS, 3)))
    # A worker that completes the first job, and dies before it carries anything: the step is all that is seen of it.
    from ropeline.jobs.worker.handlers import TaskHandlers, TaskRun
    from ropeline.jobs.worker.run import Run

    broker, worker = app.broker(), bytes(16)
    [job] = (await broker.step("default", worker=worker, lane=0, call=1, claim=1)).claimed
    run = TaskHandlers(app.tasks).prepare(Run("default", job, 0, 0, 0))
    assert isinstance(run, TaskRun)
    reply = await broker.step("default", worker=worker, lane=0, call=2, finishes=[run.completed(await run.call())])
    assert reply.outgoing == 1
    assert await handle.status() is JobState.PENDING, "it is on its way"
    async with working(app):
        assert await handle.result(10) == 6
    assert await carry(broker, "default") == 0


async def test_chains_in_a_chain_are_one_chain(app: Jobs, note: Noting, notes: list[str]) -> None:
    first, second = chain(note.build("a"), note.build("b")), chain(note.build("c"), note.build("d"))
    await app.enqueue_many([chain(first, second, note.build("e"))])
    async with working(app):
        await wait_until(lambda: len(notes) == 5)
    assert notes == list("abcde")


async def test_a_chain_of_one_is_that_job(app: Jobs, add: Adding) -> None:
    handle = await app.enqueue(chain(add.build(1, 2)))
    async with working(app):
        assert await handle.result(10) == 3


async def test_a_chain_that_cannot_be_is_refused_where_it_is_made(app: Jobs, add: Adding, note: Noting) -> None:
    draft = add.build(1, 2)
    with pytest.raises(ConfigurationError, match="none comes before it"):
        chain(add.build(PREVIOUS, 1), draft)
    with pytest.raises(ConfigurationError, match="unique"):
        chain(draft, add.using(unique=Unique()).build(1, 2))
    with pytest.raises(ConfigurationError, match="unique"):
        add.using(unique=Unique()).build(PREVIOUS, 2)
    with pytest.raises(ConfigurationError, match="for one argument"):
        add.build(PREVIOUS, PREVIOUS)
    with pytest.raises(PayloadTooLarge):
        chain(*(note.build("x" * 300_000) for _ in range(4)))


async def test_a_job_that_is_to_take_a_result_and_has_none_before_it_is_a_dead_letter(app: Jobs, add: Adding) -> None:
    handle = await app.enqueue(add.build(PREVIOUS, 1))
    async with working(app):
        with pytest.raises(JobFailed, match="no job comes before"):
            await handle.result(10)


async def test_a_result_that_the_next_job_does_not_take_makes_that_one_a_dead_letter(
    app: Jobs, note: Noting, add: Adding
) -> None:
    handle = await app.enqueue(chain(note.build("a"), add.build(PREVIOUS, 1)))
    async with working(app):
        with pytest.raises(JobFailed, match="expected int"):
            await handle.result(10)


async def test_a_result_too_large_to_be_handed_on_ends_the_chain(app: Jobs, note: Noting, notes: list[str]) -> None:
    handle = await app.enqueue(chain(note.build("x" * 300_000), note.build(PREVIOUS)))
    async with working(app):
        with pytest.raises(JobFailed, match="at most 262,144"):
            await handle.result(10)
    assert len(notes) == 1


async def test_a_chain_whose_jobs_are_gone_has_no_result(app: Jobs, note: Noting) -> None:
    handle = await app.enqueue(chain(note.build("a"), note.build("b")))
    async with working(app):
        with pytest.raises(ResultGone):
            await handle.result(10)
    assert await handle.cancel() is None
