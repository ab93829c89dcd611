"""The document for Prometheus (text format 0.0.4). Only a scrape loads this module."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fx_pipeline.api.metrics.counters import BUCKETS, Totals
from fx_pipeline.api.metrics.stored import Gauge

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KIND = ("operation", "status", "cache")
_LIMITS = [*(f"{seconds:g}" for seconds in BUCKETS), "+Inf"]


def document(totals: Totals, gauges: Iterable[Gauge]) -> bytes:
    """Return the document."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_of_requests(totals), *_of_server(totals), *_of_gauges(gauges)]))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_requests(totals: Totals) -> Iterator[Metric]:
    requests = CounterMetricFamily("fx_http_requests", "Requests that were answered.", labels=_KIND)
    sizes = CounterMetricFamily(
        "fx_http_response_body_bytes", "Bytes of bodies, as sent. HEAD counts as GET.", labels=_KIND
    )
    durations = HistogramMetricFamily(
        "fx_http_request_duration_seconds",
        "From a request's headers to the last part of its response.",
        labels=_KIND,
    )
    for kind, sums in sorted(totals.requests.items()):
        labels = [kind.operation, str(kind.status), kind.cache]
        below = list(accumulate(sums.buckets))
        requests.add_metric(labels, below[-1])
        sizes.add_metric(labels, sums.size)
        durations.add_metric(labels, list(zip(_LIMITS, below, strict=True)), sums.nanoseconds / 1e9)
    yield from (requests, sizes, durations)


def _of_server(totals: Totals) -> Iterator[Metric]:
    yield GaugeMetricFamily("fx_http_open_connections", "Open connections.", totals.connections)
    yield GaugeMetricFamily("fx_workers", "Processes that serve the API.", totals.workers)
    build = GaugeMetricFamily("fx_build_info", "The version of fx-pipeline.", labels=("version",))
    build.add_metric([version("fx-pipeline")], 1)
    yield build


def _of_gauges(gauges: Iterable[Gauge]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for gauge in gauges:
        names = [name for name, _ in gauge.labels]
        family = families.setdefault(gauge.name, GaugeMetricFamily(gauge.name, gauge.help, labels=names))
        family.add_metric([value for _, value in gauge.labels], gauge.value)
    yield from families.values()
