"""Sends traces of a command to where the OTEL_* variables say, as every program of OpenTelemetry does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from ropeline.cli.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from ropeline.jobs.app import Jobs

__all__ = ["traced"]

_EXPORTERS: Final = "OTEL_TRACES_EXPORTER"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_DEFAULT_PROTOCOL: Final = "http/protobuf"


@contextmanager
def traced(app: Jobs, environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Have an application's jobs traced while the context lasts; what was not sent yet is sent at its end.

    A tracer provider that the application's module has set, or `opentelemetry-instrument`, is used; else one is made as the
    variables say: OTEL_TRACES_EXPORTER (`otlp`), the OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the like.
    An application that traces its jobs already goes on as it does.

    Raises:
        UsageError: the packages for it are not installed, or there is no such exporter.

    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise UsageError("--otel: opentelemetry-sdk is not installed: pip install 'ropeline[otel]'") from None

    from ropeline.jobs.tracing import Tracing

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        app.tracing = app.tracing or Tracing()
        yield
        return
    provider = TracerProvider(shutdown_on_exit=False)
    for exporter in _exporters(environ):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    # Also what the handlers' libraries trace goes there.
    trace.set_tracer_provider(provider)
    app.tracing = app.tracing or Tracing()
    try:
        yield
    finally:
        provider.shutdown()


def _exporters(environ: Mapping[str, str]) -> list[SpanExporter]:
    names = [name.strip() for name in (environ.get(_EXPORTERS) or "otlp").split(",")]
    return [_exporter(name, environ) for name in names if name not in ("", "none")]


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    found = entry_points(group="opentelemetry_traces_exporter")
    wanted = name
    if name == "otlp":
        protocol = next(filter(None, map(environ.get, _PROTOCOLS)), _DEFAULT_PROTOCOL)
        wanted = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}.get(protocol, f"otlp by {protocol}")
    known = sorted(entry.name for entry in found)
    if wanted not in known:
        raise UsageError(f"{_EXPORTERS}: got {name!r}, and there is no exporter {wanted} here, only {', '.join(known)}")
    exporter: SpanExporter = found[wanted].load()()
    return exporter
