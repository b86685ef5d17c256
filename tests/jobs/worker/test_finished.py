"""A job that has completed does not run again, when its worker remembers that."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ropeline.jobs import Jobs, Split
from ropeline.jobs.brokers.memory import MemoryBroker
from ropeline.jobs.records import Claimed, FinishKind, NewJob
from ropeline.jobs.task import Task
from ropeline.jobs.worker.handlers import TaskHandlers, TaskRun
from ropeline.jobs.worker.run import Run
from ropeline.lua.errors import ConfigurationError, StoreTimeout


class Forgetful(MemoryBroker):
    """Does not answer when something is to be remembered."""

    async def mark(self, key: bytes, keep: int) -> None:
        raise StoreTimeout("no answer")


def delivery(app: Jobs, job: NewJob, fence: int = 1) -> TaskRun:
    """The job as a worker has it before it calls the handler."""
    run = Run("default", Claimed(job.id, job.body, fence, 0, 0, 0, 0), sent=0, safe_until=1e12, hard_end=1e12)
    prepared = TaskHandlers(app.tasks).prepare(run)
    assert isinstance(prepared, TaskRun)
    return prepared


@pytest.mark.parametrize("kind", ["asynchronous", "threaded"])
async def test_a_redelivery_of_a_job_that_has_completed_runs_no_handler(kind: str) -> None:
    app, ran = Jobs(broker=MemoryBroker()), []

    @app.task(finished_ttl=60)
    async def asynchronous(number: int) -> None:
        ran.append(number)

    @app.task(finished_ttl=60)
    def threaded(number: int) -> None:
        ran.append(number)

    tasks: dict[str, Task[[int], None]] = {"asynchronous": asynchronous, "threaded": threaded}
    job = tasks[kind].build(7).job
    for fence in (1, 2):
        prepared = delivery(app, job, fence)
        value = await prepared.call() if prepared.is_async else await called_in_thread(prepared)
        assert prepared.completed(value).kind is FinishKind.COMPLETED
    assert ran == [7]
    await delivery(app, asynchronous.build(8).job).call()
    assert ran == [7, 8], "another job"
    await app.close()


async def called_in_thread(prepared: TaskRun) -> object:
    return await asyncio.to_thread(prepared.call)


async def test_a_run_that_failed_is_not_remembered() -> None:
    app, ran = Jobs(broker=MemoryBroker()), []

    @app.task(finished_ttl=60)
    async def fails_once() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise OSError("no")

    job = fails_once.build().job
    with pytest.raises(OSError, match="no"):
        await delivery(app, job).call()
    await delivery(app, job, 2).call()
    assert ran == [1, 1]


async def test_work_that_is_done_is_done_when_it_cannot_be_remembered(caplog: pytest.LogCaptureFixture) -> None:
    app, ran = Jobs(broker=Forgetful()), []

    @app.task(finished_ttl=60)
    async def work() -> None:
        ran.append(1)

    with caplog.at_level(logging.WARNING):
        await delivery(app, work.build().job).call()
    assert ran == [1]
    assert "could not be remembered: no answer" in caplog.text


async def test_jobs_whose_result_somebody_wants_and_those_that_split_are_not_remembered() -> None:
    app, ran = Jobs(broker=MemoryBroker()), []

    @app.task(finished_ttl=60, result_ttl=60)
    async def asked() -> int:
        ran.append("asked")
        return 1

    @app.task(finished_ttl=60)
    async def parted() -> Split[int]:
        ran.append("parted")
        return Split([asked.build()])

    for task in (asked, parted):
        job = task.build().job
        for fence in (1, 2):
            await delivery(app, job, fence).call()
    assert ran == ["asked", "asked", "parted", "parted"]


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="finished_ttl: got -1, expected seconds"):
        Jobs("memory://").task(finished_ttl=-1)(lambda: None)
