"""The state of one queue in memory, and how its jobs get from one state into the next."""

from __future__ import annotations

from bisect import bisect_left, insort
from math import ceil
from typing import Final

from ropeline.jobs.brokers.memory_job import MemoryJob
from ropeline.jobs.brokers.memory_outbox import MemoryOutbox, Seen
from ropeline.jobs.brokers.memory_slots import MemorySlots
from ropeline.jobs.brokers.memory_split import MemorySplit, PartReport
from ropeline.jobs.payloads.envelope import task_of
from ropeline.jobs.records import (
    JobState,
    Limit,
    OutgoingKind,
    PartState,
    PausedTask,
    QueueSettings,
    SplitOrder,
    StepReply,
)

__all__ = ["MemoryMoves", "RankedIds"]


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

_ERROR_BYTES: Final = 1024
_PRIORITY_BAND: Final = 1 << 42
_MOST_GRANTED: Final = 20
_KEYS_PER_STEP: Final = 20
# Pending jobs that have lost a lease: a set of their own, and one state with the others to the outside.
_SUSPECTS: Final = "suspects"
_WAITING: Final = frozenset(
    {JobState.SCHEDULED, JobState.PENDING, JobState.RETRY, JobState.HELD, JobState.PARKED, JobState.BLOCKED, _SUSPECTS}
)


class RankedIds:
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


class MemoryMoves:
    """The jobs and sets of a queue. A move leaves no job in two sets, and no slot behind. `now` is wall ms."""

    def __init__(self) -> None:
        self.jobs: dict[bytes, MemoryJob] = {}
        self.sets: dict[str, RankedIds] = {place: RankedIds() for place in (*JobState, _SUSPECTS)}
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

    def _advance_virtual(self, virtual: float) -> None:
        self.virtual = virtual if self.virtual is None else max(self.virtual, virtual)

    def all_in(self, place: str, most: int | None = None) -> list[MemoryJob]:
        """The first `most` jobs of a set, in its order."""
        return [self.jobs[id_] for _, id_ in self.sets[place].ranks[:most]]

    def _lowest(self, place: str, score: int, most: int) -> list[MemoryJob]:
        """The first `most` jobs of a set whose score is `score` or less."""
        return [job for job in self.all_in(place, most) if job.score <= score]

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

    def _hold_back(self, now: int, job: MemoryJob) -> None:
        """A job of a paused task is held at its place, without its slot."""
        self._give_up(now, job)
        job.at, job.reason = now, task_of(job.body)
        job.held_task = job.reason
        self._put(job, JobState.HELD, job.rank)
        insort(self.held_back.setdefault(job.held_task, []), (job.rank, job.id))
