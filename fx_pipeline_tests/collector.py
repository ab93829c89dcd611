"""A collector of OpenTelemetry: accepts spans by OTLP over HTTP, and keeps what it got."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fx_pipeline_tests.waiting import wait_for

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it arrived. Ids are hexadecimal; `parent` is empty for the first of a trace."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    events: int
    attributes: dict[str, Value]


class Collector(ThreadingHTTPServer):
    """A collector on a free port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        """Return its address, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Received]:
        """Return all spans, in the order in which they ended."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            Received(
                span.name,
                type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.status.code == span.status.STATUS_CODE_ERROR,
                len(span.events),
                {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes},
            )
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, *names: str) -> list[Received]:
        """Wait until spans with these names have arrived, and return all."""
        return wait_for(self.spans, lambda spans: set(names) <= {span.name for span in spans})

    def services(self) -> set[str]:
        """Return the names of the services that sent spans."""
        return {
            attribute.value.string_value
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        is_known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if is_known:
            self.server.bodies.append(body)
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Yield a collector that listens."""
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, args=(0.05,), daemon=True).start()
        yield collector
        collector.shutdown()
