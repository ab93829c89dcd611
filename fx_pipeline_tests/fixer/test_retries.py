"""Requests without a response are retried, and the last failure is reported."""

import gzip
import time

import pytest

from fx_pipeline.fixer import errors
from fx_pipeline_tests.fixer.calls import DATE, GOOD, PAGE, client_of, refused, timeout_for
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

NO_ANSWER: dict[str, tuple[Play, type[errors.FixerError], str]] = {
    "closed": (hang_up, errors.Unreachable, "the connection was lost"),
    "reset": (reset, errors.Unreachable, "the connection was lost"),
    "silent": (silence, errors.Unreachable, "no response in time"),
    "cut in the head": (then_hang_up(GOOD[:30]), errors.BadResponse, "the response is truncated or not JSON"),
    "cut in the body": (then_hang_up(GOOD[:-10]), errors.BadResponse, "the response was cut off"),
    "cut in a chunk": (
        then_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{"),
        errors.BadResponse,
        "the response was cut off",
    ),
    "cut without a length": (
        then_hang_up(b'HTTP/1.0 200 OK\r\n\r\n{"success": tr'),
        errors.BadResponse,
        "the response is truncated or not JSON",
    ),
    "silent in the body": (
        then_silence(GOOD[:-10]),
        errors.Unreachable,
        "no response in time",
    ),
    "no HTTP": (then_hang_up(b"SSH-2.0-OpenSSH\r\n"), errors.Unreachable, "the response is not HTTP"),
    "bad gzip": (
        reply(b"not gzip", Content_Encoding="gzip"),
        errors.BadResponse,
        "the response cannot be decompressed",
    ),
    "empty": (reply(""), errors.BadResponse, "the response is truncated or not JSON"),
    "a page": (reply(PAGE), errors.BadResponse, "the response is an HTML page"),
    "a page with 400": (reply(PAGE, 400), errors.BadResponse, "the response is an HTML page"),
    "429": (
        reply({"message": "limit"}, 429),
        errors.RateLimited,
        "too many requests in a short time (HTTP 429)",
    ),
    "500": (
        reply("Internal error", 500),
        errors.ServerTrouble,
        "a problem on the provider's side (HTTP 500)",
    ),
    "502": (reply(PAGE, 502), errors.ServerTrouble, "a problem on the provider's side (HTTP 502)"),
    "503": (reply("", 503), errors.ServerTrouble, "a problem on the provider's side (HTTP 503)"),
    "an unknown error in 200": (
        refused(500, "internal_error"),
        errors.ServerTrouble,
        "a problem on the provider's side (500 internal_error)",
    ),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_retries_a_request_without_a_response(name: str) -> None:
    play = NO_ANSWER[name][0]
    with scripted(play, play, GOOD) as server, client_of(server.url, timeout=timeout_for(name)) as client:
        answer = client.historical(DATE)
        assert (answer.calls, len(server.requests), answer.status) == (3, 3, "ok")


@pytest.mark.parametrize("name", NO_ANSWER)
def test_reports_the_reason_after_the_last_retry(name: str) -> None:
    play, kind, reason = NO_ANSWER[name]
    with scripted(play) as server, client_of(server.url, retries=2, timeout=timeout_for(name)) as client:
        with pytest.raises(kind) as caught:
            client.historical(DATE)
        assert (len(server.requests), caught.value.calls) == (3, 3)
    assert (caught.value.retryable, caught.value.scope, caught.value.reason) == (True, "date", reason)


def test_returns_the_body_of_the_last_response() -> None:
    last = reply({"message": "the third"}, 503)
    script: list[Play] = [reply({"message": "the first"}, 500), hang_up, last]
    with (
        scripted(*script) as server,
        client_of(server.url, retries=2) as client,
        pytest.raises(errors.ServerTrouble) as caught,
    ):
        client.historical(DATE)
    assert caught.value.fetch is not None
    assert (caught.value.fetch.body, caught.value.fetch.calls) == (b'{"message": "the third"}', 3)


def test_returns_no_fetch_without_a_response() -> None:
    with (
        scripted(hang_up) as server,
        client_of(server.url, retries=0) as client,
        pytest.raises(errors.Unreachable) as caught,
    ):
        client.historical(DATE)
    assert (caught.value.fetch, caught.value.calls) == (None, 1)


@pytest.mark.parametrize(
    ("retry_after", "slept"),
    [("3", 3.0), ("0", None), ("soon", None), ("", None), ("-5", None), ("9" * 5000, None), ("60", 60.0)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_waits_as_long_as_retry_after_says(
    status: int, retry_after: str, slept: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with (
        scripted(reply("", status, Retry_After=retry_after), GOOD) as server,
        client_of(server.url) as client,
    ):
        client.historical(DATE)
    assert waits == ([] if slept is None else [slept])


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("61", 61),
        ("86400", 86400),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 10 * 365 * 86400),
        ("9" * 12, 10 * 365 * 86400),
    ],
)
def test_does_not_retry_after_a_long_retry_after(retry_after: str, seconds: float) -> None:
    with scripted(reply("", 429, Retry_After=retry_after), GOOD) as server, client_of(server.url) as client:
        with pytest.raises(errors.RateLimited) as caught:
            client.historical(DATE)
        assert len(server.requests) == 1
    assert (caught.value.retry_after, caught.value.retryable) == (seconds, True)


def test_waits_longer_before_each_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with (
        scripted(reply("", 500)) as server,
        client_of(server.url, backoff=0.5) as client,
        pytest.raises(errors.ServerTrouble),
    ):
        client.historical(DATE)
    assert len(waits) == 4  # of 5: the first retry follows immediately
    assert all(expected <= wait <= expected + 0.5 for wait, expected in zip(waits, (1, 2, 4, 8), strict=True))


@pytest.mark.parametrize(
    "answer", [reply(b" " * 2000), reply(gzip.compress(b" " * 10**6, mtime=0), Content_Encoding="gzip")]
)
def test_stops_reading_a_response_that_is_too_large(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fx_pipeline.fixer.transport.LARGEST_BODY", 1000)
    with scripted(answer, GOOD) as server, client_of(server.url, retries=0) as client:
        with pytest.raises(errors.BadResponse, match="the response is too large"):
            client.historical(DATE)
        assert client.historical(DATE).calls == 1
