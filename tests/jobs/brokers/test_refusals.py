"""Calls that no engine makes are refused by name, before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from ropeline.jobs.records import Finish, FinishKind, JobState, Limit, NewJob
from ropeline.lua.errors import ConfigurationError
from tests.jobs.brokers.stage import Stage, new_id, with_places

ID = b"i" * 16
GOOD = NewJob(ID, b"")


def limited(**terms: Any) -> NewJob:
    return NewJob(b"x" * 16, b"", limit=Limit(**{"key": b"k" * 16} | terms))


@pytest.mark.parametrize(
    ("field", "jobs"),
    [
        ("jobs", []),
        ("jobs", [NewJob(bytes([number]) * 16, b"") for number in range(101)]),
        ("id", [GOOD, NewJob(b"short", b"")]),
        ("unique", [GOOD, NewJob(b"x" * 16, b"", unique=b"short")]),
        ("priority", [GOOD, NewJob(b"x" * 16, b"", priority=10)]),
        ("priority", [GOOD, NewJob(b"x" * 16, b"", priority=-1)]),
        ("due", [GOOD, NewJob(b"x" * 16, b"", due=-1)]),
        ("due", [GOOD, NewJob(b"x" * 16, b"", due=1 << 42)]),
        ("delay", [GOOD, NewJob(b"x" * 16, b"", delay=-1)]),
        ("unique_for", [GOOD, NewJob(b"x" * 16, b"", unique_for=-1)]),
        ("limit.key", [GOOD, limited(key=b"short")]),
        ("limit.most", [GOOD, limited(most=-1)]),
        ("limit.most", [GOOD, limited(most=65_536)]),
        ("limit.rate", [GOOD, limited(rate=-1, period=1)]),
        ("limit.rate", [GOOD, limited(rate=65_536, period=1)]),
        ("limit.weight", [GOOD, limited(weight=0)]),
        ("limit.weight", [GOOD, limited(weight=101)]),
        ("limit.period", [GOOD, limited(rate=1)]),
        ("limit.period", [GOOD, limited(rate=1, period=1 << 32)]),
        ("limit.period", [GOOD, limited(period=1 << 32)]),
    ],
)
async def test_an_enqueue_with_one_bad_job_takes_none_in(stage: Stage, field: str, jobs: list[NewJob]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await stage.broker.enqueue(stage.queue, jobs)
    assert refused.value.field == field
    assert await stage.state(ID) is None


async def test_the_ends_of_what_a_limit_may_say_are_taken_in(stage: Stage) -> None:
    for terms in ({"most": 65_535}, {"rate": 65_535, "period": (1 << 32) - 1}, {"rate": 1, "period": 1}):
        await stage.enqueue(limit=Limit(b"k" * 16, **terms))


@with_places
async def test_the_ends_of_what_a_share_may_be_are_taken_in(stage: Stage) -> None:
    for terms in ({"most": 65_535, "weight": 100}, {"weight": 1}):
        await stage.enqueue(limit=Limit(b"k" * 16, **terms))


STEP: dict[str, Any] = {"worker": b"w" * 16, "lane": 0, "call": 1, "claim": 1}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("worker", {"worker": b"short"}),
        ("lane", {"lane": 16}),
        ("lane", {"lane": -1}),
        ("call", {"call": 0}),
        ("claim", {"claim": 65}),
        ("claim", {"claim": -1}),
        ("lease", {"lease": 0}),
        ("hard", {"hard": 0}),
        ("max_lost", {"max_lost": 0}),
        ("finishes", {"finishes": [Finish(FinishKind.COMPLETED, ID, 1)] * 65}),
        ("id", {"finishes": [Finish(FinishKind.COMPLETED, b"short", 1)]}),
        ("fence", {"finishes": [Finish(FinishKind.COMPLETED, ID, -1)]}),
        ("delay", {"finishes": [Finish(FinishKind.RETRY, ID, 1, delay=-1)]}),
        ("keep", {"finishes": [Finish(FinishKind.COMPLETED, ID, 1, keep=-1)]}),
        ("detail", {"finishes": [Finish(FinishKind.PARK, ID, 1, detail=b"d" * 256)]}),
    ],
)
async def test_a_bad_step_claims_nothing(stage: Stage, field: str, change: dict[str, Any]) -> None:
    await stage.enqueue(ID)
    with pytest.raises(ConfigurationError) as refused:
        await stage.broker.step(stage.queue, **STEP | change)
    assert refused.value.field == field
    assert await stage.state(ID) is JobState.PENDING


async def test_a_bad_renewal_is_refused(stage: Stage) -> None:
    for field, worker, held, lease in (
        ("worker", b"short", [(ID, 1)], 1000),
        ("held", ID, [], 1000),
        ("held", ID, [(ID, 1)] * 201, 1000),
        ("id", ID, [(b"short", 1)], 1000),
        ("fence", ID, [(ID, -1)], 1000),
        ("lease", ID, [(ID, 1)], 0),
    ):
        with pytest.raises(ConfigurationError) as refused:
            await stage.broker.renew(stage.queue, worker=worker, held=held, lease=lease)
        assert refused.value.field == field


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.ACTIVE, JobState.HELD, JobState.BLOCKED])
async def test_live_work_cannot_be_purged(stage: Stage, state: JobState) -> None:
    id_ = await stage.enqueue()
    with pytest.raises(ConfigurationError, match="state"):
        await stage.broker.purge(stage.queue, state)
    with pytest.raises(ConfigurationError, match="state"):
        await stage.broker.purge(stage.queue, state, ids=[id_])
    assert await stage.state(id_) is JobState.PENDING


async def test_a_purge_names_at_most_100_ids(stage: Stage) -> None:
    dead = await stage.dead()
    with pytest.raises(ConfigurationError, match="ids"):
        await stage.broker.purge(stage.queue, JobState.DEAD, ids=[dead] * 101)
    assert await stage.state(dead) is JobState.DEAD


@pytest.mark.parametrize("limit", [0, 1001, -1])
async def test_a_page_or_purge_has_1_to_1000_jobs(stage: Stage, limit: int) -> None:
    await stage.dead()
    with pytest.raises(ConfigurationError, match="limit"):
        await stage.broker.purge(stage.queue, JobState.DEAD, limit=limit)
    with pytest.raises(ConfigurationError, match="limit"):
        await stage.broker.jobs_in(stage.queue, JobState.DEAD, limit=limit)
    assert len(await stage.ids_in(JobState.DEAD)) == 1


@pytest.mark.parametrize(
    "cursor", ["x", "1", "0-1", "0-1-zz", "0-x-" + "00" * 16, "0-1-00-", "--", "0-1-00", "9-1-" + "00" * 16]
)
async def test_a_cursor_that_no_page_gave_is_refused(stage: Stage, cursor: str) -> None:
    with pytest.raises(ConfigurationError, match="cursor"):
        await stage.broker.jobs_in(stage.queue, JobState.DEAD, cursor=cursor)


async def test_ids_of_operators_are_16_bytes_and_1_to_100(stage: Stage) -> None:
    for ids in ([], [new_id()] * 101, [b"short"]):
        with pytest.raises(ConfigurationError, match="id"):
            await stage.broker.requeue(stage.queue, ids)
    with pytest.raises(ConfigurationError, match="id"):
        await stage.broker.find(stage.queue, b"short")
    with pytest.raises(ConfigurationError, match="id"):
        await stage.broker.cancel(stage.queue, b"short")


async def test_a_pause_of_less_than_no_time_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="resume_after"):
        await stage.broker.pause(stage.queue, reason="", resume_after=-1)
    assert not (await stage.broker.depths(stage.queue)).paused
