"""What every broker refuses before it does anything: calls that no engine of ours makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ropeline.jobs.broker import (
    LARGEST_ENQUEUE,
    LARGEST_HAND_OUT,
    LARGEST_HAND_OVER,
    LARGEST_RENEWAL,
    LARGEST_SPLIT,
    LARGEST_STEP,
)
from ropeline.jobs.records import Finish, FinishKind, HandOver, JobState, Limit, NewJob, QueueSettings
from ropeline.lua.errors import ConfigurationError

__all__ = [
    "LARGEST_PAGE",
    "MOST_PAUSED_TASKS",
    "PURGEABLE",
    "check_enqueue",
    "check_id",
    "check_ids",
    "check_limit",
    "check_milliseconds",
    "check_names",
    "check_purge",
    "check_renewal",
    "check_settings",
    "check_step",
    "check_task",
    "too_many_tasks",
]

LARGEST_PAGE = 1000
"""Most jobs in one page, and in one purge."""
MOST_PAUSED_TASKS = 100
"""Most tasks of a queue that are paused by themselves."""
PURGEABLE = frozenset(
    {
        JobState.DEAD,
        JobState.COMPLETED,
        JobState.CANCELLED,
        JobState.PARKED,
        JobState.SCHEDULED,
        JobState.RETRY,
    }
)
"""States that a purge empties: nobody works on their jobs, and none of them is about to be claimed."""

_ID_LENGTH = 16
_LONGEST_DETAIL = 255
_HIGHEST_PRIORITY = 9
_HIGHEST_LANE = 15
_HIGHEST_WEIGHT = 100
# As a store packs them: two bytes, and four.
_MOST_OF_A_KEY = 65_535
_LONGEST_PERIOD = (1 << 32) - 1
# What most finishes say besides kind, id and fence.
_PLAIN_FINISH = Finish(FinishKind.COMPLETED, b"", 0)[3:]
# A pending job's place is its priority band plus a time, and a double must hold it exactly.
_LATEST = 1 << 42
_LARGEST_SETTING = (1 << 53) - 1


def check_enqueue(jobs: Sequence[NewJob]) -> None:
    """Raise ConfigurationError unless `jobs` are 1 to 100 that may be taken in."""
    _check_count("jobs", len(jobs), 1, LARGEST_ENQUEUE)
    _check_jobs(jobs)


def check_names(names: Sequence[bytes]) -> None:
    """Raise ConfigurationError unless these are 1 to 20 names of entries of an outbox."""
    _check_count("names", len(names), 1, LARGEST_HAND_OUT)
    for name in names:
        if len(name) != _ID_LENGTH + 1:
            raise ConfigurationError("names", name, "17 bytes")


def _check_jobs(jobs: Sequence[NewJob]) -> None:
    for job in jobs:
        check_id("id", job.id)
        if job.is_plain:
            continue
        if job.unique:
            check_id("unique", job.unique)
        if not 0 <= job.priority <= _HIGHEST_PRIORITY:
            raise ConfigurationError("priority", job.priority, "0 to 9")
        check_milliseconds("due", job.due)
        check_milliseconds("delay", job.delay)
        check_milliseconds("unique_for", job.unique_for)
        if job.limit is not None:
            _check_limit_of_key(job.limit)


def check_step(
    *,
    worker: bytes,
    lane: int,
    call: int,
    finishes: Sequence[Finish],
    claim: int,
    lease: int,
    hard: int,
    max_lost: int,
) -> None:
    """Raise ConfigurationError unless a step may be made with these arguments."""
    check_id("worker", worker)
    _check_count("lane", lane, 0, _HIGHEST_LANE)
    if call < 1:
        raise ConfigurationError("call", call, "1 or more, one more each time")
    _check_count("finishes", len(finishes), 0, LARGEST_STEP)
    _check_count("claim", claim, 0, LARGEST_STEP)
    check_milliseconds("lease", lease, least=1)
    check_milliseconds("hard", hard, least=1)
    _check_count("max_lost", max_lost, 1, 1000)
    for finish in finishes:
        _check_finish(finish)


def check_renewal(*, worker: bytes, held: Sequence[tuple[bytes, int]], lease: int) -> None:
    """Raise ConfigurationError unless these leases, 1 to 200, may be prolonged by one call."""
    check_id("worker", worker)
    _check_count("held", len(held), 1, LARGEST_RENEWAL)
    for id_, fence in held:
        check_id("id", id_)
        _check_fence(fence)
    check_milliseconds("lease", lease, least=1)


def check_ids(ids: Sequence[bytes]) -> None:
    """Raise ConfigurationError unless `ids` are 1 to 100 ids."""
    _check_count("ids", len(ids), 1, LARGEST_ENQUEUE)
    for id_ in ids:
        check_id("id", id_)


def check_purge(state: JobState, limit: int) -> None:
    """Raise ConfigurationError unless jobs in this state may be removed, this many at a time."""
    if state not in PURGEABLE:
        raise ConfigurationError("state", str(state), f"one of {', '.join(sorted(PURGEABLE))}")
    check_limit(limit)


def check_limit(limit: int) -> None:
    """Raise ConfigurationError unless `limit` is 1 to 1,000."""
    _check_count("limit", limit, 1, LARGEST_PAGE)


def check_id(field: str, id: bytes) -> None:
    """Raise ConfigurationError unless `id` is 16 bytes."""
    if len(id) != _ID_LENGTH:
        raise ConfigurationError(field, id, "16 bytes")


def check_milliseconds(field: str, value: int, *, least: int = 0) -> None:
    """Raise ConfigurationError unless `value` is a time, or a length of time, that a broker can keep."""
    if not least <= value < _LATEST:
        raise ConfigurationError(field, value, f"{least} to {_LATEST - 1} ms")


def check_settings(changes: Mapping[str, int]) -> None:
    """Raise ConfigurationError unless these are settings of a queue, with numbers that they may have."""
    for name, value in changes.items():
        if name not in QueueSettings._fields:
            raise ConfigurationError("setting", name, f"one of {', '.join(QueueSettings._fields)}")
        least = 1 if name.endswith("_age") else 0
        if not least <= value <= _LARGEST_SETTING:
            raise ConfigurationError(name, value, f"a whole number from {least} to {_LARGEST_SETTING}")
    if changes.get("rate") and not changes.get("period"):
        raise ConfigurationError("period", changes.get("period", 0), "the ms in which `rate` jobs may begin, 1 or more")


def check_task(task: bytes) -> None:
    """Raise ConfigurationError unless this may be a task type, or nothing."""
    if len(task) > _LONGEST_DETAIL:
        raise ConfigurationError("task", task, "at most 255 bytes")


def too_many_tasks(task: bytes) -> ConfigurationError:
    """What a broker raises that would have to pause one task more than it can."""
    return ConfigurationError(
        "task", task.decode(errors="replace"), f"one of {MOST_PAUSED_TASKS} that are paused at most"
    )


def _check_limit_of_key(limit: Limit) -> None:
    check_id("limit.key", limit.key)
    _check_count("limit.most", limit.most, 0, _MOST_OF_A_KEY)
    _check_count("limit.rate", limit.rate, 0, _MOST_OF_A_KEY)
    _check_count("limit.weight", limit.weight, 1, _HIGHEST_WEIGHT)
    _check_count("limit.period", limit.period, 1 if limit.rate else 0, _LONGEST_PERIOD)


def _check_finish(finish: Finish) -> None:
    if not isinstance(finish.kind, FinishKind):
        raise ConfigurationError("kind", finish.kind, "a FinishKind")
    check_id("id", finish.id)
    _check_fence(finish.fence)
    if finish[3:] == _PLAIN_FINISH and finish.kind is not FinishKind.SPLIT:
        return
    check_milliseconds("delay", finish.delay)
    check_milliseconds("keep", finish.keep)
    if len(finish.detail) > _LONGEST_DETAIL:
        raise ConfigurationError("detail", finish.detail, "at most 255 bytes")
    _check_hand_overs(finish.hand_over)
    if (finish.split is not None) != (finish.kind is FinishKind.SPLIT):
        raise ConfigurationError("split", finish.split, "the parts of a SPLIT, and of nothing else")
    if finish.split is not None:
        _check_hand_overs(finish.split.parts)
        jobs = [job for _, jobs in finish.split.parts for job in jobs]
        _check_count("split", len(jobs), 0, LARGEST_SPLIT)
        for job in jobs:
            if job.part is None or (job.part.id, job.part.round) != (finish.id, finish.fence):
                raise ConfigurationError("part", job.part, f"a part of job {finish.id.hex()}, of this run")
        if {job.part.number for job in jobs if job.part is not None} != set(range(len(jobs))):
            raise ConfigurationError("part", "their numbers", "0 and up, each once")


def _check_hand_overs(hand_overs: Sequence[HandOver]) -> None:
    for hand_over in hand_overs:
        _check_count("hand_over", len(hand_over.jobs), 1, LARGEST_HAND_OVER)
        _check_jobs(hand_over.jobs)


def _check_fence(fence: int) -> None:
    if not 0 <= fence < 1 << 53:
        raise ConfigurationError("fence", fence, "what a claim gave as its fence")


def _check_count(field: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise ConfigurationError(field, count, f"{least} to {most}")
