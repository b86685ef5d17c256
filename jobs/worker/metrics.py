"""What a worker counts and measures, and the names under which Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ropeline.exposition import Family, Histogram

if TYPE_CHECKING:
    from ropeline.jobs.cron.scheduler import ScheduleCounts
    from ropeline.jobs.records import Depths

__all__ = [
    "BOUNDS",
    "OUTCOMES",
    "TaskMetrics",
    "WorkerMetrics",
    "health_families",
    "oldest_age",
    "schedule_families",
]

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the histograms' buckets, seconds."""

OUTCOMES: Final = ("completed", "retried", "snoozed", "released", "dead", "parked", "cancelled", "split")
"""How a run may end, in the order of FinishKind."""

_QUEUE_STATES: Final = (
    "scheduled",
    "pending",
    "active",
    "retry",
    "held",
    "parked",
    "blocked",
    "completed",
    "dead",
    "cancelled",
)


class TaskMetrics:
    """What is counted of one task type in one queue."""

    __slots__ = ("finished", "run_seconds")

    def __init__(self) -> None:
        self.finished = [0] * len(OUTCOMES)
        """By FinishKind."""
        self.run_seconds = Histogram(BOUNDS)


class WorkerMetrics:
    """The counters of one worker process. Labels are queues, task types, outcomes and states: never an id or an argument."""

    def __init__(self, *, slots: int) -> None:
        self.slots = slots
        self.used = 0
        """Slots in which a handler runs."""
        self.stale: dict[str, int] = {}
        """By queue."""
        self.round_trips = 0
        """Steps that were answered."""
        self.step_failures = 0
        """Steps without an answer; each is repeated."""
        self.waits: dict[str, Histogram] = {}
        """By queue: from pending to claimed, by the store's clock."""
        self._tasks: dict[tuple[str, str], TaskMetrics] = {}

    def of_task(self, queue: str, task: str) -> TaskMetrics:
        """The counters of a task type in a queue, the same object each time."""
        found = self._tasks.get((queue, task))
        if found is None:
            found = self._tasks[queue, task] = TaskMetrics()
        return found

    def of_queue(self, queue: str) -> Histogram:
        """How long the jobs of a queue waited, the same object each time."""
        found = self.waits.get(queue)
        if found is None:
            found = self.waits[queue] = Histogram(BOUNDS)
        return found

    def totals(self) -> dict[str, int]:
        """Runs by outcome, over all queues and task types."""
        sums = [sum(column) for column in zip(*(task.finished for task in self._tasks.values()), strict=True)]
        return dict(zip(OUTCOMES, sums or [0] * len(OUTCOMES), strict=True))

    def families(self, depths: Mapping[str, Depths]) -> list[Family]:
        """Everything that is shown: this process's own counters, and `depths`, which are the same from every worker."""
        return [*self._own_families(), *_queue_families(depths)]

    def _own_families(self) -> list[Family]:
        tasks = sorted(self._tasks.items())
        return [
            Family(
                "ropeline_jobs_finished_total",
                "counter",
                "Runs that ended in this process, by outcome.",
                [
                    ({"queue": queue, "task": task, "outcome": outcome}, count)
                    for (queue, task), counted in tasks
                    for outcome, count in zip(OUTCOMES, counted.finished, strict=True)
                ],
            ),
            Family(
                "ropeline_job_run_seconds",
                "histogram",
                "How long handlers ran.",
                [({"queue": queue, "task": task}, counted.run_seconds) for (queue, task), counted in tasks],
            ),
            Family(
                "ropeline_job_queue_wait_seconds",
                "histogram",
                "How long jobs were pending before they were claimed.",
                [({"queue": queue}, waited) for queue, waited in sorted(self.waits.items())],
            ),
            Family(
                "ropeline_stale_finishes_total",
                "counter",
                "Finishes that counted no more: the lease was lost.",
                [({"queue": queue}, count) for queue, count in sorted(self.stale.items())],
            ),
            Family(
                "ropeline_worker_slots",
                "gauge",
                "Slots of this process, by whether a handler runs in them.",
                [({"state": "used"}, self.used), ({"state": "free"}, self.slots - self.used)],
            ),
            Family(
                "ropeline_worker_round_trips_total",
                "counter",
                "Steps that the store answered.",
                [({}, self.round_trips)],
            ),
            Family(
                "ropeline_worker_step_failures_total",
                "counter",
                "Steps that the store did not answer; each was repeated.",
                [({}, self.step_failures)],
            ),
        ]


def _queue_families(depths: Mapping[str, Depths]) -> list[Family]:
    queues = sorted(depths.items())
    return [
        Family(
            "ropeline_jobs_enqueued_total",
            "counter",
            "Jobs that the queue has taken in; of the store, the same from every worker.",
            [({"queue": name}, depth.counters.get("enqueued", 0)) for name, depth in queues],
        ),
        Family(
            "ropeline_leases_expired_total",
            "counter",
            "Leases that ended without a finish; of the store, the same from every worker.",
            [({"queue": name}, depth.counters.get("lost", 0)) for name, depth in queues],
        ),
        Family(
            "ropeline_queue_depth",
            "gauge",
            "Jobs in each state; of the store, the same from every worker.",
            [
                ({"queue": name, "state": state}, getattr(depth, state))
                for name, depth in queues
                for state in _QUEUE_STATES
            ],
        ),
        Family(
            "ropeline_queue_oldest_age_seconds",
            "gauge",
            "How long the oldest pending job has been so, 0 when there is none.",
            [({"queue": name}, oldest_age(depth)) for name, depth in queues],
        ),
        Family(
            "ropeline_queue_paused",
            "gauge",
            "1 while nothing is claimed.",
            [({"queue": name}, int(depth.paused)) for name, depth in queues],
        ),
        Family(
            "ropeline_queue_paused_tasks",
            "gauge",
            "Tasks of the queue that are paused by themselves.",
            [({"queue": name}, len(depth.paused_tasks)) for name, depth in queues],
        ),
        Family(
            "ropeline_queue_bytes",
            "gauge",
            "What the bodies and results of all jobs take; of the store, the same from every worker.",
            [({"queue": name}, depth.bytes) for name, depth in queues],
        ),
        Family(
            "ropeline_queue_dead_bytes",
            "gauge",
            "What dead letters take, with what is known of each; of the store, the same from every worker.",
            [({"queue": name}, depth.dead_bytes) for name, depth in queues],
        ),
    ]


def health_families(*, is_up: bool, loop_age: float) -> list[Family]:
    """Whether this process does its work. `is_up`: the store answers it. `loop_age`: seconds."""
    return [
        Family("ropeline_worker_store_up", "gauge", "1 while the store answers.", [({}, int(is_up))]),
        Family(
            "ropeline_worker_loop_age_seconds",
            "gauge",
            "How long the claim loop has not gone round.",
            [({}, round(loop_age, 3))],
        ),
    ]


def schedule_families(counts: ScheduleCounts) -> list[Family]:
    """What the scheduler of this process has seen; ticks are sums over all its cron jobs."""
    return [
        Family(
            "ropeline_schedule_ticks_total",
            "counter",
            "Ticks of cron jobs that this process came with, by what became of them; an outrun one was another process's.",
            [
                ({"outcome": outcome}, getattr(counts, outcome))
                for outcome in ("enqueued", "existing", "held_back", "missed", "outrun")
            ],
        ),
        Family(
            "ropeline_schedule_future_alarms_total",
            "counter",
            "How often a last tick was found to lie in the future: the store's clock was set back.",
            [({}, counts.future_alarms)],
        ),
        Family(
            "ropeline_schedule_in_future",
            "gauge",
            "Cron jobs that rest now, since their last tick lies in the future.",
            [({}, counts.in_future)],
        ),
        Family(
            "ropeline_schedule_unreadable_total",
            "counter",
            "Definitions of cron jobs that this process cannot read, once for each version.",
            [({}, counts.unreadable)],
        ),
        Family(
            "ropeline_schedule_failures_total",
            "counter",
            "Calls of the scheduler that the store did not answer; each is repeated.",
            [({}, counts.failures)],
        ),
    ]


def oldest_age(depth: Depths) -> float:
    """Seconds for which the oldest pending job has been so, 0 when there is none."""
    return max(0, depth.now - depth.oldest_pending) / 1000 if depth.oldest_pending else 0.0
