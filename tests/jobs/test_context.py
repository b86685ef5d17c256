"""A handler learns which job and which run it is, and whether to stop, however deep in its calls it asks."""

import asyncio
import threading
from contextvars import copy_context
from dataclasses import dataclass

from ropeline.jobs.context import JobContext, current_job, enter, running


@dataclass
class Flags:
    is_lost: bool = False
    is_cancelled: bool = False
    fence: int = 7
    is_stopped: bool = False


def a_job(id_: str = "00" * 16, *, attempt: int = 1, flags: Flags | None = None) -> JobContext:
    return JobContext(id=id_, task="order:confirm", queue="mail", attempt=attempt, max_attempts=5, flags=flags)


def test_the_last_attempt_leaves_none() -> None:
    assert [a_job(attempt=number).attempts_left for number in (1, 4, 5, 6)] == [4, 1, 0, 0]


def test_a_stop_is_looked_up_when_asked() -> None:
    flags = Flags()
    job = a_job(flags=flags)
    seen = [job.stopped, a_job().stopped]
    flags.is_stopped = True
    assert [*seen, job.stopped] == [False, False, True]


def test_lost_and_cancelled_are_looked_up_when_asked() -> None:
    flags = Flags()
    job = a_job(flags=flags)
    assert (job.lost, job.cancelled) == (False, False)
    flags.is_lost = True
    assert (job.lost, job.cancelled) == (True, False)
    flags.is_cancelled = True
    assert job.cancelled
    assert (a_job().lost, a_job().cancelled) == (False, False)


def test_there_is_a_current_job_inside_a_run_only() -> None:
    assert current_job() is None
    outer, inner = a_job(), a_job("11" * 16)
    with running(outer):
        assert current_job() is outer
        with running(inner):
            assert current_job() is inner
        assert current_job() is outer
    assert current_job() is None


def test_a_job_entered_in_a_context_of_its_own_stays_there() -> None:
    context, job = copy_context(), a_job()
    context.run(enter, job)
    assert context.run(current_job) is job
    assert current_job() is None


async def test_tasks_of_one_loop_do_not_see_each_others_job() -> None:
    async def run(job: JobContext) -> bool:
        with running(job):
            await asyncio.sleep(0)
            inherited = await asyncio.create_task(ask())
            return current_job() is job and inherited is job

    async def ask() -> JobContext | None:
        return current_job()

    assert all(await asyncio.gather(*(run(a_job(f"{number:032x}")) for number in range(10))))


async def test_a_thread_that_a_handler_starts_with_its_context_knows_the_job() -> None:
    with running(a_job()):
        assert await asyncio.to_thread(current_job) is not None
        seen: list[JobContext | None] = []
        thread = threading.Thread(target=lambda: seen.append(current_job()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_job_shows_itself_in_a_log() -> None:
    assert repr(a_job(attempt=2)) == f"<JobContext order:confirm {'00' * 16} attempt 2 of 5>"
