"""Fills a queue in every state that a job can be in, by the calls that workers, producers and operators make."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ropeline.jobs.broker import LARGEST_ENQUEUE, LARGEST_HAND_OUT, LARGEST_STEP
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.cron.cron_jobs import CronJob
from ropeline.jobs.ids import new_id
from ropeline.jobs.payloads.envelope import pack_plain
from ropeline.jobs.records import (
    Claimed,
    Finish,
    FinishKind,
    HandOver,
    Limit,
    NewJob,
    Outgoing,
    OutgoingKind,
    Part,
    SplitOrder,
)
from ropeline.lua.client import Client
from ropeline.lua.lock_scripts import LockListScripts
from ropeline.lua.queue_scripts import pack_job, pack_jobs

__all__ = [
    "DAY",
    "DEEP_KEY",
    "FIRST_TYPE",
    "OTHER",
    "QUEUE",
    "SECOND_TYPE",
    "TASK",
    "Depth",
    "Filled",
    "cron_job",
    "dead",
    "failed",
    "gone",
    "kept",
    "parked",
    "plain_job",
    "split_in",
]

QUEUE: Final = "deep"
OTHER: Final = "other"
DAY: Final = 86_400_000
DEEP_KEY: Final = b"the key of many."
FIRST_TYPE, SECOND_TYPE = b"first", b"second"
_CRON_JOBS = 1000
_AT_ONCE = 16
TASK: Final = b"depth"
_BODY = pack_plain(TASK, b"x" * 100, 1, 0)


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs: `pending`, `held` under one key, and in `each` other set."""

    pending: int
    held: int
    each: int


def plain_job(**options: Any) -> NewJob:
    """A job with 100 bytes of payload."""
    return NewJob(new_id(), _BODY, **options)


class Filled:
    """A queue, its broker and a worker's numbers. `told` hears of the progress. `suspects`, `deep`: ids of such jobs."""

    def __init__(self, broker: RedisBroker, depth: Depth, told: Callable[[str], object] = lambda _: None) -> None:
        self.broker, self.depth, self._told = broker, depth, told
        self.worker = os.urandom(16)
        self.call = 0
        self.suspects: list[bytes] = []
        self.deep: list[bytes] = []

    async def fill(self) -> None:
        """Everything, the million last: until then claims find what they are to find."""
        each = self.depth.each
        # Otherwise the older half of the dead letters would go while the others come.
        await self.broker.configure(QUEUE, {"dead_count": 10 * each})
        await self._ended(each)
        await self._waiting(each)
        await self._keyed(each)
        await self._around(each)
        self._told(f"{self.depth.held:,} held under one key")
        jobs = [plain_job(limit=Limit(DEEP_KEY, most=1)) for _ in range(self.depth.held + 1)]
        self.deep = [job.id for job in jobs]
        await self.enqueue(jobs)
        self._told(f"{self.depth.pending:,} pending")
        await self.enqueue(plain_job() for _ in range(self.depth.pending))

    async def enqueue(self, jobs: Iterable[NewJob], queue: str = QUEUE) -> None:
        """In calls of a hundred."""
        await _together(lambda chunk: self.broker.enqueue(queue, chunk), _chunks(jobs, LARGEST_ENQUEUE))

    async def step(
        self, finishes: Sequence[Finish] = (), *, claim: int = 0, lease: int = DAY, suspects: bool = False
    ) -> list[Claimed]:
        """One call of the worker's lane."""
        self.call += 1
        reply = await self.broker.step(
            QUEUE,
            worker=self.worker,
            lane=0,
            call=self.call,
            finishes=finishes,
            claim=claim,
            suspects=suspects,
            lease=lease,
            hard=2 * DAY,
        )
        return reply.claimed

    async def claim(self, many: int, *, lease: int = DAY) -> list[Claimed]:
        """So many of those that are next."""
        claimed: list[Claimed] = []
        while len(claimed) < many:
            got = await self.step(claim=min(LARGEST_STEP, many - len(claimed)), lease=lease)
            if not got:
                raise RuntimeError(f"claimed {len(claimed)} jobs of {many}")
            claimed += got
        return claimed

    async def finish(self, claimed: Sequence[Claimed], end: Callable[[Claimed], Finish]) -> None:
        """End the runs of these."""
        for chunk in _chunks(claimed, LARGEST_STEP):
            await self.step([end(job) for job in chunk])

    async def through(self, many: int, end: Callable[[Claimed], Finish], **options: Any) -> None:
        """Enqueue jobs, claim them and end their runs."""
        await self.enqueue(plain_job(**options) for _ in range(many))
        await self.finish(await self.claim(many), end)

    async def _ended(self, each: int) -> None:
        self._told(f"{each:,} retrying, dead, completed, parked, cancelled")
        await self.through(each, failed)
        await self.through(each, dead)
        await self.through(each, kept)
        # A worker of the second type comes when the first type's jobs are before its own.
        await self.through(each - each // 4, parked(FIRST_TYPE))
        await self.through(each // 4, parked(SECOND_TYPE))
        doomed = [plain_job(delay=DAY) for _ in range(each)]
        await self.enqueue(doomed)
        await _together(lambda job: self.broker.cancel(QUEUE, job.id), doomed)

    async def _waiting(self, each: int) -> None:
        self._told(f"{each:,} scheduled, unique, active, blocked, suspects")
        await self.enqueue(plain_job(delay=DAY) for _ in range(each))
        await self.enqueue(plain_job(delay=DAY, unique=os.urandom(16)) for _ in range(each))
        # Blocked ones, whose parts are in the outbox for another queue.
        await self.through(each, split_in(1))
        await self.enqueue(plain_job() for _ in range(each))
        lost = await self.claim(each, lease=1)
        while (await self.broker.depths(QUEUE)).active:
            await self.step()
        self.suspects = [job.id for job in lost]
        await self.enqueue(plain_job() for _ in range(each))
        await self.claim(each)

    async def _keyed(self, each: int) -> None:
        self._told(f"{each:,} keys with a rate")
        for _ in range(2):
            await self.enqueue(
                plain_job(limit=Limit(number.to_bytes(16), rate=1, period=DAY)) for number in range(each)
            )

    async def _around(self, each: int) -> None:
        self._told(f"{each:,} workers, arrivals, locks")
        workers = [os.urandom(16) for _ in range(each)]
        await _together(lambda worker: self.broker.step(QUEUE, worker=worker, lane=0, call=1), workers)
        await _together(
            lambda entries: self.broker.take_over(QUEUE, entries),
            _chunks((self.arrival([plain_job()]) for _ in range(each)), LARGEST_HAND_OUT),
        )
        locks = self.locks()
        now = (await self.broker.depths(QUEUE)).now * 1000
        await _together(
            lambda number: locks.note(name=f"lock {number:06}", until=now + DAY * 1000 + number), range(each)
        )
        store = self.broker.cron_store()
        for number in range(min(_CRON_JOBS - 1, each)):
            await store.define(cron_job(f"cron:{number:04}"))

    @property
    def client(self) -> Client:
        """The broker's connections."""
        return self.broker._client  # noqa: SLF001 - for the scripts that no broker calls one by one

    def locks(self) -> LockListScripts:
        """The list of the stage's locks."""
        return LockListScripts(self.client, self.broker.namespace, self.broker.stage)

    def arrival(self, jobs: Sequence[NewJob]) -> Outgoing:
        """An entry of another outbox that brings jobs."""
        content = pack_jobs(pack_job(job.id, job.body) for job in jobs)
        return Outgoing(bytes((OutgoingKind.JOBS,)) + new_id(), OutgoingKind.JOBS, QUEUE, content, 0, 1)


def failed(job: Claimed) -> Finish:
    """The run failed, and there is another one tomorrow."""
    return Finish(FinishKind.RETRY, job.id, job.fence, delay=DAY, error=b"ConnectionError: nobody is there")


def dead(job: Claimed) -> Finish:
    """It failed for good."""
    return Finish(FinishKind.DEAD, job.id, job.fence, detail=b"attempts", error=b"ConnectionError: nobody is there")


def kept(job: Claimed) -> Finish:
    """It completed, with a result that is kept."""
    return Finish(FinishKind.COMPLETED, job.id, job.fence, result=b"\1" + b"1" * 100, keep=DAY)


def gone(job: Claimed) -> Finish:
    """It completed and leaves nothing."""
    return Finish(FinishKind.COMPLETED, job.id, job.fence)


def parked(task: bytes) -> Callable[[Claimed], Finish]:
    """Nobody knows its type."""
    return lambda job: Finish(FinishKind.PARK, job.id, job.fence, detail=task)


def split_in(parts: int) -> Callable[[Claimed], Finish]:
    """It goes on as so many parts in the other queue."""

    def end(job: Claimed) -> Finish:
        jobs = [plain_job(part=Part(QUEUE, job.id, job.fence, number)) for number in range(parts)]
        handed = tuple(HandOver(OTHER, tuple(chunk)) for chunk in _chunks(jobs, 50))
        return Finish(FinishKind.SPLIT, job.id, job.fence, split=SplitOrder(handed, _BODY, fails=True))

    return end


def cron_job(name: str, *, line: str = "0 3 * * *") -> CronJob:
    """A cron job with 100 bytes of payload that runs each night."""
    return CronJob(name=name, queue=QUEUE, line=line, job=NewJob(b"", _BODY))


def _chunks(values: Iterable[Any], size: int) -> Iterable[list[Any]]:
    chunk: list[Any] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _together(call: Callable[[Any], Awaitable[Any]], values: Iterable[Any]) -> None:
    """A few calls at a time."""
    turns = iter(values)

    async def one_after_another() -> None:
        for value in turns:
            await call(value)

    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))
