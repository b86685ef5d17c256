"""What a queue's callers were told, and what must therefore be true of it; knows the promises, none of the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ropeline.jobs.records import (
    Depths,
    Enqueued,
    EnqueueResult,
    Finish,
    FinishKind,
    FinishResult,
    JobState,
    JobView,
    NewJob,
    StepReply,
)

__all__ = ["Ledger"]

LIVE = frozenset(
    {
        JobState.SCHEDULED,
        JobState.PENDING,
        JobState.ACTIVE,
        JobState.RETRY,
        JobState.HELD,
        JobState.PARKED,
        JobState.BLOCKED,
    }
)
MOST_GRANTED = 20
"""Held jobs of a key that one call may make pending; a later step goes on."""
ENDED = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED})


@dataclass
class Hold:
    """A unique key that a job was given: until wall ms `end`, 0 for as long as it lives."""

    key: bytes
    end: int


class Ledger:
    """Follows the replies of one queue; `check` compares them with what the queue shows."""

    def __init__(self) -> None:
        self.jobs: dict[bytes, NewJob] = {}
        self.views: dict[bytes, JobView] = {}
        self.holds: dict[bytes, Hold] = {}
        self.slots: dict[bytes, set[bytes]] = {}
        self.completed: set[bytes] = set()
        self.purged: set[bytes] = set()
        self.expired: set[bytes] = set()
        self.acknowledged = 0
        self.last_fence = 0
        self.ends: Counter[str] = Counter()
        self.ended = 0

    def enqueued(self, now: int, jobs: Sequence[NewJob], answers: Sequence[Enqueued]) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            match answer.result:
                case EnqueueResult.ENQUEUED:
                    assert not self.is_there(job.id), "an id was taken in twice"
                    self.acknowledged += 1
                    self.jobs[job.id] = job
                    for gone in (self.completed, self.purged, self.expired):
                        gone.discard(job.id)
                    self._take_key(now, job, now + job.unique_for if job.unique_for else 0)
                case EnqueueResult.EXISTS:
                    assert self.is_there(job.id), "an id was refused that is not there"
                case EnqueueResult.CONFLICT:
                    self._check_conflict(now, job, answer.holder)

    def requeued(self, now: int, ids: Sequence[bytes], answers: Sequence[Enqueued | None]) -> None:
        for id_, answer in zip(ids, answers, strict=True):
            if answer is None:
                continue
            job = self.jobs[id_]
            if answer.result is EnqueueResult.CONFLICT:
                self._check_conflict(now, job, answer.holder)
            elif not self._holds(id_, job.unique, now):
                self._take_key(now, job, 0)

    def stepped(self, finishes: Sequence[Finish], reply: StepReply) -> None:
        """A step that was no repeat."""
        for finish, result in zip(finishes, reply.finished, strict=True):
            if result is FinishResult.STALE:
                self.ends["stale"] += 1
            elif result is FinishResult.CANCELLED or finish.kind is FinishKind.CANCELLED:
                self.ends["cancelled"] += 1
            else:
                self.ends[finish.kind.name.lower()] += 1
                if finish.kind is FinishKind.COMPLETED and not finish.keep:
                    self.completed.add(finish.id)
        self.ends["claimed"] += len(reply.claimed)
        for delivery in reply.claimed:
            assert delivery.fence > self.last_fence, "a fence fell, or came twice"
            if self.jobs[delivery.id].until_start:
                self.holds.pop(delivery.id, None)
        if reply.claimed:
            assert len({delivery.fence for delivery in reply.claimed}) == 1
            assert len({delivery.id for delivery in reply.claimed}) == len(reply.claimed)
            assert sum(delivery.lost > 0 for delivery in reply.claimed) <= 1
            self.last_fence = reply.claimed[0].fence

    def is_there(self, id: bytes) -> bool:
        return id in self.jobs and id not in self.completed | self.purged | self.expired

    def check(self, now: int, depths: Depths, lists: dict[JobState, list[JobView]]) -> None:
        """`lists`: all jobs of each state."""
        shown = [view for views in lists.values() for view in views]
        assert all(view.state is state for state, views in lists.items() for view in views)
        assert len({view.id for view in shown}) == len(shown), "an id is in two states"
        assert {state: len(views) for state, views in lists.items()} == {
            state: getattr(depths, state) for state in JobState
        }
        self._check_gone({view.id for view in shown}, depths.counters)
        self.views = {view.id: view for view in shown}
        assert all(self.jobs[view.id].body == view.body for view in shown)
        self._check_keys(now)
        self._check_limits(lists)
        self._check_counters(depths)

    def _check_gone(self, shown: set[bytes], counters: dict[str, int]) -> None:
        there = {id_ for id_ in self.jobs if self.is_there(id_)}
        assert shown <= there, "a job that was removed is back, or one that nobody enqueued is there"
        gone = there - shown
        # Where little is kept, a step may end a job and forget it at once; nothing is forgotten that has not ended.
        ended = sum(counters[state] for state in ENDED)
        assert sum(self.views[id_].state not in ENDED for id_ in gone) <= ended - self.ended, "a job has vanished"
        self.ended = ended
        self.expired |= gone

    def _check_keys(self, now: int) -> None:
        for id_ in list(self.holds):
            if id_ not in self.views or self.views[id_].state not in LIVE:
                del self.holds[id_]
        keys = Counter(hold.key for id_, hold in self.holds.items() if self._holds(id_, hold.key, now))
        assert all(number == 1 for number in keys.values()), "two live jobs hold one unique key"

    def _check_limits(self, lists: dict[JobState, list[JobView]]) -> None:
        slots: dict[bytes, set[bytes]] = {}
        for view in (*lists[JobState.PENDING], *lists[JobState.ACTIVE]):
            if limit := self.jobs[view.id].limit:
                slots.setdefault(limit.key, set()).add(view.id)
        for key, ids in slots.items():
            if ids - self.slots.get(key, set()):
                # The last one to come found room by its own terms.
                terms = [limit.most for id_ in ids if (limit := self.jobs[id_].limit)]
                assert 0 in terms or len(ids) <= max(terms), "more jobs of a key have a slot than any of them allows"
        self.slots = slots
        seen = set()
        for view in lists[JobState.HELD]:
            if view.reason:
                continue  # its task is, or was, paused
            limit = self.jobs[view.id].limit
            assert limit is not None, "a job without a limit is held"
            given = len(slots.get(limit.key, ()))
            if limit.key not in seen and not limit.rate and given < MOST_GRANTED:
                assert 0 < limit.most <= given, "the first held job of a key has room, and waits"
            seen.add(limit.key)

    def _check_counters(self, depths: Depths) -> None:
        counters, ends = depths.counters, self.ends
        assert counters["enqueued"] == self.acknowledged
        assert counters["claimed"] == ends["claimed"]
        assert counters["completed"] == ends["completed"]
        assert counters["retried"] == ends["retry"]
        assert counters["failed"] == ends["retry"] + ends["dead"]
        assert counters["snoozed"] == ends["snooze"]
        assert counters["released"] == ends["release"]
        assert counters["parked"] == ends["park"]
        assert counters["stale"] == ends["stale"]
        assert counters["dead"] >= ends["dead"]
        assert counters["cancelled"] >= ends["cancelled"]
        over = sum(ends[kind.name.lower()] for kind in FinishKind)
        assert counters["claimed"] == over + counters["lost"] + depths.active, "a delivery ended in no way, or in two"

    def _check_conflict(self, now: int, job: NewJob, holder: bytes) -> None:
        assert holder != job.id
        assert self._holds(holder, job.unique, now), "a unique key was refused that nobody holds"

    def _take_key(self, now: int, job: NewJob, end: int) -> None:
        if not job.unique:
            return
        assert not [id_ for id_ in self.holds if self._holds(id_, job.unique, now)], "a held unique key was given away"
        # Those whose time was over have lost it for good, also if the clock is set back.
        self.holds = {id_: hold for id_, hold in self.holds.items() if hold.key != job.unique}
        self.holds[job.id] = Hold(job.unique, end)

    def _holds(self, id: bytes, key: bytes, now: int) -> bool:
        hold = self.holds.get(id)
        return hold is not None and hold.key == key and not 0 < hold.end <= now
