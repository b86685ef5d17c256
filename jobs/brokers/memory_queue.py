"""One queue in memory: its state, and the rules that the scripts of the Redis broker are held to.

Plain data, each call at a given moment, nothing asynchronous; `ropeline.jobs.brokers.memory` puts the protocol around it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Final

from ropeline.jobs.brokers.checks import MOST_PAUSED_TASKS
from ropeline.jobs.brokers.memory_outbox import MemoryOutbox, Seen, jobs_of
from ropeline.jobs.brokers.memory_slots import MemorySlots
from ropeline.jobs.brokers.memory_split import MemorySplit, PartReport
from ropeline.jobs.payloads.envelope import task_of
from ropeline.jobs.records import (
    Claimed,
    Depths,
    Enqueued,
    EnqueueResult,
    Finish,
    FinishKind,
    FinishResult,
    HandOver,
    JobState,
    JobView,
    Limit,
    NewJob,
    Outgoing,
    OutgoingKind,
    Page,
    Part,
    PartState,
    PausedTask,
    QueueSettings,
    Renewal,
    SplitOrder,
    StepReply,
)
from ropeline.lua.errors import ConfigurationError, StoreRefused

__all__ = ["COUNTERS", "MemoryJob", "MemoryQueue"]

COUNTERS: Final = (
    "enqueued",
    "claimed",
    "completed",
    "failed",
    "retried",
    "dead",
    "cancelled",
    "lost",
    "stale",
    "snoozed",
    "released",
    "parked",
    "expired",
    "split",
)

_LONGEST_CLOCK_STEP: Final = 10_000
_QUIET: Final = 10_000
_PROMOTED_PER_STEP: Final = 64
_REAPED_PER_STEP: Final = 20
_AGED_PER_STEP: Final = 20
_RAISED_PER_STEP: Final = 20
_RELEASED_PER_STEP: Final = 64
_LARGEST_CLAIM: Final = 64
# Of what is known of a job besides its body: all but its unique key, reason and error.
_PACKED_META: Final = 61
_HEAD: Final = 2
_LIMIT: Final = 26
_PART: Final = 27
_REPLY_BYTES: Final = 1 << 20
_ERROR_BYTES: Final = 1024
_WORKER_AGE: Final = 3_600_000
_WORKERS_PER_STEP: Final = 5
_MOST_UNPARKED: Final = 100
_PRIORITY_BAND: Final = 1 << 42
_MOST_GRANTED: Final = 20
_KEYS_PER_STEP: Final = 20
_CURSOR: Final = re.compile(r"([01])-([0-9]{1,16}(?:\.[0-9]{1,16})?)-([0-9a-f]{32})")
_HELD_CURSOR: Final = re.compile(r"[0-9a-f]{80}")
# Pending jobs that have lost a lease: a set of their own, and one state with the others to the outside.
_SUSPECTS: Final = "suspects"
_WAITING: Final = frozenset(
    {JobState.SCHEDULED, JobState.PENDING, JobState.RETRY, JobState.HELD, JobState.PARKED, JobState.BLOCKED, _SUSPECTS}
)
_REQUEUEABLE: Final = frozenset(
    {JobState.DEAD, JobState.PARKED, JobState.CANCELLED, JobState.SCHEDULED, JobState.RETRY}
)


@dataclass(slots=True)
class MemoryJob:
    """One job and all that is known of it.

    `place`: the set it is in: a JobState, or `suspects`. `score`: its rank in there: wall ms of when it may run (scheduled,
    retry), of its end (dead, cancelled), of when it was parked, of when it is forgotten (completed); `rank` (pending, suspects,
    held); the lease's end by the queue clock (active). `rank`: its priority, then `ready` or, with a limit, its tag: the
    virtual time at which its key has had its share. `has_slot`: of the limit's key. `held_task`: it is held back until this task is
    resumed.
    """

    id: bytes
    body: bytes
    priority: int
    unique: bytes
    until_start: bool
    limit: Limit | None = None
    part: Part | None = None
    place: str = ""
    score: float = 0
    rank: float = 0
    ready: int = 0
    at: int = 0
    attempts: int = 0
    lost: int = 0
    fence: int = 0
    worker: bytes = b""
    hard_end: int = 0
    is_cancelling: bool = False
    is_stopping: bool = False
    has_slot: bool = False
    split: MemorySplit | None = None
    is_joined: bool = False
    held_task: bytes = b""
    error: bytes = b""
    reason: bytes = b""
    result: bytes = b""

    @property
    def state(self) -> JobState:
        return JobState.PENDING if self.place == _SUSPECTS else JobState(self.place)

    @property
    def size(self) -> int:
        """Bytes of its body as a store keeps it."""
        return _stored_size(self)

    @property
    def dead_size(self) -> int:
        """Bytes that a store keeps of it as a dead letter."""
        unique = 0 if self.until_start else len(self.unique)
        return self.size + _PACKED_META + unique + len(self.reason) + len(self.error)


class _RankedIds:
    """Ids in the order of their scores, then of their bytes."""

    def __init__(self) -> None:
        self.ranks: list[tuple[float, bytes]] = []

    def add(self, score: float, id: bytes) -> None:
        insort(self.ranks, (score, id))

    def remove(self, score: float, id: bytes) -> None:
        place = bisect_left(self.ranks, (score, id))
        if self.ranks[place] != (score, id):
            raise KeyError(id)
        del self.ranks[place]

    def lowest(self) -> float:
        """The lowest score, 0 when there is nothing."""
        return self.ranks[0][0] if self.ranks else 0


class MemoryQueue:
    """One queue: its state, and what each call does to it. `now` is wall ms; a subclass may look at any of the attributes.

    Leases run on the queue clock, which each call moves on that changes jobs, `enqueue` apart. Reading changes nothing.
    """

    def __init__(self) -> None:
        self.jobs: dict[bytes, MemoryJob] = {}
        self.sets: dict[str, _RankedIds] = {place: _RankedIds() for place in (*JobState, _SUSPECTS)}
        self.holders: dict[bytes, tuple[bytes, int]] = {}
        """Unique key -> the job that holds it, and the wall ms at which the hold ends, 0 none."""
        self.calls: dict[tuple[bytes, int], tuple[int, StepReply]] = {}
        """Worker and lane -> number and reply of its last call."""
        self.workers: dict[bytes, int] = {}
        """Worker -> wall ms of its last step."""
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.clock = 0
        """The queue clock, ms; begins at the wall ms of the first step."""
        self.seen: int | None = None
        self.quiet_until = 0
        """Nothing is reaped before the queue clock shows this."""
        self.fence = 0
        self.slots: dict[bytes, MemorySlots] = {}
        """Limit key -> its slots, for as long as it has jobs, or not all its tokens."""
        self.rates: dict[bytes, int] = {}
        """Limit key -> wall ms from when another job of it may begin, or its tokens are full."""
        self.virtual: float | None = None
        """The time of the shares among keys: the highest tag that was claimed; begins at the wall ms of the first call."""
        self.settings = QueueSettings()
        self.tokens: tuple[float, int] | None = None
        """Of the queue's rate, and the wall ms at which it was that many; None: all."""
        self.bytes = 0
        """What bodies and results take."""
        self.paused_tasks: dict[bytes, PausedTask] = {}
        self.resuming: list[bytes] = []
        """Tasks whose jobs are being released."""
        self.held_back: dict[bytes, list[tuple[float, bytes]]] = {}
        """Paused task -> rank and id of its jobs, in the order of these."""
        self.pause_reason: str | None = None
        """None: not paused."""
        self.resumes_at = 0
        self.outbox = MemoryOutbox()
        self.seen_entries = Seen()

    # What goes in

    def enqueue(self, now: int, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return [self._enqueue(now, job) for job in jobs]

    def _enqueue(self, now: int, new: NewJob) -> Enqueued:
        if new.id in self.jobs:
            return Enqueued(EnqueueResult.EXISTS, b"")
        job = MemoryJob(new.id, new.body, new.priority, new.unique, new.until_start, new.limit, new.part)
        if holder := self._win_key(now, job, now + new.unique_for if new.unique_for else 0):
            return Enqueued(EnqueueResult.CONFLICT, holder)
        self.jobs[job.id] = job
        self.bytes += job.size
        self.counters["enqueued"] += 1
        due = max(new.due, now + new.delay)
        if due > now:
            self._wait_until(job, JobState.SCHEDULED, due)
        else:
            self._set_off(now, job, now)
        return Enqueued(EnqueueResult.ENQUEUED, b"")

    def refusal(self, now: int, jobs: Sequence[NewJob]) -> str:
        """Why the byte budget has no room for those of the jobs that would be taken in, empty when it has."""
        most = self.settings.most_bytes
        if not most:
            return ""
        new: dict[bytes, int] = {}
        keys = {key for key, (_, end) in self.holders.items() if not 0 < end <= now}
        for job in jobs:
            if job.id not in self.jobs and job.id not in new and not (job.unique and job.unique in keys):
                new[job.id] = _stored_size(job)
                keys.add(job.unique)
        wanted = sum(new.values())
        if not wanted or self.bytes + wanted <= most:
            return ""
        return f"the queue holds {self.bytes} bytes and may hold {most}: there is no room for {wanted} more"

    # Steps

    def step(
        self,
        now: int,
        *,
        worker: bytes,
        lane: int,
        call: int,
        finishes: Sequence[Finish] = (),
        claim: int = 0,
        suspects: bool = True,
        lease: int = 30_000,
        hard: int = 330_000,
        max_lost: int = 3,
    ) -> StepReply:
        last, kept = self.calls.get((worker, lane), (0, None))
        if call == last and kept is not None:
            return kept
        if call < last:
            raise StoreRefused(f"call: got {call}, expected {last} or more")
        self._begin(now)
        # What completed and leaves nothing comes first: its slots are free for the others.
        order = sorted(range(len(finishes)), key=lambda index: not _leaves_nothing(finishes[index]))
        results = {index: self._finish(now, worker, finishes[index]) for index in order}
        finished = [results[index] for index in range(len(finishes))]
        self._tend(now, max_lost)
        paused = self.is_paused(now)
        claimed: list[Claimed] = []
        if not paused:
            found = self._choose(min(claim, floor(self._tokens_now(now))), suspects=suspects)
            claimed = self._claim(found, now, worker=worker, lease=lease, hard=hard)
        left = len(self.sets[JobState.PENDING].ranks)
        if not left:
            # Jobs with and without a key have the same beginning again.
            self._advance_virtual(now)
        next_token = self._next_token(now) if left or self.sets[_SUSPECTS].ranks else 0
        suspects_left = suspects and not any(job.lost for job in claimed)
        left += len(self.sets[_SUSPECTS].ranks) if suspects_left else 0
        reply = StepReply(
            finished=finished,
            claimed=claimed,
            now=now,
            more=left > 0 and not paused and not next_token,
            next_due=min(filter(None, (self.next_due(), next_token, *self.rates.values())), default=0),
            paused=paused,
            outgoing=self.outbox.due(now),
        )
        self.workers[worker] = now
        self._forget_workers(now)
        self.calls[worker, lane] = call, reply
        return reply

    def _forget_workers(self, now: int) -> None:
        """Whoever has not called for an hour repeats no call."""
        gone = [worker for worker, seen in self.workers.items() if seen <= now - _WORKER_AGE]
        for worker in sorted(gone, key=lambda worker: (self.workers[worker], worker))[:_WORKERS_PER_STEP]:
            del self.workers[worker]
            self.calls = {lane: kept for lane, kept in self.calls.items() if lane[0] != worker}

    def _begin(self, now: int) -> None:
        """What every call does first that changes jobs, `enqueue` apart: time passes, and a pause may be over."""
        if not self.is_paused(now):
            self.resume()
        self._advance_virtual(now if self.virtual is None else self.virtual)
        if self.seen is None:
            self.clock = now
        else:
            elapsed = now - self.seen
            self.clock += min(max(0, elapsed), _LONGEST_CLOCK_STEP)
            # Time that nobody saw pass is no reason to take a lease from somebody who had no chance to renew it.
            if not 0 <= elapsed <= _LONGEST_CLOCK_STEP:
                self.quiet_until = self.clock + _QUIET
        self.seen = now

    def _advance_virtual(self, virtual: float) -> None:
        self.virtual = virtual if self.virtual is None else max(self.virtual, virtual)

    def _finish(self, now: int, worker: bytes, finish: Finish) -> FinishResult:
        job = self._leased(finish.id, finish.fence, worker)
        if job is None:
            self.counters["stale"] += 1
            return FinishResult.STALE
        was_cancelling = job.is_cancelling or (job.is_stopping and finish.kind is not FinishKind.DEAD)
        if finish.kind is FinishKind.COMPLETED:
            self._complete(now, job, finish)
        elif was_cancelling or finish.kind is FinishKind.CANCELLED:
            self._end(now, job, JobState.CANCELLED)
            return FinishResult.CANCELLED if was_cancelling else FinishResult.DONE
        elif finish.split is not None:
            self._split(now, job, finish.split)
        elif finish.kind is FinishKind.RETRY:
            job.attempts += 1
            job.error = finish.error[:_ERROR_BYTES]
            self.counters["failed"] += 1
            self.counters["retried"] += 1
            self._run_again(now, job, JobState.RETRY, finish.delay)
        elif finish.kind is FinishKind.SNOOZE:
            self.counters["snoozed"] += 1
            self._run_again(now, job, JobState.RETRY if job.attempts else JobState.SCHEDULED, finish.delay)
        elif finish.kind is FinishKind.RELEASE:
            self.counters["released"] += 1
            self._restart(now, job)
        elif finish.kind is FinishKind.DEAD:
            job.attempts += 1
            self.counters["failed"] += 1
            self._bury(now, job, finish.detail, finish.error)
        else:
            self.counters["parked"] += 1
            job.lost, job.reason, job.at = 0, finish.detail, now
            self._give_up(now, job)
            self._put(job, JobState.PARKED, now)
        return FinishResult.DONE

    def _complete(self, now: int, job: MemoryJob, finish: Finish) -> None:
        self.counters["completed"] += 1
        if finish.hand_over and not job.is_cancelling and not job.is_stopping:
            self.outbox.post_all(now, [_passed_on(each, job.part) for each in finish.hand_over])
        else:
            self._report(now, job, PartState.COMPLETED, finish.result)
        self._release_key(job)
        self._give_up(now, job)
        if finish.keep:
            job.result, job.at = finish.result, now
            self.bytes += len(job.result)
            self._put(job, JobState.COMPLETED, now + finish.keep)
        else:
            self._forget(job)

    def _run_again(self, now: int, job: MemoryJob, state: JobState, delay: int) -> None:
        job.lost = 0
        # Behind those that wait already, of its key too.
        self._give_up(now, job)
        if delay:
            self._wait_until(job, state, now + delay)
        else:
            self._set_off(now, job, now)

    def _tend(self, now: int, max_lost: int) -> None:
        if self.clock >= self.quiet_until:
            for job in self._lowest(JobState.ACTIVE, self.clock, _REAPED_PER_STEP):
                self._reap(now, job, max_lost)
        for state in (JobState.SCHEDULED, JobState.RETRY):
            for job in self._lowest(state, now, _PROMOTED_PER_STEP):
                self._set_off(now, job, int(job.score))
        self._grant_by_time(now)
        self._release_tasks(now)
        self._raise_old(now)
        self._age_out(now)

    def _reap(self, now: int, job: MemoryJob, max_lost: int) -> None:
        self.counters["lost"] += 1
        if job.is_cancelling or job.is_stopping:
            self._end(now, job, JobState.CANCELLED)
            return
        # A worker holds one suspect at most: of a batch that was lost with it, the others begin to count only now.
        job.lost += 1
        if job.lost >= max_lost:
            self._bury(now, job, b"poison", b"lost %d leases" % job.lost)
        else:
            self._restart(now, job)

    def _raise_old(self, now: int) -> None:
        """A job that has waited for some times the queue's `ageing` goes as many priorities higher."""
        ageing = self.settings.ageing
        most = _RAISED_PER_STEP if ageing else 0
        for band in range(1, 10):
            first = band * _PRIORITY_BAND
            last = min(first + now - ageing, first + _PRIORITY_BAND - 1)
            found = [job for job in self.all_in(JobState.PENDING) if most and first <= job.rank <= last][:most]
            for job in found:
                ready = job.rank % _PRIORITY_BAND
                wanted = max(0, 9 - job.priority - floor((now - ready) / ageing))
                if wanted < band:
                    job.rank = wanted * _PRIORITY_BAND + ready
                    self._put(job, JobState.PENDING, job.rank)
            most -= len(found)

    def _age_out(self, now: int) -> None:
        settings, most = self.settings, _AGED_PER_STEP

        def expire(jobs: list[MemoryJob]) -> int:
            for job in jobs:
                self._forget(job)
                self.counters["expired"] += 1
            return len(jobs)

        most -= expire(self._lowest(JobState.COMPLETED, now, most))
        surplus = self._surplus(JobState.COMPLETED, settings.completed_count)
        most -= expire(self.all_in(JobState.COMPLETED, min(surplus, most)))
        most -= expire(self._lowest(JobState.CANCELLED, now - settings.cancelled_age, most))
        most -= expire(self._dead_past_keeping(now)[:most])
        for job in self._lowest(JobState.PARKED, now - settings.parked_age, most):
            self._bury(now, job, b"unknown", b"no worker knew the task type %b" % job.reason)

    def _surplus(self, state: JobState, kept: int) -> int:
        """How many jobs of a state are more than `kept`; 0: any number may be."""
        return max(0, len(self.sets[state].ranks) - kept) if kept else 0

    def _dead_past_keeping(self, now: int) -> list[MemoryJob]:
        """The oldest dead letters, for as long as one is too old, or they are too many, or take too much."""
        settings, size = self.settings, self.dead_bytes()
        surplus = self._surplus(JobState.DEAD, settings.dead_count)
        past: list[MemoryJob] = []
        for job in self.all_in(JobState.DEAD):
            is_heavy = 0 < settings.dead_bytes < size
            if len(past) >= surplus and job.score > now - settings.dead_age and not is_heavy:
                break
            past.append(job)
            size -= job.dead_size
        return past

    def dead_bytes(self) -> int:
        """What dead letters take."""
        return sum(job.dead_size for job in self.all_in(JobState.DEAD))

    def _tokens_now(self, now: int) -> float:
        """How many jobs may begin now by the queue's own rate."""
        rate, period = self.settings.rate, self.settings.period
        if not rate:
            return _LARGEST_CLAIM
        tokens, at = self.tokens or (rate, now)
        return min(rate, tokens + max(0, now - at) * rate / period)

    def _next_token(self, now: int) -> int:
        """Wall ms from when another job may begin, 0: now."""
        tokens = self._tokens_now(now)
        return 0 if tokens >= 1 else now + ceil((1 - tokens) * self.settings.period / self.settings.rate)

    def _claim(self, found: Sequence[MemoryJob], now: int, *, worker: bytes, lease: int, hard: int) -> list[Claimed]:
        """Lease those of the jobs whose task is not paused, and hold the others back."""
        paused = {job.id for job in found if task_of(job.body) in self.paused_tasks}
        chosen = [job for job in found if job.id not in paused]
        if found:
            self.fence = max(now * 1000, self.fence + 1)
        self.counters["claimed"] += len(chosen)
        for job in chosen:
            job.fence, job.worker, job.hard_end, job.at = self.fence, worker, self.clock + hard, now
            self._advance_virtual(job.rank % _PRIORITY_BAND)
            self._put(job, JobState.ACTIVE, self.clock + lease)
            if job.until_start:
                self._release_key(job)
        for job in found:
            if job.id in paused:
                self._hold_back(now, job)
        if chosen and self.settings.rate:
            self.tokens = self._tokens_now(now) - len(chosen), now
        return [_delivery(job, now) for job in chosen]

    def _choose(self, most: int, *, suspects: bool) -> list[MemoryJob]:
        """What a claim of `most` jobs finds: one suspect at most, no more bytes than a reply may have, and of keys half as many jobs."""
        suspected = self.all_in(_SUSPECTS, 1) if suspects else []
        chosen: list[MemoryJob] = []
        size = weight = 0
        for job in [*suspected, *self.all_in(JobState.PENDING, most)][:most]:
            size += job.size
            weight += 1 if job.limit is None else 2
            if chosen and (size > _REPLY_BYTES or weight > _LARGEST_CLAIM):
                break
            chosen.append(job)
        return chosen

    def _hold_back(self, now: int, job: MemoryJob) -> None:
        """A job of a paused task is held at its place, without its slot."""
        self._give_up(now, job)
        job.at, job.reason = now, task_of(job.body)
        job.held_task = job.reason
        self._put(job, JobState.HELD, job.rank)
        insort(self.held_back.setdefault(job.held_task, []), (job.rank, job.id))

    def _release_tasks(self, now: int) -> None:
        """Some of the jobs that were held back until their task is resumed."""
        for task, pause in list(self.paused_tasks.items()):
            if 0 < pause.resumes_at <= now:
                self.resume_task(task)
        if not self.resuming:
            return
        self.resuming.sort()
        task = self.resuming[0]
        released = [self.jobs[id_] for _, id_ in self.held_back.get(task, [])[:_RELEASED_PER_STEP]]
        for job in released:
            self._give_up(now, job)
            job.reason = b""
            if job.limit is None:
                self._make_pending(job)
            else:
                # It asks for its slot anew, among those that are no suspects.
                job.lost = 0
                self._set_off(now, job, now)
        if len(released) < _RELEASED_PER_STEP:
            del self.resuming[0]

    def pause_task(self, now: int, task: bytes, *, reason: str, resume_after: int) -> bool:
        """Hold the jobs of a task back from now on; False when too many tasks are paused."""
        if len(self.paused_tasks.keys() - {task}) >= MOST_PAUSED_TASKS:
            return False
        resumes_at = now + resume_after if resume_after else 0
        self.paused_tasks[task] = PausedTask(task.decode(errors="replace"), reason, resumes_at)
        self.resuming = [other for other in self.resuming if other != task]
        return True

    def resume_task(self, task: bytes) -> None:
        """Release the jobs of a task, some at a step."""
        if self.paused_tasks.pop(task, None) is not None:
            self.resuming.append(task)

    def configure(self, changes: Mapping[str, int]) -> QueueSettings:
        """Change settings."""
        self.settings = self.settings._replace(**changes)
        if not self.settings.rate:
            self.tokens = None
        return self.settings

    def renew(self, now: int, *, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> list[Renewal]:
        self._begin(now)
        return [self._renew(self._leased(id_, fence, worker), lease) for id_, fence in held]

    def _renew(self, job: MemoryJob | None, lease: int) -> Renewal:
        if job is None:
            return Renewal.LOST
        if self.clock > job.hard_end:
            return Renewal.OVERDUE
        self._put(job, JobState.ACTIVE, min(self.clock + lease, job.hard_end))
        return Renewal.CANCEL if job.is_cancelling else Renewal.STOP if job.is_stopping else Renewal.HELD

    # What is seen

    def all_in(self, place: str, most: int | None = None) -> list[MemoryJob]:
        """The first `most` jobs of a set, in its order."""
        return [self.jobs[id_] for _, id_ in self.sets[place].ranks[:most]]

    def _lowest(self, place: str, score: int, most: int) -> list[MemoryJob]:
        """The first `most` jobs of a set whose score is `score` or less."""
        return [job for job in self.all_in(place, most) if job.score <= score]

    def is_paused(self, now: int) -> bool:
        return self.pause_reason is not None and not 0 < self.resumes_at <= now

    def next_due(self) -> int:
        """Wall ms of the earliest scheduled job or retry, 0 none."""
        waiting = [int(self.sets[state].lowest()) for state in (JobState.SCHEDULED, JobState.RETRY)]
        return min(filter(None, waiting), default=0)

    def next_work(self, now: int) -> float:
        """Wall ms at which a step may find something to do if nobody calls meanwhile; never is infinite.

        Suspects do not count: who waits may hold one already, and would be called back at once for ever.
        """
        next_token = self._next_token(now)
        if self.resuming or (self.sets[JobState.PENDING].ranks and not self.is_paused(now) and not next_token):
            return now
        resumes = [self.resumes_at, *(pause.resumes_at for pause in self.paused_tasks.values())]
        return min(filter(None, (self.next_due(), next_token, *resumes, *self.rates.values())), default=inf)

    def depths(self, now: int) -> Depths:
        pending = [job for place in (JobState.PENDING, _SUSPECTS) for job in self.all_in(place)]
        # The first of each priority is its oldest, but where shares by key decide; then it is the next one.
        heads = {(job.place, job.rank // _PRIORITY_BAND): job.ready for job in reversed(pending)}
        counts = {str(state): len(self.sets[state].ranks) for state in JobState}
        counts[JobState.PENDING] = len(pending)
        paused = self.is_paused(now)
        return Depths(
            **counts,
            now=now,
            oldest_pending=min(heads.values(), default=0),
            next_due=self.next_due(),
            paused=paused,
            pause_reason=self.pause_reason or "" if paused else "",
            resumes_at=self.resumes_at if paused else 0,
            bytes=self.bytes,
            dead_bytes=self.dead_bytes(),
            paused_tasks=tuple(
                pause for _, pause in sorted(self.paused_tasks.items()) if not 0 < pause.resumes_at <= now
            ),
            counters=dict(self.counters),
        )

    def find(self, id: bytes) -> JobView | None:
        job = self.jobs.get(id)
        return None if job is None else self._view(job)

    def _view(self, job: MemoryJob) -> JobView:
        return JobView(
            id=job.id,
            state=job.state,
            body=job.body,
            attempts=job.attempts,
            lost=job.lost,
            priority=job.priority,
            at=job.at,
            error=job.error.decode(errors="replace"),
            reason=job.reason.decode(errors="replace"),
            result=job.result,
            worker=job.worker.hex(),
            is_cancelling=job.is_cancelling,
        )

    def jobs_in(self, state: JobState, *, cursor: str = "", limit: int = 100) -> Page:
        """Jobs in the order of their scores; of the pending ones, suspects first; the held ones by key before that."""
        if state is JobState.HELD:
            return self._held_jobs(cursor, limit)
        places = (_SUSPECTS, JobState.PENDING) if state is JobState.PENDING else (state,)
        ranks = [(number, *rank) for number, place in enumerate(places) for rank in self.sets[place].ranks]
        start = bisect_right(ranks, _read_cursor(cursor, len(places))) if cursor else 0
        part = ranks[start : start + limit]
        more = start + limit < len(ranks)
        return Page([self._view(self.jobs[id_]) for _, _, id_ in part], _cursor(part[-1]) if more else "")

    def _held_jobs(self, cursor: str, limit: int) -> Page:
        held = [(key, *rank) for key, slots in self.slots.items() for rank in slots.held]
        held += [(_task_key(task), *rank) for task, ranks in self.held_back.items() for rank in ranks]
        held.sort()
        start = bisect_right(held, _read_held_cursor(cursor)) if cursor else 0
        part = held[start : start + limit]
        more = start + limit < len(held)
        return Page([self._view(self.jobs[id_]) for _, _, id_ in part], _held_cursor(*part[-1]) if more else "")

    # What operators do

    def cancel(self, now: int, id: bytes) -> JobState | None:
        job = self.jobs.get(id)
        if job is None:
            return None
        if job.state in _WAITING:
            self._begin(now)
            self._stop_parts(now, job)
            self._end(now, job, JobState.CANCELLED)
        elif job.state is JobState.ACTIVE:
            job.is_cancelling = True
        return job.state

    def requeue(self, now: int, ids: Sequence[bytes]) -> list[Enqueued | None]:
        self._begin(now)
        return [self._requeue(now, id_) for id_ in ids]

    def _requeue(self, now: int, id: bytes) -> Enqueued | None:
        job = self.jobs.get(id)
        if job is None or job.state not in _REQUEUEABLE:
            return None
        if holder := self._win_key(now, job):
            return Enqueued(EnqueueResult.CONFLICT, holder)
        job.attempts = job.lost = 0
        job.error = b""
        self._set_off(now, job, now)
        return Enqueued(EnqueueResult.ENQUEUED, b"")

    def purge(self, now: int, state: JobState, limit: int, ids: Sequence[bytes] = ()) -> int:
        self._begin(now)
        jobs = self.all_in(state, limit)
        if ids:
            jobs = [job for job in map(self.jobs.get, dict.fromkeys(ids)) if job is not None and job.state is state]
        for job in jobs:
            if job.state in _WAITING:
                self._report(now, job, PartState.PURGED, b"purged")
            self._forget(job)
        return len(jobs)

    def unpark(self, now: int, task: bytes) -> int:
        self._begin(now)
        parked = [job for job in self.all_in(JobState.PARKED) if job.reason == task][:_MOST_UNPARKED]
        for job in parked:
            self._set_off(now, job, now)
        return len(parked)

    def take_over(self, now: int, entries: Sequence[Outgoing]) -> int:
        told = [entry for entry in entries if entry.kind is not OutgoingKind.JOBS]
        if told:
            self._begin(now)
        for entry in told:
            if isinstance(entry.content, PartReport):
                self._note_part(now, entry.content)
            else:
                for job in jobs_of(entry):
                    self._stop(now, job.id)
        brought = [entry for entry in entries if entry.kind is OutgoingKind.JOBS]
        new = [job for entry in brought if self.seen_entries.is_new(now, entry) for job in jobs_of(entry)]
        return sum(answer.result is EnqueueResult.ENQUEUED for answer in self.enqueue(now, new))

    # Parts

    def stop(self, now: int, id: bytes) -> JobState | None:
        self._begin(now)
        return self._stop(now, id)

    def _stop(self, now: int, id: bytes) -> JobState | None:
        job = self.jobs.get(id)
        if job is None:
            return None
        if job.state is JobState.ACTIVE:
            job.is_stopping = True
        elif job.state is JobState.BLOCKED and job.split is not None:
            job.split.is_stopped = True
            self._stop_parts(now, job)
        elif job.state in _WAITING:
            self._end(now, job, JobState.CANCELLED)
        return job.state

    def _split(self, now: int, job: MemoryJob, order: SplitOrder) -> None:
        self.counters["split"] += 1
        job.split, job.lost, job.at = MemorySplit(order, job.fence), 0, now
        self.outbox.post_all(now, order.parts)
        self._give_up(now, job)
        self._put(job, JobState.BLOCKED, now)
        if not order.total:
            self._join(now, job, job.split)

    def _join(self, now: int, job: MemoryJob, split: MemorySplit) -> None:
        self.bytes -= job.size
        job.body, job.attempts, job.lost, job.error = split.order.body, 0, 0, b""
        self.bytes += job.size
        job.is_joined = True
        self._set_off(now, job, now)

    def _note_part(self, now: int, report: PartReport) -> None:
        job = self.jobs.get(report.part.id)
        if job is None or job.split is None or not job.split.note(report) or job.state is not JobState.BLOCKED:
            return
        split = job.split
        if report.state is not PartState.COMPLETED and split.order.fails and not split.is_stopped:
            self._stop_parts(now, job)
            self._bury(now, job, b"part", b"part %d: %b" % (report.part.number, report.data))
        elif not split.left:
            self._join(now, job, split)

    def _stop_parts(self, now: int, job: MemoryJob) -> None:
        if job.split is not None and job.state is JobState.BLOCKED:
            for queue, jobs in job.split.order.parts:
                self.outbox.post(now, OutgoingKind.STOP, queue, jobs[0].id, jobs)

    def _report(self, now: int, job: MemoryJob, state: PartState, data: bytes) -> None:
        """Tell the job that this one is a part of how it ended."""
        if job.part is not None:
            report = PartReport(job.part, state, data)
            self.outbox.post(now, OutgoingKind.REPORT, job.part.queue, job.id, report)

    def pause(self, now: int, *, reason: str, resume_after: int = 0) -> None:
        self.pause_reason, self.resumes_at = reason, now + resume_after if resume_after else 0

    def resume(self) -> None:
        self.pause_reason, self.resumes_at = None, 0

    # How a job gets from one state into the next

    def _leased(self, id: bytes, fence: int, worker: bytes) -> MemoryJob | None:
        """The job, if it is active and this is the lease on it."""
        job = self.jobs.get(id)
        if job is None or job.state is not JobState.ACTIVE or (job.fence, job.worker) != (fence, worker):
            return None
        return job

    def _put(self, job: MemoryJob, place: str, score: float) -> None:
        """Every move goes through here: a job is in one set, and what belongs to a lease goes with it."""
        if job.place:
            self.sets[job.place].remove(job.score, job.id)
        job.place, job.score = place, score
        self.sets[place].add(score, job.id)
        if place != JobState.ACTIVE:
            job.fence = job.hard_end = 0
            job.is_cancelling = job.is_stopping = False
        if place in _WAITING:
            job.worker = b""

    def _wait_until(self, job: MemoryJob, state: JobState, due: int) -> None:
        job.at = due
        self._put(job, state, due)

    def _set_off(self, now: int, job: MemoryJob, ready: int) -> None:
        """Make a job pending that was not, since wall ms `ready`; or hold it."""
        job.reason = b""
        if job.limit is not None:
            self._admit(now, job, job.limit)
            return
        job.rank = (9 - job.priority) * _PRIORITY_BAND + ready
        job.ready = ready
        self._make_pending(job)

    def _restart(self, now: int, job: MemoryJob) -> None:
        """Make a job pending again at its old place, with the slot that it has."""
        if job.limit is not None:
            job.ready = now
        self._make_pending(job)

    def _make_pending(self, job: MemoryJob) -> None:
        job.at = job.ready
        self._put(job, _SUSPECTS if job.lost else JobState.PENDING, job.rank)

    def _admit(self, now: int, job: MemoryJob, limit: Limit) -> None:
        """Tag the job by start-time fair queueing; it gets a slot unless others of its key wait, or there is no room."""
        slots = self.slots.setdefault(limit.key, MemorySlots(now))
        virtual = self.virtual = now if self.virtual is None else self.virtual
        live = slots.given + len(slots.held)
        slots.tag = max(virtual, min(slots.tag, virtual + live / limit.weight)) + 1 / limit.weight
        job.rank = (9 - job.priority) * _PRIORITY_BAND + slots.tag
        if not slots.held and slots.has_room(now, limit):
            self._give_slot(now, job, limit, slots)
            self._keep_slots(now, limit.key, limit, slots)
            return
        job.at = now
        self._put(job, JobState.HELD, job.rank)
        insort(slots.held, (job.rank, job.id))
        if slots.held[0][1] == job.id:
            # It goes before those that wait, and for its own terms there may be room.
            self._grant(now, limit.key, limit)

    def _give_slot(self, now: int, job: MemoryJob, limit: Limit, slots: MemorySlots) -> None:
        slots.give(limit)
        job.has_slot, job.ready = True, now
        self._make_pending(job)

    def _give_up(self, now: int, job: MemoryJob) -> None:
        """Take the slot, or the wait for one, from a job that is about to leave its state, and hand on what that leaves."""
        if job.held_task:
            ranks = self.held_back[job.held_task]
            ranks.remove((job.rank, job.id))
            if not ranks:
                del self.held_back[job.held_task]
            job.held_task = b""
            return
        if job.limit is None or not (job.has_slot or job.place == JobState.HELD):
            return
        slots = self.slots[job.limit.key]
        if job.has_slot:
            job.has_slot = False
            slots.given -= 1
        else:
            slots.held.remove((job.rank, job.id))
        self._grant(now, job.limit.key, job.limit)

    def _grant(self, now: int, key: bytes, limit: Limit | None) -> None:
        """Make held jobs of a key pending, in their order, for as long as it allows. `limit`: the terms of who has left."""
        slots = self.slots[key]
        turns = 0
        while slots.held and turns < _MOST_GRANTED:
            turns += 1
            job = self.jobs[slots.held[0][1]]
            limit = job.limit
            if limit is None or not slots.has_room(now, limit):
                break
            del slots.held[0]
            self._give_slot(now, job, limit, slots)
        self._keep_slots(now, key, limit, slots)
        if turns == _MOST_GRANTED and slots.held:
            # The next step goes on.
            self.rates[key] = now

    def _grant_by_time(self, now: int) -> None:
        due = sorted((at, key) for key, at in self.rates.items() if at <= now)
        for _, key in due[:_KEYS_PER_STEP]:
            del self.rates[key]
            if key in self.slots:
                self._grant(now, key, None)

    def _keep_slots(self, now: int, key: bytes, limit: Limit | None, slots: MemorySlots) -> None:
        """Forget the slots of a key when they say no more than nothing would; note when time will bring it something.

        `limit`: the terms of who is next, or of the last one if nobody is held; None, not known.
        """
        rate = 0 if limit is None else limit.rate
        if limit is not None:
            slots.refill(now, limit)
        if not slots.given and not slots.held and not (rate and slots.tokens < rate):
            del self.slots[key]
            self.rates.pop(key, None)
        elif limit is not None and rate:
            # Where tokens are not what is missing, somebody's end brings the next one its slot, not time.
            wanted = 1 if slots.held else 0 if slots.given else rate
            if slots.tokens < wanted:
                self.rates[key] = now + ceil((wanted - slots.tokens) * limit.period / rate)
            else:
                self.rates.pop(key, None)

    def _bury(self, now: int, job: MemoryJob, reason: bytes, error: bytes) -> None:
        job.reason, job.error = reason, error[:_ERROR_BYTES]
        self._report(now, job, PartState.DEAD, (b"%b: %b" % (reason, error))[:_ERROR_BYTES])
        self._end(now, job, JobState.DEAD)

    def _end(self, now: int, job: MemoryJob, state: JobState) -> None:
        self.counters[state] += 1
        if state is JobState.CANCELLED:
            self._report(now, job, PartState.CANCELLED, b"cancelled")
        self._give_up(now, job)
        self._release_key(job)
        job.at = now
        self._put(job, state, now)

    def _forget(self, job: MemoryJob) -> None:
        self._release_key(job)
        self.bytes -= job.size + len(job.result)
        self.sets[job.place].remove(job.score, job.id)
        del self.jobs[job.id]

    def _win_key(self, now: int, job: MemoryJob, end: int = 0) -> bytes:
        """Take the job's unique key until wall ms `end` (0: until it is released), or keep it if the job has it already.

        When another job holds it, that job's id, and nothing is changed.
        """
        if not job.unique:
            return b""
        holder, held_until = self.holders.get(job.unique, (b"", 0))
        if holder and not 0 < held_until <= now:
            return b"" if holder == job.id else holder
        self.holders[job.unique] = job.id, end
        return b""

    def _release_key(self, job: MemoryJob) -> None:
        if self.holders.get(job.unique, (b"", 0))[0] == job.id:
            del self.holders[job.unique]


def _stored_size(job: MemoryJob | NewJob) -> int:
    part = 0 if job.part is None else _PART + len(job.part.queue)
    return _HEAD + len(job.unique) + (0 if job.limit is None else _LIMIT) + part + len(job.body)


def _task_key(task: bytes) -> bytes:
    """The key by which jobs of a paused task are held."""
    return hashlib.sha1(b"task:" + task, usedforsecurity=False).hexdigest()[:16].encode()


def _leaves_nothing(finish: Finish) -> bool:
    """Whether the run completed, and nothing of it goes anywhere."""
    return finish.kind is FinishKind.COMPLETED and not finish.keep and not finish.result and not finish.hand_over


def _delivery(job: MemoryJob, now: int) -> Claimed:
    outcomes = job.split.outcomes() if job.is_joined and job.split is not None else None
    return Claimed(
        *(job.id, job.body, job.fence, job.attempts, job.lost, job.ready, now), job.part is not None, outcomes
    )


def _passed_on(hand_over: HandOver, part: Part | None) -> HandOver:
    """The same jobs, which stand for the one before them in the job that it is a part of."""
    return hand_over._replace(jobs=tuple(job._replace(part=job.part or part) for job in hand_over.jobs))


def _cursor(rank: tuple[int, float, bytes]) -> str:
    number, score, id_ = rank
    return f"{number}-{score}-{id_.hex()}"


def _read_cursor(cursor: str, places: int) -> tuple[int, float, bytes]:
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[1]) >= places:
        raise _bad_cursor(cursor)
    return int(found[1]), float(found[2]), bytes.fromhex(found[3])


def _held_cursor(key: bytes, rank: float, id: bytes) -> str:
    return (key + struct.pack(">d", rank) + id).hex()


def _read_held_cursor(cursor: str) -> tuple[bytes, float, bytes]:
    if not _HELD_CURSOR.fullmatch(cursor):
        raise _bad_cursor(cursor)
    key, rank, id_ = struct.unpack(">16sd16s", bytes.fromhex(cursor))
    return key, rank, id_


def _bad_cursor(cursor: str) -> ConfigurationError:
    return ConfigurationError("cursor", cursor, "the cursor of an earlier page of this list")
