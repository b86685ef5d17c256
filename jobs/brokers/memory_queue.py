"""One queue in memory: its state, and the rules that the scripts of the Redis broker are held to.

Plain data, each call at a given moment, nothing asynchronous; `ropeline.jobs.brokers.memory` puts the protocol around it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import ceil, floor, inf
from typing import Final

from ropeline.jobs.brokers.checks import MOST_PAUSED_TASKS
from ropeline.jobs.brokers.memory_job import MemoryJob, stored_size
from ropeline.jobs.brokers.memory_outbox import jobs_of
from ropeline.jobs.brokers.memory_split import PartReport
from ropeline.jobs.brokers.memory_tending import MemoryTending
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
    NewJob,
    Outgoing,
    OutgoingKind,
    Page,
    Part,
    PartState,
    PausedTask,
    QueueSettings,
    Renewal,
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
_LARGEST_CLAIM: Final = 64
_REPLY_BYTES: Final = 1 << 20
_ERROR_BYTES: Final = 1024
_WORKER_AGE: Final = 3_600_000
_WORKERS_PER_STEP: Final = 5
_MOST_UNPARKED: Final = 100
_PRIORITY_BAND: Final = 1 << 42
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


class MemoryQueue(MemoryTending):
    """One queue: its state, and what each call does to it. `now` is wall ms; a subclass may look at any of the attributes.

    Leases run on the queue clock, which each call moves on that changes jobs, `enqueue` apart. Reading changes nothing.
    """

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
                new[job.id] = stored_size(job)
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

    def pause_task(self, now: int, task: bytes, *, reason: str, resume_after: int) -> bool:
        """Hold the jobs of a task back from now on; False when too many tasks are paused."""
        if len(self.paused_tasks.keys() - {task}) >= MOST_PAUSED_TASKS:
            return False
        resumes_at = now + resume_after if resume_after else 0
        self.paused_tasks[task] = PausedTask(task.decode(errors="replace"), reason, resumes_at)
        self.resuming = [other for other in self.resuming if other != task]
        return True

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

    def pause(self, now: int, *, reason: str, resume_after: int = 0) -> None:
        self.pause_reason, self.resumes_at = reason, now + resume_after if resume_after else 0

    def resume(self) -> None:
        self.pause_reason, self.resumes_at = None, 0

    # How a job gets from one state into the next


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
