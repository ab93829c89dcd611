"""Servers that cannot be reached, and certificates."""

import socket
from pathlib import Path

import pytest

from fx_pipeline.fixer import errors
from fx_pipeline_tests.fixer.calls import DATE, GOOD, client_of, tls
from fx_pipeline_tests.fixer.scripted_server import (
    scripted,
    then_hang_up,
)
from fx_pipeline_tests.ports import reserved_port


def test_reports_a_refused_connection() -> None:
    with (
        reserved_port() as port,
        client_of(f"http://127.0.0.1:{port}", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the connection was refused"),
    ):
        client.historical(DATE)


def test_reports_an_unknown_host() -> None:
    with (
        client_of("http://fixer.invalid/api", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the host name is unknown"),
    ):
        client.historical(DATE)


def test_reports_a_connection_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as queued:
        queued.connect(full.getsockname())  # fills the queue: the next connection waits for ever
        with (
            client_of(f"http://127.0.0.1:{full.getsockname()[1]}", retries=0, timeout=(0.2, 1.0)) as client,
            pytest.raises(errors.Unreachable, match="no connection in time"),
        ):
            client.historical(DATE)


def test_reports_a_proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with (
        client_of("http://fixer.invalid/api", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the proxy did not connect"),
    ):
        client.historical(DATE)


def test_sends_nothing_to_a_server_with_an_untrusted_certificate(certificate: Path) -> None:
    with scripted(GOOD, tls=tls(certificate)) as server, client_of(server.url) as client:
        with pytest.raises(errors.UntrustedServer) as caught:
            client.historical(DATE)
        assert server.requests == []
    assert (caught.value.calls, caught.value.scope, caught.value.retryable) == (0, "run", False)


def test_accepts_a_trusted_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    with scripted(GOOD, tls=tls(certificate)) as server, client_of(server.url) as client:
        assert client.historical(DATE).status == "ok"


def test_reports_a_server_without_https() -> None:
    with (
        scripted(then_hang_up(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        client_of(server.url.replace("http:", "https:"), retries=1) as client,
        pytest.raises(errors.Unreachable, match="no secure connection could be made") as caught,
    ):
        client.historical(DATE)
    assert caught.value.calls == 0
