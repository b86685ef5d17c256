"""Enqueues many jobs in few calls, and tells for each what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ropeline.jobs.broker import LARGEST_ENQUEUE
from ropeline.jobs.errors import Conflict, PartlyEnqueued, QueueFull
from ropeline.jobs.payloads.envelope import NO_TRACE, with_trace
from ropeline.jobs.records import Enqueued, EnqueueResult
from ropeline.lua.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.handle import JobHandle
    from ropeline.jobs.task import JobDraft

__all__ = ["Outcome", "all_of", "outcome_of", "send"]

R = TypeVar("R")

_LARGEST_CALL: Final = 1024 * 1024
_DRAFTS_A_TURN: Final = 200


class Outcome(NamedTuple, Generic[R]):
    """What became of one draft.

    `result`: None when the store failed before it answered. `id`: of the job that is there now, 16 bytes: the draft's own,
    or the holder's after CONFLICT. `error`: a StoreError, or the Conflict of a task that says `on_conflict="raise"`.
    """

    draft: JobDraft[R]
    result: EnqueueResult | None
    id: bytes
    error: StoreError | Conflict | None = None

    # Made when it is asked for: of a hundred thousand jobs, hardly any is looked after one by one.
    @property
    def handle(self) -> JobHandle[R] | None:
        """A handle of the job that is there now; None with an `error`."""
        if self.error is not None:
            return None
        return self.draft.handle(self.id, is_new=self.result is EnqueueResult.ENQUEUED)


def outcome_of(draft: JobDraft[R], answer: Enqueued) -> Outcome[R]:
    """What a broker's answer means for the draft."""
    result, holder = answer
    if result is not EnqueueResult.CONFLICT:
        return Outcome(draft, result, draft.job.id)
    if draft.unique is not None and draft.unique.on_conflict == "raise":
        return Outcome(draft, result, holder, Conflict(draft.task.type, holder))
    return Outcome(draft, result, holder)


async def all_of(drafts: Iterable[JobDraft[R]]) -> list[JobDraft[R]]:
    """The drafts as a list; making thousands of them does not hold up everything else in the loop."""
    made: list[JobDraft[R]] = []
    left = iter(drafts)
    while turn := list(islice(left, _DRAFTS_A_TURN)):
        made += turn
        await asyncio.sleep(0)
    return made


async def send(
    broker: Callable[[], Broker], drafts: Sequence[JobDraft[R]], *, trace: Mapping[str, str] = NO_TRACE
) -> list[Outcome[R]]:
    """Enqueue the drafts, those of one queue in their order; see `Jobs.enqueue_many`. `trace`: what their jobs carry."""
    room = sum(len(name) + len(value) for name, value in trace.items())
    outcomes: dict[int, Outcome[R]] = {}
    full: dict[str, StoreError] = {}
    broken: StoreError | None = None
    first: StoreError | None = None
    for queue, places in _chunks(drafts, room):
        error: StoreError | None = broken or full.get(queue)
        if error is not None:
            error = StoreUnavailable(f"not sent, since an earlier call failed: {error}")
        else:
            jobs = [drafts[place].job for place in places]
            if trace:
                jobs = [job._replace(body=with_trace(job.body, trace)) for job in jobs]
            try:
                answers = await broker().enqueue(queue, jobs)
            except StoreError as failure:
                error = failure
                first = first or failure
                # A full queue says nothing about the others; anything else would only fail again, more slowly.
                if isinstance(failure, QueueFull):
                    full[queue] = failure
                else:
                    broken = failure
            else:
                for place, answer in zip(places, answers, strict=True):
                    outcomes[place] = outcome_of(drafts[place], answer)
                continue
        for place in places:
            outcomes[place] = Outcome(drafts[place], None, drafts[place].job.id, error)
    told = [outcomes[place] for place in range(len(drafts))]
    if first is not None:
        raise PartlyEnqueued(told) from first
    return told


def _chunks(drafts: Sequence[JobDraft[Any]], room: int) -> list[tuple[str, list[int]]]:
    """The places of the drafts that travel together, each chunk with its queue, in the order in which they begin.

    `room`: bytes that each job takes besides its body.
    """
    chunks: list[tuple[str, list[int]]] = []
    open_: dict[str, tuple[list[int], int, int]] = {}
    for place, draft in enumerate(drafts):
        size = len(draft.job.body) + room
        # A job with a limit asks for its slot, which takes the store twice as long.
        share = 1 if draft.job.limit is None else 2
        places, total, shares = open_.get(draft.queue) or ([], 0, 0)
        if not places or shares + share > LARGEST_ENQUEUE or total + size > _LARGEST_CALL:
            places, total, shares = [], 0, 0
            chunks.append((draft.queue, places))
        places.append(place)
        open_[draft.queue] = places, total + size, shares + share
    return chunks
