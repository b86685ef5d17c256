"""The job engine: work that is done after admission, at least once, by workers that may die."""

from ropeline.jobs.app import Jobs
from ropeline.jobs.backoff import Exponential, Fixed
from ropeline.jobs.context import JobContext, current_job
from ropeline.jobs.cron.cron_jobs import Missed
from ropeline.jobs.errors import (
    Cancelled,
    Conflict,
    Discard,
    JobError,
    JobFailed,
    LockLost,
    LockTaken,
    OutcomeUnknown,
    PartlyEnqueued,
    PayloadTooLarge,
    QueueFull,
    ResultGone,
    Retry,
    Snooze,
    Undecodable,
    UnknownTask,
)
from ropeline.jobs.handle import JobHandle
from ropeline.jobs.ids import derived_id
from ropeline.jobs.many import Outcome
from ropeline.jobs.options import Concurrency, Unique
from ropeline.jobs.payloads.arguments import PREVIOUS
from ropeline.jobs.records import EnqueueResult, JobState, PartOutcome, PartState, Progress
from ropeline.jobs.shapes.chains import chain
from ropeline.jobs.shapes.groups import chord, group
from ropeline.jobs.shapes.split import Split
from ropeline.jobs.task import JobDraft, Task

__all__ = [
    "PREVIOUS",
    "Cancelled",
    "Concurrency",
    "Conflict",
    "Discard",
    "EnqueueResult",
    "Exponential",
    "Fixed",
    "JobContext",
    "JobDraft",
    "JobError",
    "JobFailed",
    "JobHandle",
    "JobState",
    "Jobs",
    "LockLost",
    "LockTaken",
    "Missed",
    "Outcome",
    "OutcomeUnknown",
    "PartOutcome",
    "PartState",
    "PartlyEnqueued",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "ResultGone",
    "Retry",
    "Snooze",
    "Split",
    "Task",
    "Undecodable",
    "Unique",
    "UnknownTask",
    "chain",
    "chord",
    "current_job",
    "derived_id",
    "group",
]
