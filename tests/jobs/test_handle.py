"""A handle tells how a job stands, waits for its end without haste, and gives its result or the reason why there is none."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice, pairwise
from typing import Any

import pytest

from ropeline.jobs.app import Jobs
from ropeline.jobs.errors import JobFailed, ResultGone
from ropeline.jobs.handle import JobHandle, pauses
from ropeline.jobs.ids import new_id
from ropeline.jobs.records import Finish, FinishKind, JobState
from ropeline.lua.errors import ConfigurationError

WORKER = b"w" * 16


@pytest.fixture
async def app() -> AsyncIterator[Jobs]:
    async with Jobs("memory://") as app:
        yield app


async def finish(app: Jobs, kind: FinishKind, call: int = 1, **details: Any) -> None:
    """Claim the one pending job and end its run, as a worker does."""
    reply = await app.broker().step("default", worker=WORKER, lane=0, call=call, claim=1)
    (claimed,) = reply.claimed
    ended = Finish(kind, claimed.id, claimed.fence, **details)
    await app.broker().step("default", worker=WORKER, lane=0, call=call + 1, finishes=[ended])


async def test_a_job_is_pending_then_scheduled_active_and_cancelled_as_its_queue_says(app: Jobs) -> None:
    @app.task
    def work() -> None: ...

    handle = await work.enqueue()
    assert await handle.status() is JobState.PENDING
    assert await (await work.using(run_after=60).enqueue()).status() is JobState.SCHEDULED
    await app.broker().step("default", worker=WORKER, lane=0, call=1, claim=1)
    assert await handle.status() is JobState.ACTIVE
    assert await handle.cancel() is JobState.ACTIVE
    other = await work.using(run_after=60).enqueue()
    assert await other.cancel() is JobState.CANCELLED
    assert await other.wait(0) is JobState.CANCELLED


async def test_a_job_that_nobody_has_heard_of_has_no_status(app: Jobs) -> None:
    handle = app.job("default", new_id())
    assert await handle.status() is None
    assert await handle.wait(5) is None
    assert await handle.cancel() is None
    with pytest.raises(ResultGone, match=f"job {handle.id}: no result is kept"):
        await handle.result()


async def test_the_result_has_the_type_that_the_task_returns(app: Jobs) -> None:
    @app.task(result_ttl=60)
    def tags() -> set[str]:
        return {"a", "b"}

    handle = await tags.enqueue()
    waiting = asyncio.create_task(handle.result(timeout=5))
    await finish(app, FinishKind.COMPLETED, result=tags.arguments.dump_result(tags()), keep=60_000)
    assert await waiting == {"a", "b"}
    assert await handle.wait() is JobState.COMPLETED
    assert await tags.handle(handle.id).result() == {"a", "b"}
    assert await app.job("default", handle.id).result() == ["a", "b"], "plain data, without the task"


async def test_without_a_result_ttl_there_is_an_end_and_no_result(app: Jobs) -> None:
    @app.task
    def work() -> int:
        return 5

    handle = await work.enqueue()
    await finish(app, FinishKind.COMPLETED)
    assert await handle.wait(5) in {None, JobState.COMPLETED}
    with pytest.raises(ResultGone):
        await handle.result()


@pytest.mark.parametrize(
    ("kind", "state", "details", "reason"),
    [
        (FinishKind.DEAD, "dead", {"detail": b"attempts", "error": b"ValueError: no"}, "attempts: ValueError: no"),
        (FinishKind.DEAD, "dead", {"detail": b"discarded"}, "discarded"),
        (FinishKind.CANCELLED, "cancelled", {}, ""),
    ],
)
async def test_a_job_without_a_result_says_why(
    app: Jobs, kind: FinishKind, state: str, details: Any, reason: str
) -> None:
    @app.task(result_ttl=60)
    def work() -> int:
        return 5

    handle = await work.enqueue()
    await finish(app, kind, **details)
    with pytest.raises(JobFailed) as caught:
        await handle.result(timeout=5)
    assert (caught.value.id.hex(), caught.value.state) == (handle.id, state)
    assert reason in caught.value.reason
    assert f"job {handle.id} is {state}: " in str(caught.value)


async def test_waiting_ends_when_its_time_is_over(app: Jobs) -> None:
    @app.task
    def work() -> None: ...

    handle = await work.enqueue()
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError, match=rf"job {handle.id} is pending and has not ended within {timeout} s"):
            await handle.wait(timeout)
    with pytest.raises(TimeoutError):
        await handle.result(0)
    for wrong in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match="timeout: got"):
            await handle.wait(wrong)


def test_waiting_asks_after_pauses_that_grow_from_20_to_500_ms() -> None:
    first = list(islice(pauses(), 30))
    assert first[0] == 0.02
    assert first[-1] == 0.5
    assert all(after == pytest.approx(min(before * 1.5, 0.5)) for before, after in pairwise(first))


async def test_two_handles_of_one_job_are_equal(app: Jobs) -> None:
    @app.task
    def work() -> None: ...

    handle = await work.enqueue()
    assert handle.is_new
    assert {handle, work.handle(handle.id), app.job("default", handle.id)} == {handle}
    assert handle != app.job("other", handle.id)
    assert handle != handle.id
    assert repr(handle) == f"<JobHandle {handle.id} in default>"
    assert isinstance(handle, JobHandle)
