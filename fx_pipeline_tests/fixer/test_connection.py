"""No response outlasts its deadline, and interim responses are no answers."""

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.fixer import connection, errors
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.connection import BoundedAdapter
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    reply,
    scripted,
    then_drip,
    then_hang_up,
    then_silence,
)
from fx_pipeline_tests.waiting import PATIENCE

DATE = dt.date(2000, 1, 3)
DAY = {"success": True, "timestamp": 946943999, "base": "EUR", "date": "2000-01-03", "rates": {"EUR": 1}}
GOOD = reply(DAY)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the deadline come quickly."""
    monkeypatch.setattr(connection, "LONGEST_RESPONSE", 0.2)


def client_of(url: str, **options: Any) -> FixerClient:
    return FixerClient(
        url, "0123456789abcdef", **{"timeout": (PATIENCE, PATIENCE), "retries": 50, "backoff": 0.0, **options}
    )


ENDLESS: dict[str, Play] = {
    "silence before the status": then_silence(b""),
    "a status byte by byte": then_drip(b"HTTP/1.1 200 ", b"O"),
    "a header byte by byte": then_drip(HEAD + b"X-Slow: ", b"x"),
    "headers without end": then_drip(HEAD, b""),
    "100 Continue": then_drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header of 100 Continue": then_drip(b"HTTP/1.1 100 Continue\r\nX: ", b"x"),
    "103 Early Hints": then_drip(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "a body until the connection closes": then_drip(HEAD + b"\r\n", b" "),
    "a body of known length": then_drip(HEAD + b"Content-Length: 99999999\r\n\r\n", b" "),
    "chunks": then_drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's length": then_drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": then_drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "an error page": then_drip(b"HTTP/1.1 503 Busy\r\n\r\n", b"<"),
}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("way", ENDLESS)
def test_a_response_that_never_ends_is_left_and_asked_for_again(way: str) -> None:
    with scripted(ENDLESS[way], GOOD) as server, client_of(server.url) as client:
        assert client.historical(DATE).calls >= 2  # more where a slow machine misses the deadline


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("way", ENDLESS)
def test_a_response_that_never_ends_is_told_as_too_slow(way: str) -> None:
    with (
        scripted(ENDLESS[way]) as server,
        client_of(server.url, retries=0) as client,
        pytest.raises(errors.Unreachable, match="the response came too slowly"),
    ):
        client.historical(DATE)


@pytest.mark.usefixtures("soon")
def test_over_tls_too(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    play = ENDLESS["a header byte by byte"]
    with scripted(play, GOOD, tls=context) as server, client_of(server.url) as client:
        assert client.historical(DATE).calls >= 2


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("scheme", "method", "way"),
    [
        ("http", "GET", "a header byte by byte"),
        ("http", "GET", "100 Continue"),
        ("https", "CONNECT", "a header byte by byte"),
        ("https", "CONNECT", "a status byte by byte"),
    ],
)
def test_through_a_proxy_too(scheme: str, method: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(ENDLESS[way]) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
        with (
            client_of(f"{scheme}://fixer.invalid/api", retries=0) as client,
            pytest.raises(errors.Unreachable, match="the response came too slowly"),
        ):
            client.historical(DATE)
        assert proxy.requests[0].startswith(f"{method} ")


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nx-ratelimit-limit-month: 9\r\nx-ratelimit-remaining-month: 0\r\n\r\n",
        b"HTTP/1.1 199 Whatever\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
    ],
)
def test_interim_responses_are_skipped(interim: bytes) -> None:
    with scripted(interim + GOOD) as server, client_of(server.url, retries=0) as client:
        for _ in range(3):
            answer = client.historical(DATE)
            assert (answer.body, answer.quota_limit) == (GOOD.partition(b"\r\n\r\n")[2], None)
        assert server.connections == 1


def test_an_interim_response_alone_is_no_answer() -> None:
    with (
        scripted(then_hang_up(b"HTTP/1.1 103 Early Hints\r\n\r\n"), GOOD) as server,
        client_of(server.url) as client,
    ):
        assert client.historical(DATE).calls == 2


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"


@pytest.mark.parametrize(
    "play", [then_hang_up(SWITCHED + GOOD), then_silence(SWITCHED)], ids=["ends", "open"]
)
def test_a_connection_with_another_protocol_is_not_used_again(
    play: Play,
) -> None:
    with scripted(play, GOOD) as server, client_of(server.url, retries=0) as client:
        with pytest.raises(errors.BadResponse, match="HTTP 101"):
            client.historical(DATE)
        assert client.historical(DATE).body == GOOD.partition(b"\r\n\r\n")[2]
        assert server.connections == 2


def test_the_timeout_of_each_wait_still_holds() -> None:
    with (
        scripted(then_silence(GOOD[:30])) as server,
        client_of(server.url, timeout=(5, 0.1), retries=0) as client,
        pytest.raises(errors.Unreachable, match="no response in time"),
    ):
        client.historical(DATE)


@pytest.mark.usefixtures("soon")
def test_connections_are_closed_after_a_deadline() -> None:
    closed = threading.Event()

    def play(conn: socket.socket) -> None:
        then_drip(HEAD + b"X-Slow: ", b"x")(conn)
        closed.set()

    with scripted(play) as server, client_of(server.url, retries=0) as client:
        with pytest.raises(errors.Unreachable):
            client.historical(DATE)
        assert closed.wait(PATIENCE)


def test_the_manager_of_a_proxy_is_made_once() -> None:
    adapter = BoundedAdapter()
    manager = adapter.proxy_manager_for("http://127.0.0.1:1")
    classes = manager.pool_classes_by_scheme
    assert adapter.proxy_manager_for("http://127.0.0.1:1") is manager
    assert manager.pool_classes_by_scheme is classes
