"""A broker whose clock a test holds, and what tests of brokers say often: enqueue a job, step as a worker, look at a job."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ropeline.jobs.broker import Broker
from ropeline.jobs.brokers.memory import FakeClock, MemoryBroker
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.brokers.streams import StreamsBroker
from ropeline.jobs.records import (
    Claimed,
    Enqueued,
    EnqueueResult,
    Finish,
    FinishKind,
    FinishResult,
    JobState,
    JobView,
    NewJob,
    Renewal,
    StepReply,
)
from tests.servers import patient

__all__ = [
    "BROKERS",
    "DAY",
    "ENDS",
    "STORES",
    "Stage",
    "TestTime",
    "Worker",
    "in_written_order",
    "on_stores",
    "open_stage",
    "with_places",
]

BROKERS = ["memory", "redis", "streams"]
STORES = ["valkey", "redis7", "cluster"]
"""Fixtures of servers that a broker may keep its jobs on."""
DAY = 86_400_000
ENDS = [kind for kind in FinishKind if kind is not FinishKind.SPLIT]
"""How a run may end that needs no more to be said."""


def on_stores(*brokers: str) -> list[str]:
    """What names each of these brokers on every kind of store to the fixture `stage`."""
    return [f"{broker} on {store}" for broker in brokers if broker != "memory" for store in STORES] + [
        broker for broker in brokers if broker == "memory"
    ]


with_places = pytest.mark.parametrize("stage", on_stores("memory", "redis"), indirect=True)
"""The test is about what a broker promises that keeps places."""
in_written_order = pytest.mark.parametrize("stage", on_stores("streams"), indirect=True)
"""The test is about what one promises that does not."""
NAMESPACE = "broker-tests"
_stages = itertools.count(1)
_ids = itertools.count(1)
_workers = itertools.count(1)


@dataclass
class StoreTime:
    """What stands for the server's clock (us) and run id."""

    now: int
    run: str = "run-1"


class TestTime:
    """One moment for all brokers of a test: wall ms for one in memory, us for a store."""

    __test__ = False

    def __init__(self) -> None:
        self.memory = FakeClock(1_700_000_000_000)
        self.store = StoreTime(self.memory.now * 1000)

    @property
    def now(self) -> int:
        """Wall ms."""
        return self.memory.now

    def advance(self, milliseconds: int) -> None:
        self.store.now += milliseconds * 1000
        self.memory.advance(milliseconds)


@dataclass
class Worker:
    """A lane of a worker process: numbers its calls."""

    stage: Stage
    id: bytes = field(default_factory=lambda: b"worker%010d" % next(_workers))
    lane: int = 0
    call: int = 0

    async def step(self, *finishes: Finish, repeat: bool = False, **options: Any) -> StepReply:
        self.call += 0 if repeat else 1
        return await self.stage.broker.step(
            self.stage.queue, worker=self.id, lane=self.lane, call=self.call, finishes=finishes, **options
        )

    async def step_when_woken(self, seconds: float, *, woken: Callable[[], object], claim: int) -> StepReply:
        self.call += 1
        return await self.stage.broker.step_when_woken(
            self.stage.queue, seconds, woken=woken, worker=self.id, lane=self.lane, call=self.call, claim=claim
        )

    async def claim(self, most: int = 1, **options: Any) -> list[Claimed]:
        return (await self.step(claim=most, **options)).claimed

    async def claim_one(self, **options: Any) -> Claimed:
        [job] = await self.claim(1, **options)
        return job

    async def finish(self, job: Claimed, kind: FinishKind, **details: Any) -> FinishResult:
        [result] = (await self.step(Finish(kind, job.id, job.fence, **details))).finished
        return result

    async def renew(self, *jobs: Claimed, lease: int = 30_000) -> list[Renewal]:
        held = [(job.id, job.fence) for job in jobs]
        return await self.stage.broker.renew(self.stage.queue, worker=self.id, held=held, lease=lease)


@dataclass
class Stage:
    """A broker, its clock and one queue."""

    broker: Broker
    time: TestTime
    queue: str = "work"

    async def enqueue(self, id: bytes = b"", **details: Any) -> bytes:
        """Take in one job, by a new id if none is given; it must be taken in."""
        job_id = id or new_id()
        assert await self.try_enqueue(job_id, **details) == Enqueued(EnqueueResult.ENQUEUED, b"")
        return job_id

    async def try_enqueue(self, id: bytes = b"", **details: Any) -> Enqueued:
        [answer] = await self.broker.enqueue(
            self.queue, [NewJob(id or new_id(), details.pop("body", b"body"), **details)]
        )
        return answer

    async def look(self, id: bytes) -> JobView:
        view = await self.broker.find(self.queue, id)
        assert view is not None, f"job {id.hex()} is not there"
        return view

    async def state(self, id: bytes) -> JobState | None:
        view = await self.broker.find(self.queue, id)
        return None if view is None else view.state

    async def counters(self) -> dict[str, int]:
        """The counters that are not 0."""
        depths = await self.broker.depths(self.queue)
        return {name: number for name, number in depths.counters.items() if number}

    async def ids_in(self, state: JobState) -> list[bytes]:
        page = await self.broker.jobs_in(self.queue, state, limit=1000)
        return [job.id for job in page.jobs]

    def worker(self) -> Worker:
        return Worker(self)

    async def dead(self, **details: Any) -> bytes:
        """A job that is a dead letter."""
        id_ = await self.enqueue(**details)
        worker = self.worker()
        job = await worker.claim_one()
        assert job.id == id_
        await worker.finish(job, FinishKind.DEAD, error=b"no", detail=b"attempts")
        return id_

    async def active(self, **details: Any) -> tuple[Worker, Claimed]:
        """A job that a worker holds."""
        id_ = await self.enqueue(**details)
        worker = self.worker()
        job = await worker.claim_one()
        assert job.id == id_
        return worker, job

    async def pass_time(self, milliseconds: int) -> None:
        """Let time pass as on a queue that somebody tends: a call each 5 s, so that the queue clock keeps up."""
        tending = self.worker()
        while milliseconds > 0:
            self.time.advance(min(milliseconds, 5_000))
            milliseconds -= 5_000
            await tending.step()


def new_id() -> bytes:
    return next(_ids).to_bytes(16, "big")


@asynccontextmanager
async def open_stage(kind: str, url: str, time: TestTime | None = None) -> AsyncIterator[Stage]:
    """A stage that no other test uses, kept by the broker of this kind; `url`: where a store is for one that needs it."""
    time = time or TestTime()
    broker: Broker
    if kind == "memory":
        broker = MemoryBroker(clock=time.memory)
    else:
        kind_of = {"redis": RedisBroker, "streams": StreamsBroker}[kind]
        broker = kind_of(patient(url), namespace=NAMESPACE, stage=f"stage-{next(_stages)}", test_clock=time.store)
    try:
        yield Stage(broker, time)
    finally:
        await broker.close()
