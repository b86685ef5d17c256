"""Chains: jobs of which each is enqueued when the one before it has completed, with its result if that is wanted.

Each job carries the next one, whole, so nothing has to be found again: `then` in its envelope is the name of a queue and a
job for it, which carries the one after that. The run that completes a job hands over the next one in the same step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from ropeline.jobs.errors import PayloadTooLarge
from ropeline.jobs.handle import ENDED, JobHandle, pauses
from ropeline.jobs.ids import derived_id
from ropeline.jobs.options import LARGEST_PAYLOAD
from ropeline.jobs.payloads.envelope import pack, unpack, with_trace
from ropeline.jobs.records import HandOver, JobState, JobView, Limit, NewJob
from ropeline.jobs.task import JobDraft
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker

__all__ = ["ChainHandle", "ChainShape", "chain", "id_after", "next_job", "pack_next", "unpack_next"]

R = TypeVar("R")

_HEAD: Final = Struct("<16sddBBB")
_LIMIT: Final = Struct("<16sHHHI")
_NOT_UNIQUE: Final = (
    "jobs without a unique key, since nothing could follow one that is not taken in: task.using(unique=None)"
)


@dataclass(frozen=True, slots=True)
class ChainShape:
    """The jobs of a chain, each as it was built. See ropeline.jobs.task.Shape."""

    drafts: tuple[JobDraft[Any], ...]

    def handle(self, id: bytes, *, is_new: bool) -> JobHandle[Any]:
        """A handle of the chain."""
        jobs = []
        for draft in self.drafts:
            jobs.append(draft.handle(id, is_new=False))
            id = id_after(id)  # noqa: A001 - the one of the next job
        return ChainHandle(jobs, broker=self.drafts[0].task.app.broker, read=self.read, is_new=is_new)

    def read(self, data: bytes) -> Any:
        """The result of the last job."""
        return self.drafts[-1].read(data)


@overload
def chain(*drafts: *tuple[*tuple[JobDraft[Any], ...], JobDraft[R]]) -> JobDraft[R]: ...
@overload
def chain(*drafts: JobDraft[R]) -> JobDraft[R]: ...
def chain(*drafts: JobDraft[Any]) -> JobDraft[Any]:  # type: ignore[misc]  # mypy does not see that it takes them
    """Jobs one after the other: each is enqueued when the one before it has completed.

    `chain(fetch.build(url), store.build(PREVIOUS))` gives `store` what `fetch` returned. A job that fails for good, or is
    cancelled, ends the chain; a dead letter that is requeued and completes then goes on with it. What is enqueued is the
    first job; its handle stands for the whole chain, and its result is the last one's.

    The ids of those after the first follow from its id, whatever `job_id` says. A delay counts from when the job before has completed; a deadline from now. None of the jobs may be unique.

    Raises:
        ConfigurationError: there is no job, one is unique, or the first is to take a result.
        PayloadTooLarge: together they take more than 983,040 bytes.

    """
    flat: list[JobDraft[Any]] = []
    for draft in drafts:
        flat += draft.shape.drafts if isinstance(draft.shape, ChainShape) else [draft]
    if not flat:
        raise ConfigurationError("chain", "no jobs", "one job or more")
    for draft in flat:
        if draft.unique is not None:
            raise ConfigurationError("chain", draft.task.type, _NOT_UNIQUE)
    linked = flat[-1].job
    for draft, following in zip(flat[-2::-1], flat[:0:-1], strict=True):
        envelope = unpack(draft.job.body)._replace(then=pack_next(following.queue, linked))
        linked = draft.job._replace(body=pack(envelope))
        if len(linked.body) > LARGEST_PAYLOAD:
            raise PayloadTooLarge("chain", len(linked.body), LARGEST_PAYLOAD)
    first = flat[0]
    if unpack(first.job.body).fills:
        raise ConfigurationError("chain", "PREVIOUS", "an argument for the first job, since none comes before it")
    return JobDraft(flat[-1].task, first.queue, linked, None, ChainShape(tuple(flat)))


def pack_next(queue: str, job: NewJob) -> bytes:
    """A job without a unique key and its queue, for `then` of the job before."""
    limit = b"" if job.limit is None else _LIMIT.pack(*job.limit)
    name = queue.encode()
    head = _HEAD.pack(job.id, job.due, job.delay, job.priority, len(limit), len(name))
    return head + name + limit + job.body


def next_job(then: bytes, id: bytes, result: Callable[[], bytes], trace: Mapping[str, str]) -> HandOver:
    """What the job `id` hands over: the job that `pack_next` packed, with the result, which is asked for if it is wanted.

    `trace`: what it carries.
    """
    queue, job = unpack_next(then)
    envelope = unpack(job.body)
    body = pack(envelope._replace(previous=result(), trace=trace)) if envelope.fills else with_trace(job.body, trace)
    return HandOver(queue, (job._replace(id=id_after(id), body=body),))


def unpack_next(packed: bytes) -> tuple[str, NewJob]:
    """The queue and the job that `pack_next` packed."""
    id_, due, delay, priority, limit, name = _HEAD.unpack_from(packed)
    starts = _HEAD.size + name
    terms = Limit(*_LIMIT.unpack_from(packed, starts)) if limit else None
    body = packed[starts + limit :]
    return packed[_HEAD.size : starts].decode(), NewJob(id_, body, int(due), int(delay), priority, limit=terms)


class ChainHandle(JobHandle[R]):
    """A chain from the outside: it stands where the job stands whose turn it is, and ends with the last one, or where one fails.

    `id`, `queue`: of the first job. `jobs`: handles of all of them; one that has not had its turn is not there yet.
    """

    __slots__ = ("_reached", "jobs")

    def __init__(
        self,
        jobs: Sequence[JobHandle[Any]],
        *,
        broker: Callable[[], Broker],
        read: Callable[[bytes], R],
        is_new: bool = False,
    ) -> None:
        super().__init__(jobs[0].queue, bytes.fromhex(jobs[0].id), broker=broker, read=read, is_new=is_new)
        self.jobs = tuple(jobs)
        self._reached = 0

    async def cancel(self) -> JobState | None:
        """Cancel the job whose turn it is: none of those after it is enqueued then. Otherwise as JobHandle.cancel."""
        for pause in pauses():
            view = await self._find()
            if view is None or view.state in ENDED:
                return None if view is None else view.state
            job = self.jobs[self._reached]
            state = await job.cancel()
            # A job that has just completed has handed over, and one that is on its way cannot be cancelled yet.
            if state is not None and (state is not JobState.COMPLETED or job is self.jobs[-1]):
                return state
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    async def _find(self) -> JobView | None:
        broker = self._broker()
        while True:
            job = self.jobs[self._reached]
            view = await broker.find(job.queue, bytes.fromhex(job.id))
            if job is self.jobs[-1] or (view is not None and view.state is not JobState.COMPLETED):
                return view
            # It has completed. What it hands over is in the outbox until it is where it is to go.
            following = bytes.fromhex(self.jobs[self._reached + 1].id)
            if await broker.is_outgoing(job.queue, following):
                return _on_its_way(following)
            self._reached += 1


def id_after(id: bytes) -> bytes:
    """The id of the next job: it follows from the one before, which has another one each time that it is a part."""
    return derived_id("next", id)


def _on_its_way(id: bytes) -> JobView:
    return JobView(id, JobState.PENDING, b"", 0, 0, 0, 0, "", "", b"", "", is_cancelling=False)
