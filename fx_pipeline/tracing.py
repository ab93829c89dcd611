"""Traces for OpenTelemetry, if OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `otel` is installed.

Otherwise nothing of OpenTelemetry is loaded, and `span` does nothing. Attributes have the names of the
semantic conventions (https://opentelemetry.io/docs/specs/semconv/). None has a key or token: each text passes
the redactor of the logs, and of an exception only the type is recorded.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Literal

from fx_pipeline.logs import Redactor, say, secrets_in
from fx_pipeline.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as ApiSpan
    from opentelemetry.trace import Tracer

Kind = Literal["INTERNAL", "SERVER", "CLIENT"]
Attributes = Mapping[str, str | int | float | None]

FLUSH_SECONDS = 2.0
"""How long the end of a run or a server waits until its spans have been sent."""


class Span:
    """A span in progress, or none if there are no traces."""

    trace_id: str | None = None
    """32 hexadecimal digits."""

    def add(self, attributes: Attributes) -> None:
        """Add attributes. None is left out."""

    def fail(self, kind: str) -> None:
        """Mark the span as failed, for example with the name of an exception's class or an HTTP status."""


class _RealSpan(Span):
    def __init__(self, span: "ApiSpan", redact: Redactor) -> None:
        self._span = span
        self._redact = redact
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}" if context.is_valid else None

    def add(self, attributes: Attributes) -> None:
        if not self._span.is_recording():  # not sampled
            return
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name, self._redact(value) if isinstance(value, str) else value)

    def fail(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415  # it is loaded already

        self._span.set_status(StatusCode.ERROR)
        self.add({"error.type": kind})


@dataclass(frozen=True, slots=True)
class _Tracing:
    """The traces of this process. OpenTelemetry's global provider stays unset, so libraries add no spans."""

    provider: "TracerProvider"
    tracer: "Tracer"
    redact: Redactor

    @contextmanager
    def span(self, name: str, kind: Kind, attributes: Attributes, traceparent: str | None) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415  # it is loaded already
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        parent = (
            TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
        )
        with self.tracer.start_as_current_span(
            self.redact(name),
            parent,
            SpanKind[kind],
            # Its text and traceback may contain anything.
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            span = _RealSpan(started, self.redact)
            span.add(attributes)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise


_tracing: _Tracing | None = None
_NO_SPAN = nullcontext(Span())


def start_tracing(settings: Settings) -> None:
    """Send traces from now on if the settings say so. Warn if the extra is not installed.

    The other variables of OpenTelemetry, such as OTEL_EXPORTER_OTLP_HEADERS, are read from the environment.
    """
    global _tracing  # noqa: PLW0603  # it is about the whole process
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None or _tracing is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("opentelemetry"):
            raise
        say(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but there are no traces without the extra otel: "
            "`pip install 'fx-pipeline[otel]'`.",
            logging.WARNING,
        )
        return
    about = {SERVICE_VERSION: version("fx-pipeline")}
    if "OTEL_SERVICE_NAME" not in os.environ:
        about[SERVICE_NAME] = "fx-pipeline"
    # Its own flush at the exit would wait for a collector that is down, and a signal skips it.
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    tracer = provider.get_tracer("fx_pipeline", version("fx-pipeline"))
    _tracing = _Tracing(provider, tracer, Redactor(secrets_in(settings)))


def is_on() -> bool:
    """Return whether this process sends traces."""
    return _tracing is not None


def span(
    name: str,
    *,
    kind: Kind = "INTERNAL",
    attributes: Attributes | None = None,
    traceparent: str | None = None,
) -> AbstractContextManager[Span]:
    """Return a context manager for a span below the current one, or below the client's `traceparent`."""
    if _tracing is None:
        return _NO_SPAN
    return _tracing.span(name, kind, attributes or {}, traceparent)


def flush() -> None:
    """Send the spans that have ended, before the process does. Give up after FLUSH_SECONDS."""
    if _tracing is not None:
        # OpenTelemetry's own limit does not end an export.
        sending = Thread(target=_tracing.provider.force_flush, daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)
