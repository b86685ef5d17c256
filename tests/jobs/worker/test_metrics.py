"""What Prometheus reads from a worker: exact numbers, under their names."""

from ropeline.exposition import Family, write_families
from ropeline.jobs.records import Depths, FinishKind
from ropeline.jobs.worker.metrics import WorkerMetrics


def depths(**changes: int) -> Depths:
    states = ("scheduled", "pending", "active", "retry", "held", "parked", "blocked", "completed", "dead", "cancelled")
    counts = {state: changes.get(state, 0) for state in states}
    return Depths(
        **counts,
        now=10_000,
        oldest_pending=changes.get("oldest_pending", 0),
        next_due=0,
        paused=False,
        pause_reason="",
        resumes_at=0,
        bytes=1_000,
        dead_bytes=100,
        paused_tasks=(),
        counters={"enqueued": 12, "lost": 2},
    )


def lines(*families: Family) -> list[str]:
    return write_families(families).decode().splitlines()


def test_everything_that_was_counted_is_shown_once_by_its_name() -> None:
    metrics = WorkerMetrics(slots=8)
    metrics.used = 3
    metrics.stale["default"] = 1
    metrics.of_task("default", "mail").finished[FinishKind.COMPLETED] += 5
    metrics.of_task("default", "mail").finished[FinishKind.DEAD] += 1
    metrics.of_task("default", "mail").run_seconds.observe(0.02)
    metrics.of_queue("default").observe(0.02)
    shown = lines(*metrics.families({"default": depths(pending=4, dead=1, oldest_pending=7_500)}))
    for line in (
        'ropeline_jobs_finished_total{queue="default",task="mail",outcome="completed"} 5',
        'ropeline_jobs_finished_total{queue="default",task="mail",outcome="dead"} 1',
        'ropeline_jobs_finished_total{queue="default",task="mail",outcome="retried"} 0',
        'ropeline_job_run_seconds_count{queue="default",task="mail"} 1',
        'ropeline_job_queue_wait_seconds_count{queue="default"} 1',
        'ropeline_stale_finishes_total{queue="default"} 1',
        'ropeline_worker_slots{state="used"} 3',
        'ropeline_worker_slots{state="free"} 5',
        'ropeline_jobs_enqueued_total{queue="default"} 12',
        'ropeline_leases_expired_total{queue="default"} 2',
        'ropeline_queue_depth{queue="default",state="pending"} 4',
        'ropeline_queue_depth{queue="default",state="dead"} 1',
        'ropeline_queue_oldest_age_seconds{queue="default"} 2.5',
        'ropeline_queue_bytes{queue="default"} 1000',
        'ropeline_queue_dead_bytes{queue="default"} 100',
        'ropeline_queue_paused_tasks{queue="default"} 0',
    ):
        assert shown.count(line) == 1, line
    assert len(set(shown)) == len(shown)
    assert metrics.totals()["completed"] == 5


def test_the_totals_of_a_worker_that_has_run_nothing_are_zero() -> None:
    assert set(WorkerMetrics(slots=1).totals().values()) == {0}
