"""Traces jobs by OpenTelemetry: a producer span for each enqueue, a consumer span for each run, and one trace for a job's life.

The only module of the engine that imports opentelemetry, and nothing imports it but who asks for it by name. Spans have the names
and attributes of the semantic conventions for messaging (https://opentelemetry.io/docs/specs/semconv/messaging/, 1.30 and later),
and what the engine knows besides under `ropeline.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.util.types import AttributeValue

__all__ = ["Tracing"]

_SYSTEM: Final = "ropeline"


class Tracing:
    """Makes the spans of an application's jobs: `Jobs(url, tracing=Tracing())`. For any thread and event loop.

    `tracer_provider`: where the spans go; None: the global one, also if it is set later. `propagator`: how the trace travels in the
    job; None: the global one, which is W3C Trace Context and Baggage unless OTEL_PROPAGATORS says otherwise.

    A run is a child of the enqueue that its job came by, and linked to it; so the retries of a job are in one trace, and so are
    the jobs that its handler enqueues and those that follow in a chain or a split. A job that was enqueued without a trace begins
    one with each run.
    """

    def __init__(
        self, tracer_provider: trace.TracerProvider | None = None, *, propagator: TextMapPropagator | None = None
    ) -> None:
        self._tracer = trace.get_tracer("ropeline.jobs", version("ropeline"), tracer_provider)
        self._propagator = propagator

    @contextmanager
    def enqueuing(
        self, *, queue: str, task: str, id: bytes = b"", count: int = 1, is_tick: bool = False
    ) -> Iterator[_EnqueueSpan]:
        """See ropeline.jobs.tracer.Tracer."""
        attributes = _attributes("enqueue", "send", queue, task, id)
        if not id:
            attributes["messaging.batch.message_count"] = count
        with self._tracer.start_as_current_span(
            f"enqueue {queue}".rstrip(),
            context=contexts.Context() if is_tick else None,
            kind=SpanKind.PRODUCER,
            attributes=attributes,
        ) as span:
            carrier: dict[str, str] = {}
            self._textmap.inject(carrier)
            try:
                yield _EnqueueSpan(span, carrier)
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                raise

    def running(self, *, queue: str, task: str, id: bytes, attempt: int, carrier: Mapping[str, str]) -> _RunSpan:
        """See ropeline.jobs.tracer.Tracer."""
        # Whatever the worker itself was started in is not where the job came from.
        context = contexts.Context()
        if carrier:
            context = self._textmap.extract(carrier, context)
        origin = trace.get_current_span(context).get_span_context()
        span = self._tracer.start_span(
            f"process {queue}",
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=_attributes("process", "process", queue, task, id) | {"ropeline.attempt": attempt},
            links=[Link(origin)] if origin.is_valid else None,
        )
        return _RunSpan(span, trace.set_span_in_context(span, context), self._textmap)

    @property
    def _textmap(self) -> TextMapPropagator:
        return self._propagator or propagate.get_global_textmap()


class _EnqueueSpan:
    """See ropeline.jobs.tracer.EnqueueSpan."""

    __slots__ = ("_span", "carrier")

    def __init__(self, span: Span, carrier: Mapping[str, str]) -> None:
        self._span = span
        self.carrier = carrier

    def note(self, outcome: str) -> None:
        """What became of the only job."""
        self._span.set_attribute("ropeline.outcome", outcome)


class _RunSpan:
    """See ropeline.jobs.tracer.RunSpan."""

    __slots__ = ("_context", "_propagator", "_span")

    def __init__(self, span: Span, context: contexts.Context, propagator: TextMapPropagator) -> None:
        self._span = span
        self._context = context
        self._propagator = propagator

    @property
    def carrier(self) -> dict[str, str]:
        """What jobs that follow from this one carry."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._context)
        return carrier

    def enter(self) -> None:
        """Make it the current span."""
        contexts.attach(self._context)

    def end(self, outcome: str, *, reason: str = "", text: str = "", error: BaseException | None = None) -> None:
        """The run has ended."""
        span = self._span
        span.set_attribute("ropeline.outcome", outcome)
        if reason:
            span.set_attribute("ropeline.reason", reason)
        if text or error is not None:
            span.set_attribute("error.type", reason if error is None else type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, text))
        if error is not None:
            span.record_exception(error)
        span.end()


def _attributes(name: str, type: str, queue: str, task: str, id: bytes) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": type,
    }
    if queue:
        attributes["messaging.destination.name"] = attributes["ropeline.queue"] = queue
    if task:
        attributes["ropeline.task"] = task
    if id:
        attributes["messaging.message.id"] = attributes["ropeline.job.id"] = id.hex()
    return attributes
