"""Groups, chords and splits: jobs that run in parallel, what runs when all have ended, and what becomes of it when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ropeline.jobs import (
    PREVIOUS,
    Discard,
    JobContext,
    Jobs,
    JobState,
    PartState,
    Progress,
    Split,
    Unique,
    chain,
    chord,
    group,
)
from ropeline.jobs.errors import JobFailed, PayloadTooLarge
from ropeline.jobs.task import AsyncTask
from ropeline.lua.errors import ConfigurationError
from tests.jobs.shapes.shaped import new_app, working
from tests.servers import Server
from tests.support import wait_until


@pytest.fixture(params=["memory", "redis"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Jobs]:
    server = request.getfixturevalue("valkey") if request.param == "redis" else None
    async with new_app(server.url if isinstance(server, Server) else "memory://") as app:
        yield app


@pytest.fixture
def square(app: Jobs) -> AsyncTask[[int], int]:
    @app.task(name="square")
    async def square(number: int) -> int:
        if number < 0:
            raise Discard("below zero")
        return number * number

    return square


@pytest.fixture
def total(app: Jobs) -> AsyncTask[[list[int | None]], int]:
    @app.task(name="total", result_ttl=60)
    async def total(numbers: list[int | None]) -> int:
        return sum(number or 0 for number in numbers)

    return total


async def test_the_result_of_a_group_is_the_list_of_its_jobs_results(app: Jobs, square: AsyncTask[[int], int]) -> None:
    elsewhere = square.using(queue_name="mail")
    handle = await app.enqueue(group([square.build(1), elsewhere.build(2), square.build(3), elsewhere.build(4)]))
    async with working(app):
        results: list[int] = await handle.result(10)
    assert results == [1, 4, 9, 16]
    assert await handle.progress() == Progress(4, 0, 4)


async def test_a_chord_runs_its_last_job_with_the_results_of_the_others(
    app: Jobs, square: AsyncTask[[int], int], total: AsyncTask[[list[int | None]], int]
) -> None:
    handle = await app.enqueue(chord([square.build(number) for number in range(120)], total.build(PREVIOUS)))
    assert await handle.status() is JobState.PENDING
    async with working(app):
        assert await handle.result(20) == sum(number * number for number in range(120))


async def test_a_chord_of_nothing_runs_its_last_job(app: Jobs, total: AsyncTask[[list[int | None]], int]) -> None:
    handle = await app.enqueue(chord([], total.build(PREVIOUS)))
    async with working(app):
        assert await handle.result(10) == 0


async def test_a_job_that_fails_fails_the_group_with_its_reason(app: Jobs, square: AsyncTask[[int], int]) -> None:
    later = square.using(run_after=3600)
    handle = await app.enqueue(group([square.build(1), square.build(-1), later.build(5)]))
    async with working(app):
        with pytest.raises(JobFailed, match="part 1: discarded: below zero"):
            await handle.result(10)

        async def is_stopped() -> bool:
            return (await app.broker().depths("default")).scheduled == 0

        await wait_until(is_stopped)


async def test_a_group_may_go_on_without_those_that_fail(
    app: Jobs, square: AsyncTask[[int], int], total: AsyncTask[[list[int | None]], int]
) -> None:
    seen: list[tuple[PartState | None, object, str]] = []

    @app.task(name="tell", result_ttl=60)
    async def tell(job: JobContext, numbers: list[int | None]) -> int:
        seen.extend((outcome.state, outcome.value, outcome.error) for outcome in job.outcomes)
        return len(numbers)

    parts = [square.build(2), square.build(-1)]
    plain = await app.enqueue(group(parts, on_failure="continue"))
    told = await app.enqueue(chord(parts, tell.build(PREVIOUS), on_failure="continue"))
    async with working(app):
        assert await plain.result(10) == [4, None]
        assert await told.result(10) == 2
    assert seen == [(PartState.COMPLETED, 4, ""), (PartState.DEAD, None, "discarded: below zero")]


async def test_a_handler_splits_its_own_job(
    app: Jobs, square: AsyncTask[[int], int], total: AsyncTask[[list[int | None]], int]
) -> None:
    @app.task(name="squares", result_ttl=60)
    async def squares(many: int) -> Split[int]:
        return Split((square.build(number) for number in range(many)), total.build(PREVIOUS))

    @app.task(name="maybe", result_ttl=60)
    def maybe(many: int) -> int | Split[list[int]]:
        return Split([square.build(number) for number in range(many)]) if many else 0

    handle = await squares.enqueue(4)
    lists = [await maybe.enqueue(3), await maybe.enqueue(0)]
    async with working(app):
        assert await app.job("default", handle.id).result(10) == 14
        assert [await each.result(10) for each in lists[1:]] == [0]
        assert await app.job("default", lists[0].id).result(10) == [0, 1, 4]


async def test_what_finishes_a_split_job_keeps_its_result_for_as_long_as_the_job_says(
    app: Jobs, square: AsyncTask[[int], int]
) -> None:
    @app.task(name="add")
    async def add(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="whole", result_ttl=60)
    async def whole() -> Split[int]:
        return Split([square.build(2), square.build(3)], add.build(PREVIOUS))

    handle = await whole.enqueue()
    async with working(app):
        assert await app.job("default", handle.id).result(10) == 13


async def test_chains_groups_and_chords_hold_each_other(
    app: Jobs, square: AsyncTask[[int], int], total: AsyncTask[[list[int | None]], int]
) -> None:
    inner = chord([square.build(2), square.build(3)], total.build(PREVIOUS))
    row = chain(square.build(2), square.build(PREVIOUS), square.build(PREVIOUS))
    rest = group([square.build(5)])
    handle = await app.enqueue(
        chain(
            square.build(1),
            chord([inner, row], total.build(PREVIOUS)),
            square.build(PREVIOUS),
            rest,
        )
    )
    last = await app.enqueue(
        chain(chord([inner, row], total.build(PREVIOUS)), square.using(result_ttl=60).build(PREVIOUS))
    )
    async with working(app):
        assert await last.result(20) == (13 + 256) ** 2
        assert await handle.result(20) == [25]


async def test_a_stopped_group_ends_with_what_there_is(app: Jobs) -> None:
    begun = asyncio.Event()

    @app.task(name="count")
    async def count(job: JobContext) -> int:
        begun.set()
        await wait_until(lambda: job.stopped)
        return 7

    parts = [count.build(), count.using(run_after=3600).build()]
    handle = await app.enqueue(group(parts))
    async with working(app, lease=1) as worker:
        await begun.wait()
        assert await handle.progress() == Progress(0, 0, 2)
        assert await handle.stop() is JobState.BLOCKED
        assert await handle.result(10) == [7, None]
        outcomes = await handle.outcomes()
        assert outcomes is not None
        assert [outcome.state for outcome in outcomes] == [PartState.COMPLETED, PartState.CANCELLED]
        assert worker.failure is None


async def test_a_result_too_large_for_a_part_makes_it_a_dead_letter(app: Jobs) -> None:
    @app.task(name="large")
    async def large(size: int) -> str:
        return "x" * size

    fine = await app.enqueue(group([large.build(16_000)]))
    wrong = await app.enqueue(group([large.build(17_000)]))
    async with working(app):
        assert await fine.result(10) == ["x" * 16_000]
        with pytest.raises(JobFailed, match=r"part 0: result: .* a part leaves at most 16,384"):
            await wrong.result(10)


async def test_a_group_that_cannot_be_is_refused_where_it_is_made(app: Jobs, square: AsyncTask[[int], int]) -> None:
    @app.task(name="text")
    async def text(word: str) -> None: ...

    with pytest.raises(ConfigurationError, match="one job or more"):
        group([])
    with pytest.raises(ConfigurationError, match="at most 1,000"):
        Split(square.build(number) for number in range(1001))
    with pytest.raises(ConfigurationError, match="unique"):
        group([square.using(unique=Unique()).build(1)])
    with pytest.raises(ConfigurationError, match="PREVIOUS"):
        group([square.build(PREVIOUS)])
    with pytest.raises(ConfigurationError, match="fail, continue"):
        group([square.build(1)], on_failure="stop")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ConfigurationError, match="goes on after it"):
        chord([square.build(1)], chain(square.build(1), square.build(PREVIOUS)))
    with pytest.raises(PayloadTooLarge):
        group([text.build("x" * 500_000), text.build("y" * 500_000)])
