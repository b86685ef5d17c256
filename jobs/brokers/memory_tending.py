"""What each step does to a queue in memory that nobody asks for: expired leases, what is due, what has been kept for long enough."""

from __future__ import annotations

from math import floor
from typing import Final

from ropeline.jobs.brokers.memory_job import MemoryJob
from ropeline.jobs.brokers.memory_moves import MemoryMoves
from ropeline.jobs.records import (
    JobState,
)

__all__ = ["MemoryTending"]


_PROMOTED_PER_STEP: Final = 64
_REAPED_PER_STEP: Final = 20
_AGED_PER_STEP: Final = 20
_RAISED_PER_STEP: Final = 20
_RELEASED_PER_STEP: Final = 64
_PRIORITY_BAND: Final = 1 << 42


class MemoryTending(MemoryMoves):
    """A queue that is tended a little at a time, as the scripts do it."""

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

    def resume_task(self, task: bytes) -> None:
        """Release the jobs of a task, some at a step."""
        if self.paused_tasks.pop(task, None) is not None:
            self.resuming.append(task)
