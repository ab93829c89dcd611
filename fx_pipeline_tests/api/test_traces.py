"""The spans of requests and of their queries, as a collector receives them."""

from contextlib import AbstractContextManager
from pathlib import Path

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.collector import Collector, Received, collecting
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traced(
    history: History, folder: Path, endpoint: str, headers: str = ""
) -> AbstractContextManager[Server]:
    """Return a server that sends its spans to an endpoint, soon after they end."""
    return serving(
        history.path,
        folder / "log",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_EXPORTER_OTLP_HEADERS=headers,
    )


def of_request(collector: Collector, request_id: str) -> tuple[Received, list[Received]]:
    """Wait for the span of a request. Return it and those directly below it."""

    def is_it(span: Received) -> bool:
        return span.attributes.get("fx.request_id") == request_id

    spans = wait_for(collector.spans, lambda spans: any(map(is_it, spans)))
    [span] = filter(is_it, spans)
    return span, [one for one in spans if one.parent == span.id]


def test_a_request_continues_the_trace_of_its_client(history: History, tmp_path: Path) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    with (
        collecting() as collector,
        traced(history, tmp_path, collector.url) as server,
    ):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "User-Agent": f"test {token}"}
        path = f"/rates/latest?symbols=USD&access_key={token}&%61ccess_key={token}"
        assert server.get(path, headers)[0] == 200
        request, queries = of_request(collector, TRACE)
        port = server.port
        server.stop()
    assert (request.kind, request.name) == ("SERVER", "GET /rates/latest")
    assert (request.trace, request.parent, request.failed) == (TRACE, PARENT, False)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/rates/latest",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/rates/latest",
        "url.query": "symbols=USD&access_key=[removed]&%61ccess_key=[removed]",
        "server.address": "127.0.0.1",
        "server.port": port,
        "client.address": "127.0.0.1",
        "user_agent.original": "test [removed]",
        "network.protocol.version": "1.1",
        "fx.operation": "latest_rates",
        "fx.request_id": TRACE,
    }
    assert queries
    for query in queries:
        assert (query.kind, query.trace) == ("CLIENT", TRACE)
        rows = query.attributes.pop("db.response.returned_rows")
        assert isinstance(rows, int)
        assert query.attributes == {
            "db.system.name": "sqlite",
            "db.namespace": "fx",
            "db.query.summary": query.name,
        }
    assert "rates_by_date" in {query.name for query in queries}
    assert collector.services() == {"fx-pipeline"}
    assert token.encode() not in b"".join(collector.bodies)


def test_cached_long_and_failed_requests_have_their_spans(history: History, tmp_path: Path) -> None:
    with (
        collecting() as collector,
        traced(history, tmp_path, collector.url) as server,
    ):
        for request_id in ("first", "cached"):
            assert server.get("/rates/latest", {"X-Request-Id": request_id})[0] == 200
        # It is read in another thread.
        page = "/rates/latest?as_of=2026-03-09T12:00:00Z"
        assert server.get(page, {"X-Request-Id": "in-a-lane"})[0] == 200
        history.db.execute("DROP TABLE revisions")
        assert server.get("/rates/latest", {"X-Request-Id": "failed"})[0] == 500
        found = {name: of_request(collector, name) for name in ("first", "cached", "in-a-lane", "failed")}
        server.stop()
    assert {name: bool(queries) for name, (_, queries) in found.items()} == {
        "first": True,
        "cached": False,
        "in-a-lane": True,
        "failed": True,
    }
    assert len({span.trace for span, _ in found.values()}) == 4
    failed, queries = found["failed"]
    assert (failed.failed, failed.attributes["error.type"]) == (True, "500")
    [query] = [one for one in queries if one.failed]
    # Neither its text nor its traceback.
    assert (query.attributes["error.type"], query.events) == ("OperationalError", 0)


def test_serves_and_ends_without_its_collector(history: History, tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        traced(
            history,
            tmp_path,
            f"http://127.0.0.1:{port}",
            "authorization=Bearer s3cret-of-the-collector",
        ) as server,
    ):
        assert server.get("/rates/latest")[0] == 200
        assert server.stop() == 0
    assert "s3cret-of-the-collector" not in server.log.read_text()
