"""The protocol between the engine and what traces its jobs: asked at each enqueue, each tick and each run, where there is one.

The engine knows nothing of spans: it carries what a tracer gives it at the enqueue, as text, to whoever runs the job. See
`ropeline.jobs.tracing` for the one that speaks OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ropeline.jobs.many import send
from ropeline.jobs.payloads.envelope import task_of, with_trace

if TYPE_CHECKING:
    from ropeline.jobs.broker import Broker
    from ropeline.jobs.many import Outcome
    from ropeline.jobs.records import Enqueued
    from ropeline.jobs.task import JobDraft

__all__ = ["EnqueueSpan", "RunSpan", "RunTracer", "Tracer", "enqueue_traced", "send_traced"]

R = TypeVar("R")


class EnqueueSpan(Protocol):
    """An enqueue under way. `carrier`: what its jobs carry, such as `{"traceparent": ...}`; empty: nothing."""

    @property
    def carrier(self) -> Mapping[str, str]: ...

    def note(self, outcome: str) -> None:
        """What became of the only job: enqueued, exists or conflict; of a tick, the name of its FireResult."""


class RunSpan(Protocol):
    """A run under way. `carrier`: what jobs that follow from it carry."""

    @property
    def carrier(self) -> Mapping[str, str]: ...

    def enter(self) -> None:
        """Make it the current one of the `contextvars.Context` that this is called in, for good."""

    def end(self, outcome: str, *, reason: str = "", text: str = "", error: BaseException | None = None) -> None:
        """The run has ended: `outcome` is one of ropeline.jobs.worker.metrics.OUTCOMES.

        Of one that failed: the `text` that is kept of it, and the `error` that was raised, or the `reason` of a dead letter.
        """


class RunTracer(Protocol):
    """Makes the spans of runs."""

    def running(self, *, queue: str, task: str, id: bytes, attempt: int, carrier: Mapping[str, str]) -> RunSpan:
        """The span of one run, which begins. `carrier`: what its job carries."""


class Tracer(RunTracer, Protocol):
    """Makes all spans of an application, which asks it from any thread and event loop."""

    def enqueuing(
        self, *, queue: str, task: str, id: bytes = b"", count: int = 1, is_tick: bool = False
    ) -> AbstractContextManager[EnqueueSpan]:
        """The span of one enqueue call, which is the current one meanwhile.

        `queue`, `task`: empty when the jobs differ. `id`: of the only job. `is_tick`: it begins a trace, whatever runs here.
        """


async def enqueue_traced(tracer: Tracer, broker: Broker, draft: JobDraft[Any]) -> list[Enqueued]:
    """Enqueue one job that carries the trace of the call."""
    job = draft.job
    with tracer.enqueuing(queue=draft.queue, task=task_of(job.body).decode(), id=job.id) as span:
        answers = await broker.enqueue(draft.queue, [job._replace(body=with_trace(job.body, span.carrier))])
        span.note(answers[0].result.name.lower())
    return answers


async def send_traced(tracer: Tracer, broker: Callable[[], Broker], drafts: Sequence[JobDraft[R]]) -> list[Outcome[R]]:
    """As `ropeline.jobs.many.send`; all jobs carry the trace of the one call."""
    if not drafts:
        return []
    queues, tasks = {draft.queue for draft in drafts}, {task_of(draft.job.body) for draft in drafts}
    queue = queues.pop() if len(queues) == 1 else ""
    task = tasks.pop().decode() if len(tasks) == 1 else ""
    with tracer.enqueuing(queue=queue, task=task, count=len(drafts)) as span:
        return await send(broker, drafts, trace=span.carrier)
