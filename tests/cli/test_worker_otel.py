"""`ropeline worker --otel` sends the traces of its jobs to where the OTEL_* variables say."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ropeline.jobs.app import Jobs
from tests.cli.running import run
from tests.jobs.worker_process import APPLICATION, Yard
from tests.servers import Server
from tests.support import wait_until_sync

ALSO_OWN_SPANS = """
from opentelemetry import trace

@app.task(name="render")
def render() -> None:
    with trace.get_tracer("shop").start_as_current_span("draw"):
        note("done", 3)
"""

OWN_PROVIDER = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
"""


class Collector:
    """Takes in what is exported by OTLP over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def environ(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_SERVICE_NAME": "the-shop",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    @property
    def spans(self) -> dict[str, Span]:
        return {
            span.name: span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def services(self) -> set[str]:
        return {
            attribute.value.string_value
            for request in self.requests
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def yard(tmp_path: Path, valkey: Server) -> Yard:
    yard = Yard.made(tmp_path, valkey)
    (tmp_path / "shop.py").write_text(APPLICATION + ALSO_OWN_SPANS)
    return yard


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_sends_its_runs_and_what_its_handlers_trace_to_a_collector(yard: Yard, processes: str) -> None:
    with (
        collecting() as collector,
        yard.worker("--otel", "--processes", processes, environ=collector.environ) as worker,
    ):
        enqueue(yard)
        wait_until_sync(lambda: yard.notes("done")[3] == 1, timeout=20)
        # What is not sent yet is sent before the process ends.
        assert worker.end() == 0
        spans = collector.spans
        assert collector.services == {"the-shop"}
    assert spans["draw"].parent_span_id == spans["process default"].span_id
    assert spans["draw"].trace_id == spans["process default"].trace_id
    assert spans["process default"].kind == Span.SPAN_KIND_CONSUMER


def test_without_the_option_nothing_is_traced(yard: Yard) -> None:
    with collecting() as collector, yard.worker(environ=collector.environ) as worker:
        enqueue(yard)
        wait_until_sync(lambda: yard.notes("done")[3] == 1, timeout=20)
        assert worker.end() == 0
        assert collector.requests == []


def enqueue(yard: Yard) -> None:
    async def put() -> None:
        async with Jobs(yard.server.url, stage=yard.stage) as app:

            @app.task(name="render")
            def render() -> None: ...

            await render.enqueue()

    asyncio.run(put())


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: got 'zipkin', and there is no exporter zipkin here",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "got 'otlp', and there is no exporter otlp_proto_grpc here, only"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "pigeons"}, "there is no exporter otlp by pigeons here"),
    ],
)
def test_an_exporter_that_is_not_there_is_named(yard: Yard, variables: dict[str, str], named: str) -> None:
    ended = run(yard.folder, "worker", "shop:app", "--otel", environ={**yard.environ, **variables})
    assert ended.status == 2
    assert named in ended.refusal


def test_without_the_packages_it_says_which_to_install(yard: Yard) -> None:
    (yard.folder / "shop.py").write_text("import sys; sys.modules['opentelemetry'] = None\n" + APPLICATION)
    ended = run(yard.folder, "worker", "shop:app", "--otel", environ=yard.environ)
    assert ended.refusal == "--otel: opentelemetry-sdk is not installed: pip install 'ropeline[otel]'"


def test_a_provider_that_the_application_has_set_is_used(yard: Yard) -> None:
    (yard.folder / "shop.py").write_text(APPLICATION + ALSO_OWN_SPANS + OWN_PROVIDER)
    with collecting() as collector, yard.worker("--otel", environ=collector.environ) as worker:
        enqueue(yard)
        wait_until_sync(lambda: "process default" in worker.said, timeout=20)
        assert worker.end() == 0
        assert collector.requests == []
