"""Tells a tracer of every delivery: of a run while its handler runs, and of one that ends without a handler."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.envelope import NO_TRACE, Envelope, unpack
from ropeline.jobs.records import Finish, FinishKind
from ropeline.jobs.shapes.split import Split
from ropeline.jobs.worker.handlers import TaskHandlers, TaskRun
from ropeline.jobs.worker.metrics import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ropeline.jobs.context import JobContext
    from ropeline.jobs.locks.job_locks import JobLocks
    from ropeline.jobs.task import Task
    from ropeline.jobs.tracer import RunSpan, RunTracer
    from ropeline.jobs.worker.handlers import UnknownPolicy
    from ropeline.jobs.worker.run import Run

__all__ = ["TracedHandlers", "TracedRun", "handlers_of"]

_log = logging.getLogger("ropeline.jobs.worker.traced")

_FAILURES: Final = (FinishKind.RETRY, FinishKind.DEAD)


def handlers_of(
    tasks: Mapping[str, Task[..., Any]], *, unknown: UnknownPolicy, locks: JobLocks | None, tracer: RunTracer | None
) -> TaskHandlers:
    """What reads deliveries; where nothing traces them, nothing here is used."""
    if tracer is None:
        return TaskHandlers(tasks, unknown=unknown, locks=locks)
    return TracedHandlers(tracer, tasks, unknown=unknown, locks=locks)


class TracedHandlers(TaskHandlers):
    """As TaskHandlers; each delivery is a span."""

    def __init__(
        self,
        tracer: RunTracer,
        tasks: Mapping[str, Task[..., Any]],
        *,
        unknown: UnknownPolicy = "park",
        locks: JobLocks | None = None,
    ) -> None:
        super().__init__(tasks, unknown=unknown, locks=locks)
        self._tracer = tracer
        self._task_run = partial(TracedRun, tracer=tracer)

    def prepare(self, run: Run) -> TaskRun | Finish:
        """See ropeline.jobs.worker.runner.Handlers."""
        prepared = super().prepare(run)
        if isinstance(prepared, Finish):
            # Nobody looks for a job in a trace more than for one that could not even run.
            with _harmless():
                span = self._tracer.running(
                    queue=run.queue,
                    task=run.task,
                    id=run.id,
                    attempt=run.claimed.attempts + 1,
                    carrier=_trace_in(run.claimed.body),
                )
                _end(span, prepared, None)
        return prepared


class TracedRun(TaskRun):
    """As TaskRun; spans that its handler makes are children of the run's."""

    __slots__ = ("_span", "_tracer")

    def __init__(
        self,
        run: Run,
        task: Task[..., Any],
        envelope: Envelope,
        context: JobContext,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        *,
        tracer: RunTracer,
    ) -> None:
        super().__init__(run, task, envelope, context, arguments)
        self._tracer = tracer
        self._span: RunSpan | None = None

    def enter(self) -> None:
        """Make this the current job, and its span the current span, of the context that the caller runs in."""
        super().enter()
        run = self._run
        # A thread may come to a run only after its job was handed back: nobody would end the span.
        if run.is_ended:
            return
        with _harmless():
            self._span = self._tracer.running(
                queue=run.queue,
                task=run.task,
                id=run.id,
                attempt=self._context.attempt,
                carrier=self._envelope.trace,
            )
            self._span.enter()

    def completed(self, value: Any) -> Finish:
        """The run returned; what follows from it belongs to its trace."""
        if self._span is not None and (self._envelope.then or isinstance(value, Split)):
            self._envelope = self._envelope._replace(trace=self._span.carrier)
        return self._told(super().completed(value))

    def failed(self, error: BaseException) -> Finish:
        """The run raised."""
        return self._told(super().failed(error), error)

    def timed_out(self) -> Finish:
        """The run took too long."""
        return self._told(super().timed_out(), TimeoutError("timeout"))

    def cancelled(self) -> Finish:
        """Somebody has cancelled the job."""
        return self._told(super().cancelled())

    def released(self) -> Finish:
        """The job was taken from its handler."""
        return self._told(super().released())

    def _told(self, finish: Finish, error: BaseException | None = None) -> Finish:
        span, self._span = self._span, None
        if span is not None:
            with _harmless():
                _end(span, finish, error)
        return finish


def _end(span: RunSpan, finish: Finish, error: BaseException | None) -> None:
    outcome = OUTCOMES[finish.kind]
    if finish.kind in _FAILURES:
        reason, text = finish.detail.decode("utf-8", "replace"), finish.error.decode("utf-8", "replace")
        span.end(outcome, reason=reason, text=text, error=error)
    else:
        span.end(outcome)


def _trace_in(body: bytes) -> Mapping[str, str]:
    try:
        return unpack(body).trace
    except Undecodable:
        return NO_TRACE


@contextmanager
def _harmless() -> Iterator[None]:
    """No job fails because it could not be traced."""
    try:
        yield
    except Exception:  # noqa: BLE001 - a tracer of the user's own may raise anything
        _log.exception("a run could not be traced")
