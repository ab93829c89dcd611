"""Logs and error reports of a server, which never contain a token."""

import gzip
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.waiting import wait_for


class Ingest(ThreadingHTTPServer):
    """A stand-in for Sentry that records the envelopes it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), IngestHandler)
        self.received: list[bytes] = []
        self.dsn = f"http://0123456789abcdef@127.0.0.1:{self.server_port}/7"

    def events(self) -> list[dict[str, Any]]:
        """Return the events among the envelopes."""
        lines = [line for envelope in self.received for line in envelope.splitlines()]
        return [
            event
            for line in lines
            if line.startswith(b"{") and "event_id" in (event := json.loads(line)) and "level" in event
        ]


class IngestHandler(BaseHTTPRequestHandler):
    server: Ingest

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(
            gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        )
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def ingesting() -> Iterator[Ingest]:
    """Run the stand-in for Sentry."""
    ingest = Ingest()
    thread = Thread(target=ingest.serve_forever)
    thread.start()
    try:
        yield ingest
    finally:
        ingest.shutdown()
        thread.join()
        ingest.server_close()


PATHS = [
    "/",
    "/rates/latest",
    "/rates/2026-03-06/",
    "/rates/2026-03-06.csv",
    "/rates/2026-03-05..",
    "/rates/nothing",
    "/rates/latest?base=ZZZ",
    "/rates/convert?from=EUR&to=USD&amount=x",
    "/fx/rates",
    "/fx/rates.json?_sort=nothing",
    "/fx/rates.json?_through=abc",
    "/fx/rates_by_date?date=2026-03-06",
    "/fx/rates_by_date.csv?date=2026-03-06",
    "/fx/rates_by_date.json?_timelimit=abc",
    "/fx/fetches/1",
    "/fx/nothing",
    "/nothing/",
    "/a%20b",
    "/-/login",
    "/-/plugins",
    "/-/health",
    "/rates/latest?" + "a" * 9000,
]


def everything_wrong(server: Server, token: str) -> list[bytes]:
    """Return the responses to many broken requests, with a token in each carrier."""
    answers = []
    for path in PATHS:
        query = f"{path}{'&' if '?' in path else '?'}"
        for method, target, headers in [
            ("GET", path, {"Authorization": f"Bearer {token}"}),
            ("GET", path, {"Authorization": f"Basic {token}", "Accept": "text/html"}),
            ("GET", path, {"apikey": token}),
            ("HEAD", path, {"apikey": token, "Cookie": f"ds_actor={token}; a@b=c"}),
            ("GET", f"{query}access_key={token}", {"Accept": "text/html"}),
            ("GET", f"{query}%61ccess_key={quote(token[:4])}%{ord(token[4]):02x}{token[5:]}&x=1", {}),
            ("POST", f"{query}access_key={token}", {"Content-Length": "0"}),
            ("OPTIONS", f"{query}access_key={token}", {}),
            ("GET", f"{query}token={token}", {"Cookie": f"ds_actor={token}"}),
        ]:
            with closing(server.connect()) as connection:
                connection.request(method, target, headers=headers)
                answers.append(whole(connection.getresponse()))
    for form in (urlencode({"token": token, "next": "/fx"}), f"token={token}" + "x" * 9000, f'{{"{token}"}}'):
        for path in ("/-/login", "/-/logout"):
            with closing(server.connect()) as connection:
                connection.request("POST", path, form, {"Content-Type": "application/x-www-form-urlencoded"})
                answers.append(whole(connection.getresponse()))
    for raw in (
        f"GET /rates/latest?access_key={token} HTTP/9.9\r\nHost: x\r\n\r\n",
        f"GET /rates/latest?access_key={token} \x00\r\n\r\n",
        f"{token} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\napikey {token}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {token}\r\n\r\n",
        f"GET /?access_key={token}&{'a' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /-/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken={token}\r\n",
    ):
        answers.append(server.raw(raw.encode()))
    # A client that disconnects before the response.
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET /rates/2026-03-05..?access_key={token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return answers


def whole(response: http.client.HTTPResponse) -> bytes:
    """Return headers and body."""
    return str(response.headers).encode() + response.read()


@pytest.mark.slow
def test_no_log_report_or_response_contains_a_token(history: History, tmp_path: Path) -> None:
    tokens = TokenFile(history.path.with_name("tokens.db"))
    good, wrong = tokens.create("reports"), "fxp_wrong0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    with (
        ingesting() as ingest,
        serving(history.path, tmp_path / "log", "--access-log", SENTRY_DSN=ingest.dsn) as server,
    ):
        answers = [answer for token in (good, wrong) for answer in everything_wrong(server, token)]
        history.db.execute("DROP TABLE revisions")
        answers += everything_wrong(server, good)
        saved = tokens.path.read_bytes()
        tokens.path.write_bytes(b"x" * 4096)
        answers += everything_wrong(server, good)
        tokens.path.write_bytes(saved)
        # The server is still running.
        assert server.get("/rates/symbols", {"apikey": good})[0] == 200
        wait_for(ingest.events, lambda events: len(events) > 1)
        server.stop()
        log = server.log.read_text()

    for token in (good, wrong):
        # No part of it either, in any encoding.
        for part in (token[5:21], token[-16:]):
            assert part not in log
            assert not any(part.encode() in envelope for envelope in ingest.received)
            assert not any(part.encode() in answer for answer in answers)

    assert '"GET /rates/latest?access_key=[removed] HTTP/1.1" 200' in log
    assert '"GET /rates/latest?base=ZZZ&%61ccess_key=[removed]&x=1 HTTP/1.1" 400' in log
    assert "no response to /rates/latest" in log
    assert "OperationalError: no such table: revisions" in log
    assert "tokens.db cannot be read: file is not a database." in log
    assert "locals" not in log

    events = ingest.events()
    assert {event["logger"] for event in events} <= {
        "fx_pipeline.api.views",
        "fx_pipeline.api.failures",
        "fx_pipeline.api.middleware.edge",
        "fx_pipeline.api.endpoints.health",
        "fx_pipeline.api.tokens.live",
    }
    failure = next(event for event in events if event.get("exception") and event["logger"].endswith("views"))
    (error,) = failure["exception"]["values"][-1:]
    assert (error["type"], error["value"]) == ("OperationalError", "no such table: revisions")
    assert error["stacktrace"]["frames"][-1]["function"]
    for event in events:
        assert "request" not in event
        assert "user" not in event
        assert not event.get("breadcrumbs", {}).get("values"), "earlier lines, such as those of requests"
        for value in event.get("exception", {}).get("values", []):
            assert not any("vars" in frame for frame in value["stacktrace"]["frames"])


@pytest.mark.slow
def test_serves_while_sentry_is_down(history: History, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        dsn = f"http://0123456789abcdef@127.0.0.1:{unheard.getsockname()[1]}/7"
    with serving(history.path, tmp_path / "log", SENTRY_DSN=dsn) as server:
        history.db.execute("DROP TABLE revisions")
        assert [server.get("/rates/latest")[0] for _ in range(3)] == [500] * 3
        assert server.get("/rates/symbols")[0] == 200
        server.stop()
    assert "0123456789abcdef" not in server.log.read_text()


def test_the_access_log_is_json_with_the_name_of_the_token(history: History, tmp_path: Path) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    log = tmp_path / "log"
    with serving(history.path, log, "--access-log", FX_LOG_FORMAT="json") as server:
        headers = {"X-Request-Id": "order-17"}
        assert server.get(f"/rates/latest?base=EUR&access_key={token}", headers)[0] == 200
        assert server.get("/rates/2026-03-07/")[0] == 401
        history.db.execute("DROP TABLE revisions")
        assert server.get(f"/rates/latest?access_key={token}", {"X-Request-Id": "order-18"})[0] == 500
        server.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert "Application startup complete." in [line["message"] for line in lines]
    assert token not in log.read_text()

    assert "uvicorn.access" not in {line["logger"] for line in lines}, "a request is logged twice"
    requests = [line for line in lines if line["logger"] == "fx_pipeline.access"]
    first = next(line for line in requests if line["request_id"] == "order-17")
    assert first.pop("milliseconds") > 0
    assert first.pop("bytes") > 100
    assert first.pop("client").startswith("127.0.0.1:")
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO",
        "logger": "fx_pipeline.access",
        "message": "request",
        "request_id": "order-17",
        "method": "GET",
        "path": "/rates/latest?base=EUR&access_key=[removed]",
        "operation": "latest_rates",
        "status": 200,
        "cache": "bypass",
        "token": "reports",
    }
    refused = next(line for line in requests if line["status"] == 401)
    assert (refused["operation"], len(refused["request_id"]), "token" in refused) == (
        "rates_of_day",
        32,
        False,
    )
    failure = next(line for line in lines if "exception" in line)
    assert failure["message"] == "no response to /rates/latest"
    assert (failure["request_id"], failure["operation"], failure["token"]) == (
        "order-18",
        "latest_rates",
        "reports",
    )
    assert "OperationalError: no such table: revisions" in failure["exception"]


def test_the_access_log_in_text_names_the_use_of_the_cache(history: History, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(history.path, log, "--access-log") as server:
        for _ in range(2):
            assert server.get("/rates/latest", {"X-Request-Id": "order-17"})[0] == 200
        server.stop()
    lines = [line for line in log.read_text().splitlines() if "/rates/latest" in line]
    for line, cache in zip(lines, ("miss", "hit"), strict=True):
        assert re.fullmatch(
            r'127\.0\.0\.1:\d+ - "GET /rates/latest HTTP/1\.1" 200 \d+ bytes [0-9.]+ ms '
            f"cache={cache} operation=latest_rates request_id=order-17",
            line,
        )
