"""A call is counted when its request may have reached the provider, and only then."""

import datetime as dt
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fx_pipeline.fixer import errors
from fx_pipeline_tests.fixer.calls import DATE, GOOD, PAGE, client_of, tls
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    hang_up,
    reply,
    reset,
    scripted,
    silence,
    then_hang_up,
    then_silence,
)
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE

Place = Callable[[pytest.MonkeyPatch, Path], AbstractContextManager[str]]
"""Something in the provider's place: the URL to ask."""


def place(make: Callable[[pytest.MonkeyPatch, Path], Iterator[str]]) -> Place:
    return contextmanager(make)


@place
def closed_port(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
    with reserved_port() as port:
        yield f"http://127.0.0.1:{port}"


@place
def unknown_host(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
    yield "http://fixer.invalid/api"


@place
def full_queue(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as queued:
        queued.connect(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@place
def untrusted_certificate(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
    with scripted(GOOD, tls=tls(certificate)) as server:
        yield server.url


def handshake(play: Play) -> Place:
    """Return a server that does this instead of a TLS handshake."""

    @place
    def made(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
        with scripted(play) as server:
            yield server.url.replace("http:", "https:")

    return made


def proxy(play: Play | None, scheme: str) -> Place:
    """Return a proxy that responds like this instead of forwarding, or does not exist."""

    @place
    def made(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
        with scripted(play or hang_up) as server:
            port = server.port if play else 1
            patch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{port}")
            yield f"{scheme}://fixer.invalid/api"

    return made


def server(play: Play) -> Place:
    """Return a server that responds to a request like this."""

    @place
    def made(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
        with scripted(play) as server:
            yield server.url

    return made


def secure_server(play: Play) -> Place:
    @place
    def made(patch: pytest.MonkeyPatch, certificate: Path) -> Iterator[str]:
        patch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        with scripted(play, tls=tls(certificate)) as server:
            yield server.url

    return made


NOT_COUNTED: dict[str, Place] = {
    "connection refused": closed_port,
    "unknown host": unknown_host,
    "no connection in time": full_queue,
    "untrusted certificate": untrusted_certificate,
    "handshake closed": handshake(hang_up),
    "handshake reset": handshake(reset),
    "handshake without an answer": handshake(silence),
    "no TLS": handshake(then_hang_up(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    "proxy down": proxy(None, "http"),
    "proxy down, https": proxy(None, "https"),
    "proxy wants a login": proxy(reply("", 407), "http"),
    "proxy wants a login, https": proxy(reply("", 407), "https"),
    "proxy refuses, https": proxy(reply(PAGE, 502), "https"),
    "proxy hangs up, https": proxy(hang_up, "https"),
}

COUNTED: dict[str, Place] = {
    "hung up": server(hang_up),
    "reset": server(reset),
    "no answer in time": server(silence),
    "half a head": server(then_silence(b"HTTP/1.1 200 OK\r\nContent-")),
    "half a body": server(then_hang_up(GOOD[:-20])),
    "no HTTP": server(then_hang_up(b"SSH-2.0-OpenSSH_9.9\r\n")),
    "503": server(reply("", 503)),
    "429": server(reply("", 429)),
    "a page": server(reply(PAGE)),
    "a proxy's 502": proxy(reply(PAGE, 502), "http"),
    "hung up, https": secure_server(hang_up),
    "reset, https": secure_server(reset),
    "no answer in time, https": secure_server(silence),
    "503, https": secure_server(reply("", 503)),
}


NO_CONNECTION = {"no connection in time", "handshake without an answer"}
SILENT = {"no answer in time", "half a head", "no answer in time, https"}


@pytest.mark.parametrize("name", [*NOT_COUNTED, *COUNTED])
def test_what_reached_the_provider_is_counted(
    name: str, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    made, counted = (COUNTED[name], 3) if name in COUNTED else (NOT_COUNTED[name], 0)
    timeout = (0.3 if name in NO_CONNECTION else PATIENCE, 0.3 if name in SILENT else PATIENCE)
    calls = 0
    most = 0

    def spend() -> None:
        nonlocal calls, most
        calls += 1
        most = max(most, calls)

    def refund() -> None:
        nonlocal calls
        calls -= 1

    with (
        made(monkeypatch, certificate) as url,
        client_of(url, retries=2, timeout=timeout) as client,
        pytest.raises(errors.FixerError) as caught,
    ):
        client.historical(DATE, spend=spend, refund=refund)
    assert (calls, caught.value.calls) == (counted, counted)
    assert most == max(counted, 1)  # never more than are made, and each before it is made


def test_a_connection_that_is_used_again_is_counted() -> None:
    with scripted(GOOD) as server, client_of(server.url) as client:
        assert [client.historical(DATE).calls for _ in range(3)] == [1, 1, 1]
        assert server.connections == 1


def test_a_day_before_the_first_is_not_counted() -> None:
    with scripted(GOOD) as server, client_of(server.url) as client:
        with pytest.raises(errors.InvalidDate) as caught:
            client.historical(dt.date(1998, 12, 31))
        assert (server.requests, caught.value.calls) == ([], 0)
