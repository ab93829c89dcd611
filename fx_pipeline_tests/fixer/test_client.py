"""The client asks Fixer's way, asks again where there was no answer, and hands up what there was."""

import datetime as dt
import gzip
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer import errors
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.rates import DayRates
from fx_pipeline_tests.fixer.calls import DATE, DAY, GOOD, KEY, PAGE, client_of, refused, timeout_for, tls
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

# --- what is asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "ask", "path", "query"),
    [
        ({}, lambda client: client.historical(DATE), "/api/2000-01-03", {"base": "EUR"}),
        (
            {"base": "USD", "symbols": ["GBP", "JPY"]},
            lambda client: client.historical(DATE),
            "/api/2000-01-03",
            {"base": "USD", "symbols": "GBP,JPY,USD"},
        ),
        (
            {"symbols": ["GBP"]},
            lambda client: client.timeseries(dt.date(2012, 5, 1), dt.date(2013, 4, 30)),
            "/api/timeseries",
            {"start_date": "2012-05-01", "end_date": "2013-04-30", "base": "EUR", "symbols": "GBP,EUR"},
        ),
        ({"base": "USD", "symbols": ["GBP"]}, lambda client: client.symbols(), "/api/symbols", {}),
    ],
)
@pytest.mark.parametrize("auth", ["query", "header"])
def test_a_question(
    auth: str, options: dict[str, Any], ask: Callable[[FixerClient], Fetch], path: str, query: dict[str, str]
) -> None:
    with scripted(refused(106, "no_rates_available")) as server:
        with client_of(server.url + "/", auth=auth, **options) as client, pytest.raises(errors.NoRates):
            ask(client)
        (head,) = server.requests
        parts = urlsplit(server.paths[0])
    assert head.startswith("GET ")
    assert parts.path == path
    if auth == "query":
        assert dict(parse_qsl(parts.query)) == {**query, "access_key": KEY}
        assert "apikey" not in head
    else:
        assert dict(parse_qsl(parts.query)) == query
        assert f"\r\napikey: {KEY}\r\n" in head
    assert "\r\nUser-Agent: fx-pipeline/" in head


@pytest.mark.parametrize(
    ("url", "carrier"),
    [
        ("https://api.apilayer.com/fixer", "header"),
        ("https://API.apilayer.com/fixer/", "header"),
        ("https://data.fixer.io/api", "query"),
        ("https://api.apilayer.com.example.org/fixer", "query"),
    ],
)
def test_the_host_decides_where_the_key_goes(url: str, carrier: str) -> None:
    with FixerClient(url, KEY) as client:
        assert repr(client) == f"FixerClient({url.rstrip('/')!r}, AccessKey('***', {carrier!r}), base='EUR')"


def test_no_cookie_is_kept_and_no_netrc_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with scripted(reply(DAY, Set_Cookie="a=b; Path=/")) as server:
        with client_of(server.url) as client:
            client.historical(DATE)
            client.historical(DATE)
        assert not any("Cookie" in head or "Authorization" in head for head in server.requests)


@pytest.mark.parametrize(
    "url",
    [
        "data.fixer.io/api",
        "ftp://data.fixer.io",
        "https://",
        "https://data.fixer.io:port/api",
        "https://[::1/api",
        "https://me:pa55word@data.fixer.io/api",
        "https://data.fixer.io/api?access_key=pa55word",
        "https://data.fixer.io/api#pa55word",
    ],
)
def test_a_url_that_cannot_be_used_is_named_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="FIXER_BASE_URL must") as caught:
        FixerClient(url, KEY)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "abc def", "abc\n", "\tabc", "abc\r\nX-Evil: 1", "clé", "a\x00b"])
def test_a_key_that_cannot_be_one_is_told_at_once(key: str) -> None:
    with pytest.raises(errors.InvalidKey, match="empty, or contains white space") as caught:
        FixerClient("https://data.fixer.io/api", key)
    assert caught.value.scope == "run"


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://data.fixer.io/api", True),
        ("http://192.168.1.5:8002", True),
        ("https://data.fixer.io/api", False),
        ("http://127.0.0.1:8002", False),
        ("http://[::1]:8002", False),
        ("http://localhost:8002", False),
    ],
)
def test_plain_http_is_warned_of(url: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    FixerClient(url, KEY).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda client: client.historical(dt.date(1998, 12, 31)), errors.InvalidDate),
        (lambda client: client.historical(dt.datetime.now(dt.timezone.utc).date()), errors.Unfinished),
        (lambda client: client.historical(dt.date(9999, 12, 31)), errors.Unfinished),
        (lambda client: client.timeseries(DATE, dt.date(9999, 12, 31)), errors.InvalidTimeframe),
        (lambda client: client.timeseries(DATE, dt.date(2001, 1, 2)), errors.InvalidTimeframe),  # 366 days
        (lambda client: client.timeseries(DATE, dt.date(2000, 1, 2)), errors.InvalidTimeframe),
        (lambda client: client.timeseries(dt.date(1998, 12, 31), DATE), errors.InvalidTimeframe),
        (
            lambda client: client.timeseries(
                dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(3),
                dt.datetime.now(dt.timezone.utc).date(),
            ),
            errors.Unfinished,
        ),
    ],
)
def test_what_fixer_could_only_refuse_is_not_asked(
    ask: Callable[[FixerClient], Fetch], kind: type[errors.FixerError]
) -> None:
    with scripted(GOOD) as server:
        with client_of(server.url) as client, pytest.raises(kind) as caught:
            ask(client)
        assert (server.requests, caught.value.fetch, caught.value.calls) == ([], None, 0)


# --- what comes back ----------------------------------------------------------------------------------------


def test_an_answer_is_kept_whole() -> None:
    before = dt.datetime.now(dt.timezone.utc)
    body = b"\n" + json.dumps({**DAY, "rates": {"EUR": 1, "USD": 2}}, indent=2).encode()
    sent = reply(
        body, Content_Type="text/plain", x_ratelimit_limit_month="100", x_ratelimit_remaining_month="7"
    )
    with (
        scripted(sent) as server,
        client_of(server.url) as client,
    ):
        answer = client.historical(DATE)
    assert before <= answer.asked_at <= dt.datetime.now(dt.timezone.utc)
    assert answer == Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=DATE,
        end_date=DATE,
        asked_at=answer.asked_at,
        status="ok",
        body=body,
        calls=1,
        quota_limit=100,
        quota_remaining=7,
        days=(DayRates(date=DATE, base="EUR", timestamp=946943999, rates={"EUR": 1.0, "USD": 2.0}),),
    )


@pytest.mark.parametrize(
    "answer",
    [
        reply(gzip.compress(GOOD.partition(b"\r\n\r\n")[2], mtime=0), Content_Encoding="gzip"),
        then_hang_up(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD.partition(b"\r\n\r\n")[2]),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(GOOD.partition(b"\r\n\r\n")[2]), GOOD.partition(b"\r\n\r\n")[2]),
    ],
    ids=["gzip", "until the connection closes", "chunked"],
)
def test_an_answer_however_it_is_sent(answer: Play) -> None:
    with scripted(answer) as server, client_of(server.url) as client:
        read = client.historical(DATE)
    assert (read.days[0].rates["USD"], read.calls) == (1.020124, 1)


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37+00:00"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37+00:00"),
        ("Sun, 06 Nov 1994 09:49:37 +0100", "1994-11-06T08:49:37+00:00"),
        ("", None),
        ("now", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 999999999999 08:49:37 GMT", None),
    ],
)
def test_when_it_was_answered_is_read_from_the_headers(date: str, kept: str | None) -> None:
    with scripted(reply(DAY, Date=date)) as server, client_of(server.url) as client:
        provider_at = client.historical(DATE).provider_at
    assert (provider_at and provider_at.isoformat()) == kept


@pytest.mark.parametrize(
    ("limit", "remaining", "kept"),
    [
        ("100", "0", (100, 0)),
        ("100", "100", (100, 100)),
        (" 100 ", "7", (100, 7)),
        ("100", "99999999999", (None, None)),
        ("100", "101", (None, None)),
        ("0", "0", (None, 0)),
        ("0", "5", (None, 5)),
        ("100", "-1", (100, None)),
        ("100", "60.0", (100, None)),
        ("100", "1e1", (100, None)),
        ("100", "9" * 12, (100, None)),
        ("100", "٧", (100, None)),
        ("100", "0x7", (100, None)),
        ("100", "", (100, None)),
        ("-100", "7", (None, 7)),
        ("many", "7", (None, 7)),
        ("100, 100", "7, 7", (None, None)),
    ],
)
def test_only_a_credible_quota_is_read_from_the_headers(
    limit: str, remaining: str, kept: tuple[int | None, int | None]
) -> None:
    sent = reply(DAY, x_ratelimit_limit_month=limit, x_ratelimit_remaining_month=remaining)
    with scripted(sent) as server, client_of(server.url) as client:
        answer = client.historical(DATE)
    assert (answer.quota_limit, answer.quota_remaining) == kept


@pytest.mark.parametrize(
    ("answer", "kind", "scope", "status"),
    [
        (refused(101, "invalid_access_key"), errors.InvalidKey, "run",
         "the access key is missing or unknown (101 invalid_access_key)"),
        (refused(104, "usage_limit_reached"), errors.QuotaExhausted, "run",
         "this month's calls are used up (104 usage_limit_reached)"),
        (refused(105, "function_access_restricted"), errors.EndpointRestricted, "run",
         "the plan lacks this endpoint (105 function_access_restricted)"),
        (refused(105, "base_currency_access_restricted"), errors.BaseRestricted, "base",
         "the plan lacks this base (105 base_currency_access_restricted)"),
        (refused(106, "no_rates_available"), errors.NoRates, "date",
         "there are no rates for this (106 no_rates_available)"),
        (reply({"message": "Invalid authentication credentials"}, 401), errors.InvalidKey, "run",
         "the access key is missing or unknown (HTTP 401)"),
        (reply({"message": "limit"}, 429, x_ratelimit_remaining_month="0"), errors.QuotaExhausted, "run",
         "this month's calls are used up (HTTP 429)"),
        (reply(PAGE, 404), errors.UnknownEndpoint, "run",
         "there is no such endpoint at this address (HTTP 404)"),
        (reply({**DAY, "date": "2000-01-04"}), errors.BadResponse, "date",
         "the response has another date than requested"),
        (reply({**DAY, "rates": {}}), errors.BadResponse, "date", "the response has no valid rate"),
    ],
)  # fmt: skip
def test_an_answer_against_the_question_is_asked_once_and_kept(
    answer: bytes, kind: type[errors.FixerError], scope: str, status: str
) -> None:
    with scripted(answer) as server, client_of(server.url) as client:
        with pytest.raises(kind) as caught:
            client.historical(DATE)
        assert len(server.requests) == caught.value.calls == 1
    error = caught.value
    assert error.fetch is not None
    assert (error.scope, error.reason, error.fetch.status) == (scope, status, status)
    assert (error.fetch.body, error.fetch.days) == (answer.partition(b"\r\n\r\n")[2], ())
    assert str(error).startswith(f"Fixer (2000-01-03): {status}.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with scripted(GOOD) as elsewhere, scripted(reply("", status, Location=elsewhere.url)) as server:
        with client_of(server.url) as client, pytest.raises(errors.Redirected):
            client.historical(DATE)
        assert (len(server.requests), elsewhere.requests) == (1, [])


def test_symbols_are_names() -> None:
    symbols = {"success": True, "symbols": {"AED": "United Arab Emirates Dirham"}}
    with scripted(reply(symbols)) as server, client_of(server.url) as client:
        answer = client.symbols()
    assert (answer.endpoint, answer.names) == ("symbols", symbols["symbols"])


# --- asking again -------------------------------------------------------------------------------------------

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
def test_no_answer_is_asked_for_again(name: str) -> None:
    play = NO_ANSWER[name][0]
    with scripted(play, play, GOOD) as server, client_of(server.url, timeout=timeout_for(name)) as client:
        answer = client.historical(DATE)
        assert (answer.calls, len(server.requests), answer.status) == (3, 3, "ok")


@pytest.mark.parametrize("name", NO_ANSWER)
def test_no_answer_after_all_repetitions_says_why(name: str) -> None:
    play, kind, reason = NO_ANSWER[name]
    with scripted(play) as server, client_of(server.url, retries=2, timeout=timeout_for(name)) as client:
        with pytest.raises(kind) as caught:
            client.historical(DATE)
        assert (len(server.requests), caught.value.calls) == (3, 3)
    assert (caught.value.retryable, caught.value.scope, caught.value.reason) == (True, "date", reason)


def test_the_last_body_is_kept() -> None:
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


def test_nothing_is_kept_where_nothing_came() -> None:
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
def test_a_wait_that_is_asked_for_is_kept(
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
def test_a_long_wait_is_handed_up(retry_after: str, seconds: float) -> None:
    with scripted(reply("", 429, Retry_After=retry_after), GOOD) as server, client_of(server.url) as client:
        with pytest.raises(errors.RateLimited) as caught:
            client.historical(DATE)
        assert len(server.requests) == 1
    assert (caught.value.retry_after, caught.value.retryable) == (seconds, True)


def test_waits_between_repetitions_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with (
        scripted(reply("", 500)) as server,
        client_of(server.url, backoff=0.5) as client,
        pytest.raises(errors.ServerTrouble),
    ):
        client.historical(DATE)
    assert len(waits) == 4  # of 5: the first repetition follows at once
    assert all(expected <= wait <= expected + 0.5 for wait, expected in zip(waits, (1, 2, 4, 8), strict=True))


@pytest.mark.parametrize(
    "answer", [reply(b" " * 2000), reply(gzip.compress(b" " * 10**6, mtime=0), Content_Encoding="gzip")]
)
def test_an_answer_that_is_too_large_is_left(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fx_pipeline.fixer.transport.LARGEST_BODY", 1000)
    with scripted(answer, GOOD) as server, client_of(server.url, retries=0) as client:
        with pytest.raises(errors.BadResponse, match="the response is too large"):
            client.historical(DATE)
        assert client.historical(DATE).calls == 1


# --- where there is no server -------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with (
        reserved_port() as port,
        client_of(f"http://127.0.0.1:{port}", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the connection was refused"),
    ):
        client.historical(DATE)


def test_a_host_that_does_not_exist() -> None:
    with (
        client_of("http://fixer.invalid/api", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the host name is unknown"),
    ):
        client.historical(DATE)


def test_nobody_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as queued:
        queued.connect(full.getsockname())  # fills the queue: the next connection waits for ever
        with (
            client_of(f"http://127.0.0.1:{full.getsockname()[1]}", retries=0, timeout=(0.2, 1.0)) as client,
            pytest.raises(errors.Unreachable, match="no connection in time"),
        ):
            client.historical(DATE)


def test_a_proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with (
        client_of("http://fixer.invalid/api", retries=1) as client,
        pytest.raises(errors.Unreachable, match="the proxy did not connect"),
    ):
        client.historical(DATE)


def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    with scripted(GOOD, tls=tls(certificate)) as server, client_of(server.url) as client:
        with pytest.raises(errors.UntrustedServer) as caught:
            client.historical(DATE)
        assert server.requests == []
    assert (caught.value.calls, caught.value.scope, caught.value.retryable) == (0, "run", False)


def test_a_certificate_that_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    with scripted(GOOD, tls=tls(certificate)) as server, client_of(server.url) as client:
        assert client.historical(DATE).status == "ok"


def test_https_where_there_is_none() -> None:
    with (
        scripted(then_hang_up(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        client_of(server.url.replace("http:", "https:"), retries=1) as client,
        pytest.raises(errors.Unreachable, match="no secure connection could be made") as caught,
    ):
        client.historical(DATE)
    assert caught.value.calls == 0


# --- the ledger ---------------------------------------------------------------------------------------------


class Spent(OSError):
    """What a ledger raises; an OSError, which HTTP libraries are quick to catch."""


@pytest.mark.parametrize("play", [reply("", 500), hang_up, silence], ids=["500", "closed", "silent"])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_ledger_is_asked_before_each_request_and_its_refusal_comes_through(
    allowed: int, play: Play
) -> None:
    asked = 0
    refusal = Spent("no call is left")

    def spend() -> None:
        nonlocal asked
        if asked == allowed:
            raise refusal
        asked += 1

    timeout = timeout_for("silent" if play is silence else "")
    with scripted(play) as server, client_of(server.url, timeout=timeout) as client:
        with pytest.raises(Spent) as caught:
            client.historical(DATE, spend=spend)
        assert (len(server.requests), asked) == (allowed, allowed)
    assert caught.value is refusal
    assert (refusal.__cause__, refusal.__context__) == (None, None)


def test_each_endpoint_counts_its_requests() -> None:
    counted: list[str] = []
    with scripted(GOOD) as server, client_of(server.url) as client:
        client.historical(DATE, spend=lambda: counted.append("historical"))
        with pytest.raises(errors.FixerError):
            client.symbols(spend=lambda: counted.append("symbols"))
        with pytest.raises(errors.FixerError):
            client.timeseries(DATE, DATE, spend=lambda: counted.append("timeseries"))
    assert counted == ["historical", "symbols", "timeseries"]


# --- a plan with one base -----------------------------------------------------------------------------------

EUR_ONLY = refused(105, "base_currency_access_restricted")


def test_a_plan_without_the_base_is_asked_in_eur_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(EUR_ONLY, GOOD) as server:
        with client_of(server.url, base="USD", symbols=["GBP"]) as client:
            first, second = client.historical(DATE), client.historical(DATE)
        asked = [dict(parse_qsl(urlsplit(path).query)) for path in server.paths]
    assert [(query["base"], query["symbols"]) for query in asked] == [
        ("USD", "GBP,USD"),
        ("EUR", "GBP,USD"),
        ("EUR", "GBP,USD"),
    ]
    assert (first.calls, second.calls) == (2, 1)
    assert (first.base, first.symbols, first.body) == ("USD", ("GBP", "USD"), GOOD.partition(b"\r\n\r\n")[2])
    assert first.days == second.days
    assert (first.days[0].base, first.days[0].rates["GBP"]) == ("USD", 0.6146468469)
    assert [record.message for record in caplog.records] == [
        "The plan refuses rates in USD: converting rates in EUR instead."
    ]


def test_a_series_falls_back_to_eur_too() -> None:
    series = {
        "success": True,
        "start_date": "2000-01-03",
        "end_date": "2000-01-03",
        "base": "EUR",
        "rates": {"2000-01-03": DAY["rates"]},
    }
    with scripted(EUR_ONLY, reply(series)) as server, client_of(server.url, base="USD") as client:
        answer = client.timeseries(DATE, DATE)
    assert (answer.calls, answer.days[0].rates["GBP"]) == (2, 0.6146468469)


def test_the_calls_of_a_fallback_that_fails_are_counted() -> None:
    with scripted(EUR_ONLY, reply("", 500)) as server:
        with (
            client_of(server.url, base="USD", retries=2) as client,
            pytest.raises(errors.ServerTrouble) as caught,
        ):
            client.historical(DATE)
        assert len(server.requests) == caught.value.calls == 4


def test_a_plan_without_timeseries_lets_the_caller_fall_back() -> None:
    with (
        scripted(refused(105, "function_access_restricted")) as server,
        client_of(server.url) as client,
        pytest.raises(errors.EndpointRestricted) as caught,
    ):
        client.timeseries(DATE, DATE)
    assert (caught.value.scope, caught.value.retryable) == ("endpoint", False)


# --- many at once -------------------------------------------------------------------------------------------


def test_one_client_serves_many_threads() -> None:
    dates = [dt.date(2000, 1, 1) + dt.timedelta(days) for days in range(200)]
    counted: list[int] = []

    asked: Counter[str] = Counter()

    def answer(path: str) -> Play:
        """Each date's own answer, after a failure for every third."""
        day = dt.date.fromisoformat(urlsplit(path).path[-10:])
        asked[path] += 1
        if day.toordinal() % 3 == 0 and asked[path] == 1:
            return hang_up
        end = int(dt.datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=dt.timezone.utc).timestamp())
        rates = {"EUR": 1, "USD": day.toordinal()}
        return reply({**DAY, "date": day.isoformat(), "timestamp": end, "rates": rates})

    with (
        scripted(by_path=answer) as server,
        client_of(server.url) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        fetch = partial(client.historical, spend=lambda: counted.append(1))
        answers = list(pool.map(fetch, dates))
    assert [(a.days[0].date, a.days[0].rates["USD"]) for a in answers] == [(d, d.toordinal()) for d in dates]
    assert len(counted) == sum(asked.values()) == sum(a.calls for a in answers)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        reply(gzip.compress(GOOD.partition(b"\r\n\r\n")[2], mtime=0), Content_Encoding="gzip"),
        reply("", 500),
    ],
    ids=["plain", "gzip", "an error"],
)
def test_a_connection_is_used_again(answer: bytes) -> None:
    with scripted(answer, GOOD) as server, client_of(server.url) as client:
        for _ in range(5):
            client.historical(DATE)
        assert server.connections == 1


def test_a_closed_client_can_be_used_again(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(GOOD) as server:
        with client_of(server.url) as client:
            client.historical(DATE)
        assert client.historical(DATE).status == "ok"
        client.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
